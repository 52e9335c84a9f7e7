//! Why an object is rejected.
//!
//! Rule: the path of the field comes first, as `kubectl explain` spells it.

use std::time::Duration;

use datamodel::relabel::RelabelError;
use datamodel::selector::SelectorError;
use datamodel::time::{DurationError, format_duration};

use super::assets::AssetRef;

/// What is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Rejection {
    /// The field: `spec.endpoints[0].interval`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Rejection {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It has not the form that the API demands.
    #[error("{0}")]
    Form(String),
    /// A Secret or `ConfigMap` that is named is not there, or has no such key.
    #[error("{asset} is not there or has no key `{key}`")]
    Asset {
        /// What is named.
        asset: AssetRef,
        /// The key.
        key: String,
    },
    /// A value of a Secret or `ConfigMap` is no text.
    #[error("key `{key}` of {asset} is no text")]
    AssetText {
        /// What is named.
        asset: AssetRef,
        /// The key.
        key: String,
    },
    /// A relabelling rule is refused.
    #[error("{}", relabel(.0))]
    Relabel(#[from] RelabelError),
    /// A selector is refused.
    #[error("{0}")]
    Selector(#[from] SelectorError),
    /// A duration is none.
    #[error("{0}")]
    Duration(#[from] DurationError),
    /// A scrape may not outlive its interval.
    #[error("greater than the scrape interval: {} > {}", format_duration(*timeout), format_duration(*interval))]
    TimeoutAboveInterval {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
    /// Several credentials.
    #[error("only one of {0} can be set")]
    ManyCredentials(String),
    /// A client certificate without its key, or the other way round.
    #[error("a client certificate and its key go together")]
    HalfIdentity,
    /// A scrape class that is not defined.
    #[error("no scrape class is named `{0}`")]
    ScrapeClass(String),
    /// A value that is not among those that are known.
    #[error("expected one of {expected}, found `{found}`")]
    Choice {
        /// The values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A field that is known and not served.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// An expression is refused.
    #[error("{0}")]
    Expression(String),
}

fn relabel(error: &RelabelError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
