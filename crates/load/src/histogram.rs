//! A histogram of durations with a bounded relative error.
//!
//! - [`Latencies`]: counts in buckets that are less than 1 % wide; exact count, sum and maximum.
//!
//! The crate `hdrhistogram` does this and much more; what is needed here are forty lines.
//!
//! Rule: a quantile is never below the true one: it is its bucket's upper end, or the maximum.

use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets between one power of two and the next: each is at most 1/128 wide.
const STEPS_BITS: u32 = 7;

/// Durations in buckets. At most some 7,300 buckets exist, whatever is recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    counts: BTreeMap<u32, u64>,
    count: u64,
    sum_seconds: f64,
    max: Duration,
}

impl Latencies {
    /// Adds a duration.
    pub fn record(&mut self, duration: Duration) {
        *self.counts.entry(bucket(micros(duration))).or_default() += 1;
        self.count += 1;
        self.sum_seconds += duration.as_secs_f64();
        self.max = self.max.max(duration);
    }

    /// How many were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.max)
    }

    /// The arithmetic mean, in seconds.
    #[must_use]
    pub fn mean_seconds(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_seconds / self.count as f64)
    }

    /// The duration that this part (0 to 1) of all does not exceed: at least the true one, and less than
    /// 1 % above it.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let max = self.max()?;
        // The rank in 1 to count; casts saturate.
        #[expect(clippy::cast_sign_loss, reason = "not negative after the clamp")]
        let rank = ((part.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(upper_end(*bucket)).min(max));
            }
        }
        Some(max)
    }
}

fn micros(duration: Duration) -> u64 {
    // Up, so that no quantile is below the truth.
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Exponent and the bits behind the leading one. Below 128 µs each value has a bucket of its own.
fn bucket(micros: u64) -> u32 {
    let exponent = micros.checked_ilog2().unwrap_or(0).saturating_sub(STEPS_BITS);
    let step = u32::try_from(micros >> exponent).unwrap_or(u32::MAX);
    (exponent << STEPS_BITS) + step
}

fn upper_end(bucket: u32) -> u64 {
    let steps = 1_u32 << STEPS_BITS;
    if bucket < 2 * steps {
        return u64::from(bucket);
    }
    let exponent = (bucket >> STEPS_BITS) - 1;
    let step = u64::from(bucket - (exponent << STEPS_BITS));
    ((step + 1) << exponent).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_recorded_has_no_quantile() {
        let empty = Latencies::default();
        assert_eq!((empty.quantile(0.5), empty.max(), empty.mean_seconds()), (None, None, None));
    }

    proptest! {
        #[test]
        fn quantiles_are_at_least_the_truth_and_hardly_more(
            mut micros in proptest::collection::vec(0_u64..10_000_000_000, 1..200),
            part in 0.0..=1.0_f64,
        ) {
            let mut latencies = Latencies::default();
            for micros in &micros {
                latencies.record(Duration::from_micros(*micros));
            }
            micros.sort_unstable();
            let below = (1..=micros.len()).find(|rank| *rank as f64 >= part * micros.len() as f64);
            let rank = below.unwrap();
            let truth = micros[rank - 1];
            let quantile = u64::try_from(latencies.quantile(part).unwrap().as_micros()).unwrap();
            prop_assert!(truth <= quantile && quantile <= truth + truth / 100 + 1, "{truth} {quantile}");
            prop_assert_eq!(latencies.quantile(1.0), latencies.max());
        }

        #[test]
        fn buckets_are_in_order_and_hold_their_values(micros in any::<u64>()) {
            prop_assert!(upper_end(bucket(micros)) >= micros);
            prop_assert!(bucket(micros.saturating_add(1)) >= bucket(micros));
            prop_assert!(bucket(micros) < 7500);
        }
    }
}
