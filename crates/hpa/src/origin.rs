//! Where the values of a metric came from: the rule, the queries, the series, and the stage that failed.
//!
//! - [`MetricOrigin`]: all of it for one metric of one sync. [`RuleRecord`], [`SeriesRecord`], [`FailureRecord`].
//!
//! Rule: plain data of whoever read the metric; what is not known is absent, never made up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Series that an origin names. Beyond them it is enough to know how many there are.
pub const MAX_SERIES: usize = 200;

/// Where the values of one metric came from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricOrigin {
    /// The rule of the metrics API that answers for the metric.
    pub rule: Option<RuleRecord>,
    /// The expressions that were evaluated: one, or several where it names too many objects for one.
    pub queries: Vec<String>,
    /// When they were evaluated for, in Unix seconds.
    pub query_time: Option<f64>,
    /// What they gave, and what is missing in it; at most [`MAX_SERIES`].
    pub series: Vec<SeriesRecord>,
    /// Series beyond those.
    pub more_series: usize,
    /// Why there is no value.
    pub failure: Option<FailureRecord>,
}

/// A rule of the metrics API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Its place in the configuration: `rules[0]`, `externalRules[2]`.
    pub id: String,
    /// Its `seriesQuery`.
    pub series_query: String,
    /// Its `metricsQuery`, before names are put in.
    pub metrics_query: String,
    /// The series that it found.
    pub series: String,
    /// The label that names the object; none for external metrics.
    pub label: Option<String>,
}

/// How a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesState {
    /// It is as new as it can be.
    Fresh,
    /// Its source does not answer; the last value stands in.
    Held,
    /// It is too old to count.
    Expired,
    /// It is not a finite number, and so no sample.
    Invalid,
    /// Its target is known, and has not answered for so long that there is no value.
    Missing,
}

impl SeriesState {
    /// The name in documents and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Held => "held",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
        }
    }
}

/// One series behind a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRecord {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value as the query API writes it, so that NaN and infinities survive; none where it is missing.
    pub value: Option<String>,
    /// Unix milliseconds of its newest input.
    pub timestamp_ms: Option<i64>,
    /// How it stands.
    pub state: SeriesState,
    /// The object that it belongs to, where one was asked for.
    pub object: Option<String>,
}

/// A stage that failed, why, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The stage: `Rule`, `Objects`, `Query`, `Source`, `Samples`, …
    pub stage: String,
    /// Why it failed.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}
