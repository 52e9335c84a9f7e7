//! A metric of an HPA, asked of a metrics API in this process: its values, and where they came from.
//!
//! - [`values`]: as the HPA's controller asks. [`Refusal`]: why there are none.
//! - [`of_answer`]: rule, queries and series of a trace. [`of_error`]: that, and the stage that failed.
//!
//! Rule: nothing is left out but what the bounds of the two sides leave out.

use std::sync::Arc;
use std::time::Duration;

use datamodel::selector::Selector;
use datamodel::{Quantity, Timestamp};
use hpa::MetricSpec;
use hpa::manifest::{LabelSelector, MetricIdentifier};
use hpa::origin::{FailureRecord, MAX_SERIES, MetricOrigin, RuleRecord, SeriesRecord, SeriesState};
use hpa::status::SampleState;
use local::ReadSample;
use metrics_api::{
    ApiError, ExternalMetricValue, GroupResource, MetricValue, MetricsApi, ObjectQuestion, Objects,
    SampleState as ApiState, Trace, TracedSeries, TracedState,
};

/// Why a metric has no value.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The metrics API says so.
    Api(ApiError),
    /// The manifest asks for what there is not.
    Manifest(String),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// The values of a metric, for the pods that a selector matches where it is of pods. The trace is filled as far as the
/// question comes.
pub(super) async fn values(
    api: &MetricsApi,
    namespace: &str,
    metric: &MetricSpec,
    pods: &Selector,
    trace: &mut Trace,
) -> Result<Vec<ReadSample>, Refusal> {
    match metric {
        MetricSpec::Pods { metric, .. } => {
            let values =
                of_objects(api, namespace, &GroupResource::pods(), Objects::Matching(pods), metric, trace).await?;
            let of_pod = |value: MetricValue| {
                let pod = Some(Arc::from(value.described_object.object.name));
                sample(pod, value.value, value.timestamp, value.window, value.state)
            };
            Ok(values.into_iter().map(of_pod).collect())
        }
        MetricSpec::Object { described_object, metric, .. } => {
            let group = described_object.api_version.split_once('/').map_or("", |(group, _version)| group);
            let resource = GroupResource::new(group, &described_object.kind.to_lowercase());
            let values =
                of_objects(api, namespace, &resource, Objects::Named(&described_object.name), metric, trace).await?;
            let of_object = |value: MetricValue| sample(None, value.value, value.timestamp, value.window, value.state);
            Ok(values.into_iter().map(of_object).collect())
        }
        MetricSpec::External { metric, .. } => {
            let selector = selector(metric)?;
            let values = api.traced_external_metric(namespace, &metric.name, &selector, None, Some(trace)).await?;
            let of_series =
                |value: ExternalMetricValue| sample(None, value.value, value.timestamp, value.window, value.state);
            Ok(values.into_iter().map(of_series).collect())
        }
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => {
            let message = "CPU and memory of pods (metrics.k8s.io) are no metrics of rules, and not served here";
            Err(Refusal::Manifest(message.to_owned()))
        }
        MetricSpec::Unknown { kind } => Err(Refusal::Manifest(format!("unknown metric type: {kind}"))),
    }
}

async fn of_objects(
    api: &MetricsApi,
    namespace: &str,
    resource: &GroupResource,
    objects: Objects<'_>,
    metric: &MetricIdentifier,
    trace: &mut Trace,
) -> Result<Vec<MetricValue>, Refusal> {
    let question = ObjectQuestion {
        resource,
        namespace: Some(namespace),
        objects,
        metric: &metric.name,
        metric_selector: &selector(metric)?,
        deadline: None,
    };
    Ok(api.traced_objects_metric(&question, Some(trace)).await?)
}

/// Which series of a metric count: all where the manifest does not say.
fn selector(metric: &MetricIdentifier) -> Result<Selector, Refusal> {
    let selector = metric.selector.as_ref().map(LabelSelector::selector).transpose();
    Ok(selector.map_err(|error| Refusal::Manifest(error.to_string()))?.unwrap_or(Selector::everything()))
}

/// The parts of an answer that the three kinds of metrics share.
fn sample(
    pod: Option<Arc<str>>,
    value: Quantity,
    timestamp: Timestamp,
    window: Option<Duration>,
    state: ApiState,
) -> ReadSample {
    let state = match state {
        ApiState::Fresh => SampleState::Fresh,
        ApiState::Held => SampleState::Held,
    };
    ReadSample { pod, value_milli: value.milli_value(), timestamp, window: window.unwrap_or_default(), state }
}

/// Rule, queries and series.
pub(super) fn of_answer(trace: &Trace) -> MetricOrigin {
    let shown = trace.series.len().min(MAX_SERIES);
    MetricOrigin {
        rule: trace.rule.as_ref().map(|rule| RuleRecord {
            id: rule.id.to_string(),
            series_query: rule.series_query.clone(),
            metrics_query: rule.metrics_query.clone(),
            series: rule.series.clone(),
            label: rule.label.clone(),
        }),
        queries: trace.queries.clone(),
        query_time: trace.at.map(Timestamp::unix_seconds),
        series: trace.series.iter().take(shown).map(series).collect(),
        more_series: trace.more_series + (trace.series.len() - shown),
        failure: None,
    }
}

/// The same, and why there is no value.
pub(super) fn of_error(trace: &Trace, error: &ApiError) -> MetricOrigin {
    MetricOrigin { failure: Some(failure(error)), ..of_answer(trace) }
}

fn failure(error: &ApiError) -> FailureRecord {
    FailureRecord { stage: error.stage().as_str().to_owned(), cause: error.cause(), remedy: error.remedy() }
}

fn series(series: &TracedSeries) -> SeriesRecord {
    let value = |value: f64| {
        let mut text = String::new();
        datamodel::float::write_api(&mut text, value);
        text
    };
    SeriesRecord {
        labels: series.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        value: series.value.map(value),
        timestamp_ms: series.timestamp.map(Timestamp::unix_ms),
        state: match series.state {
            TracedState::Counts(ApiState::Fresh) => SeriesState::Fresh,
            TracedState::Counts(ApiState::Held) => SeriesState::Held,
            TracedState::Expired => SeriesState::Expired,
            TracedState::NotFinite => SeriesState::Invalid,
            TracedState::Missing => SeriesState::Missing,
        },
        object: series.object.clone(),
    }
}
