//! The values of an HPA's metrics, asked for as its controller asks: through the API server.
//!
//! - [`read`]: each metric of the manifest. [`Read`]: its values; [`Refused`]: why there are none.
//!
//! Rule: a refusal is told by its stage: that which our metrics API names, else by its status and by what is published.

use std::time::Duration;

use datamodel::{Quantity, Timestamp};
use hpa::manifest::{LabelSelector, MetricIdentifier};
use hpa::origin::FailureRecord;
use hpa::status::{InputRecord, SampleState};
use hpa::{ContainerUsage, HorizontalPodAutoscaler, MetricSpec, PodSample, PodUsage, Reading};
use kubernetes::client::{ApiError, Client, Resource};
use metrics_api::{Ages, CUSTOM_GROUP, EXTERNAL_GROUP, ResourceMapper};
use serde_json::Value;

use super::registration::{Registrations, STAGE};
use super::timestamp;

/// The group of CPU and memory.
const RESOURCE_GROUP: &str = "metrics.k8s.io";

/// The values of one metric.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) reading: Reading,
    /// Pod, thousandths and time of each value.
    samples: Vec<(Option<String>, i64, Timestamp)>,
}

/// The message that the controller would have, and the stage that failed.
pub(super) type Refused = (String, FailureRecord);

impl Read {
    /// The values with how good they are, for an engine that scrapes so often.
    pub(super) fn inputs(&self, scrape_interval: Duration, now: Timestamp) -> Vec<InputRecord> {
        let ages = Ages::for_interval(scrape_interval);
        let input = |(pod, value_milli, at): &(Option<String>, i64, Timestamp)| InputRecord {
            pod: pod.clone(),
            timestamp_ms: at.unix_ms(),
            value_milli: *value_milli,
            state: match ages.state(*at, now) {
                Some(metrics_api::SampleState::Fresh) => SampleState::Fresh,
                Some(metrics_api::SampleState::Held) => SampleState::Held,
                None => SampleState::Expired,
            },
        };
        self.samples.iter().map(input).collect()
    }
}

/// What there is to ask with.
struct Asking<'a> {
    client: &'a Client,
    mapper: &'a dyn ResourceMapper,
    registered: &'a Registrations,
    namespace: &'a str,
    /// The selector of the pods.
    pods: &'a str,
}

/// Reads all metrics, in the order of the manifest.
pub(super) async fn read(
    hpa: &HorizontalPodAutoscaler,
    client: &Client,
    mapper: &dyn ResourceMapper,
    registered: &Registrations,
    pods: &str,
) -> Vec<Result<Read, Refused>> {
    let asking = Asking { client, mapper, registered, namespace: &hpa.namespace, pods };
    let mut all = Vec::new();
    for metric in &hpa.spec.metrics {
        all.push(asking.metric(metric).await);
    }
    all
}

