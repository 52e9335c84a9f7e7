//! The workers as Kubernetes objects: what the metrics API lists and what the autoscaler reads.
//!
//! - [`LocalObjects`]: the pods, their Deployment and their namespace.
//! - [`ApiReader`]: the metrics API, in process, as the autoscaler's source.
//!
//! Rule: a worker that has left is no object, whatever its series say.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamodel::selector::Selector;
use hpa::MetricSpec;
use hpa::origin::{FailureRecord, MetricOrigin};
use local::{Fleet, MetricReading, ReadError, WorkerSnapshot};
use metrics_api::{BoxFuture, GroupResource, ListError, MetricsApi, ObjectLister, ObjectName, Trace};
use scrape::ScrapeHandle;

use crate::commands::hpa_metric::{Refusal, of_answer, of_error, values};

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

impl ApiReader {
    async fn read_metric(&self, namespace: &str, metric: &MetricSpec) -> Result<MetricReading, ReadError> {
        let mut trace = Trace::default();
        let values = match Selector::from_match([APP], []) {
            Ok(pods) => values(&self.api, namespace, metric, &pods, &mut trace).await,
            Err(error) => Err(Refusal::Manifest(error.to_string())),
        };
        match values {
            Ok(samples) => Ok(MetricReading { samples, origin: of_answer(&trace) }),
            Err(Refusal::Api(error)) => Err(ReadError { message: error.message(), origin: of_error(&trace, &error) }),
            Err(Refusal::Manifest(message)) => {
                let remedy = "name a metric in the manifest that this machine can give".to_owned();
                let failure = FailureRecord { stage: "Manifest".to_owned(), cause: message.clone(), remedy };
                Err(ReadError { message, origin: MetricOrigin { failure: Some(failure), ..MetricOrigin::default() } })
            }
        }
    }
}

impl local::MetricsSource for ApiReader {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        metric: &'a MetricSpec,
        _pods: &'a [Arc<str>],
    ) -> local::BoxFuture<'a, Result<MetricReading, ReadError>> {
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
