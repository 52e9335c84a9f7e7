//! Cases about values, documents, errors and paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamodel::quantity::Quantity;
use datamodel::selector::Selector;
use datamodel::time::parse_duration;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{outcome, same, superset, text_of, texts_of};
use crate::config::{Config, Listing};
use crate::hold::{Ages, SampleState};
use crate::names::{CustomMetricInfo, GroupResource, ObjectName};
use crate::objects::FixedObjects;
use crate::request::{CustomRequest, CustomVersion, ExternalRequest, Request, route};
use crate::resource_metrics::{UsageSample, usage_of};
use crate::source::{BoxFuture, InstantAnswer, InstantValue, SourceError, SourceSample};
use crate::testing::{FakeSource, NoObjects, Rig, at, cluster, labels, pod_sample, seed_series, vector};
use crate::values::{Held, MetricValue, ObjectReference, Unused, match_to_objects};
use crate::{ApiError, ExternalMetricValue, LoopbackOnly, MetricsProvider, ServerState, document, server};

/// A number, or `"NaN"`.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| text_of(value).parse().unwrap())
}

/// Better: several series of one object are added up (and the rule is reported, which a test of the API
/// checks).
pub(super) fn match_values(input: &Value, expect: &Value, better: bool) -> Result<(), String> {
    let sample = |element: &Value| {
        let pairs = element["labels"].as_object().unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), text_of(value))).collect();
        SourceSample { labels: labels(&pairs), value: number(&element["value"]), timestamp: at(0) }
    };
    let samples: Vec<SourceSample> = input["vector"].as_array().unwrap().iter().map(sample).collect();
    let names = texts_of(&input["names"]);
    let label = text_of(&input["resource_label"]);
    let answer = vector(Vec::new());
    let held = Held::new(&answer, &samples);
    let found = match_to_objects(&samples, &held, label, &names, Ages::default(), at(0), &mut Unused::default());
    let found: BTreeMap<&str, String> = found.iter().map(|(name, value)| (*name, value.value.to_string())).collect();
    let mut expected: BTreeMap<&str, f64> = BTreeMap::new();
    if better {
        for sample in &samples {
            let name = sample.labels.get(label).unwrap();
            *expected.entry(name).or_default() += sample.value;
        }
        expected.retain(|name, _| names.contains(name));
    } else {
        let values = expect["values"].as_object().unwrap();
        expected.extend(values.iter().map(|(name, value)| (name.as_str(), number(value))));
    }
    same(found, expected.iter().map(|(name, value)| (*name, value.to_string())).collect())
}

/// Better: NaN (and the infinities) are no sample.
pub(super) fn quantity(input: &Value, expect: &Value, better: bool) -> Result<(), String> {
    let found = Quantity::from_f64_truncated(number(&input["value"])).map(|quantity| quantity.to_string());
    let expected = if better { None } else { expect["quantity"].as_str() };
    same(found.as_deref(), expected)
}

pub(super) fn resource_metrics(input: &Value, expect: &Value) -> Result<(), String> {
    // Rows are (namespace, pod, container, value, time) or (node, value, time).
    let sample = |row: &Value| {
        let row = row.as_array().unwrap();
        let (names, rest) = row.split_at(row.len() - 2);
        let (object, container) = match names {
            [namespace, pod, container] => (format!("{}/{}", text_of(namespace), text_of(pod)), text_of(container)),
            _ => (text_of(&names[0]).to_owned(), ""),
        };
        UsageSample {
            object,
            container: container.to_owned(),
            value: number(&rest[0]),
            timestamp: datamodel::Timestamp::from_unix_ms(rest[1].as_i64().unwrap()),
        }
    };
    let samples = |key: &str| -> Vec<UsageSample> { input[key].as_array().unwrap().iter().map(sample).collect() };
    let (cpu, memory) = (samples("cpu"), samples("memory"));
    let mut found = Vec::new();
    for asked in input["ask"].as_array().unwrap() {
        let object = match asked {
            Value::Array(_) => texts_of(asked).join("/"),
            node => text_of(node).to_owned(),
        };
        let Some(usage) = usage_of(&object, &cpu, &memory) else {
            continue;
        };
        let timestamp_ms = usage.timestamp.unix_ms();
        let numbers = |usage: &crate::Usage| json!([usage.cpu, usage.memory]);
        found.push(match asked {
            Value::Array(_) => {
                let containers: BTreeMap<&String, Value> =
                    usage.containers.iter().map(|(name, usage)| (name, numbers(usage))).collect();
                let pod = object.rsplit('/').next();
                json!({"pod": pod, "timestamp_ms": timestamp_ms, "containers": containers})
            }
            _ => json!({"node": object, "timestamp_ms": timestamp_ms, "usage": numbers(&usage.containers[""])}),
        });
    }
    let expected = expect.get("pods").or_else(|| expect.get("nodes")).unwrap();
    let as_floats = |value: &Value| value.to_string().replace(".0", "");
    same(as_floats(&sorted(&Value::Array(found))), as_floats(&sorted(expected)))
}

