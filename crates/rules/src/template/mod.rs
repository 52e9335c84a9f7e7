//! Templates of alert labels and annotations: the part of Go's `text/template` that alerts use.
//!
//! - [`Template::parse`]: text to a checked template; what is not supported is refused by name and place.
//! - [`Template::expand`]: a template with its [`Data`] to text.
//!
//! ```text
//! text ─▶ lexer ─▶ parser ─▶ nodes ─▶ exec (functions, format) ─▶ text
//! ```
//!
//! Supported: actions, pipelines, variables, `if`, `else`, `with`, `range`, `break`, `continue`, comments,
//! trimming, the functions that `functions::NAMES` lists. Not supported: `define`, `template`, `block`, methods
//! of values.
//!
//! Rule: a template comes from a file and its data from hostile pages: steps and output are bounded.

mod exec;
mod format;
mod functions;
mod lexer;
mod parser;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

use datamodel::{Labels, Timestamp};

pub(crate) use functions::table_link;
use parser::Node;
pub(crate) use time::format_go_duration;
pub use value::TemplateSample;

/// The longest template, in bytes; real ones are a few hundred.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

/// The longest text that a template may expand to, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// Nodes that one expansion may execute, a `range` over many series counted for each of them.
pub const MAX_STEPS: usize = 100_000;

/// Queries that one expansion may run.
pub const MAX_QUERIES: usize = 100;

/// How deep blocks and parentheses may be nested.
pub const MAX_DEPTH: usize = 50;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Line of the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Why a template could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ExpandError {
    /// Line of the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What went wrong.
    pub message: String,
}

/// What a template may ask for while it is expanded.
pub trait Context {
    /// The series of an instant query.
    ///
    /// # Errors
    ///
    /// Why the query failed.
    fn query(&self, expression: &str) -> Result<Vec<TemplateSample>, String>;
}

/// What a template is expanded with.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// `$labels`: the labels of the alert's series.
    pub labels: &'a Labels,
    /// `$externalLabels`.
    pub external_labels: &'a Labels,
    /// `$externalURL`.
    pub external_url: &'a str,
    /// `$value`.
    pub value: f64,
    /// The evaluation time.
    pub at: Timestamp,
}

/// A checked template.
#[derive(Clone, PartialEq)]
pub struct Template {
    text: String,
    nodes: Vec<Node>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.text).finish()
    }
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    ///
    /// The syntax is broken, a variable or function does not exist, or something is not supported.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let message = format!("template is longer than {MAX_TEMPLATE_BYTES} bytes");
            return Err(ParseError { line: 1, column: 1, message });
        }
        let place = |(at, message)| {
            let (line, column) = position(text, at);
            ParseError { line, column, message }
        };
        let tokens = lexer::tokens(text).map_err(place)?;
        let nodes = parser::parse(tokens).map_err(place)?;
        Ok(Self { text: text.to_owned(), nodes })
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Expands the template.
    ///
    /// # Errors
    ///
    /// A function fails, or a bound is exceeded.
    pub fn expand(&self, data: &Data<'_>, context: &dyn Context) -> Result<String, ExpandError> {
        exec::run(&self.nodes, data, context).map_err(|(at, message)| {
            let (line, column) = position(&self.text, at);
            ExpandError { line, column, message }
        })
    }
}

/// Where something is, in bytes, and what is wrong with it.
type Located = (usize, String);

/// Line and column, both from 1, of a place in bytes.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
