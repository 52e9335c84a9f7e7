//! One metric of the manifest and what was read for it, to one proposal.
//!
//! Rule: every error names the stages that it came through, in upstream's words.

use std::time::Duration;

use datamodel::Timestamp;

use crate::condition::ConditionReason;
use crate::controller::Scale;
use crate::error::MetricError;
use crate::manifest::{LabelSelector, MetricSpec, MetricTarget};
use crate::pods::{Pod, PodSample, PodSamples};
use crate::replica_calculator::{Proposal, ReplicaCalculator, sum_milli};

/// What was read for one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// For a resource: what the containers of each pod use.
    Resource(Vec<PodUsage>),
    /// For a metric of pods: one sample each.
    Pods(PodSamples),
    /// For an object one value, for an external metric any number; in thousandths.
    Values(Vec<i64>),
}

/// What the containers of one pod use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod.
    pub pod: String,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// The time before `timestamp` that the values sum up.
    pub window: Duration,
    /// By container.
    pub containers: Vec<ContainerUsage>,
}

/// What one container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// The container.
    pub name: String,
    /// In thousandths; none if this resource was not measured.
    pub usage_milli: Option<i64>,
}

/// A metric without a proposal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InvalidMetric {
    /// Reason of the condition and of the event.
    pub(crate) reason: ConditionReason,
    /// What the event says, and the condition after its introduction.
    pub(crate) error: MetricError,
    /// What the sync says about it: the error with the stages above.
    pub(crate) chain: MetricError,
}

/// Which of the metrics APIs a metric is read from.
#[derive(Clone, Copy)]
enum Api {
    Resource,
    Custom,
    External,
}

impl Api {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Custom => "custom",
            Self::External => "external",
        }
    }
}

/// The name under which upstream speaks of the metric in reasons (`… above target`).
pub(crate) fn metric_name(spec: &MetricSpec) -> String {
    match spec {
        MetricSpec::Resource { name, target: MetricTarget::Utilization(_) } => {
            format!("{name} resource utilization (percentage of request)")
        }
        MetricSpec::ContainerResource { name, target: MetricTarget::Utilization(_), .. } => {
            format!("{name} container resource utilization (percentage of request)")
        }
        MetricSpec::Resource { name, .. } | MetricSpec::ContainerResource { name, .. } => format!("{name} resource"),
        MetricSpec::Pods { metric, .. } => format!("pods metric {}", metric.name),
        MetricSpec::Object { described_object, metric, target: MetricTarget::Value(_) } => {
            format!("{} metric {}", described_object.kind, metric.name)
        }
        // Upstream calls an object's metric with a target per pod external, too.
        MetricSpec::Object { metric, .. } | MetricSpec::External { metric, .. } => {
            format!("external metric {}({})", metric.name, selector_text(metric.selector.as_ref()))
        }
        MetricSpec::Unknown { kind } => kind.clone(),
    }
}

