//! Sealing, as the head sees it: everything is frozen at once, and forgotten when a segment holds it.
//!
//! ```text
//! freeze ─▶ a segment is written, readers see the frozen rows ─▶ finish: segment in, frozen rows out
//! ```
//!
//! Rule: no reader misses a sample or sees one twice: segment and frozen rows change places under one lock.

use std::collections::HashSet;
use std::sync::Arc;

use storage::{GroupRef, Samples, SeriesRef};

use crate::bytes::Corrupt;
use crate::codec::chunk::Scratch;
use crate::segment::Segment;

use super::group::{Frozen, Group};
use super::late::Late;
use super::{Head, pack};

/// What one seal takes from the head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frost {
    pub(crate) groups: Vec<Arc<Frozen>>,
    pub(crate) late: Arc<Late>,
}

/// The series of a seal, by id.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// Those with a sample that go on.
    pub(crate) sampled: HashSet<u32>,
    /// Those whose newest sample is a staleness marker.
    pub(crate) ended: HashSet<u32>,
}

/// What changed when a seal was finished.
#[derive(Debug, Default)]
pub(crate) struct Thawed {
    /// Groups whose columns changed: the log must define them anew.
    pub(crate) changed_groups: Vec<u32>,
    /// The index was made anew: numbers of symbols changed.
    pub(crate) index_rebuilt: bool,
}

impl Head {
    /// The sealed files, in the order of their first instant.
    pub(crate) const fn segments(&self) -> &Arc<[Arc<Segment>]> {
        &self.segments
    }

    /// Puts other files in the place of the sealed ones.
    pub(crate) fn set_segments(&mut self, mut segments: Vec<Arc<Segment>>) {
        segments.sort_by_key(|segment| (segment.min_ms, segment.number()));
        let newest = segments.iter().map(|segment| segment.max_ms).max();
        self.sealed_ms = self.sealed_ms.max(newest);
        self.segments = Arc::from(segments);
    }

    /// Takes everything that is to be sealed. It stays visible until [`finish_seal`](Self::finish_seal).
    pub(crate) fn freeze(&mut self) -> Frost {
        let groups = self.groups.iter_mut().filter_map(Group::freeze).collect();
        self.samples = 0;
        self.ended = 0;
        self.seals = self.seals.wrapping_add(1);
        let late = Arc::new(std::mem::take(&mut self.late));
        self.sealing_late = Some(Arc::clone(&late));
        Frost { groups, late }
    }

    /// Puts the segment in the place of what was frozen. Series and groups without a sample since the seal
    /// before are forgotten, and those that have ended.
    pub(crate) fn finish_seal(&mut self, segment: Option<Arc<Segment>>, sealed: &Sealed) -> Thawed {
        if let Some(segment) = segment {
            let mut segments = self.segments.to_vec();
            segments.push(segment);
            self.set_segments(segments);
        }
        for group in &mut self.groups {
            group.sealing = None;
        }
        self.sealing_late = None;
        let seals = self.seals;
        self.former.retain(|_, groups| {
            groups.retain(|(_, left)| *left == seals);
            !groups.is_empty()
        });
        let thawed = self.forget(sealed);
        self.count_bounds();
        thawed
    }

    fn count_bounds(&mut self) {
        let live = || self.groups.iter().filter(|group| group.live);
        let packed =
            |group: &Group| group.chunks.first().and_then(|chunk| chunk.view().ok()).map(|view| view.bounds().0);
        let first = |group: &Group| packed(group).or_else(|| group.rows.times().first().copied());
        self.min_ms = live().filter_map(first).chain(self.late.first_ms()).min();
        let has_rows = |group: &&Group| !group.rows.is_empty() || !group.chunks.is_empty();
        self.max_ms = live().filter(has_rows).filter_map(|group| group.last_ms).max();
    }

    /// Forgets series without samples, columns without series, groups without columns.
    fn forget(&mut self, sealed: &Sealed) -> Thawed {
        let mut thawed = Thawed::default();
        let mut gone = Vec::new();
        for id in 0..self.groups.len() {
            let group = &self.groups[id];
            // Rows that were packed meanwhile have their own columns: wait for the next seal.
            if !group.live || !group.chunks.is_empty() {
                continue;
            }
            let keep: Vec<bool> = (0..group.series.len()).map(|column| self.keeps(id, column, sealed)).collect();
            let dead_group = group.series.is_empty() && group.born.wrapping_add(1) < self.seals;
            if keep.iter().all(|keep| *keep) && !dead_group {
                continue;
            }
            self.drop_columns(id, &keep, &mut gone);
            // Group ids come from a u32.
            thawed.changed_groups.push(id as u32);
        }
        gone.sort_unstable();
        gone.dedup();
        self.remember(&gone);
        self.index.remove(&gone);
        for id in &gone {
            self.slots[*id as usize].live = false;
            self.free_slots.push(*id);
        }
        self.forgotten += gone.len() as u64;
        if let Some(rebuilt) = self.index.rebuilt() {
            self.index = rebuilt;
            thawed.index_rebuilt = true;
        }
        thawed
    }

    /// Lets the references of series die, and keeps for the open batches what they may need of them.
    fn remember(&self, gone: &[u32]) {
        let mut forgetting = self.batches.forgetting();
        for id in gone {
            let slot = self.slots[*id as usize];
            if forgetting.is_watched() {
                let group = self.groups.get(slot.group as usize).map_or(0, |group| group.generation);
                let group = GroupRef(pack(group, slot.group));
                forgetting.remember(SeriesRef(pack(slot.generation, *id)), group, self.index.labels(*id));
            }
            self.generations.set(*id, 0);
        }
    }

    /// Whether a column of a group still counts.
    fn keeps(&self, group: usize, column: usize, sealed: &Sealed) -> bool {
        let table = &self.groups[group];
        let Some(series) = table.series.get(column) else { return true };
        let Some(slot) = self.slots.get(*series as usize).filter(|slot| slot.live) else { return false };
        if slot.group as usize != group || slot.column as usize != column {
            // The series has left: the column counts while rows from before are here.
            return self.former.get(series).is_some_and(|groups| groups.iter().any(|(id, _)| *id as usize == group));
        }
        // A young series may belong to a batch that is not committed yet.
        let goes_on = sealed.sampled.contains(series) || slot.born.wrapping_add(1) >= self.seals;
        (goes_on && !sealed.ended.contains(series)) || table.rows.has(column) || self.late.contains(*series)
    }

    fn drop_columns(&mut self, id: usize, keep: &[bool], gone: &mut Vec<u32>) {
        let group = &mut self.groups[id];
        group.rows.retain_columns(keep);
        let old = std::mem::take(&mut group.series);
        for (series, keep) in old.into_iter().zip(keep) {
            let Some(slot) = self.slots.get_mut(series as usize) else { continue };
            let writes_here = slot.live && slot.group as usize == id;
            if *keep {
                if writes_here {
                    slot.column = group.series.len() as u32;
                }
                group.series.push(series);
            } else if writes_here {
                gone.push(series);
            }
        }
        if group.series.is_empty() && group.born.wrapping_add(1) < self.seals {
            group.live = false;
            // A group id is as long as a series id.
            self.free_groups.push(id as u32);
        }
    }
}

impl Frost {
    /// All samples of a series in one of the frozen groups.
    pub(crate) fn read(frozen: &Frozen, series: u32, scratch: &mut Scratch) -> Result<Samples, Corrupt> {
        let mut samples = Samples::default();
        frozen.read(series, datamodel::time::TimeRange::ALL, &mut samples, scratch)?;
        Ok(samples)
    }
}
