//! Reading: the series that match, each with what the head and the segments hold of it.
//!
//! Rule: the head is locked while its matching rows are copied, and not while a reader works.

use std::collections::BTreeSet;
use std::sync::Arc;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher};
use storage::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

use crate::bytes::Corrupt;
use crate::db::{Inner, Tsdb};
use crate::postings::resolve;

impl Queryable for Tsdb {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(TsdbQuerier { inner: &self.inner, range }))
    }
}

struct TsdbQuerier<'a> {
    inner: &'a Inner,
    range: TimeRange,
}

/// The part of both ranges.
fn cut(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { start: a.start.max(b.start), end: a.end.min(b.end) }
}

fn corrupt(what: &str, source: Corrupt) -> QueryError {
    QueryError::Storage { context: what.to_owned(), source: source.into() }
}

impl TsdbQuerier<'_> {
    /// The matching series in order of their labels.
    fn matching(&self, matchers: &[Matcher], range: TimeRange, labels_only: bool) -> Result<Vec<Found>, QueryError> {
        let mut found = Vec::new();
        {
            let head = self.inner.head();
            let ids = resolve(&head.index, matchers).map_err(|source| corrupt("read the head", source))?;
            for id in ids {
                let mut newest = Samples::default();
                head.read(id, range, &mut newest);
                if newest.is_empty() {
                    continue;
                }
                if labels_only {
                    newest = Samples::default();
                }
                found.push(Found { labels: head.index.labels(id), newest, range });
            }
        }
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }
}

fn limited(set: BTreeSet<Arc<str>>, limit: Option<usize>) -> Vec<Arc<str>> {
    set.into_iter().take(limit.unwrap_or(usize::MAX)).collect()
}

impl Querier for TsdbQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        let range = hints.range.map_or(self.range, |range| cut(range, self.range));
        let found = self.matching(matchers, range, hints.labels_only)?;
        Ok(Box::new(FoundSet(found.into_iter())))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        let found = self.matching(matchers, self.range, true)?;
        Ok(limited(found.iter().flat_map(|series| &series.labels).map(|(name, _)| Arc::from(name)).collect(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        let found = self.matching(matchers, self.range, true)?;
        Ok(limited(found.iter().filter_map(|series| series.labels.get(name)).map(Arc::from).collect(), limit))
    }
}

struct FoundSet(std::vec::IntoIter<Found>);

impl SeriesSet for FoundSet {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        self.0.next().map(|series| Ok(Box::new(series) as Box<dyn Series>))
    }
}

/// One series of an answer.
struct Found {
    labels: Labels,
    newest: Samples,
    range: TimeRange,
}

impl Series for Found {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let range = cut(range, self.range);
        let from = into.len();
        copy(&self.newest, range, into);
        sort_tail(into, from);
        Ok(())
    }
}

/// Appends the part of `from` that lies in the range; `from` need not be sorted.
fn copy(from: &Samples, range: TimeRange, into: &mut Samples) {
    let mut histograms = from.histograms.iter().peekable();
    for (index, (at, value)) in from.timestamps.iter().zip(&from.values).enumerate() {
        let histogram = histograms.next_if(|(place, _)| *place == index);
        if *at < range.start.unix_ms() || *at > range.end.unix_ms() {
            continue;
        }
        match histogram {
            Some((_, histogram)) => into.push_histogram(*at, Arc::clone(histogram)),
            None => into.push(*at, *value),
        }
    }
}

/// Sorts what was appended from `from` on, if sources overlapped; of two samples of one instant the
/// later source counts.
fn sort_tail(samples: &mut Samples, from: usize) {
    let tail = samples.timestamps.get(from..).unwrap_or(&[]);
    if tail.windows(2).all(|pair| matches!(pair, [a, b] if a < b)) {
        return;
    }
    let mut order: Vec<usize> = (from..samples.len()).collect();
    order.sort_by_key(|index| samples.timestamps[*index]);
    let mut sorted = Samples::default();
    for (place, index) in order.iter().enumerate() {
        let at = samples.timestamps[*index];
        if order.get(place + 1).is_some_and(|next| samples.timestamps[*next] == at) {
            continue;
        }
        match samples.histograms.binary_search_by_key(index, |(index, _)| *index) {
            Ok(found) => sorted.push_histogram(at, Arc::clone(&samples.histograms[found].1)),
            Err(_float) => sorted.push(at, samples.values[*index]),
        }
    }
    samples.timestamps.truncate(from);
    samples.values.truncate(from);
    samples.histograms.retain(|(index, _)| *index < from);
    samples.timestamps.append(&mut sorted.timestamps);
    samples.values.append(&mut sorted.values);
    samples.histograms.extend(sorted.histograms.into_iter().map(|(index, histogram)| (index + from, histogram)));
}
