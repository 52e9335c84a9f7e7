//! A storage that keeps everything in memory and forgets it at the end.
//!
//! Rule: it obeys the contract of the traits to the letter, so that a test against it holds for `tsdb`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Matcher, Metadata, Timestamp};

use crate::append::{AppendError, Appendable, Appender, GroupRef, SeriesRef};
use crate::exemplar::{Exemplar, ExemplarQueryable, SeriesExemplars};
use crate::query::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Equal to the bit, so that a staleness marker is not an ordinary NaN.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct MemorySeries {
    labels: Labels,
    samples: Vec<(i64, Value)>,
    exemplars: Vec<Exemplar>,
}

#[derive(Debug, Default)]
struct Inner {
    by_labels: HashMap<Labels, usize>,
    series: Vec<MemorySeries>,
    next_group: u64,
}

/// Keeps series in memory, without bound: the caller bounds what it writes.
#[derive(Debug, Default)]
pub struct MemoryStorage(RwLock<Inner>);

impl MemoryStorage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).series.len()
    }
}

impl Appendable for MemoryStorage {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(MemoryAppender { storage: self, batch: Vec::new(), exemplars: Vec::new() })
    }
}

struct MemoryAppender<'a> {
    storage: &'a MemoryStorage,
    batch: Vec<(SeriesRef, i64, Value)>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
}

impl Appender for MemoryAppender<'_> {
    fn create_group(&mut self) -> GroupRef {
        let mut inner = self.storage.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.next_group += 1;
        GroupRef(inner.next_group)
    }

    fn is_known(&self, series: SeriesRef) -> bool {
        let inner = self.storage.0.read().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(series.0).is_ok_and(|index| index < inner.series.len())
    }

    fn series(&mut self, _group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels(labels.clone()));
        }
        let mut inner = self.storage.0.write().unwrap_or_else(PoisonError::into_inner);
        let index = if let Some(&index) = inner.by_labels.get(labels) {
            index
        } else {
            let index = inner.series.len();
            inner.series.push(MemorySeries { labels: labels.clone(), ..MemorySeries::default() });
            inner.by_labels.insert(labels.clone(), index);
            index
        };
        Ok(SeriesRef(index as u64))
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: f64) -> Result<(), AppendError> {
        self.batch.push((series, at.unix_ms(), Value::Float(value)));
        Ok(())
    }

    fn append_histogram(&mut self, series: SeriesRef, at: Timestamp, value: Histogram) -> Result<(), AppendError> {
        self.batch.push((series, at.unix_ms(), Value::Histogram(Arc::new(value))));
        Ok(())
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), AppendError> {
        exemplar.check()?;
        self.exemplars.push((series, exemplar));
        Ok(())
    }

    fn metadata(&mut self, _series: SeriesRef, _metadata: &Metadata) {}

    fn commit(self: Box<Self>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        let mut refused = Vec::new();
        let mut inner = self.storage.0.write().unwrap_or_else(PoisonError::into_inner);
        for (series, at, value) in self.batch {
            if let Err(error) = inner.insert(series, at, value) {
                refused.push((series, error));
            }
        }
        for (series, exemplar) in self.exemplars {
            inner.insert_exemplar(series, exemplar);
        }
        Ok(refused)
    }
}

impl Inner {
    fn insert_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) {
        let series = usize::try_from(series.0).ok().and_then(|index| self.series.get_mut(index));
        if let Some(series) = series.filter(|series| series.exemplars.last().is_none_or(|last| exemplar.follows(last)))
        {
            series.exemplars.push(exemplar);
        }
    }

    fn insert(&mut self, series: SeriesRef, at: i64, value: Value) -> Result<(), AppendError> {
        let index = usize::try_from(series.0).map_err(|_too_big| AppendError::UnknownSeries)?;
        let samples = &mut self.series.get_mut(index).ok_or(AppendError::UnknownSeries)?.samples;
        let timestamp = Timestamp::from_unix_ms(at);
        match samples.last() {
            Some((end, _)) if *end > at => {
                Err(AppendError::OutOfOrder { at: timestamp, end: Timestamp::from_unix_ms(*end) })
            }
            Some((end, last)) if *end == at && last.same(&value) => Ok(()),
            Some((end, _)) if *end == at => Err(AppendError::Duplicate(timestamp)),
            _ => {
                samples.push((at, value));
                Ok(())
            }
        }
    }
}

impl Queryable for MemoryStorage {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(MemoryQuerier { storage: self, range }))
    }
}

impl ExemplarQueryable for MemoryStorage {
    fn exemplars(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Result<Vec<SeriesExemplars>, QueryError> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |labels: &Labels| selectors.iter().any(|matchers| matchers.iter().all(|m| m.matches_labels(labels)));
        let mut found: Vec<SeriesExemplars> = Vec::new();
        for series in inner.series.iter().filter(|series| wanted(&series.labels)) {
            let within = series.exemplars.iter().filter(|exemplar| range.contains(exemplar.at));
            let exemplars: Vec<Exemplar> = within.cloned().collect();
            if !exemplars.is_empty() {
                found.push(SeriesExemplars { series: series.labels.clone(), exemplars });
            }
        }
        found.sort_by(|a, b| a.series.cmp(&b.series));
        Ok(found)
    }
}

struct MemoryQuerier<'a> {
    storage: &'a MemoryStorage,
    range: TimeRange,
}

impl MemoryQuerier<'_> {
    /// The matching series with their samples in the range; those without any are left out.
    fn matching(&self, matchers: &[Matcher]) -> BTreeMap<Labels, Vec<(i64, Value)>> {
        let inner = self.storage.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for series in &inner.series {
            if !matchers.iter().all(|matcher| matcher.matches_labels(&series.labels)) {
                continue;
            }
            let from = series.samples.partition_point(|(at, _)| *at < self.range.start.unix_ms());
            let to = series.samples.partition_point(|(at, _)| *at <= self.range.end.unix_ms());
            if let Some(samples) = series.samples.get(from..to).filter(|samples| !samples.is_empty()) {
                found.insert(series.labels.clone(), samples.to_vec());
            }
        }
        found
    }
}

fn limited(set: BTreeSet<Arc<str>>, limit: Option<usize>) -> Vec<Arc<str>> {
    set.into_iter().take(limit.unwrap_or(usize::MAX)).collect()
}

impl Querier for MemoryQuerier<'_> {
    fn select(&self, matchers: &[Matcher], _hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        Ok(Box::new(MemorySeriesSet(self.matching(matchers).into_iter())))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        let matching = self.matching(matchers);
        Ok(limited(matching.keys().flatten().map(|(name, _)| Arc::from(name)).collect(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        let matching = self.matching(matchers);
        Ok(limited(matching.keys().filter_map(|labels| labels.get(name)).map(Arc::from).collect(), limit))
    }
}

struct MemorySeriesSet(std::collections::btree_map::IntoIter<Labels, Vec<(i64, Value)>>);

impl SeriesSet for MemorySeriesSet {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let (labels, samples) = self.0.next()?;
        Some(Ok(Box::new(MemorySeries { labels, samples, exemplars: Vec::new() })))
    }
}

impl Series for MemorySeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        for (at, value) in &self.samples {
            if !range.contains(Timestamp::from_unix_ms(*at)) {
                continue;
            }
            match value {
                Value::Float(value) => into.push(*at, *value),
                Value::Histogram(histogram) => into.push_histogram(*at, Arc::clone(histogram)),
            }
        }
        Ok(())
    }
}
