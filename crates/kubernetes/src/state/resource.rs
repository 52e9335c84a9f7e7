//! The resources that can be told of.
//!
//! Rule: their names are those of kube-state-metrics' `--resources`.

use std::fmt;
use std::str::FromStr;

use crate::client::Resource;

/// A resource whose objects can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateResource {
    /// `kube_deployment_…`
    Deployments,
    /// `kube_horizontalpodautoscaler_…`
    HorizontalPodAutoscalers,
    /// `kube_node_…`
    Nodes,
    /// `kube_pod_…`
    Pods,
    /// `kube_replicaset_…`
    ReplicaSets,
    /// `kube_statefulset_…`
    StatefulSets,
}

/// A name that none of the resources has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state series of `{0}`; there are those of {known}", known = StateResource::names())]
pub struct UnknownResource(String);

impl StateResource {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Deployments,
        Self::HorizontalPodAutoscalers,
        Self::Nodes,
        Self::Pods,
        Self::ReplicaSets,
        Self::StatefulSets,
    ];

    /// Its plural name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::ReplicaSets => "replicasets",
            Self::StatefulSets => "statefulsets",
        }
    }

    /// Whether its objects are in namespaces.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Nodes)
    }

    pub(super) fn resource(self) -> Resource {
        match self {
            Self::Deployments | Self::ReplicaSets | Self::StatefulSets => Resource::new("apps", "v1", self.as_str()),
            Self::HorizontalPodAutoscalers => Resource::new("autoscaling", "v2", self.as_str()),
            Self::Nodes | Self::Pods => Resource::core(self.as_str()),
        }
    }

    fn names() -> String {
        Self::ALL.map(|resource| format!("`{resource}`")).join(", ")
    }
}

impl fmt::Display for StateResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StateResource {
    type Err = UnknownResource;

    fn from_str(text: &str) -> Result<Self, UnknownResource> {
        let found = Self::ALL.into_iter().find(|resource| resource.as_str() == text);
        found.ok_or_else(|| UnknownResource(text.chars().take(100).collect()))
    }
}
