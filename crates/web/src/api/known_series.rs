//! Series that remote write has named before, by the bytes that encode their labels.
//!
//! - [`KnownSeries`]: shared by all requests; a [`KnownReader`] looks up for one of them.
//! - [`LabelKey`]: 128 bits of those bytes, hashed with keys of the process.
//!
//! ```text
//! label bytes ─▶ key ─▶ reference        (unknown: labels are read, looked up, and the key learned after the commit)
//! ```
//!
//! Rule: a key says which series was named, not that the storage still has it: the appender is asked.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use storage::SeriesRef;
use twox_hash::XxHash64;

/// Series that are known at most; with more, all are forgotten and learned again.
pub(crate) const MAX_KNOWN_SERIES: usize = 1_000_000;

/// What label bytes are known by. That two series of a million share one has a chance of 10^-27.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LabelKey(u64, u64);

/// Series by their label bytes.
#[derive(Debug)]
pub(super) struct KnownSeries {
    seeds: (u64, u64),
    by_key: RwLock<HashMap<LabelKey, SeriesRef>>,
}

/// A look into [`KnownSeries`] for the time of one request.
#[derive(Debug)]
pub(super) struct KnownReader<'a> {
    seeds: (u64, u64),
    by_key: RwLockReadGuard<'a, HashMap<LabelKey, SeriesRef>>,
}

impl KnownSeries {
    pub(super) fn new() -> Self {
        let random = || RandomState::new().hash_one(0);
        Self { seeds: (random(), random()), by_key: RwLock::default() }
    }

    pub(super) fn reader(&self) -> KnownReader<'_> {
        KnownReader { seeds: self.seeds, by_key: self.by_key.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Adds what a request has named. No reader of the same thread may be open.
    pub(super) fn learn(&self, learned: Vec<(LabelKey, SeriesRef)>) {
        if learned.is_empty() {
            return;
        }
        let mut by_key = self.by_key.write().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() + learned.len() > MAX_KNOWN_SERIES {
            *by_key = HashMap::new();
        }
        by_key.extend(learned.into_iter().take(MAX_KNOWN_SERIES));
    }
}

impl KnownReader<'_> {
    pub(super) fn key(&self, label_bytes: &[u8]) -> LabelKey {
        let (first, second) = self.seeds;
        LabelKey(XxHash64::oneshot(first, label_bytes), XxHash64::oneshot(second, label_bytes))
    }

    pub(super) fn find(&self, label_bytes: &[u8]) -> Option<SeriesRef> {
        self.by_key.get(&self.key(label_bytes)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_known_by_their_bytes_and_forgotten_all_at_once() {
        let known = KnownSeries::new();
        let learned = {
            let reader = known.reader();
            (0..MAX_KNOWN_SERIES as u64).map(|id| (reader.key(&id.to_le_bytes()), SeriesRef(id))).collect()
        };
        known.learn(learned);
        assert_eq!(known.reader().find(&7_u64.to_le_bytes()), Some(SeriesRef(7)));
        assert_eq!(known.reader().find(b"7"), None);
        let one = (known.reader().key(b"one more"), SeriesRef(1));
        known.learn(vec![one]);
        assert_eq!(known.reader().find(b"one more"), Some(SeriesRef(1)));
        assert_eq!(known.reader().find(&7_u64.to_le_bytes()), None);
    }
}
