//! The JSON documents of the APIs.
//!
//! - Lists of values, in the form of each version.
//! - Discovery: groups, versions, metrics; legacy, and aggregated for clients that ask for it.
//! - `Status` for errors.
//!
//! Rule: keys and their order are upstream's; what we know beyond that stands in places that clients ignore.

use std::collections::BTreeMap;

use datamodel::Timestamp;
use datamodel::selector::{Selector, SelectorOp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::names::CustomMetricInfo;
use crate::request::{CUSTOM_GROUP, CustomVersion, EXTERNAL_GROUP};
use crate::values::{ExternalMetricValue, MetricValue};

/// A list of values. Written without a tree in between: a list of 10,000 pods has 2 MiB.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    kind: &'static str,
    api_version: String,
    metadata: Metadata,
    items: Vec<T>,
}

/// Lists of values have no metadata, but the key.
#[derive(Serialize)]
struct Metadata {}

/// A value of either version; each has the keys that the other lacks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    described_object: Described<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Identifier<'a>>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u64>,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Value>,
}

#[derive(Serialize)]
struct Identifier<'a> {
    name: &'a str,
    selector: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    api_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalItem<'a> {
    metric_name: &'a str,
    metric_labels: &'a Option<BTreeMap<String, String>>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    value: String,
}

/// A `MetricValueList` as JSON.
#[must_use]
pub fn metric_value_list(version: CustomVersion, values: &[MetricValue]) -> String {
    let list = List {
        kind: "MetricValueList",
        api_version: format!("{CUSTOM_GROUP}/{}", version.as_str()),
        metadata: Metadata {},
        items: values.iter().map(|value| item(version, value)).collect(),
    };
    written(&list)
}

fn item(version: CustomVersion, value: &MetricValue) -> Item<'_> {
    let described = &value.described_object;
    let selector = selector_document(&value.metric_selector);
    let window = value.window.map(|window| window.as_secs());
    let item = Item {
        described_object: Described {
            kind: &described.kind,
            namespace: described.object.namespace.as_deref(),
            name: &described.object.name,
            api_version: &described.api_version,
        },
        metric_name: None,
        metric: None,
        timestamp: rfc3339(value.timestamp),
        window: None,
        window_seconds: None,
        value: value.value.to_string(),
        selector: None,
    };
    match version {
        CustomVersion::V1Beta1 => Item { metric_name: Some(&value.metric), window, selector: Some(selector), ..item },
        CustomVersion::V1Beta2 => {
            Item { metric: Some(Identifier { name: &value.metric, selector }), window_seconds: window, ..item }
        }
    }
}

/// An `ExternalMetricValueList` as JSON.
#[must_use]
pub fn external_metric_value_list(values: &[ExternalMetricValue]) -> String {
    let list = List {
        kind: "ExternalMetricValueList",
        api_version: format!("{EXTERNAL_GROUP}/v1beta1"),
        metadata: Metadata {},
        items: values.iter().map(external_item).collect(),
    };
    written(&list)
}

fn external_item(value: &ExternalMetricValue) -> ExternalItem<'_> {
    ExternalItem {
        metric_name: &value.metric,
        metric_labels: &value.labels,
        timestamp: rfc3339(value.timestamp),
        window: value.window.map(|window| window.as_secs()),
        value: value.value.to_string(),
    }
}

/// Texts, numbers and lists always can be written.
fn written(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

/// A selector as `LabelSelector` object; null for the one that everything passes.
fn selector_document(selector: &Selector) -> Value {
    let requirements = selector.requirements().unwrap_or_default();
    if requirements.is_empty() {
        return Value::Null;
    }
    let mut labels = Map::new();
    let mut expressions = Vec::new();
    for term in requirements {
        let operator = match term.op() {
            SelectorOp::Equals | SelectorOp::DoubleEquals => {
                labels.insert(term.key().to_owned(), json!(term.values().first()));
                continue;
            }
            SelectorOp::In => "In",
            // The object form has no `!=`; this says the same.
            SelectorOp::NotIn | SelectorOp::NotEquals => "NotIn",
            SelectorOp::Exists => "Exists",
            SelectorOp::DoesNotExist => "DoesNotExist",
            SelectorOp::GreaterThan => "Gt",
            SelectorOp::LessThan => "Lt",
        };
        let mut expression = json!({"key": term.key(), "operator": operator});
        if !term.values().is_empty() {
            expression["values"] = json!(term.values());
        }
        expressions.push(expression);
    }
    let mut document = Map::new();
    if !labels.is_empty() {
        document.insert("matchLabels".to_owned(), Value::Object(labels));
    }
    if !expressions.is_empty() {
        document.insert("matchExpressions".to_owned(), Value::Array(expressions));
    }
    Value::Object(document)
}

/// The versions of a group, the preferred one first.
fn versions(group: &str) -> &'static [&'static str] {
    if group == CUSTOM_GROUP { &["v1beta1", "v1beta2"] } else { &["v1beta1"] }
}

