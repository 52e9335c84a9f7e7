//! Nodes: a target for each, at its kubelet.

use std::collections::BTreeSet;

use discovery::TargetGroup;

use super::meta::{Meta, with_port};
use super::objects::Node;
use crate::operator::meta_name;

/// The kinds of addresses, in the order in which they are preferred.
const KINDS: [&str; 6] = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

pub(super) fn source(node: &Node) -> String {
    format!("node/{}", node.metadata.name)
}

/// The group of a node.
pub(super) fn group(node: &Node) -> TargetGroup {
    let mut group = TargetGroup::gone(source(node));
    let addresses = &node.status.addresses;
    let of_kind = |kind: &&str| addresses.iter().find(|address| address.kind == **kind);
    // A node without an address cannot be asked anything.
    let Some(address) = KINDS.iter().find_map(of_kind) else { return group };
    let mut labels = node_meta(node);
    labels.put("node_provider_id", &node.spec.provider_id);
    group.labels = labels.labels();
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let mut target = Meta::target(&with_port(&address.address, port));
    target.plain("instance", &node.metadata.name);
    let mut seen = BTreeSet::new();
    for address in addresses.iter().filter(|address| seen.insert(&address.kind)) {
        target.put(&format!("node_address_{}", meta_name(&address.kind)), &address.address);
    }
    group.targets.push(target.labels());
    group
}

/// What a node says about itself, for its own target and those on it.
pub(super) fn node_meta(node: &Node) -> Meta {
    let mut meta = Meta::default();
    meta.object("node", &node.metadata);
    meta
}
