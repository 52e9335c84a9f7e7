//! Regular expressions of matchers, relabelling and mapping rules.
//!
//! - [`Regex`]: an expression in RE2's syntax, anchored as Prometheus anchors it, or not.
//! - [`Captures`]: what its groups matched, and templates with `$1`.
//!
//! ```text
//! pattern ─▶ syntax (ours) ─▶ Hir ─┬▶ fast: literals, prefix, suffix, contains: no automaton
//!                                  └▶ regex-automata, bounded in size
//! ```
//!
//! Rule: what Go's `regexp` takes, refuses and means; matching takes time linear in the text.

mod class;
mod expand;
mod fast;
mod syntax;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use regex_automata::meta;

use crate::float::shown;
use fast::Shape;

pub use expand::Captures;

/// The longest pattern. A list of 5,000 pod names is some 300 kB.
pub const MAX_PATTERN_BYTES: usize = 1 << 20;

/// The largest automaton, in bytes.
const MAX_AUTOMATON_BYTES: usize = 10 << 20;

/// The largest cache that matching builds as it goes, in bytes for each expression and thread.
const MAX_CACHE_BYTES: usize = 1 << 20;

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression `{pattern}`: {reason}")]
pub struct RegexError {
    /// The expression as given (of a long one its beginning).
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled expression. A clone shares what was compiled.
#[derive(Clone, Debug)]
pub struct Regex(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    pattern: Box<str>,
    shape: Shape,
    /// Absent where the shape answers everything: no groups, and another shape than [`Shape::Other`].
    automaton: Option<meta::Regex>,
    /// Names of the groups, the whole match first.
    names: Arc<[Option<Box<str>>]>,
}

impl Regex {
    /// Compiles `^(?s:pattern)$`: the whole text must match, and `.` matches a line break.
    ///
    /// # Errors
    ///
    /// The pattern breaks the syntax, is too long, or its automaton would be too large.
    pub fn anchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, &format!("^(?s:{pattern})$"))
    }

    /// Compiles the pattern as it is: a part of the text may match, and `.` matches no line break.
    ///
    /// # Errors
    ///
    /// As [`anchored`](Self::anchored).
    pub fn unanchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, pattern)
    }

    fn compile(pattern: &str, full: &str) -> Result<Self, RegexError> {
        let error = |reason: String| RegexError { pattern: shown(pattern), reason };
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(error(format!("longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let parsed = syntax::parse(full).map_err(error)?;
        let shape = Shape::of(&parsed.hir);
        let automaton = if shape == Shape::Other || parsed.names.len() > 1 {
            let config = meta::Config::new()
                .nfa_size_limit(Some(MAX_AUTOMATON_BYTES))
                .onepass_size_limit(Some(MAX_CACHE_BYTES))
                .hybrid_cache_capacity(MAX_CACHE_BYTES);
            let compiled = meta::Builder::new().configure(config).build_from_hir(&parsed.hir);
            let too_large = |cause: &meta::BuildError| match cause.size_limit() {
                Some(limit) => format!("its automaton exceeds {limit} bytes"),
                None => cause.to_string(),
            };
            Some(compiled.map_err(|cause| error(too_large(&cause)))?)
        } else {
            None
        };
        Ok(Self(Arc::new(Compiled { pattern: pattern.into(), shape, automaton, names: parsed.names.into() })))
    }

    /// The expression as given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// The names of the groups in the order of their numbers, where they have one; the whole match is the first.
    #[must_use]
    pub fn group_names(&self) -> &[Option<Box<str>>] {
        &self.0.names
    }

    /// Whether the whole text matches; of an unanchored expression, whether a part of it does.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match self.0.shape.is_match(text) {
            Some(matches) => matches,
            None => self.0.automaton.as_ref().is_some_and(|automaton| automaton.is_match(text)),
        }
    }

    /// If the expression stands for a list of texts, those texts, ascending: an index looks them up instead
    /// of trying every value.
    #[must_use]
    pub fn literal_alternatives(&self) -> Option<&[Box<str>]> {
        match &self.0.shape {
            Shape::Literals(literals) => Some(literals),
            _ => None,
        }
    }

    /// A text that every match begins with, where the expression is of the form `prefix.*` or `prefix.+`;
    /// not empty.
    #[must_use]
    pub fn literal_prefix(&self) -> Option<&str> {
        match &self.0.shape {
            Shape::Prefix(prefix, _) if !prefix.is_empty() => Some(prefix),
            _ => None,
        }
    }

    /// Whether every text matches (`.*`).
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        matches!(&self.0.shape, Shape::Prefix(prefix, 0) | Shape::Suffix(prefix, 0) if prefix.is_empty())
    }

    /// What the groups of the first match hold.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        let Some(automaton) = &self.0.automaton else {
            return self.is_match(text).then(|| self.captured(text, vec![Some((0, text.len()))]));
        };
        let mut groups = automaton.create_captures();
        automaton.captures(text, &mut groups);
        groups.is_match().then(|| self.captured(text, spans(&groups)))
    }

    /// Replaces every match by the filled template, as Go's `ReplaceAllString`.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let Some(automaton) = &self.0.automaton else {
            return self.captures(text).map_or_else(|| text.to_owned(), |captures| captures.expand(template));
        };
        let mut replaced = String::with_capacity(text.len());
        let mut end = 0;
        for groups in automaton.captures_iter(text) {
            let Some(span) = groups.get_match().map(|found| found.span()) else { continue };
            replaced.push_str(text.get(end..span.start).unwrap_or_default());
            end = span.end;
            replaced.push_str(&self.captured(text, spans(&groups)).expand(template));
        }
        replaced.push_str(text.get(end..).unwrap_or_default());
        replaced
    }

    fn captured<'t>(&self, text: &'t str, spans: Vec<Option<(usize, usize)>>) -> Captures<'t> {
        Captures { text, names: Arc::clone(&self.0.names), spans }
    }
}

fn spans(groups: &regex_automata::util::captures::Captures) -> Vec<Option<(usize, usize)>> {
    groups.iter().map(|span| span.map(|span| (span.start, span.end))).collect()
}
