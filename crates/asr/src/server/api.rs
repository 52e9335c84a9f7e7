//! The HTTP API: what each path does.
//!
//! - [`App`]: what all requests share; [`router`]: paths to handlers.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v1/audio/transcriptions` | a transcript, as OpenAI's API gives it |
//! | `GET /v1/models`, `/v1/models/ID` | the loaded model |
//! | `GET /health` | 200 as long as the process serves |
//! | `GET /ready` | 200 once the model is loaded; 503 before, and while draining |
//! | `GET /metrics` | text format 0.0.4 |
//!
//! Rule: until [`Queue::enqueue`] says yes a request costs no compute time and is *rejected*; from then
//! on it is *active*, and its [`Active`] travels with it into the answer's body.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::admission::{Active, JobError, Outcome, Queue, Refused, UploadBudget};
use super::auth::ApiKeys;
use super::config::ServerConfig;
use super::connection::Farewell;
use super::error::{ApiError, RejectReason};
use super::form::{self, Form, FormError, Served};
use super::metrics::{CONTENT_TYPE, Metrics};
use super::reload::Reloaded;
use super::render::{Parts, render};
use super::request_id::{REQUEST_ID, RequestIds};
use crate::{ErrorClass, ModelInfo};

/// A refused upload is read on for this long, so that the client gets to read the refusal: who closes
/// with unread bytes resets the connection.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) queue: Queue,
    pub(crate) uploads: UploadBudget,
    pub(crate) keys: Option<Reloaded<ApiKeys>>,
    pub(crate) request_ids: RequestIds,
    /// Empty while the model loads.
    pub(crate) model: OnceLock<LoadedModel>,
    /// Set when the shutdown begins.
    pub(crate) draining: CancellationToken,
}

/// The model that answers.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) info: ModelInfo,
    /// Unix seconds.
    pub(crate) loaded_at: i64,
}

type Shared = State<Arc<App>>;

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/audio/transcriptions", post(transcriptions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*model}", get(model))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), outermost))
        .with_state(app)
}

/// Around every request: its id, the log, WebSocket, and the connection's farewell.
async fn outermost(State(app): Shared, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = app.request_ids.of(request.headers());
    request.headers_mut().insert(REQUEST_ID, request_id.clone());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let farewell = request.extensions().get::<Farewell>().cloned();
    let mut response = if wants_websocket(request.headers()) {
        ApiError::websocket().into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(REQUEST_ID, request_id.clone());
    if farewell.is_some_and(|farewell| farewell.is_due()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    let request_id = request_id.to_str().unwrap_or_default();
    let elapsed_ms = started.elapsed().as_millis();
    if path.starts_with("/v1/") {
        tracing::info!(%method, path, status, elapsed_ms, request_id, "request");
    } else {
        tracing::debug!(%method, path, status, elapsed_ms, request_id, "request");
    }
    response
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "healthy"}))
}

async fn ready(State(app): Shared) -> Response {
    let status = match app.serving() {
        Ok(_) => return Json(json!({"status": "ready"})).into_response(),
        Err((RejectReason::Draining, _)) => "draining",
        Err(_) => "loading",
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": status}))).into_response()
}

async fn metrics(State(app): Shared) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.page()).into_response()
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::unknown_path(request.method().as_str(), request.uri().path())
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::wrong_method(request.method().as_str(), request.uri().path())
}

/// A model as OpenAI describes one.
#[derive(Serialize)]
struct ModelObject<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl<'a> ModelObject<'a> {
    fn of(model: &'a LoadedModel) -> Self {
        // The default model, and all others that we know of, are OpenAI's Whisper.
        Self { id: &model.info.id, object: "model", created: model.loaded_at, owned_by: "openai" }
    }
}

async fn models(State(app): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    app.authorize(&headers)?;
    let model = app.model.get().ok_or_else(ApiError::loading)?;
    Ok(Json(json!({"object": "list", "data": [ModelObject::of(model)]})).into_response())
}

async fn model(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    app.authorize(&headers)?;
    let model = app.model.get().ok_or_else(ApiError::loading)?;
    if app.served(model).answers_to(&name) {
        Ok(Json(ModelObject::of(model)).into_response())
    } else {
        Err(ApiError::unknown_model(&name))
    }
}

