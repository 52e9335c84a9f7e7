//! A PodMonitor: one job for each of its endpoints.

use serde_json::Value;

use super::error::Rejection;
use super::generate::Context;
use super::http::HttpWriter;
use super::job::Fields;
use super::objects::{Endpoint, PodMonitor, ScrapeClass};
use super::relabel::{
    copy, copy_present, drop_ended_pods, keep, meta_name, pod_target_labels, remember_job, select, set,
};
use super::service_monitor::{by_api, endpoint_fields, finish, target_port};

/// The jobs of a PodMonitor.
pub(super) fn jobs(context: &Context<'_>, monitor: &PodMonitor) -> Result<Vec<Value>, Rejection> {
    let class = context.class(monitor.spec.scrape_class.as_ref())?;
    let endpoints = monitor.spec.pod_metrics_endpoints.iter().enumerate();
    endpoints.map(|(index, endpoint)| job(context, monitor, class, index, endpoint)).collect()
}

fn job(
    context: &Context<'_>,
    monitor: &PodMonitor,
    class: Option<&ScrapeClass>,
    index: usize,
    endpoint: &Endpoint,
) -> Result<Value, Rejection> {
    let (of, spec) = (&monitor.metadata, &monitor.spec);
    let path = format!("spec.podMetricsEndpoints[{index}]");
    let mut fields = Fields::default();
    fields.put("job_name", format!("podMonitor/{}/{index}", of.key()));
    let mut discovery = context.discovery("pod", of, &spec.namespace_selector);
    context.attach_metadata(&mut discovery, spec.attach_metadata.as_ref(), class, 35);
    let by_api = by_api(spec.selector_mechanism.as_deref())?;
    if by_api {
        Context::api_selectors(&mut discovery, &["pod"], &spec.selector, "spec.selector")?;
    }
    fields.put("kubernetes_sd_configs", vec![Value::from(discovery)]);
    endpoint_fields(context, &mut fields, endpoint, &path)?;
    HttpWriter { context, namespace: &of.namespace, class }.write(&mut fields, &endpoint.http, &path)?;
    context.limits(&mut fields, &spec.limits);
    context.formats(&mut fields, &spec.formats, class);

    let mut rules = vec![remember_job()];
    if endpoint.filter_running != Some(false) {
        rules.push(drop_ended_pods());
    }
    if !by_api {
        rules.extend(select("pod", &spec.selector, "spec.selector")?);
    }
    rules.extend(port(endpoint));
    rules.push(copy("__meta_kubernetes_namespace", "namespace"));
    rules.push(copy("__meta_kubernetes_pod_container_name", "container"));
    rules.push(copy("__meta_kubernetes_pod_name", "pod"));
    rules.extend(pod_target_labels(spec.pod_target_labels.iter().chain(&context.prometheus.spec.pod_target_labels)));
    rules.push(set("job", &of.key()));
    if !spec.job_label.is_empty() {
        rules.push(copy_present(&format!("__meta_kubernetes_pod_label_{}", meta_name(&spec.job_label)), "job"));
    }
    rules.extend(endpoint_label(endpoint).map(|port| set("endpoint", &port)));
    finish(context, fields, rules, class, endpoint, &path, context.enforced_label("podmonitors", of), &of.namespace)
}

/// The rule that keeps the port of an endpoint.
fn port(endpoint: &Endpoint) -> Option<Value> {
    if !endpoint.port.is_empty() {
        return Some(keep("__meta_kubernetes_pod_container_port_name", &endpoint.port));
    }
    if let Some(number) = endpoint.port_number.filter(|number| *number > 0) {
        return Some(keep("__meta_kubernetes_pod_container_port_number", &number.to_string()));
    }
    target_port(endpoint).map(|(label, port)| keep(label, &port))
}

/// What the label `endpoint` says; the operator has nothing to say for `portNumber`.
fn endpoint_label(endpoint: &Endpoint) -> Option<String> {
    if endpoint.port.is_empty() { target_port(endpoint).map(|(_, port)| port) } else { Some(endpoint.port.clone()) }
}
