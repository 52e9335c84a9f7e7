//! One HTTP/1.1 connection to one server, kept between requests.
//!
//! Rule: nothing is spawned. The connection is driven while a request runs, and rests between requests;
//! dropping the future of a request closes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{HeaderValue, PROXY_AUTHORIZATION};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use crate::client::Endpoint;
use crate::error::ClientError;
use crate::stream::Stream;

/// Bytes of a response head, and of the connection's buffer: heads of real servers have some 200.
const MAX_HEAD_BYTES: usize = 64 * 1024;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// How the request line names the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// By the path alone: the server itself, or a tunnel to it, is at the other end.
    Direct,
    /// By the whole URL: a proxy is at the other end, with these credentials.
    Proxy(Option<HeaderValue>),
}

/// A connection to one server.
pub struct Connection {
    endpoint: Endpoint,
    route: Route,
    sender: SendRequest<Full<Bytes>>,
    /// None once the connection has ended.
    driver: Option<Driver>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A request that did not reach its end.
#[derive(Debug)]
pub(crate) struct SendFailure {
    pub(crate) error: hyper::Error,
    /// Whether the server saw nothing of it.
    pub(crate) is_unsent: bool,
}

impl Connection {
    pub(crate) async fn open(stream: Box<dyn Stream>, endpoint: Endpoint, route: Route) -> Result<Self, ClientError> {
        let mut builder = Builder::new();
        let handshake = builder.max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(ClientError::Exchange)?;
        Ok(Self { endpoint, route, sender, driver: Some(Box::pin(driver)) })
    }

    /// Whether it leads to this server.
    #[must_use]
    pub fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint
    }

    /// Sends a request with an absolute URL and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`]: the connection is of no use any more.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        self.try_send(request).await.map_err(|failure| ClientError::Exchange(failure.error))
    }

    pub(crate) async fn try_send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendFailure> {
        match &self.route {
            Route::Direct => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
            }
            Route::Proxy(credentials) => {
                if let Some(credentials) = credentials {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
                }
            }
        }
        let response = self.sender.try_send_request(request);
        drive(&mut self.driver, response).await.map_err(|mut failure| {
            let is_unsent = failure.take_message().is_some();
            SendFailure { error: failure.into_error(), is_unsent }
        })
    }

    /// The next bytes of the body of an answer; none at its end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`]: the body broke off.
    pub async fn data(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = drive(&mut self.driver, body.frame()).await {
            if let Ok(data) = frame.map_err(ClientError::Exchange)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
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
