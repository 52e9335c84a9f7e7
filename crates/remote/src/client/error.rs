//! Why an API gives no answer.

use std::time::Duration;

use http::StatusCode;

/// Why an API gives no answer. [`is_transient`](Self::is_transient) tells which are worth another try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server cannot be reached or asked, or what came is no HTTP.
    #[error(transparent)]
    Http(#[from] http_client::ClientError),
    /// The answer did not come in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// A status with which no API document comes. The text is that of the client in prometheus-adapter.
    #[error("bad_response: unknown response code {}", .0.as_u16())]
    Status(StatusCode),
    /// The API answers with an error.
    #[error("{kind}: {message}")]
    Api {
        /// Its kind, as the API calls it: `bad_data`, `timeout`, `execution`, ….
        kind: String,
        /// Its message.
        message: String,
    },
    /// The document is none of the API's.
    #[error("bad_response: invalid document")]
    Json(#[source] serde_json::Error),
    /// The document says something that the API cannot say.
    #[error("bad_response: {0}")]
    Document(String),
    /// The answer is larger than is taken.
    #[error("answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer has more elements than the caller takes.
    #[error("answer has more than {0} elements")]
    TooMany(usize),
}

impl ClientError {
    /// Whether the same question may be answered a moment later: the server was not reached, the connection
    /// broke, or whoever stands before the server says that it is busy or away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => {
                use http_client::ClientError::{Connect, Exchange};
                matches!(error, Connect { .. } | Exchange(_))
            }
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Api { kind, .. } => kind == "unavailable",
            _ => false,
        }
    }
}

/// Whether a document of the API comes with a status, as clients of the API decide it.
#[must_use]
pub fn has_document(status: StatusCode) -> bool {
    status.is_success() || matches!(status.as_u16(), 400 | 422 | 503)
}
