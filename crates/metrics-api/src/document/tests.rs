use std::time::Duration;

use datamodel::quantity::Quantity;

use super::*;
use crate::hold::SampleState;
use crate::names::{GroupResource, ObjectName};
use crate::testing::at;
use crate::values::ObjectReference;

#[test]
fn window_and_selector_stand_under_the_key_of_each_version() {
    let value = MetricValue {
        described_object: ObjectReference {
            kind: "Pod".to_owned(),
            object: ObjectName::namespaced("asr", "asr-0"),
            api_version: "/v1".to_owned(),
        },
        metric: "m".to_owned(),
        metric_selector: Selector::parse("model=large,tier in (a,b),x!=y").unwrap(),
        value: Quantity::from_milli(1_500),
        timestamp: at(0),
        window: Some(Duration::from_mins(2)),
        state: SampleState::Fresh,
    };
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let old = read(metric_value_list(CustomVersion::V1Beta1, std::slice::from_ref(&value)));
    let new = read(metric_value_list(CustomVersion::V1Beta2, &[value]));
    let selector = json!({
        "matchLabels": {"model": "large"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "x", "operator": "NotIn", "values": ["y"]},
        ],
    });
    assert_eq!((&old["items"][0]["window"], &old["items"][0]["selector"]), (&json!(120), &selector));
    let item = &new["items"][0];
    assert_eq!((&item["windowSeconds"], &item["metric"]), (&json!(120), &json!({"name": "m", "selector": selector})));
    assert_eq!(item["timestamp"], "2023-11-14T22:13:20Z");
}

#[test]
fn aggregated_discovery_groups_metrics_under_their_resource() {
    let info = |metric: &str| CustomMetricInfo {
        group_resource: GroupResource::pods(),
        namespaced: true,
        metric: metric.to_owned(),
    };
    let document = aggregated_discovery(Some(&[info("a"), info("b")]), None);
    let resources = &document["items"][0]["versions"][1]["resources"];
    assert_eq!(resources.as_array().unwrap().len(), 1);
    assert_eq!(resources[0]["subresources"][1]["subresource"], "b");
    assert_eq!(resources[0]["scope"], "Namespaced");
}

#[test]
fn times_print_as_kubernetes_prints_them() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_164_799, "2024-02-28T23:59:59Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(Timestamp::from_unix_ms(seconds * 1_000 + 999)), expected);
    }
    assert_eq!(rfc3339(Timestamp::MAX), "9999-12-31T23:59:59Z");
    assert_eq!(rfc3339(Timestamp::MIN), "0000-01-01T00:00:00Z");
}
