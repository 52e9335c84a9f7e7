//! An HPA of a cluster: what the API server says of it, of its pods and of its metrics, as evidence.
//!
//! - [`ClusterArgs`], [`explain`]: from flags to the explanation.
//! - `object`: the HPA with its status, its events, its pods. `registration`: who serves the metrics APIs.
//! - `values`: the values of its metrics, as its controller asks for them. `rules`: rule, query and series, where the
//!   configuration of the metrics API is given.
//!
//! ```text
//! HPA ─▶ scale ─▶ pods ─┐
//!  └─▶ APIServices ─▶ values ─┼─▶ Evidence
//!  └─▶ status, events ────────┘
//! ```
//!
//! Rule: nothing is changed in the cluster; what cannot be read is a failed stage or an assumption, and said.

mod object;
mod registration;
mod rules;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adapter::ClusterResources;
use anyhow::{Context, Result, bail};
use clap::Args;
use datamodel::time::{SystemClock, parse_duration};
use datamodel::{Clock, Timestamp};
use hpa::explain::{Evidence, Explanation};
use hpa::origin::{FailureRecord, MetricOrigin};
use hpa::{Observation, Scale, SelectorProblem};
use http_client::kubeconfig::Cluster;
use kubernetes::client::{ApiError, Client, Format, Resource, Scope};
use metrics_api::ResourceMapper;
use serde_json::Value;

use self::object::{HpaEvents, HpaObject, pod};
use self::registration::Registrations;
use self::rules::{RuleSource, Rules};
use super::HpaName;
use crate::commands::cluster_flags::ClusterFlags;

/// Which cluster, and what is known of its metrics API.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "An HPA of a cluster")]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    place: ClusterFlags,
    /// The rules of its metrics API, to see rule and query.
    #[arg(long = "adapter.config", value_name = "FILE", requires = "prometheus_url")]
    adapter_config: Option<PathBuf>,
    /// The engine behind its metrics API, to see the series: as it is reached from here, or `svc/NAMESPACE/NAME:PORT`,
    /// which is asked through the API server.
    #[arg(long = "prometheus-url", value_name = "URL", requires = "adapter_config")]
    prometheus_url: Option<String>,
    /// How the engine is reached: a file with the keys of Prometheus' `http_config`.
    #[arg(long = "prometheus.http.config.file", value_name = "FILE", requires = "prometheus_url")]
    prometheus_http_config: Option<PathBuf>,
    /// How often the engine scrapes: values are fresh for two of these (at least 1m) and held for three (at least 90s).
    #[arg(long = "prometheus-scrape-interval", default_value = "30s", value_parser = parse_duration)]
    scrape_interval: Duration,
    /// The Service that should serve the metrics APIs: another one is a failed stage.
    #[arg(long = "adapter.service", value_name = "NAMESPACE/NAME")]
    adapter_service: Option<String>,
}

impl ClusterArgs {
    /// The cluster of the flags, else the one that this runs in.
    pub(super) fn cluster(&self) -> Result<Option<Cluster>> {
        self.place.cluster()
    }

    /// A flag that is of use with a cluster only.
    pub(super) fn lonely_flag(&self) -> Option<&'static str> {
        match self {
            Self { adapter_config: Some(_), .. } => Some("--adapter.config"),
            Self { adapter_service: Some(_), .. } => Some("--adapter.service"),
            _ => None,
        }
    }
}

/// Reads everything and explains.
pub(super) async fn explain(
    name: &HpaName,
    args: &ClusterArgs,
    cluster: Cluster,
    timeout: Duration,
) -> Result<Explanation> {
    let rules = RuleSource::of(args, &cluster)?;
    let client = Arc::new(Client::new(cluster, http_client::ClientOptions::default()));
    let explained = tokio::time::timeout(timeout, explain_with(name, args, rules, &client, &SystemClock)).await;
    explained.with_context(|| format!("{}: no answers within {timeout:?}", client.server()))?
}

