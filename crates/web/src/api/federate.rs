//! `/federate`: the newest sample of each selected series, for another server to scrape.
//!
//! As text, or, for who asks for it, as protobuf with native histograms.
//!
//! Rule: series that ended are left out, and so are histograms that the format cannot hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use datamodel::exposition::{Format, Line, PageFamily, PageFormat, PageWriter, Part};
use datamodel::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint};
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, METRIC_NAME, Matcher, MetricType, Timestamp, is_stale_nan};
use storage::{QueryError, Queryable, Samples, SelectHints};

use super::Shared;
use super::answer::negotiated;
use crate::error::ApiError;
use crate::params::Params;

/// The most bytes of one answer.
const MAX_PAGE_BYTES: usize = 256 << 20;

/// The newest sample of a series.
enum Newest {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// As upstream, which does not offer OpenMetrics here.
const FORMATS: [PageFormat; 2] = [PageFormat::Text(Format::PrometheusText004), PageFormat::Protobuf];

pub(super) async fn federate(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let format = negotiated(request.headers(), &FORMATS);
    match page(&shared, request, format).await {
        Ok(page) => ([(CONTENT_TYPE, format.content_type())], page).into_response(),
        Err(error) => {
            if error.error_type.status() != StatusCode::BAD_REQUEST {
                shared.metrics.federation_errors.inc();
            }
            (error.error_type.status(), error.message + "\n").into_response()
        }
    }
}

async fn page(shared: &Arc<Shared>, request: Request<Body>, format: PageFormat) -> Result<Vec<u8>, ApiError> {
    let selectors = Params::of(request).await?.plain_selectors()?;
    let options = shared.parts.engine.options();
    let now = shared.parts.clock.now();
    let range = TimeRange { start: now.saturating_sub(options.lookback_delta), end: now };
    let external = shared.parts.server.as_ref().map_or_else(Labels::empty, |server| server.external_labels());
    let (patience, cancel) = (options.timeout, Arc::new(AtomicBool::new(false)));
    let (queryable, stop) = (Arc::clone(&shared.parts.queryable), Arc::clone(&cancel));
    let work = move || {
        let series = newest(&*queryable, &selectors, range, &stop)?;
        render(&series, &external, format)
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

fn render(
    series: &BTreeMap<Labels, (i64, Newest)>,
    external: &Labels,
    format: PageFormat,
) -> Result<Vec<u8>, QueryError> {
    let mut by_name: Vec<(&str, &Labels, i64, &Newest)> =
        series.iter().filter_map(|(labels, (at, newest))| Some((labels.metric_name()?, labels, *at, newest))).collect();
    by_name.sort_by(|a, b| a.0.cmp(b.0));
    let mut page = PageWriter::new(format);
    let mut open: Option<(&str, MetricType)> = None;
    for (name, labels, at, newest) in by_name {
        let metric_type = match newest {
            Newest::Float(_) => MetricType::Unknown,
            Newest::Histogram(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => MetricType::Histogram,
            Newest::Histogram(_) if format != PageFormat::Protobuf => continue,
            Newest::Histogram(histogram) if histogram.counter_reset_hint == CounterResetHint::Gauge => {
                MetricType::GaugeHistogram
            }
            Newest::Histogram(_) => MetricType::Histogram,
        };
        if open != Some((name, metric_type)) {
            page.family(PageFamily { name, metric_type, help: "", unit: "" });
            open = Some((name, metric_type));
        }
        let labels = with_external(labels, external);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let timestamp = Some(Timestamp::from_unix_ms(at));
        let mut line = |part, value| page.line(Line { part, labels: &labels, value, timestamp, exemplar: None });
        match newest {
            Newest::Float(value) => line(Part::Value, *value),
            Newest::Histogram(histogram) if histogram.schema == CUSTOM_BUCKETS_SCHEMA => classic(histogram, line),
            Newest::Histogram(histogram) => {
                let written = page.histogram(&labels, histogram, timestamp);
                debug_assert!(written.is_ok(), "what the format cannot hold was left out above");
            }
        }
        if page.len() > MAX_PAGE_BYTES {
            return Err(QueryError::Limit(format!("the page is larger than {MAX_PAGE_BYTES} bytes")));
        }
    }
    Ok(page.finish())
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

/// A histogram with custom buckets as the classic one that it was made of.
fn classic(histogram: &Histogram, mut line: impl FnMut(Part, f64)) {
    let mut sum = 0.0;
    let buckets = histogram.all_buckets();
    for bound in histogram.custom_values.iter() {
        let within = buckets.iter().filter(|bucket| bucket.upper.total_cmp(bound).is_eq());
        sum += within.map(|bucket| bucket.count).sum::<f64>();
        line(Part::Bucket(*bound), sum);
    }
    line(Part::Bucket(f64::INFINITY), histogram.count);
    line(Part::Sum, histogram.sum);
    line(Part::Count, histogram.count);
}
