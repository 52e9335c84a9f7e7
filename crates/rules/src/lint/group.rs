//! What rules say to one another.
//!
//! Rule: a recorded series is read if any selector could select it by its name.

use std::collections::{BTreeMap, BTreeSet};

use datamodel::METRIC_NAME;
use promql::{Expr, VectorSelector};

use super::{Check, Finding, Reader, finding};
use crate::rule::{Rule, RuleGroup};

/// Whether it alerts, the name, the labels.
type RuleIdentity<'a> = (bool, &'a str, Vec<(String, String)>);

/// Rules with one name and one set of labels.
pub(super) fn duplicates(groups: &[RuleGroup]) -> Vec<Finding> {
    let mut seen: BTreeMap<RuleIdentity<'_>, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for group in groups {
        for rule in &group.rules {
            let (is_alert, mut labels) = match rule {
                Rule::Recording(rule) => (false, rule.labels.clone()),
                Rule::Alerting(rule) => {
                    let text = |(name, template): &(String, crate::template::Template)| {
                        (name.clone(), template.text().to_owned())
                    };
                    (true, rule.labels.iter().map(text).collect())
                }
            };
            labels.sort();
            let count = seen.entry((is_alert, rule.name(), labels)).or_default();
            *count += 1;
            if *count == 2 {
                let message = "another rule has the same name and labels: their series collide".to_owned();
                findings.push(finding(Check::DuplicateRules, group, rule, message));
            }
        }
    }
    findings
}

/// Whether a selector could select series of this name.
pub(super) fn selects(selector: &VectorSelector, name: &str) -> bool {
    let mut tests = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).peekable();
    // A selector without a name is for something else than one recorded series.
    tests.peek().is_some() && tests.all(|matcher| matcher.matches(name))
}

pub(super) fn reads(expr: &Expr, name: &str) -> bool {
    expr.selectors().any(|selector| selects(selector, name))
}

/// Recorded series that neither rules nor readers read.
pub(super) fn unread(groups: &[RuleGroup], readers: &[Reader]) -> Vec<Finding> {
    let rules = || groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for (group, rule) in rules() {
        let Rule::Recording(recording) = rule else { continue };
        let name = recording.record.as_str();
        let is_read = rules().any(|(_, other)| reads(&other.query().expr, name) || mentions(other, name));
        if is_read || readers.iter().any(|reader| reader.reads(name)) || !told.insert(name) {
            continue;
        }
        let message = "no rule, alert or given reader reads this series".to_owned();
        findings.push(finding(Check::UnreadRecordingRule, group, rule, message));
    }
    findings
}

/// Whether a template of an alert names the series, as `query` does.
fn mentions(rule: &Rule, name: &str) -> bool {
    match rule {
        Rule::Recording(_) => false,
        Rule::Alerting(rule) => {
            rule.labels.iter().chain(&rule.annotations).any(|(_, template)| template.text().contains(name))
        }
    }
}

/// The lines of the rules of a file, by group and place in it.
#[must_use]
pub fn rule_lines(file: &str, text: &str) -> Vec<Vec<usize>> {
    let Ok(document) = yaml::parse(file, text) else { return Vec::new() };
    let groups = document.root().get("groups").and_then(yaml::Node::as_sequence).unwrap_or_default();
    groups
        .iter()
        .map(|group| {
            let rules = group.get("rules").and_then(yaml::Node::as_sequence).unwrap_or_default();
            rules.iter().map(|rule| rule.position.line).collect()
        })
        .collect()
}
