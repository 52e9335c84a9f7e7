//! A batch, sorted into rows before it is written: what is taken, what is refused, who leaves a group.
//!
//! ```text
//! samples ─▶ sorted by (group, instant, column) ─▶ rows that continue their group
//!                                               └▶ others, decided one by one with `settle`
//! ```
//!
//! Rule: a row continues its group if it is newer than all of the group and not much smaller than the
//! largest row of the batch; every other sample's series is looked at alone.

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::{Histogram, Labels, Timestamp};
use storage::{AppendError, Exemplar, SeriesRef};

use super::{Head, Last};

/// One sample of a batch as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) series: SeriesRef,
    pub(crate) at: i64,
    pub(crate) bits: u64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

/// One sample with its place in the head.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) group: u32,
    pub(crate) column: u32,
    pub(crate) series: u32,
    pub(crate) at: i64,
    pub(crate) bits: u64,
    pub(crate) histogram: Option<Arc<Histogram>>,
    /// Index into the batch.
    pub(crate) order: u32,
}

impl Entry {
    fn key(&self) -> (u32, i64, u32, u32) {
        (self.group, self.at, self.column, self.order)
    }

    fn same_value(&self, bits: u64, histogram: Option<&Arc<Histogram>>) -> bool {
        match (&self.histogram, histogram) {
            (None, None) => self.bits == bits,
            (Some(a), Some(b)) => crate::histogram::same(a, b),
            _ => false,
        }
    }
}

/// The cells of one group at one instant, ascending by column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) group: u32,
    pub(crate) at: i64,
    pub(crate) cells: &'a [Entry],
}

/// An exemplar with the place of its series in the head.
#[derive(Clone, Debug)]
pub(crate) struct PlannedExemplar {
    pub(crate) group: u32,
    pub(crate) column: u32,
    pub(crate) series: Labels,
    pub(crate) exemplar: Exemplar,
}

/// A batch in rows.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// Rows that continue their group, ascending by group and instant.
    taken: Vec<Entry>,
    /// Samples that need a look at their series, in the same order.
    unsettled: Vec<Entry>,
    /// Samples behind newer ones of their series, inside the window, ascending by group and instant.
    late: Vec<Entry>,
    /// Exemplars that will be taken.
    pub(crate) exemplars: Vec<PlannedExemplar>,
    /// Samples that were left out: index into the batch and why.
    pub(crate) refused: Vec<(u32, AppendError)>,
}

impl Planned {
    /// Whether nothing is to be written.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0 && self.exemplars.is_empty()
    }

    /// The rows that continue their group, ascending by group and instant.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        rows_of(&self.taken)
    }

    /// All rows, as they are logged: late ones behind the others.
    pub(crate) fn logged_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows().chain(rows_of(&self.late))
    }

    pub(crate) fn late(&self) -> &[Entry] {
        &self.late
    }

    /// Samples that will be written.
    pub(crate) const fn len(&self) -> usize {
        self.taken.len() + self.late.len()
    }
}

fn rows_of(entries: &[Entry]) -> impl Iterator<Item = Row<'_>> {
    entries.chunk_by(|a, b| a.group == b.group && a.at == b.at).filter_map(|cells| {
        let first = cells.first()?;
        Some(Row { group: first.group, at: first.at, cells })
    })
}

/// Sorts a batch into rows. Samples before `oldest_ms` are refused.
pub(crate) fn plan(head: &Head, batch: Vec<Sample>, oldest_ms: Option<i64>) -> Planned {
    let mut planned = Planned::default();
    let mut entries = Vec::with_capacity(batch.len());
    for (sample, order) in batch.into_iter().zip(0..) {
        match head.locate(sample.series) {
            Some(_) if Some(sample.at) < oldest_ms => {
                let (at, oldest) = (sample.at, oldest_ms.unwrap_or(i64::MIN));
                let (at, oldest) = (Timestamp::from_unix_ms(at), Timestamp::from_unix_ms(oldest));
                planned.refused.push((order, AppendError::TooOld { at, oldest }));
            }
            Some((series, group, column)) => entries.push(Entry {
                group,
                column,
                series,
                at: sample.at,
                bits: sample.bits,
                histogram: sample.histogram,
                order,
            }),
            None => planned.refused.push((order, AppendError::UnknownSeries)),
        }
    }
    if !entries.is_sorted_by_key(Entry::key) {
        entries.sort_unstable_by_key(Entry::key);
    }
    entries.dedup_by(|later, first| {
        let twice = later.key().0 == first.key().0 && later.at == first.at && later.column == first.column;
        if twice && !first.same_value(later.bits, later.histogram.as_ref()) {
            planned.refused.push((later.order, AppendError::Duplicate(Timestamp::from_unix_ms(later.at))));
        }
        twice
    });
    if all_continue(head, &entries) {
        planned.taken = entries;
    } else {
        for of_group in entries.chunk_by(|a, b| a.group == b.group) {
            split(head, of_group, &mut planned);
        }
    }
    planned
}

/// The usual batch: one row for each of its groups, newer than all before.
fn all_continue(head: &Head, entries: &[Entry]) -> bool {
    entries.chunk_by(|a, b| a.group == b.group).all(|of_group| {
        let one_row = of_group.first().map(|first| first.at) == of_group.last().map(|last| last.at);
        let newer = |first: &Entry| head.group(first.group).is_some_and(|group| Some(first.at) > group.barrier_ms());
        one_row && of_group.first().is_some_and(newer)
    })
}