/// The same document with all keys in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            json!(ordered)
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

pub(super) fn request_parse(input: &Value, expect: &Value) -> Result<(), String> {
    let (path, query) = split(text_of(&input["path"]));
    let request = match route(path, query) {
        Ok(routed) => routed.request,
        Err(error) => {
            let (code, _) = error.status();
            same(u64::from(code), expect["status"].as_u64().unwrap_or(200))?;
            let part = text_of(&expect["message_contains"]);
            return same(error.to_string().contains(part), true);
        }
    };
    let found = match request {
        Request::Custom(request) => json!({
            "namespace": request.namespace.as_deref().unwrap_or(""),
            "group": request.resource.group,
            "resource": request.resource.resource,
            "name": request.name.as_deref().unwrap_or("*"),
            "metric": request.metric,
            "namespaced": request.namespace.is_some(),
            "label_selector": request.selector.to_string(),
            "metric_label_selector": request.metric_selector.to_string(),
        }),
        Request::External(request) => json!({
            "namespace": request.namespace,
            "metric": request.metric,
            "metric_label_selector": request.metric_selector.to_string(),
        }),
        other => return Err(format!("{other:?}")),
    };
    superset("request", &found, expect)
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)))
}

/// As many values as upstream's test fixture gives, and an empty list for unknown external metrics.
struct SampleProvider {
    custom: bool,
}

impl MetricsProvider for SampleProvider {
    fn custom<'a>(&'a self, request: &'a CustomRequest) -> BoxFuture<'a, Result<Vec<MetricValue>, ApiError>> {
        let (all, matching) = if request.resource.resource == "nodes" { (4, 2) } else { (16, 8) };
        let count = match (&request.name, request.selector.is_everything()) {
            (Some(_), _) => 1,
            (None, true) => all,
            (None, false) => matching,
        };
        let value = MetricValue {
            described_object: ObjectReference {
                kind: String::new(),
                object: ObjectName::root(""),
                api_version: String::new(),
            },
            metric: request.metric.clone(),
            metric_selector: Selector::everything(),
            value: Quantity::from_whole(0),
            timestamp: at(0),
            window: None,
            state: SampleState::Fresh,
        };
        Box::pin(std::future::ready(Ok(vec![value; count])))
    }

    fn external<'a>(
        &'a self,
        request: &'a ExternalRequest,
    ) -> BoxFuture<'a, Result<Vec<ExternalMetricValue>, ApiError>> {
        let value = ExternalMetricValue {
            metric: request.metric.clone(),
            labels: None,
            value: Quantity::from_whole(0),
            timestamp: at(0),
            window: None,
            state: SampleState::Fresh,
        };
        // Two series, one of them with foo=bar.
        let count = match (request.metric.as_str(), request.metric_selector.is_everything()) {
            ("my-external-metric", true) => 2,
            ("my-external-metric", false) | ("other-external-metric", true) => 1,
            _ => 0,
        };
        Box::pin(std::future::ready(Ok(vec![value; count])))
    }

    fn custom_metrics(&self) -> Option<Vec<CustomMetricInfo>> {
        self.custom.then(Vec::new)
    }

    fn external_metrics(&self) -> Option<Vec<String>> {
        (!self.custom).then(Vec::new)
    }
}

