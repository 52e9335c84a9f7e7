//! Exemplars: single observations behind a value, mostly with the identifier of a trace.
//!
//! - [`Exemplar`]: one of them; written with [`Appender::append_exemplar`](crate::Appender::append_exemplar).
//! - [`ExemplarQueryable`]: reads them, [`SeriesExemplars`] for each series.
//!
//! Rule: exemplars are samples of the second class: a storage keeps the newest of all series together, within
//! a bound, and an exemplar that is refused never takes its sample with it.

use datamodel::exposition::MAX_EXEMPLAR_CHARS;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};

use crate::{AppendError, QueryError};

/// One observation behind a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its own labels, at most 128 characters together.
    pub labels: Labels,
    /// The value that was observed.
    pub value: f64,
    /// When.
    pub at: Timestamp,
    /// Whether the page said when. Where it did not, `at` is the time of the scrape, and the same observation
    /// on the next page is no new one.
    pub has_timestamp: bool,
}

impl Exemplar {
    /// Whether the labels are short enough to be taken.
    ///
    /// # Errors
    ///
    /// [`AppendError::LongExemplar`].
    pub fn check(&self) -> Result<(), AppendError> {
        let chars: usize = self.labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if chars > MAX_EXEMPLAR_CHARS { Err(AppendError::LongExemplar(self.labels.clone())) } else { Ok(()) }
    }

    /// Whether this is an observation that comes behind `newest` of the same series.
    #[must_use]
    pub fn follows(&self, newest: &Self) -> bool {
        let timed = self.has_timestamp || newest.has_timestamp;
        let repeats = !timed && self.value.to_bits() == newest.value.to_bits() && self.labels == newest.labels;
        newest.at < self.at && !repeats
    }
}

/// The exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The labels of the series.
    pub series: Labels,
    /// Ascending by time.
    pub exemplars: Vec<Exemplar>,
}

/// Reads exemplars. Shared by all readers.
pub trait ExemplarQueryable: Send + Sync {
    /// The exemplars in the range (both ends inclusive) of the series that pass all matchers of at least one
    /// of the selectors, ascending by the labels of the series.
    ///
    /// # Errors
    ///
    /// [`QueryError::Closed`], or the storage cannot be read.
    fn exemplars(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Result<Vec<SeriesExemplars>, QueryError>;
}
