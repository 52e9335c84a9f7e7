//! What is known before anything is judged.
//!
//! - [`Facts`]: all of it. [`Expected`]: what should be there. [`Prometheus`], [`MetricsApi`], [`Cluster`]: what
//!   the three places answered. [`Autoscaler`]: one HPA, wherever it runs.
//!
//! Rule: plain data; documents of others are read leniently, since what is missing in them is a finding.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use kubernetes::client::ObjectMeta;
use kubernetes::operator::objects::{Prometheus as PrometheusObject, ServiceMonitor};
use serde::Deserialize;

use super::finding::Asked;
use crate::commands::api_service::{ApiService, Condition};

/// The seven metrics of the seed, each by a series that it has.
pub(super) const METRICS: [&str; 7] = [
    "asr_active_requests",
    "asr_total_requests",
    "asr_failed_requests",
    "asr_request_duration_seconds_count",
    "asr_model_load_time_seconds",
    "asr_gpu_utilization",
    "asr_gpu_memory_used_bytes",
];

/// "Test Prometheus Query" of the seed.
pub(super) const QUERIES: [&str; 3] = [
    "asr_active_requests",
    "rate(asr_total_requests[5m])",
    "histogram_quantile(0.95, asr_request_duration_seconds_bucket)",
];

/// What "Check Prometheus Adapter" of the seed expects to be listed.
pub(super) const LISTED: [&str; 3] =
    ["pods/asr_active_requests", "pods/asr_total_requests", "pods/asr_failed_requests"];

/// The external metric of the seed.
pub(super) const EXTERNAL: &str = "lightning_asr_replica_count";

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) expected: Expected,
    /// When the facts were gathered.
    pub(super) now: Timestamp,
    pub(super) prometheus: Prometheus,
    pub(super) metrics_api: MetricsApi,
    pub(super) cluster: Cluster,
    pub(super) autoscalers: Asked<Vec<Autoscaler>>,
    /// Whether a question to the metrics API made the engine scrape.
    pub(super) is_pulled: bool,
    /// Time between two decisions of the autoscaler.
    pub(super) sync_period: Duration,
}

/// What should be there.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) namespace: String,
    pub(super) job: String,
    /// The Service, and its ServiceMonitor.
    pub(super) service: String,
    /// Recording rules, then alerts.
    pub(super) rules: Vec<String>,
    pub(super) alerts: Vec<String>,
}

/// What a Prometheus-compatible server answered.
#[derive(Clone, Debug)]
pub(super) struct Prometheus {
    pub(super) url: String,
    /// Status and text of `/-/ready`.
    pub(super) ready: Asked<(u16, String)>,
    pub(super) runtime: Asked<RuntimeInfo>,
    pub(super) targets: Asked<Targets>,
    pub(super) pools: Asked<Vec<String>>,
    pub(super) rules: Asked<Vec<RuleGroup>>,
    /// Of each of [`METRICS`], its series with the times of their newest samples.
    pub(super) samples: Vec<(&'static str, Asked<Series>)>,
    /// Of each of [`QUERIES`], the values.
    pub(super) queries: Vec<(&'static str, Asked<Vec<f64>>)>,
}

/// Series with the times of their newest samples.
pub(super) type Series = Vec<(Labels, Timestamp)>;

/// `/api/v1/status/runtimeinfo`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuntimeInfo {
    pub(super) reload_config_success: bool,
    pub(super) storage_retention: String,
}

/// `/api/v1/targets`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Targets {
    pub(super) active_targets: Vec<Target>,
    pub(super) dropped_targets: Vec<DroppedTarget>,
    pub(super) dropped_target_counts: BTreeMap<String, u64>,
}

/// A target that is scraped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) scrape_pool: String,
    pub(super) scrape_url: String,
    pub(super) last_error: String,
    pub(super) last_scrape: String,
    pub(super) last_scrape_duration: f64,
    pub(super) health: String,
    pub(super) scrape_interval: String,
    pub(super) scrape_timeout: String,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DroppedTarget {
    pub(super) discovered_labels: BTreeMap<String, String>,
    pub(super) scrape_pool: String,
}

/// `/api/v1/rules`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuleGroup {
    pub(super) name: String,
    /// Seconds.
    pub(super) interval: f64,
    /// Seconds.
    pub(super) evaluation_time: f64,
    pub(super) last_evaluation: String,
    pub(super) rules: Vec<Rule>,
}

/// A rule with its last evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) query: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) health: String,
    pub(super) last_error: String,
    pub(super) state: String,
}

/// What custom.metrics.k8s.io and external.metrics.k8s.io answered.
#[derive(Clone, Debug)]
pub(super) struct MetricsApi {
    /// Names of custom metrics, as `pods/asr_active_requests`.
    pub(super) custom: Asked<Vec<String>>,
    /// Names of external metrics.
    pub(super) external: Asked<Vec<String>>,
    /// Of each metric that was asked for, the values of the pods, or why the API has none.
    pub(super) pods: Vec<(String, Asked<PodValues>)>,
    /// The values of [`EXTERNAL`], or why the API has none.
    pub(super) external_values: Asked<Result<Vec<String>, String>>,
}

/// Values of pods, or why there are none.
pub(super) type PodValues = Result<Vec<PodValue>, String>;

/// The value of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodValue {
    pub(super) pod: String,
    pub(super) value: String,
    pub(super) at: Option<Timestamp>,
}

/// What the Kubernetes API answered.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Where it is; empty without one.
    pub(super) server: String,
    /// Its version.
    pub(super) version: Asked<String>,
    /// `None`: it is not there.
    pub(super) monitor: Asked<Option<ServiceMonitor>>,
    /// The objects that select monitors.
    pub(super) prometheuses: Asked<Vec<PrometheusObject>>,
    /// Labels of all namespaces.
    pub(super) namespaces: Asked<BTreeMap<String, BTreeMap<String, String>>>,
    pub(super) service: Asked<Option<Service>>,
    /// Those that the Service selects.
    pub(super) pods: Asked<Vec<Pod>>,
    /// By name.
    pub(super) api_services: Vec<(String, Asked<Option<ApiService>>)>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: ServiceSpec,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ServiceSpec {
    pub(super) selector: BTreeMap<String, String>,
    pub(super) ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ServicePort {
    pub(super) name: String,
    pub(super) port: u16,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: ObjectMeta,
    pub(super) status: PodStatus,
}

/// How a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
}

impl Pod {
    /// Whether it takes requests.
    pub(super) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Whether it is on its way out.
    pub(super) const fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

/// An autoscaler with its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Autoscaler {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Kind and name of what it scales.
    pub(super) target: String,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) current: i32,
    pub(super) desired: i32,
    /// Type and name of each metric.
    pub(super) metrics: Vec<(String, String)>,
    pub(super) conditions: Vec<Condition>,
    /// What of the manifest breaks scaling.
    pub(super) lints: Vec<String>,
}

impl Autoscaler {
    /// `NAMESPACE/NAME`
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
