//! Samples that came behind newer ones of their series, inside the out-of-order window.
//!
//! They are few: each is kept for itself until the head is sealed, where it becomes an ordinary column.
//!
//! Rule: no instant is here that the series has anywhere else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datamodel::Histogram;
use datamodel::time::TimeRange;
use storage::Samples;

use super::plan::Entry;

type BySeries = HashMap<u32, BTreeMap<i64, (u64, Option<Arc<Histogram>>)>>;

/// Late samples by series and instant.
#[derive(Debug, Default)]
pub(crate) struct Late {
    series: BySeries,
    len: u64,
}

impl Late {
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Bytes held on the heap, nearly.
    pub(super) fn byte_len(&self) -> usize {
        // An entry of a tree that is half full, and a tree for each series.
        self.len as usize * 64 + self.series.len() * 64
    }

    pub(super) fn insert(&mut self, entry: &Entry) {
        self.series.entry(entry.series).or_default().insert(entry.at, (entry.bits, entry.histogram.clone()));
        self.len += 1;
    }

    pub(super) fn contains(&self, series: u32) -> bool {
        self.series.contains_key(&series)
    }

    /// The oldest instant.
    pub(super) fn first_ms(&self) -> Option<i64> {
        self.series.values().filter_map(|samples| samples.first_key_value()).map(|(at, _)| *at).min()
    }

    /// Appends the samples of a series that lie in the range.
    pub(crate) fn read(&self, series: u32, range: TimeRange, into: &mut Samples) {
        if range.start > range.end {
            return;
        }
        let samples = self.series.get(&series).into_iter();
        for (at, (bits, histogram)) in
            samples.flat_map(|samples| samples.range(range.start.unix_ms()..=range.end.unix_ms()))
        {
            match histogram {
                Some(histogram) => into.push_histogram(*at, Arc::clone(histogram)),
                None => into.push(*at, f64::from_bits(*bits)),
            }
        }
    }

    /// The series by id, each with all its samples.
    pub(crate) fn all(&self) -> Vec<(u32, Samples)> {
        let mut ids: Vec<u32> = self.series.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter()
            .map(|series| {
                let mut samples = Samples::default();
                self.read(series, TimeRange::ALL, &mut samples);
                (series, samples)
            })
            .collect()
    }
}
