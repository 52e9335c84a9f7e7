//! `kube_deployment_…`.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;
use serde_json::Value;

use super::conditions::{Condition, one, without_marks};
use super::page::{Family, Told, gauge};
use crate::client::{Keyed, ObjectMeta, or_default};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Deployment {
    #[serde(deserialize_with = "without_marks")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: i32,
    paused: bool,
    strategy: Strategy,
}

impl Default for Spec {
    fn default() -> Self {
        Self { replicas: one(), paused: false, strategy: Strategy::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    rolling_update: Option<RollingUpdate>,
}

/// Numbers of replicas, or percents of those that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_unavailable: Value,
    max_surge: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    replicas: i32,
    ready_replicas: i32,
    available_replicas: i32,
    unavailable_replicas: i32,
    updated_replicas: i32,
    observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

impl Keyed for Deployment {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// The reasons that the Deployment controller gives. Others come from elsewhere, and could be without end.
const REASONS: [&str; 11] = [
    "",
    "DeploymentPaused",
    "DeploymentResumed",
    "FoundNewReplicaSet",
    "MinimumReplicasAvailable",
    "MinimumReplicasUnavailable",
    "NewReplicaSetAvailable",
    "NewReplicaSetCreated",
    "ProgressDeadlineExceeded",
    "ReplicaSetCreateError",
    "ReplicaSetUpdated",
];

/// Which way a part of a replica is rounded.
#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

impl Deployment {
    /// A number, or a percentage of the replicas that are wanted.
    fn scaled(&self, of: fn(&RollingUpdate) -> &Value, round: Round) -> Option<f64> {
        match of(self.spec.strategy.rolling_update.as_ref()?) {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => {
                let percent: i32 = text.strip_suffix('%')?.parse().ok()?;
                let part = f64::from(percent) * f64::from(self.spec.replicas) / 100.0;
                Some(match round {
                    Round::Up => part.ceil(),
                    Round::Down => part.floor(),
                })
            }
            _ => None,
        }
    }
}

impl Told for Deployment {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("namespace", &self.metadata.namespace), ("deployment", &self.metadata.name)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge("kube_deployment_created", "When the Deployment was made, in Unix seconds.", |object, into| {
            into.instant(&[], object.metadata.creation_timestamp.as_deref());
        }),
        gauge("kube_deployment_metadata_generation", "Which change of the specification is wanted.", |object, into| {
            into.count(object.metadata.generation);
        }),
        gauge("kube_deployment_spec_paused", "Whether rollouts of the Deployment are paused.", |object, into| {
            into.one(object.spec.paused);
        }),
        gauge("kube_deployment_spec_replicas", "Pods that are wanted of a Deployment.", |object, into| {
            into.one(object.spec.replicas);
        }),
        gauge(
            "kube_deployment_spec_strategy_rollingupdate_max_surge",
            "Pods that a rolling update may have beyond those that are wanted.",
            |object, into| {
                if let Some(most) = object.scaled(|update| &update.max_surge, Round::Up) {
                    into.one(most);
                }
            },
        ),
        gauge(
            "kube_deployment_spec_strategy_rollingupdate_max_unavailable",
            "Pods that may be missing during a rolling update.",
            |object, into| {
                if let Some(most) = object.scaled(|update| &update.max_unavailable, Round::Down) {
                    into.one(most);
                }
            },
        ),
        gauge("kube_deployment_status_condition", "Conditions of a Deployment, by status.", |object, into| {
            for condition in &object.status.conditions {
                let is_known = REASONS.contains(&condition.reason.as_str());
                let reason = if is_known { condition.reason.as_str() } else { "unknown" };
                condition.tell(&[("reason", reason), ("condition", &condition.kind)], "status", into);
            }
        }),
        gauge(
            "kube_deployment_status_observed_generation",
            "Which change of the specification the Deployment controller has seen.",
            |object, into| into.count(object.status.observed_generation),
        ),
        gauge("kube_deployment_status_replicas", "Pods of a Deployment.", |object, into| {
            into.one(object.status.replicas);
        }),
        gauge(
            "kube_deployment_status_replicas_available",
            "Pods of a Deployment that are available.",
            |object, into| {
                into.one(object.status.available_replicas);
            },
        ),
        gauge("kube_deployment_status_replicas_ready", "Pods of a Deployment that are ready.", |object, into| {
            into.one(object.status.ready_replicas);
        }),
        gauge(
            "kube_deployment_status_replicas_unavailable",
            "Pods of a Deployment that are missing or not available.",
            |object, into| into.one(object.status.unavailable_replicas),
        ),
        gauge(
            "kube_deployment_status_replicas_updated",
            "Pods of a Deployment that are as the specification wants them.",
            |object, into| into.one(object.status.updated_replicas),
        ),
    ];
}
