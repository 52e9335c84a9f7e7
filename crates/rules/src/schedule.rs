//! When a group is evaluated.
//!
//! Rule: the times of a group depend on its name and interval alone, so that a restart keeps them.

use std::time::Duration;

use datamodel::time::duration_ms;
use datamodel::{Labels, Timestamp};

/// The times at which a group is evaluated: every interval, moved by a hash of file and name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    pub(crate) fn new(file: &str, name: &str, interval: Duration) -> Self {
        let interval_ms = duration_ms(interval).max(1);
        let hash = Labels::from_pairs([("file", file), ("name", name)]).hash64();
        let offset = hash % u64::try_from(interval_ms).unwrap_or(1);
        Self { interval_ms, offset_ms: i64::try_from(offset).unwrap_or_default() }
    }

    /// The first time after `now`.
    pub(crate) fn after(&self, now: Timestamp) -> Timestamp {
        let into = now.unix_ms().saturating_sub(self.offset_ms).rem_euclid(self.interval_ms);
        Timestamp::from_unix_ms(now.unix_ms().saturating_sub(into).saturating_add(self.interval_ms))
    }

    /// How many times lie between `done` (not counted) and `now` (counted).
    pub(crate) fn missed(&self, done: Timestamp, now: Timestamp) -> u64 {
        let late_ms = now.unix_ms().saturating_sub(done.unix_ms()).max(0);
        u64::try_from(late_ms / self.interval_ms).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_regular_and_depend_on_the_name() {
        let ms = Timestamp::from_unix_ms;
        let schedule = Schedule::new("f", "g", Duration::from_secs(10));
        let first = schedule.after(ms(1_000_000));
        assert!(first > ms(1_000_000) && first <= ms(1_010_000));
        assert_eq!(schedule.after(first), first.saturating_add(Duration::from_secs(10)));
        assert_eq!(schedule.after(ms(first.unix_ms() - 1)), first);
        assert_eq!(schedule.missed(first, first), 0);
        assert_eq!(schedule.missed(first, first.saturating_add(Duration::from_secs(25))), 2);
        let offsets = ["a", "b", "c", "d"].map(|name| Schedule::new("f", name, Duration::from_secs(60)).offset_ms);
        assert!(offsets.iter().any(|offset| *offset != offsets[0]), "{offsets:?}");
    }
}
