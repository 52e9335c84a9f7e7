//! "Check ServiceMonitor", and "Metrics Not Appearing": the way from the monitor to the pods, link by link.
//!
//! ```text
//! Prometheus object ─ selects ─▶ ServiceMonitor ─ selector ─▶ Service ─ selector ─▶ pods
//!                                        └ endpoints[].port ─▶ name of its port
//! ```
//!
//! Rule: the first link that is broken is named with both of its ends.

use std::collections::BTreeMap;

use datamodel::selector::Selector;
use kubernetes::operator::Selection;
use kubernetes::operator::objects::{Endpoint, LabelSelector, ServiceMonitor};

use super::super::facts::{Facts, Pod, Service};
use super::super::finding::{Asked, Finding, Question, listed};

fn text(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "none".to_owned() } else { pairs.join(",") }
}

fn selector(of: &LabelSelector) -> Result<Selector, String> {
    let labels = of.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let expressions = of.match_expressions.iter();
    let expressions = expressions.map(|one| (one.key.as_str(), one.operator.as_str(), one.values.clone()));
    Selector::from_match(labels, expressions).map_err(|error| error.to_string())
}

/// There is a cluster that answers.
pub(super) fn api_server(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("Kubernetes API", format!("{}/version", facts.cluster.server));
    let finding = match question.answer(&facts.cluster.version) {
        Ok(version) if version.is_empty() => question.ok("it answers, without a version"),
        Ok(version) => question.ok(format!("version {version}")),
        Err(finding) => finding,
    };
    vec![finding]
}

/// "kubectl get servicemonitor" and "kubectl describe servicemonitor".
pub(super) fn monitor(facts: &Facts) -> Vec<Finding> {
    let (namespace, name) = (&facts.expected.namespace, &facts.expected.service);
    let question = Question::new("ServiceMonitor", format!("kubectl describe servicemonitor {name} -n {namespace}"));
    let monitor = match question.answer(&facts.cluster.monitor) {
        Ok(Some(monitor)) => monitor,
        Ok(None) => {
            return vec![question.wrong(
                "it is not there",
                "`scaling.auto.enabled` and `scaling.auto.lightningAsr.servicemonitor.enabled` in values.yaml; `--service` \
                 names another",
            )];
        }
        Err(finding) => return vec![finding],
    };
    let describe = |endpoint: &Endpoint| {
        let port = endpoint.target_port.as_ref().map_or_else(|| endpoint.port.clone(), ToString::to_string);
        let path = if endpoint.path.is_empty() { "/metrics" } else { &endpoint.path };
        let interval =
            if endpoint.interval.is_empty() { String::new() } else { format!(" every {}", endpoint.interval) };
        format!("port {port}{path}{interval}")
    };
    let endpoints: Vec<String> = monitor.spec.endpoints.iter().map(describe).collect();
    if endpoints.is_empty() {
        return vec![
            question.wrong("it has no endpoints", "`spec.endpoints` needs `port: metrics` and `path: /metrics`"),
        ];
    }
    vec![question.ok(format!("selects {}: {}", selected_labels(monitor), listed(&endpoints)))]
}

fn selected_labels(monitor: &ServiceMonitor) -> String {
    selector(&monitor.spec.selector).map_or_else(|error| error, |selector| selector.to_string())
}

/// A Prometheus object selects the monitor.
pub(super) fn selected(facts: &Facts) -> Vec<Finding> {
    let (namespace, name) = (&facts.expected.namespace, &facts.expected.service);
    let question =
        Question::new("monitor selected", "kubectl get prometheus -A: serviceMonitorSelector, …NamespaceSelector");
    let monitor = match &facts.cluster.monitor {
        Asked::Answer(Some(monitor)) => monitor,
        Asked::Answer(None) => return vec![question.not_checked("there is no ServiceMonitor")],
        Asked::NotHere(_) | Asked::Failed(_) => {
            return vec![
                question
                    .answer(&facts.cluster.prometheuses)
                    .err()
                    .unwrap_or_else(|| question.not_checked("the ServiceMonitor could not be read")),
            ];
        }
    };
    let prometheuses = match question.answer(&facts.cluster.prometheuses) {
        Ok(prometheuses) => prometheuses,
        Err(finding) => return vec![finding],
    };
    if prometheuses.is_empty() {
        return vec![question.not_checked(
            "no Prometheus object in the cluster: the engine selects by its own flags (service discovery shows whether it does)",
        )];
    }
    let none = BTreeMap::new();
    let namespaces = facts.cluster.namespaces.known().unwrap_or(&none);
    let mut reasons = Vec::new();
    for object in prometheuses {
        let selection = match Selection::service_monitors(object) {
            Ok(selection) => selection,
            Err(error) => {
                reasons.push(format!("{}: {error}", object.metadata.key()));
                continue;
            }
        };
        if selection.needs_namespaces() && facts.cluster.namespaces.known().is_none() {
            return vec![
                question
                    .answer(&facts.cluster.namespaces)
                    .err()
                    .unwrap_or_else(|| question.not_checked("labels of namespaces decide, and they could not be read")),
            ];
        }
        if selection.selects(&monitor.metadata, namespaces) {
            return vec![question.ok(format!("by {}", object.metadata.key()))];
        }
        let wanted =
            if selection.is_empty() { "nothing".to_owned() } else { format!("`{}`", selection.label_selector()) };
        let place = selection.namespace().map_or_else(|| "selected namespaces".to_owned(), |name| format!("`{name}`"));
        reasons.push(format!("{} selects {wanted} in {place}", object.metadata.key()));
    }
    let labels = text(&monitor.metadata.labels);
    vec![question.wrong(
        format!("by none: {}; {namespace}/{name} has {labels}", listed(&reasons)),
        "`serviceMonitorSelectorNilUsesHelmValues: false` lets kube-prometheus-stack select all; else give the monitor the \
         labels that are asked for (`release: …`)",
    )]
}