/// Computes the proposal of one metric.
pub(crate) fn propose(
    spec: &MetricSpec,
    reading: &Result<Reading, String>,
    calculator: &ReplicaCalculator<'_>,
    scale: Scale,
    namespace: &str,
) -> Result<Proposal, Box<InvalidMetric>> {
    let metric = Metric { reading, calculator, scale, namespace };
    // The stages above the error, from the innermost.
    let mut stages = Vec::new();
    let (result, reason) = match spec {
        MetricSpec::Resource { name, target } => {
            stages.push(format!("failed to get {name} resource metric value: "));
            (metric.resource(name, None, *target), ConditionReason::FailedGetResourceMetric)
        }
        MetricSpec::ContainerResource { name, container, target } => {
            stages.push(format!("failed to get {container} container metric value: "));
            (metric.resource(name, Some(container), *target), ConditionReason::FailedGetContainerResourceMetric)
        }
        MetricSpec::Pods { metric: identifier, target } => {
            stages.push("failed to get pods metric value: ".to_owned());
            (metric.pods(&identifier.name, *target), ConditionReason::FailedGetPodsMetric)
        }
        MetricSpec::Object { described_object, metric: identifier, target } => {
            let name = &identifier.name;
            if matches!(target, MetricTarget::AverageValue(_)) {
                stages.push(format!("failed to get {name} object metric: "));
            }
            stages.push("failed to get object metric value: ".to_owned());
            let place = format!("{name}: {} on {namespace} {}/", described_object.kind, described_object.name);
            (metric.object(*target, &place), ConditionReason::FailedGetObjectMetric)
        }
        MetricSpec::External { metric: identifier, target } => {
            let name = &identifier.name;
            stages.push(match target {
                MetricTarget::AverageValue(_) => format!("failed to get {name} external metric: "),
                _ => format!("failed to get external metric {name}: "),
            });
            stages.push(format!("failed to get {name} external metric value: "));
            let place = format!("{namespace}/{name}/{}: ", selector_text(identifier.selector.as_ref()));
            (metric.external(*target, &place), ConditionReason::FailedGetExternalMetric)
        }
        MetricSpec::Unknown { kind } => {
            (Err(MetricError::UnknownType(kind.clone())), ConditionReason::InvalidMetricSourceType)
        }
    };
    result.map_err(|error| {
        let chain = stages.into_iter().fold(error.clone(), MetricError::within);
        Box::new(InvalidMetric { reason, error, chain })
    })
}

/// What all types of metrics need.
struct Metric<'a> {
    reading: &'a Result<Reading, String>,
    calculator: &'a ReplicaCalculator<'a>,
    scale: Scale,
    namespace: &'a str,
}

impl Metric<'_> {
    fn read(&self, api: Api) -> Result<&Reading, MetricError> {
        self.reading.as_ref().map_err(|cause| {
            MetricError::Source(format!("unable to fetch metrics from {} metrics API: {cause}", api.as_str()))
        })
    }

    fn resource(&self, name: &str, container: Option<&str>, target: MetricTarget) -> Result<Proposal, MetricError> {
        let current = self.scale.spec_replicas;
        let samples = || {
            self.resource_samples(container)
                .map_err(|cause| cause.within(format!("unable to get metrics for resource {name}: ")))
        };
        match target {
            MetricTarget::AverageValue(value) => samples()
                .and_then(|samples| self.calculator.raw_resource_replicas(current, value.milli_value(), name, samples))
                .map_err(|cause| cause.within(format!("failed to get {name} usage: "))),
            MetricTarget::Utilization(percent) => samples()
                .and_then(|samples| self.calculator.resource_replicas(current, percent, name, container, samples))
                .map_err(|cause| cause.within(format!("failed to get {name} utilization: "))),
            MetricTarget::Value(_) => Err(MetricError::InvalidTarget {
                kind: "resource",
                expected: "an average utilization target nor an average value (usage) target",
            }),
        }
    }

    /// The sum over the containers of each pod, or the one that is named.
    fn resource_samples(&self, container: Option<&str>) -> Result<PodSamples, MetricError> {
        let Reading::Resource(usages) = self.read(Api::Resource)? else {
            return Err(MetricError::WrongReading("Resource"));
        };
        if usages.is_empty() {
            return Err(MetricError::Empty { api: Api::Resource.as_str() });
        }
        container_samples(usages, container, self.calculator.pods, self.namespace)
    }

    fn pods(&self, name: &str, target: MetricTarget) -> Result<Proposal, MetricError> {
        let MetricTarget::AverageValue(value) = target else {
            return Err(MetricError::InvalidTarget { kind: "pods", expected: "an average value target" });
        };
        let samples = self.pod_samples().map_err(|cause| cause.within(format!("unable to get metric {name}: ")))?;
        self.calculator.metric_replicas(self.scale.spec_replicas, value.milli_value(), samples)
    }

    fn pod_samples(&self) -> Result<PodSamples, MetricError> {
        match self.read(Api::Custom)? {
            Reading::Pods(samples) if samples.is_empty() => Err(MetricError::Empty { api: Api::Custom.as_str() }),
            Reading::Pods(samples) => Ok(samples.clone()),
            Reading::Resource(_) | Reading::Values(_) => Err(MetricError::WrongReading("Pods")),
        }
    }

    fn object(&self, target: MetricTarget, stage: &str) -> Result<Proposal, MetricError> {
        let usage = || {
            self.values(Api::Custom, "Object")
                // An object has one value.
                .map(|values| values.first().copied().unwrap_or_default())
                .map_err(|cause| cause.within(format!("unable to get metric {stage}")))
        };
        let expected = "a value target nor an average value target";
        self.whole(target, usage, MetricError::InvalidTarget { kind: "object", expected })
    }

    fn external(&self, target: MetricTarget, stage: &str) -> Result<Proposal, MetricError> {
        let usage = || {
            self.values(Api::External, "External")
                .map(sum_milli)
                .map_err(|cause| cause.within(format!("unable to get external metric {stage}")))
        };
        let expected = "a value target nor an average value target";
        self.whole(target, usage, MetricError::InvalidTarget { kind: "external", expected })
    }

    fn whole(
        &self,
        target: MetricTarget,
        usage: impl FnOnce() -> Result<i64, MetricError>,
        invalid: MetricError,
    ) -> Result<Proposal, MetricError> {
        match target {
            MetricTarget::Value(value) => {
                self.calculator.value_replicas(self.scale.spec_replicas, value.milli_value(), usage()?)
            }
            MetricTarget::AverageValue(value) => {
                Ok(self.calculator.average_value_replicas(self.scale.status_replicas, value.milli_value(), usage()?))
            }
            MetricTarget::Utilization(_) => Err(invalid),
        }
    }

    fn values(&self, api: Api, kind: &'static str) -> Result<&[i64], MetricError> {
        match self.read(api)? {
            Reading::Values(values) if values.is_empty() => Err(MetricError::Empty { api: api.as_str() }),
            Reading::Values(values) => Ok(values),
            Reading::Resource(_) | Reading::Pods(_) => Err(MetricError::WrongReading(kind)),
        }
    }
}

