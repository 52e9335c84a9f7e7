//! The recording rules of this process, for answers on fresh rows.
//!
//! Rule: a name that two rules write is nobody's: which of them is meant cannot be told.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use datamodel::Labels;
use metrics_api::{Recorded, RecordedRule};
use rules::{Rule, RuleGroup};

/// Knows the recording rules by the names that they write. A clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct RecordingRules(Arc<RwLock<BTreeMap<String, Option<RecordedRule>>>>);

impl RecordingRules {
    /// Forgets the rules that it knows, and takes those of the groups.
    pub fn set(&self, groups: &[RuleGroup]) {
        let mut rules: BTreeMap<String, Option<RecordedRule>> = BTreeMap::new();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            let Rule::Recording(rule) = rule else { continue };
            let labels = Labels::from_pairs(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let recorded = RecordedRule { expr: Arc::new(rule.query.expr.clone()), labels };
            rules.entry(rule.record.clone()).and_modify(|rule| *rule = None).or_insert(Some(recorded));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

impl Recorded for RecordingRules {
    fn rule(&self, metric: &str) -> Option<RecordedRule> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(metric).cloned().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_one_rule_is_known_and_with_two_is_not() {
        let text = "groups: [{name: g, rules: [{record: a, expr: b, labels: {x: y}}, {record: c, expr: b}, \
                    {record: c, expr: d}, {alert: e, expr: b}]}]";
        let rules = RecordingRules::default();
        rules.set(&rules::parse_rule_file("f", text, &promql::Features::DEFAULT).unwrap());
        let found = rules.rule("a").unwrap();
        assert_eq!((found.expr.to_string().as_str(), found.labels.get("x")), ("b", Some("y")));
        assert!(rules.rule("c").is_none() && rules.rule("e").is_none());
    }
}
