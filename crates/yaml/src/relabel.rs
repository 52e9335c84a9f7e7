//! `relabel_configs` and its like: rules that rewrite labels.
//!
//! Rule: a rule that comes out of here can be compiled; what stands in its way was reported at its key.

use std::error::Error as _;

use datamodel::relabel::{RelabelAction, RelabelConfig, RelabelError, RelabelRule};

use crate::decoders::{integer, list, one_of, string};
use crate::fields::mapping;
use crate::node::Node;
use crate::report::Report;

/// A list of relabelling rules.
pub fn relabel_configs(node: &Node, report: &mut Report) -> Option<Vec<RelabelConfig>> {
    list(relabel_config)(node, report)
}

/// One relabelling rule, checked: [`RelabelRule::new`] takes it.
pub fn relabel_config(node: &Node, report: &mut Report) -> Option<RelabelConfig> {
    if node.is_null() {
        report.expected(node, "a relabelling rule");
        return None;
    }
    mapping(node, report, |fields| {
        let source_labels = fields.optional("source_labels", list(label_name)).unwrap_or_default();
        let separator = fields.optional("separator", string);
        let regex = fields.optional("regex", string);
        let modulus = fields.optional("modulus", integer::<u64>);
        let target_label = fields.optional("target_label", string);
        let replacement = fields.optional("replacement", string);
        let errors = fields.report().error_count();
        let action = fields.or("action", action, RelabelAction::default());
        let config = RelabelConfig { source_labels, separator, regex, modulus, target_label, replacement, action };
        // A rule whose action is unknown needs no further remarks.
        if fields.report().error_count() == errors {
            match RelabelRule::new(config.clone()) {
                Ok(_rule) => {}
                Err(error @ RelabelError::Regex(_)) => {
                    fields.error("regex", error.source().unwrap_or(&error).to_string());
                }
                Err(error) => fields.error_here(error.to_string()),
            }
        }
        Some(config)
    })
}

fn action(node: &Node, report: &mut Report) -> Option<RelabelAction> {
    let text = string(node, report)?;
    RelabelAction::parse(&text).ok().or_else(|| {
        let choices: Vec<(&str, RelabelAction)> =
            RelabelAction::ALL.iter().map(|action| (action.as_str(), *action)).collect();
        one_of(&choices)(node, report)
    })
}

fn label_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = string(node, report)?;
    if name.is_empty() {
        report.expected(node, "a label name");
        return None;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn rules_are_read_with_their_defaults() {
        let text = "- source_labels: [a, __meta_b]\n  regex: (.+);(.+)\n  target_label: c\n  replacement: $1-$2\n\
                    - {action: LabelDrop, regex: tmp_.*}\n- {action: hashmod, source_labels: [a], modulus: 8, target_label: m}\n";
        let rules = decode("f", text, relabel_configs).unwrap();
        assert_eq!(rules[0].source_labels, ["a", "__meta_b"]);
        assert_eq!(rules[0].replacement.as_deref(), Some("$1-$2"));
        assert_eq!(rules[0].action, RelabelAction::Replace);
        assert_eq!(rules[1].action, RelabelAction::LabelDrop);
        assert_eq!(rules[2].modulus, Some(8));
        assert_eq!(decode("f", "", relabel_configs), Ok(vec![]));
    }

    #[test]
    fn wrong_rules_are_refused_at_their_keys() {
        let text = "- {action: kep, regex: a}\n- {action: keep, regex: (}\n- source_labels: [\"\"]\n- ~\n\
                    - {action: keep, sourcelabels: [a]}\n";
        let errors = decode("f", text, relabel_configs).unwrap_err().to_string();
        let expected = [
            "f:1:12: [0].action: expected one of `replace`, `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, \
             `labelmap`, `labeldrop`, `labelkeep`, `lowercase`, `uppercase`, found `kep` (did you mean `keep`?)",
            "f:2:25: [1].regex: ",
            "f:3:3: [2]: relabel action `replace` needs a `target_label`",
            "f:3:19: [2].source_labels[0]: expected a label name, found the string ``",
            "f:4:3: [3]: expected a relabelling rule, found null",
            "f:5:18: [4].sourcelabels: unknown key (did you mean `source_labels`?)",
        ];
        assert_eq!(errors.lines().count(), expected.len(), "{errors}");
        for (line, expected) in errors.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}, expected {expected}");
        }
    }
}
