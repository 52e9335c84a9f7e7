//! From the buckets of a classic histogram to custom buckets.
//!
//! Rule: classic counts are cumulative; what contradicts that is refused, never repaired.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// Why classic buckets make no histogram.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClassicError {
    /// A count is negative.
    #[error("count of a bucket is negative: le={le}, count={count}")]
    Negative {
        /// Upper bound of the bucket.
        le: f64,
        /// Its count.
        count: f64,
    },
    /// A bound is not a number.
    #[error("bound of a bucket is not a number")]
    BoundNan,
    /// A bucket holds fewer observations than one below it.
    #[error("counts of buckets fall: {count} above {below}")]
    Falling {
        /// The count.
        count: f64,
        /// The larger count below it.
        below: f64,
    },
    /// The count contradicts the highest bucket.
    #[error("count {count} differs from that of the highest bucket: {highest}")]
    CountMismatch {
        /// The histogram's count.
        count: f64,
        /// The count of its highest bucket.
        highest: f64,
    },
}

/// The parts of a classic histogram at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassicHistogram {
    /// Upper bound and cumulative count of each bucket, in any order; of equal bounds the first counts.
    pub buckets: Vec<(f64, f64)>,
    /// The `_count` series; the highest bucket stands in for it.
    pub count: Option<f64>,
    /// The `_sum` series, or 0.
    pub sum: f64,
}

impl ClassicHistogram {
    /// The same as a native histogram with custom buckets.
    ///
    /// # Errors
    ///
    /// The counts contradict each other.
    pub fn to_native(&self) -> Result<Histogram, ClassicError> {
        let mut buckets = self.buckets.clone();
        if buckets.iter().any(|(le, _)| le.is_nan()) {
            return Err(ClassicError::BoundNan);
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|next, first| next.0.total_cmp(&first.0).is_eq());
        let highest = buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or_default();
        if !highest.is_some_and(|(le, _)| le.is_infinite() && le > 0.0) {
            buckets.push((f64::INFINITY, count));
        }
        let mut counts = Vec::with_capacity(buckets.len());
        let mut below = 0.0;
        for &(le, cumulative) in &buckets {
            if cumulative < 0.0 {
                return Err(ClassicError::Negative { le, count: cumulative });
            }
            if cumulative < below {
                return Err(ClassicError::Falling { count: cumulative, below });
            }
            counts.push(cumulative - below);
            below = cumulative;
        }
        if count.partial_cmp(&below).is_some_and(Ordering::is_ne) {
            return Err(ClassicError::CountMismatch { count, highest: below });
        }
        let histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: u32::try_from(counts.len()).unwrap_or(u32::MAX) }],
            positive_buckets: counts,
            custom_values: buckets.iter().map(|(le, _)| *le).filter(|le| le.is_finite()).collect::<Arc<[f64]>>(),
            ..Histogram::default()
        };
        Ok(histogram.compacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cumulative_counts_become_absolute_ones() {
        let classic =
            ClassicHistogram { buckets: vec![(2.0, 5.0), (1.0, 3.0), (f64::INFINITY, 5.0)], count: None, sum: 7.0 };
        let native = classic.to_native().unwrap();
        assert_eq!((native.count, native.sum), (5.0, 7.0));
        assert_eq!(&*native.custom_values, [1.0, 2.0]);
        assert_eq!(native.positive_buckets, [3.0, 2.0]);
        let falling = ClassicHistogram { buckets: vec![(1.0, 3.0), (2.0, 2.0)], ..classic };
        assert_eq!(falling.to_native().unwrap_err(), ClassicError::Falling { count: 2.0, below: 3.0 });
    }
}
