//! The questions to the Kubernetes API: monitor, Service, pods, `APIService` objects, autoscalers.
//!
//! Rule: read only, and only what a check needs.

use std::collections::BTreeMap;

use datamodel::selector::Selector;
use hpa::manifest::HorizontalPodAutoscaler;
use hpa::status::AutoscalingStatus;
use kubernetes::client::{ApiError, Client, Format, MetadataOnly, Resource, Scope};
use kubernetes::operator;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::super::lint::lint_hpa;
use super::super::facts::{Autoscaler, Cluster, Expected, Pod, Service};
use super::super::finding::Asked;
use super::Ask;
use crate::commands::api_service::{ApiService, Condition};
use crate::printer::clean;

/// The group of monitors.
const MONITORING: &str = "monitoring.coreos.com";

/// Who serves what autoscalers read.
const API_SERVICES: [&str; 3] =
    ["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"];

/// Asks for everything but the autoscalers. `None`: there is no cluster, and this is why.
pub(super) async fn ask(client: Option<&Client>, expected: &Expected, why: &str, ask: &mut Ask<'_>) -> Cluster {
    let Some(client) = client else { return unasked(why) };
    let (namespace, name) = (expected.namespace.as_str(), expected.service.as_str());
    let version = ask.kubernetes(&format!("{}/version", client.server()), client.get::<Value>("/version")).await;
    if let Asked::Failed(failure) = version {
        let mut cluster = unasked("the Kubernetes API does not answer");
        cluster.version = Asked::Failed(failure);
        return Cluster { server: client.server().to_owned(), ..cluster };
    }
    let version = version.map(|answer| text(&answer.unwrap_or_default()["gitVersion"]));
    let monitors = Resource::new(MONITORING, "v1", "servicemonitors");
    let monitor = one(client, &monitors, Some(namespace), name, ask).await;
    let prometheuses = all(client, &Resource::new(MONITORING, "v1", "prometheuses"), &Scope::default(), ask).await;
    let namespaces = if prometheuses.known().is_some_and(|found| !found.is_empty()) {
        all::<MetadataOnly>(client, &Resource::core("namespaces"), &Scope::default(), ask).await.map(labels)
    } else {
        Asked::not_here("no selector asks for them")
    };
    let service: Asked<Option<Service>> = one(client, &Resource::core("services"), Some(namespace), name, ask).await;
    let pods = match &service {
        Asked::Answer(Some(service)) if !service.spec.selector.is_empty() => {
            behind(client, namespace, service, ask).await
        }
        Asked::Answer(Some(_)) => Asked::not_here("the Service selects no pods"),
        Asked::Answer(None) => Asked::not_here("there is no Service"),
        Asked::NotHere(_) | Asked::Failed(_) => Asked::not_here("the Service could not be read"),
    };
    let kind = ApiService::resource();
    let mut api_services = Vec::new();
    for name in API_SERVICES {
        api_services.push((name.to_owned(), one(client, &kind, None, name, ask).await));
    }
    let server = client.server().to_owned();
    Cluster { server, version, monitor, prometheuses, namespaces, service, pods, api_services }
}

fn unasked(why: &str) -> Cluster {
    Cluster {
        server: String::new(),
        version: Asked::not_here(why),
        monitor: Asked::not_here(why),
        prometheuses: Asked::not_here(why),
        namespaces: Asked::not_here(why),
        service: Asked::not_here(why),
        pods: Asked::not_here(why),
        api_services: vec![(API_SERVICES[0].to_owned(), Asked::not_here(why))],
    }
}

fn labels(namespaces: Vec<MetadataOnly>) -> BTreeMap<String, BTreeMap<String, String>> {
    namespaces.into_iter().map(|one| (one.metadata.name, one.metadata.labels)).collect()
}

fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

/// An object, read leniently.
async fn one<T: DeserializeOwned>(
    client: &Client,
    kind: &Resource,
    namespace: Option<&str>,
    name: &str,
    ask: &mut Ask<'_>,
) -> Asked<Option<T>> {
    let path = kind.object_path(namespace, name);
    match ask.kubernetes(&format!("{}{path}", client.server()), client.get::<Value>(&path)).await {
        Asked::Answer(Some(object)) => {
            operator::read(object).map_or_else(|error| unreadable(&error), |object| Asked::Answer(Some(object)))
        }
        Asked::Answer(None) => Asked::Answer(None),
        Asked::NotHere(why) => Asked::NotHere(why),
        Asked::Failed(failure) => Asked::Failed(failure),
    }
}