async fn explain_with(
    name: &HpaName,
    args: &ClusterArgs,
    rules: Option<RuleSource>,
    client: &Arc<Client>,
    clock: &dyn Clock,
) -> Result<Explanation> {
    let mut object = HpaObject::read(&get_hpa(name, client).await?)?;
    let resources = ClusterResources::new(Arc::clone(client));
    let mut failures = Vec::new();
    let mut assumptions = Vec::new();
    if let Err(error) = resources.look().await {
        assumptions.push(format!("the cluster has Kubernetes' own resources only: they cannot be discovered: {error}"));
    }
    let mapper: Arc<dyn ResourceMapper> = Arc::new(resources);
    let target = ScaleTarget::read(&object, client, &*mapper).await;
    failures.extend(target.failures);
    let registered = Registrations::read(client, args.adapter_service.as_deref(), &mut assumptions).await;
    let read = values::read(&object.hpa, client, &*mapper, &registered, &target.selector).await;
    let rules = match rules {
        Some(source) => Some(Rules::load(source, &target.pods, &object.hpa.namespace, &mapper).await),
        None => None,
    };
    let events = HpaEvents::read(client, name, &mut assumptions).await;
    object.reported.events = events.recent;
    let now = clock.now();

    let (mut origins, mut inputs, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
    for (spec, read) in object.hpa.spec.metrics.iter().zip(read) {
        let (mut origin, refused) = match &rules {
            Some(rules) => rules.origin(spec, &target.selector).await,
            None => Default::default(),
        };
        inputs.push(read.as_ref().map_or_else(|_| Vec::new(), |read| read.inputs(args.scrape_interval, now)));
        match read {
            Ok(read) => {
                assumptions.extend(refused.map(|reason| {
                    format!("the series of {} are as its values say: they cannot be shown: {reason}", spec.name())
                }));
                origin.failure = None;
                metrics.push(Ok(read.reading));
            }
            Err((message, failure)) => {
                origin.failure = Some(nearer(failure, &origin));
                metrics.push(Err(message));
            }
        }
        origins.push(origin);
    }
    failures.extend(object.reported_failures());
    let before = object.remembered(&events.rescales, now, &mut assumptions);
    let evidence = Evidence {
        hpa: &object.hpa,
        config: object.config,
        now,
        before,
        observation: Observation {
            scale: target.scale,
            selector_problem: target.problem,
            pods: target.pods.iter().map(pod).collect(),
            metrics,
            floor: None,
        },
        inputs,
        origins,
        failures,
        assumptions,
        reported: Some(object.reported),
    };
    Ok(Explanation::of(&evidence))
}

/// The nearer of two causes: what the API server's answer says, and what came of the same question asked from here.
fn nearer(through_api: FailureRecord, from_here: &MetricOrigin) -> FailureRecord {
    match (&from_here.rule, &from_here.failure) {
        (Some(rule), failure)
            if through_api.stage == "Rule" && failure.as_ref().is_none_or(|failure| failure.stage != "Rule") =>
        {
            FailureRecord {
                stage: registration::STAGE.to_owned(),
                cause: format!(
                    "{}, although {} of the given rules does: it is another server, or has other rules",
                    through_api.cause, rule.id
                ),
                remedy: "let the server with these rules have the APIService, or give the other one the rule"
                    .to_owned(),
            }
        }
        (_, Some(failure)) if failure.stage == through_api.stage => failure.clone(),
        _ => through_api,
    }
}

async fn get_hpa(name: &HpaName, client: &Client) -> Result<Value> {
    let path =
        Resource::new("autoscaling", "v2", "horizontalpodautoscalers").object_path(Some(&name.namespace), &name.name);
    match client.get(&path).await {
        Ok(object) => Ok(object),
        Err(error) if error.is_not_found() => {
            bail!("{} has no HorizontalPodAutoscaler {name} (autoscaling/v2)", client.server())
        }
        Err(error) if error.is_forbidden() => Err(error).with_context(|| {
            format!("you may not read HorizontalPodAutoscaler {name}: bind a role with verb `get` on it to your user")
        }),
        Err(error) => Err(error).with_context(|| format!("{}: HorizontalPodAutoscaler {name}", client.server())),
    }
}

/// What is scaled, and its pods.
struct ScaleTarget {
    scale: Result<Scale, String>,
    problem: Option<SelectorProblem>,
    /// As the scale has it; empty where there is none.
    selector: String,
    pods: Vec<Value>,
    failures: Vec<FailureRecord>,
}

impl ScaleTarget {
    async fn read(object: &HpaObject, client: &Client, mapper: &dyn ResourceMapper) -> Self {
        let target = &object.hpa.spec.scale_target_ref;
        let namespace = &object.hpa.namespace;
        let mut found = Self {
            scale: Err(String::new()),
            problem: None,
            selector: String::new(),
            pods: Vec::new(),
            failures: Vec::new(),
        };
        let (group, version) = target.api_version.split_once('/').unwrap_or(("", target.api_version.as_str()));
        let Some(info) = mapper.resource(group, &target.kind.to_lowercase()) else {
            let cause = format!("the cluster has no kind {} of {}", target.kind, target.api_version);
            return found.failed(cause, "correct `scaleTargetRef` of the HPA".to_owned());
        };
        let resource = Resource::new(&info.group_resource.group, version, &info.group_resource.resource);
        let path = resource.subresource_path(Some(namespace), &target.name, "scale");
        let scale: Value = match client.get(&path).await {
            Ok(scale) => scale,
            Err(error) => {
                let remedy = if error.is_forbidden() {
                    format!("bind a role with verb `get` on `{}/scale` to your user", info.group_resource.resource)
                } else {
                    format!("see whether {}/{} exists and has a scale", target.kind, target.name)
                };
                return found.failed(error.to_string(), remedy);
            }
        };
        let count = |part: &str| i32::try_from(scale[part]["replicas"].as_i64().unwrap_or(0)).unwrap_or(i32::MAX);
        found.scale = Ok(Scale { spec_replicas: count("spec"), status_replicas: count("status") });
        found.selector = scale["status"]["selector"].as_str().unwrap_or_default().to_owned();
        if found.selector.is_empty() {
            found.problem = Some(SelectorProblem::Missing);
            return found;
        }
        if let Err(error) = datamodel::Selector::parse(&found.selector) {
            found.problem = Some(SelectorProblem::Invalid(error.to_string()));
            return found;
        }
        let scope = Scope { label_selector: found.selector.clone(), ..Scope::namespace(namespace) };
        match client.list(&Resource::core("pods"), &scope, Format::Whole).await {
            Ok(pods) => found.pods = pods,
            Err(error) => found.failures.push(pods_failure(&error)),
        }
        found
    }

    fn failed(mut self, cause: String, remedy: String) -> Self {
        self.scale = Err(cause.clone());
        self.failures.push(FailureRecord { stage: "Scale".to_owned(), cause, remedy });
        self
    }
}

fn pods_failure(error: &ApiError) -> FailureRecord {
    let remedy = if error.is_forbidden() { "bind a role with verb `list` on pods to your user" } else { "ask again" };
    FailureRecord { stage: "Pods".to_owned(), cause: error.to_string(), remedy: remedy.to_owned() }
}

/// Unix time of a text of the API; none where there is none.
fn timestamp(value: &Value) -> Option<Timestamp> {
    datamodel::rfc3339::parse_rfc3339(value.as_str()?)
}

#[cfg(test)]
mod tests;
