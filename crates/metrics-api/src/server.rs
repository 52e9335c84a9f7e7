//! The APIs over HTTP.
//!
//! - [`MetricsProvider`]: who answers; [`MetricsApi`] does.
//! - [`router`]: serves `/apis`, `/openapi` and everything below them.
//! - [`protect`]: puts the same identity and permission before other routes.
//!
//! Rule: bounded in length, concurrency and time; identity and permission come before everything else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::any;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::api::{MetricsApi, ObjectQuestion, Objects};
use crate::auth::{Authenticator, Authorizer, Credentials, Decision, PeerCertificates, User};
use crate::document;
use crate::error::ApiError;
use crate::hold::SampleState;
use crate::names::CustomMetricInfo;
use crate::openapi;
use crate::request::{
    Attributes, CUSTOM_GROUP, CustomRequest, EXTERNAL_GROUP, ExternalRequest, MAX_URI_BYTES, Request, route,
};
use crate::source::BoxFuture;
use crate::values::{ExternalMetricValue, MetricValue};

/// Requests that are served at once. 500 autoscalers at 15 s ask 33 times a second; 256 of them would have
/// to take 8 s each to fill this.
pub const MAX_CONCURRENT_REQUESTS: usize = 256;
/// Longest time for one request. kube-apiserver gives up on an aggregated API after 60 s.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers requests.
pub trait MetricsProvider: Send + Sync {
    /// The metric of objects.
    ///
    /// # Errors
    ///
    /// There is no value; the error says why.
    fn custom<'a>(&'a self, request: &'a CustomRequest) -> BoxFuture<'a, Result<Vec<MetricValue>, ApiError>>;

    /// An external metric.
    ///
    /// # Errors
    ///
    /// There is no value; the error says why.
    fn external<'a>(
        &'a self,
        request: &'a ExternalRequest,
    ) -> BoxFuture<'a, Result<Vec<ExternalMetricValue>, ApiError>>;

    /// The metrics of objects; `None` when the group is not served at all.
    fn custom_metrics(&self) -> Option<Vec<CustomMetricInfo>>;

    /// The external metrics; `None` when the group is not served at all.
    fn external_metrics(&self) -> Option<Vec<String>>;
}

impl MetricsProvider for MetricsApi {
    fn custom<'a>(&'a self, request: &'a CustomRequest) -> BoxFuture<'a, Result<Vec<MetricValue>, ApiError>> {
        Box::pin(async move {
            let objects = match &request.name {
                Some(name) => Objects::Named(name),
                None => Objects::Matching(&request.selector),
            };
            let question = ObjectQuestion {
                resource: &request.resource,
                namespace: request.namespace.as_deref(),
                objects,
                metric: &request.metric,
                metric_selector: &request.metric_selector,
                deadline: Some(request.timeout.map_or(REQUEST_DEADLINE, |timeout| timeout.min(REQUEST_DEADLINE))),
            };
            self.objects_metric(&question).await
        })
    }

    fn external<'a>(
        &'a self,
        request: &'a ExternalRequest,
    ) -> BoxFuture<'a, Result<Vec<ExternalMetricValue>, ApiError>> {
        let deadline = Some(request.timeout.map_or(REQUEST_DEADLINE, |timeout| timeout.min(REQUEST_DEADLINE)));
        let (namespace, metric, selector) = (&request.namespace, &request.metric, &request.metric_selector);
        Box::pin(self.traced_external_metric(namespace, metric, selector, deadline, None))
    }

    fn custom_metrics(&self) -> Option<Vec<CustomMetricInfo>> {
        self.published().config.serves_custom().then(|| Self::custom_metrics(self))
    }

    fn external_metrics(&self) -> Option<Vec<String>> {
        self.published().config.serves_external().then(|| Self::external_metrics(self))
    }
}

