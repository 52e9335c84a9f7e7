//! The HPAs: what their conditions say, and what helps.

use super::super::facts::{Autoscaler, Facts};
use super::super::finding::{Finding, Question};
use crate::commands::api_service::Condition;
use crate::printer::clean;

fn question(check: &'static str, autoscaler: &Autoscaler) -> Question {
    let Autoscaler { namespace, name, .. } = autoscaler;
    Question::new(check, format!("kubectl describe hpa {name} -n {namespace}"))
}

/// Each autoscaler can scale, and has reasons to.
pub(super) fn conditions(facts: &Facts) -> Vec<Finding> {
    let namespace = &facts.expected.namespace;
    let all = Question::new("autoscalers", format!("kubectl get hpa -n {namespace}"));
    match all.answer(&facts.autoscalers) {
        Err(finding) => vec![finding],
        Ok(autoscalers) if autoscalers.is_empty() => vec![all.wrong(
            format!("there is none in `{namespace}`"),
            "`scaling.auto.enabled: true` and `scaling.auto.lightningAsr.hpa` in values.yaml; `--namespace` names another place",
        )],
        Ok(autoscalers) => autoscalers.iter().flat_map(of_autoscaler).collect(),
    }
}

fn of_autoscaler(autoscaler: &Autoscaler) -> Vec<Finding> {
    let question = question("autoscaler", autoscaler);
    if autoscaler.conditions.is_empty() {
        return vec![question.warning(
            "no controller has looked at it yet",
            "ask again after one sync period (15s); where it stays so, no kube-controller-manager runs",
        )];
    }
    let of_condition = |condition: &Condition| {
        let (kind, reason) = (&condition.kind, &condition.reason);
        let found = format!("{kind} is {}: {reason}: {}", condition.status, clean(&condition.message));
        match (kind.as_str(), condition.status.as_str()) {
            ("AbleToScale" | "ScalingActive", "False") => Some(question.wrong(found, remedy(condition, autoscaler))),
            ("ScalingLimited", "True") => limited(reason, autoscaler).map(|remedy| question.warning(found, remedy)),
            _ => None,
        }
    };
    let mut findings: Vec<Finding> = autoscaler.conditions.iter().filter_map(of_condition).collect();
    findings.extend(autoscaler.lints.iter().map(|lint| {
        question.warning(
            clean(lint),
            "another metric, or a rate of it: `crescendo check hpa FILE` tells the same of a file",
        )
    }));
    if findings.is_empty() {
        let Autoscaler { current, desired, min, max, target, .. } = autoscaler;
        findings.push(question.ok(format!("{target}: {current} replicas, {desired} wanted, {min} to {max} allowed")));
    }
    findings
}

/// What a limit means, where somebody might want to move it.
fn limited(reason: &str, autoscaler: &Autoscaler) -> Option<String> {
    match reason {
        "TooManyReplicas" => Some(format!(
            "the load asks for more than `maxReplicas: {}`: raise it where nodes and GPUs allow",
            autoscaler.max
        )),
        // At rest every autoscaler stands at its least number, and a rate limit passes by itself.
        _ => None,
    }
}

fn remedy(condition: &Condition, autoscaler: &Autoscaler) -> String {
    let namespace = &autoscaler.namespace;
    match condition.reason.as_str() {
        "FailedGetPodsMetric" | "FailedGetObjectMetric" => format!(
            "the metrics API has no value: see Metrics API above; are the pods of {} ready, and does the metric's name \
             stand in its list?",
            autoscaler.target
        ),
        "FailedGetExternalMetric" => {
            "the external metrics API has no value: see external metrics above; may the HPA read them \
                                      (ClusterRole for `external.metrics.k8s.io`)?"
                .to_owned()
        }
        "FailedGetResourceMetric" | "FailedGetContainerResourceMetric" => {
            "CPU and memory come from metrics-server (`kubectl top pods`), and a utilization needs `resources.requests`"
                .to_owned()
        }
        "FailedComputeMetricsReplicas" => "every metric failed: the message names the first one".to_owned(),
        "FailedGetScale" => format!("`scaleTargetRef` must name what is there: {} in `{namespace}`", autoscaler.target),
        "FailedUpdateScale" => {
            "the controller may not write the scale, or a quota forbids it: the message says which".to_owned()
        }
        "ScalingDisabled" => format!("{} has 0 replicas: set at least 1 by `kubectl scale`", autoscaler.target),
        "InvalidSelector" | "AmbiguousSelector" => {
            format!("the selector of {} must be there, and no other autoscaler's pods may fit it", autoscaler.target)
        }
        "InvalidMetricSourceType" => {
            "the type of a metric is unknown to this cluster: `crescendo check hpa FILE`".to_owned()
        }
        _ => format!("`kubectl describe hpa {} -n {namespace}`: its events", autoscaler.name),
    }
}

/// The metrics of each autoscaler are of kinds that are served.
pub(super) fn metrics(facts: &Facts) -> Vec<Finding> {
    let autoscalers = facts.autoscalers.known().map(Vec::as_slice).unwrap_or_default();
    let Some(names) = facts.metrics_api.custom.known() else { return Vec::new() };
    let none = Vec::new();
    let external = facts.metrics_api.external.known().unwrap_or(&none);
    let mut findings = Vec::new();
    for autoscaler in autoscalers {
        let question = question("metrics of the autoscaler", autoscaler);
        let is_missing = |(kind, metric): &&(String, String)| {
            let ending = format!("/{metric}");
            match kind.as_str() {
                "Pods" => !names.iter().any(|name| name.strip_prefix("pods/") == Some(metric)),
                "Object" => !names.iter().any(|name| name.ends_with(&ending)),
                "External" => !external.contains(metric),
                _ => false,
            }
        };
        for (kind, metric) in autoscaler.metrics.iter().filter(is_missing) {
            findings.push(question.wrong(
                format!("{kind} metric `{metric}` is not listed by the metrics API"),
                "a rule of the adapter whose `name.as` gives this name, and series for it; names count letter by letter",
            ));
        }
    }
    findings
}
