//! `kube_node_…`.
//!
//! Rule: names, labels and meaning are kube-state-metrics'.

use serde::Deserialize;

use super::amounts::Amounts;
use super::conditions::{Condition, without_annotations};
use super::page::{Family, Samples, Told, gauge};
use crate::client::{Keyed, ObjectMeta, or_default};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "without_annotations")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "providerID")]
    provider_id: String,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    capacity: Amounts,
    allocatable: Amounts,
    node_info: Info,
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<Address>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    kernel_version: String,
    os_image: String,
    container_runtime_version: String,
    kubelet_version: String,
    kube_proxy_version: String,
    #[serde(rename = "systemUUID")]
    system_uuid: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Keyed for Node {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// Labels that say what a node is for.
const ROLE: &str = "node-role.kubernetes.io/";

fn amounts(amounts: &Amounts, into: &mut Samples<'_>) {
    for (resource, unit, value) in amounts.told(false) {
        into.add(&[("resource", &resource), ("unit", unit)], value);
    }
}

impl Told for Node {
    fn identity(&self) -> Vec<(&'static str, &str)> {
        vec![("node", &self.metadata.name)]
    }

    const FAMILIES: &'static [Family<Self>] = &[
        gauge("kube_node_created", "When the node was made known, in Unix seconds.", |object, into| {
            into.instant(&[], object.metadata.creation_timestamp.as_deref());
        }),
        gauge("kube_node_info", "What the node runs.", |object, into| {
            let info = &object.status.node_info;
            let internal = object.status.addresses.iter().find(|address| address.kind == "InternalIP");
            let labels = [
                ("kernel_version", &*info.kernel_version),
                ("os_image", &info.os_image),
                ("container_runtime_version", &info.container_runtime_version),
                ("kubelet_version", &info.kubelet_version),
                ("kubeproxy_version", &info.kube_proxy_version),
                ("provider_id", &object.spec.provider_id),
                ("pod_cidr", &object.spec.pod_cidr),
                ("system_uuid", &info.system_uuid),
                ("internal_ip", internal.map_or("", |address| address.address.as_str())),
            ];
            into.add(&labels, 1.0);
        }),
        gauge("kube_node_role", "What the node is for.", |object, into| {
            for role in object.metadata.labels.keys().filter_map(|label| label.strip_prefix(ROLE)) {
                into.add(&[("role", role)], 1.0);
            }
        }),
        gauge("kube_node_spec_taint", "What pods must tolerate on the node.", |object, into| {
            for Taint { key, value, effect } in &object.spec.taints {
                into.add(&[("key", key), ("value", value), ("effect", effect)], 1.0);
            }
        }),
        gauge("kube_node_spec_unschedulable", "Whether the node takes no new pods.", |object, into| {
            into.one(object.spec.unschedulable);
        }),
        gauge("kube_node_status_allocatable", "What pods may take of the node, by resource.", |object, into| {
            amounts(&object.status.allocatable, into);
        }),
        gauge("kube_node_status_capacity", "What the node has, by resource.", |object, into| {
            amounts(&object.status.capacity, into);
        }),
        gauge("kube_node_status_condition", "Conditions of the node, by status.", |object, into| {
            for condition in &object.status.conditions {
                condition.tell(&[("condition", &condition.kind)], "status", into);
            }
        }),
    ];
}