/// The objects of a scope; none where there is no such kind.
async fn all<T: DeserializeOwned>(client: &Client, kind: &Resource, scope: &Scope, ask: &mut Ask<'_>) -> Asked<Vec<T>> {
    let what = format!("{}{}", client.server(), kind.path(scope.namespace.as_deref()));
    let list = async { client.list::<Value>(kind, scope, Format::Whole).await };
    match ask.kubernetes(&what, list).await {
        Asked::Answer(objects) => {
            let read: Result<Vec<T>, _> = objects.unwrap_or_default().into_iter().map(operator::read).collect();
            read.map_or_else(|error| unreadable(&error), Asked::Answer)
        }
        Asked::NotHere(why) => Asked::NotHere(why),
        Asked::Failed(failure) => Asked::Failed(failure),
    }
}

fn unreadable<T>(error: &operator::Rejection) -> Asked<T> {
    Asked::failed(clean(&error.to_string()), "the object has a form that the API server would not have taken")
}

async fn behind(client: &Client, namespace: &str, service: &Service, ask: &mut Ask<'_>) -> Asked<Vec<Pod>> {
    let labels = service.spec.selector.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    match Selector::from_match(labels, []) {
        Ok(selector) => {
            let scope = Scope { label_selector: selector.to_string(), ..Scope::namespace(namespace) };
            all(client, &Resource::core("pods"), &scope, ask).await
        }
        Err(error) => Asked::failed(error.to_string(), "correct `spec.selector` of the Service"),
    }
}

/// The autoscalers of a namespace.
pub(super) async fn autoscalers(client: &Client, namespace: &str, ask: &mut Ask<'_>) -> Asked<Vec<Autoscaler>> {
    let kind = Resource::new("autoscaling", "v2", "horizontalpodautoscalers");
    let scope = Scope::namespace(namespace);
    let what = format!("{}{}", client.server(), kind.path(Some(namespace)));
    let list = async { client.list::<Value>(&kind, &scope, Format::Whole).await };
    match ask.answer(&what, list).await {
        Ok(objects) => Asked::Answer(objects.iter().map(autoscaler).collect()),
        Err(Some(error @ ApiError::Client(_))) => {
            Asked::not_here(format!("the Kubernetes API does not answer: {error}"))
        }
        Err(error) => Asked::Failed(ask.failure(error.as_ref(), &what)),
    }
}

/// An autoscaler out of its object; a type of metric that is not known has its name at the same place.
fn autoscaler(object: &Value) -> Autoscaler {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let metric = |metric: &Value| {
        let kind = text(&metric["type"]);
        let mut key = kind.clone();
        if let Some(first) = key.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        let of = &metric[&key];
        let name = of["metric"]["name"].as_str().or_else(|| of["name"].as_str()).unwrap_or_default();
        (kind, clean(name))
    };
    let condition = |value: &Value| Condition {
        kind: text(&value["type"]),
        status: text(&value["status"]),
        reason: text(&value["reason"]),
        message: text(&value["message"]),
    };
    let target = &spec["scaleTargetRef"];
    Autoscaler {
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]),
        target: format!("{} {}", text(&target["kind"]), text(&target["name"])),
        // The API server's default.
        min: if spec["minReplicas"].is_null() { 1 } else { number(&spec["minReplicas"]) },
        max: number(&spec["maxReplicas"]),
        current: number(&status["currentReplicas"]),
        desired: number(&status["desiredReplicas"]),
        metrics: list(&spec["metrics"]).iter().map(metric).collect(),
        conditions: list(&status["conditions"]).iter().map(condition).collect(),
        lints: lints(metadata, spec),
    }
}

/// What breaks scaling, where the manifest is one of those that are known here.
fn lints(metadata: &Value, spec: &Value) -> Vec<String> {
    let manifest = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]}, "spec": spec,
    });
    let parsed = HorizontalPodAutoscaler::parse("the cluster", &manifest.to_string());
    let findings = parsed.map(|hpa| lint_hpa("the cluster", &hpa, &[])).unwrap_or_default();
    findings.into_iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect()
}

/// The autoscaler of `crescendo up`.
pub(super) fn of_status(status: &AutoscalingStatus) -> Autoscaler {
    let conditions = status.decision.as_ref().map(|decision| decision.conditions.as_slice()).unwrap_or_default();
    let conditions = conditions.iter().map(|one| Condition {
        kind: one.kind.clone(),
        status: one.status.clone(),
        reason: one.reason.clone(),
        message: one.message.clone(),
    });
    Autoscaler {
        namespace: status.namespace.clone(),
        name: status.name.clone(),
        target: "workers of this machine".to_owned(),
        min: status.replicas.min,
        max: status.replicas.max,
        current: status.replicas.current,
        desired: status.replicas.desired,
        metrics: status.metrics.iter().map(|metric| (metric.kind.clone(), metric.name.clone())).collect(),
        conditions: conditions.collect(),
        lints: Vec::new(),
    }
}