/// What the router serves with.
#[derive(Clone)]
pub struct ServerState {
    /// Who answers.
    pub provider: Arc<dyn MetricsProvider>,
    /// Who finds out who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// Who decides whether they may.
    pub authorizer: Arc<dyn Authorizer>,
}

impl std::fmt::Debug for ServerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerState").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Shared {
    state: ServerState,
    slots: Arc<Semaphore>,
}

/// Serves `/apis` and `/openapi`, and everything below them; to be merged into other routers, not nested. The listener may put `ConnectInfo<SocketAddr>` and
/// [`PeerCertificates`] into the extensions of a request.
pub fn router(state: ServerState) -> Router {
    let shared = Shared { state, slots: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)) };
    let routes = ["/apis", "/apis/", "/apis/{*path}", "/openapi/v2", "/openapi/v3", "/openapi/v3/{*path}"];
    routes.into_iter().fold(Router::new(), |router, path| router.route(path, any(serve))).with_state(shared)
}

async fn serve(State(shared): State<Shared>, request: http::Request<Body>) -> Response<Body> {
    let Ok(_slot) = shared.slots.try_acquire() else {
        return refused(&ApiError::TooManyRequests);
    };
    let (parts, _body) = request.into_parts();
    let call = Call::of(&parts);
    match tokio::time::timeout(REQUEST_DEADLINE, answer(&shared.state, &call)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(path = call.path, stage = error.stage().as_str(), "{error}; {}", error.explanation());
            refused(&error)
        }
        Err(_elapsed) => refused(&ApiError::Timeout),
    }
}

/// One request, as far as it matters here.
struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    peer: Option<SocketAddr>,
    certificates: &'a [Vec<u8>],
}

impl<'a> Call<'a> {
    fn of(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            certificates: parts.extensions.get::<PeerCertificates>().map_or(&[], |certificates| &certificates.0),
        }
    }
}

/// Puts identity and permission before all routes of a router, as paths that are no resources.
pub fn protect(router: Router, state: ServerState) -> Router {
    router.layer(from_fn_with_state(state, admit))
}

async fn admit(State(state): State<ServerState>, request: http::Request<Body>, next: Next) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let call = Call::of(&parts);
    let attributes = Attributes::NonResource { path: call.path.to_owned() };
    let admitted = async {
        let user = identify(&state, &call).await?;
        permit(&state, &user, &attributes).await
    };
    match tokio::time::timeout(REQUEST_DEADLINE, admitted).await {
        Ok(Ok(())) => next.run(http::Request::from_parts(parts, body)).await,
        Ok(Err(error)) => refused(&error),
        Err(_elapsed) => refused(&ApiError::Timeout),
    }
}

/// The answer where there is nothing.
pub async fn nothing_there() -> Response<Body> {
    refused(&ApiError::NoSuchPath)
}

async fn identify(state: &ServerState, call: &Call<'_>) -> Result<User, ApiError> {
    let credentials = Credentials { headers: call.headers, peer: call.peer, certificates: call.certificates };
    let user = state.authenticator.authenticate(credentials).await;
    user.map_err(|cause| ApiError::Unauthorized(cause.to_string()))
}

async fn permit(state: &ServerState, user: &User, attributes: &Attributes) -> Result<(), ApiError> {
    let reason = match state.authorizer.authorize(user, attributes).await {
        Ok(Decision::Allow) => return Ok(()),
        Ok(Decision::Deny(reason)) => reason,
        Err(cause) => cause.to_string(),
    };
    Err(ApiError::Forbidden { action: attributes.to_string(), reason })
}

