//! Native histograms of a page: whether they are taken, and how fine.
//!
//! - [`NativeHistograms`]: what a job's configuration says, with Prometheus' keys and defaults.
//!
//! Rule: a histogram is made coarser before it is refused, and refused before it is unbounded.

use datamodel::Histogram;
use datamodel::exposition::HistogramForm;
use datamodel::histogram::{MAX_SCHEMA, MIN_SCHEMA};

use crate::error::ScrapeError;

/// What becomes of native histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NativeHistograms {
    /// Which samples are taken of a histogram that has native buckets.
    pub form: HistogramForm,
    /// The most buckets, negative and positive together; zero: as many as the format allows. One with more is made
    /// coarser; if that is not enough, the scrape fails.
    pub bucket_limit: usize,
    /// The growth from one bucket to the next that is fine enough; a finer histogram is made coarser. Zero: any.
    pub min_bucket_factor: f64,
}

impl NativeHistograms {
    /// Makes a histogram as coarse as it has to be.
    ///
    /// # Errors
    ///
    /// [`ScrapeError::BucketLimit`]; `line` is the sample on the page.
    pub(crate) fn fit(&self, histogram: Histogram, line: u32) -> Result<Histogram, ScrapeError> {
        let mut histogram = histogram;
        if self.min_bucket_factor > 0.0 {
            let schema = coarsest_needed(self.min_bucket_factor);
            if histogram.schema > schema {
                histogram = histogram.in_schema(schema);
            }
        }
        let limit = self.bucket_limit;
        while limit > 0 && buckets(&histogram) > limit {
            if histogram.has_custom_buckets() || histogram.schema <= MIN_SCHEMA {
                return Err(ScrapeError::BucketLimit { found: buckets(&histogram), limit, line });
            }
            histogram = histogram.in_schema(histogram.schema - 1);
        }
        Ok(histogram)
    }
}

fn buckets(histogram: &Histogram) -> usize {
    histogram.positive_buckets.len() + histogram.negative_buckets.len()
}

/// The schema for a factor as Prometheus picks it: the coarsest whose buckets grow by no more than the factor.
fn coarsest_needed(factor: f64) -> i32 {
    if factor <= 1.0 {
        return MAX_SCHEMA;
    }
    // A growth of 2^(2^-n) for schema n; what is out of range of an integer is out of range of the schemas.
    let schema = (-factor.log2().log2()).ceil();
    schema.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i32
}

#[cfg(test)]
mod tests {
    use datamodel::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    use super::*;

    fn histogram(schema: i32, buckets: u32) -> Histogram {
        let counts = vec![1.0; buckets as usize];
        let spans = vec![Span { offset: 1, length: buckets }];
        let count = f64::from(buckets);
        Histogram { schema, count, positive_spans: spans, positive_buckets: counts, ..Histogram::default() }
    }

    #[test]
    fn factor_picks_the_coarsest_schema_that_grows_no_faster() {
        let factors = [(1.0, 8), (1.002, 8), (1.09, 4), (1.1, 3), (1.5, 1), (2.0, 0), (4.0, -1), (1e9, -4)];
        for (factor, schema) in factors {
            assert_eq!(coarsest_needed(factor), schema, "{factor}");
        }
    }

    #[test]
    fn histogram_is_made_coarser_before_it_is_refused() {
        let native = NativeHistograms { bucket_limit: 8, ..NativeHistograms::default() };
        let fitted = native.fit(histogram(3, 60), 1).unwrap();
        assert!(fitted.schema < 3 && buckets(&fitted) <= 8, "{fitted:?}");
        let total: f64 = fitted.positive_buckets.iter().sum();
        assert_eq!((fitted.count.to_bits(), total.to_bits()), (60_f64.to_bits(), 60_f64.to_bits()));

        let none = NativeHistograms { bucket_limit: 1, ..NativeHistograms::default() };
        let error = none.fit(histogram(0, 600), 7).unwrap_err().to_string();
        assert!(error.starts_with("native_histogram_bucket_limit exceeded: "), "{error}");
        assert!(error.ends_with(" buckets, limit 1, sample 7"), "{error}");
        assert!(none.fit(Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..histogram(0, 2) }, 1).is_err());
        assert!(NativeHistograms::default().fit(histogram(0, 600), 1).is_ok());
    }

    #[test]
    fn factor_makes_a_finer_histogram_coarser_and_leaves_the_others() {
        let native = NativeHistograms { min_bucket_factor: 1.5, ..NativeHistograms::default() };
        assert_eq!(native.fit(histogram(5, 10), 1).unwrap().schema, 1);
        assert_eq!(native.fit(histogram(0, 10), 1).unwrap(), histogram(0, 10));
    }
}
