//! Pods: a target for each port of each container, or one for a container without ports.

use discovery::TargetGroup;

use super::meta::{Meta, with_port};
use super::objects::{Container, Pod};

pub(super) fn source(pod: &Pod) -> String {
    format!("pod/{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// The group of a pod; `attached` are the labels of its node and namespace.
pub(super) fn group(pod: &Pod, attached: &Meta) -> TargetGroup {
    let mut group = TargetGroup::gone(source(pod));
    // Without an address there is nothing yet.
    if pod.status.pod_ip.is_empty() {
        return group;
    }
    let mut labels = pod_meta(pod);
    labels.put("namespace", &pod.metadata.namespace);
    group.labels = labels.behind(attached).labels();
    for (container, is_init) in containers(pod) {
        let of_container = container_meta(pod, container, is_init);
        if container.ports.is_empty() {
            let mut target = of_container.clone();
            let address = &pod.status.pod_ip;
            // As upstream: without a port not even an IPv6 address has brackets.
            target.plain("__address__", address);
            group.targets.push(target.labels());
        }
        for port in &container.ports {
            let mut target = of_container.clone();
            target.plain("__address__", &with_port(&pod.status.pod_ip, port.container_port));
            target.put("pod_container_port_name", &port.name);
            target.put("pod_container_port_number", &port.container_port.to_string());
            target.put("pod_container_port_protocol", protocol(&port.protocol));
            group.targets.push(target.labels());
        }
    }
    group
}

/// All containers, and whether each is one that only runs before the others.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let ordinary = pod.spec.containers.iter().map(|container| (container, false));
    ordinary.chain(pod.spec.init_containers.iter().map(|container| (container, true)))
}

fn container_meta(pod: &Pod, container: &Container, is_init: bool) -> Meta {
    let mut meta = Meta::default();
    let statuses = if is_init { &pod.status.init_containers } else { &pod.status.containers };
    let id = statuses.iter().find(|status| status.name == container.name);
    meta.put("pod_container_name", &container.name);
    meta.put("pod_container_id", id.map_or("", |status| &status.id));
    meta.put("pod_container_image", &container.image);
    meta.put("pod_container_init", if is_init { "true" } else { "false" });
    meta
}

/// The protocol that is spoken where none is named.
pub(super) fn protocol(named: &str) -> &str {
    if named.is_empty() { "TCP" } else { named }
}

/// What a pod says about itself, for its own targets and those of the endpoints that it is behind.
pub(super) fn pod_meta(pod: &Pod) -> Meta {
    let mut meta = Meta::default();
    let (of, status) = (&pod.metadata, &pod.status);
    meta.object("pod", of);
    meta.put("pod_ip", &status.pod_ip);
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let ready = ready.map_or_else(|| "unknown".to_owned(), |condition| condition.status.to_lowercase());
    meta.put("pod_ready", &ready);
    meta.put("pod_phase", &status.phase);
    meta.put("pod_node_name", &pod.spec.node_name);
    meta.put("pod_host_ip", &status.host_ip);
    meta.put("pod_uid", &of.uid);
    if let Some(owner) = of.owner_references.iter().find(|owner| owner.controller == Some(true)) {
        meta.put("pod_controller_kind", &owner.kind);
        meta.put("pod_controller_name", &owner.name);
    }
    meta
}
