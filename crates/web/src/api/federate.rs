//! `/federate`: the newest sample of each selected series, for another server to scrape.
//!
//! Rule: series that ended are left out, and so are histograms that the text format cannot hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use datamodel::exposition::{Format, write};
use datamodel::float::format_g;
use datamodel::histogram::CUSTOM_BUCKETS_SCHEMA;
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, METRIC_NAME, Matcher, MetricType, is_stale_nan};
use storage::{QueryError, Queryable, Samples, SelectHints};

use super::Shared;
use crate::error::ApiError;
use crate::params::Params;

/// The most bytes of one answer.
const MAX_PAGE_BYTES: usize = 256 << 20;

/// The newest sample of a series.
enum Newest {
    Float(f64),
    Histogram(Arc<Histogram>),
}

pub(super) async fn federate(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    match page(&shared, request).await {
        Ok(page) => ([(CONTENT_TYPE, Format::PrometheusText004.content_type())], page).into_response(),
        Err(error) => {
            if error.error_type.status() != StatusCode::BAD_REQUEST {
                shared.metrics.federation_errors.inc();
            }
            (error.error_type.status(), error.message + "\n").into_response()
        }
    }
}

async fn page(shared: &Arc<Shared>, request: Request<Body>) -> Result<String, ApiError> {
    let selectors = Params::of(request).await?.plain_selectors()?;
    let options = shared.parts.engine.options();
    let now = shared.parts.clock.now();
    let range = TimeRange { start: now.saturating_sub(options.lookback_delta), end: now };
    let external = shared.parts.server.as_ref().map_or_else(Labels::empty, |server| server.external_labels());
    let (patience, cancel) = (options.timeout, Arc::new(AtomicBool::new(false)));
    let (queryable, stop) = (Arc::clone(&shared.parts.queryable), Arc::clone(&cancel));
    let work = move || {
        let series = newest(&*queryable, &selectors, range, &stop)?;
        render(&series, &external)
    };
    shared.gate.run(patience, cancel, work).await?.map_err(|error| ApiError::storage(&error))
}

/// The newest samples by labels, of series that go on.
fn newest(
    queryable: &dyn Queryable,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    stop: &AtomicBool,
) -> Result<BTreeMap<Labels, (i64, Newest)>, QueryError> {
    let querier = queryable.querier(range)?;
    let mut found = BTreeMap::new();
    let mut samples = Samples::default();
    for matchers in selectors {
        let mut set = querier.select(matchers, &SelectHints { range: Some(range), ..SelectHints::default() })?;
        while let Some(series) = set.next() {
            if stop.load(Ordering::Relaxed) {
                return Err(QueryError::Cancelled);
            }
            let series = series?;
            samples.clear();
            series.read(range, &mut samples)?;
            let (Some(at), Some(value)) = (samples.timestamps.last(), samples.values.last()) else { continue };
            let last = samples.len().saturating_sub(1);
            let newest = match samples.histograms.last() {
                Some((index, histogram)) if *index == last => Newest::Histogram(Arc::clone(histogram)),
                _ => Newest::Float(*value),
            };
            let has_ended = match &newest {
                Newest::Float(value) => is_stale_nan(*value),
                Newest::Histogram(histogram) => is_stale_nan(histogram.sum),
            };
            if !has_ended {
                found.insert(series.labels().clone(), (*at, newest));
            }
        }
    }
    Ok(found)
}

fn render(series: &BTreeMap<Labels, (i64, Newest)>, external: &Labels) -> Result<String, QueryError> {
    let mut by_name: Vec<(&str, &Labels, i64, &Newest)> =
        series.iter().filter_map(|(labels, (at, newest))| Some((labels.metric_name()?, labels, *at, newest))).collect();
    by_name.sort_by(|a, b| a.0.cmp(b.0));
    let mut page = String::new();
    let mut open: Option<(&str, MetricType)> = None;
    for (name, labels, at, newest) in by_name {
        let metric_type = match newest {
            Newest::Float(_) => MetricType::Unknown,
            Newest::Histogram(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => MetricType::Histogram,
            // The text format has no native histograms.
            Newest::Histogram(_) => continue,
        };
        if open != Some((name, metric_type)) {
            write::metadata(&mut page, name, metric_type, "");
            open = Some((name, metric_type));
        }
        let labels = with_external(labels, external);
        match newest {
            Newest::Float(value) => write::sample(&mut page, name, pairs(&labels), *value, Some(at)),
            Newest::Histogram(histogram) => classic(&mut page, name, &labels, histogram, at),
        }
        if page.len() > MAX_PAGE_BYTES {
            return Err(QueryError::Limit(format!("the page is larger than {MAX_PAGE_BYTES} bytes")));
        }
    }
    Ok(page)
}

/// The labels of a series without its name, then those of this server that it lacks. An empty `instance`
/// keeps the scraping server from setting its own.
fn with_external(labels: &Labels, external: &Labels) -> Vec<(String, String)> {
    let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let mut all: Vec<(String, String)> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut added: BTreeMap<&str, &str> = external.iter().collect();
    added.entry("instance").or_insert("");
    let absent = added.into_iter().filter(|(name, _)| labels.get(name).is_none());
    all.extend(absent.map(|(name, value)| (name.to_owned(), value.to_owned())));
    all
}

fn pairs(labels: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A histogram with custom buckets as the classic one that it was made of.
fn classic(page: &mut String, name: &str, labels: &[(String, String)], histogram: &Histogram, at: i64) {
    let bucket = |page: &mut String, le: &str, count: f64| {
        write::sample(page, &format!("{name}_bucket"), pairs(labels).chain([("le", le)]), count, Some(at));
    };
    let mut sum = 0.0;
    let buckets = histogram.all_buckets();
    for bound in histogram.custom_values.iter() {
        let within = buckets.iter().filter(|bucket| bucket.upper.total_cmp(bound).is_eq());
        sum += within.map(|bucket| bucket.count).sum::<f64>();
        bucket(page, &format_g(*bound), sum);
    }
    bucket(page, "+Inf", histogram.count);
    write::sample(page, &format!("{name}_sum"), pairs(labels), histogram.sum, Some(at));
    write::sample(page, &format!("{name}_count"), pairs(labels), histogram.count, Some(at));
}
