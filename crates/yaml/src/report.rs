//! Where decoders say what is wrong.
//!
//! Rule: the path is kept by whoever descends ([`Report::within_key`], [`Report::within_index`]), never by the
//! decoder below.

use crate::error::{Error, Errors, push_index, push_key};
use crate::node::{Node, Position};
use crate::parser::Document;

/// More errors are counted in nobody's favour: the file is refused anyway.
const MAX_ERRORS: usize = 1_000;

/// A key that a decoder asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Where the mapping is: `scrape_configs[0]`.
    pub path: String,
    /// The key.
    pub key: &'static str,
    /// Why it is refused, if it is.
    pub refused: Option<String>,
}

/// Collects what is wrong, with position and path.
#[derive(Debug)]
pub struct Report {
    errors: Vec<Error>,
    path: String,
    /// Only where somebody wants to know them.
    keys: Option<Vec<KnownKey>>,
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

    /// Notes that a decoder asked for a key.
    pub(crate) fn note_key(&mut self, key: &'static str, refused: Option<&str>) {
        if let Some(keys) = &mut self.keys {
            keys.push(KnownKey { path: self.path.clone(), key, refused: refused.map(str::to_owned) });
        }
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
    let mut report = Report { errors, path: String::new(), keys: None };
    let value = decoder(document.root(), &mut report);
    if value.is_none() && report.errors.is_empty() {
        report.error(document.root(), "not a valid document");
    }
    match value {
        Some(value) if report.errors.is_empty() => Ok(value),
        _ => Err(Errors::new(document.source_name(), report.errors)),
    }
}

/// As [`run`], for the keys.
pub(crate) fn run_noting_keys<T>(
    document: &Document,
    errors: Vec<Error>,
    decoder: impl FnOnce(&Node, &mut Report) -> Option<T>,
) -> (Vec<KnownKey>, Option<Errors>) {
    let mut report = Report { errors, path: String::new(), keys: Some(Vec::new()) };
    decoder(document.root(), &mut report);
    let errors = (!report.errors.is_empty()).then(|| Errors::new(document.source_name(), report.errors));
    (report.keys.unwrap_or_default(), errors)
}
