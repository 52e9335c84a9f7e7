//! Getting a page: one connection for each target, kept between scrapes.
//!
//! - [`Connector`]: opens a connection; tests put a server of their own behind it.
//! - [`Fetcher`]: asks, follows redirects, decompresses, and stops at the bound.
//!
//! Rule: nothing is spawned. The connection is driven while a request runs, and rests between requests;
//! dropping the future of a request closes it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::body::BodyReader;
use crate::error::ScrapeError;
use crate::url::TargetUrl;

const SCRAPE_TIMEOUT_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// Redirects that are followed for one scrape, as Go's client does.
const MAX_REDIRECTS: usize = 10;

/// Bytes of a response head, and of the connection's buffer: heads of real exporters have some 200.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What opening a connection is.
pub type ConnectFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Opens connections to targets.
pub trait Connector: Send + Sync + fmt::Debug {
    /// Opens a connection. The caller limits the time.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> ConnectFuture<'a>;
}

/// Connects over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> ConnectFuture<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = Box::new(stream);
            Ok(stream)
        })
    }
}

/// What is asked of a target.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    pub(crate) url: TargetUrl,
    pub(crate) accept: HeaderValue,
    pub(crate) enable_compression: bool,
    pub(crate) follow_redirects: bool,
    pub(crate) body_bound: usize,
}

/// A page as it came.
#[derive(Debug)]
pub(crate) struct Page {
    /// The `Content-Type` header, or empty.
    pub(crate) content_type: String,
    /// The decompressed text.
    pub(crate) body: Vec<u8>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

struct Connection {
    /// Whom it leads to.
    authority: String,
    sender: SendRequest<Empty<Bytes>>,
    /// None once the connection has ended.
    driver: Option<Driver>,
}

/// Fetches the pages of one target.
pub(crate) struct Fetcher {
    connector: Arc<dyn Connector>,
    user_agent: HeaderValue,
    connection: Option<Connection>,
    /// Bytes of the last page, so that the next one is read into a buffer of the right size.
    last_body_len: usize,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Fetcher {
    pub(crate) fn new(connector: Arc<dyn Connector>, user_agent: HeaderValue) -> Self {
        Self { connector, user_agent, connection: None, last_body_len: 0 }
    }

    /// Gets the page within `timeout`. After any failure the connection is closed.
    pub(crate) async fn fetch(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        match tokio::time::timeout(timeout, self.follow(request, timeout)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ScrapeError::Timeout(timeout)),
        }
    }

    async fn follow(&mut self, request: &PageRequest, timeout: Duration) -> Result<Page, ScrapeError> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (mut connection, response) = self.ask(&url, request, timeout).await?;
            let status = response.status();
            if let Some(location) = redirect_location(&response) {
                if !request.follow_redirects {
                    let reason = "`follow_redirects` is false";
                    return Err(ScrapeError::Redirect { location, reason });
                }
                url = url.redirect(&location)?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(ScrapeError::Status(status));
            }
            let content_type = header_text(response.headers(), &CONTENT_TYPE);
            let body = read_body(&mut connection, response, request.body_bound, self.last_body_len).await?;
            self.last_body_len = body.len();
            self.connection = Some(connection);
            return Ok(Page { content_type, body });
        }
        Err(ScrapeError::Redirect { location: url.to_string(), reason: "too many redirects" })
    }

    /// Sends the request and waits for the head of the answer. A connection that the server closed while
    /// it rested is replaced once.
    async fn ask(
        &mut self,
        url: &TargetUrl,
        request: &PageRequest,
        timeout: Duration,
    ) -> Result<(Connection, Response<Incoming>), ScrapeError> {
        if let Some(mut kept) = self.connection.take().filter(|kept| kept.authority == url.authority())
            && let Ok(response) = kept.send(self.request(url, request, timeout)?).await
        {
            return Ok((kept, response));
        }
        let mut connection = self.connect(url).await?;
        let response = connection.send(self.request(url, request, timeout)?).await.map_err(ScrapeError::Http)?;
        Ok((connection, response))
    }

    async fn connect(&mut self, url: &TargetUrl) -> Result<Connection, ScrapeError> {
        if url.is_https() {
            return Err(ScrapeError::Https);
        }
        let (host, port) = url.host_and_port()?;
        let stream = self
            .connector
            .connect(host, port)
            .await
            .map_err(|source| ScrapeError::Connect { address: format!("{host}:{port}"), source })?;
        let (sender, driver) = Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ScrapeError::Http)?;
        Ok(Connection { authority: url.authority().to_owned(), sender, driver: Some(Box::pin(driver)) })
    }

    fn request(
        &self,
        url: &TargetUrl,
        request: &PageRequest,
        timeout: Duration,
    ) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        Request::get(url.path_and_query())
            .header(HOST, url.authority())
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, &request.accept)
            .header(ACCEPT_ENCODING, if request.enable_compression { "gzip" } else { "identity" })
            .header(SCRAPE_TIMEOUT_HEADER, timeout.as_secs_f64().to_string())
            .body(Empty::new())
            .map_err(|_invalid| ScrapeError::Url(url.to_string()))
    }
}

impl Connection {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let response = self.sender.send_request(request);
        drive(&mut self.driver, response).await
    }

    async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        drive(&mut self.driver, work).await
    }
}

async fn read_body(
    connection: &mut Connection,
    response: Response<Incoming>,
    bound: usize,
    expected_len: usize,
) -> Result<Vec<u8>, ScrapeError> {
    let encoding = header_text(response.headers(), &CONTENT_ENCODING);
    let mut reader = BodyReader::new(&encoding, bound, expected_len)?;
    let mut body = response.into_body();
    while let Some(frame) = connection.drive(body.frame()).await {
        if let Ok(data) = frame.map_err(ScrapeError::Http)?.into_data() {
            reader.push(&data)?;
        }
    }
    reader.finish()
}

/// Runs `work`, and the connection that it waits for.
async fn drive<F: Future>(driver: &mut Option<Driver>, work: F) -> F::Output {
    let work = std::pin::pin!(work);
    let Some(connection) = driver else { return work.await };
    match select(work, connection).await {
        Either::Left((output, _connection)) => output,
        Either::Right((_ended, work)) => {
            // What the connection died of is reported to the work that waited for it.
            *driver = None;
            work.await
        }
    }
}

fn redirect_location(response: &Response<Incoming>) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    redirects.then(|| header_text(response.headers(), &LOCATION)).filter(|location| !location.is_empty())
}

/// A header's text, or empty where it is absent or not printable.
fn header_text(headers: &HeaderMap, name: &http::header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
