//! Batches that are open, and the series that were forgotten under them.
//!
//! A writer may keep a reference for long, and a seal may forget its series between the sample and the commit,
//! when nobody but the storage knows its labels any more.
//!
//! ```text
//! batch opens ── sample (the reference is alive) ── a seal forgets the series ── commit: it is created again
//!      └───────────────── labels and group are remembered from here ─────────────┘
//! ```
//!
//! Rule: a forgotten series is remembered until every batch that was open at that time has ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datamodel::Labels;
use storage::{GroupRef, SeriesRef};

/// What is needed to create a series again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forgotten {
    pub(crate) group: GroupRef,
    pub(crate) labels: Labels,
    /// How often series had been forgotten before.
    at: u64,
}

#[derive(Debug, Default)]
struct State {
    /// How often series were forgotten.
    times: u64,
    /// Open batches by how often series had been forgotten when they began.
    open: BTreeMap<u64, usize>,
    forgotten: HashMap<SeriesRef, Forgotten>,
}

/// The open batches of a storage.
#[derive(Debug, Default)]
pub(crate) struct OpenBatches(Mutex<State>);

/// One open batch, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenBatch<'a> {
    batches: &'a OpenBatches,
    began: u64,
}

/// Series are being forgotten: no batch begins or ends meanwhile, so that each either is found open or finds the
/// references dead.
#[derive(Debug)]
pub(crate) struct Forgetting<'a>(MutexGuard<'a, State>);

impl OpenBatches {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a batch.
    pub(crate) fn open(&self) -> OpenBatch<'_> {
        let mut state = self.state();
        let began = state.times;
        *state.open.entry(began).or_default() += 1;
        drop(state);
        OpenBatch { batches: self, began }
    }

    /// Begins to forget series.
    pub(crate) fn forgetting(&self) -> Forgetting<'_> {
        let mut state = self.state();
        state.times += 1;
        Forgetting(state)
    }

    /// Series that are remembered.
    pub(crate) fn remembered_len(&self) -> usize {
        self.state().forgotten.len()
    }

    /// Whether the series is remembered.
    pub(crate) fn remembers(&self, series: SeriesRef) -> bool {
        self.state().forgotten.contains_key(&series)
    }

    /// Those of the series that are remembered.
    pub(crate) fn find(&self, series: impl Iterator<Item = SeriesRef>) -> HashMap<SeriesRef, Forgotten> {
        let state = self.state();
        if state.forgotten.is_empty() {
            return HashMap::new();
        }
        series.filter_map(|series| Some((series, state.forgotten.get(&series)?.clone()))).collect()
    }
}

impl Forgetting<'_> {
    /// Whether a batch is open that may name what is forgotten.
    pub(crate) fn is_watched(&self) -> bool {
        !self.0.open.is_empty()
    }

    /// Remembers a series that is forgotten now.
    pub(crate) fn remember(&mut self, series: SeriesRef, group: GroupRef, labels: Labels) {
        let at = self.0.times;
        self.0.forgotten.insert(series, Forgotten { group, labels, at });
    }
}

impl Drop for OpenBatch<'_> {
    fn drop(&mut self) {
        let mut state = self.batches.state();
        if let Some(count) = state.open.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.began);
            }
        }
        if state.forgotten.is_empty() {
            return;
        }
        match state.open.first_key_value().map(|(began, _)| *began) {
            // Batches that began since found these references dead.
            Some(oldest) => state.forgotten.retain(|_, forgotten| forgotten.at > oldest),
            None => state.forgotten = HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget(batches: &OpenBatches, series: u64) -> bool {
        let mut forgetting = batches.forgetting();
        let is_watched = forgetting.is_watched();
        if is_watched {
            forgetting.remember(SeriesRef(series), GroupRef(1), Labels::from_pairs([("n", "1")]));
        }
        is_watched
    }

    #[test]
    fn series_are_remembered_until_the_batches_of_that_time_have_ended() {
        let batches = OpenBatches::default();
        assert!(!forget(&batches, 1), "nobody could name it");
        let first = batches.open();
        assert!(forget(&batches, 2));
        let second = batches.open();
        assert!(forget(&batches, 3));
        assert_eq!(batches.remembered_len(), 2);
        drop(first);
        assert!(!batches.remembers(SeriesRef(2)), "the second batch began when it was gone");
        assert!(batches.remembers(SeriesRef(3)));
        assert_eq!(batches.find([SeriesRef(2), SeriesRef(3)].into_iter()).len(), 1);
        drop(second);
        assert_eq!(batches.remembered_len(), 0);
    }
}
