//! Histograms as protobuf messages carry them: spans, and counts as integers (deltas) or as floats.
//!
//! The exposition format and remote write number their fields differently and mean the same; both fill
//! [`HistogramParts`], and both write what [`Histogram::integers`] says.
//!
//! Rule: what comes out was checked, so that a histogram of the network is never trusted.

use std::sync::Arc;

use crate::histogram::{CounterResetHint, Histogram, HistogramError, Span};
use crate::protobuf::{Message, ProtobufError};

/// The largest count that a float holds exactly, with all below it.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The fields of a message, as far as they were read.
#[derive(Clone, Debug, Default)]
pub struct HistogramParts {
    /// Counter reset hint.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket: of an integer histogram.
    pub zero_count_int: u64,
    /// The same of a float histogram.
    pub zero_count_float: Option<f64>,
    /// All observations: of an integer histogram.
    pub count_int: u64,
    /// The same of a float histogram; its presence makes it one.
    pub count_float: Option<f64>,
    /// Sum of all observed values.
    pub sum: f64,
    /// Layout of the buckets above zero.
    pub positive_spans: Vec<Span>,
    /// Layout of the buckets below zero.
    pub negative_spans: Vec<Span>,
    /// Each bucket above zero less the one before it.
    pub positive_deltas: Vec<i64>,
    /// Each bucket below zero less the one before it.
    pub negative_deltas: Vec<i64>,
    /// Absolute counts of the buckets above zero.
    pub positive_counts: Vec<f64>,
    /// Absolute counts of the buckets below zero.
    pub negative_counts: Vec<f64>,
    /// Upper bounds of custom buckets.
    pub custom_values: Vec<f64>,
}

impl HistogramParts {
    /// The histogram.
    ///
    /// # Errors
    ///
    /// The parts do not fit each other; see [`HistogramError`].
    pub fn build(self) -> Result<Histogram, HistogramError> {
        let is_float = self.count_float.is_some();
        let (positive_buckets, negative_buckets) = if is_float {
            (self.positive_counts, self.negative_counts)
        } else {
            (absolute(&self.positive_deltas)?, absolute(&self.negative_deltas)?)
        };
        let histogram = Histogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count_float.filter(|_| is_float).unwrap_or(self.zero_count_int as f64),
            count: self.count_float.unwrap_or(self.count_int as f64),
            sum: self.sum,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: Arc::from(self.custom_values),
        };
        histogram.check()?;
        if !is_float {
            check_total(&histogram)?;
        }
        Ok(histogram)
    }
}

impl Span {
    /// Reads a message `BucketSpan`, which both formats have.
    ///
    /// # Errors
    ///
    /// The message breaks the wire format.
    pub fn read(message: Message<'_>) -> Result<Self, ProtobufError> {
        let mut span = Self { offset: 0, length: 0 };
        for field in message {
            let field = field?;
            match field.number {
                1 => span.offset = field.sint32()?,
                2 => span.length = field.u32()?,
                _ => {}
            }
        }
        Ok(span)
    }
}

/// Of integers the buckets add up to the count exactly, unless the sum is no number: observations that are NaN
/// are counted, and lie in no bucket.
fn check_total(histogram: &Histogram) -> Result<(), HistogramError> {
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets).sum::<f64>();
    let buckets = buckets + histogram.zero_count;
    let is_wrong = if histogram.sum.is_nan() {
        buckets > histogram.count
    } else {
        // Beyond 2^53 the floats are near the integers, no more.
        (buckets - histogram.count).abs() > 0.0 && histogram.count.max(buckets) < MAX_EXACT
    };
    if is_wrong { Err(HistogramError::Total { count: histogram.count, buckets }) } else { Ok(()) }
}

fn absolute(deltas: &[i64]) -> Result<Vec<f64>, HistogramError> {
    let mut count = 0_i64;
    deltas
        .iter()
        .map(|&delta| {
            count = count.checked_add(delta).ok_or(HistogramError::BucketCount(f64::INFINITY))?;
            Ok(count as f64)
        })
        .collect()
}

/// The counts of a histogram of whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerCounts {
    /// All observations.
    pub count: u64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Each bucket above zero less the one before it.
    pub positive_deltas: Vec<i64>,
    /// Each bucket below zero less the one before it.
    pub negative_deltas: Vec<i64>,
}

impl Histogram {
    /// The counts as integers; `None` if one of them is no whole number that a float holds exactly, or if
    /// readers of an integer histogram would refuse it because the buckets do not add up.
    #[must_use]
    pub fn integers(&self) -> Option<IntegerCounts> {
        check_total(self).ok()?;
        Some(IntegerCounts {
            count: whole(self.count)?.unsigned_abs(),
            zero_count: whole(self.zero_count)?.unsigned_abs(),
            positive_deltas: deltas(&self.positive_buckets)?,
            negative_deltas: deltas(&self.negative_buckets)?,
        })
    }
}

fn deltas(counts: &[f64]) -> Option<Vec<i64>> {
    let mut last = 0;
    counts
        .iter()
        .map(|&count| {
            let count = whole(count)?;
            let delta = count - last;
            last = count;
            Some(delta)
        })
        .collect()
}

fn whole(count: f64) -> Option<i64> {
    let is_whole = (0.0..MAX_EXACT).contains(&count) && count.fract() == 0.0;
    // Below 2^53.
    is_whole.then_some(count as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_become_counts_and_come_back() {
        let parts = HistogramParts {
            count_int: 9,
            zero_count_int: 1,
            sum: 12.5,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_deltas: vec![2, -1, 4],
            ..HistogramParts::default()
        };
        let histogram = parts.build().unwrap();
        assert_eq!(histogram.positive_buckets, [2.0, 1.0, 5.0]);
        let integers = histogram.integers().unwrap();
        assert_eq!((integers.count, integers.zero_count), (9, 1));
        assert_eq!(integers.positive_deltas, [2, -1, 4]);
        assert_eq!(Histogram { count: 9.5, ..histogram.clone() }.integers(), None);
        assert_eq!(Histogram { count: 10.0, ..histogram }.integers(), None);
    }

    #[test]
    fn integers_that_do_not_add_up_are_refused() {
        let parts = |count_int, sum| HistogramParts {
            count_int,
            sum,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_deltas: vec![2],
            ..HistogramParts::default()
        };
        assert_eq!(parts(2, 1.0).build().map(|histogram| histogram.count), Ok(2.0));
        assert_eq!(parts(3, f64::NAN).build().map(|histogram| histogram.count), Ok(3.0));
        assert_eq!(parts(3, 1.0).build(), Err(HistogramError::Total { count: 3.0, buckets: 2.0 }));
        assert_eq!(parts(1, f64::NAN).build(), Err(HistogramError::Total { count: 1.0, buckets: 2.0 }));
        let overflow = HistogramParts {
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_deltas: vec![i64::MAX, 1],
            ..HistogramParts::default()
        };
        assert_eq!(overflow.build(), Err(HistogramError::BucketCount(f64::INFINITY)));
    }
}
