//! Cutting a histogram at a value: `h </ 5`, `h >/ 5`.
//!
//! Rule: a bucket that contains the value is split as a quantile would interpolate it; of a bucket without
//! end nothing is known, so it goes as a whole.

use crate::histogram::buckets::{indexed, packed};
use crate::histogram::{Bucket, Histogram, Span};

/// Which observations remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Those below the value (`</`).
    Above,
    /// Those above the value (`>/`).
    Below,
}

/// How a bucket is interpolated.
#[derive(Clone, Copy)]
struct Scale {
    is_positive: bool,
    is_linear: bool,
}

/// What remains of a bucket, and the value that stands for it.
#[derive(Clone, Copy)]
struct Kept {
    count: f64,
    value: f64,
}

impl Kept {
    const NOTHING: Self = Self { count: 0.0, value: 0.0 };
}

fn finite_or_zero(value: f64) -> f64 {
    if value.is_infinite() { 0.0 } else { value }
}

impl Scale {
    fn midpoint(self, lower: f64, upper: f64) -> f64 {
        if lower.is_infinite() {
            return match upper {
                upper if upper.is_infinite() => 0.0,
                upper if upper > 0.0 => upper / 2.0,
                upper => upper,
            };
        }
        if upper.is_infinite() {
            return lower;
        }
        if self.is_linear {
            return (lower + upper) / 2.0;
        }
        let mean = (lower * upper).abs().sqrt();
        if self.is_positive { mean } else { -mean }
    }

    /// What remains of a bucket.
    fn keep(self, bucket: &Bucket, at: f64, trim: Trim) -> Kept {
        let (is_whole, is_split) = match trim {
            Trim::Above => (bucket.upper <= at, bucket.lower < at),
            Trim::Below => (bucket.lower >= at, bucket.upper > at),
        };
        if is_whole {
            return Kept { count: bucket.count, value: self.midpoint(bucket.lower, bucket.upper) };
        }
        if !is_split {
            return Kept::NOTHING;
        }
        if bucket.lower.is_infinite() || bucket.upper.is_infinite() {
            return keep_endless(bucket, at, trim);
        }
        let below = bucket.count * bucket.fraction_below(at, self.is_linear);
        match trim {
            Trim::Above => Kept { count: below, value: self.midpoint(bucket.lower, at) },
            Trim::Below => Kept { count: bucket.count - below, value: self.midpoint(at, bucket.upper) },
        }
    }
}

/// What remains of a bucket with an infinite bound that contains the value. A first custom bucket with a
/// positive bound counts as starting at zero.
fn keep_endless(bucket: &Bucket, at: f64, trim: Trim) -> Kept {
    let has_no_start = bucket.lower.is_infinite() && bucket.lower < 0.0;
    if !has_no_start {
        return match trim {
            Trim::Above => Kept { count: 0.0, value: finite_or_zero(bucket.lower) },
            Trim::Below if at >= bucket.lower => Kept { count: bucket.count, value: at },
            Trim::Below => Kept { count: 0.0, value: finite_or_zero(bucket.lower) },
        };
    }
    let has_end = bucket.upper.is_finite();
    match trim {
        Trim::Above if at >= bucket.upper => Kept { count: bucket.count, value: 0.0 },
        Trim::Above if at > 0.0 && bucket.upper > 0.0 && has_end => {
            Kept { count: bucket.count * at / bucket.upper, value: at / 2.0 }
        }
        Trim::Above if bucket.upper <= 0.0 => Kept { count: bucket.count, value: at },
        Trim::Below if at <= bucket.lower => Kept { count: bucket.count, value: 0.0 },
        Trim::Below if at >= 0.0 && bucket.upper > at && has_end => {
            Kept { count: bucket.count * (1.0 - at / bucket.upper), value: (at + bucket.upper) / 2.0 }
        }
        _ => Kept { count: 0.0, value: finite_or_zero(bucket.upper) },
    }
}

