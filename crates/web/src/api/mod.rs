//! The endpoints, and how requests reach them.
//!
//! - [`Api`], [`Shared`]; one module for each group of endpoints.
//! - `answer`: small answers as trees; `cors`, `compress`: around all answers.
//!
//! Rule: whatever reads the storage goes through the gate; a handler itself never blocks.

mod admin;
pub(crate) mod answer;
mod autoscaling;
mod compress;
mod cors;
mod expressions;
pub(crate) mod families;
mod federate;
mod known_series;
mod lifecycle;
mod metadata;
mod query;
pub(crate) mod relabel;
mod remote;
pub(crate) mod rules;
pub(crate) mod status;
pub(crate) mod targets;
mod tree;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use datamodel::registry::RegisterError;
use tokio::sync::{Mutex, Semaphore};

pub use self::autoscaling::StatusReceiver;
use self::known_series::KnownSeries;
use crate::error::{ApiError, ErrorType};
use crate::gate::Gate;
use crate::kube_state;
use crate::metrics::WebMetrics;
use crate::pages;
use crate::parts::{ApiOptions, Parts};

/// The most bytes of the form of a POST.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// The API.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// What all handlers share.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) gate: Gate,
    pub(crate) metrics: WebMetrics,
    /// Changes of the storage: one at a time.
    changes: Mutex<()>,
    /// Remote writes: a bounded number at a time.
    writes: Semaphore,
    /// Series that remote write has named.
    known_series: Arc<KnownSeries>,
    /// Whether the end was asked for.
    quits: AtomicBool,
}

impl Shared {
    /// Runs work that may block and is no query.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let failed = |_panicked| ApiError::new(ErrorType::Internal, "request failed unexpectedly");
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }
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
        let metrics = WebMetrics::new(&parts.registry, max_concurrency, &parts.readiness)?;
        let gate = Gate::new(max_concurrency, max_queued, metrics.active_queries.clone());
        let writes = Semaphore::new(remote::MAX_CONCURRENT_WRITES);
        Ok(Self(Arc::new(Shared {
            parts,
            gate,
            metrics,
            changes: Mutex::default(),
            writes,
            known_series: Arc::new(KnownSeries::new()),
            quits: AtomicBool::new(false),
        })))
    }

    /// The endpoints. Other routers can be merged with it; it brings the fallback for everything else.
    pub fn router(&self) -> Router {
        let shared = Arc::clone(&self.0);
        let ready = queries()
            .merge(storage_and_rules())
            .merge(pages::routes(&shared))
            .route_layer(from_fn_with_state(Arc::clone(&shared), require_ready));
        let router = ready
            .merge(always(&shared))
            .fallback(not_served)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn(compress::compress))
            .layer(from_fn_with_state(Arc::clone(&shared), cors::cors))
            .layer(from_fn_with_state(Arc::clone(&shared), observe))
            .with_state(Arc::clone(&shared));
        let prefix = shared.parts.options.route_prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return router;
        }
        let home = format!("{prefix}/");
        Router::new().route("/", get(move || async move { Redirect::to(&home) })).nest(prefix, router)
    }
}

/// What is answered only when the storage is open.
fn queries() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(expressions::exemplars).post(expressions::exemplars))
        .route("/api/v1/format_query", get(expressions::format).post(expressions::format))
        .route("/api/v1/parse_query", get(expressions::syntax_tree).post(expressions::syntax_tree))
        .route("/api/v1/series", get(metadata::series).post(metadata::series))
        .route("/api/v1/labels", get(metadata::label_names).post(metadata::label_names))
        .route("/api/v1/label/{name}/values", get(metadata::label_values))
        .route("/api/v1/metadata", get(families::metadata))
        .route("/api/v1/targets/metadata", get(families::of_targets))
        .route("/api/v1/read", post(remote::read))
        .route("/api/v1/write", post(remote::write))
        .route("/federate", get(federate::federate))
}

fn storage_and_rules() -> Router<Arc<Shared>> {
    let admin = "/api/v1/admin/tsdb";
    Router::new()
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/relabel_steps", get(relabel::relabel_steps))
        .route("/api/v1/scrape_pools", get(targets::scrape_pools))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route(&format!("{admin}/delete_series"), post(admin::delete_series).put(admin::delete_series))
        .route(&format!("{admin}/clean_tombstones"), post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route(&format!("{admin}/snapshot"), post(admin::snapshot).put(admin::snapshot))
        .route(&format!("{admin}/merge"), post(admin::merge).put(admin::merge))
        .route("/-/ready", get(status::ready))
}

/// What is answered from the first moment on.
fn always(shared: &Shared) -> Router<Arc<Shared>> {
    let mut router = Router::new()
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/api/v1/notifications", get(status::notifications))
        .route("/-/healthy", get(status::healthy))
        .route("/-/reload", get(lifecycle::only_post).post(lifecycle::reload).put(lifecycle::reload))
        .route("/-/quit", get(lifecycle::only_post).post(lifecycle::quit).put(lifecycle::quit))
        .route("/version", get(status::version))
        .route("/metrics", get(status::metrics));
    if let Some(page) = &shared.parts.kube_state {
        let page = Arc::clone(page);
        let answer = move |headers: HeaderMap| async move { kube_state::answer(page, &headers).await };
        router = router.route("/metrics/kube-state", get(answer));
    }
    if shared.parts.autoscaling.is_some() {
        router = router
            .route("/", get(autoscaling::live_page))
            .route("/autoscaling", get(autoscaling::live_page))
            .route("/autoscaling/fragment", get(autoscaling::live_fragment))
            .route("/api/v1/autoscaling", get(autoscaling::status));
    }
    router
}

async fn require_ready(State(shared): State<Arc<Shared>>, request: Request<Body>, next: Next) -> Response {
    if shared.parts.readiness.is_ready() { next.run(request).await } else { status::unavailable() }
}

/// Counts and times a request, under the pattern of its path: paths themselves have no bound.
async fn observe(State(shared): State<Arc<Shared>>, request: Request<Body>, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let start = shared.parts.clock.now();
    let response = next.run(request).await;
    let pattern = path.as_ref().map_or("other", MatchedPath::as_str);
    let pattern = pattern.strip_prefix(shared.parts.options.route_prefix.trim_end_matches('/')).unwrap_or(pattern);
    // Upstream's router writes parameters so.
    let handler = pattern.replace("{name}", ":name");
    shared.metrics.observe(&handler, response.status().as_u16(), shared.parts.clock.now().since(start));
    response
}

/// Endpoints of Prometheus that are not served.
const KNOWN: [&str; 7] = [
    "/api/v1/features",
    "/api/v1/notifications/live",
    "/api/v1/openapi.yaml",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/scrape_pools/config",
    "/api/v1/status/self_metrics",
    "/api/v1/status/tsdb/blocks",
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
