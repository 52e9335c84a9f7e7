//! One HTTP/1.1 connection to one server, kept between requests.
//!
//! ```text
//! send ─▶ request out, head in ─▶ data, data, … ─▶ none ─▶ send
//! ```
//!
//! It is written here because of the thousands that a scraper keeps: one that rests holds no buffer, and nothing is
//! allocated for the parts of an answer.
//!
//! Rule: nothing is spawned. The connection is driven while a request runs, and rests between requests; one whose
//! answer was not read to its end is of no use any more.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::answer::{Framing, chunk_size, read_head};
use crate::client::Endpoint;
use crate::error::{ClientError, ExchangeError};
use crate::stream::Stream;

/// Bytes of a response head: those of real servers have some 200.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Bytes of the line before a chunk, and of what may follow the last one.
const MAX_CHUNK_LINE_BYTES: usize = 4 * 1024;
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Room for what comes next: head and page of a usual target.
const READ_BYTES: usize = 16 * 1024;

/// How the request line names the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// By the path alone: the server itself, or a tunnel to it, is at the other end.
    Direct,
    /// By the whole URL: a proxy is at the other end, with these credentials.
    Proxy(Option<HeaderValue>),
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request may be sent.
    Rests,
    /// A body comes.
    Body(Framing),
    /// A chunk comes, of which so many bytes are left.
    Chunk(u64),
    /// No request can be sent any more.
    Ended,
}

/// A connection to one server.
pub struct Connection {
    endpoint: Endpoint,
    route: Route,
    stream: Box<dyn Stream>,
    /// What came and was not taken: the bytes from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
    state: State,
    /// Whether it may be used again after the present answer.
    keeps: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A request that did not reach its end.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) error: ExchangeError,
    /// Whether the server saw nothing of it.
    pub(crate) is_unsent: bool,
}

impl Connection {
    pub(crate) fn new(stream: Box<dyn Stream>, endpoint: Endpoint, route: Route) -> Self {
        let (buffer, taken, state, keeps) = (Vec::new(), 0, State::Rests, false);
        Self { endpoint, route, stream, buffer, taken, state, keeps }
    }

