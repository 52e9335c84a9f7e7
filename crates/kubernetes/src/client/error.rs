//! Why the API server did not do what it was asked.
//!
//! Rule: what the server says is kept as it says it, cut to a bound.

use std::time::Duration;

use http_client::ClientError;
use serde::Deserialize;

use super::meta::or_default;

/// Characters of a server's message that are kept.
const MAX_MESSAGE_CHARS: usize = 500;

/// Why a request failed.
///
/// After [`Client`](Self::Client), [`Timeout`](Self::Timeout) and a status of 429 or 5xx another attempt may succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No answer.
    #[error("the API server cannot be asked: {0}")]
    Client(#[from] ClientError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server refuses.
    #[error("{reason} ({code}): {message}")]
    Status {
        /// The status of HTTP.
        code: u16,
        /// The word for it: `Forbidden`, `Expired`.
        reason: String,
        /// What it says.
        message: String,
        /// The last of its causes with a reason; our own metrics API names the stage there that failed.
        cause: Option<Box<StatusCause>>,
    },
    /// The answer is not what it should be.
    #[error("answer that cannot be read: {0}")]
    Form(String),
    /// There are more objects than are kept.
    #[error("more than {0} objects")]
    TooMany(usize),
}

/// One of the causes that a server names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the server says instead of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    code: u16,
    reason: String,
    message: String,
    #[serde(deserialize_with = "or_default")]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "or_default")]
    causes: Vec<StatusCause>,
}

impl ApiError {
    /// The error of an answer with a status that is none of success.
    pub(super) fn of_answer(code: u16, body: &[u8]) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let text = || String::from_utf8_lossy(body.get(..MAX_MESSAGE_CHARS).unwrap_or(body)).into_owned();
        let message = if status.message.is_empty() { text() } else { status.message };
        Self::of_status(Status { code, message, ..status })
    }

    /// The error that a `Status` object is.
    pub(super) fn of_status(status: Status) -> Self {
        let known = http::StatusCode::from_u16(status.code).ok().and_then(|code| code.canonical_reason());
        let reason = if status.reason.is_empty() { known.unwrap_or("Unknown").to_owned() } else { status.reason };
        let cut = |text: &str| text.chars().take(MAX_MESSAGE_CHARS).collect::<String>();
        let cause = status.details.causes.into_iter().rev().find(|cause| !cause.reason.is_empty());
        let cause =
            cause.map(|cause| Box::new(StatusCause { reason: cut(&cause.reason), message: cut(&cause.message) }));
        Self::Status { code: status.code, reason: cut(&reason), message: cut(status.message.trim()), cause }
    }

    /// The status of HTTP, where there is an answer.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the version that was asked for is too old: list again.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether it may not be done.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// Whether it is not there: the object, or its kind.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether it was changed, or created, by somebody else.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }
}
