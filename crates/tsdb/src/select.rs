//! The series of an answer: found in head and segments, joined by their labels, in order, each with the
//! places of its samples.
//!
//! - [`Selection`]: collects. - [`Selected`]: the result. - [`SelectedSet`]: hands it out.
//!
//! ```text
//! head ids ────┐  pairs as numbers   ┌─▶ series ─▶ place ─▶ place …   (segments first, then the head)
//! segment ids ─┴────────────────────▶┴─▶ series ─▶ place …
//! ```
//!
//! Rule: a label is looked at as text once for an answer, however many series have it; series are told
//! apart and ordered by the numbers of their labels.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use datamodel::Labels;
use datamodel::time::TimeRange;
use storage::{QueryError, Reservation, Samples, Series, SeriesSet};

use crate::bytes::Corrupt;
use crate::codec::chunk::Scratch;
use crate::head::Head;
use crate::head::group::{Frozen, Group, HeadChunk};
use crate::head::index::hash_set;
use crate::query::{copy_range, corrupt, cut, sort_tail};
use crate::segment::Segment;
use crate::table::IdTable;

/// No further place of a series.
const END: u32 = u32::MAX;

/// Series between two looks at the memory.
const SERIES_AT_ONCE: usize = 512;

/// Labels by number: each pair of name and value once.
#[derive(Debug, Default)]
struct Pairs {
    text: String,
    /// Start of the name, start of the value, end of the value.
    places: Vec<(usize, usize, usize)>,
    table: IdTable,
    /// Keyed by the process, so that label values cannot be chosen to collide.
    hasher: RandomState,
}

impl Pairs {
    fn get(&self, number: u32) -> (&str, &str) {
        let (name, value, end) = self.places.get(number as usize).copied().unwrap_or_default();
        (self.text.get(name..value).unwrap_or_default(), self.text.get(value..end).unwrap_or_default())
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        let hash = self.hasher.hash_one((name, value));
        if let Some(known) = self.table.find(hash, |number| self.get(number) == (name, value)) {
            return known;
        }
        // An index holds fewer than four billion pairs.
        let number = self.places.len() as u32;
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        self.text.push_str(value);
        self.places.push((start, middle, self.text.len()));
        self.table.insert(hash, number);
        number
    }

    const fn byte_len(&self) -> usize {
        self.text.len() + self.places.len() * (size_of::<(usize, usize, usize)>() + 16)
    }
}

/// Numbers of an index' pairs in the answer.
struct Mapping(Vec<u32>);

impl Mapping {
    /// For an index of so many pairs. The room is zero pages until it is used.
    fn new(pairs: usize) -> Self {
        Self(vec![0; pairs])
    }

    fn get(&mut self, pair: u32, number: impl FnOnce() -> Result<u32, Corrupt>) -> Result<u32, Corrupt> {
        let place = self.0.get_mut(pair as usize).ok_or(Corrupt("pair is out of range"))?;
        if *place == 0 {
            *place = number()? + 1;
        }
        Ok(*place - 1)
    }
}

/// Where some samples of a series are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Segment, chunk, column.
    Segment(u32, u32, u32),
    /// What is being sealed, and the series there.
    Frozen(u32, u32),
    /// Chunk of the head, column.
    Chunk(u32, u32),
    /// Part of the copied rows.
    Rows(u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct SeriesAt {
    /// Part of the sets.
    set: (u32, u32),
    first: u32,
    last: u32,
}

/// The series of an answer.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pairs: Pairs,
    /// Labels of each series, as numbers of pairs.
    sets: Vec<u32>,
    series: Vec<SeriesAt>,
    places: Vec<(Place, u32)>,
    segments: Vec<Arc<Segment>>,
    chunks: Vec<Arc<HeadChunk>>,
    frozen: Vec<Arc<Frozen>>,
    /// Rows of the head, copied: they change as soon as it is unlocked.
    rows: Samples,
}

