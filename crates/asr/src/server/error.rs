//! Errors in the form that OpenAI's clients read.
//!
//! - [`ApiError`]: status, message, type, parameter, code; a response when axum asks for one.
//! - [`RejectReason`]: why a request was not accepted, as the metric's label.
//!
//! ```text
//! {"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}
//! ```
//!
//! Rule: what a message quotes of the request is shortened; nothing of the server's inside is in it.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::TranscribeError;

/// Why a request was not accepted: the closed set of values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// As many requests as may are waiting.
    QueueFull,
    /// As many bytes as may are in memory.
    UploadMemory,
    /// The model is not loaded yet.
    Loading,
    /// The server is shutting down.
    Draining,
    /// No or a wrong API key.
    Unauthorized,
    /// The file or the body is larger than allowed.
    TooLarge,
    /// The body did not arrive in time.
    UploadTimeout,
    /// No such model here.
    UnknownModel,
    /// Any other fault of the request.
    InvalidRequest,
}

impl RejectReason {
    /// All values, for the metric.
    pub(crate) const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::UploadMemory,
        Self::Loading,
        Self::Draining,
        Self::Unauthorized,
        Self::TooLarge,
        Self::UploadTimeout,
        Self::UnknownModel,
        Self::InvalidRequest,
    ];

    /// The label's value.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::UploadMemory => "upload_memory",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::UploadTimeout => "upload_timeout",
            Self::UnknownModel => "unknown_model",
            Self::InvalidRequest => "invalid_request",
        }
    }
}

/// An answer that is no transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// One of OpenAI's types, or `overloaded_error`.
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) param: Option<Cow<'static, str>>,
    pub(crate) message: String,
    pub(crate) retry_after_seconds: Option<u64>,
}

const INVALID_REQUEST: &str = "invalid_request_error";
const OVERLOADED: &str = "overloaded_error";
const SERVER: &str = "server_error";

/// While the model loads or the server leaves, another try in a second is about right: a load takes
/// under one second on a CPU, and another worker takes over at once.
const RETRY_SOON_SECONDS: u64 = 1;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: String) -> Self {
        Self { status, kind, code, param: None, message, retry_after_seconds: None }
    }

    fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn invalid(param: impl Into<Cow<'static, str>>, code: &'static str, message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, code, message).with_param(param)
    }

    pub(crate) fn malformed(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, "invalid_multipart_form", message)
    }

    pub(crate) fn not_multipart() -> Self {
        let message = "the request must be multipart/form-data with a boundary".to_owned();
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, "unsupported_media_type", message)
    }

    pub(crate) fn too_large(limit_bytes: u64) -> Self {
        let message = format!("the file is larger than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, "file_too_large", message).with_param("file")
    }

    pub(crate) fn upload_timeout(seconds: u64) -> Self {
        let message = format!("the request body did not arrive within {seconds} s");
        Self::new(StatusCode::REQUEST_TIMEOUT, INVALID_REQUEST, "upload_timeout", message)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("the model `{}` does not exist on this server; see /v1/models", shortened(model));
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "model_not_found", message).with_param("model")
    }

    pub(crate) fn unauthorized(given: bool) -> Self {
        let message =
            if given { "incorrect API key" } else { "no API key: send it in the header `Authorization: Bearer KEY`" };
        Self::new(StatusCode::UNAUTHORIZED, INVALID_REQUEST, "invalid_api_key", message.to_owned())
    }

    pub(crate) fn unknown_path(method: &str, path: &str) -> Self {
        let message = format!("unknown request URL: {} {}", shortened(method), shortened(path));
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "unknown_url", message)
    }

    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("method {} is not allowed for {}", shortened(method), shortened(path));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, "method_not_allowed", message)
    }

    pub(crate) fn websocket() -> Self {
        let message = "WebSocket is not supported: send whole files to POST /v1/audio/transcriptions".to_owned();
        Self::new(StatusCode::NOT_IMPLEMENTED, INVALID_REQUEST, "websocket_not_supported", message)
    }

    pub(crate) fn queue_full(retry_after_seconds: u64) -> Self {
        let message = "the server is working at its limit and its queue is full".to_owned();
        Self::new(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, "queue_full", message)
            .with_retry_after(retry_after_seconds)
    }

    pub(crate) fn upload_memory() -> Self {
        let message = "the server holds as many uploads in memory as it may".to_owned();
        Self::new(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, "upload_memory", message)
            .with_retry_after(RETRY_SOON_SECONDS)
    }

    pub(crate) fn loading() -> Self {
        let message = "the model is being loaded".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, "model_loading", message)
            .with_retry_after(RETRY_SOON_SECONDS)
    }

    pub(crate) fn draining() -> Self {
        let message = "the server is shutting down".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down", message)
            .with_retry_after(RETRY_SOON_SECONDS)
    }

    pub(crate) fn timeout(seconds: u64) -> Self {
        let message = format!("no transcript within {seconds} s");
        Self::new(StatusCode::GATEWAY_TIMEOUT, SERVER, "timeout", message)
    }

    pub(crate) fn internal() -> Self {
        let message = "the server had an error while it processed the request".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error", message)
    }

    /// What the client is told about a failed transcription.
    pub(crate) fn transcribe(error: &TranscribeError) -> Self {
        let message = error.to_string();
        let code = match error {
            TranscribeError::NotAudio => "not_audio",
            TranscribeError::UnsupportedCodec { .. } => "unsupported_codec",
            TranscribeError::Empty => "empty_file",
            TranscribeError::Truncated { .. } => "truncated_file",
            TranscribeError::Damaged { .. } => "damaged_file",
            TranscribeError::TooLong { .. } | TranscribeError::TooLarge { .. } => {
                return Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, "file_too_large", message)
                    .with_param("file");
            }
            TranscribeError::UnsupportedLanguage { .. } => {
                return Self::invalid("language", "unsupported_language", message);
            }
            TranscribeError::InvalidOption { option, .. } => {
                return Self::invalid(*option, "invalid_value", message);
            }
            TranscribeError::Cancelled | TranscribeError::Internal { .. } => return Self::internal(),
        };
        Self::invalid("file", code, message)
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Detail<'a>,
}

#[derive(Serialize)]
struct Detail<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail =
            Detail { message: &self.message, r#type: self.kind, param: self.param.as_deref(), code: self.code };
        let mut response = (self.status, axum::Json(Envelope { error: detail })).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// At most 64 characters of a text, for messages and logs.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}
