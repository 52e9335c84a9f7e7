//! Whether a counter was reset between two histograms.
//!
//! Rule: a hint decides where there is one; else any count that fell does.

use std::collections::BTreeMap;

use crate::histogram::arithmetic::{HistogramSum, common_bounds, same_bounds};
use crate::histogram::buckets::{coarser_index, exponential_bound, indexed};
use crate::histogram::{CounterResetHint, Histogram, Span};

impl Histogram {
    /// Whether the counter was reset between `previous` and this histogram: a count fell, a populated
    /// bucket is gone, the resolution rose, or the zero bucket changed in a way that only a reset explains.
    #[must_use]
    pub fn is_reset_from(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_buckets() {
            if !previous.has_custom_buckets() {
                return true;
            }
            if !same_bounds(&self.custom_values, &previous.custom_values) {
                return self.fell_between_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (threshold, zero_count) = if self.zero_threshold > previous.zero_threshold {
            let mut widened = HistogramSum::new(previous);
            widened.widen_zero(self.zero_threshold);
            widened.zero()
        } else {
            (previous.zero_threshold, previous.zero_count)
        };
        if threshold > self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        self.fell(
            (&self.positive_spans, &self.positive_buckets),
            previous,
            (&previous.positive_spans, &previous.positive_buckets),
        ) || self.fell(
            (&self.negative_spans, &self.negative_buckets),
            previous,
            (&previous.negative_spans, &previous.negative_buckets),
        )
    }

    /// Whether a bucket of one side holds less than before.
    fn fell(&self, now: (&[Span], &[f64]), previous: &Self, before: (&[Span], &[f64])) -> bool {
        let now: BTreeMap<i32, f64> = indexed(now.0, now.1).collect();
        let mut merged: BTreeMap<i32, f64> = BTreeMap::new();
        for (index, count) in indexed(before.0, before.1) {
            let index =
                if self.has_custom_buckets() { index } else { coarser_index(index, previous.schema, self.schema) };
            *merged.entry(index).or_default() += count;
        }
        merged.into_iter().any(|(index, before)| {
            let is_within_zero =
                !self.has_custom_buckets() && exponential_bound(index, self.schema) <= self.zero_threshold;
            !is_within_zero
                && match now.get(&index) {
                    Some(now) => *now < before,
                    None => before.is_nan() || before.abs() > 0.0,
                }
        })
    }

    fn fell_between_common_bounds(&self, previous: &Self) -> bool {
        let bounds = common_bounds(&self.custom_values, &previous.custom_values);
        let sums = |histogram: &Self| {
            let mut sums = vec![0.0; bounds.len() + 1];
            for bucket in histogram.positive() {
                let at = bounds.partition_point(|bound| *bound < bucket.upper);
                if let Some(sum) = sums.get_mut(at) {
                    *sum += bucket.count;
                }
            }
            sums
        };
        sums(self).into_iter().zip(sums(previous)).any(|(now, before)| now < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: counts.iter().sum(),
            positive_spans: vec![Span { offset: 1, length: u32::try_from(counts.len()).unwrap() }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn falling_counts_are_resets() {
        let check = |now: &Histogram, before: &Histogram, expected| {
            assert_eq!(now.is_reset_from(before), expected, "{now} after {before}");
        };
        check(&histogram(0, &[2.0, 2.0]), &histogram(0, &[1.0, 2.0]), false);
        check(&histogram(0, &[1.0, 3.0]), &histogram(0, &[2.0, 1.0]), true);
        check(&histogram(0, &[5.0]), &histogram(0, &[2.0, 1.0]), true);
        check(&histogram(0, &[3.0]), &histogram(1, &[2.0, 1.0]), false);
        check(&histogram(1, &[2.0, 1.0]), &histogram(0, &[3.0]), true);
        let hinted = |counter_reset_hint| Histogram { counter_reset_hint, ..histogram(0, &[1.0]) };
        check(&hinted(CounterResetHint::NotCounterReset), &histogram(0, &[2.0]), false);
        check(&hinted(CounterResetHint::CounterReset), &histogram(0, &[1.0]), true);
    }
}
