//! Sums and differences of histograms.
//!
//! - [`HistogramSum`]: a running sum that keeps its low bits; [`Reconciled`]: what had to be made to fit.
//!
//! Rule: both sides are brought to the coarser schema, the wider zero bucket, or the common custom bounds,
//! before counts meet.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::histogram::buckets::{coarser_index, exponential_bound, indexed, packed};
use crate::histogram::{CounterResetHint, Histogram};
use crate::sum::KahanSum;

/// Exponential and custom buckets have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and with custom buckets cannot be combined")]
pub struct IncompatibleBuckets;

/// What had to be reconciled between two histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// One says that a counter reset happened, the other that none did.
    pub conflicting_resets: bool,
    /// The custom bounds differ; only those of both remain.
    pub mismatched_bounds: bool,
}

type Buckets = BTreeMap<i32, KahanSum>;

/// A running sum of histograms.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    counter_reset_hint: CounterResetHint,
    schema: i32,
    zero_threshold: f64,
    zero_count: KahanSum,
    count: KahanSum,
    sum: KahanSum,
    positive: Buckets,
    negative: Buckets,
    custom_values: Arc<[f64]>,
}

fn is_zero(value: f64) -> bool {
    value.abs() <= 0.0
}

impl HistogramSum {
    /// Starts from a first histogram.
    #[must_use]
    pub fn new(first: &Histogram) -> Self {
        let buckets = |spans, counts| indexed(spans, counts).map(|(at, count)| (at, KahanSum::new(count))).collect();
        Self {
            counter_reset_hint: first.counter_reset_hint,
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero_count: KahanSum::new(first.zero_count),
            count: KahanSum::new(first.count),
            sum: KahanSum::new(first.sum),
            positive: buckets(&first.positive_spans, &first.positive_buckets),
            negative: buckets(&first.negative_spans, &first.negative_buckets),
            custom_values: Arc::clone(&first.custom_values),
        }
    }

    /// Adds a histogram.
    ///
    /// # Errors
    ///
    /// One has exponential, the other custom buckets; the sum is unchanged then.
    pub fn add(&mut self, other: &Histogram) -> Result<Reconciled, IncompatibleBuckets> {
        self.combine(other, 1.0)
    }

