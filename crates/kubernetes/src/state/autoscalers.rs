//! `kube_horizontalpodautoscaler_…`.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;
use serde_json::Value;

use super::amounts::{amount, thousandths};
use super::conditions::{Condition, one, without_marks};
use super::page::{Family, Samples, Told, gauge};
use crate::client::{Keyed, ObjectMeta, or_default};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Autoscaler {
    #[serde(deserialize_with = "without_marks")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scale_target_ref: ScaleTarget,
    min_replicas: i32,
    max_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    metrics: Vec<Metric>,
}

impl Default for Spec {
    fn default() -> Self {
        Self { scale_target_ref: ScaleTarget::default(), min_replicas: one(), max_replicas: 0, metrics: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScaleTarget {
    api_version: String,
    kind: String,
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    current_replicas: i32,
    desired_replicas: i32,
    #[serde(deserialize_with = "or_default")]
    current_metrics: Vec<Metric>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

/// A metric of the specification, with its target, or of the status, with its value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    #[serde(rename = "type")]
    kind: String,
    object: Option<Source>,
    pods: Option<Source>,
    resource: Option<Source>,
    container_resource: Option<Source>,
    external: Option<Source>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Source {
    /// Of a resource.
    name: String,
    /// Of anything else.
    metric: Identifier,
    target: Numbers,
    current: Numbers,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Identifier {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Numbers {
    value: Value,
    average_value: Value,
    average_utilization: Option<i32>,
}

impl Keyed for Autoscaler {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Metric {
    /// Its name, and where its numbers are.
    fn source(&self) -> Option<(&str, &Source)> {
        let source = match self.kind.as_str() {
            "Object" => &self.object,
            "Pods" => &self.pods,
            "Resource" => &self.resource,
            "ContainerResource" => &self.container_resource,
            "External" => &self.external,
            _ => &None,
        };
        let source = source.as_ref()?;
        let name = if source.metric.name.is_empty() { &source.name } else { &source.metric.name };
        Some((name, source))
    }
}

/// A sample for each number that each metric has. Metrics that differ in what the labels do not tell (a selector, a
/// container) would be one series: the first counts.
fn numbers(metrics: &[Metric], of: fn(&Source) -> &Numbers, into: &mut Samples<'_>) {
    let mut told = Vec::new();
    for (name, source) in metrics.iter().filter_map(Metric::source) {
        let Numbers { value, average_value, average_utilization } = of(source);
        let all = [
            ("value", amount(value).map(thousandths)),
            ("utilization", average_utilization.map(f64::from)),
            ("average", amount(average_value).map(thousandths)),
        ];
        for (kind, number) in all {
            let Some(number) = number.filter(|_| !told.contains(&(name, kind))) else { continue };
            told.push((name, kind));
            into.add(&[("metric_name", name), ("metric_target_type", kind)], number);
        }
    }
}

impl Told for Autoscaler {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("namespace", &self.metadata.namespace), ("horizontalpodautoscaler", &self.metadata.name)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge(
            "kube_horizontalpodautoscaler_created",
            "When the autoscaler was made, in Unix seconds.",
            |object, into| {
                into.instant(&[], object.metadata.creation_timestamp.as_deref());
            },
        ),
        gauge("kube_horizontalpodautoscaler_info", "What the autoscaler scales.", |object, into| {
            let target = &object.spec.scale_target_ref;
            let (kind, name) = (("scaletargetref_kind", &*target.kind), ("scaletargetref_name", &*target.name));
            if target.api_version.is_empty() {
                into.add(&[kind, name], 1.0);
            } else {
                into.add(&[("scaletargetref_api_version", &target.api_version), kind, name], 1.0);
            }
        }),
        gauge(
            "kube_horizontalpodautoscaler_metadata_generation",
            "Which change of the specification is wanted.",
            |object, into| into.count(object.metadata.generation),
        ),
        gauge("kube_horizontalpodautoscaler_spec_max_replicas", "Most replicas that may be set.", |object, into| {
            into.one(object.spec.max_replicas);
        }),
        gauge("kube_horizontalpodautoscaler_spec_min_replicas", "Least replicas that may be set.", |object, into| {
            into.one(object.spec.min_replicas);
        }),
        gauge("kube_horizontalpodautoscaler_spec_target_metric", "What each metric should be.", |object, into| {
            numbers(&object.spec.metrics, |source| &source.target, into);
        }),
        gauge(
            "kube_horizontalpodautoscaler_status_condition",
            "Conditions of the autoscaler, by status.",
            |object, into| {
                for condition in &object.status.conditions {
                    condition.tell(&[("condition", &condition.kind)], "status", into);
                }
            },
        ),
        gauge(
            "kube_horizontalpodautoscaler_status_current_replicas",
            "Replicas that were seen last.",
            |object, into| {
                into.one(object.status.current_replicas);
            },
        ),
        gauge(
            "kube_horizontalpodautoscaler_status_desired_replicas",
            "Replicas that were set last.",
            |object, into| {
                into.one(object.status.desired_replicas);
            },
        ),
        gauge("kube_horizontalpodautoscaler_status_target_metric", "What each metric was last.", |object, into| {
            numbers(&object.status.current_metrics, |source| &source.current, into);
        }),
    ];
}
