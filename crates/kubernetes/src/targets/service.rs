//! Services: a target for each port, at the name that the cluster's DNS gives it.

use discovery::TargetGroup;

use super::meta::Meta;
use super::objects::Service;

pub(super) fn source(service: &Service) -> String {
    format!("svc/{}/{}", service.metadata.namespace, service.metadata.name)
}

/// The group of a Service; `attached` are the labels of its namespace.
pub(super) fn group(service: &Service, attached: &Meta) -> TargetGroup {
    let (of, spec) = (&service.metadata, &service.spec);
    let mut group = TargetGroup::gone(source(service));
    group.labels = service_meta(service).behind(attached).labels();
    for port in &spec.ports {
        let mut target = Meta::target(&format!("{}.{}.svc:{}", of.name, of.namespace, port.port));
        target.put("service_port_name", &port.name);
        target.put("service_port_number", &port.port.to_string());
        target.put("service_port_protocol", super::pod::protocol(&port.protocol));
        let kind = if spec.kind.is_empty() { "ClusterIP" } else { &spec.kind };
        target.put("service_type", kind);
        if kind == "ExternalName" {
            target.put("service_external_name", &spec.external_name);
        } else {
            target.put("service_cluster_ip", &spec.cluster_ip);
        }
        if kind == "LoadBalancer" {
            target.put("service_loadbalancer_ip", &spec.load_balancer_ip);
        }
        group.targets.push(target.labels());
    }
    group
}

/// What a Service says about itself, for its own targets and those of its endpoints.
pub(super) fn service_meta(service: &Service) -> Meta {
    let mut meta = Meta::default();
    meta.object("service", &service.metadata);
    meta.put("namespace", &service.metadata.namespace);
    meta
}
