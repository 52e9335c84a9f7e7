//! Why the evaluation of a rule failed.
//!
//! Rule: a failed evaluation changes no series and no alert, unless its doc says so.

use promql::EvalError;
use storage::{AppendError, QueryError};

/// Why a rule could not be evaluated, or its samples not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The query failed.
    #[error("query failed")]
    Query(#[source] EvalError),
    /// The query gives neither a vector nor a scalar.
    #[error("rule result is not a vector or scalar")]
    NotVector,
    /// Two results have one label set.
    #[error("vector contains metrics with the same labelset after applying {0} labels")]
    SameLabels(&'static str),
    /// Too many results. The alerts of an alerting rule are forgotten then, as upstream.
    #[error("exceeded limit of {limit} with {found} {what}")]
    Limit {
        /// The limit of the group, or our own bound.
        limit: usize,
        /// What was found.
        found: usize,
        /// `series` or `alerts`.
        what: &'static str,
    },
    /// The samples could not be stored.
    #[error("samples could not be stored")]
    Append(#[source] AppendError),
    /// The state of alerts could not be read after a restart.
    #[error("state of alerts could not be restored")]
    Restore(#[source] QueryError),
}

/// An error with all its causes in one line.
pub(crate) fn describe(error: &RuleError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