/// An `APIGroup`.
pub(crate) fn api_group(group: &str) -> Value {
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    extend(&mut document, group_body(group));
    document
}

/// An `APIGroupList`.
pub(crate) fn api_group_list(groups: &[&str]) -> Value {
    let groups: Vec<Value> = groups.iter().map(|group| group_body(group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_body(group: &str) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> = versions(group).iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn extend(document: &mut Value, body: Value) {
    if let (Value::Object(document), Value::Object(body)) = (document, body) {
        document.extend(body);
    }
}

/// The `APIResourceList` of custom metrics.
pub(crate) fn custom_resource_list(version: &str, metrics: &[CustomMetricInfo]) -> Value {
    let resource = |info: &CustomMetricInfo| {
        let name = format!("{}/{}", info.group_resource, info.metric);
        api_resource(&name, info.namespaced, "MetricValueList")
    };
    resource_list(CUSTOM_GROUP, version, &metrics.iter().map(resource).collect::<Vec<_>>())
}

/// The `APIResourceList` of external metrics.
pub(crate) fn external_resource_list(metrics: &[String]) -> Value {
    let resource = |metric: &String| api_resource(metric, true, "ExternalMetricValueList");
    resource_list(EXTERNAL_GROUP, "v1beta1", &metrics.iter().map(resource).collect::<Vec<_>>())
}

fn api_resource(name: &str, namespaced: bool, kind: &str) -> Value {
    json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get"]})
}

fn resource_list(group: &str, version: &str, resources: &[Value]) -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{version}"),
        "resources": resources,
    })
}

/// The `APIGroupDiscoveryList`, in which Kubernetes gathers all groups in one request. Metrics are
/// subresources of the resources that they describe.
pub(crate) fn aggregated_discovery(custom: Option<&[CustomMetricInfo]>, external: Option<&[String]>) -> Value {
    let mut items = Vec::new();
    if let Some(metrics) = custom {
        items.push(discovered_group(CUSTOM_GROUP, |version| aggregated_custom(version, metrics)));
    }
    if let Some(metrics) = external {
        items.push(discovered_group(EXTERNAL_GROUP, |version| {
            let resource = |metric: &String| {
                json!({
                    "resource": metric,
                    "responseKind": kind(EXTERNAL_GROUP, version, "ExternalMetricValueList"),
                    "scope": "Namespaced",
                    "singularResource": "",
                    "verbs": ["get"],
                })
            };
            metrics.iter().map(resource).collect()
        }));
    }
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn discovered_group(group: &str, resources: impl Fn(&str) -> Vec<Value>) -> Value {
    let version = |version: &&str| json!({"version": version, "resources": resources(version), "freshness": "Current"});
    let versions: Vec<Value> = versions(group).iter().map(version).collect();
    json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
}

fn aggregated_custom(version: &str, metrics: &[CustomMetricInfo]) -> Vec<Value> {
    let mut by_resource: BTreeMap<(String, bool), Vec<Value>> = BTreeMap::new();
    for info in metrics {
        let subresource = json!({
            "subresource": info.metric,
            "responseKind": kind(CUSTOM_GROUP, version, "MetricValueList"),
            "verbs": ["get"],
        });
        by_resource.entry((info.group_resource.to_string(), info.namespaced)).or_default().push(subresource);
    }
    let resource = |((resource, namespaced), subresources): ((String, bool), Vec<Value>)| {
        json!({
            "resource": resource,
            "responseKind": kind("", "", ""),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": "",
            "verbs": [],
            "subresources": subresources,
        })
    };
    by_resource.into_iter().map(resource).collect()
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// A `Status` for an error: upstream's text, ours behind `; `, and the stage in `details.causes`.
#[must_use]
pub fn status(error: &ApiError) -> Value {
    let (code, reason) = error.status();
    let mut causes = Vec::new();
    if let Some(cause) = error.to_string().strip_prefix("Internal error occurred: ") {
        causes.push(json!({"message": cause}));
    }
    causes.push(json!({"reason": error.stage().as_str(), "message": error.cause()}));
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message(),
        "reason": reason,
        "details": {"causes": causes},
        "code": code,
    })
}

/// A time as Kubernetes prints it: UTC, whole seconds. Beyond the years 0 to 9999, the ends of that range.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    // 0000-01-01 and 9999-12-31, in Unix seconds.
    let seconds = at.unix_ms().div_euclid(1_000).clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
