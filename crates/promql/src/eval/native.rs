//! Quantiles and fractions of native histograms.
//!
//! Rule: exponential buckets are interpolated on a logarithmic scale, custom ones and the zero bucket on a
//! linear one.

use datamodel::histogram::Bucket;
use datamodel::{Histogram, Labels};

use crate::annotations::Note;
use crate::eval::Evaluator;
use crate::numbers::equal;
use crate::span::Span;

impl Evaluator<'_> {
    pub(super) fn native_quantile(&self, q: f64, histogram: &Histogram, labels: &Labels, span: Span) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if equal(histogram.count, 0.0) || q.is_nan() {
            return f64::NAN;
        }
        let mut buckets = histogram.all_buckets();
        let is_forward = histogram.sum.is_nan() || q < 0.5;
        let mut rank = if is_forward { q * histogram.count } else { (1.0 - q) * histogram.count };
        if !is_forward {
            buckets.reverse();
        }
        let mut rest = buckets.iter();
        let mut count = 0.0;
        let mut bucket = None;
        for next in rest.by_ref() {
            bucket = Some(*next);
            if equal(next.count, 0.0) {
                continue;
            }
            count += next.count;
            if count >= rank {
                break;
            }
        }
        // Only NaN has been observed: no bucket at all.
        let mut bucket = bucket.unwrap_or(Bucket {
            lower: 0.0,
            upper: 0.0,
            is_lower_inclusive: false,
            is_upper_inclusive: false,
            count: 0.0,
        });
        if histogram.has_custom_buckets() {
            if equal(bucket.lower, f64::NEG_INFINITY) {
                if bucket.upper <= 0.0 {
                    return bucket.upper;
                }
                bucket.lower = 0.0;
            } else if equal(bucket.upper, f64::INFINITY) {
                return bucket.lower;
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            one_sided(histogram, &mut bucket);
        }
        count = count.min(histogram.count);
        let metric = || labels.metric_name().unwrap_or_default().to_owned();
        if count < rank {
            if histogram.sum.is_nan() {
                self.note(Note::QuantileNanResult { metric: metric() }, span);
                return f64::NAN;
            }
            return bucket.upper;
        }
        rank = if is_forward { rank - (count - bucket.count) } else { count - rank };
        if histogram.sum.is_nan() {
            let all: f64 = rest.map(|bucket| bucket.count).sum();
            if count + all < histogram.count {
                self.note(Note::QuantileNanSkew { metric: metric() }, span);
            }
        }
        within(&bucket, rank / bucket.count, histogram.has_custom_buckets())
    }

    pub(super) fn native_fraction(
        &self,
        lower: f64,
        upper: f64,
        histogram: &Histogram,
        labels: &Labels,
        span: Span,
    ) -> f64 {
        if equal(histogram.count, 0.0) || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let is_custom = histogram.has_custom_buckets();
        let buckets = histogram.all_buckets();
        let (mut rank, mut count) = (0.0, 0.0);
        let (mut lower_rank, mut upper_rank) = (None, None);
        let mut rest = buckets.iter();
        for bucket in rest.by_ref() {
            let mut bucket = *bucket;
            count += bucket.count;
            let is_zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero_bucket {
                one_sided(histogram, &mut bucket);
            }
            let is_linear = is_custom || is_zero_bucket;
            for (place, value) in [(&mut lower_rank, lower), (&mut upper_rank, upper)] {
                if place.is_some() {
                    continue;
                }
                if bucket.lower >= value {
                    *place = Some(rank);
                } else if bucket.upper > value {
                    let is_open = is_linear && equal(bucket.lower, f64::NEG_INFINITY);
                    *place = Some(if is_open {
                        bucket.count
                    } else {
                        rank + bucket.count * bucket.fraction_below(value, is_linear)
                    });
                }
            }
            if lower_rank.is_some() && upper_rank.is_some() {
                break;
            }
            rank += bucket.count;
        }
        if histogram.sum.is_nan() {
            count += rest.map(|bucket| bucket.count).sum::<f64>();
            if count < histogram.count {
                let metric = labels.metric_name().unwrap_or_default().to_owned();
                self.note(Note::FractionNans { metric }, span);
            }
        } else {
            count = histogram.count;
        }
        let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count);
        (capped(upper_rank) - capped(lower_rank)) / histogram.count
    }
}

/// The zero bucket reaches only to the side on which there are buckets.
fn one_sided(histogram: &Histogram, bucket: &mut Bucket) {
    match (histogram.negative_buckets.is_empty(), histogram.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The value at a fraction of a bucket.
fn within(bucket: &Bucket, fraction: f64, is_custom: bool) -> f64 {
    if is_custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        return (lower + (upper - lower) * fraction).exp2();
    }
    -(upper + (lower - upper) * (1.0 - fraction)).exp2()
}