impl Asking<'_> {
    async fn metric(&self, metric: &MetricSpec) -> Result<Read, Refused> {
        match metric {
            MetricSpec::Pods { metric, .. } => {
                let version = self.version(CUSTOM_GROUP)?;
                let resource = Resource::new(CUSTOM_GROUP, &version, "pods");
                let path = resource.subresource_path(Some(self.namespace), "*", &metric.name);
                let selector = selector(metric)?;
                let parameters = [("labelSelector", self.pods), ("metricLabelSelector", selector.as_str())];
                let list = self.ask(&path, &parameters, CUSTOM_GROUP, &format!("pods/{}", metric.name)).await?;
                Ok(of_pods(&list))
            }
            MetricSpec::Object { described_object, metric, .. } => {
                let version = self.version(CUSTOM_GROUP)?;
                let group = described_object.api_version.split_once('/').map_or("", |(group, _version)| group);
                let kind = described_object.kind.to_lowercase();
                let info = self.mapper.resource(group, &kind).ok_or_else(|| {
                    refused("Manifest", format!("the cluster has no kind {}", described_object.kind), "correct the HPA")
                })?;
                let resource = info.group_resource.to_string();
                let (namespace, plural, name) = match (resource.as_str(), info.namespaced) {
                    ("namespaces", _) => (Some(described_object.name.as_str()), "metrics", None),
                    (plural, true) => (Some(self.namespace), plural, Some(&described_object.name)),
                    (plural, false) => (None, plural, Some(&described_object.name)),
                };
                let resources = Resource::new(CUSTOM_GROUP, &version, plural);
                let path = match name {
                    Some(name) => resources.subresource_path(namespace, name, &metric.name),
                    None => resources.object_path(namespace, &metric.name),
                };
                let selector = selector(metric)?;
                let published = format!("{resource}/{}", metric.name);
                let parameters = [("metricLabelSelector", selector.as_str())];
                Ok(of_values(&self.ask(&path, &parameters, CUSTOM_GROUP, &published).await?))
            }
            MetricSpec::External { metric, .. } => {
                let version = self.version(EXTERNAL_GROUP)?;
                let resource = Resource::new(EXTERNAL_GROUP, &version, &metric.name);
                let selector = selector(metric)?;
                let parameters = [("labelSelector", selector.as_str())];
                let path = resource.path(Some(self.namespace));
                Ok(of_values(&self.ask(&path, &parameters, EXTERNAL_GROUP, &metric.name).await?))
            }
            MetricSpec::Resource { name, .. } | MetricSpec::ContainerResource { name, .. } => {
                let version = self.version(RESOURCE_GROUP)?;
                let path = Resource::new(RESOURCE_GROUP, &version, "pods").path(Some(self.namespace));
                let list = self.ask(&path, &[("labelSelector", self.pods)], RESOURCE_GROUP, "pods").await?;
                Ok(of_resource(&list, name))
            }
            MetricSpec::Unknown { kind } => {
                Err(refused("Manifest", format!("unknown metric type: {kind}"), "use a type that the cluster knows"))
            }
        }
    }

    fn version(&self, group: &str) -> Result<String, Refused> {
        self.registered.version(group).map_err(|failure| (failure.cause.clone(), failure))
    }

    /// `published` is the name under which the group lists the metric.
    async fn ask(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        group: &str,
        published: &str,
    ) -> Result<Value, Refused> {
        let given: Vec<_> = parameters.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
        match self.client.get_with(path, &given).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refusal(error, path, group, published).await),
        }
    }

    async fn refusal(&self, error: ApiError, path: &str, group: &str, published: &str) -> Refused {
        let owner = self.registered.owner(group).unwrap_or_else(|| "the metrics API".to_owned());
        let (message, cause) = match &error {
            ApiError::Status { message, cause, .. } => (message.clone(), cause.clone()),
            other => (other.to_string(), None),
        };
        let failure = |stage: &str, cause: String, remedy: String| FailureRecord {
            stage: stage.to_owned(),
            cause: format!("{owner}: {cause}"),
            remedy,
        };
        if error.is_forbidden() {
            let remedy = format!("bind a role for {group} to who asks, as the role of the HPA's controller");
            return (message.clone(), failure("Authorization", message, remedy));
        }
        if let Some(cause) = cause.filter(|cause| remedy(&cause.reason).is_some()) {
            let remedy = remedy(&cause.reason).unwrap_or_default().to_owned();
            return (message, failure(&cause.reason, cause.message.clone(), remedy));
        }
        let Some(404) = error.code() else {
            let remedy = format!("see the log of {owner}");
            return (message.clone(), failure(STAGE, message, remedy));
        };
        // Another server than ours: whether it knows the metric at all tells the rule from its samples.
        let version = path.split('/').nth(3).unwrap_or_default();
        let list: Result<Value, _> = self.client.get(&format!("/apis/{group}/{version}")).await;
        let is_published = list.is_ok_and(|list| {
            let mut resources = list["resources"].as_array().into_iter().flatten();
            resources.any(|resource| resource["name"] == published)
        });
        let stage = if is_published { "Samples" } else { "Rule" };
        let remedy = remedy(stage).unwrap_or_default().to_owned();
        let cause = if is_published { message.clone() } else { format!("{message}: it does not list {published}") };
        (message, failure(stage, cause, remedy))
    }
}