async fn answer(state: &ServerState, call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let user = identify(state, call).await?;
    if call.path.len() + call.query.map_or(0, str::len) > MAX_URI_BYTES {
        return Err(ApiError::BadRequest(format!("the request is longer than {MAX_URI_BYTES} bytes")));
    }
    let routed = route(call.path, call.query);
    let attributes = match &routed {
        Ok(routed) => routed.attributes.clone(),
        Err(_nothing_there) => Attributes::NonResource { path: call.path.to_owned() },
    };
    permit(state, &user, &attributes).await?;
    let request = routed?.request;
    if call.method != Method::GET {
        return Err(ApiError::MethodNotAllowed);
    }
    match request {
        Request::Custom(request) => {
            let values = state.provider.custom(&request).await?;
            let held = values.iter().filter(|value| value.state == SampleState::Held).count();
            Ok(with_warning(text(document::metric_value_list(request.version, &values)), held, values.len()))
        }
        Request::External(request) => {
            let values = state.provider.external(&request).await?;
            let held = values.iter().filter(|value| value.state == SampleState::Held).count();
            Ok(with_warning(text(document::external_metric_value_list(&values)), held, values.len()))
        }
        discovery => discover(&*state.provider, &discovery, call.headers),
    }
}

fn discover(
    provider: &dyn MetricsProvider,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let (custom, external) = (provider.custom_metrics(), provider.external_metrics());
    let served = |group: &str| match group {
        CUSTOM_GROUP => custom.is_some(),
        EXTERNAL_GROUP => external.is_some(),
        _ => false,
    };
    let groups: Vec<&str> = [CUSTOM_GROUP, EXTERNAL_GROUP].into_iter().filter(|group| served(group)).collect();
    match request {
        Request::Groups if wants_aggregated(headers) => {
            let mut response = json(&document::aggregated_discovery(custom.as_deref(), external.as_deref()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED_V2));
            Ok(response)
        }
        Request::Groups => Ok(json(&document::api_group_list(&groups))),
        Request::OpenApiV2 => Ok(json(&openapi::v2(&groups))),
        Request::OpenApiIndex => Ok(json(&openapi::v3_index(&groups))),
        Request::OpenApiV3 { group, version } if served(group) => {
            openapi::v3(group, version).map(|document| json(&document)).ok_or(ApiError::NoSuchPath)
        }
        Request::Group(group) if served(group) => Ok(json(&document::api_group(group))),
        Request::Resources { group, version } => match (group.as_str(), custom, external) {
            (CUSTOM_GROUP, Some(metrics), _) => Ok(json(&document::custom_resource_list(version, &metrics))),
            (EXTERNAL_GROUP, _, Some(metrics)) => Ok(json(&document::external_resource_list(&metrics))),
            _ => Err(ApiError::NoSuchPath),
        },
        Request::Group(_) | Request::OpenApiV3 { .. } | Request::Custom(_) | Request::External(_) => {
            Err(ApiError::NoSuchPath)
        }
    }
}

/// Whether the client's first choice is the aggregated document in its stable version.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let first = accept.split(',').next().unwrap_or("");
    ["as=APIGroupDiscoveryList", "g=apidiscovery.k8s.io", "v=v2"]
        .iter()
        .all(|wanted| first.split(';').any(|parameter| parameter.trim() == *wanted))
}

fn json(document: &Value) -> Response<Body> {
    text(document.to_string())
}

/// A document that is written already.
fn text(document: String) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// kubectl prints this; the HPA ignores it.
fn with_warning(mut response: Response<Body>, held: usize, all: usize) -> Response<Body> {
    if held > 0 {
        let text = format!("299 crescendo \"{held} of {all} values are held: their targets do not answer\"");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(http::header::WARNING, value);
        }
    }
    response
}

fn refused(error: &ApiError) -> Response<Body> {
    let mut response = json(&document::status(error));
    let (code, _) = error.status();
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if matches!(error, ApiError::TooManyRequests) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// One request to the handler, without a connection.
#[cfg(test)]
pub(crate) async fn respond(state: ServerState, method: &str, path: &str) -> Response<Body> {
    let shared = Shared { state, slots: Arc::new(Semaphore::new(1)) };
    let request = http::Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    serve(State(shared), request).await
}

#[cfg(test)]
mod tests;
