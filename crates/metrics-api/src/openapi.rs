//! The `OpenAPI` documents of the groups that are served, in version 2 and 3.
//!
//! kube-apiserver gathers them from all its servers, for `kubectl explain` and clients that are generated.
//!
//! Rule: definitions are ours alone: what other servers define too is written out in place, so that gathering
//! renames nothing.

use serde_json::{Map, Value, json};

use crate::request::{CUSTOM_GROUP, EXTERNAL_GROUP};

/// Which version of `OpenAPI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

impl Form {
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Self::V2 => "definitions",
            Self::V3 => "components/schemas",
        };
        json!({"$ref": format!("#/{place}/{name}")})
    }

    /// A parameter of a path, which must be there, or of a query, which need not.
    fn parameter(self, name: &str, place: &str, description: &str) -> Value {
        let mut parameter = json!({"name": name, "in": place, "description": description});
        if place == "path" {
            parameter["required"] = json!(true);
        }
        match self {
            Self::V2 => parameter["type"] = json!("string"),
            Self::V3 => parameter["schema"] = json!({"type": "string"}),
        }
        parameter
    }

    /// A `GET` that answers with a definition.
    fn operation(self, id: &str, description: &str, answer: &str, parameters: &[Value]) -> Value {
        let schema = self.reference(answer);
        let response = match self {
            Self::V2 => json!({"description": "OK", "schema": schema}),
            Self::V3 => json!({"description": "OK", "content": {"application/json": {"schema": schema}}}),
        };
        let mut operation = json!({
            "operationId": id,
            "description": description,
            "responses": {"200": response, "401": {"description": "Unauthorized"}},
        });
        if self == Self::V2 {
            operation["produces"] = json!(["application/json"]);
        }
        json!({"get": operation, "parameters": parameters})
    }
}

/// The versions of a group that is served.
fn versions(group: &str) -> &'static [&'static str] {
    if group == CUSTOM_GROUP { &["v1beta1", "v1beta2"] } else { &["v1beta1"] }
}

/// The document at `/openapi/v2`, for these groups.
pub(crate) fn v2(groups: &[&str]) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for group in groups {
        for version in versions(group) {
            paths.extend(paths_of(Form::V2, group, version));
            definitions.extend(schemas_of(Form::V2, group, version));
        }
    }
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
}

/// The document at `/openapi/v3`: where those of the versions are.
pub(crate) fn v3_index(groups: &[&str]) -> Value {
    let mut paths = Map::new();
    for group in groups {
        for version in versions(group) {
            let document = v3(group, version).map_or_else(String::new, |document| document.to_string());
            let place = format!("apis/{group}/{version}");
            let url = format!("/openapi/v3/{place}?hash={:016X}", fingerprint(&document));
            paths.insert(place, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of a version of a group; `None` where there is no such version.
pub(crate) fn v3(group: &str, version: &str) -> Option<Value> {
    if !versions(group).contains(&version) {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths_of(Form::V3, group, version),
        "components": {"schemas": schemas_of(Form::V3, group, version)},
    }))
}

fn info() -> Value {
    json!({"title": "Crescendo metrics API", "version": env!("CARGO_PKG_VERSION")})
}

/// The 64-bit FNV-1a hash: tells documents apart, for caches only.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn definition(group: &str, version: &str, kind: &str) -> String {
    let package = if group == CUSTOM_GROUP { "custom_metrics" } else { "external_metrics" };
    format!("io.k8s.metrics.pkg.apis.{package}.{version}.{kind}")
}

fn paths_of(form: Form, group: &str, version: &str) -> Map<String, Value> {
    let base = format!("/apis/{group}/{version}");
    let namespace = || form.parameter("namespace", "path", "the namespace");
    let mut paths = Map::new();
    if group == EXTERNAL_GROUP {
        let parameters = [
            namespace(),
            form.parameter("metric", "path", "the metric"),
            form.parameter("labelSelector", "query", "which of the metric's series"),
        ];
        let answer = definition(group, version, "ExternalMetricValueList");
        let operation = form.operation("listExternalMetric", "The values of an external metric.", &answer, &parameters);
        paths.insert(format!("{base}/namespaces/{{namespace}}/{{metric}}"), operation);
        return paths;
    }
    let answer = definition(group, version, "MetricValueList");
    let common = [
        form.parameter("resource", "path", "the resource, with its group behind a dot"),
        form.parameter("name", "path", "the object, or `*` for all that the selector matches"),
        form.parameter("metric", "path", "the metric"),
        form.parameter("labelSelector", "query", "which objects, with `*`"),
        form.parameter("metricLabelSelector", "query", "which of the metric's series"),
    ];
    let words = version.replacen('v', "V", 1);
    let mut insert = |path: &str, id: &str, description: &str, parameters: &[Value]| {
        let operation = form.operation(&format!("{id}{words}"), description, &answer, parameters);
        paths.insert(format!("{base}{path}"), operation);
    };
    let within: Vec<Value> = [namespace()].into_iter().chain(common.clone()).collect();
    insert(
        "/namespaces/{namespace}/{resource}/{name}/{metric}",
        "getNamespacedMetric",
        "The metric of objects in a namespace.",
        &within,
    );
    insert("/{resource}/{name}/{metric}", "getMetric", "The metric of objects without a namespace.", &common);
    let of_namespace: Vec<Value> = [namespace()].into_iter().chain(common.into_iter().skip(2)).collect();
    insert(
        "/namespaces/{namespace}/metrics/{metric}",
        "getMetricOfNamespace",
        "The metric of a namespace itself.",
        &of_namespace,
    );
    paths
}

fn selector_schema() -> Value {
    let text = || json!({"type": "string"});
    let expression = json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {"key": text(), "operator": text(), "values": {"type": "array", "items": text()}},
    });
    json!({
        "type": "object",
        "description": "which series were asked for",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": text()},
            "matchExpressions": {"type": "array", "items": expression},
        },
    })
}

