//! Why an evaluation failed.
//!
//! Rule: texts that upstream defines are upstream's; every other failure names what was refused.

use datamodel::Labels;
use storage::{MemoryExhausted, QueryError};

use crate::ast::ValueType;
use crate::parser::ParseError;
use crate::span::Span;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The text is no expression.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The caller's flag was raised.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    TimedOut,
    /// The query would hold more memory than it, or all together, may.
    #[error(transparent)]
    OutOfMemory(#[from] MemoryExhausted),
    /// Range queries answer scalars and instant vectors only.
    #[error("invalid expression type \"{}\" for range query, must be Scalar or instant Vector", .0.as_str())]
    InvalidRangeType(ValueType),
    /// A range query without a positive step, or with its end before its start.
    #[error("invalid range of a query: {0}")]
    InvalidRange(&'static str),
    /// Two series of one result have the same labels at one step.
    #[error("vector cannot contain metrics with the same labelset")]
    DuplicateLabels,
    /// The "one" side of a match has several series.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// The labels that match.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One of the series.
        first: String,
        /// Another one.
        second: String,
    },
    /// Several series on the left match one on the right, without `group_left`.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ImplicitManyToOne,
    /// `group_left` or `group_right` produced one label set twice.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    AmbiguousGrouping,
    /// An argument has a value that the function or operator cannot use.
    #[error("{message}")]
    InvalidArgument {
        /// What is wrong, in upstream's words.
        message: String,
        /// The argument.
        span: Span,
    },
    /// `info` found two info series with the same identifying labels at one time.
    #[error("found duplicate series for info metric: existing {existing} @ {at}, new {new} @ {at}")]
    DuplicateInfo {
        /// The one found first.
        existing: Box<Labels>,
        /// The other.
        new: Box<Labels>,
        /// When, in Unix milliseconds.
        at: i64,
    },
    /// A part of the language that is not implemented.
    #[error("not supported yet: {feature}")]
    Unsupported {
        /// Its name.
        feature: &'static str,
        /// Where it stands.
        span: Span,
    },
    /// The storage could not read.
    #[error("expanding series")]
    Storage(#[source] QueryError),
}

impl EvalError {
    /// The place in the expression, where there is one.
    #[must_use]
    pub const fn span(&self) -> Option<Span> {
        match self {
            Self::Parse(error) => Some(error.span),
            Self::InvalidArgument { span, .. } | Self::Unsupported { span, .. } => Some(*span),
            _ => None,
        }
    }

    /// The error with the line of the expression and a caret under the place, for terminals.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        match self.span() {
            Some(span) => format!("{self}\n{}", span.underline(text)),
            None => self.to_string(),
        }
    }
}

impl From<QueryError> for EvalError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Cancelled => Self::Cancelled,
            QueryError::OutOfMemory(exhausted) => Self::OutOfMemory(exhausted),
            error => Self::Storage(error),
        }
    }
}
