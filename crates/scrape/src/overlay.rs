//! The storage with pulled rows over it: each series of a pulled target ends with its pulled sample.
//!
//! ```text
//! Queryable ───────────────┐
//!                          ├─▶ FreshOverlay ─▶ the same labels: samples, then the pulled one if newer
//! PulledRow, PulledRow, … ─┘                   only pulled: a series of one sample
//! ```
//!
//! Rule: nothing older than what the storage holds is ever shown, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher};
use storage::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

use crate::pull::PulledRow;

/// Reads through to a storage, and shows pulled rows as the newest samples.
#[derive(Clone)]
pub struct FreshOverlay {
    inner: Arc<dyn Queryable>,
    rows: Arc<[Arc<PulledRow>]>,
}

impl fmt::Debug for FreshOverlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshOverlay").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

/// One pulled sample: Unix milliseconds and value.
type Pulled = (i64, f64);

impl FreshOverlay {
    /// Puts rows over a storage.
    #[must_use]
    pub fn new(inner: Arc<dyn Queryable>, rows: Vec<Arc<PulledRow>>) -> Self {
        Self { inner, rows: rows.into() }
    }
}

impl Queryable for FreshOverlay {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(OverlayQuerier { inner: self.inner.querier(range)?, rows: &self.rows, range }))
    }
}

struct OverlayQuerier<'a> {
    inner: Box<dyn Querier + 'a>,
    rows: &'a [Arc<PulledRow>],
    range: TimeRange,
}

impl OverlayQuerier<'_> {
    /// The pulled samples that pass, by labels; of two with the same labels the newer.
    fn matching(&self, matchers: &[Matcher]) -> BTreeMap<Labels, Pulled> {
        let mut found: BTreeMap<Labels, Pulled> = BTreeMap::new();
        for sample in self.rows.iter().flat_map(|row| &row.samples) {
            let passes = self.range.contains(sample.at)
                && matchers.iter().all(|matcher| matcher.matches_labels(&sample.labels))
                && found.get(&sample.labels).is_none_or(|(at, _)| *at < sample.at.unix_ms());
            if passes {
                found.insert(sample.labels.clone(), (sample.at.unix_ms(), sample.value));
            }
        }
        found
    }

    fn with_pulled(
        &self,
        inner: Vec<Arc<str>>,
        matchers: &[Matcher],
        limit: Option<usize>,
        texts: impl Fn(&Labels) -> Vec<Arc<str>>,
    ) -> Vec<Arc<str>> {
        let mut all: BTreeSet<Arc<str>> = inner.into_iter().collect();
        all.extend(self.matching(matchers).keys().flat_map(texts));
        all.into_iter().take(limit.unwrap_or(usize::MAX)).collect()
    }
}

impl Querier for OverlayQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        let inner = self.inner.select(matchers, hints)?;
        Ok(Box::new(OverlaySet { inner, waiting: None, pulled: self.matching(matchers), range: self.range }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        let inner = self.inner.label_names(matchers, limit)?;
        let names = |labels: &Labels| labels.iter().map(|(name, _)| Arc::from(name)).collect();
        Ok(self.with_pulled(inner, matchers, limit, names))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        let inner = self.inner.label_values(name, matchers, limit)?;
        let value = |labels: &Labels| labels.get(name).map(Arc::from).into_iter().collect();
        Ok(self.with_pulled(inner, matchers, limit, value))
    }
}

struct OverlaySet<'a> {
    inner: Box<dyn SeriesSet + 'a>,
    /// A stored series, read into memory because pulled ones come before it.
    waiting: Option<Owned>,
    /// Pulled samples that were not shown yet.
    pulled: BTreeMap<Labels, Pulled>,
    range: TimeRange,
}

impl SeriesSet for OverlaySet<'_> {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        if let Some(owned) = self.waiting.take() {
            if self.pulled.first_key_value().is_some_and(|(labels, _)| *labels < owned.labels) {
                self.waiting = Some(owned);
                return self.next_pulled();
            }
            let pulled = self.pulled.remove(&owned.labels);
            return Some(Ok(Box::new(Fresh { stored: Stored::Owned(owned), pulled })));
        }
        match self.inner.next() {
            None => {
                let (labels, pulled) = self.pulled.pop_first()?;
                Some(Ok(only_pulled(labels, pulled)))
            }
            Some(Err(error)) => {
                self.pulled.clear();
                Some(Err(error))
            }
            Some(Ok(series)) => {
                if self.pulled.first_key_value().is_some_and(|(labels, _)| labels < series.labels()) {
                    let mut samples = Samples::default();
                    if let Err(error) = series.read(self.range, &mut samples) {
                        return Some(Err(error));
                    }
                    self.waiting = Some(Owned { labels: series.labels().clone(), samples });
                    let (labels, pulled) = self.pulled.pop_first()?;
                    return Some(Ok(only_pulled(labels, pulled)));
                }
                let pulled = self.pulled.remove(series.labels());
                Some(Ok(Box::new(Fresh { stored: Stored::Inner(series), pulled })))
            }
        }
    }
}

impl OverlaySet<'_> {
    fn next_pulled(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let (labels, pulled) = self.pulled.pop_first()?;
        Some(Ok(only_pulled(labels, pulled)))
    }
}

fn only_pulled<'a>(labels: Labels, pulled: Pulled) -> Box<dyn Series + 'a> {
    let stored = Stored::Owned(Owned { labels, samples: Samples::default() });
    Box::new(Fresh { stored, pulled: Some(pulled) })
}

/// A series in memory.
struct Owned {
    labels: Labels,
    samples: Samples,
}

enum Stored<'a> {
    Inner(Box<dyn Series + 'a>),
    Owned(Owned),
}

/// A series with its pulled sample.
struct Fresh<'a> {
    stored: Stored<'a>,
    pulled: Option<Pulled>,
}

impl Series for Fresh<'_> {
    fn labels(&self) -> &Labels {
        match &self.stored {
            Stored::Inner(series) => series.labels(),
            Stored::Owned(owned) => &owned.labels,
        }
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let before = into.len();
        match &self.stored {
            Stored::Inner(series) => series.read(range, into)?,
            Stored::Owned(owned) => copy(&owned.samples, range, into),
        }
        if let Some((at, value)) = self.pulled
            && range.contains(datamodel::Timestamp::from_unix_ms(at))
        {
            let last = into.timestamps.get(before..).and_then(<[i64]>::last);
            if last.is_none_or(|last| *last < at) {
                into.push(at, value);
            }
        }
        if !into.starts.is_empty() {
            // A pulled sample says nothing of its counter's start.
            into.starts.resize(into.timestamps.len(), 0);
        }
        Ok(())
    }
}

fn copy(from: &Samples, range: TimeRange, into: &mut Samples) {
    let mut histograms = from.histograms.iter().peekable();
    for (index, (at, value)) in from.timestamps.iter().zip(&from.values).enumerate() {
        let histogram = histograms.next_if(|(of, _)| *of == index);
        if !range.contains(datamodel::Timestamp::from_unix_ms(*at)) {
            continue;
        }
        match histogram {
            Some((_, histogram)) => into.push_histogram(*at, Arc::clone(histogram)),
            None => into.push(*at, *value),
        }
        into.starts.extend(from.starts.get(index));
    }
}