impl Selected {
    fn set(&self, series: SeriesAt) -> &[u32] {
        self.sets.get(series.set.0 as usize..series.set.1 as usize).unwrap_or_default()
    }

    /// Bytes held on the heap, at most: a vector may have grown to twice what it holds.
    fn byte_len(&self) -> usize {
        let lists = self.sets.len() * 4
            + self.series.len() * (size_of::<SeriesAt>() + 16)
            + self.places.len() * size_of::<(Place, u32)>()
            + (self.chunks.len() + self.frozen.len()) * 8
            + self.rows.len() * 16
            + self.rows.histograms.len() * 32;
        2 * (lists + self.pairs.byte_len())
    }
}

/// A series of the head before those of the segments are known: end of its set, end of its places.
type HeadSeries = (usize, usize);

/// Collects the series of an answer: the head's first, because it is locked, then the segments'.
pub(crate) struct Selection {
    selected: Selected,
    /// Series by their sets.
    table: IdTable,
    head: Vec<HeadSeries>,
    head_sets: Vec<u32>,
    head_places: Vec<Place>,
    range: TimeRange,
    memory: Reservation,
    labels_only: bool,
}

/// Chunks of the group that was looked at last.
struct GroupAt<'a> {
    group: &'a Group,
    /// The chunks that overlap the range: numbers in the answer.
    chunks: (u32, u32),
    frozen: Option<u32>,
}

impl Selection {
    pub(crate) fn new(range: TimeRange, memory: Reservation, labels_only: bool) -> Self {
        Self {
            selected: Selected::default(),
            table: IdTable::default(),
            head: Vec::new(),
            head_sets: Vec::new(),
            head_places: Vec::new(),
            range,
            memory,
            labels_only,
        }
    }

    /// Reserves for what is held and for a few series more.
    fn reserve(&mut self) -> Result<(), QueryError> {
        let head = self.head.len() * size_of::<HeadSeries>()
            + self.head_sets.len() * 4
            + self.head_places.len() * size_of::<Place>();
        let ahead = SERIES_AT_ONCE * 256;
        Ok(self.memory.resize(self.selected.byte_len() + 2 * head + ahead)?)
    }

    /// Adds the head's series; they get their places when the segments' are known.
    pub(crate) fn add_head(&mut self, head: &Head, ids: &[u32]) -> Result<(), QueryError> {
        let mut mapping = Mapping::new(head.index.pairs_len());
        let mut at: Option<GroupAt<'_>> = None;
        for (count, id) in ids.iter().enumerate() {
            if count.is_multiple_of(SERIES_AT_ONCE) {
                self.reserve()?;
            }
            let before = self.head_places.len();
            for (group, column) in head.places(*id) {
                if !at.as_ref().is_some_and(|at| std::ptr::eq(at.group, group)) {
                    at = Some(self.enter(group));
                }
                if let Some(at) = &at {
                    self.add_places(at, *id, column);
                }
            }
            let from = self.selected.rows.len();
            head.read_late(*id, self.range, &mut self.selected.rows);
            self.push_rows(from);
            if self.head_places.len() == before {
                continue;
            }
            for pair in head.index.pairs_of(*id) {
                let number = mapping.get(*pair, || {
                    let (name, value) = head.index.pair_text(*pair);
                    Ok(self.selected.pairs.number(name, value))
                });
                self.head_sets.push(number.map_err(|source| corrupt("the head", source))?);
            }
            if self.labels_only {
                self.head_places.truncate(before);
                self.selected.rows.clear();
            }
            self.head.push((self.head_sets.len(), self.head_places.len()));
        }
        Ok(())
    }