/// The samples that a metric of pods would be computed from; none where the reading is of another kind.
pub(crate) fn pod_samples_of(spec: &MetricSpec, reading: &Reading, pods: &[Pod]) -> PodSamples {
    let container = match spec {
        MetricSpec::ContainerResource { container, .. } => Some(container.as_str()),
        _ => None,
    };
    match reading {
        Reading::Pods(samples) => samples.clone(),
        Reading::Resource(usages) => container_samples(usages, container, pods, "").unwrap_or_default(),
        Reading::Values(_) => PodSamples::new(),
    }
}

/// The sum over the containers of each pod, or the one that is named.
fn container_samples(
    usages: &[PodUsage],
    container: Option<&str>,
    pods: &[Pod],
    namespace: &str,
) -> Result<PodSamples, MetricError> {
    let is_ignored = |name: &str| pods.iter().any(|pod| pod.name == name && Pod::is_ignored(pod));
    let mut samples = PodSamples::new();
    for usage in usages.iter().filter(|usage| !is_ignored(&usage.pod)) {
        let value_milli = match container {
            None => usage
                .containers
                .iter()
                .try_fold(0_i64, |sum, one| one.usage_milli.map(|value| sum.saturating_add(value))),
            Some(name) => {
                let found = usage.containers.iter().find(|one| one.name == name);
                found.map(|one| one.usage_milli).ok_or_else(|| MetricError::ContainerWithoutSample {
                    container: name.to_owned(),
                    namespace: namespace.to_owned(),
                    pod: usage.pod.clone(),
                })?
            }
        };
        // A pod of which a part was not measured has no sample.
        if let Some(value_milli) = value_milli {
            let sample = PodSample { value_milli, timestamp: usage.timestamp, window: usage.window };
            samples.insert(usage.pod.clone(), sample);
        }
    }
    Ok(samples)
}

fn selector_text(selector: Option<&LabelSelector>) -> String {
    selector.map_or_else(|| "nil".to_owned(), LabelSelector::to_string)
}
