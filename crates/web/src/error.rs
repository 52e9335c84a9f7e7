//! Refusals, in the form that clients of Prometheus know.
//!
//! Rule: the text names the parameter or the expression; status and type are upstream's.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use promql::EvalError;
use storage::QueryError;

/// The class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A parameter is wrong.
    BadData,
    /// The expression cannot be evaluated on these data.
    Execution,
    /// The query took too long, or waited too long for its turn.
    Timeout,
    /// The query was stopped.
    Canceled,
    /// The storage failed.
    Internal,
    /// There is no such thing.
    NotFound,
    /// The server cannot answer at present.
    Unavailable,
    /// The server was started without what is asked for.
    Disabled,
}

impl ErrorType {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Unavailable | Self::Disabled => "unavailable",
        }
    }

    /// The status of answers.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // "Client closed request": not in the standard, but in use.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal | Self::Disabled => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its class.
    pub error_type: ErrorType,
    /// What is wrong.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self { error_type, message: message.into() }
    }

    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    pub(crate) fn parameter(name: &str, problem: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {problem}"))
    }

    pub(crate) fn storage(error: &QueryError) -> Self {
        let error_type = match error {
            QueryError::Cancelled => ErrorType::Canceled,
            QueryError::Limit(_) | QueryError::OutOfMemory(_) => ErrorType::Execution,
            QueryError::Closed => ErrorType::Unavailable,
            _ => ErrorType::Internal,
        };
        Self::new(error_type, chain(error))
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let error_type = match &error {
            EvalError::Parse(parse) => return Self::parameter("query", parse),
            EvalError::InvalidRangeType(_) | EvalError::InvalidRange(_) => return Self::parameter("query", error),
            EvalError::Cancelled => ErrorType::Canceled,
            EvalError::TimedOut => ErrorType::Timeout,
            EvalError::Storage(source) => {
                let storage = Self::storage(source);
                return Self::new(storage.error_type, format!("expanding series: {}", storage.message));
            }
            _ => ErrorType::Execution,
        };
        Self::new(error_type, chain(&error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "status": "error",
            "errorType": self.error_type.as_str(),
            "error": self.message,
        });
        (self.error_type.status(), [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}
