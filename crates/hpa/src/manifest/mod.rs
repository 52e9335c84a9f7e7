//! The `autoscaling/v2` manifest: types, defaults, and the way from YAML to both.
//!
//! - [`HorizontalPodAutoscaler`]: name, namespace, [`HpaSpec`].
//! - `decode`: the keys and their validation.
//!
//! Rule: a value of these types has passed upstream's validation and carries upstream's defaults.

mod decode;

use std::collections::BTreeMap;
use std::fmt;

use datamodel::selector::{Requirement, SelectorOp};
use datamodel::{Quantity, Selector};

use crate::config::{ControllerConfig, Tolerances};

/// A checked manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct HorizontalPodAutoscaler {
    /// Its name.
    pub name: String,
    /// Its namespace, which is that of its target and its metrics.
    pub namespace: String,
    /// What it wants.
    pub spec: HpaSpec,
}

/// What is to be scaled, between which numbers, by which metrics, how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaSpec {
    /// What is scaled.
    pub scale_target_ref: CrossVersionObjectReference,
    /// The lowest number of replicas; 1 by default.
    pub min_replicas: i32,
    /// The highest number of replicas.
    pub max_replicas: i32,
    /// The metrics; the highest proposal counts. CPU at 80 % by default.
    pub metrics: Vec<MetricSpec>,
    /// How fast. Without it other, simpler rules count than with its defaults.
    pub behavior: Option<HpaBehavior>,
}

/// Names an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CrossVersionObjectReference {
    /// `apps/v1`; empty for the core group without version.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Where a metric's values come from, and what they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricSpec {
    /// A resource that all containers of the pods use.
    Resource {
        /// `cpu`, `memory`.
        name: String,
        /// Utilization or average value.
        target: MetricTarget,
    },
    /// A resource that one container of each pod uses.
    ContainerResource {
        /// `cpu`, `memory`.
        name: String,
        /// The container.
        container: String,
        /// Utilization or average value.
        target: MetricTarget,
    },
    /// A custom metric of the pods.
    Pods {
        /// The metric.
        metric: MetricIdentifier,
        /// An average value.
        target: MetricTarget,
    },
    /// A custom metric of another object.
    Object {
        /// The object.
        described_object: CrossVersionObjectReference,
        /// The metric.
        metric: MetricIdentifier,
        /// Value or average value.
        target: MetricTarget,
    },
    /// A metric of nothing in the cluster.
    External {
        /// The metric.
        metric: MetricIdentifier,
        /// Value or average value.
        target: MetricTarget,
    },
    /// A type that this version does not know. Validation refuses it; an object that was stored by a newer
    /// API server may still have it.
    Unknown {
        /// The type as written.
        kind: String,
    },
}

impl MetricSpec {
    /// The type as the manifest names it.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Resource { .. } => "Resource",
            Self::ContainerResource { .. } => "ContainerResource",
            Self::Pods { .. } => "Pods",
            Self::Object { .. } => "Object",
            Self::External { .. } => "External",
            Self::Unknown { kind } => kind,
        }
    }

    /// The name of the metric or resource.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Resource { name, .. } | Self::ContainerResource { name, .. } => name,
            Self::Pods { metric, .. } | Self::Object { metric, .. } | Self::External { metric, .. } => &metric.name,
            Self::Unknown { .. } => "",
        }
    }

    /// What the values are compared with.
    #[must_use]
    pub const fn target(&self) -> Option<&MetricTarget> {
        match self {
            Self::Resource { target, .. }
            | Self::ContainerResource { target, .. }
            | Self::Pods { target, .. }
            | Self::Object { target, .. }
            | Self::External { target, .. } => Some(target),
            Self::Unknown { .. } => None,
        }
    }
}

/// Names a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricIdentifier {
    /// Its name.
    pub name: String,
    /// Which of the series of that name count; all where it is missing.
    pub selector: Option<LabelSelector>,
}

/// Conditions on the labels of a metric, as the manifest has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions; their operators are `In`, `NotIn`, `Exists` and `DoesNotExist`.
    pub match_expressions: Vec<Requirement>,
}

