//! A small subset of Go's `text/template`, with delimiters of one's choice.
//!
//! - [`Template`]: parsed once, executed often.
//! - [`Value`]: what a template reads: texts, numbers, lists, maps, records of named fields.
//! - `parse`: text to nodes. `exec`: nodes and data to text.
//!
//! Understood: fields, variables, pipelines, parentheses, `if`/`else if`/`else`, `range` (also with
//! index and value), `with`, comments, trim markers, and the functions `and`, `eq`, `ge`, `gt`, `index`,
//! `join`, `le`, `len`, `lt`, `ne`, `not`, `or`, `print`, `printf`, `println`.
//!
//! Rule: everything else is refused by name when the template is parsed, never ignored; execution is
//! bounded in steps and in bytes.

mod exec;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that a template may produce. A query for 10,000 pods with names of 60 bytes needs 600 KiB.
pub(crate) const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// Actions that one execution may take; a `range` over 10,000 names with three actions needs 40,000.
pub(crate) const MAX_STEPS: usize = 200_000;
/// Bytes of a template's source.
pub(crate) const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Depth of nested blocks and parentheses, so that hostile text cannot exhaust the stack.
pub(crate) const MAX_DEPTH: usize = 32;

/// Why a text is no template, or could not be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The source breaks the grammar.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Line of the source, from 1.
        line: usize,
        /// What was expected, and what stands there.
        reason: String,
    },
    /// The source uses a part of Go's templates that is not supported here.
    #[error("line {line}: {what} is not supported here")]
    Unsupported {
        /// Line of the source, from 1.
        line: usize,
        /// The construct, as it is written.
        what: String,
    },
    /// The source is longer, or nested deeper, than is allowed.
    #[error("template is too large: {0}")]
    TooLarge(&'static str),
    /// The data do not have what the template asks for.
    #[error("{0}")]
    Execute(String),
    /// The execution took too many steps, or wrote too much.
    #[error("template exceeds its limit: {0}")]
    Limit(&'static str),
}

/// What a template reads. Cheap to clone but for texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Absent.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// A list of texts; printed as `[a b]`.
    List(Arc<[String]>),
    /// Texts by name; printed as `map[a:b c:d]`, a missing name reads as the empty text.
    Map(Arc<BTreeMap<String, String>>),
    /// Named fields; asking for another name is an error.
    Record(Arc<BTreeMap<&'static str, Self>>),
}

/// A parsed template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses a template with the given delimiters.
    ///
    /// # Errors
    ///
    /// The source breaks the grammar or uses what is not supported.
    pub(crate) fn parse(source: &str, left: &str, right: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::TooLarge("source"));
        }
        let nodes = parse::parse(source, left, right)?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// The text as given.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Writes the template with the given data.
    ///
    /// # Errors
    ///
    /// The data lack a field, a function got what it cannot take, or a limit was exceeded.
    pub(crate) fn execute(&self, data: &Value) -> Result<String, TemplateError> {
        exec::execute(&self.nodes, data)
    }
}