pub(super) async fn api_path(input: &Value, expect: &Value) -> Result<(), String> {
    let provider = Arc::new(SampleProvider { custom: text_of(&input["fixture"]) == "cm" });
    let (status, body) = get(provider, text_of(&input["method"]), text_of(&input["path"])).await;
    same(Some(u64::from(status)), expect["status"].as_u64())?;
    match expect["items"].as_u64() {
        Some(count) => same(body["items"].as_array().map(|items| items.len() as u64), Some(count)),
        None => Ok(()),
    }
}

/// Asks the router's own handler.
async fn get(provider: Arc<dyn MetricsProvider>, method: &str, path: &str) -> (u16, Value) {
    let loopback = Arc::new(LoopbackOnly::for_listener("127.0.0.1:0".parse().unwrap()).unwrap());
    let state = ServerState { provider, authenticator: loopback.clone(), authorizer: loopback };
    let response = server::respond(state, method, path).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

const PODS_PATH: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/asr/pods";

/// Better: an answer without any value is an error that names the stage.
pub(super) async fn error_body(input: &Value, expect: &Value, better: bool) -> Result<(), String> {
    let situation = text_of(&input["situation"]);
    let metric = input["metric"].as_str().unwrap_or("asr_active_requests");
    let name = input["name"].as_str().unwrap_or("*");
    let mut path = format!("{PODS_PATH}/{name}/{metric}");
    let rig = match situation {
        "kube_list_error" => {
            Rig::new(Config::seed().unwrap(), FakeSource::new(&seed_series()), NoObjects, cluster()).await
        }
        "no_objects_match" => {
            let objects = FixedObjects::default();
            Rig::new(Config::seed().unwrap(), FakeSource::new(&seed_series()), objects, cluster()).await
        }
        // Nothing was ever listed, so that no metric is known.
        "not_registered" | "metric_not_registered" | "unknown_metric" => {
            Rig::new(Config::seed().unwrap(), FakeSource::new(&[]), FixedObjects::default(), cluster()).await
        }
        _ => Rig::seed().await,
    };
    match situation {
        "prometheus_error" => {
            rig.source.answers(|_query| Err(SourceError::Unavailable("connection refused".to_owned())));
        }
        "external_not_registered" => {
            let namespace = text_of(&input["namespace"]);
            path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
        }
        _ => {}
    }
    let (status, body) = get(rig.api, "GET", &path).await;
    if better {
        same(status, 404)?;
        return same(body["details"]["causes"][0]["reason"].is_string(), true);
    }
    same(Some(u64::from(status)), expect["status"].as_u64())?;
    superset("body", &body, &expect["body"])
}

pub(super) async fn response_document(input: &Value, expect: &Value) -> Result<(), String> {
    if let Some(metrics) = input["metrics"].as_array() {
        let info = |metric: &Value| CustomMetricInfo {
            group_resource: GroupResource::parse(text_of(&metric["resource"])),
            namespaced: metric["namespaced"] == true,
            metric: text_of(&metric["metric"]).to_owned(),
        };
        let metrics: Vec<CustomMetricInfo> = metrics.iter().map(info).collect();
        return superset("body", &document::custom_resource_list("v1beta1", &metrics), &expect["body"]);
    }
    let version = text_of(&input["version"]);
    let is_external = version.starts_with("external") || expect["error"].is_string();
    let answer = answer_of(input);
    let rig = Rig::seed().await;
    rig.source.answers(move |_query| Ok(answer.clone()));
    let path = if is_external {
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/asr/lightning_asr_replica_count".to_owned()
    } else {
        let version = CustomVersion::parse(version.rsplit('/').next().unwrap()).unwrap_or(CustomVersion::V1Beta1);
        format!("{PODS_PATH}/*/asr_active_requests").replace("v1beta1", version.as_str())
    };
    let (status, body) = get(rig.api, "GET", &path).await;
    if is_external && expect["error"].is_string() {
        return outcome(Err(text_of(&body["message"]).to_owned()), expect, "body");
    }
    if let Some(expected) = expect["status"].as_u64() {
        same(u64::from(status), expected)?;
        return same(text_of(&body["message"]).starts_with(text_of(&expect["message"])), true);
    }
    // The case names its metric as it likes; ours is the seed's.
    let metric = input["metric"].as_str().unwrap_or("asr_active_requests");
    let body = body.to_string().replace("lightning_asr_replica_count", metric);
    superset("body", &serde_json::from_str(&body).unwrap(), &expect["body"])
}

fn answer_of(input: &Value) -> InstantAnswer {
    if let Some(values) = input["values"].as_object() {
        return vector(values.iter().map(|(pod, value)| pod_sample(pod, number(value), 0)).collect());
    }
    if let Some(elements) = input["vector"].as_array() {
        let sample = |element: &Value| {
            let pairs = element["labels"].as_object().unwrap();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), text_of(value))).collect();
            SourceSample { labels: labels(&pairs), value: number(&element["value"]), timestamp: at(0) }
        };
        return vector(elements.iter().map(sample).collect());
    }
    let value = match (&input["scalar"], text_of(&input["result_type"])) {
        (Value::Null, "matrix") => InstantValue::Other("range vector"),
        (Value::Null, "string") => InstantValue::Other("string"),
        (Value::Null, _) => InstantValue::Scalar(1.0),
        (scalar, _) => InstantValue::Scalar(number(scalar)),
    };
    InstantAnswer { value, ..vector(Vec::new()) }
}