    /// Whether it leads to this server.
    #[must_use]
    pub fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint
    }

    /// Whether another request can be sent: the answer to the last one was read to its end.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.state == State::Rests
    }

    /// Sends a request with an absolute URL and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`]: the connection is of no use any more.
    pub async fn send(&mut self, request: &Request<Bytes>) -> Result<Response<()>, ClientError> {
        self.try_send(request).await.map_err(|failure| ClientError::Exchange(failure.error))
    }

    pub(crate) async fn try_send(&mut self, request: &Request<Bytes>) -> Result<Response<()>, SendFailure> {
        let unsent = |error| SendFailure { error, is_unsent: true };
        if self.state != State::Rests {
            return Err(unsent(ExchangeError::Closed));
        }
        // Dropping this future in the middle leaves it so.
        self.state = State::Ended;
        let message = self.message(request).map_err(|error| unsent(ExchangeError::Io(error)))?;
        self.write(&message).await?;
        let sent = |error| SendFailure { error, is_unsent: false };
        let response = self.head().await.map_err(sent)?;
        let (framing, keeps) = Framing::of(request.method(), &response).map_err(sent)?;
        self.keeps &= keeps;
        self.state = State::Body(framing);
        Ok(response)
    }

    /// The bytes of a request.
    fn message(&self, request: &Request<Bytes>) -> io::Result<Vec<u8>> {
        let (uri, headers, body) = (request.uri(), request.headers(), request.body());
        let mut message = Vec::with_capacity(512 + body.len());
        write!(message, "{} ", request.method())?;
        match &self.route {
            Route::Direct => {
                message.extend_from_slice(uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
            }
            Route::Proxy(_) => write!(message, "{uri}")?,
        }
        message.extend_from_slice(b" HTTP/1.1\r\n");
        let mut put = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                message.extend_from_slice(part);
            }
        };
        for (name, value) in headers {
            put(name.as_str(), value.as_bytes());
        }
        if let Route::Proxy(Some(credentials)) = &self.route {
            put(PROXY_AUTHORIZATION.as_str(), credentials.as_bytes());
        }
        let has_body = !body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        if has_body && !headers.contains_key(CONTENT_LENGTH) {
            put(CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        Ok(message)
    }

    /// Writes a request, as far as the server wants it: one that answers before has heard enough.
    async fn write(&mut self, message: &[u8]) -> Result<(), SendFailure> {
        let mut written = 0;
        let outcome = poll_fn(|context| self.poll_write(context, message, &mut written)).await;
        self.keeps = written == message.len() && outcome.is_ok();
        match outcome {
            Err(error) if written == 0 => Err(SendFailure { error, is_unsent: true }),
            // What comes before the first byte of a request is no answer to it: the server says goodbye, or speaks
            // another protocol.
            Ok(()) if written == 0 => {
                let error = ExchangeError::Framing("server spoke before it was asked");
                Err(SendFailure { error, is_unsent: true })
            }
            // What the server said before it closed may be there to be read.
            _ => Ok(()),
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        message: &[u8],
        written: &mut usize,
    ) -> Poll<Result<(), ExchangeError>> {
        if self.poll_early(context)? {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = message.get(*written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ExchangeError::Closed)),
                Poll::Ready(Ok(more)) => *written += more,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ExchangeError::Io(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.stream).poll_flush(context).map_err(ExchangeError::Io)
    }

    /// Whether the server spoke while a request is being written.
    fn poll_early(&mut self, context: &mut Context<'_>) -> Result<bool, ExchangeError> {
        let mut first = [0; 1];
        let mut first = ReadBuf::new(&mut first);
        match Pin::new(&mut self.stream).poll_read(context, &mut first) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(ExchangeError::Io(error)),
            Poll::Ready(Ok(())) if first.filled().is_empty() => Err(ExchangeError::Closed),
            Poll::Ready(Ok(())) => {
                self.buffer.extend_from_slice(first.filled());
                Ok(true)
            }
        }
    }

    /// The head of the answer; those that only announce it are passed over.
    async fn head(&mut self) -> Result<Response<()>, ExchangeError> {
        // A server that sends byte by byte must not have its head read anew for each of them.
        let mut seen = 0;
        loop {
            let has_line = self.rest().iter().skip(seen).any(|byte| *byte == b'\n');
            seen = self.rest().len();
            if has_line && let Some(head) = read_head(self.rest())? {
                self.taken += head.len;
                seen = 0;
                match head.response.status() {
                    StatusCode::SWITCHING_PROTOCOLS => {
                        return Err(ExchangeError::Framing("another protocol, which was not asked for"));
                    }
                    status if status.is_informational() => continue,
                    _ => return Ok(head.response),
                }
            }
            if self.rest().len() >= MAX_HEAD_BYTES {
                return Err(ExchangeError::TooLarge("head"));
            }
            self.fill().await?;
        }
    }

    /// The next bytes of the body of the answer, at most so many; none at its end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`]: the body broke off.
    pub async fn data(&mut self, most: usize) -> Result<Option<&[u8]>, ClientError> {
        let advanced = self.advance(most as u64).await;
        let len = advanced.map_err(|error| {
            self.state = State::Ended;
            ClientError::Exchange(error)
        })?;
        let Some(len) = len else {
            (self.buffer, self.taken) = (Vec::new(), 0);
            return Ok(None);
        };
        let from = self.taken;
        self.taken += len;
        Ok(self.buffer.get(from..from + len))
    }

    /// How many of the bytes that are not taken are the body's next, at most so many; none at its end.
    async fn advance(&mut self, most: u64) -> Result<Option<usize>, ExchangeError> {
        loop {
            match self.state {
                State::Rests | State::Ended => return Ok(None),
                State::Body(Framing::Length(0)) => self.end(),
                State::Body(Framing::Length(left)) => {
                    let len = self.some(left.min(most)).await?;
                    self.state = State::Body(Framing::Length(left - len as u64));
                    return Ok(Some(len));
                }
                State::Body(Framing::Close) => {
                    if self.rest().is_empty() && !self.fill_or_end().await? {
                        self.end();
                    } else {
                        return Ok(Some(self.some(most).await?));
                    }
                }
                State::Body(Framing::Chunked) => self.begin_chunk().await?,
                State::Chunk(0) => self.end_chunk().await?,
                State::Chunk(left) => {
                    let len = self.some(left.min(most)).await?;
                    self.state = State::Chunk(left - len as u64);
                    return Ok(Some(len));
                }
            }
        }
    }

    /// Reads the line before a chunk, and with the last one what follows it.
    async fn begin_chunk(&mut self) -> Result<(), ExchangeError> {
        let line = self.line(MAX_CHUNK_LINE_BYTES).await?;
        let size = chunk_size(self.rest().get(..line).unwrap_or_default())?;
        self.taken += line;
        self.state = State::Chunk(size);
        if size == 0 {
            self.trailers().await?;
            self.end();
        }
        Ok(())
    }

    /// Reads the end of the line behind a chunk.
    async fn end_chunk(&mut self) -> Result<(), ExchangeError> {
        let line = self.line(2).await?;
        if !self.rest().get(..line).unwrap_or_default().trim_ascii().is_empty() {
            return Err(ExchangeError::Framing("chunk is longer than it says"));
        }
        self.taken += line;
        self.state = State::Body(Framing::Chunked);
        Ok(())
    }

    /// At least one byte, and at most so many.
    async fn some(&mut self, most: u64) -> Result<usize, ExchangeError> {
        if self.rest().is_empty() {
            self.fill().await?;
        }
        let there = self.rest().len();
        Ok(usize::try_from(most).map_or(there, |most| most.min(there)))
    }

    /// The length of the next line, its end included.
    async fn line(&mut self, most: usize) -> Result<usize, ExchangeError> {
        loop {
            if let Some(end) = self.rest().iter().take(most).position(|byte| *byte == b'\n') {
                return Ok(end + 1);
            }
            if self.rest().len() >= most {
                return Err(ExchangeError::TooLarge("line of a chunk"));
            }
            self.fill().await?;
        }
    }

    /// Passes over what follows the last chunk.
    async fn trailers(&mut self) -> Result<(), ExchangeError> {
        let mut left = MAX_TRAILER_BYTES;
        loop {
            let len = self.line(left).await?;
            let is_empty = self.rest().get(..len).unwrap_or_default().trim_ascii().is_empty();
            self.taken += len;
            left -= len;
            if is_empty {
                return Ok(());
            }
        }
    }

    /// The answer was read to its end.
    fn end(&mut self) {
        // Bytes that nobody asked for are no answer.
        self.state = if self.keeps && self.rest().is_empty() { State::Rests } else { State::Ended };
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    async fn fill(&mut self) -> Result<(), ExchangeError> {
        if self.fill_or_end().await? { Ok(()) } else { Err(ExchangeError::Closed) }
    }

    /// Reads more; false at the end of the connection.
    async fn fill_or_end(&mut self) -> Result<bool, ExchangeError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.buffer).await.map_err(ExchangeError::Io)?;
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    #[tokio::test]
    async fn answers_are_read_however_they_are_cut() {
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            6;a=b\r\nhello \r\n5\r\nworld\r\n0\r\ntrailer: x\r\n\r\n";
        let announced = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world";
        let closed = "HTTP/1.1 200 OK\r\n\r\nhello world";
        for (answer, is_free) in [(length, true), (chunked, true), (announced, true), (closed, false)] {
            for cut in 1..=answer.len() {
                let (read, connection) = exchange_of(answer, cut, cut % 7 + 1).await;
                assert_eq!(read.unwrap(), "200 OK: hello world", "{answer:?} cut at {cut}");
                assert_eq!(connection.is_free(), is_free, "{answer:?} cut at {cut}");
                assert_eq!(connection.buffer.capacity(), 0, "{answer:?}: a resting connection holds no buffer");
            }
        }
    }

    #[tokio::test]
    async fn answers_that_break_off_are_errors() {
        let cases = [
            ("", "connection closed"),
            ("HTTP/1.1 200 OK\r\ncontent-le", "connection closed"),
            ("220 smtp.example ESMTP\r\n\r\n", "not an HTTP answer"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello", "connection closed"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello ", "connection closed"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello world\r\n", "line of a chunk"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "size of a chunk"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "another protocol"),
            ("HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", "not an HTTP answer"),
            ("HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", "not an HTTP answer"),
            ("HTTP/2 200\r\n\r\n", "not an HTTP answer"),
        ];
        for (answer, expected) in cases {
            let (read, connection) = exchange(answer, usize::MAX).await;
            let error = read.unwrap_err();
            assert!(error.starts_with(expected), "{answer:?}: {error}");
            assert!(!connection.is_free(), "{answer:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
        assert_eq!(exchange(&many, usize::MAX).await.0.unwrap_err(), "not an HTTP answer");
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 * MAX_HEAD_BYTES));
        assert_eq!(exchange(&endless, usize::MAX).await.0.unwrap_err(), "head of the answer is too large");
        let trailers =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}", "x: y\r\n".repeat(9_999));
        assert_eq!(exchange(&trailers, usize::MAX).await.0.unwrap_err(), "line of a chunk of the answer is too large");
    }

    #[tokio::test]
    async fn unasked_bytes_behind_an_answer_end_the_connection() {
        let (read, connection) =
            exchange("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", usize::MAX).await;
        assert_eq!(read.unwrap(), "200 OK: ok");
        assert!(!connection.is_free());
    }

    #[tokio::test]
    async fn requests_are_written_as_the_route_wants_them() {
        let direct = message(Route::Direct, Request::get("http://a:1/m?x=1").header("host", "a:1"), "").await;
        assert_eq!(direct, "GET /m?x=1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
        let proxied =
            message(Route::Proxy(Some(HeaderValue::from_static("secret"))), Request::get("http://a:1/m"), "").await;
        assert_eq!(proxied, "GET http://a:1/m HTTP/1.1\r\nproxy-authorization: secret\r\n\r\n");
        let posted = message(Route::Direct, Request::post("http://a:1/"), "body").await;
        assert_eq!(posted, "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody");
        let empty = message(Route::Direct, Request::post("http://a:1/"), "").await;
        assert_eq!(empty, "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
    }

    #[tokio::test]
    async fn answer_to_half_a_request_is_heard() {
        let (mut connection, mut server) = connect(Route::Direct);
        let request = Request::post("http://a:1/").body(Bytes::from(vec![b'x'; 1 << 20])).unwrap();
        let serve = async {
            server.read_exact(&mut [0; 100]).await.unwrap();
            server.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let (response, ()) = tokio::join!(connection.send(&request), serve);
        assert_eq!(response.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(connection.data(usize::MAX).await.unwrap().is_none());
        assert!(!connection.is_free());
    }

    #[tokio::test]
    async fn connection_that_closed_while_it_rested_saw_nothing() {
        for goodbye in ["", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
            let (mut connection, mut server) = connect(Route::Direct);
            server.write_all(goodbye.as_bytes()).await.unwrap();
            drop(server);
            let request = Request::get("http://a:1/").body(Bytes::new()).unwrap();
            let failure = connection.try_send(&request).await.unwrap_err();
            assert!(failure.is_unsent, "{goodbye:?}: {failure:?}");
        }
    }

    fn connect(route: Route) -> (Connection, DuplexStream) {
        let (client, server) = duplex(64 * 1024);
        let endpoint = Endpoint { https: false, host: "a".to_owned(), port: 1 };
        (Connection::new(Box::new(client), endpoint, route), server)
    }

    async fn exchange(answer: &str, cut: usize) -> (Result<String, String>, Connection) {
        exchange_of(answer, cut, usize::MAX).await
    }

    /// What is read of an answer that comes in parts of so many bytes and is taken in others, and the connection after
    /// it.
    async fn exchange_of(answer: &str, cut: usize, most: usize) -> (Result<String, String>, Connection) {
        let (mut connection, mut server) = connect(Route::Direct);
        let serve = async {
            server.read_exact(&mut [0; "GET / HTTP/1.1\r\n\r\n".len()]).await.unwrap();
            for part in answer.as_bytes().chunks(cut) {
                // The client may have heard enough.
                if server.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(server);
            std::future::pending::<std::convert::Infallible>().await
        };
        let ask = async {
            let request = Request::get("http://a:1/").body(Bytes::new()).unwrap();
            let result = read(&mut connection, &request, most).await;
            (result, connection)
        };
        // A client that has heard enough does not read the rest.
        tokio::select! {
            answered = ask => answered,
            never = serve => match never {},
        }
    }

    async fn read(connection: &mut Connection, request: &Request<Bytes>, most: usize) -> Result<String, String> {
        let told = |error: ClientError| std::error::Error::source(&error).unwrap().to_string();
        let response = connection.send(request).await.map_err(told)?;
        let mut body = Vec::new();
        while let Some(data) = connection.data(most).await.map_err(told)? {
            assert!((1..=most).contains(&data.len()));
            body.extend_from_slice(data);
        }
        Ok(format!("{}: {}", response.status(), String::from_utf8(body).unwrap()))
    }

    async fn message(route: Route, request: http::request::Builder, body: &'static str) -> String {
        let (connection, _server) = connect(route);
        let message = connection.message(&request.body(Bytes::from_static(body.as_bytes())).unwrap()).unwrap();
        String::from_utf8(message).unwrap()
    }
}
