//! Regular expressions of matchers and relabelling.
//!
//! Rule: an expression is anchored at both ends and `.` matches a line break, as in Prometheus.

use std::sync::Arc;

use regex_automata::meta;

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression `{pattern}`: {reason}")]
pub struct RegexError {
    /// The expression as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: Arc<str>,
    compiled: meta::Regex,
}

impl Regex {
    /// Compiles `^(?s:pattern)$`.
    ///
    /// # Errors
    ///
    /// The pattern breaks the syntax, or its automaton would exceed the size limit.
    pub fn anchored(pattern: &str) -> Result<Self, RegexError> {
        let error = |reason: String| RegexError { pattern: pattern.to_owned(), reason };
        let compiled = meta::Regex::new(&format!("^(?s:{pattern})$")).map_err(|cause| error(cause.to_string()))?;
        Ok(Self { pattern: Arc::from(pattern), compiled })
    }

    /// The expression as given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}
