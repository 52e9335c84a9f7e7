//! Health, metrics and version of the process, and what may be asked without permission.
//!
//! Rule: everything but the paths that are always allowed needs identity and permission.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datamodel::exposition::Format;
use datamodel::registry::Registry;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use metrics_api::{ServerState, nothing_there, protect};

/// Whether the server can take requests, asked with each request for it.
#[derive(Clone)]
pub struct Ready(Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ready").field(&(self.0)()).finish()
    }
}

impl Ready {
    /// Takes who knows it.
    #[must_use]
    pub fn new(is_ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_ready))
    }
}

/// `--authorization-always-allow-paths`: paths, or beginnings of paths with a `*` behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlwaysAllowed(pub Vec<String>);

impl AlwaysAllowed {
    fn allows(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.0.iter().map(|allowed| allowed.trim_start_matches('/')).any(|allowed| match allowed.strip_suffix('*') {
            Some(begin) => path.starts_with(begin),
            None => path == allowed,
        })
    }
}

#[derive(Clone)]
struct Shared {
    registry: Registry,
    ready: Ready,
}

/// Everything that the adapter serves: the metrics APIs of `state`, the process itself, and further pages, which need
/// identity and permission.
pub fn operations(
    state: &ServerState,
    apis: Router,
    registry: Registry,
    ready: Ready,
    pages: Router,
    allowed: &AlwaysAllowed,
) -> Router {
    let page = |path: &str, router: Router<Shared>| match path {
        "/readyz" => router.route(path, get(readyz)),
        "/metrics" => router.route(path, get(metrics)),
        _ => router.route(path, get(alive)),
    };
    let (mut open, mut closed) = (Router::new(), Router::new());
    for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
        if allowed.allows(path) {
            open = page(path, open);
        } else {
            closed = page(path, closed);
        }
    }
    let shared = Shared { registry, ready };
    let closed = closed.with_state(shared.clone()).merge(pages).fallback(nothing_there);
    open.with_state(shared).merge(apis).merge(protect(closed, state.clone()))
}

async fn alive() -> &'static str {
    "ok"
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if (shared.ready.0)() {
        "ok".into_response()
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "the series of the rules are not listed yet\n").into_response()
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut page = String::new();
    shared.registry.encode_text(&mut page);
    ([(CONTENT_TYPE, Format::PrometheusText004.content_type())], page).into_response()
}
