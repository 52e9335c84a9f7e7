//! The workers as Kubernetes objects: what the metrics API lists and what the autoscaler reads.
//!
//! - [`LocalObjects`]: the pods, their Deployment and their namespace.
//! - [`ApiReader`]: the metrics API, in process, as the autoscaler's source.
//!
//! Rule: a worker that has left is no object, whatever its series say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Timestamp;
use datamodel::selector::Selector;
use hpa::MetricSpec;
use hpa::status::SampleState;
use local::{Fleet, MetricReading, ReadSample, WorkerSnapshot};
use metrics_api::{BoxFuture, GroupResource, ListError, MetricsApi, ObjectLister, ObjectName, SampleState as ApiState};
use scrape::ScrapeHandle;

/// The label that all workers have, as in the seed.
const APP: (&str, &str) = ("app", Fleet::JOB);

/// Lists the workers, their Deployment and their namespace.
#[derive(Clone, Debug)]
pub(super) struct LocalObjects {
    pub(super) fleet: Arc<Fleet>,
    pub(super) namespace: String,
    pub(super) deployment: String,
}

impl ObjectLister for LocalObjects {
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<Vec<ObjectName>, ListError>> {
        let labels = BTreeMap::from([(APP.0.to_owned(), APP.1.to_owned())]);
        let here = namespace.is_none_or(|namespace| namespace == self.namespace) && selector.matches(&labels);
        let within = |name: &str| ObjectName { namespace: Some(self.namespace.clone()), name: name.to_owned() };
        let names = match (resource.group.as_str(), resource.resource.as_str()) {
            _ if !here => Vec::new(),
            ("", "pods") => self.fleet.snapshot().iter().map(|worker| within(&worker.name)).collect(),
            ("apps", "deployments") => vec![within(&self.deployment)],
            ("", "namespaces") => vec![ObjectName { namespace: None, name: self.namespace.clone() }],
            _ => Vec::new(),
        };
        Box::pin(std::future::ready(Ok(names)))
    }
}

/// The metrics API of this process, as the autoscaler's source.
#[derive(Debug)]
pub(super) struct ApiReader {
    pub(super) api: Arc<MetricsApi>,
    pub(super) scrape: ScrapeHandle,
}

/// The parts of an answer that the three kinds of metrics share.
fn sample(
    pod: Option<Arc<str>>,
    value: datamodel::quantity::Quantity,
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

/// Which series of a metric count: all where the manifest does not say.
fn selector(metric: &hpa::manifest::MetricIdentifier) -> Result<Selector, String> {
    let selector = metric.selector.as_ref().map(hpa::manifest::LabelSelector::selector).transpose();
    Ok(selector.map_err(|error| error.to_string())?.unwrap_or(Selector::everything()))
}

impl ApiReader {
    async fn read_metric(&self, namespace: &str, metric: &MetricSpec) -> Result<MetricReading, String> {
        let samples = match metric {
            MetricSpec::Pods { metric, .. } => {
                let selector = selector(metric)?;
                let app = Selector::from_match([APP], []).map_err(|error| error.to_string())?;
                let values = self.api.pods_metric(namespace, &app, &metric.name, &selector).await;
                let values = values.map_err(|error| crate::printer::chain(&error))?.into_iter();
                let of_pod = |value: metrics_api::MetricValue| {
                    let pod = Some(Arc::from(value.described_object.object.name));
                    sample(pod, value.value, value.timestamp, value.window, value.state)
                };
                values.map(of_pod).collect()
            }
            MetricSpec::Object { described_object, metric, .. } => {
                let selector = selector(metric)?;
                let group = described_object.api_version.split_once('/').map_or("", |(group, _version)| group);
                let resource = GroupResource::new(group, &described_object.kind.to_lowercase());
                let name = described_object.name.clone();
                let object = ObjectName { namespace: Some(namespace.to_owned()), name };
                let value = self.api.object_metric(&resource, &object, &metric.name, &selector).await;
                let value = value.map_err(|error| crate::printer::chain(&error))?;
                vec![sample(None, value.value, value.timestamp, value.window, value.state)]
            }
            MetricSpec::External { metric, .. } => {
                let selector = selector(metric)?;
                let values = self.api.external_metric(namespace, &metric.name, &selector).await;
                let values = values.map_err(|error| crate::printer::chain(&error))?.into_iter();
                values.map(|value| sample(None, value.value, value.timestamp, value.window, value.state)).collect()
            }
            MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => {
                return Err("CPU and memory of pods (metrics.k8s.io) are not served in laptop mode".to_owned());
            }
            MetricSpec::Unknown { kind } => return Err(format!("unknown metric type: {kind}")),
        };
        Ok(MetricReading { samples, query: None })
    }
}

impl local::MetricsSource for ApiReader {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        metric: &'a MetricSpec,
        _pods: &'a [Arc<str>],
    ) -> local::BoxFuture<'a, Result<MetricReading, String>> {
        Box::pin(self.read_metric(namespace, metric))
    }

    fn was_scraped(&self, worker: &WorkerSnapshot) -> bool {
        let Some(address) = worker.address.map(|address| address.to_string()) else { return false };
        self.scrape.active_targets().iter().any(|target| {
            target.labels.get("pod") == Some(&*worker.name)
                && target.labels.get("instance") == Some(&address)
                && target.last_scrape.is_some()
        })
    }
}
