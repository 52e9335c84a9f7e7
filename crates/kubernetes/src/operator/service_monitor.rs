//! A ServiceMonitor: one job for each of its endpoints.

use serde_json::{Value, json};

use super::error::{Problem, Rejection};
use super::generate::Context;
use super::http::HttpWriter;
use super::job::{Fields, scheme};
use super::objects::{Endpoint, ScrapeClass, ServiceMonitor};
use super::relabel::{
    copy, copy_present, drop_ended_pods, keep, meta_name, object_labels, pod_target_labels, remember_job, select, set,
    user_rules,
};

/// The jobs of a ServiceMonitor.
pub(super) fn jobs(context: &Context<'_>, monitor: &ServiceMonitor) -> Result<Vec<Value>, Rejection> {
    let class = context.class(monitor.spec.scrape_class.as_ref())?;
    let endpoints = monitor.spec.endpoints.iter().enumerate();
    endpoints.map(|(index, endpoint)| job(context, monitor, class, index, endpoint)).collect()
}

fn job(
    context: &Context<'_>,
    monitor: &ServiceMonitor,
    class: Option<&ScrapeClass>,
    index: usize,
    endpoint: &Endpoint,
) -> Result<Value, Rejection> {
    let (of, spec) = (&monitor.metadata, &monitor.spec);
    let path = format!("spec.endpoints[{index}]");
    let mut fields = Fields::default();
    fields.put("job_name", format!("serviceMonitor/{}/{index}", of.key()));
    let role = role(context, monitor)?;
    let mut discovery = context.discovery(role, of, &spec.namespace_selector);
    context.attach_metadata(&mut discovery, spec.attach_metadata.as_ref(), class, 37);
    let by_api = by_api(spec.selector_mechanism.as_deref())?;
    if by_api {
        Context::api_selectors(&mut discovery, &[role, "service"], &spec.selector, "spec.selector")?;
    }
    fields.put("kubernetes_sd_configs", vec![Value::from(discovery)]);
    endpoint_fields(context, &mut fields, endpoint, &path)?;
    HttpWriter { context, namespace: &of.namespace, class }.write(&mut fields, &endpoint.http, &path)?;
    context.limits(&mut fields, &spec.limits);
    context.formats(&mut fields, &spec.formats, class);

    let mut rules = vec![remember_job()];
    if !by_api {
        rules.extend(select("service", &spec.selector, "spec.selector")?);
    }
    let prefix = if role == "endpoints" { "__meta_kubernetes_endpoint" } else { "__meta_kubernetes_endpointslice" };
    let (port_rule, port) = port(endpoint, &format!("{prefix}_port_name"));
    rules.extend(port_rule);
    for (kind, label) in [("Node", "node"), ("Pod", "pod")] {
        rules.push(json!({
            "source_labels": [format!("{prefix}_address_target_kind"), format!("{prefix}_address_target_name")],
            "separator": ";", "regex": format!("{kind};(.*)"), "replacement": "${1}", "target_label": label,
        }));
    }
    rules.push(copy("__meta_kubernetes_namespace", "namespace"));
    rules.push(copy("__meta_kubernetes_service_name", "service"));
    rules.push(copy("__meta_kubernetes_pod_name", "pod"));
    rules.push(copy("__meta_kubernetes_pod_container_name", "container"));
    if endpoint.filter_running != Some(false) {
        rules.push(drop_ended_pods());
    }
    rules.extend(object_labels("service", &spec.target_labels));
    rules.extend(pod_target_labels(spec.pod_target_labels.iter().chain(&context.prometheus.spec.pod_target_labels)));
    rules.push(
        json!({"source_labels": ["__meta_kubernetes_service_name"], "target_label": "job", "replacement": "${1}"}),
    );
    if !spec.job_label.is_empty() {
        let label = format!("__meta_kubernetes_service_label_{}", meta_name(&spec.job_label));
        rules.push(copy_present(&label, "job"));
    }
    rules.extend(port.map(|port| set("endpoint", &port)));
    finish(context, fields, rules, class, endpoint, &path, context.enforced_label("servicemonitors", of), &of.namespace)
}

