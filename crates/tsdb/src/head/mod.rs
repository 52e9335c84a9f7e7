//! What is not sealed yet: series by id, groups of series that share timestamps, their newest rows.
//!
//! - [`generations`]: which references are alive.
//! - [`index`]: labels and postings of the series.
//! - [`group`], [`rows`]: a group, and the table of its newest rows.
//! - [`late`]: samples inside the out-of-order window.
//! - [`seal`]: what is handed over to be sealed, and what is forgotten after that.
//! - [`plan`]: a batch sorted into rows, before anything is written.
//!
//! ```text
//! SeriesRef ─▶ slot ─▶ (group, column)      group: series of one target ─▶ rows
//! ```
//!
//! Rule: nothing here does I/O, and a batch is planned without changing anything that a reader sees.

pub(crate) mod generations;
pub(crate) mod group;
pub(crate) mod index;
pub(crate) mod late;
pub(crate) mod plan;
pub(crate) mod rows;
pub(crate) mod seal;

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::sample::STALE_NAN_BITS;
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Metadata};
use storage::{GroupRef, Samples, SeriesRef};

use crate::open_batches::OpenBatches;
use crate::segment::Segment;

use generations::Generations;
use group::Group;
use index::Index;
use late::Late;
use plan::Row;
use rows::Cell;

/// Where a series writes. The generation tells a series from a later one with the same id.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    group: u32,
    column: u32,
    /// Number of the seal before which the series was created.
    born: u32,
    live: bool,
}

/// Metric families whose metadata are kept; beyond it the newest are forgotten.
const MAX_METADATA: usize = 20_000;

/// References to forgotten groups that are remembered. Beyond it their series get groups of their own
/// again, which costs memory and nothing else.
const MAX_REVIVED: usize = 10_000;

/// The newest sample of a series.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) at: i64,
    pub(crate) bits: u64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

impl Last {
    /// The newest of some samples in ascending order.
    pub(crate) fn of(samples: &Samples) -> Option<Self> {
        let (at, value) = samples.timestamps.last().zip(samples.values.last())?;
        let newest = samples.histograms.last().filter(|(index, _)| index + 1 == samples.len());
        Some(match newest {
            Some((_, histogram)) => Self { at: *at, bits: 0, histogram: Some(Arc::clone(histogram)) },
            None => Self { at: *at, bits: value.to_bits(), histogram: None },
        })
    }
}

/// Series, groups, rows.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) index: Index,
    slots: Vec<Slot>,
    generations: Arc<Generations>,
    batches: Arc<OpenBatches>,
    free_slots: Vec<u32>,
    groups: Vec<Group>,
    free_groups: Vec<u32>,
    /// Groups in which a series has rows from before it left them, each with the seal before which it left.
    former: HashMap<u32, Vec<(u32, u32)>>,
    /// Samples behind newer ones, and those of them that are being sealed.
    late: Late,
    sealing_late: Option<Arc<Late>>,
    /// Groups by references to forgotten ones.
    revived: HashMap<u64, u64>,
    /// Seals so far.
    seals: u32,
    /// Sealed files, in the order of their first instant.
    segments: Arc<[Arc<Segment>]>,
    metadata: HashMap<Arc<str>, Metadata>,
    /// Series that were created and forgotten since the start.
    created: u64,
    forgotten: u64,
    /// Newest sample in any segment.
    pub(crate) sealed_ms: Option<i64>,
    samples: u64,
    /// Staleness markers among the samples.
    ended: u64,
    min_ms: Option<i64>,
    max_ms: Option<i64>,
}

/// The id and the generation in one number.
const fn pack(generation: u32, id: u32) -> u64 {
    (generation as u64) << 32 | id as u64
}

const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

impl Generations {
    /// Whether a reference may be alive; where not, the series is to be created again.
    pub(crate) fn may_live(&self, series: SeriesRef) -> bool {
        let (generation, id) = unpack(series.0);
        self.may_be(id, generation)
    }
}

impl Head {
    /// Series in the head.
    pub(crate) const fn series_len(&self) -> usize {
        self.index.len()
    }

    /// Samples in the head.
    pub(crate) const fn samples_len(&self) -> u64 {
        self.samples
    }

    /// Series that have ended, nearly.
    pub(crate) const fn ended_len(&self) -> u64 {
        self.ended
    }

