//! Buckets with their bounds, and what can be done with one histogram alone.
//!
//! Rule: spans and buckets that do not fit each other (hostile input) are read as far as they fit.

use std::iter;

use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use crate::sum::KahanSum;

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to the bucket.
    pub is_lower_inclusive: bool,
    /// Whether the upper bound belongs to the bucket.
    pub is_upper_inclusive: bool,
    /// Observations in the bucket.
    pub count: f64,
}

impl Bucket {
    /// The share of the bucket's width at or below a value within it: on a linear scale, or on the
    /// logarithmic one of exponential buckets.
    #[must_use]
    pub fn fraction_below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

/// Index and count of each bucket, ascending by index.
pub(super) fn indexed<'a>(spans: &'a [Span], buckets: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut next = 0_i32;
    let indexes = spans.iter().flat_map(move |span| {
        next = next.saturating_add(span.offset);
        let start = next;
        next = next.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
        (0..span.length).map(move |at| start.saturating_add(i32::try_from(at).unwrap_or(i32::MAX)))
    });
    indexes.zip(buckets.iter().copied())
}

/// Spans and counts of buckets that ascend by index.
pub(super) fn packed(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut counts = Vec::new();
    let mut next = 0_i32;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            Some(_) => spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
            None => spans.push(Span { offset: index, length: 1 }),
        }
        counts.push(count);
        next = index.saturating_add(1);
    }
    (spans, counts)
}

/// Upper bound of an exponential bucket. The last bucket of finite values ends at the largest float.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (exponent, fraction) = if schema < 0 {
        (i64::from(index) << u32::try_from(-schema).unwrap_or(0).min(31), 0.0)
    } else {
        let shift = u32::try_from(schema).unwrap_or(0).min(31);
        let within = i64::from(index) & ((1_i64 << shift) - 1);
        // Fewer than 2^31 steps in a power of two: exact.
        (i64::from(index) >> shift, within as f64 / (1_i64 << shift) as f64)
    };
    if exponent == 1024 && fraction <= 0.0 {
        return f64::MAX;
    }
    let exponent = exponent.clamp(-1080, 1080);
    // In two steps, so that neither factor leaves the range before the product does.
    let half = exponent / 2;
    fraction.exp2() * (half as f64).exp2() * ((exponent - half) as f64).exp2()
}

/// Index in a coarser schema.
pub(super) const fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    let shift = if from > to { from.saturating_sub(to) } else { 0 };
    let shift = if shift > 31 { 31 } else { shift };
    (index.saturating_sub(1) >> shift).saturating_add(1)
}

impl Histogram {
    /// Whether the bounds are custom ones.
    #[must_use]
    pub const fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Bytes that the histogram takes, for limits and memory accounts.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        size_of::<Self>() + floats * 8 + (self.positive_spans.len() + self.negative_spans.len()) * 8
    }

    /// Upper bound of a bucket above zero; the lower bound of the mirrored one, negated.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.has_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(at) => self.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
            Err(_negative) => f64::NEG_INFINITY,
        }
    }

    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        let (is_lower_inclusive, is_upper_inclusive) =
            if self.has_custom_buckets() { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        Bucket { lower, upper, is_lower_inclusive, is_upper_inclusive, count }
    }

    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (-self.bound(index), -self.bound(index.saturating_sub(1)));
        Bucket { lower, upper, is_lower_inclusive: lower < 0.0, is_upper_inclusive: upper > 0.0, count }
    }

    /// The buckets above zero (with custom bounds: all), ascending.
    pub fn positive(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.positive_spans, &self.positive_buckets).map(|(index, count)| self.positive_bucket(index, count))
    }

    /// The buckets below zero, from the zero bucket outwards.
    pub fn negative(&self) -> impl Iterator<Item = Bucket> + '_ {
        indexed(&self.negative_spans, &self.negative_buckets).map(|(index, count)| self.negative_bucket(index, count))
    }

    /// The zero bucket.
    #[must_use]
    pub const fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            is_lower_inclusive: true,
            is_upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets, ascending; the zero bucket only if it is populated. Buckets that reach into the zero
    /// bucket are cut at its bound.
    #[must_use]
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let mut below: Vec<Bucket> = self.negative().collect();
        below.reverse();
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let threshold = self.zero_threshold;
        let cut = |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            } else if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        };
        below.into_iter().map(cut).chain(zero).chain(self.positive().map(cut)).collect()
    }

    fn map_counts(&self, change: impl Fn(f64) -> f64) -> Self {
        let mut changed = self.clone();
        changed.zero_count = change(self.zero_count);
        changed.count = change(self.count);
        changed.sum = change(self.sum);
        for count in changed.positive_buckets.iter_mut().chain(&mut changed.negative_buckets) {
            *count = change(*count);
        }
        changed
    }

    /// All counts and the sum times a factor. A negative factor makes a gauge.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.map_counts(|count| count * factor);
        if factor < 0.0 {
            scaled.counter_reset_hint = CounterResetHint::Gauge;
        }
        scaled
    }

    /// All counts and the sum divided. Zero leaves no buckets; a negative divisor makes a gauge.
    #[must_use]
    pub fn divided(&self, divisor: f64) -> Self {
        let mut divided = self.map_counts(|count| count / divisor);
        if divisor.abs() <= 0.0 {
            divided.positive_spans.clear();
            divided.negative_spans.clear();
            divided.positive_buckets.clear();
            divided.negative_buckets.clear();
        } else if divisor < 0.0 {
            divided.counter_reset_hint = CounterResetHint::Gauge;
        }
        divided
    }

    /// The same without empty buckets, in as few spans as possible.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        // NaN is not empty.
        let is_populated = |(_, count): &(i32, f64)| count.is_nan() || count.abs() > 0.0;
        let populated = |spans: &[Span], buckets: &[f64]| packed(indexed(spans, buckets).filter(is_populated));
        (self.positive_spans, self.positive_buckets) = populated(&self.positive_spans, &self.positive_buckets);
        (self.negative_spans, self.negative_buckets) = populated(&self.negative_spans, &self.negative_buckets);
        self
    }

    /// Estimated variance of the observations. Those of a bucket count as its geometric mean, with custom
    /// bounds and around zero as its arithmetic mean.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut squares = KahanSum::default();
        for bucket in self.all_buckets().into_iter().filter(|bucket| bucket.count.abs() > 0.0) {
            let value = if self.has_custom_buckets() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt() * if bucket.upper < 0.0 { -1.0 } else { 1.0 }
            };
            let delta = value - mean;
            squares.add(bucket.count * delta * delta);
        }
        squares.total() / self.count
    }

    /// Whether both hold the same data to the bit: the same buckets, empty ones included; hints do not
    /// count.
    #[must_use]
    pub fn same_data(&self, other: &Self) -> bool {
        let bits = |values: &[f64], others: &[f64]| {
            values.len() == others.len() && iter::zip(values, others).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        self.schema == other.schema
            && bits(&[self.count, self.sum, self.zero_count], &[other.count, other.sum, other.zero_count])
            && bits(&self.custom_values, &other.custom_values)
            && bits(&[self.zero_threshold], &[other.zero_threshold])
            && same_layout(&self.negative_spans, &other.negative_spans)
            && bits(&self.negative_buckets, &other.negative_buckets)
            && same_layout(&self.positive_spans, &other.positive_spans)
            && bits(&self.positive_buckets, &other.positive_buckets)
    }
}

