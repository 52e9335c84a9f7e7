//! The recording and alerting rules: are they loaded, do they evaluate, does one fire?

use std::time::Duration;

use datamodel::rfc3339::parse_rfc3339;
use datamodel::time::format_duration;

use super::super::facts::{Facts, Rule, RuleGroup};
use super::super::finding::{Finding, Question, listed};
use crate::printer::clean;

/// Rules that fail, or fire, and are told one by one.
const MAX_TOLD: usize = 20;

/// Seconds of a document as a duration; what is none of it is zero.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// All rules with their groups.
pub(super) fn all(facts: &Facts) -> impl Iterator<Item = (&RuleGroup, &Rule)> {
    let groups = facts.prometheus.rules.known().map(Vec::as_slice).unwrap_or_default();
    groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
}

/// The rules that should be there are.
pub(super) fn loaded(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("rules loaded", "/api/v1/rules: recording and alerting rules of the setup");
    if let Err(finding) = question.answer(&facts.prometheus.rules) {
        return vec![finding];
    }
    let has = |kind: &str, name: &str| all(facts).any(|(_, rule)| rule.kind == kind && rule.name == name);
    let expected = &facts.expected;
    let missing = |kind: &str, names: &[String]| -> Vec<String> {
        names.iter().filter(|name| !has(kind, name)).cloned().collect()
    };
    let (rules, alerts) = (missing("recording", &expected.rules), missing("alerting", &expected.alerts));
    let remedy = "is the file named in `rule_files`, or the PrometheusRule selected (`ruleSelector`, \
                  `additionalPrometheusRulesMap`)? `crescendo check rules FILE` names what is wrong in it; `--rules FILE` \
                  says which rules are expected here";
    let mut findings = Vec::new();
    if !rules.is_empty() {
        findings.push(question.wrong(format!("no recording rule {}", listed(&rules)), remedy));
    }
    if !alerts.is_empty() {
        findings.push(question.wrong(format!("no alerting rule {}", listed(&alerts)), remedy));
    }
    if findings.is_empty() {
        let (rules, alerts) = (expected.rules.len(), expected.alerts.len());
        findings.push(question.ok(format!("all {rules} recording and {alerts} alerting rules")));
    }
    findings
}

/// All rules evaluate, in time.
pub(super) fn healthy(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("rules healthy", "/api/v1/rules: health and time of the last evaluation");
    let groups = match question.answer(&facts.prometheus.rules) {
        Ok(groups) => groups,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for (group, rule) in all(facts).filter(|(_, rule)| rule.health == "err").take(MAX_TOLD) {
        findings.push(question.wrong(
            format!("`{}` of group `{}` fails: {}", rule.name, group.name, clean(&rule.last_error)),
            "ask its expression by `crescendo query instant`; labels that meet twice, or a limit",
        ));
    }
    let slow: Vec<&str> = groups
        .iter()
        .filter(|group| group.interval > 0.0 && group.evaluation_time > group.interval)
        .map(|group| group.name.as_str())
        .collect();
    if !slow.is_empty() {
        findings.push(question.warning(
            format!("evaluated for longer than their interval: {}", listed(&slow)),
            "fewer series, cheaper expressions, or a longer `interval` of the group",
        ));
    }
    // The year 1 stands for never.
    let last = |group: &RuleGroup| parse_rfc3339(&group.last_evaluation).filter(|at| at.unix_ms() > 0);
    let new: Vec<&str> = groups.iter().filter(|group| last(group).is_none()).map(|group| group.name.as_str()).collect();
    if !new.is_empty() {
        findings.push(question.warning(format!("not evaluated yet: {}", listed(&new)), "ask again after one interval"));
    }
    // One evaluation is under way, one was missed.
    let late = |group: &&RuleGroup| {
        let after = last(group).map(|at| facts.now.since(at));
        after.is_some_and(|after| after > seconds(group.interval).saturating_mul(3).max(Duration::from_secs(10)))
    };
    let late: Vec<&str> = groups.iter().filter(late).map(|group| group.name.as_str()).collect();
    if !late.is_empty() {
        findings.push(question.wrong(
            format!("not evaluated for three intervals: {}", listed(&late)),
            "the server has no CPU, or has just begun: `prometheus_rule_group_iterations_missed_total`; do the clocks agree?",
        ));
    }
    if findings.is_empty() {
        let intervals: Vec<String> = groups
            .iter()
            .map(|group| format!("{} every {}", group.name, format_duration(seconds(group.interval))))
            .collect();
        findings.push(match all(facts).count() {
            0 => question.not_checked("there are no rules"),
            count => question.ok(format!("{count} evaluate without error ({})", listed(&intervals))),
        });
    }
    findings
}

/// Alerts that fire are a reason to look.
pub(super) fn alerts(facts: &Facts) -> Vec<Finding> {
    let question = Question::new("alerts", "/api/v1/rules: alerts that fire");
    if let Err(finding) = question.answer(&facts.prometheus.rules) {
        return vec![finding];
    }
    let in_state = |state: &str| -> Vec<String> {
        let mut names: Vec<String> =
            all(facts).filter(|(_, rule)| rule.state == state).map(|(_, rule)| rule.name.clone()).collect();
        names.sort();
        names
    };
    let (firing, pending) = (in_state("firing"), in_state("pending"));
    let finding = if firing.is_empty() {
        let pending = if pending.is_empty() { String::new() } else { format!("; pending: {}", listed(&pending)) };
        question.ok(format!("none fires{pending}"))
    } else {
        question.warning(format!("firing: {}", listed(&firing)), "/alerts says since when, and for which labels")
    };
    vec![finding]
}
