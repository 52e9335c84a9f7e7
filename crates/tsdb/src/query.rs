//! Reading: matchers in, names or series out.
//!
//! Rule: the head is locked while its matching rows are copied, and not while a reader works.

use std::collections::BTreeSet;
use std::sync::Arc;

use datamodel::Matcher;
use datamodel::time::TimeRange;
use storage::{ExemplarQueryable, Querier, QueryError, Queryable, Samples, SelectHints, SeriesExemplars, SeriesSet};

use crate::bytes::Corrupt;
use crate::db::{Inner, Tsdb};
use crate::postings::{LabelIndex, resolve};
use crate::select::{SelectedSet, Selection};

impl Queryable for Tsdb {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(TsdbQuerier { inner: &self.inner, range }))
    }
}

impl ExemplarQueryable for Tsdb {
    fn exemplars(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Result<Vec<SeriesExemplars>, QueryError> {
        Ok(self.inner.exemplars().select(range, selectors))
    }
}

struct TsdbQuerier<'a> {
    inner: &'a Inner,
    range: TimeRange,
}

/// The part of both ranges.
pub(crate) fn cut(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { start: a.start.max(b.start), end: a.end.min(b.end) }
}

pub(crate) fn corrupt(what: &str, source: Corrupt) -> QueryError {
    QueryError::Storage { context: format!("read {what}"), source: source.into() }
}

impl TsdbQuerier<'_> {
    /// Calls for each label of the matching series, once or more.
    fn for_each_label(&self, matchers: &[Matcher], visit: &mut dyn FnMut(&str, &str)) -> Result<(), QueryError> {
        let each = |index: &dyn LabelIndex, visit: &mut dyn FnMut(&str, &str)| {
            let series = if matchers.is_empty() { None } else { Some(resolve(index, matchers)?) };
            index.for_each_label(series.as_deref(), visit)
        };
        let head = self.inner.head();
        let segments = Arc::clone(head.segments());
        if head.bounds().is_some_and(|(min, max)| self.overlaps(min, max)) {
            each(&head.index, visit).map_err(|source| corrupt("the head", source))?;
        }
        drop(head);
        for segment in segments.iter().filter(|segment| segment.overlaps(self.range)) {
            each(segment.as_ref(), visit).map_err(|source| corrupt(&segment.path().display().to_string(), source))?;
        }
        Ok(())
    }

    fn overlaps(&self, min_ms: i64, max_ms: i64) -> bool {
        min_ms <= self.range.end.unix_ms() && self.range.start.unix_ms() <= max_ms
    }

    /// The matching series in order of their labels.
    fn matching(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<SelectedSet, QueryError> {
        let range = hints.range.map_or(self.range, |range| cut(range, self.range));
        let mut selection = Selection::new(range, hints.memory.reservation(), hints.labels_only);
        let head = self.inner.head();
        let segments = Arc::clone(head.segments());
        let ids = resolve(&head.index, matchers).map_err(|source| corrupt("the head", source))?;
        selection.add_head(&head, &ids)?;
        drop(head);
        for segment in segments.iter().filter(|segment| segment.overlaps(range)) {
            let ids = resolve(segment.as_ref(), matchers);
            let ids = ids.map_err(|source| corrupt(&segment.path().display().to_string(), source))?;
            selection.add_segment(segment, &ids)?;
        }
        selection.finish()
    }
}

fn limited(set: BTreeSet<Arc<str>>, limit: Option<usize>) -> Vec<Arc<str>> {
    set.into_iter().take(limit.unwrap_or(usize::MAX)).collect()
}

impl Querier for TsdbQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        Ok(Box::new(self.matching(matchers, hints)?))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        let mut names = BTreeSet::new();
        self.for_each_label(matchers, &mut |name, _| {
            if !names.contains(name) {
                names.insert(Arc::from(name));
            }
        })?;
        Ok(limited(names, limit))
    }

    fn label_values(
        &self,
        wanted: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        let mut values = BTreeSet::new();
        self.for_each_label(matchers, &mut |name, value| {
            if name == wanted && !values.contains(value) {
                values.insert(Arc::from(value));
            }
        })?;
        Ok(limited(values, limit))
    }
}

/// Appends the part of `from` that lies in the range; `from` need not be sorted.
pub(crate) fn copy(from: &Samples, range: TimeRange, into: &mut Samples) {
    copy_range(from, (0, from.len()), range, into);
}

/// The same for the samples at some places only.
pub(crate) fn copy_range(from: &Samples, (first, last): (usize, usize), range: TimeRange, into: &mut Samples) {
    let skipped = from.histograms.partition_point(|(place, _)| *place < first);
    let mut histograms = from.histograms.iter().skip(skipped).peekable();
    for index in first..last.min(from.len()) {
        let (at, value) = (from.timestamps[index], from.values[index]);
        let histogram = histograms.next_if(|(place, _)| *place == index);
        if at < range.start.unix_ms() || at > range.end.unix_ms() {
            continue;
        }
        match histogram {
            Some((_, histogram)) => into.push_histogram(at, Arc::clone(histogram)),
            None => into.push(at, value),
        }
    }
}

/// Sorts what was appended from `from` on, if sources overlapped; of two samples of one instant the
/// later source counts.
pub(crate) fn sort_tail(samples: &mut Samples, from: usize) {
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
