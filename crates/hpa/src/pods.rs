//! Pods as the algorithm sees them, their samples, and the groups that it puts them into.
//!
//! - [`Pod`]: phase, readiness, age, requests. [`PodSample`]: one value of one pod.
//! - [`group_pods`]: which pods count, and which of them have no usable sample.
//! - [`requests_milli`]: what each pod asks for of one resource.
//!
//! Rule: readiness is looked at for CPU only; for every other metric a sample is a sample.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamodel::Timestamp;

use crate::config::ControllerConfig;
use crate::error::MetricError;

/// Name of the resource for which readiness matters.
const CPU: &str = "cpu";

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodPhase {
    /// Not all containers run yet.
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well. Counts as upstream counts it: like a running one.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

/// The `Ready` condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyCondition {
    /// Whether the pod takes requests; `None` stands for `Unknown`.
    pub is_ready: Option<bool>,
    /// When that last changed.
    pub last_transition: Timestamp,
}

/// A container's share of what a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// Requests in thousandths, by resource.
    pub requests_milli: BTreeMap<String, i64>,
}

/// A container that runs before the others, or beside them where it is restartable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitContainer {
    /// Name and requests.
    pub container: Container,
    /// `restartPolicy: Always`: it runs as long as the pod.
    pub is_restartable: bool,
}

/// A pod of the scale target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, unique in the namespace.
    pub name: String,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Whether its deletion was asked for.
    pub is_deleting: bool,
    /// When the node acknowledged it; none before that.
    pub start_time: Option<Timestamp>,
    /// Its `Ready` condition; none before the first report.
    pub ready: Option<ReadyCondition>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Its init containers.
    pub init_containers: Vec<InitContainer>,
    /// Requests of the pod as a whole in thousandths, by resource; none where they are not set.
    pub requests_milli: Option<BTreeMap<String, i64>>,
}

impl Pod {
    /// A pod that runs and is ready since its start, without requests.
    #[must_use]
    pub fn running(name: &str, since: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            phase: PodPhase::Running,
            is_deleting: false,
            start_time: Some(since),
            ready: Some(ReadyCondition { is_ready: Some(true), last_transition: since }),
            containers: Vec::new(),
            init_containers: Vec::new(),
            requests_milli: None,
        }
    }

    /// Whether the pod runs and takes requests.
    #[must_use]
    pub fn is_running_and_ready(&self) -> bool {
        self.phase == PodPhase::Running && self.ready.is_some_and(|ready| ready.is_ready == Some(true))
    }

    /// Whether the pod counts for nothing: it goes away, or it failed.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        self.is_deleting || self.phase == PodPhase::Failed
    }
}

/// One value of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodSample {
    /// The value in thousandths.
    pub value_milli: i64,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// The time before `timestamp` that the value sums up.
    pub window: Duration,
}

/// Samples by pod name.
pub type PodSamples = BTreeMap<String, PodSample>;

/// The pods of a target by what their samples are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodGroups {
    /// Pods with a sample that counts.
    pub ready_count: usize,
    /// Pods that are not yet of use; their samples do not count.
    pub unready: BTreeSet<String>,
    /// Pods that should have a sample and have none.
    pub missing: BTreeSet<String>,
    /// Pods that go away or failed.
    pub ignored: BTreeSet<String>,
}

/// Puts every pod into its group. `resource` is none for metrics that are no resource.
#[must_use]
pub fn group_pods(
    pods: &[Pod],
    samples: &PodSamples,
    resource: Option<&str>,
    config: &ControllerConfig,
    now: Timestamp,
) -> PodGroups {
    let mut groups = PodGroups::default();
    for pod in pods {
        if pod.is_ignored() {
            groups.ignored.insert(pod.name.clone());
        } else if pod.phase == PodPhase::Pending {
            groups.unready.insert(pod.name.clone());
        } else if let Some(sample) = samples.get(&pod.name) {
            if resource == Some(CPU) && is_cpu_sample_of_no_use(pod, sample, config, now) {
                groups.unready.insert(pod.name.clone());
            } else {
                groups.ready_count += 1;
            }
        } else {
            groups.missing.insert(pod.name.clone());
        }
    }
    groups
}

/// Whether a CPU sample says more about the pod's start than about its load.
fn is_cpu_sample_of_no_use(pod: &Pod, sample: &PodSample, config: &ControllerConfig, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod.ready, pod.start_time) else { return true };
    let is_unready = ready.is_ready == Some(false);
    if start.saturating_add(config.cpu_initialization_period) > now {
        // Perhaps still starting: the sample must lie one whole window behind the last change.
        is_unready || sample.timestamp < ready.last_transition.saturating_add(sample.window)
    } else {
        // Started long ago: of no use only if it never was ready.
        is_unready && start.saturating_add(config.initial_readiness_delay) > ready.last_transition
    }
}

/// What each pod asks for of a resource, in thousandths; of one container where it is named.
///
/// # Errors
///
/// A pod, even one that does not count, without such a request or without that container.
pub fn requests_milli(
    pods: &[Pod],
    container: Option<&str>,
    resource: &str,
    config: &ControllerConfig,
) -> Result<BTreeMap<String, i64>, MetricError> {
    pods.iter()
        .map(|pod| {
            let of_pod = pod
                .requests_milli
                .as_ref()
                .filter(|requests| config.pod_level_resources && container.is_none() && !requests.is_empty());
            let request = match of_pod {
                Some(of_pod) => pod_level_request(pod, of_pod, resource)?,
                None => containers_request(pod, container, resource)?,
            };
            Ok((pod.name.clone(), request))
        })
        .collect()
}

fn containers_request(pod: &Pod, wanted: Option<&str>, resource: &str) -> Result<i64, MetricError> {
    let restartable = pod.init_containers.iter().filter(|init| init.is_restartable).map(|init| &init.container);
    let mut sum: i64 = 0;
    for container in pod.containers.iter().chain(restartable) {
        if wanted.is_some_and(|name| name != container.name) {
            continue;
        }
        let request = container.requests_milli.get(resource).ok_or_else(|| MetricError::MissingRequest {
            resource: resource.to_owned(),
            container: container.name.clone(),
            pod: pod.name.clone(),
        })?;
        sum = sum.saturating_add(*request);
        if wanted.is_some() {
            return Ok(sum);
        }
    }
    match wanted {
        None => Ok(sum),
        Some(name) => Err(MetricError::ContainerNotFound { container: name.to_owned(), pod: pod.name.clone() }),
    }
}

/// The pod's own request, or what its containers need at once where the pod names other resources only.
fn pod_level_request(pod: &Pod, of_pod: &BTreeMap<String, i64>, resource: &str) -> Result<i64, MetricError> {
    if let Some(request) = of_pod.get(resource) {
        return Ok(*request);
    }
    let of = |container: &Container| container.requests_milli.get(resource).copied();
    let mut found = false;
    let mut running: i64 = 0;
    for request in pod.containers.iter().filter_map(of) {
        found = true;
        running = running.saturating_add(request);
    }
    // Init containers run one after the other, each beside the restartable ones before it.
    let mut restartable: i64 = 0;
    let mut starting: i64 = 0;
    for init in &pod.init_containers {
        let Some(request) = of(&init.container) else { continue };
        found = true;
        if init.is_restartable {
            running = running.saturating_add(request);
            restartable = restartable.saturating_add(request);
            starting = starting.max(restartable);
        } else {
            starting = starting.max(restartable.saturating_add(request));
        }
    }
    if found {
        Ok(running.max(starting))
    } else {
        Err(MetricError::MissingPodRequest { resource: resource.to_owned(), pod: pod.name.clone() })
    }
}
