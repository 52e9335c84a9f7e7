//! Health, readiness, build, our own metrics.
//!
//! Rule: these answer while the server starts and while it is overloaded.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datamodel::exposition::Format;

use super::{Shared, json};
use crate::json::Writer;

pub(super) async fn healthy() -> &'static str {
    "Crescendo is healthy.\n"
}

pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.parts.readiness.is_ready() {
        "Crescendo is ready.\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n").into_response()
    }
}

pub(super) async fn build_info(State(shared): State<Arc<Shared>>) -> Response {
    let build = &shared.parts.build;
    let pairs = [
        ("version", build.version.as_str()),
        ("revision", &build.revision),
        ("branch", &build.branch),
        // Not ours, but clients may expect the keys.
        ("buildUser", ""),
        ("buildDate", ""),
        ("goVersion", ""),
    ];
    let write = |writer: &mut Writer| {
        writer.raw("{");
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            writer.raw(if index > 0 { "," } else { "" });
            writer.text(key);
            writer.raw(":");
            writer.text(value);
        }
        writer.raw("}");
    };
    json(Writer::success(write, &[], &[]))
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut page = String::new();
    shared.parts.registry.encode_text(&mut page);
    ([(CONTENT_TYPE, Format::PrometheusText004.content_type())], page).into_response()
}
