//! What is wrong with a text.
//!
//! Rule: an [`Errors`] is never empty, and it prints at most [`MAX_PRINTED`] lines.

use std::fmt;
use std::sync::Arc;

use crate::node::{Position, excerpt};

/// A file with more errors than this is not the file that the user meant.
const MAX_PRINTED: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where it stands.
    pub position: Position,
    /// The way to it from the root (`spec.metrics[0].pods.target`); empty at the root.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.position)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        let mut lines = self.message.lines();
        f.write_str(lines.next().unwrap_or_default())?;
        // What is quoted may have lines of its own, which must not be taken for further errors.
        for line in lines.filter(|line| !line.trim().is_empty()) {
            write!(f, "\n{}{line}", if line.starts_with(' ') { "" } else { "  " })?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a text, in its order; printed as `FILE:LINE:COL: path: message`
/// lines, a message of several lines with its further ones indented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    source_name: Arc<str>,
    errors: Vec<Error>,
}

impl Errors {
    /// Sorts by position.
    pub(crate) fn new(source_name: &str, mut errors: Vec<Error>) -> Self {
        errors.sort_by_key(|error| error.position);
        Self { source_name: Arc::from(source_name), errors }
    }

    /// The file or other origin of the text.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// The errors, by position.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.errors.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().take(MAX_PRINTED).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{error}", self.source_name)?;
        }
        match self.errors.len().checked_sub(MAX_PRINTED) {
            Some(more) if more > 0 => write!(f, "\n{}: and {more} more errors", self.source_name),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Errors {}

/// Adds a key to a path; a key that is no plain word is quoted.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let simple = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !simple {
        path.push_str("[\"");
        path.push_str(&excerpt(key));
        path.push_str("\"]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Adds an index, from 0, to a path.
pub(crate) fn push_index(path: &mut String, index: usize) {
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
}
