//! The seam to HTTP.
//!
//! - [`Post`]: sends one document. An [`HttpClient`] does, with the TLS, credentials and proxies of its configuration.
//!
//! Rule: the answer is read up to a bound, and only to say why something was refused.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_client::{ClientError, HttpClient};

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
    /// No answer came.
    #[error(transparent)]
    Client(#[from] ClientError),
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
            Self::Client(error) => matches!(
                error,
                ClientError::Connect { .. }
                    | ClientError::Exchange(_)
                    | ClientError::Tls { .. }
                    | ClientError::Proxy { .. }
                    | ClientError::Body(_)
            ),
            Self::Timeout(_) => true,
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

impl Post for HttpClient {
    fn post<'a>(&'a self, url: &'a Uri, body: Bytes) -> PostFuture<'a> {
        Box::pin(async move {
            let request = Request::post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body)
                .map_err(|_invalid| ClientError::Url(url.to_string()))?;
            let answer = self.send(request, MAX_ANSWER_BYTES).await?;
            Ok(PostAnswer::new(answer.status(), answer.body()))
        })
    }
}
