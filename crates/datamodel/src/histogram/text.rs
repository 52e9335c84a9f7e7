//! Histograms as upstream prints them: `{count:5, sum:18.4, [-0.001,0.001]:1, (0.5,1]:4}`.
//!
//! Rule: numbers print as Go's `%g`.

use std::fmt;

use crate::float::format_g;
use crate::histogram::{Bucket, Histogram};

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) =
            (if self.is_lower_inclusive { '[' } else { '(' }, if self.is_upper_inclusive { ']' } else { ')' });
        let (lower, upper) = (format_g(self.lower), format_g(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", format_g(self.count))
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        let is_populated = |bucket: &Bucket| bucket.count.is_nan() || bucket.count.abs() > 0.0;
        let mut below: Vec<Bucket> = self.negative().filter(is_populated).collect();
        below.reverse();
        let zero = Some(self.zero_bucket()).filter(is_populated);
        for bucket in below.into_iter().chain(zero).chain(self.positive().filter(is_populated)) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    #[test]
    fn histogram_prints_its_populated_buckets() {
        let histogram = Histogram {
            count: 6.0,
            sum: 12.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.0],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative_buckets: vec![2.0],
            ..Histogram::default()
        };
        assert_eq!(histogram.to_string(), "{count:6, sum:12.5, [-2,-1):2, [-0.001,0.001]:1, (0.5,1]:1, (2,4]:2}");
    }
}