impl LabelSelector {
    /// All conditions as one selector.
    ///
    /// # Errors
    ///
    /// A label or value is malformed; never after validation.
    pub fn selector(&self) -> Result<Selector, datamodel::selector::SelectorError> {
        let labels = self
            .match_labels
            .iter()
            .map(|(key, value)| Requirement::new(key.as_str(), SelectorOp::Equals, [value.clone()]));
        let requirements: Vec<Requirement> = labels.collect::<Result<_, _>>()?;
        Ok(Selector::from_requirements(requirements.into_iter().chain(self.match_expressions.iter().cloned())))
    }
}

impl fmt::Display for LabelSelector {
    /// As upstream's Go prints it in the names of metrics, which appear in events and conditions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("&LabelSelector{MatchLabels:map[string]string{")?;
        for (key, value) in &self.match_labels {
            write!(f, "{key}: {value},")?;
        }
        f.write_str("},MatchExpressions:[]LabelSelectorRequirement{")?;
        for requirement in &self.match_expressions {
            let operator = match requirement.op() {
                SelectorOp::NotIn => "NotIn",
                SelectorOp::Exists => "Exists",
                SelectorOp::DoesNotExist => "DoesNotExist",
                _ => "In",
            };
            let (key, values) = (requirement.key(), requirement.values().join(" "));
            write!(f, "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")?;
        }
        f.write_str("},}")
    }
}

/// What the values are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricTarget {
    /// Percent of the requests, averaged over the pods; at least 1.
    Utilization(i32),
    /// The value as a whole.
    Value(Quantity),
    /// The value divided by the number of pods.
    AverageValue(Quantity),
}

/// How fast the number may change.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaBehavior {
    /// Upwards.
    pub scale_up: ScalingRules,
    /// Downwards.
    pub scale_down: ScalingRules,
}

/// How fast the number may change in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRules {
    /// How long recommendations hold a change back, 0 to 3600 s. None (downwards only): the controller's flag.
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts.
    pub select_policy: SelectPolicy,
    /// The policies; at least one.
    pub policies: Vec<ScalingPolicy>,
    /// How near to 1 a ratio changes nothing. None: the controller's flag.
    pub tolerance: Option<Quantity>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: the direction is closed.
    Disabled,
}

/// A largest change in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScalingPolicy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// Pods, or percent of the pods at the begin of the period; above 0.
    pub value: i32,
    /// The period, 1 to 1800 s.
    pub period_seconds: i32,
}

/// What the value of a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the pods at the begin of the period.
    Percent,
}

impl ScalingRules {
    /// Upwards by default: the larger of 4 pods and 100 % in 15 s, at once.
    #[must_use]
    pub fn default_scale_up() -> Self {
        let policies = vec![
            ScalingPolicy { kind: PolicyKind::Pods, value: 4, period_seconds: 15 },
            ScalingPolicy { kind: PolicyKind::Percent, value: 100, period_seconds: 15 },
        ];
        let stabilization_window_seconds = Some(0);
        Self { stabilization_window_seconds, select_policy: SelectPolicy::Max, policies, tolerance: None }
    }

    /// Downwards by default: all in 15 s, after the window of the controller's flag.
    #[must_use]
    pub fn default_scale_down() -> Self {
        let policies = vec![ScalingPolicy { kind: PolicyKind::Percent, value: 100, period_seconds: 15 }];
        Self { stabilization_window_seconds: None, select_policy: SelectPolicy::Max, policies, tolerance: None }
    }
}

impl HpaSpec {
    /// The tolerances of both directions: the manifest's, else the flag's.
    #[must_use]
    pub fn tolerances(&self, config: &ControllerConfig) -> Tolerances {
        let of = |rules: fn(&HpaBehavior) -> &ScalingRules| {
            let tolerance = self.behavior.as_ref().and_then(|behavior| rules(behavior).tolerance);
            tolerance.map_or(config.tolerance, Quantity::as_f64)
        };
        Tolerances { scale_down: of(|behavior| &behavior.scale_down), scale_up: of(|behavior| &behavior.scale_up) }
    }

    /// Whether a metric can ask for pods while there are none.
    #[must_use]
    pub fn has_object_or_external_metric(&self) -> bool {
        self.metrics.iter().any(|metric| matches!(metric, MetricSpec::Object { .. } | MetricSpec::External { .. }))
    }
}

#[cfg(test)]
mod tests;