    /// Subtracts a histogram.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn subtract(&mut self, other: &Histogram) -> Result<Reconciled, IncompatibleBuckets> {
        self.combine(other, -1.0)
    }

    fn is_custom(&self) -> bool {
        self.schema == super::CUSTOM_BUCKETS_SCHEMA
    }

    fn combine(&mut self, other: &Histogram, sign: f64) -> Result<Reconciled, IncompatibleBuckets> {
        if self.is_custom() != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let mut reconciled = Reconciled { conflicting_resets: self.adjust_hint(other), ..Reconciled::default() };
        let mut other_sum = Self::new(other);
        if self.is_custom() {
            if !same_bounds(&self.custom_values, &other.custom_values) {
                reconciled.mismatched_bounds = true;
                let bounds = common_bounds(&self.custom_values, &other.custom_values);
                self.map_bounds(&bounds);
                other_sum.map_bounds(&bounds);
            }
        } else {
            self.reconcile_zero(&mut other_sum);
            let schema = self.schema.min(other.schema);
            self.coarsen(schema);
            other_sum.coarsen(schema);
        }
        self.zero_count.add(sign * other_sum.zero_count.sum);
        self.zero_count.add(sign * other_sum.zero_count.compensation);
        self.count.add(sign * other.count);
        self.sum.add(sign * other.sum);
        for (mine, theirs) in [(&mut self.positive, other_sum.positive), (&mut self.negative, other_sum.negative)] {
            for (index, count) in theirs {
                let bucket = mine.entry(index).or_default();
                bucket.add(sign * count.sum);
                if !is_zero(count.compensation) {
                    bucket.add(sign * count.compensation);
                }
            }
        }
        Ok(reconciled)
    }

    /// Settles the hint of the sum; true if the two contradict each other.
    fn adjust_hint(&mut self, other: &Histogram) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        match (self.counter_reset_hint, other.counter_reset_hint) {
            (mine, theirs) if mine == theirs => false,
            (_, Gauge) => {
                self.counter_reset_hint = Gauge;
                false
            }
            (Gauge | Unknown, _) => false,
            (_, Unknown) => {
                self.counter_reset_hint = Unknown;
                false
            }
            _ => {
                self.counter_reset_hint = Unknown;
                true
            }
        }
    }

    /// Widens the zero buckets until both are the same.
    fn reconcile_zero(&mut self, other: &mut Self) {
        // Each turn widens one of them to a bucket's bound; there are finitely many buckets.
        // (NaN, which hostile input may hold, is neither less nor greater and ends it.)
        while self.zero_threshold.partial_cmp(&other.zero_threshold).is_some_and(Ordering::is_ne) {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            }
            if other.zero_threshold > self.zero_threshold {
                self.widen_zero(other.zero_threshold);
            }
        }
    }

    /// Widens the zero bucket to at least `threshold`: buckets within it are counted as zero. If it ends
    /// within a populated bucket, it is widened to that bucket's bound.
    pub(super) fn widen_zero(&mut self, threshold: f64) {
        let mut threshold = threshold;
        let mut zero;
        'again: loop {
            zero = self.zero_count;
            let before = threshold;
            for (side, buckets) in [&self.positive, &self.negative].into_iter().enumerate() {
                for (&index, count) in buckets {
                    if exponential_bound(index.saturating_sub(1), self.schema) >= threshold {
                        break;
                    }
                    zero.add(count.sum);
                    zero.add(count.compensation);
                    let upper = exponential_bound(index, self.schema);
                    if upper > threshold {
                        if is_zero(count.sum) {
                            break;
                        }
                        threshold = upper;
                        if side == 1 {
                            // The other side was counted with a narrower threshold.
                            continue 'again;
                        }
                        break;
                    }
                }
            }
            if threshold >= before {
                break;
            }
        }
        self.zero_count = zero;
        self.zero_threshold = threshold;
        let schema = self.schema;
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|index, _| exponential_bound(index.saturating_sub(1), schema) >= threshold);
        }
    }

    fn coarsen(&mut self, schema: i32) {
        if schema >= self.schema {
            return;
        }
        for buckets in [&mut self.positive, &mut self.negative] {
            *buckets = merged(std::mem::take(buckets), |index| coarser_index(index, self.schema, schema));
        }
        self.schema = schema;
    }

    /// Counts the buckets by the bounds that remain.
    fn map_bounds(&mut self, bounds: &Arc<[f64]>) {
        let place = |index: i32| {
            let own = usize::try_from(index).ok().and_then(|at| self.custom_values.get(at)).copied();
            let at = own.map_or(bounds.len(), |own| bounds.partition_point(|bound| *bound < own));
            i32::try_from(at).unwrap_or(i32::MAX)
        };
        let mapped = merged(std::mem::take(&mut self.positive), place);
        self.positive = mapped;
        self.positive.retain(|_, count| !(is_zero(count.sum) && is_zero(count.compensation)));
        self.custom_values = Arc::clone(bounds);
    }

    fn change(&mut self, change: impl Fn(KahanSum) -> KahanSum) {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        for count in self.positive.values_mut().chain(self.negative.values_mut()) {
            *count = change(*count);
        }
    }

    /// All counts times a factor.
    pub fn scale(&mut self, factor: f64) {
        self.change(|count| count.scaled(factor));
    }

    /// All counts divided.
    pub fn divide(&mut self, divisor: f64) {
        self.change(|count| count.divided(divisor));
    }

    /// Whether a count or the sum is infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].iter().any(|value| value.sum.is_infinite())
            || self.positive.values().chain(self.negative.values()).any(|count| count.sum.is_infinite())
            || self.custom_values.iter().any(|bound| bound.is_infinite())
    }

    /// The sum as a histogram; empty buckets are kept.
    #[must_use]
    pub fn total(&self) -> Histogram {
        let pack = |buckets: &Buckets| packed(buckets.iter().map(|(index, count)| (*index, count.total())));
        let (positive_spans, positive_buckets) = pack(&self.positive);
        let (negative_spans, negative_buckets) = pack(&self.negative);
        Histogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: Arc::clone(&self.custom_values),
        }
    }

    pub(super) const fn zero(&self) -> (f64, f64) {
        (self.zero_threshold, self.zero_count.sum)
    }
}

