//! Where decoders say what is wrong.
//!
//! Rule: the path is kept by whoever descends ([`Report::within_key`], [`Report::within_index`]), never by the
//! decoder below.

use crate::error::{Error, Errors, push_index, push_key};
use crate::node::{Node, Position};
use crate::parser::Document;

/// More errors are counted in nobody's favour: the file is refused anyway.
const MAX_ERRORS: usize = 1_000;

/// Collects what is wrong, with position and path.
#[derive(Debug)]
pub struct Report {
    errors: Vec<Error>,
    path: String,
}

impl Report {
    /// Says that something is wrong with the node that is being decoded.
    pub fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.error_at(node.position, message);
    }

    /// Says that something is wrong at another place, under the current path.
    pub fn error_at(&mut self, position: Position, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(Error { position, path: self.path.clone(), message: message.into() });
        }
    }

    /// Says what was expected instead of the node, and that it is something else.
    pub fn expected(&mut self, node: &Node, what: &str) {
        self.error(node, format!("expected {what}, found {}", node.describe()));
    }

    /// Number of errors so far; a decoder that compares two counts knows whether its parts were right.
    #[must_use]
    pub const fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Runs a step with the key added to the path.
    pub fn within_key<T>(&mut self, key: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        self.within(step, |path| push_key(path, key))
    }

    /// Runs a step with the index, from 0, added to the path.
    pub fn within_index<T>(&mut self, index: usize, step: impl FnOnce(&mut Self) -> T) -> T {
        self.within(step, |path| push_index(path, index))
    }

    fn within<T>(&mut self, step: impl FnOnce(&mut Self) -> T, add: impl FnOnce(&mut String)) -> T {
        let len = self.path.len();
        add(&mut self.path);
        let result = step(self);
        self.path.truncate(len);
        result
    }
}

/// Runs a decoder over a document; `errors` are what its parser found.
pub(crate) fn run<T>(
    document: &Document,
    errors: Vec<Error>,
    decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
) -> Result<T, Errors> {
    let mut report = Report { errors, path: String::new() };
    let value = decoder(document.root(), &mut report);
    if value.is_none() && report.errors.is_empty() {
        report.error(document.root(), "not a valid document");
    }
    match value {
        Some(value) if report.errors.is_empty() => Ok(value),
        _ => Err(Errors::new(document.source_name(), report.errors)),
    }
}
