//! Writing: series in groups, samples in batches.
//!
//! Rule: a batch is all or nothing; one bad sample is reported and left out, the batch goes on.

use datamodel::{Histogram, Labels, Metadata, Timestamp};

use crate::Exemplar;

/// A series of the storage that issued it. Meaningless in any other, and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// A group of series that are usually sampled at the same instant: the series of one scrape target.
///
/// A hint to the storage, which may keep the timestamps of a group once. Grouped series may still be
/// sampled alone or at other instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupRef(pub u64);

/// Why a sample or a batch was refused.
///
/// All but [`Closed`](Self::Closed), [`OutOfMemory`](Self::OutOfMemory) and [`Storage`](Self::Storage)
/// concern one sample: count it, drop it, go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The series already ends later, beyond the out-of-order window.
    #[error("out-of-order sample: at {at}, series ends at {end}")]
    OutOfOrder {
        /// When the sample was taken.
        at: Timestamp,
        /// The newest sample that the series holds.
        end: Timestamp,
    },
    /// The sample is older than the storage takes at all.
    #[error("sample too old: at {at}, oldest accepted is {oldest}")]
    TooOld {
        /// When the sample was taken.
        at: Timestamp,
        /// The oldest instant that is accepted.
        oldest: Timestamp,
    },
    /// The series holds another value for the same instant.
    #[error("duplicate sample with another value: at {0}")]
    Duplicate(Timestamp),
    /// The reference is not, or no longer, known: create the series again.
    #[error("unknown series reference")]
    UnknownSeries,
    /// The label set cannot name a series.
    #[error("invalid label set: {0}")]
    InvalidLabels(Labels),
    /// The memory limit does not allow another series.
    #[error("memory limit reached: no new series are taken")]
    OutOfMemory,
    /// The labels of an exemplar have more than 128 characters.
    #[error("exemplar labels exceed 128 characters: {0}")]
    LongExemplar(Labels),
    /// The storage is shutting down.
    #[error("storage is closed")]
    Closed,
    /// The storage could not write.
    #[error("storage failed: {context}")]
    Storage {
        /// What was being done, with the path.
        context: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Opens batches. Shared by all writers.
pub trait Appendable: Send + Sync {
    /// Opens a batch.
    fn appender(&self) -> Box<dyn Appender + '_>;
}

/// Takes one batch of samples.
///
/// - Within a series, timestamps increase from batch to batch (or lie in the out-of-order window).
/// - Readers see nothing of a batch before [`commit`](Self::commit) returns, and then all of it.
/// - Dropping an appender without `commit` discards the batch.
pub trait Appender: Send {
    /// Opens a group.
    fn create_group(&mut self) -> GroupRef;

    /// Whether samples of this series would be taken; `false` says nothing: ask [`series`](Self::series).
    fn is_known(&self, _series: SeriesRef) -> bool {
        false
    }

    /// The series with these labels, ascending by name and without empty values, if it is found without making a
    /// label set of them; `None` says nothing: ask [`series`](Self::series).
    fn known_series(&self, _pairs: &[(&str, &str)]) -> Option<SeriesRef> {
        None
    }

    /// The series with these labels, created if it does not exist. A series stays in the group in
    /// which it was first created.
    ///
    /// # Errors
    ///
    /// [`AppendError::InvalidLabels`] for a set without labels, [`AppendError::OutOfMemory`],
    /// [`AppendError::Closed`].
    fn series(&mut self, group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError>;

    /// Adds one float sample to the batch; a staleness marker is a value like any other.
    ///
    /// # Errors
    ///
    /// The batch stays usable after an error about one sample. Errors may also be found only by
    /// [`commit`](Self::commit).
    fn append(&mut self, series: SeriesRef, at: Timestamp, value: f64) -> Result<(), AppendError>;

    /// Adds one native histogram to the batch.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    fn append_histogram(&mut self, series: SeriesRef, at: Timestamp, value: Histogram) -> Result<(), AppendError>;

    /// Adds an exemplar of a series to the batch. One that does not [follow](Exemplar::follows) the newest
    /// of the series is left out by the commit: pages repeat their exemplars until there is another.
    ///
    /// # Errors
    ///
    /// [`AppendError::LongExemplar`], [`AppendError::UnknownSeries`]. The batch stays usable.
    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), AppendError>;

    /// Notes what the metric family says about itself; kept in memory only, the newest counts.
    fn metadata(&mut self, series: SeriesRef, metadata: &Metadata);

    /// Makes the batch durable and visible. Returns the samples that were left out, each with its reason.
    ///
    /// # Errors
    ///
    /// On an error nothing of the batch is visible, and none of it will appear later.
    fn commit(self: Box<Self>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError>;
}
