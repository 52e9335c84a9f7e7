//! Endpoints: a target for each address and port behind a Service, and for the other ports of their pods.

use std::sync::Arc;

use discovery::TargetGroup;

use super::meta::{Meta, with_port};
use super::objects::{Endpoints, Pod, Service, TargetRef};
use super::pod::{containers, pod_meta, protocol};
use super::service::service_meta;

pub(super) fn source(endpoints: &Endpoints) -> String {
    format!("endpoints/{}/{}", endpoints.metadata.namespace, endpoints.metadata.name)
}

/// What the targets of a Service are looked up in.
pub(super) trait Around {
    /// A Service.
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    /// A pod.
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
    /// The labels of a node; none where they are not asked for.
    fn node(&self, name: &str) -> Meta;
    /// The labels of a namespace; none where they are not asked for.
    fn namespace(&self, name: &str) -> Meta;
}

/// The group of an Endpoints object.
pub(super) fn group(endpoints: &Endpoints, around: &impl Around) -> TargetGroup {
    let of = &endpoints.metadata;
    let mut labels = Meta::default();
    labels.put("namespace", &of.namespace);
    labels.object("endpoints", of);
    let mut group = TargetGroup::gone(source(endpoints));
    group.labels = of_service(&labels, &of.namespace, &of.name, around).labels();
    let mut targets = ServiceTargets::new(around);
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            let ready = subset.addresses.iter().map(|address| (address, "true"));
            for (address, is_ready) in ready.chain(subset.not_ready_addresses.iter().map(|address| (address, "false")))
            {
                let mut target = Meta::target(&with_port(&address.ip, port.port));
                target.put("endpoint_port_name", &port.name);
                target.put("endpoint_port_protocol", protocol(&port.protocol));
                target.put("endpoint_ready", is_ready);
                if let Some(reference) = &address.target_ref {
                    target.put("endpoint_address_target_kind", &reference.kind);
                    target.put("endpoint_address_target_name", &reference.name);
                }
                target.some("endpoint_node_name", address.node_name.as_ref());
                target.put("endpoint_hostname", &address.hostname);
                let node = node_of(address.node_name.as_ref(), address.target_ref.as_ref());
                targets.add(target, &of.namespace, address.target_ref.as_ref(), node, Some(port.port));
            }
        }
    }
    group.targets = targets.finish();
    group
}

/// The node of an address: what it says, or the node that it is.
pub(super) fn node_of<'a>(named: Option<&'a String>, reference: Option<&'a TargetRef>) -> Option<&'a str> {
    let is_node = |reference: &&TargetRef| reference.kind == "Node";
    named.map(String::as_str).or_else(|| reference.filter(is_node).map(|reference| reference.name.as_str()))
}

/// The labels of a group, with those of its Service and its namespace behind them.
pub(super) fn of_service(labels: &Meta, namespace: &str, service: &str, around: &impl Around) -> Meta {
    let service = around.service(namespace, service).map(|service| service_meta(&service)).unwrap_or_default();
    service.behind(labels).behind(&around.namespace(namespace))
}

/// The targets of one group, with the pods that they lead to.
pub(super) struct ServiceTargets<'a, A> {
    around: &'a A,
    targets: Vec<Meta>,
    /// Pods that were met, with the ports that have a target.
    pods: Vec<(Arc<Pod>, Vec<u32>)>,
}

impl<'a, A: Around> ServiceTargets<'a, A> {
    pub(super) const fn new(around: &'a A) -> Self {
        Self { around, targets: Vec::new(), pods: Vec::new() }
    }

    /// Adds a target, with the labels of its node, and of its pod and container.
    pub(super) fn add(
        &mut self,
        target: Meta,
        namespace: &str,
        reference: Option<&TargetRef>,
        node: Option<&str>,
        port: Option<u32>,
    ) {
        let mut target = node.map(|node| target.clone().behind(&self.around.node(node))).unwrap_or(target);
        let reference = reference.filter(|reference| reference.kind == "Pod");
        let pod = reference.and_then(|reference| {
            let own = if reference.namespace.is_empty() { namespace } else { &reference.namespace };
            self.around.pod(own, &reference.name)
        });
        let Some(pod) = pod else {
            self.targets.push(target);
            return;
        };
        target = pod_meta(&pod).behind(&target);
        for (container, is_init) in containers(&pod) {
            if let Some(found) = container.ports.iter().find(|other| Some(other.container_port) == port) {
                target.put("pod_container_name", &container.name);
                target.put("pod_container_image", &container.image);
                target.put("pod_container_port_name", &found.name);
                target.put("pod_container_port_number", &found.container_port.to_string());
                target.put("pod_container_port_protocol", protocol(&found.protocol));
                target.put("pod_container_init", if is_init { "true" } else { "false" });
                break;
            }
        }
        self.targets.push(target);
        let index = self.pods.iter().position(|(known, _)| Arc::ptr_eq(known, &pod));
        let index = index.unwrap_or_else(|| {
            self.pods.push((pod, Vec::new()));
            self.pods.len() - 1
        });
        if let Some((_, ports)) = self.pods.get_mut(index) {
            ports.extend(port);
        }
    }

    /// Adds the ports of the pods that no address of the Service leads to.
    pub(super) fn finish(mut self) -> Vec<datamodel::Labels> {
        for (pod, served) in &self.pods {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for (container, is_init) in containers(pod) {
                for port in container.ports.iter().filter(|port| !served.contains(&port.container_port)) {
                    let mut target = Meta::target(&with_port(&pod.status.pod_ip, port.container_port));
                    target.put("pod_container_name", &container.name);
                    target.put("pod_container_image", &container.image);
                    target.put("pod_container_port_name", &port.name);
                    target.put("pod_container_port_number", &port.container_port.to_string());
                    target.put("pod_container_port_protocol", protocol(&port.protocol));
                    target.put("pod_container_init", if is_init { "true" } else { "false" });
                    let node = Some(pod.spec.node_name.as_str()).filter(|name| !name.is_empty());
                    let node = node.map(|name| self.around.node(name)).unwrap_or_default();
                    self.targets.push(pod_meta(pod).behind(&target).behind(&node));
                }
            }
        }
        self.targets.iter().map(Meta::labels).collect()
    }
}