/// What remains of the zero bucket, which is linear and reaches only to the sides that have buckets.
fn keep_zero(bucket: &Bucket, at: f64, sides: (bool, bool), trim: Trim) -> Kept {
    let (has_negative, has_positive) = sides;
    let lower = if has_positive && !has_negative { 0.0 } else { bucket.lower };
    let upper = if has_negative && !has_positive { 0.0 } else { bucket.upper };
    let all = Kept { count: bucket.count, value: (lower + upper) / 2.0 };
    match trim {
        Trim::Above if at <= lower => Kept::NOTHING,
        Trim::Above if at >= upper => all,
        Trim::Above => Kept { count: bucket.count * ((at - lower) / (upper - lower)), value: (lower + at) / 2.0 },
        Trim::Below if at <= lower => all,
        Trim::Below if at >= upper => Kept::NOTHING,
        Trim::Below => Kept { count: bucket.count * ((upper - at) / (upper - lower)), value: (at + upper) / 2.0 },
    }
}

/// Count and sum of what remains, and whether anything went.
#[derive(Default)]
struct Totals {
    count: f64,
    sum: f64,
    is_trimmed: bool,
}

impl Totals {
    fn add(&mut self, before: f64, kept: Kept) {
        self.count += kept.count;
        self.sum += kept.value * kept.count;
        self.is_trimmed |= before.total_cmp(&kept.count).is_ne();
    }
}

impl Histogram {
    /// The histogram of the observations on one side of a value, as far as its buckets tell. Count and sum
    /// are estimated from the buckets if anything goes.
    #[must_use]
    pub fn trimmed(&self, at: f64, trim: Trim) -> Self {
        let mut totals = Totals::default();
        let is_linear = self.has_custom_buckets();
        let mut side = |spans: &[Span], counts: &[f64], is_positive: bool| {
            let scale = Scale { is_positive, is_linear };
            let mut is_populated = false;
            let mut kept_buckets = Vec::with_capacity(counts.len());
            for (index, count) in indexed(spans, counts) {
                if count.abs() <= 0.0 {
                    kept_buckets.push((index, count));
                    continue;
                }
                is_populated = true;
                let bucket =
                    if is_positive { self.positive_bucket(index, count) } else { self.negative_bucket(index, count) };
                let kept = scale.keep(&bucket, at, trim);
                totals.add(count, kept);
                kept_buckets.push((index, kept.count));
            }
            (packed(kept_buckets.into_iter()), is_populated)
        };
        let (positive, has_positive) = side(&self.positive_spans, &self.positive_buckets, true);
        let (negative, has_negative) = side(&self.negative_spans, &self.negative_buckets, false);
        let mut trimmed = self.clone();
        if self.zero_count > 0.0 {
            let kept = keep_zero(&self.zero_bucket(), at, (has_negative, has_positive), trim);
            totals.add(self.zero_count, kept);
            trimmed.zero_count = kept.count;
        }
        if !totals.is_trimmed {
            return trimmed;
        }
        (trimmed.positive_spans, trimmed.positive_buckets) = positive;
        (trimmed.negative_spans, trimmed.negative_buckets) = negative;
        (trimmed.count, trimmed.sum) = (totals.count, totals.sum);
        trimmed.compacted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_splits_the_bucket_that_contains_the_value() {
        let histogram = Histogram {
            count: 8.0,
            sum: 20.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_buckets: vec![4.0, 4.0],
            ..Histogram::default()
        };
        let below = histogram.trimmed(8.0_f64.sqrt(), Trim::Above);
        assert!((below.count - 6.0).abs() < 1e-9);
        let above = histogram.trimmed(8.0_f64.sqrt(), Trim::Below);
        assert!((above.count - 2.0).abs() < 1e-9);
        assert_eq!(histogram.trimmed(100.0, Trim::Above), histogram);
    }
}