async fn transcriptions(State(app): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match app.accept(&parts.headers, &mut body).await {
        Ok(accepted) => app.answer(accepted).await,
        Err(FormError::Rejected(reason, error)) => {
            app.metrics.rejected(reason);
            let mut response = error.into_response();
            // Who waits for leave to send has sent nothing that could be discarded.
            let waits = parts.headers.contains_key(header::EXPECT);
            if waits || !discard(body, app.config.max_upload_bytes).await {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        Err(FormError::HungUp) => {
            app.metrics.hung_up_while_sending();
            // Nobody reads it.
            ApiError::malformed("the request body ended early".to_owned()).into_response()
        }
    }
}

/// Reads what is left of a body; whether that was all of it.
async fn discard(mut body: BodyDataStream, max_upload_bytes: u64) -> bool {
    let mut left_bytes = max_upload_bytes.saturating_mul(2);
    let read = async {
        while let Some(frame) = body.next().await {
            let Ok(bytes) = frame else { return false };
            let Some(left) = left_bytes.checked_sub(bytes.len() as u64) else { return false };
            left_bytes = left;
        }
        true
    };
    timeout(DISCARD_TIME, read).await.unwrap_or(false)
}

/// An accepted request.
struct Accepted {
    active: Active,
    outcome: oneshot::Receiver<Outcome>,
    format: form::ResponseFormat,
    parts: Parts,
}

impl App {
    fn authorize(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION);
        if given.is_some_and(|header| keys.get().allow(header)) {
            Ok(())
        } else {
            Err(ApiError::unauthorized(given.is_some()))
        }
    }

    /// The model, if the server is ready.
    fn serving(&self) -> Result<&LoadedModel, (RejectReason, ApiError)> {
        if self.draining.is_cancelled() {
            return Err((RejectReason::Draining, ApiError::draining()));
        }
        self.model.get().ok_or_else(|| (RejectReason::Loading, ApiError::loading()))
    }

    fn served<'a>(&'a self, model: &'a LoadedModel) -> Served<'a> {
        Served {
            model: &model.info,
            aliases: &self.config.model_aliases,
            max_upload_bytes: self.config.max_upload_bytes,
        }
    }

    /// From headers and body to a place in the queue.
    async fn accept(&self, headers: &HeaderMap, body: &mut BodyDataStream) -> Result<Accepted, FormError> {
        let reject = |reason| move |error| FormError::Rejected(reason, error);
        self.authorize(headers).map_err(reject(RejectReason::Unauthorized))?;
        // While draining the door stays open until the queue is closed: routers learn late.
        let model = self.model.get().ok_or_else(ApiError::loading).map_err(reject(RejectReason::Loading))?;
        let boundary = boundary(headers)?;
        let max_upload_bytes = self.config.max_upload_bytes;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > max_upload_bytes.saturating_add(form::MAX_FORM_OVERHEAD_BYTES)) {
            return Err(FormError::Rejected(RejectReason::TooLarge, ApiError::too_large(max_upload_bytes)));
        }
        self.queue.check().map_err(refused)?;
        let upload = self.uploads.open();
        let served = self.served(model);
        let read = form::read(body, boundary, &served, &upload);
        let form = timeout(self.config.body_read_timeout, read).await.map_err(|_elapsed| {
            let seconds = self.config.body_read_timeout.as_secs();
            FormError::Rejected(RejectReason::UploadTimeout, ApiError::upload_timeout(seconds))
        })??;
        let Form { audio, options, format, segments } = form;
        let parts = Parts { words: options.word_timestamps, segments };
        let (active, outcome) = self.queue.enqueue(audio, options, upload).map_err(refused)?;
        Ok(Accepted { active, outcome, format, parts })
    }

    /// Waits for the transcript and makes the answer of it.
    async fn answer(&self, accepted: Accepted) -> Response {
        let Accepted { active, outcome, format, parts } = accepted;
        let response = match timeout(self.config.request_timeout, outcome).await {
            Ok(Ok(Ok(transcript))) => {
                let (text, content_type) = render(&transcript, format, parts);
                ([(header::CONTENT_TYPE, content_type)], text).into_response()
            }
            Ok(Ok(Err(error))) => job_error(&error).into_response(),
            // The thread ended without a word, which it never does.
            Ok(Err(_closed)) => ApiError::internal().into_response(),
            Err(_elapsed) => ApiError::timeout(self.config.request_timeout.as_secs()).into_response(),
        };
        let failed = response.status().is_server_error();
        response.map(|body| Body::new(AnswerBody { body, active: Some(active), failed }))
    }
}

fn boundary(headers: &HeaderMap) -> Result<String, FormError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|value| multer::parse_boundary(value).ok());
    boundary.ok_or_else(|| ApiError::not_multipart().into())
}

fn refused(refused: Refused) -> FormError {
    match refused {
        Refused::Full { retry_after_seconds } => {
            FormError::Rejected(RejectReason::QueueFull, ApiError::queue_full(retry_after_seconds))
        }
        Refused::Closed => FormError::Rejected(RejectReason::Draining, ApiError::draining()),
    }
}

fn job_error(error: &JobError) -> ApiError {
    match error {
        JobError::Aborted => ApiError::draining(),
        JobError::Panicked => {
            tracing::error!("the speech model panicked");
            ApiError::internal()
        }
        JobError::Transcribe(error) => {
            if error.class() == ErrorClass::Server {
                tracing::error!(error = error as &dyn std::error::Error, "transcription failed");
            }
            ApiError::transcribe(error)
        }
    }
}

/// The answer to an accepted request, which ends with its last byte.
struct AnswerBody {
    body: Body,
    active: Option<Active>,
    failed: bool,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() && (self.body.is_end_stream() || matches!(polled, Poll::Ready(None))) {
            let failed = self.failed;
            if let Some(active) = self.active.take() {
                active.answered(failed);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
