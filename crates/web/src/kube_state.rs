//! The page about a cluster, in the format that is asked for.
//!
//! Rule: a page that cannot be had is an answer of 503 with the reason, so that a scrape fails and ends nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datamodel::exposition::Format;

use crate::error::{ApiError, ErrorType};
use crate::seams::MetricsPage;

/// Where the page is.
pub const KUBE_STATE_PATH: &str = "/metrics/kube-state";

/// The page and nothing else, without any protection.
pub fn kube_state_router(page: Arc<dyn MetricsPage>) -> Router {
    Router::new().route(KUBE_STATE_PATH, get(alone)).with_state(page)
}

async fn alone(State(page): State<Arc<dyn MetricsPage>>, headers: HeaderMap) -> Response {
    answer(page, &headers).await
}

/// The answer to who asks with these headers.
pub(crate) async fn answer(page: Arc<dyn MetricsPage>, headers: &HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    // Large clusters have large pages.
    let written = tokio::task::spawn_blocking(move || page.page(format)).await;
    match written {
        Ok(Ok(text)) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Ok(Err(error)) => ApiError::new(ErrorType::Unavailable, format!("{error}: {}", error.source)).into_response(),
        Err(_panicked) => ApiError::new(ErrorType::Internal, "request failed unexpectedly").into_response(),
    }
}
