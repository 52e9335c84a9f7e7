//! Relabelling: rules that rewrite the labels of a target or a series, or drop it.
//!
//! - [`RelabelConfig`]: a rule as a configuration file says it, every field optional.
//! - [`RelabelRule`]: a checked rule; [`apply`] runs rules one after the other.
//!
//! Rule: what Prometheus does with a rule, or refuses in one, this does or refuses; a label set to the empty
//! value is removed.

use std::fmt;

use md5::{Digest, Md5};

use crate::labels::LabelsBuilder;
use crate::regex::{Regex, RegexError};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Sets the target label to the replacement where the regex matches.
    #[default]
    Replace,
    /// Drops where the regex does not match.
    Keep,
    /// Drops where the regex matches.
    Drop,
    /// Drops where the source is not the value of the target label.
    KeepEqual,
    /// Drops where the source is the value of the target label.
    DropEqual,
    /// Sets the target label to a hash of the source, modulo `modulus`.
    HashMod,
    /// Copies the labels whose names match to the names that the replacement gives.
    LabelMap,
    /// Removes the labels whose names match.
    LabelDrop,
    /// Removes the labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl RelabelAction {
    /// All actions.
    pub const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// The word of configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// Reads the word of a configuration file, in any case.
    ///
    /// # Errors
    ///
    /// The word names no action.
    pub fn parse(word: &str) -> Result<Self, RelabelError> {
        let lower = word.to_lowercase();
        let action = Self::ALL.into_iter().find(|action| action.as_str() == lower);
        action.ok_or_else(|| RelabelError::Action(word.to_owned()))
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// The word names no action.
    #[error("unknown relabel action: `{0}`")]
    Action(String),
    /// The regex breaks the syntax.
    #[error("invalid `regex`")]
    Regex(#[source] RegexError),
    /// `hashmod` without a modulus.
    #[error("relabel action `hashmod` needs a `modulus` above zero")]
    Modulus,
    /// The action needs a target label.
    #[error("relabel action `{0}` needs a `target_label`")]
    NoTarget(RelabelAction),
    /// The action takes no other fields than these.
    #[error("relabel action `{action}` takes only {allowed}")]
    Fields {
        /// The action.
        action: RelabelAction,
        /// The fields that it takes.
        allowed: &'static str,
    },
    /// The action takes no replacement.
    #[error("relabel action `{0}` takes no `replacement`")]
    Replacement(RelabelAction),
    /// `labelmap` with an empty replacement.
    #[error("relabel action `labelmap` needs a `replacement` that names a label")]
    EmptyReplacement,
}

/// A rule as a configuration file says it; what is absent has Prometheus' default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelabelConfig {
    /// The labels whose values, joined by the separator, are the source; by default none.
    pub source_labels: Vec<String>,
    /// Between the source values; by default `;`.
    pub separator: Option<String>,
    /// What the source (or the label name) must match as a whole; by default `(.*)`.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: Option<u64>,
    /// The label that is set; for `replace` it may hold `$1` and the like.
    pub target_label: Option<String>,
    /// The value (for `labelmap` the name) that is set, with `$1` and the like; by default `$1`.
    pub replacement: Option<String>,
    /// The action; by default `replace`.
    pub action: RelabelAction,
}

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// A checked rule.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: RelabelAction,
    /// Set when the rule writes a fixed value whatever the source is.
    constant: bool,
}

/// What becomes of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on with its changed labels.
    Keep,
    /// It is dropped; its labels are in no defined state.
    Drop,
}

