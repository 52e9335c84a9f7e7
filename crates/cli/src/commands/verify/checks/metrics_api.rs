//! "Check Prometheus Adapter": what autoscalers read is listed, and has values.

use std::time::Duration;

use datamodel::time::format_duration;

use super::super::facts::{EXTERNAL, Facts, LISTED, Pod, PodValue};
use super::super::finding::{Finding, Question, listed};
use super::targets::interval;

const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta1";
const EXTERNAL_PATH: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// Whether some autoscaler reads a metric of a kind.
fn is_read(facts: &Facts, kind: &str, metric: &str) -> bool {
    let autoscalers = facts.autoscalers.known().map(Vec::as_slice).unwrap_or_default();
    let mut read = autoscalers.iter().flat_map(|autoscaler| &autoscaler.metrics);
    read.any(|(of, name)| of == kind && name == metric)
}

/// The metrics are listed.
pub(super) fn custom(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("custom metrics", format!("kubectl get --raw {CUSTOM}"));
    let names = match question.answer(&facts.metrics_api.custom) {
        Ok(names) => names,
        Err(finding) => return vec![finding],
    };
    let missing: Vec<&str> = LISTED.into_iter().filter(|name| !names.iter().any(|known| known == name)).collect();
    let needed = |name: &&str| {
        let metric = name.rsplit('/').next().unwrap_or_default();
        *name == LISTED[0] || is_read(facts, "Pods", metric)
    };
    let (wrong, less): (Vec<&str>, Vec<&str>) = missing.into_iter().partition(needed);
    let mut findings = Vec::new();
    if !wrong.is_empty() {
        let found =
            if names.is_empty() { "no metric at all".to_owned() } else { format!("not listed: {}", listed(&wrong)) };
        findings.push(question.wrong(
            found,
            "does the metric have series at the engine that the adapter asks (`prometheus.url`), with the labels `namespace` \
             and `pod`? does a rule of `rules.custom` name it in `seriesQuery`? new series are listed after the relist interval",
        ));
    }
    if !less.is_empty() {
        findings.push(question.warning(
            format!("not listed: {}", listed(&less)),
            "the setup document expects them: a rule for each in `rules.custom` of prometheus-adapter",
        ));
    }
    if findings.is_empty() {
        findings.push(question.ok(format!("{} metrics, among them {}", names.len(), listed(&LISTED))));
    }
    findings
}

/// The metrics have values, of all pods, and of now.
pub(super) fn pods(facts: &Facts) -> Vec<Finding> {
    let namespace = &facts.expected.namespace;
    let of_metric = |metric: &str, values: &[PodValue], question: &Question| {
        if values.is_empty() {
            return question.wrong(
                "an empty list: the autoscaler counts it as no load",
                "the pods have no series of this metric, or the labels `namespace` and `pod` of the series are not theirs",
            );
        }
        let expected = facts.cluster.pods.known().map(Vec::as_slice).unwrap_or_default();
        let without = |pod: &&Pod| {
            pod.is_ready() && !pod.is_leaving() && !values.iter().any(|value| value.pod == pod.metadata.name)
        };
        let without: Vec<&str> = expected.iter().filter(without).map(|pod| pod.metadata.name.as_str()).collect();
        if !without.is_empty() {
            return question.wrong(
                format!("{} pods have a value; not: {}", values.len(), listed(&without)),
                "is the pod a target, and UP? its label `pod` must be its name; a new pod has a value after one scrape",
            );
        }
        let hold = metrics_api::Ages::for_interval(interval(facts).unwrap_or(Duration::from_secs(30))).hold();
        let age = |value: &PodValue| value.at.map(|at| facts.now.since(at));
        let old: Vec<String> = values
            .iter()
            .filter(|value| age(value).is_some_and(|age| age > hold))
            .map(|value| format!("{} ({})", value.pod, format_duration(age(value).unwrap_or_default())))
            .collect();
        if !old.is_empty() {
            return question.wrong(
                format!("values older than {}: {}", format_duration(hold), listed(&old)),
                "is the engine behind the metrics API scraping? do the clocks agree?",
            );
        }
        let shown: Vec<String> = values.iter().map(|value| format!("{} {}", value.pod, value.value)).collect();
        let fresh = if facts.is_pulled && metric == "asr_active_requests" { ", scraped for this question" } else { "" };
        question.ok(format!("{}{fresh}", listed(&shown)))
    };
    let asked = facts.metrics_api.pods.iter().map(|(metric, asked)| {
        let path = format!("kubectl get --raw {CUSTOM}/namespaces/{namespace}/pods/*/{metric}");
        let question = Question::new("values of pods", path);
        match question.answer(asked) {
            Ok(Ok(values)) => of_metric(metric, values, &question),
            Ok(Err(reason)) => question.wrong(
                reason,
                "the reason names the stage: no rule for the metric, no series of these pods, or series too old to count; the \
                 log of the adapter says more",
            ),
            Err(finding) => finding,
        }
    });
    asked.collect()
}

/// External metrics are listed and answer.
pub(super) fn external(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("external metrics", format!("kubectl get --raw {EXTERNAL_PATH}"));
    let names = match question.answer(&facts.metrics_api.external) {
        Ok(names) => names,
        Err(finding) => return vec![finding],
    };
    if !names.iter().any(|name| name == EXTERNAL) {
        let remedy =
            "the rule of `rules.external`, and the series that it asks for (`kube_deployment_status_replicas`)";
        let found = format!("{EXTERNAL} is not listed");
        let finding = if is_read(facts, "External", EXTERNAL) {
            question.wrong(found, remedy)
        } else {
            question.warning(found, remedy)
        };
        return vec![finding];
    }
    let namespace = &facts.expected.namespace;
    let value =
        Question::new("external value", format!("kubectl get --raw {EXTERNAL_PATH}/namespaces/{namespace}/{EXTERNAL}"));
    let second = match value.answer(&facts.metrics_api.external_values) {
        Ok(Ok(values)) if values.is_empty() => {
            value.wrong("an empty list", "the series have no label `namespace` with this namespace")
        }
        Ok(Ok(values)) => value.ok(listed(values)),
        Ok(Err(reason)) => value.wrong(reason, "the engine has no such series: is what tells `kube_…` series scraped?"),
        Err(finding) => finding,
    };
    vec![question.ok(listed(names)), second]
}
