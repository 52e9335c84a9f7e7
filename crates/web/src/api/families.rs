//! `/api/v1/metadata`, `/api/v1/targets/metadata`: what metric families say about themselves.
//!
//! The storage keeps the newest metadata of a metric; which target has the metric is asked of its series.
//!
//! Rule: one answer for each family; the series of histograms and summaries are one family.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::time::TimeRange;
use datamodel::{Labels, METRIC_NAME, Matcher, Metadata, MetricType};
use serde_json::{Map, Value, json as value};
use storage::{QueryError, Queryable};

use super::Shared;
use super::answer::{object, success};
use super::status::storage;
use crate::error::ApiError;
use crate::params::Params;

/// The most entries of an answer about targets.
const MAX_TARGET_METADATA: usize = 100_000;

/// The families with what they say.
pub(crate) type Families = BTreeMap<String, Metadata>;

/// The families that the storage knows.
pub(crate) fn families(all: Vec<(Arc<str>, Metadata)>) -> Families {
    all.into_iter().map(|(name, metadata)| (family_name(&name, metadata.metric_type).to_owned(), metadata)).collect()
}

/// The family of a series of this name.
fn family_name(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

pub(super) async fn metadata(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let limit = most(&params, "limit")?;
    // One answer for each family is within any limit per metric.
    most(&params, "limit_per_metric")?;
    let storage = storage(&shared)?;
    let families = shared.blocking(move || families(storage.metadata())).await?;
    let metric = params.get("metric");
    let shown = families.iter().filter(|(name, _)| metric.is_empty() || *name == metric);
    let data: Map<String, Value> =
        shown.take(limit).map(|(name, metadata)| (name.clone(), value!([entry(metadata)]))).collect();
    Ok(success(&data.into()))
}

fn entry(metadata: &Metadata) -> Value {
    value!({"type": metadata.metric_type.as_str(), "unit": &*metadata.unit, "help": &*metadata.help})
}

/// The most entries: a whole number; negative means no limit.
fn most(params: &Params, name: &str) -> Result<usize, ApiError> {
    match params.get(name) {
        "" => Ok(usize::MAX),
        text => {
            let wrong = |_syntax| ApiError::bad_data(format!("{name} must be a number"));
            Ok(usize::try_from(text.parse::<i64>().map_err(wrong)?).unwrap_or(usize::MAX))
        }
    }
}

pub(super) async fn of_targets(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let limit = most(&params, "limit")?.min(MAX_TARGET_METADATA);
    let matchers = match params.get("match_target") {
        "" => Vec::new(),
        text => promql::parse_selector(text).map_err(|error| ApiError::parameter("match_target", error))?,
    };
    let mut targets = super::targets::handle(&shared)?.active_targets();
    targets.retain(|target| matchers.iter().all(|matcher| matcher.matches_labels(&target.labels)));
    let targets: Vec<Labels> = targets.into_iter().map(|target| target.labels).collect();
    let metric = params.get("metric").to_owned();
    let storage = storage(&shared)?;
    let options = shared.parts.engine.options();
    let now = shared.parts.clock.now();
    let range = TimeRange { start: now.saturating_sub(options.lookback_delta), end: now };
    let cancel = Arc::new(AtomicBool::new(false));
    let (queryable, stop) = (Arc::clone(&shared.parts.queryable), Arc::clone(&cancel));
    let work = move || {
        let families = families(storage.metadata());
        let mut entries = Vec::new();
        for target in &targets {
            if stop.load(Ordering::Relaxed) {
                return Err(QueryError::Cancelled);
            }
            if entries.len() >= limit {
                break;
            }
            entries.extend(target_entries(&*queryable, range, target, &families, &metric)?);
        }
        entries.truncate(limit);
        Ok(entries)
    };
    let entries = shared.gate.run(options.timeout, cancel, work).await?;
    Ok(success(&entries.map_err(|error| ApiError::storage(&error))?.into()))
}

fn target_entries(
    queryable: &dyn Queryable,
    range: TimeRange,
    target: &Labels,
    families: &Families,
    metric: &str,
) -> Result<Vec<Value>, QueryError> {
    let matchers: Vec<Matcher> = target.iter().map(|(name, text)| Matcher::equal(name, text)).collect();
    let names = queryable.querier(range)?.label_values(METRIC_NAME, &matchers, None)?;
    let kinds = [MetricType::Histogram, MetricType::GaugeHistogram, MetricType::Summary, MetricType::Unknown];
    let of_series = |name: &Arc<str>| {
        let named = |kind: MetricType| {
            let family = family_name(name, kind);
            let known = families.get_key_value(family)?;
            (family == &**name || known.1.metric_type == kind).then_some(known)
        };
        kinds.into_iter().find_map(named)
    };
    let found: BTreeSet<&String> = names.iter().filter_map(of_series).map(|(name, _)| name).collect();
    let shown = found.into_iter().filter(|name| metric.is_empty() || *name == metric);
    let one = |name: &String| {
        let metadata = families.get(name)?;
        let mut value = Map::new();
        value.insert("target".to_owned(), object(target).into());
        if metric.is_empty() {
            value.insert("metric".to_owned(), name.as_str().into());
        }
        value.insert("type".to_owned(), metadata.metric_type.as_str().into());
        value.insert("help".to_owned(), (*metadata.help).into());
        value.insert("unit".to_owned(), (*metadata.unit).into());
        Some(value.into())
    };
    Ok(shown.filter_map(one).collect())
}
