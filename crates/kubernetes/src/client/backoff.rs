//! How long to wait after a failure.
//!
//! Rule: twice as long each time, up to a bound, with chance in it, so that many clients do not come back at once.

use std::time::Duration;

/// The waits after failures in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
    /// State of a small generator (xorshift); never zero.
    chance: u64,
}

impl Backoff {
    /// Waits from `first` up to `max`; `seed` should be random.
    #[must_use]
    pub const fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, next: first, chance: seed | 1 }
    }

    /// How long to wait now: half of the time that is due, up to all of it.
    pub fn wait(&mut self) -> Duration {
        let due = self.next.min(self.max);
        self.next = due.saturating_mul(2);
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let share = u32::try_from(self.chance % 1_000).unwrap_or(0);
        due / 2 + (due / 2) * share / 1_000
    }

    /// Begins anew after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_begin_anew_after_a_success() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), seed);
            for due in [1, 2, 4, 8, 16, 30, 30] {
                let (wait, due) = (backoff.wait(), Duration::from_secs(due));
                assert!(wait >= due / 2 && wait <= due, "seed {seed}: {wait:?} of {due:?}");
            }
            backoff.reset();
            assert!(backoff.wait() <= Duration::from_secs(1), "seed {seed}");
        }
    }
}