/// Better: a rule whose series cannot be listed is reported, and the others are served.
pub(super) async fn config(input: &Value, expect: &Value, better: bool) -> Result<(), String> {
    if better {
        return broken_rule_is_isolated().await;
    }
    if let Some(interval) = input["metrics_relist_interval"].as_str() {
        let max_age = input["metrics_max_age"].as_str().map(|age| parse_duration(age).unwrap());
        let found = Listing::new(parse_duration(interval).unwrap(), max_age);
        let age = |listing: Listing| datamodel::time::format_duration(listing.max_age());
        let found =
            found.map(|listing| if expect["metrics_max_age"].is_string() { age(listing) } else { String::new() });
        return outcome(found.map_err(|error| error.to_string()), expect, "metrics_max_age");
    }
    let text = match input["yaml"].as_str() {
        Some(text) => text.to_owned(),
        None => input.to_string(),
    };
    let config = match Config::parse("case", &text) {
        Ok(config) => config,
        Err(error) => return outcome(Err(error.to_string()), expect, "ok"),
    };
    let rig = Rig::new(config, FakeSource::new(&[]), FixedObjects::default(), cluster()).await;
    let (_, groups) = get(rig.api, "GET", "/apis").await;
    for absent in texts_of(&expect["groups_absent"]) {
        let served = groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == absent);
        same(served, false)?;
    }
    same(expect["error"].is_null() && expect["error_contains"].is_null(), true)
}

async fn broken_rule_is_isolated() -> Result<(), String> {
    let rig = Rig::seed().await;
    *rig.source.broken.lock().unwrap() = Some("asr_gpu_utilization".to_owned());
    rig.source.series.lock().unwrap().push(labels(&[("__name__", "asr:new"), ("namespace", "asr")]));
    same(rig.api.relist().await, false)?;
    let metrics: Vec<String> = rig.api.custom_metrics().into_iter().map(|info| info.metric).collect();
    same(metrics.contains(&"asr:new".to_owned()), true)?;
    same(metrics.contains(&"gpu_utilization".to_owned()), true)?;
    let problems: Vec<String> = rig.api.problems().into_iter().map(|problem| problem.rule.to_string()).collect();
    same(problems, vec!["rules[1]".to_owned()])
}
