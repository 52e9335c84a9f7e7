//! Ascending timestamps: a first one and a step; differences to the step only where there are any.
//!
//! Rule: what comes out ascends strictly, or is refused.

use crate::bytes::{Corrupt, Reader, put_signed, unzigzag, zigzag};

use super::packed;

const REGULAR: u8 = 0;
const PACKED: u8 = 1;

/// Timestamps in Unix milliseconds, as they are stored.
#[derive(Debug)]
pub(super) enum Times {
    /// `first + i × step`.
    Regular { first: i64, step: i64, count: usize },
    /// One by one.
    Listed(Vec<i64>),
}

/// Appends the timestamps; their number is not written.
pub(super) fn put(out: &mut Vec<u8>, times: &[i64]) {
    let Some(first) = times.first() else { return };
    // Strictly ascending timestamps may be further apart than an i64 holds: the difference wraps, and so
    // does the sum when it is read.
    let deltas: Vec<i64> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let mut sorted = deltas.clone();
    sorted.sort_unstable();
    let step = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    if deltas.iter().all(|delta| *delta == step) {
        out.push(REGULAR);
        put_signed(out, *first);
        put_signed(out, step);
    } else {
        out.push(PACKED);
        put_signed(out, *first);
        put_signed(out, step);
        packed::put(out, deltas.len(), |at| zigzag(deltas[at].wrapping_sub(step)));
    }
}

/// Reads `count` timestamps.
pub(super) fn read(bytes: &[u8], count: usize) -> Result<Times, Corrupt> {
    let mut reader = Reader(bytes);
    let kind = reader.byte()?;
    let first = reader.signed()?;
    let step = reader.signed()?;
    if kind == REGULAR {
        let last = i64::try_from(count.saturating_sub(1)).ok().and_then(|n| step.checked_mul(n)?.checked_add(first));
        // Two instants that are further apart than an i64 holds are regular as well, with a wrapped step.
        if count > 2 && (step <= 0 || last.is_none()) {
            return Err(Corrupt("timestamps do not ascend"));
        }
        if count == 2 && first.wrapping_add(step) <= first {
            return Err(Corrupt("timestamps do not ascend"));
        }
        return Ok(Times::Regular { first, step, count });
    }
    if kind != PACKED {
        return Err(Corrupt("unknown form of timestamps"));
    }
    let mut off = Vec::with_capacity(count.saturating_sub(1));
    packed::read(&mut reader, count.saturating_sub(1), &mut off)?;
    let mut times = Vec::with_capacity(count);
    let mut at = first;
    times.push(at);
    for off in off {
        let next = at.wrapping_add(unzigzag(off).wrapping_add(step));
        if next <= at {
            return Err(Corrupt("timestamps do not ascend"));
        }
        at = next;
        times.push(at);
    }
    Ok(Times::Listed(times))
}

impl Times {
    pub(super) fn get(&self, index: usize) -> i64 {
        match self {
            // The product was checked, or there are at most two.
            Self::Regular { first, step, .. } => first.wrapping_add(step.wrapping_mul((index as u64).cast_signed())),
            Self::Listed(times) => times.get(index).copied().unwrap_or(i64::MAX),
        }
    }

    /// Appends the timestamps from one place up to another.
    pub(super) fn extend(&self, from: usize, to: usize, into: &mut Vec<i64>) {
        match self {
            Self::Regular { step, .. } => {
                let mut next = self.get(from);
                into.extend((from..to).map(|_| {
                    let at = next;
                    next = next.wrapping_add(*step);
                    at
                }));
            }
            Self::Listed(times) => into.extend_from_slice(times.get(from..to).unwrap_or_default()),
        }
    }

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Regular { count, .. } => *count,
            Self::Listed(times) => times.len(),
        }
    }

    /// The number of timestamps that are before `at`.
    pub(super) fn count_before(&self, at: i64) -> usize {
        match self {
            Self::Regular { count, .. } => {
                let (mut low, mut high) = (0, *count);
                while low < high {
                    let middle = usize::midpoint(low, high);
                    if self.get(middle) < at { low = middle + 1 } else { high = middle }
                }
                low
            }
            Self::Listed(times) => times.partition_point(|time| *time < at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(times: &[i64]) -> usize {
        let mut out = Vec::new();
        put(&mut out, times);
        let back = read(&out, times.len()).unwrap();
        assert_eq!((0..back.len()).map(|index| back.get(index)).collect::<Vec<_>>(), times);
        let mut part = vec![7];
        back.extend(times.len() / 3, times.len(), &mut part);
        assert_eq!(part.split_off(1), times[times.len() / 3..]);
        for at in times {
            assert_eq!(back.count_before(*at), times.partition_point(|time| time < at));
        }
        out.len()
    }

    #[test]
    fn regular_times_take_a_dozen_bytes() {
        let mut times: Vec<i64> = (0..480).map(|n| 1_700_000_000_000 + n * 15_000).collect();
        assert_eq!(check(&times), 1 + 6 + 3);
        times[100] += 3;
        assert!(check(&times) < 40);
        assert_eq!(check(&[i64::MIN, i64::MAX]), 1 + 10 + 1);
        check(&[5]);
        check(&[i64::MIN, 0, i64::MAX]);
    }

    proptest! {
        #[test]
        fn any_ascending_times_come_back(times in proptest::collection::btree_set(any::<i64>(), 1..100),
                                         near in proptest::collection::btree_set(0i64..2000, 1..100)) {
            let list = |set: BTreeSet<i64>| set.into_iter().collect::<Vec<_>>();
            check(&list(times));
            check(&list(near));
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 1usize..200) {
            if let Ok(times) = read(&bytes, count) {
                prop_assert!((1..times.len()).all(|at| times.get(at - 1) < times.get(at)));
            }
        }
    }
}
