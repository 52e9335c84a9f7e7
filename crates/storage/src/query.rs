//! Reading: matchers in, series out, one at a time.
//!
//! Rule: memory is bounded by one series at a time; who needs more holds it and accounts for it.

use std::sync::Arc;
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Matcher};

use crate::pool::{MemoryExhausted, MemoryPool};

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The caller cancelled, or the deadline passed.
    #[error("query was cancelled")]
    Cancelled,
    /// A limit of the query was exceeded.
    #[error("query exceeds its limit: {0}")]
    Limit(String),
    /// What would have to be held to answer does not fit.
    #[error(transparent)]
    OutOfMemory(#[from] MemoryExhausted),
    /// The storage is shutting down.
    #[error("storage is closed")]
    Closed,
    /// The storage could not read.
    #[error("storage failed: {context}")]
    Storage {
        /// What was being done, with the path.
        context: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What the reader will do with the series. May be used to read less; the answer stays a superset.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// The range for which samples will be read, where narrower than the querier's.
    pub range: Option<TimeRange>,
    /// The step between evaluations, if any.
    pub step: Option<Duration>,
    /// The function or aggregation around the selector (`rate`), or empty.
    pub function: &'static str,
    /// Only labels are wanted; samples will not be read.
    pub labels_only: bool,
    /// Where the storage reserves what it holds for the answer.
    pub memory: MemoryPool,
}

/// Opens queriers. Shared by all readers.
pub trait Queryable: Send + Sync {
    /// A consistent view of the samples in the range, both ends inclusive.
    ///
    /// # Errors
    ///
    /// [`QueryError::Closed`], or the storage cannot be read.
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError>;
}

/// A consistent view of a range. What was committed before it was opened is seen, what was committed
/// later may be.
pub trait Querier: Send {
    /// The series that pass all matchers and may have samples in the range, ascending by labels.
    ///
    /// # Errors
    ///
    /// The storage cannot be read.
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError>;

    /// The label names of the series that pass all matchers, ascending; with `limit` at most so many.
    ///
    /// # Errors
    ///
    /// The storage cannot be read.
    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError>;

    /// The values of one label on the series that pass all matchers, ascending; with `limit` at most so many.
    ///
    /// # Errors
    ///
    /// The storage cannot be read.
    fn label_values(&self, name: &str, matchers: &[Matcher], limit: Option<usize>)
    -> Result<Vec<Arc<str>>, QueryError>;
}

/// Series, one at a time.
pub trait SeriesSet: Send {
    /// The next series; `None` at the end. After an error the set is at its end.
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>>;
}

/// One series of a view.
pub trait Series: Send {
    /// Its labels, the metric name among them.
    fn labels(&self) -> &Labels;

    /// Appends the samples in the range (both ends inclusive, cut to the querier's range) to `into`,
    /// ascending by time, each instant once, staleness markers included.
    ///
    /// # Errors
    ///
    /// The storage cannot be read, or its bytes do not check.
    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError>;
}

/// A run of samples in columns; reused between series to spare allocations.
///
/// Where `histograms` has an entry for an index, that instant holds a native histogram and the value in
/// `values` is the NaN placeholder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Unix milliseconds, strictly ascending.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
    /// Native histograms by index into `timestamps`, ascending.
    pub histograms: Vec<(usize, Arc<Histogram>)>,
    /// When each sample's counter started (Unix milliseconds, 0 where that is unknown): one for each
    /// timestamp, or none at all where the storage knows none.
    pub starts: Vec<i64>,
}

impl Samples {
    /// Number of samples.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Adds a float sample; the timestamp must be later than the last one.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps.push(timestamp_ms);
        self.values.push(value);
    }

    /// Adds a native histogram; the timestamp must be later than the last one.
    pub fn push_histogram(&mut self, timestamp_ms: i64, histogram: Arc<Histogram>) {
        self.histograms.push((self.timestamps.len(), histogram));
        self.push(timestamp_ms, f64::NAN);
    }
}