/// "Check service has metrics port".
pub(super) fn service(facts: &Facts) -> Vec<Finding> {
    let (namespace, name) = (&facts.expected.namespace, &facts.expected.service);
    let question = Question::new("Service", format!("kubectl get svc {name} -n {namespace} -o yaml"));
    let service = match question.answer(&facts.cluster.service) {
        Ok(Some(service)) => service,
        Ok(None) => {
            return vec![
                question
                    .wrong("it is not there", "is the product installed in this namespace? `--namespace`, `--service`"),
            ];
        }
        Err(finding) => return vec![finding],
    };
    let ports: Vec<String> = service.spec.ports.iter().map(|port| format!("{} {}", port.name, port.port)).collect();
    let Asked::Answer(Some(monitor)) = &facts.cluster.monitor else {
        return vec![question.ok(format!("ports: {}", listed(&ports)))];
    };
    let mut findings = Vec::new();
    match selector(&monitor.spec.selector) {
        Ok(selector) if selector.matches(&service.metadata.labels) => {}
        Ok(selector) => findings.push(question.wrong(
            format!("its labels are {}, and the ServiceMonitor selects `{selector}`", text(&service.metadata.labels)),
            format!("give the Service those labels: `kubectl label svc {name} -n {namespace} {selector}`, or change `spec.selector`"),
        )),
        Err(error) => findings.push(question.wrong(format!("the selector of the ServiceMonitor: {error}"), "correct `spec.selector`")),
    }
    for port in missing_ports(monitor, service) {
        findings.push(question.wrong(
            format!("it has no port named `{port}`, which the ServiceMonitor scrapes; it has: {}", listed(&ports)),
            format!("`ports: [{{name: {port}, port: 2269}}]`, or the other name in `spec.endpoints[].port`"),
        ));
    }
    let selects = &monitor.spec.namespace_selector;
    let is_looked_into = selects.any
        || selects.match_names.contains(namespace)
        || (selects.match_names.is_empty() && monitor.metadata.namespace == *namespace);
    if !is_looked_into {
        findings.push(question.wrong(
            format!("the ServiceMonitor looks into {} only", listed(&selects.match_names)),
            format!("`spec.namespaceSelector` with `{namespace}`"),
        ));
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("labels and port fit the ServiceMonitor; ports: {}", listed(&ports))));
    }
    findings
}

fn missing_ports<'a>(monitor: &'a ServiceMonitor, service: &Service) -> Vec<&'a str> {
    let named = monitor.spec.endpoints.iter().map(|endpoint| endpoint.port.as_str()).filter(|port| !port.is_empty());
    named.filter(|name| !service.spec.ports.iter().any(|port| port.name == *name)).collect()
}

/// There are pods behind the Service, and they are ready.
pub(super) fn pods(facts: &Facts) -> Vec<Finding> {
    let (namespace, name) = (&facts.expected.namespace, &facts.expected.service);
    let question = Question::new("pods", format!("kubectl get pods -n {namespace}: those behind the Service {name}"));
    let pods = match question.answer(&facts.cluster.pods) {
        Ok(pods) => pods,
        Err(finding) => return vec![finding],
    };
    let living: Vec<&Pod> = pods.iter().filter(|pod| !pod.is_leaving()).collect();
    let not_ready = living.iter().filter(|pod| !pod.is_ready());
    let not_ready: Vec<String> = not_ready.map(|pod| format!("{} ({})", pod.metadata.name, pod.status.phase)).collect();
    let finding = if living.is_empty() {
        question.wrong(
            "none",
            "the Deployment has no replicas, or its pods have other labels than `spec.selector` of the Service: \
             `kubectl get pods --show-labels`",
        )
    } else if not_ready.len() == living.len() {
        question.wrong(
            format!("none is ready: {}", listed(&not_ready)),
            format!("`kubectl describe pod -n {namespace}`: image, GPU, probes; `kubectl logs`: the model"),
        )
    } else if not_ready.is_empty() {
        question.ok(format!("{} ready", living.len()))
    } else {
        question.warning(
            format!("{} of {} ready; not: {}", living.len() - not_ready.len(), living.len(), listed(&not_ready)),
            "a pod that starts; where it stays so: `kubectl describe pod`",
        )
    };
    vec![finding]
}
