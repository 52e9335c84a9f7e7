//! Where metrics come from.
//!
//! - [`MetricsSource`]: lists series and evaluates queries; [`EmbeddedSource`](crate::EmbeddedSource) does it
//!   in process, a client of a Prometheus-compatible API does it elsewhere.
//! - [`Freshen`]: scrapes the targets behind an answer before it is computed.
//!
//! Rule: a source never answers less than it was asked for without saying so in
//! [`InstantAnswer::warnings`].

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use storage::Queryable;

/// A future on the heap, so that the traits can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Most shapes that one listing may give. Default rules on a cluster with all exporters see some 3,000.
pub const MAX_SHAPES: usize = 50_000;

/// A metric name with the names of the labels that its series carry. A million series have few of them,
/// and they are all that naming needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesShape {
    /// The metric name.
    pub metric: Arc<str>,
    /// The label names, ascending, without that of the metric name.
    pub labels: Vec<Arc<str>>,
}

impl SeriesShape {
    /// The shape of a label set; `None` when it has no metric name.
    #[must_use]
    pub fn of(labels: &Labels) -> Option<Self> {
        let metric = Arc::from(labels.metric_name()?);
        let names = labels.iter().map(|(name, _)| name).filter(|name| *name != datamodel::METRIC_NAME);
        Some(Self { metric, labels: names.map(Arc::from).collect() })
    }
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// When its newest input was taken.
    pub timestamp: Timestamp,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum InstantValue {
    /// An instant vector.
    Vector(Vec<SourceSample>),
    /// A scalar.
    Scalar(f64),
    /// Something that is no metric: the name of its type.
    Other(&'static str),
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantAnswer {
    /// What the query evaluates to.
    pub value: InstantValue,
    /// The series whose target is known but does not answer, and whose last sample was used all the same.
    pub held: Vec<Labels>,
    /// The series whose target is known but has not answered for so long that its last sample is expired.
    /// They are not in the answer, so that a sum over them is too low.
    pub missing: Vec<Labels>,
    /// What the source says against its own answer (a partial response). The answer is then not used.
    pub warnings: Vec<String>,
    /// Why the source cannot tell how old the values are; their time is then that of the evaluation, and the
    /// rule is reported.
    pub undated: Option<String>,
}

/// Why a source has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source cannot be reached or does not work. Try again later.
    #[error("source is unavailable: {0}")]
    Unavailable(String),
    /// The answer did not come in time.
    #[error("source did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The source refuses the query. Trying again does not help: correct the rule.
    #[error("source refuses the query `{query}`: {reason}")]
    Refused {
        /// The query.
        query: String,
        /// The source's reason.
        reason: String,
    },
    /// The data do not yet cover the range of the query.
    #[error("source holds data for {} s only, and the query looks back {} s", .held.as_secs(), .wanted.as_secs())]
    NotCovered {
        /// How far back the data reach.
        held: Duration,
        /// How far back the query looks.
        wanted: Duration,
    },
    /// The answer is larger than is accepted.
    #[error("source gives more than {0} results")]
    TooLarge(usize),
}

/// Lists series and evaluates queries.
pub trait MetricsSource: Send + Sync {
    /// The shapes of the series that pass all matchers and have samples in the range, both ends inclusive;
    /// at most [`MAX_SHAPES`].
    ///
    /// # Errors
    ///
    /// There is no complete answer.
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<BTreeSet<SeriesShape>, SourceError>>;

    /// Evaluates a query at an instant. `fresh` is what [`Freshen`] gave for this question; a source that
    /// does not read storages of this process ignores it. `deadline` is what the caller has left, for those who
    /// pass it on; the caller gives up by dropping the future.
    ///
    /// # Errors
    ///
    /// There is no complete answer.
    fn instant<'a>(
        &'a self,
        query: &'a str,
        at: Timestamp,
        fresh: Option<Arc<dyn Queryable>>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<InstantAnswer, SourceError>>;

    /// How many bytes of object names one query may carry; a longer list is asked for in several.
    ///
    /// The default keeps a query below the 8 KiB that most servers take in a URL, percent-encoding and the
    /// rest of the query included.
    fn max_name_bytes(&self) -> usize {
        4 << 10
    }
}

/// Scrapes targets on demand.
pub trait Freshen: Send + Sync {
    /// Scrapes the targets of these pods, as far as the budget allows, and gives the storage with the rows
    /// over it: for this question only, nothing is stored. `None` when there is no row. A target that does
    /// not answer changes nothing.
    fn freshen<'a>(
        &'a self,
        namespace: &'a str,
        pods: &'a [String],
        budget: Duration,
    ) -> BoxFuture<'a, Option<Arc<dyn Queryable>>>;
}