fn split(head: &Head, of_group: &[Entry], planned: &mut Planned) {
    let largest = of_group.chunk_by(|a, b| a.at == b.at).map(<[Entry]>::len).max().unwrap_or(0);
    for row in of_group.chunk_by(|a, b| a.at == b.at) {
        let Some(first) = row.first() else { continue };
        let newer = head.group(first.group).is_some_and(|group| Some(first.at) > group.barrier_ms());
        if newer && row.len() * 2 >= largest {
            planned.taken.extend_from_slice(row);
        } else {
            planned.unsettled.extend_from_slice(row);
        }
    }
}

/// What a settled batch changes in the head before its rows are written.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Groups of which it is now known where their sealed samples end.
    floors: Vec<(u32, Option<i64>)>,
    /// Series that leave their group.
    leaving: Vec<u32>,
    settled: Vec<Entry>,
    late: Vec<Entry>,
}

/// What else is known of the series of unsettled samples.
pub(crate) trait Past {
    /// The newest sealed sample of a series, as far as it is newer than `after` and not older than `at`.
    fn last_sealed(&self, head: &Head, series: u32, after: Option<i64>, at: i64) -> Result<Option<Last>, AppendError>;

    /// The sample of a series at an instant, wherever it is.
    fn exactly(&self, head: &Head, series: u32, at: i64) -> Result<Option<Last>, AppendError>;

    /// Where the out-of-order window begins; `None` if there is none.
    fn window_start(&self, head: &Head) -> Option<i64>;
}

/// What becomes of one unsettled sample.
enum Fate {
    /// It is newer than all of its series.
    Newest,
    /// It lies behind the newest one, inside the window.
    Late,
    /// The series has it already.
    Known,
}

fn fate(head: &Head, entry: &Entry, past: &impl Past) -> Result<Fate, AppendError> {
    let in_head = head.last(entry.series);
    let sealed = past.last_sealed(head, entry.series, in_head.as_ref().map(|last| last.at), entry.at)?;
    let Some(last) = newer(in_head, sealed).filter(|last| last.at >= entry.at) else { return Ok(Fate::Newest) };
    let at = Timestamp::from_unix_ms(entry.at);
    let other = if last.at == entry.at {
        Some(last)
    } else if past.window_start(head).is_some_and(|start| start <= entry.at) {
        past.exactly(head, entry.series, entry.at)?
    } else {
        return Err(AppendError::OutOfOrder { at, end: Timestamp::from_unix_ms(last.at) });
    };
    match other {
        None => Ok(Fate::Late),
        Some(other) if entry.same_value(other.bits, other.histogram.as_ref()) => Ok(Fate::Known),
        Some(_) => Err(AppendError::Duplicate(at)),
    }
}

/// Decides on the samples that need a look at their series.
pub(crate) fn settle(head: &Head, planned: &mut Planned, past: &impl Past) -> Moves {
    let mut moves = Moves::default();
    for entry in std::mem::take(&mut planned.unsettled) {
        match fate(head, &entry, past) {
            Ok(Fate::Newest) => moves.settled.push(entry),
            Ok(Fate::Late) => moves.late.push(entry),
            Ok(Fate::Known) => {}
            Err(error) => planned.refused.push((entry.order, error)),
        }
    }
    // A row that only had to be looked at, because a segment might have held newer samples, stays a row.
    for row in moves.settled.chunk_by(|a, b| a.group == b.group && a.at == b.at) {
        let Some(first) = row.first() else { continue };
        let Some(group) = head.group(first.group) else { continue };
        let continues =
            Some(first.at) > group.last_ms && (row.len() * 2 >= group.series.len() || group.series.len() == 1);
        if continues && row.len() == group.series.len() {
            moves.floors.push((first.group, group.last_ms));
        } else if !continues && group.series.len() > 1 {
            moves.leaving.extend(row.iter().map(|entry| entry.series));
        }
    }
    moves
}

fn newer(a: Option<Last>, b: Option<Last>) -> Option<Last> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.at > a.at { b } else { a }),
        (a, b) => a.or(b),
    }
}

impl Moves {
    /// Whether the head stays as it is and nothing was settled.
    pub(crate) const fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.late.is_empty()
    }

    /// Moves the series that leave, and adds the settled samples to the planned ones.
    pub(crate) fn apply(mut self, head: &mut Head, planned: &mut Planned) {
        let mut newest_rows: HashMap<u32, i64> = HashMap::new();
        for entry in &planned.taken {
            let newest = newest_rows.entry(entry.group).or_insert(entry.at);
            *newest = entry.at.max(*newest);
        }
        self.leaving.sort_unstable();
        self.settled.sort_unstable_by_key(|entry| (entry.series, entry.at));
        for of_series in self.settled.chunk_by_mut(|a, b| a.series == b.series) {
            let Some(Entry { series, group, .. }) = of_series.first().cloned() else { continue };
            if self.leaving.binary_search(&series).is_err() {
                continue;
            }
            let last_ms = head.group(group).and_then(|group| group.last_ms);
            let created = head.leave_group(series, last_ms.max(newest_rows.get(&group).copied()));
            for entry in of_series {
                entry.group = created;
                entry.column = 0;
            }
        }
        for (group, floor_ms) in self.floors {
            head.set_floor(group, floor_ms);
        }
        planned.taken.append(&mut self.settled);
        planned.taken.sort_unstable_by_key(Entry::key);
        for mut entry in self.late {
            // The series may have left its group just now.
            (entry.group, entry.column) = head.writes_to(entry.series).unwrap_or((entry.group, entry.column));
            planned.late.push(entry);
        }
        planned.late.sort_unstable_by_key(Entry::key);
    }
}
