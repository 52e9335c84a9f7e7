//! `/api/v1/autoscaling`, and the live page that shows the same.
//!
//! Rule: the charts ask the engine what any client could ask, through the same gate.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use datamodel::Timestamp;
use datamodel::time::TimeRange;
use hpa::status::AutoscalingStatus;
use plot::{Chart, Point};
use promql::{QueryContext, QueryValue};
use tokio::sync::watch;

use super::Shared;
use super::answer::json_text;
use crate::error::{ApiError, ErrorType};
use crate::pages::autoscaling::{Answers, QUERIES, chart, fragment, page};
use crate::pages::layout::Frame;

/// What the charts show, back from now.
const SPAN: Duration = Duration::from_secs(600);

/// Distance of the points: some three pixels.
const STEP: Duration = Duration::from_millis(2500);

/// Longest time that the charts may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the status is read.
pub type StatusReceiver = watch::Receiver<Arc<AutoscalingStatus>>;

/// The document: `replicas`, `metrics`, `decision`, `history`, `workers`.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let failed = |error| ApiError::new(ErrorType::Internal, format!("cannot write the status: {error}"));
    Ok(json_text(serde_json::to_string(&*current(&shared)).map_err(failed)?))
}

/// The whole page.
pub(super) async fn live_page(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let (status, chart) = charts(&shared).await?;
    Ok(Html(page(&Frame::of(&shared), &status, &chart).into_string()).into_response())
}

/// The part of the page that changes.
pub(super) async fn live_fragment(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let (status, chart) = charts(&shared).await?;
    Ok(Html(fragment(&status, &chart).into_string()).into_response())
}

fn current(shared: &Shared) -> Arc<AutoscalingStatus> {
    shared.parts.autoscaling.as_ref().map(|status| Arc::clone(&status.borrow())).unwrap_or_default()
}

async fn charts(shared: &Arc<Shared>) -> Result<(Arc<AutoscalingStatus>, Chart), ApiError> {
    let status = current(shared);
    let end = shared.parts.clock.now();
    let range = TimeRange { start: end.saturating_sub(SPAN), end };
    let cancel = Arc::new(AtomicBool::new(false));
    let deadline = Some(end.saturating_add(PATIENCE));
    let context = QueryContext { cancel: Arc::clone(&cancel), deadline, ..QueryContext::default() };
    let owner = Arc::clone(shared);
    let work = move || QUERIES.iter().map(|query| ask(&owner, query.expr, range, &context)).collect::<Result<_, _>>();
    let answers: Answers = shared.gate.run(PATIENCE, cancel, work).await??;
    let chart = chart(&status, answers, range, STEP);
    Ok((status, chart))
}

/// The first series of the answer; an empty one where there is none yet.
fn ask(shared: &Shared, expr: &str, range: TimeRange, context: &QueryContext) -> Result<Vec<Point>, ApiError> {
    let parts = &shared.parts;
    let result = parts.engine.range(&*parts.queryable, expr, range.start, range.end, STEP, context)?;
    let QueryValue::RangeVector(series) = result.value else { return Ok(Vec::new()) };
    let Some(series) = series.into_iter().next() else { return Ok(Vec::new()) };
    let samples = series.samples.timestamps.iter().zip(&series.samples.values);
    Ok(samples.map(|(at, value)| Point { at: Timestamp::from_unix_ms(*at), value: *value }).collect())
}