    fn enter<'a>(&mut self, group: &'a Group) -> GroupAt<'a> {
        let frozen = group.sealing().map(|frozen| {
            self.selected.frozen.push(Arc::clone(frozen));
            self.selected.frozen.len() as u32 - 1
        });
        let first = self.selected.chunks.len() as u32;
        let chunks = group.chunks().iter().filter(|chunk| chunk.overlaps(self.range));
        self.selected.chunks.extend(chunks.cloned());
        GroupAt { group, chunks: (first, self.selected.chunks.len() as u32), frozen }
    }

    fn add_places(&mut self, at: &GroupAt<'_>, series: u32, column: usize) {
        self.head_places.extend(at.frozen.map(|frozen| Place::Frozen(frozen, series)));
        for number in at.chunks.0..at.chunks.1 {
            let chunk = self.selected.chunks.get(number as usize);
            // A chunk has fewer columns than there are series.
            let column = chunk.and_then(|chunk| chunk.column_of(series, column)).map(|column| column as u32);
            self.head_places.extend(column.map(|column| Place::Chunk(number, column)));
        }
        let from = self.selected.rows.len();
        at.group.rows().read(column, self.range, &mut self.selected.rows);
        self.push_rows(from);
    }

    fn push_rows(&mut self, from: usize) {
        let to = self.selected.rows.len();
        if to > from {
            // Rows are bounded by the memory, which is checked far below four billion of them.
            self.head_places.push(Place::Rows(from as u32, to as u32));
        }
    }

    /// Adds the series of a segment; segments come in the order of their times.
    pub(crate) fn add_segment(&mut self, segment: &Arc<Segment>, ids: &[u32]) -> Result<(), QueryError> {
        let context = |source| corrupt(&segment.path().display().to_string(), source);
        let mut mapping = Mapping::new(segment.pair_count());
        let number = self.selected.segments.len() as u32;
        self.selected.segments.push(Arc::clone(segment));
        let mut walk = segment.walk();
        // A series differs from the one before in few labels.
        let (mut last, mut set): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for (count, id) in ids.iter().enumerate() {
            if count.is_multiple_of(SERIES_AT_ONCE) {
                self.reserve()?;
            }
            walk.seek(*id).map_err(context)?;
            let pairs = walk.pairs();
            set.resize(pairs.len(), 0);
            for (at, (pair, place)) in pairs.iter().zip(&mut set).enumerate() {
                if last.get(at) != Some(pair) {
                    *place = mapping
                        .get(*pair, || {
                            let (name, value) = segment.pair_text(*pair)?;
                            Ok(self.selected.pairs.number(name, value))
                        })
                        .map_err(context)?;
                }
            }
            last.clear();
            last.extend_from_slice(pairs);
            let mut series = None;
            for (chunk, column) in walk.places().iter().copied() {
                let (first, last) = segment.chunk_bounds(chunk).map_err(context)?;
                if first > self.range.end.unix_ms() || self.range.start.unix_ms() > last {
                    continue;
                }
                let series = *series.get_or_insert_with(|| self.series(&set));
                if !self.labels_only {
                    self.add(series, Place::Segment(number, chunk, column));
                }
            }
        }
        Ok(())
    }

    /// The series with these labels, new or known.
    fn series(&mut self, set: &[u32]) -> u32 {
        let hash = hash_set(set);
        let selected = &self.selected;
        let same = |number: u32| selected.series.get(number as usize).is_some_and(|at| selected.set(*at) == set);
        if let Some(known) = self.table.find(hash, same) {
            return known;
        }
        let number = self.selected.series.len() as u32;
        let start = self.selected.sets.len() as u32;
        self.selected.sets.extend_from_slice(set);
        let set = (start, self.selected.sets.len() as u32);
        self.selected.series.push(SeriesAt { set, first: END, last: END });
        self.table.insert(hash, number);
        number
    }

    fn add(&mut self, series: u32, place: Place) {
        let number = self.selected.places.len() as u32;
        let Some(at) = self.selected.series.get_mut(series as usize) else { return };
        let before = std::mem::replace(&mut at.last, number);
        if at.first == END {
            at.first = number;
        }
        if let Some((_, next)) = self.selected.places.get_mut(before as usize) {
            *next = number;
        }
        self.selected.places.push((place, END));
    }

    /// Everything, ascending by labels.
    pub(crate) fn finish(mut self) -> Result<SelectedSet, QueryError> {
        let (sets, places) = (std::mem::take(&mut self.head_sets), std::mem::take(&mut self.head_places));
        let (mut set_from, mut place_from) = (0, 0);
        for (count, (set_to, place_to)) in std::mem::take(&mut self.head).into_iter().enumerate() {
            if count.is_multiple_of(SERIES_AT_ONCE) {
                self.reserve()?;
            }
            let series = self.series(sets.get(set_from..set_to).unwrap_or_default());
            for place in places.get(place_from..place_to).unwrap_or_default() {
                self.add(series, *place);
            }
            (set_from, place_from) = (set_to, place_to);
        }
        let Self { mut selected, range, mut memory, .. } = self;
        let mut order: Vec<u32> = (0..selected.pairs.places.len() as u32).collect();
        order.sort_unstable_by(|a, b| selected.pairs.get(*a).cmp(&selected.pairs.get(*b)));
        let mut rank = vec![0; order.len()];
        for (place, number) in order.iter().enumerate() {
            if let Some(rank) = rank.get_mut(*number as usize) {
                *rank = place as u32;
            }
        }
        for number in &mut selected.sets {
            *number = rank.get(*number as usize).copied().unwrap_or_default();
        }
        let sorted = order.iter().filter_map(|number| selected.pairs.places.get(*number as usize).copied()).collect();
        selected.pairs.places = sorted;
        let mut series = std::mem::take(&mut selected.series);
        // The first segment's are in order already.
        series.sort_by(|a, b| selected.set(*a).cmp(selected.set(*b)));
        selected.series = series;
        memory.resize(selected.byte_len())?;
        Ok(SelectedSet { selected, range, next: 0, scratch: Scratch::default(), _memory: memory })
    }
}

