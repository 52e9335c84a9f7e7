//! The document of file and HTTP discovery: a list of groups, in YAML or JSON.
//!
//! ```yaml
//! - targets: ["10.0.0.1:2269", "10.0.0.2:2269"]
//!   labels: { zone: a }
//! ```
//!
//! Rule: a document is taken as a whole or not at all.

use datamodel::Labels;
use yaml::decoders::{list, map, string};
use yaml::{Node, Report};

use crate::{ADDRESS, TargetGroup};

/// The most targets that one discoverer may report: some ten times the pods of the largest clusters that
/// one engine scrapes.
pub const MAX_TARGETS: usize = 100_000;

/// Reads the groups of a document. The groups get the sources `origin:0`, `origin:1`, … and the label
/// `origin_label` with the origin as its value.
///
/// # Errors
///
/// The document is malformed, has unknown keys, or too many targets; all errors at once, with positions.
pub fn parse_groups(origin: &str, origin_label: &str, text: &str) -> Result<Vec<TargetGroup>, yaml::Errors> {
    yaml::decode(origin, text, |node, report| {
        let mut groups = list(group)(node, report)?;
        let count: usize = groups.iter().map(|(targets, _)| targets.len()).sum();
        if count > MAX_TARGETS {
            report.error(node, format!("{count} targets are more than {MAX_TARGETS}"));
            return None;
        }
        for (_, labels) in &mut groups {
            labels.push((origin_label.to_owned(), origin.to_owned()));
        }
        Some(to_groups(origin, groups))
    })
}

/// Targets and labels of a group, as its text says them.
pub(crate) type Group = (Vec<Labels>, Vec<(String, String)>);

/// Groups with the sources `origin:0`, `origin:1`, …
pub(crate) fn to_groups(origin: &str, groups: Vec<Group>) -> Vec<TargetGroup> {
    let named = |(index, (targets, labels)): (usize, Group)| {
        let labels = Labels::from_pairs(labels);
        TargetGroup { source: format!("{origin}:{index}").into(), labels, targets }
    };
    groups.into_iter().enumerate().map(named).collect()
}

/// Reads one group.
pub(crate) fn group(node: &Node, report: &mut Report) -> Option<Group> {
    if node.is_null() {
        report.expected(node, "a group with `targets`");
        return None;
    }
    yaml::mapping(node, report, |fields| {
        let targets = fields.optional("targets", list(address)).unwrap_or_default();
        let labels = fields.optional("labels", map(string)).unwrap_or_default();
        if labels.iter().any(|(name, _)| name.is_empty()) {
            fields.error("labels", "label names must not be empty");
        }
        Some((targets, labels))
    })
}

fn address(node: &Node, report: &mut Report) -> Option<Labels> {
    let address = string(node, report)?;
    if address.is_empty() {
        report.expected(node, "an address");
        return None;
    }
    Some(Labels::from_pairs([(ADDRESS, address)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_mean_the_same() {
        let yaml = "- targets: [\"a:1\", b:2]\n  labels: {zone: x, n: 5}\n- targets: []\n";
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"zone": "x", "n": "5"}}, {"targets": []}]"#;
        for text in [yaml, json] {
            let groups = parse_groups("f.yml", "__meta_filepath", text).unwrap();
            assert_eq!(groups.iter().map(|group| &*group.source).collect::<Vec<_>>(), ["f.yml:0", "f.yml:1"]);
            let expected = Labels::from_pairs([("zone", "x"), ("n", "5"), ("__meta_filepath", "f.yml")]);
            assert_eq!(groups[0].labels, expected);
            assert_eq!(groups[0].targets, ["a:1", "b:2"].map(|address| Labels::from_pairs([(ADDRESS, address)])));
            assert!(groups[1].targets.is_empty());
        }
        assert_eq!(parse_groups("f.yml", "l", ""), Ok(vec![]));
    }

    #[test]
    fn wrong_documents_are_refused_with_every_error() {
        let error = |text: &str| parse_groups("f.yml", "l", text).unwrap_err().to_string();
        assert_eq!(
            error("- target: [a]\n  labels: {\"\": x}\n- null\n- targets: [\"\", [b]]\n"),
            "f.yml:1:3: [0].target: unknown key (did you mean `targets`?)\n\
             f.yml:2:11: [0].labels: label names must not be empty\n\
             f.yml:3:3: [1]: expected a group with `targets`, found null\n\
             f.yml:4:13: [2].targets[0]: expected an address, found the string ``\n\
             f.yml:4:17: [2].targets[1]: expected a string, found a list"
        );
        assert_eq!(error("a: b"), "f.yml:1:1: expected a list, found a mapping");
    }
}
