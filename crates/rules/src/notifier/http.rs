//! The seam to HTTP.
//!
//! - [`Post`]: sends one document. [`PlainPost`] does it over plain HTTP; TLS and credentials are the matter of
//!   whoever passes another one in.
//!
//! Rule: the answer is read up to a bound, and only to say why something was refused.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer that are read; Alertmanager's refusals have some hundred.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Characters of a refusal that are repeated in the log.
const MAX_EXCERPT_CHARS: usize = 200;

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostAnswer {
    /// The status.
    pub status: StatusCode,
    /// The beginning of the body, on one line.
    pub excerpt: String,
}

impl PostAnswer {
    /// An answer with the beginning of its body.
    #[must_use]
    pub fn new(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let excerpt = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_EXCERPT_CHARS).collect();
        Self { status, excerpt }
    }
}

/// Why alerts were not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// Plain HTTP only.
    #[error("`https` is not supported here: `{0}`")]
    Https(Uri),
    /// The URL has no host, or another scheme.
    #[error("not an HTTP URL: `{0}`")]
    Url(Uri),
    /// No connection.
    #[error("cannot connect to `{0}`")]
    Connect(String, #[source] std::io::Error),
    /// The exchange broke off.
    #[error("request failed")]
    Exchange(#[source] Box<dyn Error + Send + Sync>),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 2xx, and what was said.
    #[error("server answered {0}: {1}")]
    Status(StatusCode, String),
}

impl PostError {
    /// Whether the same request may succeed later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Https(_) | Self::Url(_) => false,
            Self::Connect(..) | Self::Exchange(_) | Self::Timeout(_) => true,
            Self::Status(status, _) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// What sending a document is.
pub type PostFuture<'a> = Pin<Box<dyn Future<Output = Result<PostAnswer, PostError>> + Send + 'a>>;

/// Sends documents in JSON. The caller limits the time.
pub trait Post: Send + Sync + fmt::Debug {
    /// Sends one document.
    fn post<'a>(&'a self, url: &'a Uri, body: Bytes) -> PostFuture<'a>;
}

/// Sends documents over plain HTTP, with a connection for each.
#[derive(Clone, Debug)]
pub struct PlainPost {
    user_agent: String,
}

impl PlainPost {
    /// A client that calls itself by this name.
    #[must_use]
    pub fn new(user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into() }
    }

    async fn exchange(&self, url: &Uri, body: Bytes) -> Result<PostAnswer, PostError> {
        let authority = match (url.scheme_str(), url.authority()) {
            (Some("https"), _) => return Err(PostError::Https(url.clone())),
            (Some("http"), Some(authority)) => authority,
            _ => return Err(PostError::Url(url.clone())),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = (host, authority.port_u16().unwrap_or(80));
        let stream =
            TcpStream::connect(address).await.map_err(|error| PostError::Connect(authority.to_string(), error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| PostError::Exchange(error.into()))?;
        let request = Request::post(url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
            .header(HOST, authority.as_str())
            .header(USER_AGENT, &self.user_agent)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_invalid| PostError::Url(url.clone()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| PostError::Exchange(error.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(PostError::Exchange)?.to_bytes();
            Ok(PostAnswer::new(status, &body))
        };
        match select(std::pin::pin!(exchange), connection).await {
            Either::Left((answer, _connection)) => answer,
            // The connection ended first: what it had read is still there.
            Either::Right((_ended, exchange)) => exchange.await,
        }
    }
}

impl Post for PlainPost {
    fn post<'a>(&'a self, url: &'a Uri, body: Bytes) -> PostFuture<'a> {
        Box::pin(self.exchange(url, body))
    }
}
