//! The conformance cases of the HPA algorithm: data from outside of this repository, one function per kind.
//!
//! `HPA_CASES` names the file; without it the cases beside the repository are taken. Where there are none,
//! one line says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::behavior::{
    Recommendation, RecommendationLog, ScaleEvent, ScaleEventLog, ScaleHistory, limit_with_behavior,
    limit_without_behavior,
};
use crate::manifest::{
    CrossVersionObjectReference, HpaBehavior, MetricIdentifier, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy,
};
use crate::pods::{Container, InitContainer, PodSamples, group_pods, requests_milli};
use crate::replica_calculator::{Proposal, ReplicaCalculator};
use crate::{
    ConditionType, ContainerUsage, Controller, ControllerConfig, HorizontalPodAutoscaler, HpaSpec, MetricError,
    MetricSpec, MetricTarget, Observation, Pod, PodPhase, PodSample, PodUsage, Reading, ReadyCondition, Scale,
    SelectorProblem, Snapshot, Tolerances,
};
use datamodel::{Quantity, Timestamp};
use serde_json::{Value, json};

const DEFAULT_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance/hpa/cases.json");
/// Later than any age that the cases name.
const NOW: Timestamp = Timestamp::from_unix_ms(4_000_000_000_000);
/// What can go wrong in a whole sync; empty for nothing.
const FAULTS: [&str; 10] = [
    "",
    "get_scale",
    "update_scale",
    "metrics_api",
    "missing_selector",
    "selector_missing",
    "selector_required",
    "invalid_selector",
    "selector_invalid",
    "ambiguous_selector",
];
const NAMESPACE: &str = "test-namespace";