/// `endpoints` or `endpointslice`.
fn role(context: &Context<'_>, monitor: &ServiceMonitor) -> Result<&'static str, Rejection> {
    let of_all = context.prometheus.spec.service_discovery_role.as_ref();
    match monitor.spec.service_discovery_role.as_ref().or(of_all).map(String::as_str) {
        None | Some("" | "Endpoints") => Ok("endpoints"),
        Some("EndpointSlice") => Ok("endpointslice"),
        Some(other) => {
            let expected = "`Endpoints`, `EndpointSlice`";
            let problem = Problem::Choice { expected, found: other.to_owned() };
            Err(Rejection::new("spec.serviceDiscoveryRole", problem))
        }
    }
}

/// Whether the API selects, and not relabelling.
pub(super) fn by_api(mechanism: Option<&str>) -> Result<bool, Rejection> {
    match mechanism {
        None | Some("" | "RelabelConfig") => Ok(false),
        Some("RoleSelector") => Ok(true),
        Some(other) => {
            let expected = "`RelabelConfig`, `RoleSelector`";
            let problem = Problem::Choice { expected, found: other.to_owned() };
            Err(Rejection::new("spec.selectorMechanism", problem))
        }
    }
}

/// The rule that keeps the port of an endpoint, and what the port is called. A number is one of a container.
fn port(endpoint: &Endpoint, port_name: &str) -> (Option<Value>, Option<String>) {
    if !endpoint.port.is_empty() {
        return (Some(keep(port_name, &endpoint.port)), Some(endpoint.port.clone()));
    }
    match target_port(endpoint) {
        Some((label, port)) => (Some(keep(label, &port)), Some(port)),
        None => (None, None),
    }
}

/// The meta label that `targetPort` is compared with, and what it says.
pub(super) fn target_port(endpoint: &Endpoint) -> Option<(&'static str, String)> {
    match endpoint.target_port.as_ref()? {
        Value::String(name) if !name.is_empty() => Some(("__meta_kubernetes_pod_container_port_name", name.clone())),
        Value::Number(number) if number.as_u64() != Some(0) => {
            Some(("__meta_kubernetes_pod_container_port_number", number.to_string()))
        }
        _ => None,
    }
}

/// What endpoints of Services and of pods have in common.
pub(super) fn endpoint_fields(
    context: &Context<'_>,
    fields: &mut Fields,
    endpoint: &Endpoint,
    path: &str,
) -> Result<(), Rejection> {
    fields.put("honor_labels", context.honors_labels(endpoint.honor_labels));
    context.honor_timestamps(fields, endpoint.honor_timestamps);
    context.track_timestamps_staleness(fields, endpoint.track_timestamps_staleness);
    context.times(fields, [("interval", &endpoint.interval), ("scrapeTimeout", &endpoint.scrape_timeout)], path)?;
    fields.text("metrics_path", &endpoint.path);
    if !endpoint.params.is_empty() {
        fields.put("params", json!(endpoint.params));
    }
    if let Some(given) = endpoint.scheme.as_ref().filter(|given| !given.is_empty()) {
        fields.put("scheme", scheme(given, &format!("{path}.scheme"))?);
    }
    Ok(())
}

/// Adds the rules of the class, of the user and of enforcement, in this order.
#[expect(clippy::too_many_arguments, reason = "the last step of two kinds, which share all of it")]
pub(super) fn finish(
    context: &Context<'_>,
    mut fields: Fields,
    mut rules: Vec<Value>,
    class: Option<&ScrapeClass>,
    endpoint: &Endpoint,
    path: &str,
    enforced: Option<&str>,
    namespace: &str,
) -> Result<Value, Rejection> {
    let (of_class, metric_of_class) = context.class_rules(class)?;
    rules.extend(of_class);
    rules.extend(user_rules(&endpoint.relabelings, &format!("{path}.relabelings"))?);
    let mut metric_rules = metric_of_class;
    metric_rules.extend(user_rules(&endpoint.metric_relabelings, &format!("{path}.metricRelabelings"))?);
    if let Some(label) = enforced {
        rules.push(set(label, namespace));
        metric_rules.push(set(label, namespace));
    }
    fields.put("relabel_configs", rules);
    if !metric_rules.is_empty() {
        fields.put("metric_relabel_configs", metric_rules);
    }
    Ok(fields.into())
}

impl Context<'_> {
    /// The rules of a scrape class, for targets and for samples.
    pub(super) fn class_rules(&self, class: Option<&ScrapeClass>) -> Result<(Vec<Value>, Vec<Value>), Rejection> {
        let Some(class) = class else { return Ok((Vec::new(), Vec::new())) };
        let path = format!("scrape class `{}`", class.name);
        let targets = user_rules(&class.relabelings, &format!("{path}: relabelings"))?;
        Ok((targets, user_rules(&class.metric_relabelings, &format!("{path}: metricRelabelings"))?))
    }
}
