//! Why the number changes, or does not, step by step, in sentences.
//!
//! Rule: a sentence says what happened and the number that came of it; the first one that stops the way is the
//! answer to "why did it not scale".

use serde::{Deserialize, Serialize};

use super::behavior::{BehaviorExplanation, DirectionExplanation, PolicyExplanation};
use super::metric::MetricExplanation;
use super::{Evidence, short};
use crate::condition::ConditionType;
use crate::controller::Decision;

/// Why the number changes, or does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the number changes.
    pub changes: bool,
    /// The result in one line.
    pub summary: String,
    /// What led there, in the order of the steps.
    pub reasons: Vec<String>,
}

pub(super) fn of(
    evidence: &Evidence<'_>,
    decision: &Decision,
    metrics: &[MetricExplanation],
    behavior: &BehaviorExplanation,
) -> Verdict {
    let mut reasons = Vec::new();
    let Some(current) = decision.current_replicas else {
        let cause = evidence.observation.scale.as_ref().err().cloned().unwrap_or_default();
        let summary = "the number is unknown, and stays".to_owned();
        return Verdict { changes: false, summary, reasons: vec![format!("the scale cannot be read: {cause}")] };
    };
    for metric in metrics {
        if let Some(error) = &metric.error {
            reasons.push(format!("{} {} asks for nothing: {error}", metric.kind, metric.name));
        } else if let (Some(proposal), Some(value)) = (metric.proposal, &metric.value) {
            reasons.push(format!(
                "{} {} is {value} at a target of {}: {}, so it asks for {proposal}",
                metric.kind, metric.name, metric.target, metric.arithmetic
            ));
        }
    }
    match decision.recommendation {
        Some(recommendation) => {
            let number = |decided: Option<i32>| decided.unwrap_or(recommendation);
            together(metrics, recommendation, decision.is_held, current, &mut reasons);
            stabilized(decision, recommendation, current, behavior, &mut reasons);
            limited(evidence, decision, number(decision.stabilized), current, behavior, &mut reasons);
        }
        None => without_recommendation(evidence, decision, current, &mut reasons),
    }
    let summary = match decision.rescale {
        Some(to) => format!("from {current} to {to}: {}", decision.reason),
        None => format!("stays at {current}"),
    };
    Verdict { changes: decision.rescale.is_some(), summary, reasons }
}

fn together(metrics: &[MetricExplanation], asked: i32, is_held: bool, current: i32, reasons: &mut Vec<String>) {
    if metrics.len() > 1 {
        let count = metrics.iter().filter(|metric| metric.proposal.is_some()).count();
        reasons.push(format!("the highest of {count} proposals counts: {asked}"));
    }
    if is_held {
        reasons.push(format!("a value is held in place of one that did not come: not below {asked}"));
    }
    if asked == current {
        reasons.push(format!("that is the number there is: {current}"));
    }
}

fn stabilized(
    decision: &Decision,
    asked: i32,
    current: i32,
    behavior: &BehaviorExplanation,
    reasons: &mut Vec<String>,
) {
    let Some(stabilized) = decision.stabilized.filter(|stabilized| *stabilized != asked) else { return };
    let (which, direction) = if asked > stabilized { ("lowest", &behavior.up) } else { ("highest", &behavior.down) };
    let DirectionExplanation { window_seconds, recommendation, age_seconds, .. } = direction;
    let mut text = format!("the window of {window_seconds} s holds {asked} back to {stabilized}");
    if let Some(number) = recommendation {
        // The number that holds is an extreme of the window, or the present one between the extremes.
        text.push_str(&format!(": its {which} recommendation is {number}"));
        match age_seconds {
            Some(age) => {
                let left = (*window_seconds as f64 - age).max(0.0);
                text.push_str(&format!(", {} s old, and counts for {} s more", short(*age), short(left)));
            }
            None => text.push_str(", and its controller alone knows for how long"),
        }
    }
    if stabilized == current {
        text.push_str("; the number stays");
    }
    reasons.push(text);
}

fn limited(
    evidence: &Evidence<'_>,
    decision: &Decision,
    stabilized: i32,
    current: i32,
    behavior: &BehaviorExplanation,
    reasons: &mut Vec<String>,
) {
    let Some(condition) = decision.conditions.get(ConditionType::ScalingLimited).filter(|limited| limited.is_true)
    else {
        return;
    };
    let to = decision.rescale.unwrap_or(current);
    let spec = &evidence.hpa.spec;
    let policies = |direction: &DirectionExplanation| {
        let allows = |policy: &PolicyExplanation| format!("{} allow {}", policy.text(), policy.allows);
        match direction.policies.as_slice() {
            [] => "at most the double, or 4".to_owned(),
            policies => {
                let all: Vec<String> = policies.iter().map(allows).collect();
                format!("{}, selectPolicy {}", all.join(", "), direction.select_policy)
            }
        }
    };
    let by = match condition.reason.as_str() {
        "TooManyReplicas" => format!("maxReplicas is {}", spec.max_replicas),
        "TooFewReplicas" => format!("minReplicas is {}", spec.min_replicas),
        "ScaleUpLimit" => format!("the rate of scaling up: {}", policies(&behavior.up)),
        "ScaleDownLimit" => format!("the rate of scaling down: {}", policies(&behavior.down)),
        other => other.to_owned(),
    };
    reasons.push(format!("{stabilized} is limited to {to}: {by}"));
}

fn without_recommendation(evidence: &Evidence<'_>, decision: &Decision, current: i32, reasons: &mut Vec<String>) {
    if decision.rescale.is_some() {
        let spec = &evidence.hpa.spec;
        reasons.push(format!(
            "{current} lies outside of {} to {}: metrics are not asked",
            spec.min_replicas, spec.max_replicas
        ));
        return;
    }
    if let Some(condition) = decision.conditions.get(ConditionType::ScalingActive).filter(|active| !active.is_true) {
        reasons.push(format!("{}: {}", condition.reason, condition.message));
    }
}
