//! Which series a rule takes, and what their metric is called.
//!
//! Rule: expressions are unanchored, as in Go.

use datamodel::labels::Quoted;
use datamodel::regex::{Regex, RegexError};

/// Why a filter or a name mapping cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A filter has both expressions.
    #[error("cannot have both an `is` (\"{is}\") and `isNot` (\"{is_not}\") expression in a single filter")]
    BothFilters {
        /// The one.
        is: String,
        /// The other.
        is_not: String,
    },
    /// A filter has no expression.
    #[error("must have either an `is` or `isNot` expression in a filter")]
    NoFilter,
    /// `matches` has several groups, so that there is no obvious name.
    #[error("must specify an 'as' value for name matcher \"{0}\"")]
    AmbiguousName(String),
    /// `as` refers only to groups that `matches` does not have.
    #[error(
        "`as` \"{name_as}\" always gives an empty name: `matches` has no such group (text behind one: `${{1}}_text`)"
    )]
    EmptyName {
        /// The template.
        name_as: String,
    },
    /// The series is not one of the rule.
    #[error("series name {} did not match expected pattern {}", Quoted(series), Quoted(pattern))]
    NoMatch {
        /// The series.
        series: String,
        /// The expression.
        pattern: String,
    },
    /// The series is one of the rule, but its groups are empty.
    #[error("series name {} gives an empty metric name", Quoted(.0))]
    EmptyNameOf(String),
    /// An expression is none.
    #[error(transparent)]
    Pattern(#[from] RegexError),
}

/// Keeps or drops series by their name.
#[derive(Clone, Debug)]
pub(crate) struct SeriesFilter {
    pattern: Regex,
    positive: bool,
}

impl SeriesFilter {
    /// Builds a filter from the two fields of the configuration, of which exactly one has a text.
    pub(crate) fn new(is: &str, is_not: &str) -> Result<Self, NameError> {
        match (is.is_empty(), is_not.is_empty()) {
            (false, false) => Err(NameError::BothFilters { is: is.to_owned(), is_not: is_not.to_owned() }),
            (true, true) => Err(NameError::NoFilter),
            (false, true) => Ok(Self { pattern: Regex::unanchored(is)?, positive: true }),
            (true, false) => Ok(Self { pattern: Regex::unanchored(is_not)?, positive: false }),
        }
    }

    pub(crate) fn keeps(&self, series: &str) -> bool {
        self.pattern.is_match(series) == self.positive
    }
}

/// Gives the metric name of a series.
#[derive(Clone, Debug)]
pub(crate) struct MetricName {
    matches: Regex,
    name_as: String,
}

impl MetricName {
    /// Builds the mapping from the two fields of the configuration; both may be empty.
    pub(crate) fn new(matches: &str, name_as: &str) -> Result<Self, NameError> {
        let pattern = Regex::unanchored(if matches.is_empty() { ".*" } else { matches })?;
        let groups = pattern.group_names().get(1..).unwrap_or_default();
        let name_as = match (name_as, groups.len()) {
            ("", 0) => "$0",
            ("", 1) => "$1",
            ("", _) => return Err(NameError::AmbiguousName(matches.to_owned())),
            (given, _) => given,
        };
        if is_always_empty(name_as, groups)? {
            return Err(NameError::EmptyName { name_as: name_as.to_owned() });
        }
        Ok(Self { matches: pattern, name_as: name_as.to_owned() })
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.matches.pattern() == other.matches.pattern() && self.name_as == other.name_as
    }

    /// The metric name of a series.
    pub(crate) fn of_series(&self, series: &str) -> Result<String, NameError> {
        let captures = self.matches.captures(series).ok_or_else(|| NameError::NoMatch {
            series: series.to_owned(),
            pattern: self.matches.pattern().to_owned(),
        })?;
        let name = captures.expand(&self.name_as);
        if name.is_empty() { Err(NameError::EmptyNameOf(series.to_owned())) } else { Ok(name) }
    }
}

/// Whether a template stays empty even when every group holds something.
fn is_always_empty(template: &str, groups: &[Option<Box<str>>]) -> Result<bool, RegexError> {
    let mut sample = String::new();
    for name in groups {
        match name {
            Some(name) => sample.push_str(&format!("(?P<{name}>x)")),
            None => sample.push_str("(x)"),
        }
    }
    let text = "x".repeat(groups.len().max(1));
    let sample = Regex::unanchored(if groups.is_empty() { "x" } else { &sample })?;
    Ok(sample.captures(&text).is_some_and(|captures| captures.expand(template).is_empty()))
}
