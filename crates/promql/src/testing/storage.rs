//! The storage of a script: samples in memory, with start timestamps, and with the counter reset hints that
//! upstream's chunks would give.
//!
//! Rule: a histogram that follows another in one chunk is known not to be a reset; the first of a chunk is
//! not known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datamodel::histogram::{CounterResetHint, same_bounds};
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Matcher, Timestamp, is_stale_nan};
use storage::{Appendable, MemoryStorage, Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

use crate::testing::sequence::SequenceValue;

/// Start of each sample that has one, by series and time; Unix milliseconds.
type Starts = HashMap<Labels, BTreeMap<i64, i64>>;

#[derive(Debug, Default)]
pub(super) struct ScriptStorage {
    samples: MemoryStorage,
    starts: Starts,
    last_histograms: HashMap<Labels, Option<Histogram>>,
}

/// A value with its time and start, in Unix milliseconds.
pub(super) struct Loaded<'a> {
    pub(super) at: i64,
    pub(super) start: Option<i64>,
    pub(super) value: &'a SequenceValue,
}

impl ScriptStorage {
    /// Adds the samples of one series.
    pub(super) fn load<'a>(&mut self, labels: &Labels, values: impl Iterator<Item = Loaded<'a>>) -> Result<(), String> {
        let mut appender = self.samples.appender();
        let series = appender.series(None, labels).map_err(|error| error.to_string())?;
        let last = self.last_histograms.entry(labels.clone()).or_default();
        for Loaded { at, start, value } in values {
            let timestamp = Timestamp::from_unix_ms(at);
            let result = match value {
                SequenceValue::Gap => continue,
                SequenceValue::Float(value) => {
                    *last = None;
                    appender.append(series, timestamp, *value)
                }
                SequenceValue::Histogram(histogram, _) => {
                    let stored = stored_histogram(histogram, last.as_ref());
                    *last = Some(Histogram::clone(histogram));
                    appender.append_histogram(series, timestamp, stored)
                }
            };
            result.map_err(|error| error.to_string())?;
            if let Some(start) = start {
                self.starts.entry(labels.clone()).or_default().insert(at, start);
            }
        }
        let refused = appender.commit().map_err(|error| error.to_string())?;
        refused.first().map_or(Ok(()), |(_, error)| Err(error.to_string()))
    }
}

/// The histogram with the hint that a chunk would give it behind `last`.
#[must_use]
pub fn stored_histogram(histogram: &Histogram, last: Option<&Histogram>) -> Histogram {
    let mut stored = histogram.clone();
    if histogram.counter_reset_hint == CounterResetHint::Gauge {
        return stored;
    }
    let continues = last.is_some_and(|last| {
        last.counter_reset_hint != CounterResetHint::Gauge
            && histogram.counter_reset_hint != CounterResetHint::CounterReset
            && !is_stale_nan(last.sum)
            && last.schema == histogram.schema
            && last.zero_threshold.total_cmp(&histogram.zero_threshold).is_eq()
            && same_bounds(&last.custom_values, &histogram.custom_values)
            && !(Histogram { counter_reset_hint: CounterResetHint::Unknown, ..histogram.clone() }).is_reset_from(last)
    });
    stored.counter_reset_hint = if continues { CounterResetHint::NotCounterReset } else { CounterResetHint::Unknown };
    stored
}

impl Queryable for ScriptStorage {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(ScriptQuerier { inner: self.samples.querier(range)?, starts: &self.starts }))
    }
}

struct ScriptQuerier<'a> {
    inner: Box<dyn Querier + 'a>,
    starts: &'a Starts,
}

impl Querier for ScriptQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        Ok(Box::new(ScriptSeriesSet { inner: self.inner.select(matchers, hints)?, starts: self.starts }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_names(matchers, limit)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_values(name, matchers, limit)
    }
}

struct ScriptSeriesSet<'a> {
    inner: Box<dyn SeriesSet + 'a>,
    starts: &'a Starts,
}

impl SeriesSet for ScriptSeriesSet<'_> {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let starts = self.starts;
        Some(self.inner.next()?.map(|inner| {
            let starts = starts.get(inner.labels());
            Box::new(ScriptSeries { inner, starts }) as Box<dyn Series + '_>
        }))
    }
}

struct ScriptSeries<'a> {
    inner: Box<dyn Series + 'a>,
    starts: Option<&'a BTreeMap<i64, i64>>,
}

impl Series for ScriptSeries<'_> {
    fn labels(&self) -> &Labels {
        self.inner.labels()
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        self.inner.read(range, into)?;
        if let Some(starts) = self.starts {
            into.starts = into.timestamps.iter().map(|at| starts.get(at).copied().unwrap_or(0)).collect();
        }
        Ok(())
    }
}
