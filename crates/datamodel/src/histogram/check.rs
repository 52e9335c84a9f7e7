//! Whether a histogram that came from outside is one.
//!
//! Source: what Prometheus checks before it appends a histogram.
//!
//! Rule: what passes can be read by everything here without a second look.

use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};

/// The finest schema of exponential buckets.
pub const MAX_SCHEMA: i32 = 8;

/// The coarsest schema of exponential buckets.
pub const MIN_SCHEMA: i32 = -4;

/// Why a histogram is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// A resolution that does not exist, or that is not supported.
    #[error("unknown schema: {0} (known: {MIN_SCHEMA} to {MAX_SCHEMA}, and {CUSTOM_BUCKETS_SCHEMA})")]
    Schema(i32),
    /// A span after the first overlaps the one before, or the buckets leave the range of indexes.
    #[error("span {0} has an invalid offset or length")]
    Span(usize),
    /// Spans and buckets do not fit each other.
    #[error("spans need {spans} buckets, but there are {buckets}")]
    Buckets {
        /// Buckets that the spans lay out.
        spans: u64,
        /// Buckets that are there.
        buckets: usize,
    },
    /// A bucket holds less than nothing, or no number of observations.
    #[error("bucket with the count {0}")]
    BucketCount(f64),
    /// The zero bucket, or all of it, holds less than nothing.
    #[error("negative count: {0}")]
    Count(f64),
    /// The buckets of an integer histogram do not add up to its count.
    #[error("{buckets} observations in the buckets, but the count is {count}")]
    Total {
        /// The count.
        count: f64,
        /// What the buckets hold.
        buckets: f64,
    },
    /// The width of the zero bucket is negative or no number.
    #[error("invalid zero threshold: {0}")]
    ZeroThreshold(f64),
    /// Custom bounds that do not ascend, or that are not finite.
    #[error("custom bounds must be finite and ascend: {0}")]
    CustomBound(f64),
    /// Bounds do not go with exponential buckets, nor a zero bucket or negative buckets with bounds.
    #[error("{0} does not go with schema {1}")]
    Forbidden(&'static str, i32),
}

impl Histogram {
    /// Checks what the type alone cannot say: schema, layout, counts, bounds.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), HistogramError> {
        if self.has_custom_buckets() {
            self.check_custom()?;
        } else if !(MIN_SCHEMA..=MAX_SCHEMA).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        } else if !self.custom_values.is_empty() {
            return Err(HistogramError::Forbidden("a list of bounds", self.schema));
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(HistogramError::ZeroThreshold(self.zero_threshold));
        }
        if let Some(count) = [self.count, self.zero_count].into_iter().find(|count| *count < 0.0) {
            return Err(HistogramError::Count(count));
        }
        check_buckets(&self.negative_spans, &self.negative_buckets)?;
        check_buckets(&self.positive_spans, &self.positive_buckets)
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        let forbidden = [
            ("a zero bucket", self.zero_count != 0.0 || self.zero_threshold != 0.0),
            ("a negative bucket", !self.negative_spans.is_empty() || !self.negative_buckets.is_empty()),
        ];
        if let Some((what, _)) = forbidden.into_iter().find(|(_, is_there)| *is_there) {
            return Err(HistogramError::Forbidden(what, self.schema));
        }
        let mut last = f64::NEG_INFINITY;
        for &bound in self.custom_values.iter() {
            if !bound.is_finite() || bound <= last {
                return Err(HistogramError::CustomBound(bound));
            }
            last = bound;
        }
        let end: i64 = self.positive_spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
        let most = i64::try_from(self.custom_values.len()).unwrap_or(i64::MAX).saturating_add(1);
        let starts_below = self.positive_spans.first().is_some_and(|span| span.offset < 0);
        // One more than there are bounds: the last bucket ends at infinity.
        if starts_below || end > most {
            return Err(HistogramError::Span(self.positive_spans.len().saturating_sub(1)));
        }
        Ok(())
    }
}

fn check_buckets(spans: &[Span], buckets: &[f64]) -> Result<(), HistogramError> {
    let (mut end, mut needed) = (0_i64, 0_u64);
    for (at, span) in spans.iter().enumerate() {
        end += i64::from(span.offset) + i64::from(span.length);
        needed += u64::from(span.length);
        let leaves_range = i32::try_from(end).is_err() || i32::try_from(span.length).is_err();
        if leaves_range || (at > 0 && span.offset < 0) {
            return Err(HistogramError::Span(at));
        }
    }
    if needed != buckets.len() as u64 {
        return Err(HistogramError::Buckets { spans: needed, buckets: buckets.len() });
    }
    match buckets.iter().find(|count| count.is_nan() || **count < 0.0) {
        Some(count) => Err(HistogramError::BucketCount(*count)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let check = |change: &dyn Fn(&mut Histogram), expected: &str| {
            let mut histogram = Histogram {
                count: 3.0,
                sum: 4.0,
                positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }],
                positive_buckets: vec![1.0, 0.0, 2.0],
                ..Histogram::default()
            };
            change(&mut histogram);
            let result = histogram.check().map_or_else(|error| error.to_string(), |()| "good".to_owned());
            assert_eq!(result, expected);
        };
        let custom = |histogram: &mut Histogram, bounds: &[f64]| {
            histogram.schema = CUSTOM_BUCKETS_SCHEMA;
            histogram.custom_values = bounds.into();
            histogram.positive_spans = vec![Span { offset: 0, length: 3 }];
        };
        check(&|_| (), "good");
        check(&|histogram| custom(histogram, &[1.0, 2.0]), "good");
        check(&|histogram| histogram.schema = 9, "unknown schema: 9 (known: -4 to 8, and -53)");
        check(&|histogram| histogram.positive_spans[1].offset = -1, "span 1 has an invalid offset or length");
        check(&|histogram| histogram.positive_spans[0].length = u32::MAX, "span 0 has an invalid offset or length");
        check(&|histogram| histogram.positive_spans[0].length = 3, "spans need 4 buckets, but there are 3");
        check(&|histogram| histogram.positive_buckets[0] = -1.0, "bucket with the count -1");
        check(&|histogram| histogram.positive_buckets[0] = f64::NAN, "bucket with the count NaN");
        check(&|histogram| histogram.zero_count = -2.0, "negative count: -2");
        check(&|histogram| histogram.zero_threshold = -0.5, "invalid zero threshold: -0.5");
        check(&|histogram| histogram.custom_values = [1.0].into(), "a list of bounds does not go with schema 0");
        check(&|histogram| custom(histogram, &[2.0, 1.0]), "custom bounds must be finite and ascend: 1");
        check(&|histogram| custom(histogram, &[1.0]), "span 0 has an invalid offset or length");
    }
}
