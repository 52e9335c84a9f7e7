//! `kube_replicaset_…`.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;

use super::conditions::{one, owners, without_marks};
use super::page::{Family, Told, gauge};
use crate::client::{Keyed, ObjectMeta};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct ReplicaSet {
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
    fully_labeled_replicas: i32,
    ready_replicas: i32,
    observed_generation: i64,
}

impl Keyed for ReplicaSet {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Told for ReplicaSet {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("namespace", &self.metadata.namespace), ("replicaset", &self.metadata.name)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge("kube_replicaset_created", "When the ReplicaSet was made, in Unix seconds.", |object, into| {
            into.instant(&[], object.metadata.creation_timestamp.as_deref());
        }),
        gauge("kube_replicaset_metadata_generation", "Which change of the specification is wanted.", |object, into| {
            into.count(object.metadata.generation);
        }),
        gauge("kube_replicaset_owner", "Whose the ReplicaSet is.", |object, into| owners(&object.metadata, into)),
        gauge("kube_replicaset_spec_replicas", "Pods that are wanted of a ReplicaSet.", |object, into| {
            into.one(object.spec.replicas);
        }),
        gauge(
            "kube_replicaset_status_fully_labeled_replicas",
            "Pods of a ReplicaSet that have all labels of its template.",
            |object, into| into.one(object.status.fully_labeled_replicas),
        ),
        gauge(
            "kube_replicaset_status_observed_generation",
            "Which change of the specification the ReplicaSet controller has seen.",
            |object, into| into.count(object.status.observed_generation),
        ),
        gauge("kube_replicaset_status_ready_replicas", "Pods of a ReplicaSet that are ready.", |object, into| {
            into.one(object.status.ready_replicas);
        }),
        gauge("kube_replicaset_status_replicas", "Pods of a ReplicaSet.", |object, into| {
            into.one(object.status.replicas);
        }),
    ];
}
