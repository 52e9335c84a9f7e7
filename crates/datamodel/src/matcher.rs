//! Tests on one label: `=`, `!=`, `=~`, `!~`.
//!
//! Rule: an absent label has the empty value.

use std::fmt;
use std::sync::Arc;

use crate::labels::{Labels, Quoted, is_legacy_label_name};
use crate::regex::{Regex, RegexError};

/// The four operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A test on the value of one label.
#[derive(Clone)]
pub struct Matcher {
    name: Arc<str>,
    op: MatchOp,
    value: Arc<str>,
    regex: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher; a regular expression is compiled, anchored at both ends.
    ///
    /// # Errors
    ///
    /// The value is no regular expression of RE2's syntax (only with [`MatchOp::Regex`] and
    /// [`MatchOp::NotRegex`]).
    pub fn new(op: MatchOp, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Result<Self, RegexError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::anchored(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// The matcher `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The label that is tested.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    #[must_use]
    pub const fn op(&self) -> MatchOp {
        self.op
    }

    /// The text behind the operator.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled expression of `=~` and `!~`.
    #[must_use]
    pub const fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether a value passes; the empty text stands for an absent label.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::NotEqual, _) => *self.value != *value,
            _ => *self.value == *value,
        }
    }

    /// Whether a series without this label passes.
    #[must_use]
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }

    /// Whether a label set passes.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write!(f, "{}", Quoted(&self.name))?;
        }
        write!(f, "{}{}", self.op.as_str(), Quoted(&self.value))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_label_is_the_empty_value() {
        let labels = Labels::from_pairs([("job", "asr")]);
        let check = |op, name: &str, value: &str, expected: bool| {
            let matcher = Matcher::new(op, name, value).unwrap();
            assert_eq!(matcher.matches_labels(&labels), expected, "{matcher}");
        };
        check(MatchOp::Equal, "job", "asr", true);
        check(MatchOp::Equal, "pod", "", true);
        check(MatchOp::NotEqual, "pod", "x", true);
        check(MatchOp::Regex, "pod", ".*", true);
        check(MatchOp::Regex, "pod", ".+", false);
        check(MatchOp::Regex, "job", "as", false);
        check(MatchOp::NotRegex, "job", "a.*", false);
    }
}
