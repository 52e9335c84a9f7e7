//! Health, readiness, build, configuration, figures of the storage, our own metrics.
//!
//! Rule: health and our own metrics are answered while the server starts and while it is overloaded.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use datamodel::Timestamp;
use datamodel::exposition::{Format, PageFormat, PageWriter};
use datamodel::rfc3339::format_rfc3339;
use serde_json::{Map, Value, json as value};

use super::Shared;
use super::answer::{negotiated, success};
use crate::error::{ApiError, ErrorType};
use crate::params::Params;
use crate::seams::{Count, ServerStatus, StorageStatus};

/// Rows of each table of the storage's status, when the request names no limit.
pub(crate) const DEFAULT_ROWS: usize = 10;

/// The most rows of each table, as upstream.
const MAX_ROWS: i64 = 10_000;

pub(super) async fn healthy() -> &'static str {
    "Crescendo is Healthy.\n"
}

/// Behind the check for readiness.
pub(super) async fn ready() -> &'static str {
    "Crescendo is Ready.\n"
}

pub(crate) fn build_value(shared: &Shared) -> Value {
    let build = &shared.parts.build;
    value!({
        "version": build.version,
        "revision": build.revision,
        "branch": build.branch,
        // Not ours, but clients may expect the keys.
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

pub(super) async fn build_info(State(shared): State<Arc<Shared>>) -> Response {
    success(&build_value(&shared))
}

pub(super) async fn version(State(shared): State<Arc<Shared>>) -> Response {
    super::answer::json_text(build_value(&shared).to_string() + "\n")
}

/// What our own page may be written in: what Prometheus asks for, in its order.
const FORMATS: [PageFormat; 3] =
    [PageFormat::Protobuf, PageFormat::Text(Format::OpenMetrics100), PageFormat::Text(Format::PrometheusText004)];

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let format = negotiated(&headers, &FORMATS);
    let mut page = PageWriter::new(format);
    shared.parts.registry.write(&mut page);
    ([(CONTENT_TYPE, format.content_type())], page.finish()).into_response()
}

pub(crate) fn server(shared: &Shared) -> Result<Arc<dyn ServerStatus>, ApiError> {
    let none = || ApiError::new(ErrorType::NotFound, "this server has no configuration file and no flags to show");
    shared.parts.server.clone().ok_or_else(none)
}

pub(crate) fn storage(shared: &Shared) -> Result<Arc<dyn StorageStatus>, ApiError> {
    let none = || ApiError::new(ErrorType::NotFound, "this server shows no figures of its storage");
    shared.parts.storage.clone().ok_or_else(none)
}

pub(super) async fn config(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let server = server(&shared)?;
    let yaml = shared.blocking(move || server.config_yaml()).await?;
    Ok(success(&value!({"yaml": yaml})))
}

pub(super) async fn flags(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let mut flags = server(&shared)?.flags();
    flags.sort();
    let flags: Map<String, Value> = flags.into_iter().map(|(name, text)| (name, text.into())).collect();
    Ok(success(&flags.into()))
}

pub(super) async fn runtime_info(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let info = server(&shared)?.runtime();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(success(&value!({
        "startTime": format_rfc3339(info.start_time),
        "CWD": info.working_directory,
        "hostname": info.hostname,
        "serverTime": format_rfc3339(shared.parts.clock.now()),
        "reloadConfigSuccess": info.reload_config_success,
        "lastConfigTime": format_rfc3339(info.last_config_time),
        "corruptionCount": info.corruption_count,
        // The nearest that this process has.
        "goroutineCount": info.threads,
        "GOMAXPROCS": cores,
        "GOMEMLIMIT": info.memory_limit_bytes,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": info.storage_retention,
    })))
}

fn rows(params: &Params) -> Result<usize, ApiError> {
    let text = params.get("limit");
    if text.is_empty() {
        return Ok(DEFAULT_ROWS);
    }
    let limit = text.parse::<i64>().ok().filter(|limit| *limit >= 1);
    let limit = limit.ok_or_else(|| ApiError::bad_data("limit must be a positive number"))?;
    if limit > MAX_ROWS {
        return Err(ApiError::bad_data(format!("limit must not exceed {MAX_ROWS}")));
    }
    Ok(usize::try_from(limit).unwrap_or(DEFAULT_ROWS))
}

pub(super) async fn tsdb(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let storage = storage(&shared)?;
    let rows = rows(&Params::of(request).await?)?;
    let (head, tables) = shared.blocking(move || (storage.head(), storage.cardinality(rows))).await?;
    let table = |counts: &[Count]| {
        counts.iter().map(|count| value!({"name": count.name, "value": count.value})).collect::<Vec<_>>()
    };
    // What upstream says of an empty head.
    let (min, max) = head.bounds.map_or((i64::MAX, i64::MIN), |range| (range.start.unix_ms(), range.end.unix_ms()));
    Ok(success(&value!({
        "headStats": {
            "numSeries": head.series,
            "numLabelPairs": head.label_pairs,
            "chunkCount": head.chunks,
            "minTime": min,
            "maxTime": max,
        },
        "seriesCountByMetricName": table(&tables.series_by_metric),
        "labelValueCountByLabelName": table(&tables.values_by_label),
        "memoryInBytesByLabelName": table(&tables.bytes_by_label),
        "seriesCountByLabelValuePair": table(&tables.series_by_pair),
    })))
}

pub(super) async fn wal_replay(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let replay = storage(&shared)?.replay();
    Ok(success(&value!({"min": replay.min, "max": replay.max, "current": replay.current})))
}

pub(super) async fn notifications(State(shared): State<Arc<Shared>>) -> Response {
    let active = shared.parts.notifications.active();
    let one = |text: &str, since: Timestamp| value!({"text": text, "date": format_rfc3339(since), "active": true});
    let all: Vec<Value> = active.iter().map(|found| one(&found.text, found.since)).collect();
    success(&all.into())
}

/// The answer while the server is not ready.
pub(super) fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
}