/// What to do about a stage of the metrics API, as its name stands in a cause.
fn remedy(stage: &str) -> Option<&'static str> {
    Some(match stage {
        "Rule" => {
            "give the metric a rule whose `seriesQuery` finds its series and whose `resources` name the labels of pod and \
             namespace, or let the server that has such a rule have the APIService"
        }
        "Objects" => {
            "compare the selector of the scale target with the labels of its pods, and let the metrics API list them"
        }
        "Query" => "correct `metricsQuery` of the rule",
        "Source" => {
            "see whether the engine behind the metrics API runs and answers in time, and whether its URL is right"
        }
        "Samples" => "see whether the pods are scraped, and what the rule's query gives",
        "Authentication" | "Authorization" => "bind a role for the metrics API to who asks",
        _ => return None,
    })
}

fn refused(stage: &str, cause: String, remedy: &str) -> Refused {
    (cause.clone(), FailureRecord { stage: stage.to_owned(), cause, remedy: remedy.to_owned() })
}

/// The selector of a metric's labels; empty for all.
fn selector(metric: &MetricIdentifier) -> Result<String, Refused> {
    let selector = metric.selector.as_ref().map(LabelSelector::selector).transpose();
    let selector = selector.map_err(|error| refused("Manifest", error.to_string(), "correct the metric's selector"))?;
    Ok(selector.map(|selector| selector.to_string()).unwrap_or_default())
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    // One object's value is a list, too.
    list["items"].as_array().into_iter().flatten()
}

fn milli(value: &Value) -> Option<i64> {
    Some(value.as_str()?.parse::<Quantity>().ok()?.milli_value())
}

/// When a value was taken; the epoch where the server does not say.
fn taken(item: &Value) -> Timestamp {
    timestamp(&item["timestamp"]).unwrap_or(Timestamp::from_unix_ms(0))
}

fn window(item: &Value) -> Duration {
    let seconds = item["windowSeconds"].as_u64().or_else(|| item["window"].as_u64());
    Duration::from_secs(seconds.unwrap_or(60))
}

fn of_pods(list: &Value) -> Read {
    let sample = |item: &Value| {
        let pod = item["describedObject"]["name"].as_str()?.to_owned();
        let sample = PodSample { value_milli: milli(&item["value"])?, timestamp: taken(item), window: window(item) };
        Some((pod, sample))
    };
    let samples: Vec<(String, PodSample)> = items(list).filter_map(sample).collect();
    let shown = samples.iter().map(|(pod, sample)| (Some(pod.clone()), sample.value_milli, sample.timestamp)).collect();
    Read { reading: Reading::Pods(samples.into_iter().collect()), samples: shown }
}

fn of_values(list: &Value) -> Read {
    let sample = |item: &Value| Some((None, milli(&item["value"])?, taken(item)));
    let samples: Vec<(Option<String>, i64, Timestamp)> = items(list).filter_map(sample).collect();
    Read { reading: Reading::Values(samples.iter().map(|(_, value, _)| *value).collect()), samples }
}

/// The list of `metrics.k8s.io`: each pod with its containers.
fn of_resource(list: &Value, name: &str) -> Read {
    let usage = |item: &Value| {
        let containers = item["containers"].as_array().into_iter().flatten();
        let container = |one: &Value| {
            let name_of = one["name"].as_str().unwrap_or_default().to_owned();
            ContainerUsage { name: name_of, usage_milli: milli(&one["usage"][name]) }
        };
        Some(PodUsage {
            pod: item["metadata"]["name"].as_str()?.to_owned(),
            timestamp: taken(item),
            window: item["window"]
                .as_str()
                .and_then(|text| datamodel::time::parse_duration(text).ok())
                .unwrap_or_default(),
            containers: containers.map(container).collect(),
        })
    };
    let usages: Vec<PodUsage> = items(list).filter_map(usage).collect();
    let shown = |usage: &PodUsage| {
        let sum = usage.containers.iter().filter_map(|one| one.usage_milli).fold(0_i64, i64::saturating_add);
        (Some(usage.pod.clone()), sum, usage.timestamp)
    };
    let samples = usages.iter().map(shown).collect();
    Read { reading: Reading::Resource(usages), samples }
}