/// Start and length of each run of buckets, with adjacent and empty spans joined.
fn runs(spans: &[Span]) -> Vec<(i64, u64)> {
    let mut runs: Vec<(i64, u64)> = Vec::new();
    let mut next = 0_i64;
    for span in spans {
        next += i64::from(span.offset);
        let length = u64::from(span.length);
        match runs.last_mut() {
            _ if length == 0 => {}
            Some((start, run)) if i64::try_from(*run).is_ok_and(|run| *start + run == next) => *run += length,
            _ => runs.push((next, length)),
        }
        next += i64::from(span.length);
    }
    runs
}

/// Whether two lists of spans describe the same buckets.
fn same_layout(a: &[Span], b: &[Span]) -> bool {
    runs(a) == runs(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_two_and_their_roots() {
        let check = |index, schema, expected: f64| {
            let found = exponential_bound(index, schema);
            assert!((found - expected).abs() <= expected * 1e-15, "{index} {schema}: {found}");
        };
        check(0, 0, 1.0);
        check(3, 0, 8.0);
        check(-1, 0, 0.5);
        check(1, 1, std::f64::consts::SQRT_2);
        check(-1, 2, 0.840_896_415_253_714_5);
        check(1, -1, 4.0);
        check(1024, 0, f64::MAX);
        assert!(exponential_bound(1025, 0).is_infinite());
        check(-1073, 0, f64::from_bits(2));
    }

    #[test]
    fn compacting_drops_empty_buckets_and_joins_spans() {
        let histogram = Histogram {
            positive_spans: vec![
                Span { offset: 1, length: 2 },
                Span { offset: 0, length: 2 },
                Span { offset: 3, length: 1 },
            ],
            positive_buckets: vec![0.0, 2.0, 3.0, 0.0, 0.0],
            ..Histogram::default()
        };
        let compacted = histogram.compacted();
        assert_eq!(compacted.positive_spans, [Span { offset: 2, length: 2 }]);
        assert_eq!(compacted.positive_buckets, [2.0, 3.0]);
    }

    #[test]
    fn same_data_ignores_how_spans_are_cut() {
        let with = |spans: &[(i32, u32)]| Histogram {
            positive_spans: spans.iter().map(|&(offset, length)| Span { offset, length }).collect(),
            positive_buckets: vec![1.0, 2.0],
            ..Histogram::default()
        };
        assert!(with(&[(1, 1), (0, 1)]).same_data(&with(&[(1, 2)])));
        assert!(!with(&[(1, 1), (1, 1)]).same_data(&with(&[(1, 2)])));
    }
}