/// Hands out the series of an answer.
pub(crate) struct SelectedSet {
    selected: Selected,
    range: TimeRange,
    next: usize,
    /// Shared by the series, which are read one after the other.
    scratch: Scratch,
    _memory: Reservation,
}

impl SeriesSet for SelectedSet {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let at = *self.selected.series.get(self.next)?;
        self.next += 1;
        let selected = &self.selected;
        let pairs: Vec<(&str, &str)> = selected.set(at).iter().map(|number| selected.pairs.get(*number)).collect();
        let labels = Labels::from_sorted(&pairs);
        let scratch = RefCell::new(&mut self.scratch);
        Some(Ok(Box::new(Found { labels, selected, first: at.first, range: self.range, scratch })))
    }
}

/// One series of an answer.
struct Found<'a> {
    labels: Labels,
    selected: &'a Selected,
    first: u32,
    range: TimeRange,
    scratch: RefCell<&'a mut Scratch>,
}

impl Series for Found<'_> {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let range = cut(range, self.range);
        let from = into.len();
        let Ok(mut scratch) = self.scratch.try_borrow_mut() else { return Ok(()) };
        let selected = self.selected;
        let mut next = self.first;
        while let Some((place, after)) = selected.places.get(next as usize).copied() {
            next = after;
            match place {
                Place::Segment(number, chunk, column) => {
                    let Some(segment) = selected.segments.get(number as usize) else { continue };
                    segment
                        .read((chunk, column), range, into, &mut scratch)
                        .map_err(|source| corrupt(&segment.path().display().to_string(), source))?;
                }
                Place::Frozen(number, series) => {
                    let Some(frozen) = selected.frozen.get(number as usize) else { continue };
                    frozen.read(series, range, into, &mut scratch).map_err(|source| corrupt("the head", source))?;
                }
                Place::Chunk(number, column) => {
                    let Some(chunk) = selected.chunks.get(number as usize) else { continue };
                    let read = chunk.read(column as usize, range, into, &mut scratch);
                    read.map_err(|source| corrupt("the head", source))?;
                }
                Place::Rows(from, to) => copy_range(&selected.rows, (from as usize, to as usize), range, into),
            }
        }
        sort_tail(into, from);
        Ok(())
    }
}