    /// Oldest and newest sample in the head.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        self.min_ms.zip(self.max_ms)
    }

    /// Newest sample in head and segments.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.max_ms.max(self.sealed_ms)
    }

    /// Bytes held, nearly.
    pub(crate) fn byte_len(&self) -> usize {
        let groups: usize = self.groups.iter().map(Group::byte_len).sum();
        self.index.byte_len() + self.slots.len() * size_of::<Slot>() + groups + self.late.byte_len()
    }

    pub(crate) fn group(&self, id: u32) -> Option<&Group> {
        self.groups.get(id as usize).filter(|group| group.live)
    }

    pub(crate) fn create_group(&mut self) -> GroupRef {
        let floor_ms = self.sealed_ms;
        let id = self.free_groups.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            // Each group has a series of its own sooner or later, and series ids have 32 bits.
            (self.groups.len() - 1) as u32
        });
        let group = &mut self.groups[id as usize];
        *group = Group {
            generation: group.generation.wrapping_add(1),
            live: true,
            born: self.seals,
            floor_ms,
            ..Group::default()
        };
        GroupRef(pack(group.generation, id))
    }

    fn find_group(&self, group: GroupRef) -> Option<u32> {
        let (generation, id) = unpack(group.0);
        self.group(id).filter(|group| group.generation == generation).map(|_| id)
    }

    /// A group for the holder of a reference to one that was forgotten.
    fn revive_group(&mut self, gone: GroupRef) -> u32 {
        let known = self.revived.get(&gone.0).copied();
        if let Some(id) = known.and_then(|revived| self.find_group(GroupRef(revived))) {
            return id;
        }
        let GroupRef(created) = self.create_group();
        if self.revived.len() >= MAX_REVIVED {
            self.revived.clear();
        }
        self.revived.insert(gone.0, created);
        unpack(created).1
    }

    /// The reference of an existing series.
    pub(crate) fn find_series<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<SeriesRef> {
        let id = self.index.find(labels)?;
        self.slots.get(id as usize).map(|slot| SeriesRef(pack(slot.generation, id)))
    }

    /// Creates a series that does not exist. `None` when the index is full.
    pub(crate) fn create_series(&mut self, group: Option<GroupRef>, labels: &Labels) -> Option<SeriesRef> {
        let group = match group {
            Some(group) => self.find_group(group).unwrap_or_else(|| self.revive_group(group)),
            None => unpack(self.create_group().0).1,
        };
        let id = match self.free_slots.last() {
            Some(id) => *id,
            None => u32::try_from(self.slots.len()).ok()?,
        };
        self.index.insert(id, labels)?;
        if self.free_slots.pop().is_none() {
            self.slots.push(Slot { generation: 0, group: 0, column: 0, born: 0, live: false });
        }
        let sealed_ms = self.sealed_ms;
        let target = &mut self.groups[group as usize];
        let slot = &mut self.slots[id as usize];
        // Zero stands for no series.
        let generation = slot.generation.wrapping_add(1).max(1);
        self.generations.set(id, generation);
        *slot = Slot { generation, group, column: target.series.len() as u32, born: self.seals, live: true };
        target.series.push(id);
        target.floor_ms = target.floor_ms.max(sealed_ms);
        self.created += 1;
        Some(SeriesRef(pack(slot.generation, id)))
    }

    /// Tells without the head's lock which references are alive.
    pub(crate) fn generations(&self) -> Arc<Generations> {
        Arc::clone(&self.generations)
    }

    /// The batches that are open, and what was forgotten under them.
    pub(crate) fn open_batches(&self) -> Arc<OpenBatches> {
        Arc::clone(&self.batches)
    }

    /// Series that were created, and that were forgotten, since the start.
    pub(crate) const fn turnover(&self) -> (u64, u64) {
        (self.created, self.forgotten)
    }

    /// Packed chunks of rows.
    pub(crate) fn chunks_len(&self) -> usize {
        self.groups.iter().map(|group| group.chunks().len()).sum()
    }

    /// Where a series writes: its id, group and column.
    pub(crate) fn locate(&self, series: SeriesRef) -> Option<(u32, u32, u32)> {
        let (generation, id) = unpack(series.0);
        let slot = self.slots.get(id as usize).filter(|slot| slot.live && slot.generation == generation)?;
        Some((id, slot.group, slot.column))
    }

    /// Group and column of a series.
    fn writes_to(&self, series: u32) -> Option<(u32, u32)> {
        self.slots.get(series as usize).filter(|slot| slot.live).map(|slot| (slot.group, slot.column))
    }

    /// Lets a series leave its group for one of its own, because it is sampled at other instants.
    /// `floor_ms`: up to here the series may have rows in its old group.
    pub(crate) fn leave_group(&mut self, series: u32, floor_ms: Option<i64>) -> u32 {
        let created = unpack(self.create_group().0).1;
        let slot = &mut self.slots[series as usize];
        let left = std::mem::replace(&mut slot.group, created);
        slot.column = 0;
        self.former.entry(series).or_default().push((left, self.seals));
        let group = &mut self.groups[created as usize];
        group.series.push(series);
        group.floor_ms = group.floor_ms.max(floor_ms);
        created
    }

    /// Notes that no segment holds samples of the group's series after this instant.
    pub(crate) fn set_floor(&mut self, group: u32, floor_ms: Option<i64>) {
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.floor_ms = floor_ms;
        }
    }

    /// After a replay: segments may hold newer samples than the rows of any group.
    pub(crate) fn raise_floors(&mut self) {
        for group in &mut self.groups {
            group.floor_ms = group.floor_ms.max(self.sealed_ms);
        }
    }

    /// The groups with rows of a series, each with the column.
    pub(crate) fn places(&self, series: u32) -> impl Iterator<Item = (&Group, usize)> {
        let slot = self.slots.get(series as usize);
        let former = self.former.get(&series).into_iter().flatten().map(|(group, _)| *group);
        former.chain(slot.map(|slot| slot.group)).filter_map(move |id| {
            let group = self.groups.get(id as usize)?;
            let column = match slot {
                Some(slot) if slot.group == id => slot.column as usize,
                _ => group.series.iter().rposition(|candidate| *candidate == series)?,
            };
            Some((group, column))
        })
    }

    /// The newest sample of a series in the head.
    pub(crate) fn last(&self, series: u32) -> Option<Last> {
        self.places(series).filter_map(|(group, column)| group.last(series, column)).max_by_key(|last| last.at)
    }

    /// Appends the late samples of a series that lie in the range.
    pub(crate) fn read_late(&self, series: u32, range: TimeRange, into: &mut Samples) {
        for late in [self.sealing_late.as_deref(), Some(&self.late)].into_iter().flatten() {
            late.read(series, range, into);
        }
    }

    pub(crate) const fn late_len(&self) -> u64 {
        self.late.len()
    }

    /// Makes planned rows visible.
    pub(crate) fn apply(&mut self, planned: &plan::Planned) {
        for Row { group, at, cells } in planned.rows() {
            let target = &mut self.groups[group as usize];
            let width = target.series.len();
            target.rows.push(
                width,
                at,
                cells.iter().map(|entry| Cell {
                    column: entry.column,
                    bits: entry.bits,
                    histogram: entry.histogram.clone(),
                }),
            );
            target.pack_if_full();
            target.last_ms = target.last_ms.max(Some(at));
            self.samples += cells.len() as u64;
            self.ended += cells.iter().filter(|cell| cell.bits == STALE_NAN_BITS).count() as u64;
            self.min_ms = Some(self.min_ms.map_or(at, |min| min.min(at)));
            self.max_ms = self.max_ms.max(Some(at));
        }
        for entry in planned.late() {
            self.late.insert(entry);
            self.samples += 1;
            self.min_ms = Some(self.min_ms.map_or(entry.at, |min| min.min(entry.at)));
            self.max_ms = self.max_ms.max(Some(entry.at));
        }
    }

    /// Notes what a metric family says about itself.
    pub(crate) fn set_metadata(&mut self, series: SeriesRef, metadata: &Metadata) {
        let Some((id, ..)) = self.locate(series) else { return };
        let labels = self.index.labels(id);
        let Some(name) = labels.metric_name() else { return };
        if let Some(known) = self.metadata.get_mut(name) {
            if known != metadata {
                *known = metadata.clone();
            }
        } else if self.metadata.len() < MAX_METADATA {
            self.metadata.insert(Arc::from(name), metadata.clone());
        }
    }

    /// What the metric families say about themselves.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&Arc<str>, &Metadata)> {
        self.metadata.iter()
    }
}