impl RelabelRule {
    /// Checks a rule.
    ///
    /// # Errors
    ///
    /// The regex is malformed, or the action lacks a field or has one that it does not take.
    pub fn new(config: RelabelConfig) -> Result<Self, RelabelError> {
        use RelabelAction as A;
        let action = config.action;
        let target = config.target_label.unwrap_or_default();
        let separator = config.separator.unwrap_or_else(|| DEFAULT_SEPARATOR.to_owned());
        let replacement = config.replacement.unwrap_or_else(|| DEFAULT_REPLACEMENT.to_owned());
        let regex = config.regex.unwrap_or_else(|| DEFAULT_REGEX.to_owned());
        let modulus = config.modulus.unwrap_or(0);
        let plain = separator == DEFAULT_SEPARATOR && replacement == DEFAULT_REPLACEMENT && modulus == 0;
        match action {
            A::HashMod if modulus == 0 => return Err(RelabelError::Modulus),
            A::Replace | A::HashMod | A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
                if target.is_empty() =>
            {
                return Err(RelabelError::NoTarget(action));
            }
            A::Lowercase | A::Uppercase if replacement != DEFAULT_REPLACEMENT => {
                return Err(RelabelError::Replacement(action));
            }
            A::KeepEqual | A::DropEqual if !plain || regex != DEFAULT_REGEX => {
                return Err(RelabelError::Fields { action, allowed: "`source_labels` and `target_label`" });
            }
            A::LabelDrop | A::LabelKeep if !plain || !target.is_empty() || !config.source_labels.is_empty() => {
                return Err(RelabelError::Fields { action, allowed: "`regex`" });
            }
            A::LabelMap if replacement.is_empty() => return Err(RelabelError::EmptyReplacement),
            _ => {}
        }
        let constant = regex == DEFAULT_REGEX && !target.contains('$') && !replacement.contains('$');
        let regex = Regex::anchored(&regex).map_err(RelabelError::Regex)?;
        let source_labels = config.source_labels;
        Ok(Self { source_labels, separator, regex, modulus, target_label: target, replacement, action, constant })
    }

    /// What the rule does.
    #[must_use]
    pub const fn action(&self) -> RelabelAction {
        self.action
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.get(name).unwrap_or("")).collect();
        values.join(&self.separator)
    }

    /// Applies the rule.
    #[must_use]
    pub fn apply(&self, labels: &mut LabelsBuilder) -> Verdict {
        let keep_if = |keep: bool| if keep { Verdict::Keep } else { Verdict::Drop };
        let source = self.source(labels);
        match self.action {
            RelabelAction::Keep => return keep_if(self.regex.is_match(&source)),
            RelabelAction::Drop => return keep_if(!self.regex.is_match(&source)),
            RelabelAction::KeepEqual => return keep_if(labels.get(&self.target_label).unwrap_or("") == source),
            RelabelAction::DropEqual => return keep_if(labels.get(&self.target_label).unwrap_or("") != source),
            RelabelAction::Replace => self.replace(labels, &source),
            RelabelAction::HashMod => {
                labels.set(&self.target_label, &self.hash(&source).to_string());
            }
            RelabelAction::Lowercase => {
                labels.set(&self.target_label, &source.to_lowercase());
            }
            RelabelAction::Uppercase => {
                labels.set(&self.target_label, &source.to_uppercase());
            }
            RelabelAction::LabelMap => self.map_names(labels),
            RelabelAction::LabelDrop => {
                labels.retain(|name, _| !self.regex.is_match(name));
            }
            RelabelAction::LabelKeep => {
                labels.retain(|name, _| self.regex.is_match(name));
            }
        }
        Verdict::Keep
    }

    fn replace(&self, labels: &mut LabelsBuilder, source: &str) {
        if self.constant {
            labels.set(&self.target_label, &self.replacement);
            return;
        }
        let Some(captures) = self.regex.captures(source) else { return };
        let target = captures.expand(&self.target_label);
        if !target.is_empty() {
            labels.set(&target, &captures.expand(&self.replacement));
        }
    }

    /// The last eight bytes of the MD5 sum, big end first, modulo the modulus.
    fn hash(&self, source: &str) -> u64 {
        let sum: [u8; 16] = Md5::digest(source.as_bytes()).into();
        let last = u128::from_be_bytes(sum) & u128::from(u64::MAX);
        // What is left of the mask fits; the modulus was checked to be above zero.
        u64::try_from(last).unwrap_or(u64::MAX).checked_rem(self.modulus).unwrap_or_default()
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let renamed = |(name, value): (&str, &str)| {
            let captures = self.regex.captures(name)?;
            Some((captures.expand(&self.replacement), value.to_owned()))
        };
        let pairs: Vec<(String, String)> = labels.iter().filter_map(renamed).collect();
        for (name, value) in pairs {
            if !name.is_empty() {
                labels.set(&name, &value);
            }
        }
    }
}

