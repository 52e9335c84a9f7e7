//! The endpoints, and what they are made of.
//!
//! Rule: whatever reads the storage goes through the gate; a handler itself never blocks.

mod autoscaling;
mod metadata;
mod query;
mod status;
mod targets;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datamodel::registry::RegisterError;

pub use self::autoscaling::StatusReceiver;
use crate::error::{ApiError, ErrorType};
use crate::gate::Gate;
use crate::metrics::WebMetrics;
use crate::parts::{ApiOptions, Parts};

/// The most bytes of the form of a POST.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// The API.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

pub(crate) struct Shared {
    parts: Parts,
    gate: Gate,
    metrics: WebMetrics,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("build", &self.0.parts.build).field("gate", &self.0.gate).finish_non_exhaustive()
    }
}

impl Api {
    /// Puts the API together.
    ///
    /// # Errors
    ///
    /// The registry has metrics of the same names already.
    pub fn new(parts: Parts) -> Result<Self, RegisterError> {
        let ApiOptions { max_concurrency, max_queued, .. } = parts.options;
        let metrics = WebMetrics::new(&parts.registry, max_concurrency)?;
        let gate = Gate::new(max_concurrency, max_queued, metrics.active_queries.clone());
        Ok(Self(Arc::new(Shared { parts, gate, metrics })))
    }

    /// The endpoints. Other routers can be merged with it; it brings the fallback for everything else.
    pub fn router(&self) -> Router {
        let shared = Arc::clone(&self.0);
        let mut router = Router::new()
            .route("/api/v1/query", get(query::instant).post(query::instant))
            .route("/api/v1/query_range", get(query::range).post(query::range))
            .route("/api/v1/series", get(metadata::series).post(metadata::series))
            .route("/api/v1/labels", get(metadata::label_names).post(metadata::label_names))
            .route("/api/v1/label/{name}/values", get(metadata::label_values))
            .route("/api/v1/status/buildinfo", get(status::build_info))
            .route("/-/healthy", get(status::healthy))
            .route("/-/ready", get(status::ready))
            .route("/metrics", get(status::metrics));
        if self.0.parts.targets.is_some() {
            router = router
                .route("/api/v1/targets", get(targets::targets))
                .route("/api/v1/scrape_pools", get(targets::scrape_pools));
        }
        if self.0.parts.autoscaling.is_some() {
            router = router
                .route("/", get(autoscaling::live_page))
                .route("/autoscaling", get(autoscaling::live_page))
                .route("/autoscaling/fragment", get(autoscaling::live_fragment))
                .route("/api/v1/autoscaling", get(autoscaling::status));
        }
        router
            .fallback(not_served)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn_with_state(Arc::clone(&shared), observe))
            .with_state(shared)
    }
}

/// Counts and times a request, under the pattern of its path: paths themselves have no bound.
async fn observe(State(shared): State<Arc<Shared>>, request: Request<Body>, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let start = shared.parts.clock.now();
    let response = next.run(request).await;
    let handler = path.as_ref().map_or("other", MatchedPath::as_str);
    shared.metrics.observe(handler, response.status().as_u16(), shared.parts.clock.now().since(start));
    response
}

/// Endpoints of Prometheus that are not served.
const KNOWN: [&str; 29] = [
    "/api/v1/admin/tsdb/clean_tombstones",
    "/api/v1/admin/tsdb/delete_series",
    "/api/v1/admin/tsdb/snapshot",
    "/api/v1/alertmanagers",
    "/api/v1/alerts",
    "/api/v1/features",
    "/api/v1/format_query",
    "/api/v1/metadata",
    "/api/v1/notifications",
    "/api/v1/notifications/live",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/parse_query",
    "/api/v1/query_exemplars",
    "/api/v1/read",
    "/api/v1/rules",
    "/api/v1/scrape_pools",
    "/api/v1/status/config",
    "/api/v1/status/flags",
    "/api/v1/status/runtimeinfo",
    "/api/v1/status/tsdb",
    "/api/v1/status/tsdb/blocks",
    "/api/v1/status/walreplay",
    "/api/v1/targets",
    "/api/v1/targets/metadata",
    "/api/v1/targets/relabel_steps",
    "/api/v1/write",
    "/-/quit",
    "/-/reload",
    "/federate",
];

async fn not_served(request: Request<Body>) -> ApiError {
    let path = request.uri().path();
    let known = KNOWN.contains(&path);
    let shown: String = path.chars().take(200).collect();
    let message = if known {
        format!("endpoint is not served by this server: `{shown}`")
    } else {
        format!("no such endpoint: `{shown}`")
    };
    ApiError::new(ErrorType::NotFound, message)
}

async fn wrong_method(request: Request<Body>) -> Response {
    let error =
        ApiError::bad_data(format!("method {} is not allowed for `{}`", request.method(), request.uri().path()));
    let mut response = error.into_response();
    *response.status_mut() = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// An answer in JSON.
fn json(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
