//! Connections to one server, kept between requests.
//!
//! Rule: nothing is spawned. A connection is driven while a request runs and rests in between; dropping the
//! future of a request closes its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use super::tls::{TlsConfigs, TlsError};
use super::url::BaseUrl;

/// Connections that rest. As many as answer at once in a busy adapter.
pub const MAX_IDLE_CONNECTIONS: usize = 16;

/// Bytes of a response head, and of a connection's buffer.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Both directions of a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// None once the connection has ended.
    driver: Option<Driver>,
}

/// The connections to a server.
pub(crate) struct Connections {
    url: BaseUrl,
    tls: TlsConfigs,
    idle: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An answer whose body is still to come.
pub(crate) struct Exchange<'a> {
    owner: &'a Connections,
    connection: Connection,
    response: Response<Incoming>,
}

impl Connections {
    pub(crate) const fn new(url: BaseUrl, tls: TlsConfigs) -> Self {
        Self { url, tls, idle: Mutex::new(Vec::new()) }
    }

    /// Sends a request. A connection that the server closed while it rested is replaced.
    pub(crate) async fn send(&self, request: &Request<Full<Bytes>>) -> Result<Exchange<'_>, ClientError> {
        while let Some(mut connection) = self.take_idle() {
            if let Ok(response) = connection.send(request.clone()).await {
                return Ok(Exchange { owner: self, connection, response });
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send(request.clone()).await.map_err(ClientError::Http)?;
        Ok(Exchange { owner: self, connection, response })
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_CONNECTIONS && connection.driver.is_some() {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let failed = |source| ClientError::Connect { address: self.url.address(), source };
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn Stream> =
            if self.url.is_https { Box::new(self.handshake(tcp).await?) } else { Box::new(tcp) };
        let handshake = Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(ClientError::Http)?;
        Ok(Connection { sender, driver: Some(Box::pin(driver)) })
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<impl Stream + use<>, ClientError> {
        let config = self.tls.current()?;
        let name = self.tls.options().server_name.as_ref().unwrap_or(&self.url.host).clone();
        let server = ServerName::try_from(name.clone()).map_err(|_invalid| TlsError::ServerName(name))?;
        let connector = TlsConnector::from(Arc::clone(&config));
        let connected = connector.connect(server, tcp).await;
        connected.map_err(|source| ClientError::Handshake { address: self.url.address(), source })
    }
}

impl Exchange<'_> {
    pub(crate) const fn response(&self) -> &Response<Incoming> {
        &self.response
    }

    /// Gives the body, piece by piece, to `take`; at its end the connection is kept.
    pub(crate) async fn body(
        mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), ClientError> + Send,
    ) -> Result<(), ClientError> {
        let mut body = self.response.into_body();
        while let Some(frame) = self.connection.drive(body.frame()).await {
            if let Ok(data) = frame.map_err(ClientError::Http)?.into_data() {
                take(&data)?;
            }
        }
        self.owner.keep(self.connection);
        Ok(())
    }
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let response = self.sender.send_request(request);
        drive(&mut self.driver, response).await
    }

    async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        drive(&mut self.driver, work).await
    }
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
