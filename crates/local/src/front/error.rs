//! Answers of our own, in the form that clients of `OpenAI`'s API read.
//!
//! Rule: an answer says whether it is worth to try again, and when.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::FrontBody;
use crate::metrics::RequestOutcome;

/// Seconds after which a client may try again: a model loads in about one.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why the front answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrontError {
    /// No worker takes requests.
    NoReadyWorker,
    /// Every worker that takes requests refused the connection.
    Unreachable,
    /// The worker ended before it answered; the request may have been worked on.
    WorkerFailed,
    /// A tunnel was asked for.
    Tunnel,
}

impl FrontError {
    const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::NoReadyWorker => (
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "no_ready_worker",
                "no worker is ready: it may still load its model, try again in a moment",
            ),
            Self::Unreachable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "worker_unreachable",
                "no worker could be reached, nothing of the request was sent, try again in a moment",
            ),
            Self::WorkerFailed => (
                StatusCode::BAD_GATEWAY,
                "server_error",
                "worker_failed",
                "the worker ended before it answered; the request was not sent to another one",
            ),
            Self::Tunnel => (
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request_error",
                "method_not_supported",
                "the method CONNECT is not supported",
            ),
        }
    }

    /// How the request is counted; none for one that no worker could have answered.
    pub(crate) const fn outcome(self) -> Option<RequestOutcome> {
        match self {
            Self::NoReadyWorker => Some(RequestOutcome::NoReadyWorker),
            Self::Unreachable => Some(RequestOutcome::WorkerUnreachable),
            Self::WorkerFailed => Some(RequestOutcome::WorkerFailed),
            Self::Tunnel => None,
        }
    }

    pub(crate) fn response(self) -> Response<FrontBody> {
        let (status, kind, code, message) = self.parts();
        let body = serde_json::json!({
            "error": {"message": message, "type": kind, "param": null, "code": code}
        });
        let mut response = json(status, body.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// An answer that is there in one piece.
pub(crate) fn json(status: StatusCode, text: String) -> Response<FrontBody> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
