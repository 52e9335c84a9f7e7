//! Reading: the series that match, each with what the head and the segments hold of it.
//!
//! Rule: the head is locked while its matching rows are copied, and not while a reader works.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher};
use storage::{
    ExemplarQueryable, Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesExemplars, SeriesSet,
};

use crate::bytes::Corrupt;
use crate::codec::chunk::Scratch;
use crate::db::{Inner, Tsdb};
use crate::head::Head;
use crate::head::group::{Frozen, HeadChunk};
use crate::postings::{LabelIndex, resolve};
use crate::segment::{Segment, Walk};

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
fn cut(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { start: a.start.max(b.start), end: a.end.min(b.end) }
}

fn corrupt(what: &str, source: Corrupt) -> QueryError {
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
    fn matching(&self, matchers: &[Matcher], range: TimeRange, labels_only: bool) -> Result<Vec<Found>, QueryError> {
        let scratch = Arc::default();
        let head = self.inner.head();
        let segments = Arc::clone(head.segments());
        let mut newest = Vec::new();
        let ids = resolve(&head.index, matchers).map_err(|source| corrupt("the head", source))?;
        for id in ids {
            newest.extend(Found::in_head(&head, id, range, labels_only, &scratch));
        }
        drop(head);
        let mut found = Vec::new();
        for segment in segments.iter().filter(|segment| segment.overlaps(range)) {
            let context = |source| corrupt(&segment.path().display().to_string(), source);
            let mut walk = segment.walk();
            for id in resolve(segment.as_ref(), matchers).map_err(context)? {
                walk.seek(id).map_err(context)?;
                let series = Found::in_segment(segment, &walk, range, labels_only, &scratch).map_err(context)?;
                found.extend(series);
            }
        }
        found.append(&mut newest);
        // Stable, so that the sources of a series stay in the order of time.
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found.dedup_by(|later, first| {
            let same = later.labels == first.labels;
            if same {
                first.sources.append(&mut later.sources);
            }
            same
        });
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

struct FoundSet(std::vec::IntoIter<Found>);

impl SeriesSet for FoundSet {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        self.0.next().map(|series| Ok(Box::new(series) as Box<dyn Series>))
    }
}

/// Where some samples of a series are.
enum Source {
    Segment(Arc<Segment>, (u32, u32)),
    Frozen(Arc<Frozen>, u32),
    Chunk(Arc<HeadChunk>, usize),
    /// The newest rows, copied.
    Rows(Samples),
}

/// One series of an answer.
struct Found {
    labels: Labels,
    sources: Vec<Source>,
    range: TimeRange,
    /// Shared by the series of an answer, which are read one after the other.
    scratch: Arc<Mutex<Scratch>>,
}

impl Found {
    fn in_head(
        head: &Head,
        series: u32,
        range: TimeRange,
        labels_only: bool,
        scratch: &Arc<Mutex<Scratch>>,
    ) -> Option<Self> {
        let mut sources = Vec::new();
        for (group, column) in head.places(series) {
            if let Some(frozen) = group.sealing() {
                sources.push(Source::Frozen(Arc::clone(frozen), series));
            }
            for chunk in group.chunks().iter().filter(|chunk| chunk.overlaps(range)) {
                if let Some(column) = chunk.column_of(series, column) {
                    sources.push(Source::Chunk(Arc::clone(chunk), column));
                }
            }
            let mut rows = Samples::default();
            group.rows().read(column, range, &mut rows);
            if !rows.is_empty() {
                sources.push(Source::Rows(rows));
            }
        }
        let mut late = Samples::default();
        head.read_late(series, range, &mut late);
        if !late.is_empty() {
            sources.push(Source::Rows(late));
        }
        if sources.is_empty() {
            return None;
        }
        if labels_only {
            sources.clear();
        }
        Some(Self { labels: head.index.labels(series), sources, range, scratch: Arc::clone(scratch) })
    }

    fn in_segment(
        segment: &Arc<Segment>,
        walk: &Walk<'_>,
        range: TimeRange,
        labels_only: bool,
        scratch: &Arc<Mutex<Scratch>>,
    ) -> Result<Option<Self>, Corrupt> {
        let mut sources = Vec::new();
        for place in walk.places().iter().copied() {
            let (first, last) = segment.chunk_bounds(place.0)?;
            if first <= range.end.unix_ms() && range.start.unix_ms() <= last {
                sources.push(Source::Segment(Arc::clone(segment), place));
            }
        }
        if sources.is_empty() {
            return Ok(None);
        }
        if labels_only {
            sources.clear();
        }
        Ok(Some(Self { labels: walk.labels()?, sources, range, scratch: Arc::clone(scratch) }))
    }
}

impl Series for Found {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let range = cut(range, self.range);
        let from = into.len();
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        for source in &self.sources {
            match source {
                Source::Segment(segment, place) => segment
                    .read(*place, range, into, &mut scratch)
                    .map_err(|source| corrupt(&segment.path().display().to_string(), source))?,
                Source::Frozen(frozen, series) => {
                    frozen.read(*series, range, into, &mut scratch).map_err(|source| corrupt("the head", source))?;
                }
                Source::Chunk(chunk, column) => {
                    chunk.read(*column, range, into, &mut scratch).map_err(|source| corrupt("the head", source))?;
                }
                Source::Rows(rows) => copy(rows, range, into),
            }
        }
        sort_tail(into, from);
        Ok(())
    }
}

/// Appends the part of `from` that lies in the range; `from` need not be sorted.
pub(crate) fn copy(from: &Samples, range: TimeRange, into: &mut Samples) {
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