/// Applies rules one after the other, until one drops.
#[must_use]
pub fn apply(labels: &mut LabelsBuilder, rules: &[RelabelRule]) -> Verdict {
    if rules.iter().any(|rule| rule.apply(labels) == Verdict::Drop) { Verdict::Drop } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::labels::Labels;

    fn config(action: RelabelAction) -> RelabelConfig {
        RelabelConfig { action, ..RelabelConfig::default() }
    }

    /// A rule in the order: action, source labels, regex, target, replacement; empty means absent.
    fn rule(action: RelabelAction, sources: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelConfig {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RelabelConfig {
            source_labels: sources.iter().map(|&name| name.to_owned()).collect(),
            regex: given(regex),
            target_label: given(target),
            replacement: given(replacement),
            ..config(action)
        }
    }

    #[test]
    fn replace_writes_what_the_captures_say() {
        let replace = |sources: &[&str], regex: &str, target: &str, replacement: &str| {
            rule(RelabelAction::Replace, sources, regex, target, replacement)
        };
        check(replace(&["a"], "f(.*)", "d", "ch${1}-ch${1}"), "{a=\"foo\", b=\"bar\", d=\"choo-choo\"}");
        check(replace(&["a", "b"], "(.+);(.+)", "${2}_x", "$1"), "{a=\"foo\", b=\"bar\", bar_x=\"foo\"}");
        check(replace(&["a"], "(?P<rest>.+)", "d", "$rest$$"), "{a=\"foo\", b=\"bar\", d=\"foo$\"}");
        check(replace(&["a"], "f", "d", "x"), "{a=\"foo\", b=\"bar\"}");
        check(replace(&["a"], "", "b", "$2"), "{a=\"foo\"}");
        check(replace(&["none"], "", "b", "x"), "{a=\"foo\", b=\"x\"}");
        check(replace(&["none"], "(x)?", "$1", "x"), "{a=\"foo\", b=\"bar\"}");
        check(replace(&["a"], "", "${1}.x", ""), "{a=\"foo\", b=\"bar\", \"foo.x\"=\"foo\"}");
    }

    #[test]
    fn keep_and_drop_look_at_the_whole_source() {
        use RelabelAction as A;
        check(rule(A::Keep, &["a"], "fo+", "", ""), "{a=\"foo\", b=\"bar\"}");
        check(rule(A::Keep, &["a"], "fo", "", ""), "dropped");
        check(rule(A::Keep, &["a", "b"], "foo;bar", "", ""), "{a=\"foo\", b=\"bar\"}");
        check(rule(A::Drop, &["a"], "o", "", ""), "{a=\"foo\", b=\"bar\"}");
        check(rule(A::Drop, &["a"], ".*o.*", "", ""), "dropped");
        check(rule(A::KeepEqual, &["a"], "", "b", ""), "dropped");
        check(rule(A::KeepEqual, &["none"], "", "absent", ""), "{a=\"foo\", b=\"bar\"}");
        check(rule(A::DropEqual, &["a"], "", "b", ""), "{a=\"foo\", b=\"bar\"}");
        check(rule(A::DropEqual, &["b"], "", "b", ""), "dropped");
    }

    #[test]
    fn names_are_mapped_kept_and_dropped() {
        use RelabelAction as A;
        check(rule(A::LabelMap, &[], "(a|b)", "", "meta_$1"), "{a=\"foo\", b=\"bar\", meta_a=\"foo\", meta_b=\"bar\"}");
        check(rule(A::LabelMap, &[], "a", "", "b"), "{a=\"foo\", b=\"foo\"}");
        check(rule(A::LabelDrop, &[], "a", "", ""), "{b=\"bar\"}");
        check(rule(A::LabelKeep, &[], "a|c", "", ""), "{a=\"foo\"}");
        check(rule(A::Uppercase, &["a"], "", "b", ""), "{a=\"foo\", b=\"FOO\"}");
        check(rule(A::Lowercase, &["a", "b"], "", "a", ""), "{a=\"foo;bar\", b=\"bar\"}");
    }

    #[test]
    fn hashmod_is_that_of_prometheus() {
        let hashmod = RelabelConfig { modulus: Some(1000), ..rule(RelabelAction::HashMod, &["a"], "", "m", "") };
        // md5("foo") = acbd18db4cc2f85c edef654fccc4a4d8; 0xedef654fccc4a4d8 mod 1000 = 696.
        check(hashmod, "{a=\"foo\", b=\"bar\", m=\"696\"}");
    }

    #[test]
    fn wrong_rules_are_refused() {
        use RelabelAction as A;
        let refuse = |config: RelabelConfig, reason: &str| {
            assert_eq!(RelabelRule::new(config).unwrap_err().to_string(), reason);
        };
        refuse(config(A::Replace), "relabel action `replace` needs a `target_label`");
        refuse(config(A::HashMod), "relabel action `hashmod` needs a `modulus` above zero");
        refuse(rule(A::Uppercase, &[], "", "a", "x"), "relabel action `uppercase` takes no `replacement`");
        refuse(
            rule(A::KeepEqual, &["a"], "x", "a", ""),
            "relabel action `keepequal` takes only `source_labels` and `target_label`",
        );
        refuse(rule(A::LabelDrop, &["a"], "x", "", ""), "relabel action `labeldrop` takes only `regex`");
        let empty = RelabelConfig { replacement: Some(String::new()), ..config(A::LabelMap) };
        refuse(empty, "relabel action `labelmap` needs a `replacement` that names a label");
        let error = RelabelRule::new(rule(A::Keep, &[], "(", "", "")).unwrap_err();
        assert!(error.source().unwrap().to_string().starts_with("invalid regular expression `(`"));
        assert_eq!(A::parse("ReplaCe"), Ok(A::Replace));
        assert_eq!(A::parse("x").unwrap_err().to_string(), "unknown relabel action: `x`");
    }

    #[test]
    fn rules_run_until_one_drops() {
        let rules = [
            rule(RelabelAction::Replace, &["a"], "", "c", ""),
            rule(RelabelAction::Drop, &["c"], "foo", "", ""),
            rule(RelabelAction::Replace, &[], "", "never", "x"),
        ]
        .map(|config| RelabelRule::new(config).unwrap());
        let mut labels = LabelsBuilder::default();
        labels.set("a", "foo");
        assert_eq!(apply(&mut labels, &rules), Verdict::Drop);
        assert_eq!(labels.get("never"), None);
        labels.set("a", "bar");
        assert_eq!(apply(&mut labels, &rules), Verdict::Keep);
        assert_eq!(labels.get("never"), Some("x"));
    }

    fn check(config: RelabelConfig, expected: &str) {
        let mut labels = LabelsBuilder::new(&Labels::from_pairs([("a", "foo"), ("b", "bar")]));
        let verdict = RelabelRule::new(config).unwrap().apply(&mut labels);
        let result = if verdict == Verdict::Keep { labels.build().to_string() } else { "dropped".to_owned() };
        assert_eq!(result, expected);
    }
}
