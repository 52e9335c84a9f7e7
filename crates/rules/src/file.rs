//! Rule files, as Prometheus reads them.
//!
//! Rule: a file is good as a whole or reported as a whole, every error with line and key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datamodel::METRIC_NAME;
use promql::Features;
use yaml::decoders::{duration, integer, list, map, string};
use yaml::{Fields, Node, Report};

use crate::rule::{AlertingRule, Query, RecordingRule, Rule, RuleGroup};
use crate::template::Template;

/// Reads a rule file. Expressions are parsed with the given features.
///
/// # Errors
///
/// Everything that is wrong with the file: syntax, unknown keys, expressions, templates, names.
pub fn parse_rule_file(file: &str, text: &str, features: &Features) -> Result<Vec<RuleGroup>, yaml::Errors> {
    let source: Arc<str> = Arc::from(file);
    yaml::decode(file, text, |node, report| {
        yaml::mapping(node, report, |fields| {
            let mut names = BTreeSet::new();
            let group = |node: &Node, report: &mut Report| group(node, report, &source, features, &mut names);
            fields.optional("groups", list(group)).or_else(|| (!fields.has("groups")).then(Vec::new))
        })
    })
}

fn group(
    node: &Node,
    report: &mut Report,
    file: &Arc<str>,
    features: &Features,
    names: &mut BTreeSet<String>,
) -> Option<RuleGroup> {
    yaml::mapping(node, report, |fields| {
        let name = fields.required("name", string);
        if let Some(name) = &name {
            if name.is_empty() {
                fields.error("name", "group name must not be empty");
            } else if !names.insert(name.clone()) {
                fields.error("name", format!("group name is used twice in the file: `{name}`"));
            }
        }
        let interval = fields.optional("interval", duration);
        let query_offset = fields.optional("query_offset", duration);
        let limit = fields.or("limit", integer::<u32>, 0);
        let labels = labels(fields);
        let rule = |node: &Node, report: &mut Report| rule(node, report, &labels, features);
        let rules = fields.optional("rules", list(rule)).unwrap_or_default();
        Some(RuleGroup {
            file: Arc::clone(file),
            name: Arc::from(name?),
            // Zero is the default interval, as upstream.
            interval: interval.filter(|interval| !interval.is_zero()),
            query_offset,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            rules,
        })
    })
}

/// The labels of a group or rule, in the order of the text.
fn labels(fields: &mut Fields<'_, '_>) -> Vec<(String, String)> {
    let labels = fields.optional("labels", map(string)).unwrap_or_default();
    for (name, _) in &labels {
        if name.is_empty() || name == METRIC_NAME {
            fields.error("labels", format!("invalid label name: `{name}`"));
        }
    }
    labels
}

fn rule(node: &Node, report: &mut Report, group_labels: &[(String, String)], features: &Features) -> Option<Rule> {
    yaml::mapping(node, report, |fields| {
        let record = fields.optional("record", string).filter(|name| !name.is_empty());
        let alert = fields.optional("alert", string).filter(|name| !name.is_empty());
        let query = fields.required("expr", |node, report| query(node, report, features));
        let mut own = labels(fields);
        let for_duration = fields.optional("for", duration);
        let keep_firing_for = fields.optional("keep_firing_for", duration);
        let annotations = fields.optional("annotations", map(string)).unwrap_or_default();
        for (name, _) in &annotations {
            if name.is_empty() {
                fields.error("annotations", "invalid annotation name: ``");
            }
        }
        let inherited = group_labels.iter().filter(|(name, _)| !own.iter().any(|(of_rule, _)| of_rule == name));
        let mut labels: Vec<(String, String)> = inherited.cloned().collect();
        labels.append(&mut own);
        match (record, alert) {
            (Some(_), Some(_)) => {
                fields.error_here("only one of `record` and `alert` can be set");
                None
            }
            (None, None) => {
                fields.error_here("one of `record` and `alert` must be set");
                None
            }
            (Some(record), None) => {
                recording_rule_keys(fields, &record);
                Some(Rule::Recording(RecordingRule { record, query: query?, labels }))
            }
            (None, Some(alert)) => {
                let labels = templates(fields, "labels", labels);
                let annotations = templates(fields, "annotations", annotations);
                let (for_duration, keep_firing_for) = (or_zero(for_duration), or_zero(keep_firing_for));
                let query = query?;
                Some(Rule::Alerting(AlertingRule { alert, query, for_duration, keep_firing_for, labels, annotations }))
            }
        }
    })
}

fn or_zero(duration: Option<Duration>) -> Duration {
    duration.unwrap_or(Duration::ZERO)
}

/// Refuses what only an alerting rule can have, and names that are an expression by mistake.
fn recording_rule_keys(fields: &mut Fields<'_, '_>, record: &str) {
    for key in ["for", "keep_firing_for", "annotations"] {
        if fields.has(key) {
            fields.error(key, format!("`{key}` belongs to alerting rules only"));
        }
    }
    if record.contains(['{', '}']) {
        fields.error("record", format!("braces in a recording rule's name (should it be in `expr`?): `{record}`"));
    }
}

fn query(node: &Node, report: &mut Report, features: &Features) -> Option<Query> {
    let text = string(node, report)?;
    match promql::parse_with(&text, features) {
        Ok(expr) => Some(Query { text, expr }),
        Err(error) => {
            report.error(node, format!("could not parse expression: {error}"));
            None
        }
    }
}

fn templates(fields: &mut Fields<'_, '_>, key: &str, texts: Vec<(String, String)>) -> Vec<(String, Template)> {
    let mut templates = Vec::with_capacity(texts.len());
    for (name, text) in texts {
        match Template::parse(&text) {
            Ok(template) => templates.push((name, template)),
            Err(error) => fields.error(key, format!("template of `{name}`: {error}")),
        }
    }
    templates
}
