//! Rules on labels: those of users, checked, and those that are the same for all monitors.
//!
//! Rule: the order of the rules is the operator's; labels of targets depend on it.

use datamodel::relabel::{RelabelAction, RelabelConfig, RelabelRule};
use serde_json::{Map, Value, json};

use super::error::Problem;
use super::error::Rejection;
use super::objects::{LabelSelector, Relabeling};

/// A label name as it stands in the names of meta labels.
pub(crate) fn meta_name(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The rule that keeps the name of the job for those who look for it later.
pub(super) fn remember_job() -> Value {
    json!({"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"})
}

/// Copies a label.
pub(super) fn copy(source: &str, target: &str) -> Value {
    json!({"source_labels": [source], "target_label": target})
}

/// Copies a label where it is not empty.
pub(super) fn copy_present(source: &str, target: &str) -> Value {
    json!({"source_labels": [source], "target_label": target, "regex": "(.+)", "replacement": "${1}"})
}

/// Sets a label.
pub(super) fn set(target: &str, value: &str) -> Value {
    json!({"target_label": target, "replacement": value})
}

/// Keeps where a label has a value.
pub(super) fn keep(source: &str, regex: &str) -> Value {
    json!({"action": "keep", "source_labels": [source], "regex": regex})
}

/// Drops pods that ended.
pub(super) fn drop_ended_pods() -> Value {
    json!({"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"})
}

/// Copies labels of a pod to its targets.
pub(super) fn pod_target_labels<'a>(labels: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    object_labels("pod", labels)
}

/// Copies labels of an object of a role to its targets.
pub(super) fn object_labels<'a>(role: &str, labels: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    let copied = labels.into_iter().map(|label| {
        let name = meta_name(label);
        copy_present(&format!("__meta_kubernetes_{role}_label_{name}"), &name)
    });
    copied.collect()
}

/// Keeps the objects of a role (`service`, `pod`, `ingress`) that a selector matches.
pub(super) fn select(role: &str, selector: &LabelSelector, path: &str) -> Result<Vec<Value>, Rejection> {
    selector.checked(path)?;
    let sources = |key: &str| {
        let name = meta_name(key);
        let (label, present) = (format!("label_{name}"), format!("labelpresent_{name}"));
        (format!("__meta_kubernetes_{role}_{label}"), format!("__meta_kubernetes_{role}_{present}"))
    };
    let mut rules = Vec::new();
    for (key, value) in &selector.match_labels {
        let (label, present) = sources(key);
        rules.push(json!({"action": "keep", "source_labels": [label, present], "regex": format!("({value});true")}));
    }
    for expression in &selector.match_expressions {
        let (label, present) = sources(&expression.key);
        let listed = format!("({});true", expression.values.join("|"));
        let (action, sources, regex) = match expression.operator.as_str() {
            "In" => ("keep", vec![label, present], listed),
            "NotIn" => ("drop", vec![label, present], listed),
            "Exists" => ("keep", vec![present], "true".to_owned()),
            // Whatever else there is was refused above.
            _ => ("drop", vec![present], "true".to_owned()),
        };
        rules.push(json!({"action": action, "source_labels": sources, "regex": regex}));
    }
    Ok(rules)
}

/// Rules of a user; each is checked as Prometheus would.
pub(super) fn user_rules(rules: &[Relabeling], path: &str) -> Result<Vec<Value>, Rejection> {
    rules.iter().enumerate().map(|(index, rule)| user_rule(rule, &format!("{path}[{index}]"))).collect()
}

fn user_rule(rule: &Relabeling, path: &str) -> Result<Value, Rejection> {
    let refused = |error| Rejection::new(path, Problem::Relabel(error));
    let action = rule.action.to_lowercase();
    let word = if action.is_empty() { RelabelAction::default().as_str() } else { &action };
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    RelabelRule::new(RelabelConfig {
        source_labels: rule.source_labels.clone(),
        separator: rule.separator.clone(),
        regex: given(&rule.regex),
        modulus: (rule.modulus > 0).then_some(rule.modulus),
        target_label: given(&rule.target_label),
        replacement: rule.replacement.clone(),
        action: RelabelAction::parse(word).map_err(refused)?,
    })
    .map_err(refused)?;
    let mut fields = Map::new();
    let mut put = |key: &str, value: Option<Value>| value.map(|value| fields.insert(key.to_owned(), value));
    put("source_labels", (!rule.source_labels.is_empty()).then(|| json!(rule.source_labels)));
    put("separator", rule.separator.clone().map(Value::from));
    put("target_label", given(&rule.target_label).map(Value::from));
    put("regex", given(&rule.regex).map(Value::from));
    put("modulus", (rule.modulus > 0).then(|| json!(rule.modulus)));
    put("replacement", rule.replacement.clone().map(Value::from));
    put("action", given(&action).map(Value::from));
    Ok(Value::Object(fields))
}
