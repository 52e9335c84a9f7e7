//! Regular expressions of matchers and relabelling.
//!
//! Rule: an expression is anchored at both ends and `.` matches a line break, as in Prometheus.

mod expand;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use regex_automata::meta;

pub use expand::Captures;

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression `{pattern}`: {reason}")]
pub struct RegexError {
    /// The expression as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled expression. A clone shares what was compiled.
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: Arc<str>,
    compiled: meta::Regex,
    names: Arc<[Option<Box<str>>]>,
}

impl Regex {
    /// Compiles `^(?s:pattern)$`.
    ///
    /// # Errors
    ///
    /// The pattern breaks the syntax, or its automaton would exceed the size limit.
    pub fn anchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, &format!("^(?s:{pattern})$"))
    }

    /// Compiles the pattern as it is: it may match anywhere, and `.` matches no line break.
    ///
    /// # Errors
    ///
    /// As [`anchored`](Self::anchored).
    pub fn unanchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, pattern)
    }

    fn compile(pattern: &str, full: &str) -> Result<Self, RegexError> {
        let error = |reason: String| RegexError { pattern: pattern.to_owned(), reason };
        let compiled = meta::Regex::new(full).map_err(|cause| error(cause.to_string()))?;
        let names = compiled.group_info().pattern_names(regex_automata::PatternID::ZERO);
        let names = names.map(|name| name.map(Box::from)).collect();
        Ok(Self { pattern: Arc::from(pattern), compiled, names })
    }

    /// The expression as given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole text matches; of an unanchored expression, whether a part of it does.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// What the groups of the first match hold.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        let mut groups = self.compiled.create_captures();
        self.compiled.captures(text, &mut groups);
        groups.is_match().then(|| Captures { text, names: Arc::clone(&self.names), groups })
    }

    /// Replaces every match by the filled template, as Go's `ReplaceAllString`.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut end = 0;
        for groups in self.compiled.captures_iter(text) {
            let Some(span) = groups.get_match().map(|found| found.span()) else { continue };
            replaced.push_str(text.get(end..span.start).unwrap_or_default());
            end = span.end;
            replaced.push_str(&Captures { text, names: Arc::clone(&self.names), groups }.expand(template));
        }
        replaced.push_str(text.get(end..).unwrap_or_default());
        replaced
    }
}
