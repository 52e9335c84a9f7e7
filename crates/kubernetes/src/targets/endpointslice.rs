//! `EndpointSlices`: as Endpoints, in parts.

use discovery::TargetGroup;

use super::endpoints::{Around, ServiceTargets, node_of, of_service};
use super::meta::{Meta, with_port};
use super::objects::Slice;
use crate::operator::meta_name;

/// The label that names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) fn source(slice: &Slice) -> String {
    format!("endpointslice/{}/{}", slice.metadata.namespace, slice.metadata.name)
}

/// The group of a slice.
pub(super) fn group(slice: &Slice, around: &impl Around) -> TargetGroup {
    let of = &slice.metadata;
    let mut labels = Meta::default();
    labels.put("namespace", &of.namespace);
    labels.put("endpointslice_address_type", &slice.address_type);
    labels.object("endpointslice", of);
    let service = of.labels.get(SERVICE_NAME).map(String::as_str).unwrap_or_default();
    let mut group = TargetGroup::gone(source(slice));
    group.labels = of_service(&labels, &of.namespace, service, around).labels();
    let mut targets = ServiceTargets::new(around);
    for port in &slice.ports {
        for endpoint in &slice.endpoints {
            for address in &endpoint.addresses {
                let host = port.port.map_or_else(|| address.clone(), |port| with_port(address, port));
                let mut target = Meta::target(&host);
                target.some("endpointslice_port_name", port.name.as_ref());
                target.some("endpointslice_port_protocol", port.protocol.as_ref());
                target.some("endpointslice_port", port.port.map(|port| port.to_string()).as_ref());
                target.some("endpointslice_port_app_protocol", port.app_protocol.as_ref());
                let conditions = &endpoint.conditions;
                for (name, condition) in [
                    ("ready", conditions.ready),
                    ("serving", conditions.serving),
                    ("terminating", conditions.terminating),
                ] {
                    let text = condition.map(|condition| condition.to_string());
                    target.some(&format!("endpointslice_endpoint_conditions_{name}"), text.as_ref());
                }
                if let Some(reference) = &endpoint.target_ref {
                    target.put("endpointslice_address_target_kind", &reference.kind);
                    target.put("endpointslice_address_target_name", &reference.name);
                }
                target.some("endpointslice_endpoint_hostname", endpoint.hostname.as_ref());
                target.some("endpointslice_endpoint_node_name", endpoint.node_name.as_ref());
                target.some("endpointslice_endpoint_zone", endpoint.zone.as_ref());
                for (key, value) in &endpoint.deprecated_topology {
                    let key = meta_name(key);
                    target.put(&format!("endpointslice_endpoint_topology_{key}"), value);
                    target.put(&format!("endpointslice_endpoint_topology_present_{key}"), "true");
                }
                let node = node_of(endpoint.node_name.as_ref(), endpoint.target_ref.as_ref());
                targets.add(target, &of.namespace, endpoint.target_ref.as_ref(), node, port.port);
            }
        }
    }
    group.targets = targets.finish();
    group
}
