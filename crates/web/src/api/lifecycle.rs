//! `/-/reload` and `/-/quit`.
//!
//! Rule: only POST and PUT act, so that no link can; and only with `--web.enable-lifecycle`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::error::chain;

const DISABLED: (StatusCode, &str) = (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.");

pub(super) async fn only_post() -> (StatusCode, &'static str) {
    (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed")
}

pub(super) async fn reload(State(shared): State<Arc<Shared>>) -> Response {
    let Some(lifecycle) = &shared.parts.lifecycle else { return DISABLED.into_response() };
    match lifecycle.reload().await {
        Ok(()) => ().into_response(),
        Err(error) => {
            let text = format!("failed to reload config: {}\n", chain(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

pub(super) async fn quit(State(shared): State<Arc<Shared>>) -> Response {
    let Some(lifecycle) = &shared.parts.lifecycle else { return DISABLED.into_response() };
    if shared.quits.swap(true, Ordering::AcqRel) {
        return "Termination already in progress.".into_response();
    }
    lifecycle.quit();
    "Requesting termination... Goodbye!".into_response()
}
