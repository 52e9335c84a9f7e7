//! Why a scrape failed.
//!
//! Rule: a variant names what went wrong at the target, so that the operator knows where to look.

use std::error::Error;
use std::io;
use std::time::Duration;

use datamodel::exposition::{FormatError, PageError, ParseError};
use datamodel::time::format_duration;
use http_client::ClientError;
use storage::{AppendError, MemoryExhausted};

use crate::zstd::ZstdError;

/// Why a scrape failed. A failed scrape writes `up` 0 and ends the target's series.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The address is no `host` or `host:port`.
    #[error("not a valid address: `{0}`")]
    Address(String),
    /// No connection, no credentials, a broken answer, or a redirect that is not followed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No complete answer in time.
    #[error("no complete answer within {}", format_duration(*.0))]
    Timeout(Duration),
    /// The answer is not 200.
    #[error("server returned HTTP status {0}")]
    Status(http::StatusCode),
    /// The page is too large.
    #[error("body exceeds its limit of {0} bytes")]
    BodySize(usize),
    /// All large pages together hold as much as they may.
    #[error("no memory for the page")]
    Memory(#[source] MemoryExhausted),
    /// The compression is none that was asked for.
    #[error("unsupported content encoding: `{0}`")]
    ContentEncoding(String),
    /// The compressed page is damaged.
    #[error("damaged gzip body")]
    Gzip(#[source] io::Error),
    /// The compressed page is damaged, or refers further back than a page may.
    #[error("damaged zstd body")]
    Zstd(#[from] ZstdError),
    /// The page is of no format that can be read.
    #[error(transparent)]
    ContentType(#[from] FormatError),
    /// The page breaks its format.
    #[error("page breaks its format: {0}")]
    Parse(ParseError),
    /// The page breaks the protobuf format.
    #[error("page breaks its format: {0}")]
    Protobuf(PageError),
    /// A native histogram has more buckets than it may have, in the coarsest schema too.
    #[error("native_histogram_bucket_limit exceeded: {found} buckets, limit {limit}, sample {line}")]
    BucketLimit {
        /// Buckets that it has.
        found: usize,
        /// The limit.
        limit: usize,
        /// Sample of the page, from 1.
        line: u32,
    },
    /// Relabelling took the metric name away.
    #[error("no metric name after relabelling: line {0}")]
    NoMetricName(u32),
    /// A name that the validation scheme of the job does not take.
    #[error("name is not valid under `metric_name_validation_scheme: legacy`: `{name}`, line {line}")]
    Name {
        /// The name, at most 50 characters of it.
        name: String,
        /// Line of the page.
        line: u32,
    },
    /// Too many samples.
    #[error("sample limit exceeded: {samples} samples, limit {limit}")]
    SampleLimit {
        /// Samples after relabelling.
        samples: usize,
        /// The bound in force.
        limit: usize,
    },
    /// Too many labels, or one too long.
    #[error("{limit_name} exceeded: {found}, limit {limit}, metric `{metric}`")]
    LabelLimit {
        /// The configuration key.
        limit_name: &'static str,
        /// What was found.
        found: usize,
        /// The limit.
        limit: usize,
        /// The metric name, at most 50 characters of it.
        metric: String,
    },
    /// The job has too many targets.
    #[error("target_limit exceeded: {targets} targets, limit {limit}")]
    TargetLimit {
        /// Targets after relabelling.
        targets: usize,
        /// The bound in force.
        limit: usize,
    },
    /// The storage refused the row.
    #[error("samples could not be stored")]
    Append(#[source] AppendError),
}

/// An error with all its causes in one line, for the status page and the log.
#[must_use]
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
