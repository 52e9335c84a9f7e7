//! `kube_statefulset_…`.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;

use super::conditions::{one, without_marks};
use super::page::{Family, Told, gauge};
use crate::client::{Keyed, ObjectMeta};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct StatefulSet {
    #[serde(deserialize_with = "without_marks")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: i32,
}

impl Default for Spec {
    fn default() -> Self {
        Self { replicas: one() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    replicas: i32,
    available_replicas: i32,
    current_replicas: i32,
    ready_replicas: i32,
    updated_replicas: i32,
    observed_generation: i64,
    current_revision: String,
    update_revision: String,
}

impl Keyed for StatefulSet {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Told for StatefulSet {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("namespace", &self.metadata.namespace), ("statefulset", &self.metadata.name)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge("kube_statefulset_created", "When the StatefulSet was made, in Unix seconds.", |object, into| {
            into.instant(&[], object.metadata.creation_timestamp.as_deref());
        }),
        gauge(
            "kube_statefulset_metadata_generation",
            "Which change of the specification is wanted.",
            |object, into| {
                into.count(object.metadata.generation);
            },
        ),
        gauge("kube_statefulset_replicas", "Pods that are wanted of a StatefulSet.", |object, into| {
            into.one(object.spec.replicas);
        }),
        gauge("kube_statefulset_status_current_revision", "The revision that pods have.", |object, into| {
            into.add(&[("revision", &object.status.current_revision)], 1.0);
        }),
        gauge(
            "kube_statefulset_status_observed_generation",
            "Which change of the specification the StatefulSet controller has seen.",
            |object, into| into.count(object.status.observed_generation),
        ),
        gauge("kube_statefulset_status_replicas", "Pods of a StatefulSet.", |object, into| {
            into.one(object.status.replicas);
        }),
        gauge(
            "kube_statefulset_status_replicas_available",
            "Pods of a StatefulSet that are available.",
            |object, into| {
                into.one(object.status.available_replicas);
            },
        ),
        gauge("kube_statefulset_status_replicas_current", "Pods of the current revision.", |object, into| {
            into.one(object.status.current_replicas);
        }),
        gauge("kube_statefulset_status_replicas_ready", "Pods of a StatefulSet that are ready.", |object, into| {
            into.one(object.status.ready_replicas);
        }),
        gauge("kube_statefulset_status_replicas_updated", "Pods of the revision that is wanted.", |object, into| {
            into.one(object.status.updated_replicas);
        }),
        gauge("kube_statefulset_status_update_revision", "The revision that is wanted.", |object, into| {
            into.add(&[("revision", &object.status.update_revision)], 1.0);
        }),
    ];
}
