//! `/api/v1/admin/tsdb/…`: snapshots, deletions, merges.
//!
//! Rule: without `--web.enable-admin-api` nothing is changed, whoever asks.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json as value;

use super::Shared;
use super::answer::success;
use crate::error::{ApiError, ErrorType, chain};
use crate::params::{Params, parse_bool};
use crate::seams::{ActionError, StorageAdmin};

fn admin(shared: &Shared) -> Result<Arc<dyn StorageAdmin>, ApiError> {
    shared.parts.admin.clone().ok_or_else(|| ApiError::new(ErrorType::Disabled, "admin APIs disabled"))
}

/// Runs work that changes the storage; one at a time.
async fn change<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce() -> Result<T, ActionError> + Send + 'static,
) -> Result<T, ApiError> {
    let _turn = shared.changes.lock().await;
    shared.blocking(work).await?.map_err(|error| ApiError::new(ErrorType::Internal, chain(&error)))
}

pub(super) async fn delete_series(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let admin = admin(&shared)?;
    let params = Params::of(request).await?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (range, selectors) = (params.range()?, params.selectors()?);
    let work = move || selectors.iter().try_for_each(|matchers| admin.delete_series(matchers, range));
    change(&shared, work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn snapshot(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let admin = admin(&shared)?;
    let params = Params::of(request).await?;
    let skip_head = match params.get("skip_head") {
        "" => false,
        text => parse_bool(text)
            .map_err(|problem| ApiError::parameter("skip_head", format!("unable to parse boolean: {problem}")))?,
    };
    let name = change(&shared, move || admin.snapshot(skip_head)).await?;
    Ok(success(&value!({"name": name})))
}

pub(super) async fn clean_tombstones(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let admin = admin(&shared)?;
    change(&shared, move || admin.clean_tombstones()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ours: merges all segments.
pub(super) async fn merge(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let admin = admin(&shared)?;
    change(&shared, move || admin.merge()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
