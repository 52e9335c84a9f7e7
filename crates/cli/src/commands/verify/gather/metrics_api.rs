//! The questions to custom.metrics.k8s.io and external.metrics.k8s.io, directly or through the API server.

use datamodel::rfc3339::parse_rfc3339;
use kubernetes::client::{ApiError, Client};
use serde_json::Value;

use super::super::facts::{Autoscaler, EXTERNAL, Expected, MetricsApi, PodValue};
use super::super::finding::Asked;
use super::Ask;
use crate::printer::{chain, clean};

/// The version that every server has.
pub(super) const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta1";
/// The only version.
pub(super) const EXTERNAL_METRICS: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// Metrics whose values are asked for: one of the setup document, and those of a handful of autoscalers.
const MAX_METRICS: usize = 20;

/// Asks for what is listed, and for the values that autoscalers read.
pub(super) async fn ask(
    client: Option<&Client>,
    expected: &Expected,
    autoscalers: &[Autoscaler],
    ask: &mut Ask<'_>,
) -> MetricsApi {
    let Some(client) = client else {
        let why = "nothing says where the metrics API is: `--kubeconfig`, or `--metrics-api-url`";
        return MetricsApi {
            custom: Asked::not_here(why),
            external: Asked::not_here(why),
            pods: vec![("asr_active_requests".to_owned(), Asked::not_here(why))],
            external_values: Asked::not_here(why),
        };
    };
    let custom = names(client, CUSTOM, ask).await.map(Option::unwrap_or_default);
    let external = match names(client, EXTERNAL_METRICS, ask).await {
        Asked::Answer(None) => Asked::not_here("nobody serves external metrics"),
        other => other.map(Option::unwrap_or_default),
    };
    let namespace = &expected.namespace;
    let mut wanted = vec!["asr_active_requests"];
    for (_, metric) in autoscalers.iter().flat_map(|one| &one.metrics).filter(|(kind, _)| kind == "Pods") {
        if !wanted.contains(&metric.as_str()) && wanted.len() < MAX_METRICS {
            wanted.push(metric);
        }
    }
    let mut pods = Vec::new();
    for metric in wanted {
        let path = format!("{CUSTOM}/namespaces/{namespace}/pods/*/{}", segment(metric));
        let values = list(client, &path, ask).await;
        let of_pods = |items: Vec<Value>| items.iter().map(pod_value).collect();
        pods.push((metric.to_owned(), values.map(|answer| answer.map(of_pods))));
    }
    let path = format!("{EXTERNAL_METRICS}/namespaces/{namespace}/{EXTERNAL}");
    let is_listed = external.known().is_some_and(|names| names.iter().any(|name| name == EXTERNAL));
    let external_values = if is_listed {
        let texts = |items: Vec<Value>| items.iter().map(|item| pod_value(item).value).collect();
        list(client, &path, ask).await.map(|answer| answer.map(texts))
    } else {
        Asked::not_here("it is not listed")
    };
    MetricsApi { custom, external, pods, external_values }
}

/// Asks for the metric of the setup document once more; only that it is asked counts.
pub(super) async fn active_requests(client: &Client, namespace: &str, ask: &mut Ask<'_>) {
    drop(list(client, &format!("{CUSTOM}/namespaces/{namespace}/pods/*/asr_active_requests"), ask).await);
}

/// The names in the list of a group's resources; none where nobody serves the group.
pub(super) async fn names(client: &Client, path: &str, ask: &mut Ask<'_>) -> Asked<Option<Vec<String>>> {
    let found = ask.kubernetes(&format!("{}{path}", client.server()), client.get::<Value>(path)).await;
    let named = |document: Value| {
        let resources = document["resources"].as_array();
        resources.into_iter().flatten().filter_map(|one| one["name"].as_str()).map(clean).collect()
    };
    found.map(|document| document.map(named))
}

/// The items of a list of values, or the reason that is given in their place.
pub(super) async fn list(client: &Client, path: &str, ask: &mut Ask<'_>) -> Asked<Result<Vec<Value>, String>> {
    let what = format!("{}{path}", client.server());
    match ask.answer(&what, client.get::<Value>(path)).await {
        Ok(mut document) => match document["items"].take() {
            Value::Array(items) => Asked::Answer(Ok(items)),
            _ => Asked::Answer(Ok(Vec::new())),
        },
        // It answers, and says why it has no value.
        Err(Some(error @ ApiError::Status { code: 404 | 500..=599, .. })) => Asked::Answer(Err(clean(&chain(&error)))),
        Err(error) => Asked::Failed(ask.failure(error.as_ref(), &what)),
    }
}

/// One value of a list.
fn pod_value(item: &Value) -> PodValue {
    PodValue {
        pod: clean(item["describedObject"]["name"].as_str().unwrap_or_default()),
        value: clean(item["value"].as_str().unwrap_or_default()),
        at: item["timestamp"].as_str().and_then(parse_rfc3339),
    }
}

/// A metric's name in a path: a name has no slash that would lead elsewhere.
pub(super) fn segment(metric: &str) -> String {
    metric.chars().map(|c| if c.is_ascii_alphanumeric() || "_:.-".contains(c) { c } else { '_' }).collect()
}
