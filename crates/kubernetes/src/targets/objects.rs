//! The objects that become targets, as far as they concern that.
//!
//! Rule: nothing else of an object is read, so nothing else is kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::{Keyed, ObjectMeta, or_default};

macro_rules! keyed {
    ($($kind:ident),*) => {$(
        impl Keyed for $kind {
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
        }
    )*};
}

keyed!(Pod, Service, Endpoints, Slice, Node, Ingress);

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// What it is called.
    pub metadata: ObjectMeta,
    pub(crate) spec: PodSpec,
    pub(crate) status: PodStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerPort {
    pub(crate) name: String,
    pub(crate) container_port: u32,
    pub(crate) protocol: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PodStatus {
    pub(crate) phase: String,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: String,
    #[serde(rename = "hostIP")]
    pub(crate) host_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) conditions: Vec<Condition>,
    #[serde(rename = "containerStatuses", deserialize_with = "or_default")]
    pub(crate) containers: Vec<ContainerStatus>,
    #[serde(rename = "initContainerStatuses", deserialize_with = "or_default")]
    pub(crate) init_containers: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    #[serde(rename = "containerID")]
    pub(crate) id: String,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// What it is called.
    pub metadata: ObjectMeta,
    pub(crate) spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: String,
    #[serde(rename = "loadBalancerIP")]
    pub(crate) load_balancer_ip: String,
    pub(crate) external_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u32,
    pub(crate) protocol: String,
}

/// The addresses behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// What it is called: as its Service.
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "or_default")]
    pub(crate) subsets: Vec<Subset>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Subset {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Vec<Address>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) not_ready_addresses: Vec<Address>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Address {
    pub(crate) ip: String,
    pub(crate) hostname: String,
    pub(crate) node_name: Option<String>,
    pub(crate) target_ref: Option<TargetRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TargetRef {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A part of the addresses behind a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Slice {
    /// What it is called.
    pub metadata: ObjectMeta,
    pub(crate) address_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) endpoints: Vec<SliceEndpoint>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SliceEndpoint {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Vec<String>,
    pub(crate) conditions: SliceConditions,
    pub(crate) hostname: Option<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) target_ref: Option<TargetRef>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) deprecated_topology: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SliceConditions {
    pub(crate) ready: Option<bool>,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SlicePort {
    pub(crate) name: Option<String>,
    pub(crate) port: Option<u32>,
    pub(crate) protocol: Option<String>,
    pub(crate) app_protocol: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// What it is called.
    pub metadata: ObjectMeta,
    pub(crate) spec: NodeSpec,
    pub(crate) status: NodeStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(crate) provider_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub(crate) addresses: Vec<NodeAddress>,
    pub(crate) daemon_endpoints: DaemonEndpoints,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeAddress {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DaemonEndpoints {
    pub(crate) kubelet_endpoint: DaemonEndpoint,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct DaemonEndpoint {
    #[serde(rename = "Port")]
    pub(crate) port: u32,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// What it is called.
    pub metadata: ObjectMeta,
    pub(crate) spec: IngressSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IngressSpec {
    pub(crate) ingress_class_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tls: Vec<IngressTls>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) rules: Vec<IngressRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressTls {
    #[serde(deserialize_with = "or_default")]
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressRule {
    pub(crate) host: String,
    pub(crate) http: Option<IngressHttp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressHttp {
    #[serde(deserialize_with = "or_default")]
    pub(crate) paths: Vec<IngressPath>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IngressPath {
    pub(crate) path: String,
}
