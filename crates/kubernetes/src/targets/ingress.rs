//! Ingresses: a target for each path of each rule, at its host.

use discovery::TargetGroup;

use super::meta::Meta;
use super::objects::{Ingress, IngressRule};

pub(super) fn source(ingress: &Ingress) -> String {
    format!("ingress/{}/{}", ingress.metadata.namespace, ingress.metadata.name)
}

/// The group of an Ingress; `attached` are the labels of its namespace.
pub(super) fn group(ingress: &Ingress, attached: &Meta) -> TargetGroup {
    let (of, spec) = (&ingress.metadata, &ingress.spec);
    let mut labels = Meta::default();
    labels.object("ingress", of);
    labels.put("namespace", &of.namespace);
    labels.some("ingress_class_name", spec.ingress_class_name.as_ref());
    let mut group = TargetGroup::gone(source(ingress));
    group.labels = labels.behind(attached).labels();
    let secured: Vec<&str> = spec.tls.iter().flat_map(|tls| &tls.hosts).map(String::as_str).collect();
    for rule in &spec.rules {
        let is_secured = secured.iter().any(|pattern| matches(pattern, &rule.host));
        for path in paths(rule) {
            let mut target = Meta::target(&rule.host);
            target.put("ingress_scheme", if is_secured { "https" } else { "http" });
            target.put("ingress_host", &rule.host);
            target.put("ingress_path", path);
            group.targets.push(target.labels());
        }
    }
    group
}

fn paths(rule: &IngressRule) -> Vec<&str> {
    match &rule.http {
        None => vec!["/"],
        Some(http) => http.paths.iter().map(|path| if path.path.is_empty() { "/" } else { &path.path }).collect(),
    }
}

/// Whether a host is named; `*` stands for its first part.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(pattern), Some((first, rest))) => !first.is_empty() && pattern == rest,
        _ => false,
    }
}
