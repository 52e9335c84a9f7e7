//! Which objects become targets.

use crate::client::Resource;

/// Which objects become targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Ports of containers.
    Pod,
    /// Addresses behind a Service, by Endpoints.
    Endpoints,
    /// Addresses behind a Service, by `EndpointSlices`.
    EndpointSlice,
    /// Ports of Services.
    Service,
    /// Kubelets.
    Node,
    /// Paths of Ingresses.
    Ingress,
}

impl Role {
    /// The words of configuration files.
    pub const NAMES: [(&str, Self); 6] = [
        ("pod", Self::Pod),
        ("endpoints", Self::Endpoints),
        ("endpointslice", Self::EndpointSlice),
        ("service", Self::Service),
        ("node", Self::Node),
        ("ingress", Self::Ingress),
    ];

    /// The word of configuration files, and of meta labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Service => "service",
            Self::Node => "node",
            Self::Ingress => "ingress",
        }
    }

    /// The resource of the objects.
    pub(super) fn resource(self) -> Resource {
        match self {
            Self::Pod => Resource::core("pods"),
            Self::Endpoints => Resource::core("endpoints"),
            Self::EndpointSlice => Resource::new("discovery.k8s.io", "v1", "endpointslices"),
            Self::Service => Resource::core("services"),
            Self::Node => Resource::core("nodes"),
            Self::Ingress => Resource::new("networking.k8s.io", "v1", "ingresses"),
        }
    }

    /// The roles whose objects are looked at too, its own first: selectors may narrow them.
    pub(super) const fn watched(self) -> &'static [Self] {
        match self {
            Self::Pod => &[Self::Pod],
            Self::Endpoints => &[Self::Endpoints, Self::Service, Self::Pod],
            Self::EndpointSlice => &[Self::EndpointSlice, Self::Service, Self::Pod],
            Self::Service => &[Self::Service],
            Self::Node => &[Self::Node],
            Self::Ingress => &[Self::Ingress],
        }
    }
}