fn schemas_of(form: Form, group: &str, version: &str) -> Map<String, Value> {
    let text = || json!({"type": "string"});
    let selector = selector_schema();
    let window =
        json!({"type": "integer", "format": "int64", "description": "how far back the value looks, in seconds"});
    let timestamp = json!({"type": "string", "format": "date-time", "description": "when the newest input was taken"});
    let quantity = json!({"type": "string", "description": "a quantity: `5`, `500m`, `10k`"});
    let described = json!({
        "type": "object",
        "description": "the object that the value is of",
        "properties": {"kind": text(), "namespace": text(), "name": text(), "apiVersion": text()},
    });
    let (element, list, properties, required) = match (group, version) {
        (EXTERNAL_GROUP, _) => (
            "ExternalMetricValue",
            "ExternalMetricValueList",
            json!({
                "metricName": text(),
                "metricLabels": {"type": "object", "additionalProperties": text()},
                "timestamp": timestamp, "window": window, "value": quantity,
            }),
            json!(["metricName", "metricLabels", "timestamp", "value"]),
        ),
        (_, "v1beta1") => (
            "MetricValue",
            "MetricValueList",
            json!({
                "describedObject": described, "metricName": text(), "timestamp": timestamp, "window": window,
                "value": quantity, "selector": selector,
            }),
            json!(["describedObject", "metricName", "timestamp", "value", "selector"]),
        ),
        _ => (
            "MetricValue",
            "MetricValueList",
            json!({
                "describedObject": described,
                "metric": {
                    "type": "object", "required": ["name"], "properties": {"name": text(), "selector": selector},
                },
                "timestamp": timestamp, "windowSeconds": window, "value": quantity,
            }),
            json!(["describedObject", "metric", "timestamp", "value"]),
        ),
    };
    let kind = |kind: &str| json!([{"group": group, "version": version, "kind": kind}]);
    let element_name = definition(group, version, element);
    let mut schemas = Map::new();
    schemas.insert(
        definition(group, version, list),
        json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "kind": text(), "apiVersion": text(), "metadata": {"type": "object"},
                "items": {"type": "array", "items": form.reference(&element_name)},
            },
            "x-kubernetes-group-version-kind": kind(list),
        }),
    );
    schemas.insert(
        element_name,
        json!({
            "type": "object", "required": required, "properties": properties,
            "x-kubernetes-group-version-kind": kind(element),
        }),
    );
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: [&str; 2] = [CUSTOM_GROUP, EXTERNAL_GROUP];

    /// All values of a key, wherever it stands.
    fn all<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a str>) {
        match document {
            Value::Object(map) => {
                found.extend(map.get(key).and_then(Value::as_str));
                map.values().for_each(|value| all(value, key, found));
            }
            Value::Array(list) => list.iter().for_each(|value| all(value, key, found)),
            _ => {}
        }
    }

    /// Every reference leads somewhere, and every parameter of a path is declared.
    fn check(document: &Value) {
        let mut references = Vec::new();
        all(document, "$ref", &mut references);
        assert!(!references.is_empty());
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let mut ids = Vec::new();
        all(document, "operationId", &mut ids);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{ids:?}");
        for (path, operation) in document["paths"].as_object().unwrap() {
            let in_path =
                operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "path");
            let declared: Vec<_> =
                in_path.map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap())).collect();
            let written: Vec<_> = path.split('/').filter(|segment| segment.starts_with('{')).collect();
            assert_eq!(declared, written, "{path}");
        }
    }

    #[test]
    fn documents_are_whole() {
        check(&v2(&GROUPS));
        for (group, version) in [(CUSTOM_GROUP, "v1beta1"), (CUSTOM_GROUP, "v1beta2"), (EXTERNAL_GROUP, "v1beta1")] {
            check(&v3(group, version).unwrap());
        }
        assert_eq!(v3(EXTERNAL_GROUP, "v1beta2"), None);
        assert_eq!(v3("apps", "v1"), None);
    }

    #[test]
    fn only_served_groups_are_documented() {
        let document = v2(&[EXTERNAL_GROUP]);
        assert_eq!(document["paths"].as_object().unwrap().len(), 1);
        let index = v3_index(&GROUPS);
        let places: Vec<&String> = index["paths"].as_object().unwrap().keys().collect();
        assert_eq!(
            places,
            [
                "apis/custom.metrics.k8s.io/v1beta1",
                "apis/custom.metrics.k8s.io/v1beta2",
                "apis/external.metrics.k8s.io/v1beta1"
            ]
        );
        let url = index["paths"][places[0]]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/apis/custom.metrics.k8s.io/v1beta1?hash="), "{url}");
        assert_eq!(v3_index(&[]), json!({"paths": {}}));
    }
}