/// Buckets under new indexes; those that meet are added.
fn merged(buckets: Buckets, place: impl Fn(i32) -> i32) -> Buckets {
    let mut merged = Buckets::new();
    for (index, count) in buckets {
        match merged.entry(place(index)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(count);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().add(count.sum);
                entry.get_mut().add(count.compensation);
            }
        }
    }
    merged
}

/// Whether two lists of custom bounds are equal.
#[must_use]
pub fn same_bounds(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.total_cmp(b).is_eq())
}

/// The bounds that both lists have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().filter(|bound| b.iter().any(|other| other.total_cmp(bound).is_eq())).copied().collect()
}

impl Histogram {
    /// The sum of two histograms.
    ///
    /// # Errors
    ///
    /// One has exponential, the other custom buckets.
    pub fn plus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleBuckets> {
        let mut sum = HistogramSum::new(self);
        let reconciled = sum.add(other)?;
        Ok((sum.total(), reconciled))
    }

    /// The difference of two histograms.
    ///
    /// # Errors
    ///
    /// As [`plus`](Self::plus).
    pub fn minus(&self, other: &Self) -> Result<(Self, Reconciled), IncompatibleBuckets> {
        let mut sum = HistogramSum::new(self);
        let reconciled = sum.subtract(other)?;
        Ok((sum.total(), reconciled))
    }

    /// The same in a coarser schema; unchanged where the schema is not coarser or the buckets are custom.
    #[must_use]
    pub fn in_schema(&self, schema: i32) -> Self {
        if self.has_custom_buckets() || schema >= self.schema || schema == super::CUSTOM_BUCKETS_SCHEMA {
            return self.clone();
        }
        let mut sum = HistogramSum::new(self);
        sum.coarsen(schema);
        sum.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn exponential(schema: i32, offset: i32, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: counts.iter().sum(),
            positive_spans: vec![Span { offset, length: u32::try_from(counts.len()).unwrap() }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram { custom_values: Arc::from(bounds), ..exponential(CUSTOM_BUCKETS_SCHEMA, 0, counts) }
    }

    #[test]
    fn sum_is_in_the_coarser_schema() {
        let (sum, _) = exponential(1, 1, &[1.0, 2.0, 4.0]).plus(&exponential(0, 1, &[10.0])).unwrap();
        assert_eq!(sum.schema, 0);
        assert_eq!(sum.positive_spans, [Span { offset: 1, length: 2 }]);
        assert_eq!(sum.positive_buckets, [13.0, 4.0]);
    }

    #[test]
    fn zero_bucket_widens_to_a_bound_that_splits_no_bucket() {
        let wide = Histogram { zero_threshold: 3.0, zero_count: 5.0, count: 5.0, ..Histogram::default() };
        let (sum, _) = exponential(0, 1, &[1.0, 2.0, 4.0]).plus(&wide).unwrap();
        assert_eq!((sum.zero_threshold, sum.zero_count), (4.0, 8.0));
        assert_eq!(sum.compacted().positive_buckets, [4.0]);
    }

    #[test]
    fn custom_bounds_meet_in_those_of_both() {
        let (sum, reconciled) =
            custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]).plus(&custom(&[2.0, 3.0, 4.0], &[1.0; 4])).unwrap();
        assert!(reconciled.mismatched_bounds);
        assert_eq!(&*sum.custom_values, [2.0, 3.0]);
        assert_eq!(sum.positive_buckets, [3.0, 2.0, 3.0]);
        assert_eq!(custom(&[1.0], &[1.0]).plus(&exponential(0, 0, &[1.0])).unwrap_err(), IncompatibleBuckets);
    }

    #[test]
    fn contradicting_hints_are_reported_and_become_unknown() {
        let with = |counter_reset_hint| Histogram { counter_reset_hint, ..Histogram::default() };
        let check = |a, b, hint, conflict| {
            let (sum, reconciled) = with(a).plus(&with(b)).unwrap();
            assert_eq!((sum.counter_reset_hint, reconciled.conflicting_resets), (hint, conflict), "{a:?} {b:?}");
        };
        use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
        check(CounterReset, NotCounterReset, Unknown, true);
        check(CounterReset, Gauge, Gauge, false);
        check(Gauge, CounterReset, Gauge, false);
        check(Unknown, CounterReset, Unknown, false);
        check(NotCounterReset, Unknown, Unknown, false);
        check(NotCounterReset, NotCounterReset, NotCounterReset, false);
    }
}