#[test]
fn every_conformance_case_gives_the_expected_result() {
    let path = std::env::var("HPA_CASES").unwrap_or_else(|_| DEFAULT_CASES.to_owned());
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("no HPA cases at {path}: nothing was checked");
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in cases {
        let kind = case["kind"].as_str().unwrap();
        match run(kind, &case["input"]).and_then(|found| compare(&case["expect"], &found)) {
            Ok(()) => *passed.entry(kind).or_default() += 1,
            Err(difference) => failures.push(format!("{}: {difference}", case["id"])),
        }
    }
    for (kind, count) in &passed {
        println!("{kind}: {count}");
    }
    println!("{} of {} HPA cases pass", cases.len() - failures.len(), cases.len());
    assert!(!cases.is_empty(), "the file holds no case");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Computes what the case asks for, in the form of its expectation.
fn run(kind: &str, input: &Value) -> Result<Value, String> {
    Ok(match kind {
        "resource_utilization" => proposal(&resource_utilization(input), true),
        "pods_metric" => proposal(&pods_metric(input), false),
        "object_value" | "external_value" => proposal(
            &with_calculator(input, |calculator| {
                calculator.value_replicas(i32_of(&input["current_replicas"]), milli(input), values_milli(input))
            }),
            false,
        ),
        "object_average" | "external_average" => proposal(
            &with_calculator(input, |calculator| {
                let status_replicas = i32_of(&input["current_replicas"]);
                Ok(calculator.average_value_replicas(status_replicas, milli(input), values_milli(input)))
            }),
            false,
        ),
        "limits_without_behavior" => {
            let of = |key: &str| i32_of(&input[key]);
            let limited = limit_without_behavior(
                of("current_replicas"),
                of("desired_replicas"),
                of("min_replicas"),
                of("max_replicas"),
            );
            json!({"replicas": limited.replicas, "scaling_limited_reason": limited.reason.as_str()})
        }
        "behavior_rate_limit" => behavior_rate_limit(input),
        "stabilize_without_behavior" => {
            let mut log = RecommendationLog::new(recommendations(&input["recommendations"]));
            let window = seconds(&input["downscale_stabilization_window_seconds"]);
            let replicas = log.stabilize_without_behavior(window, i32_of(&input["desired_replicas"]), NOW);
            json!({"replicas": replicas, "recommendation_log_length": log.entries().len()})
        }
        "stabilize_with_behavior" => {
            let mut log = RecommendationLog::new(recommendations(&input["recommendations"]));
            let windows = (seconds(&input["scale_up_window_seconds"]), seconds(&input["scale_down_window_seconds"]));
            let (current, desired) = (i32_of(&input["current_replicas"]), i32_of(&input["desired_replicas"]));
            let replicas = log.stabilize_with_behavior(windows, current, desired, NOW);
            let entries: Vec<i32> = log.entries().iter().map(|entry| entry.replicas).collect();
            json!({"replicas": replicas, "recommendation_log": entries})
        }
        "store_scale_event" => store_scale_event(input),
        "group_pods" => {
            let resource = input["resource"].as_str();
            let groups = group_pods(&pods(&input["pods"]), &samples(&input["metrics"]), resource, &config(input), NOW);
            json!({
                "ready_count": groups.ready_count,
                "unready": groups.unready,
                "missing": groups.missing,
                "ignored": groups.ignored,
            })
        }
        "calculate_requests" => {
            let config = ControllerConfig {
                pod_level_resources: input["pod_level_resources_enabled"].as_bool().unwrap(),
                ..ControllerConfig::default()
            };
            let resource = input["resource"].as_str().unwrap();
            match requests_milli(&pods(&input["pods"]), container(input), resource, &config) {
                Ok(requests) => json!({"requests_milli": requests}),
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        "reconcile" => reconcile(input)?,
        other => return Err(format!("unknown kind `{other}`")),
    })
}

/// Every key of the expectation must be met; `error_contains` by a part of `error`.
fn compare(expected: &Value, found: &Value) -> Result<(), String> {
    for (key, wanted) in expected.as_object().unwrap() {
        let is_met = match key.as_str() {
            "error_contains" => found["error"].as_str().is_some_and(|error| error.contains(wanted.as_str().unwrap())),
            "conditions" => wanted.as_object().unwrap().iter().all(|(kind, pair)| found["conditions"][kind] == *pair),
            "event" => found["events"].as_array().unwrap().contains(wanted),
            "unready" | "missing" | "ignored" => names(wanted) == names(&found[key]),
            _ => found[key] == *wanted,
        };
        if !is_met {
            return Err(format!("`{key}`: expected {wanted}, found {found}"));
        }
    }
    Ok(())
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn proposal(result: &Result<Proposal, MetricError>, of_resource: bool) -> Value {
    match result {
        Err(error) => json!({"error": error.to_string()}),
        Ok(proposal) if of_resource => json!({
            "replicas": proposal.replicas,
            "utilization_percent": proposal.utilization_percent,
            "average_raw_milli": proposal.usage_milli,
        }),
        Ok(proposal) => json!({"replicas": proposal.replicas, "usage_milli": proposal.usage_milli}),
    }
}

/// A resource goes through the whole metric, because containers are summed and chosen there.
fn resource_utilization(input: &Value) -> Result<Proposal, MetricError> {
    let name = input["resource"].as_str().unwrap().to_owned();
    let target = MetricTarget::Utilization(i32_of(&input["target_utilization_percent"]));
    let spec = match container(input) {
        Some(container) => MetricSpec::ContainerResource { name, container: container.to_owned(), target },
        None => MetricSpec::Resource { name, target },
    };
    let usages = list(&input["pod_metrics"]).map(|usage| PodUsage {
        pod: text(&usage["pod"]),
        timestamp: ago(&usage["timestamp_age_seconds"]),
        window: seconds(&usage["window_seconds"]),
        containers: list(&usage["containers"])
            .map(|one| ContainerUsage { name: text(&one["name"]), usage_milli: one["usage_milli"].as_i64() })
            .collect(),
    });
    through_controller(input, spec, Reading::Resource(usages.collect()))
}

fn pods_metric(input: &Value) -> Result<Proposal, MetricError> {
    let samples = input["pod_metrics_milli"].as_object().unwrap().iter();
    let samples: PodSamples = samples
        .map(|(pod, value)| {
            let value_milli = value.as_i64().unwrap();
            (pod.clone(), PodSample { value_milli, timestamp: NOW, window: Duration::from_secs(60) })
        })
        .collect();
    let metric = MetricIdentifier { name: "qps".to_owned(), selector: None };
    let target = MetricTarget::AverageValue(Quantity::from_milli(milli(input)));
    through_controller(input, MetricSpec::Pods { metric, target }, Reading::Pods(samples))
}

/// Runs one metric through a controller whose limits do not matter.
fn through_controller(input: &Value, spec: MetricSpec, reading: Reading) -> Result<Proposal, MetricError> {
    let current = i32_of(&input["current_replicas"]);
    let tolerance = |key: &str| Quantity::from_f64_truncated(input["tolerance"][key].as_f64().unwrap());
    let rules = |mut rules: ScalingRules, key: &str| {
        rules.tolerance = tolerance(key);
        rules
    };
    let behavior = HpaBehavior {
        scale_up: rules(ScalingRules::default_scale_up(), "scale_up"),
        scale_down: rules(ScalingRules::default_scale_down(), "scale_down"),
    };
    let hpa = autoscaler(1, i32::MAX, vec![spec], Some(behavior));
    let observation = Observation {
        scale: Ok(Scale { spec_replicas: current, status_replicas: current }),
        selector_problem: None,
        pods: pods(&input["pods"]),
        metrics: vec![Ok(reading)],
        floor: None,
    };
    let decision = Controller::new(hpa, config(input)).reconcile(&observation, NOW);
    decision.metrics[0].proposal.clone().map_err(MetricError::Source)
}

fn with_calculator<T>(input: &Value, step: impl FnOnce(&ReplicaCalculator<'_>) -> T) -> T {
    let tolerance = |key: &str| input["tolerance"][key].as_f64().unwrap();
    let tolerances = Tolerances { scale_down: tolerance("scale_down"), scale_up: tolerance("scale_up") };
    let pods = pods(&input["pods"]);
    step(&ReplicaCalculator { pods: &pods, tolerances, config: &config(input), now: NOW })
}

fn behavior_rate_limit(input: &Value) -> Value {
    let behavior = HpaBehavior { scale_up: rules(&input["scale_up"]), scale_down: rules(&input["scale_down"]) };
    let log = |key: &str| ScaleEventLog::new(list(&input[key]).map(scale_event).collect());
    let history = ScaleHistory { up: log("scale_up_events"), down: log("scale_down_events") };
    let of = |key: &str| i32_of(&input[key]);
    let bounds = (of("min_replicas"), of("max_replicas"));
    let limited = limit_with_behavior(&behavior, &history, of("current_replicas"), of("desired_replicas"), bounds, NOW);
    json!({"replicas": limited.replicas, "scaling_limited_reason": limited.reason.as_str()})
}

fn store_scale_event(input: &Value) -> Value {
    let log = ScaleEventLog::new(list(&input["previous_events"]).map(scale_event).collect());
    let before = log.change_in(i32_of(&input["query_period_seconds"]), NOW);
    let mut history = ScaleHistory { up: log, down: ScaleEventLog::default() };
    let behavior = (!input["rules"].is_null())
        .then(|| HpaBehavior { scale_up: rules(&input["rules"]), scale_down: ScalingRules::default_scale_down() });
    history.store(behavior.as_ref(), 10, 10 + i32_of(&input["replica_change"]), NOW);
    let periods = list(&input["rules"]["policies"]).map(|policy| policy["period_seconds"].as_i64().unwrap());
    let cutoff = NOW.unix_ms() - 1000 * periods.max().unwrap_or(0);
    let events: Vec<Value> = history
        .up
        .entries()
        .iter()
        .map(|event| json!({"replica_change": event.replica_change, "outdated": event.at.unix_ms() < cutoff}))
        .collect();
    json!({"events_after": events, "replica_change_in_period_before_store": before})
}

fn reconcile(input: &Value) -> Result<Value, String> {
    let known = ["min", "max", "spec_replicas", "status_replicas", "metrics", "recommendations", "fault"];
    if let Some(unknown) = input.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("unknown input `{unknown}`"));
    }
    let fault = input["fault"].as_str().unwrap_or_default();
    if !FAULTS.contains(&fault) {
        return Err(format!("unknown fault `{fault}`"));
    }
    let metrics: Vec<&Value> = list(&input["metrics"]).collect();
    // A case with requests has a pod for each of them, one without has a pod for each replica.
    let requests: Vec<i64> =
        metrics.iter().flat_map(|metric| list(&metric["requests_milli"])).map(|one| one.as_i64().unwrap()).collect();
    let replicas = usize::try_from(i32_of(&input["spec_replicas"])).unwrap();
    let pod_count = if requests.is_empty() { replicas } else { requests.len() };
    let observation = Observation {
        scale: match fault {
            "get_scale" => Err("fault".to_owned()),
            _ => Ok(Scale {
                spec_replicas: i32_of(&input["spec_replicas"]),
                status_replicas: i32_of(&input["status_replicas"]),
            }),
        },
        selector_problem: match fault {
            "missing_selector" | "selector_missing" | "selector_required" => Some(SelectorProblem::Missing),
            "invalid_selector" | "selector_invalid" => Some(SelectorProblem::Invalid("fault".to_owned())),
            "ambiguous_selector" => {
                Some(SelectorProblem::Ambiguous { selector: "name=test".to_owned(), hpas: "fault".to_owned() })
            }
            _ => None,
        },
        pods: (0..pod_count).map(|index| numbered_pod(index, requests.get(index).copied())).collect(),
        metrics: metrics.iter().map(|metric| reading(metric, fault)).collect(),
        floor: None,
    };
    let specs = metrics.iter().map(|metric| metric_spec(metric)).collect();
    let hpa = autoscaler(i32_of(&input["min"]), i32_of(&input["max"]), specs, None);
    let before = Snapshot { recommendations: recommendations(&input["recommendations"]), ..Snapshot::default() };
    let mut controller = Controller::restore(hpa, ControllerConfig::default(), before, NOW);
    let decision = controller.reconcile_with(&observation, NOW, |_| match fault {
        "update_scale" => Err("fault".to_owned()),
        _ => Ok(()),
    });
    let conditions: BTreeMap<&str, Value> = decision
        .conditions
        .as_slice()
        .iter()
        .map(|condition| {
            let status = if condition.is_true { "True" } else { "False" };
            (condition.kind.as_str(), json!([status, condition.reason.as_str()]))
        })
        .collect();
    assert!(decision.conditions.get(ConditionType::AbleToScale).is_some());
    let events: Vec<Value> = decision
        .events
        .iter()
        .map(|event| {
            let kind = if event.is_warning { "Warning" } else { "Normal" };
            json!({"type": kind, "reason": event.reason.as_str(), "message": event.message})
        })
        .collect();
    let desired = decision.desired_replicas().unwrap_or_else(|| i32_of(&input["spec_replicas"]));
    Ok(json!({"desired_replicas": desired, "conditions": conditions, "events": events}))
}

fn autoscaler(
    min_replicas: i32,
    max_replicas: i32,
    metrics: Vec<MetricSpec>,
    behavior: Option<HpaBehavior>,
) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        name: "test-hpa".to_owned(),
        namespace: NAMESPACE.to_owned(),
        spec: HpaSpec { scale_target_ref: object("Deployment"), min_replicas, max_replicas, metrics, behavior },
    }
}

fn object(kind: &str) -> CrossVersionObjectReference {
    let (api_version, name) = ("apps/v1".to_owned(), "test".to_owned());
    CrossVersionObjectReference { api_version, kind: kind.to_owned(), name }
}

fn metric_spec(metric: &Value) -> MetricSpec {
    let quantity = |key: &str| metric[key].as_str().map(|text| text.parse::<Quantity>().unwrap());
    let target = if let Some(value) = quantity("value") {
        MetricTarget::Value(value)
    } else if let Some(percent) = metric["average_utilization"].as_i64() {
        MetricTarget::Utilization(i32::try_from(percent).unwrap())
    } else {
        MetricTarget::AverageValue(quantity("average_value").unwrap_or(Quantity::from_whole(1)))
    };
    let name = metric["name"].as_str().unwrap_or("qps").to_owned();
    let identifier = MetricIdentifier { name: name.clone(), selector: None };
    match metric["type"].as_str().unwrap() {
        "Resource" => MetricSpec::Resource { name, target },
        "ContainerResource" => MetricSpec::ContainerResource { name, container: "container".to_owned(), target },
        "Pods" => MetricSpec::Pods { metric: identifier, target },
        "Object" => MetricSpec::Object { described_object: object("Deployment"), metric: identifier, target },
        "External" => MetricSpec::External { metric: identifier, target },
        kind => MetricSpec::Unknown { kind: kind.to_owned() },
    }
}

fn reading(metric: &Value, fault: &str) -> Result<Reading, String> {
    if fault == "metrics_api" || metric["fault"] == "metrics_api" {
        return Err("fault".to_owned());
    }
    let reported: Vec<i64> = list(&metric["reported_milli"]).map(|value| value.as_i64().unwrap()).collect();
    let numbered = reported.iter().enumerate();
    let (timestamp, window) = (NOW, Duration::from_secs(60));
    Ok(match metric["type"].as_str().unwrap() {
        "Resource" | "ContainerResource" => Reading::Resource(
            numbered
                .map(|(index, value)| PodUsage {
                    pod: pod_name(index),
                    timestamp,
                    window,
                    containers: vec![ContainerUsage { name: "container".to_owned(), usage_milli: Some(*value) }],
                })
                .collect(),
        ),
        "Pods" => Reading::Pods(
            numbered
                .map(|(index, value)| (pod_name(index), PodSample { value_milli: *value, timestamp, window }))
                .collect(),
        ),
        _ => Reading::Values(reported),
    })
}

fn pod_name(index: usize) -> String {
    format!("test-pod-{index}")
}

fn numbered_pod(index: usize, cpu_request_milli: Option<i64>) -> Pod {
    let mut pod = Pod::running(&pod_name(index), Timestamp::from_unix_ms(NOW.unix_ms() - 86_400_000));
    pod.containers.push(Container {
        name: "container".to_owned(),
        requests_milli: cpu_request_milli.map(|request| ("cpu".to_owned(), request)).into_iter().collect(),
    });
    pod
}

fn pods(list_of_pods: &Value) -> Vec<Pod> {
    list(list_of_pods).map(pod).collect()
}

fn pod(pod: &Value) -> Pod {
    let requests = |value: &Value| {
        let requests = ["cpu", "memory"].map(|name| (name.to_owned(), value[format!("{name}_request_milli")].as_i64()));
        requests.into_iter().filter_map(|(name, request)| Some((name, request?))).collect()
    };
    let container = |value: &Value| Container { name: text(&value["name"]), requests_milli: requests(value) };
    let ready = if pod["ready_condition"].is_object() {
        Some(ReadyCondition {
            is_ready: pod["ready_condition"]["status"].as_bool(),
            last_transition: ago(&pod["ready_condition"]["transition_age_seconds"]),
        })
    } else {
        pod["ready"].as_bool().map(|is_ready| ReadyCondition {
            is_ready: Some(is_ready),
            last_transition: ago(&pod["ready_transition_age_seconds"]),
        })
    };
    Pod {
        name: text(&pod["name"]),
        phase: match pod["phase"].as_str() {
            Some("Pending") => PodPhase::Pending,
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            Some("Unknown") => PodPhase::Unknown,
            _ => PodPhase::Running,
        },
        is_deleting: pod["deleting"].as_bool().unwrap_or_default(),
        start_time: (!pod["start_age_seconds"].is_null()).then(|| ago(&pod["start_age_seconds"])),
        ready,
        containers: list(&pod["containers"]).map(container).collect(),
        init_containers: list(&pod["init_containers"])
            .map(|value| InitContainer {
                container: container(value),
                is_restartable: value["restart_policy"] == "Always",
            })
            .collect(),
        requests_milli: pod["pod_level_cpu_request_milli"]
            .as_i64()
            .map(|request| BTreeMap::from([("cpu".to_owned(), request)])),
    }
}

fn samples(metrics: &Value) -> PodSamples {
    list(metrics)
        .map(|metric| {
            let sample = PodSample {
                value_milli: metric["value_milli"].as_i64().unwrap(),
                timestamp: ago(&metric["timestamp_age_seconds"]),
                window: seconds(&metric["window_seconds"]),
            };
            (text(&metric["pod"]), sample)
        })
        .collect()
}

fn rules(rules: &Value) -> ScalingRules {
    ScalingRules {
        stabilization_window_seconds: rules["stabilization_window_seconds"].as_i64().map(|s| i32::try_from(s).unwrap()),
        select_policy: match rules["select_policy"].as_str().unwrap() {
            "Max" => SelectPolicy::Max,
            "Min" => SelectPolicy::Min,
            "Disabled" => SelectPolicy::Disabled,
            other => panic!("unknown select policy `{other}`"),
        },
        policies: list(&rules["policies"])
            .map(|policy| ScalingPolicy {
                kind: if policy["type"] == "Pods" { PolicyKind::Pods } else { PolicyKind::Percent },
                value: i32_of(&policy["value"]),
                period_seconds: i32_of(&policy["period_seconds"]),
            })
            .collect(),
        tolerance: None,
    }
}

fn scale_event(event: &Value) -> ScaleEvent {
    ScaleEvent { replica_change: i32_of(&event["replica_change"]), at: ago(&event["age_seconds"]) }
}

fn recommendations(entries: &Value) -> Vec<Recommendation> {
    let entry = |entry: &Value| Recommendation { replicas: i32_of(&entry["replicas"]), at: ago(&entry["age_seconds"]) };
    list(entries).map(entry).collect()
}

fn config(input: &Value) -> ControllerConfig {
    let or = |key: &str, default: Duration| if input[key].is_null() { default } else { seconds(&input[key]) };
    let default = ControllerConfig::default();
    ControllerConfig {
        cpu_initialization_period: or("cpu_initialization_period_seconds", default.cpu_initialization_period),
        initial_readiness_delay: or("initial_readiness_delay_seconds", default.initial_readiness_delay),
        ..default
    }
}

fn container(input: &Value) -> Option<&str> {
    input["container"].as_str().filter(|name| !name.is_empty())
}

fn milli(input: &Value) -> i64 {
    input["target_milli"].as_i64().unwrap()
}

fn values_milli(input: &Value) -> i64 {
    let values: Vec<i64> = list(&input["metric_values_milli"]).map(|value| value.as_i64().unwrap()).collect();
    crate::replica_calculator::sum_milli(&values)
}

/// The elements; none where there is no list.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn i32_of(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap())
}

fn ago(value: &Value) -> Timestamp {
    NOW.saturating_sub(seconds(value))
}
