//! What an answer says about itself: warnings and infos, with upstream's texts and places.
//!
//! Rule: an annotation is one fact ([`Note`]); the same fact seen again replaces its place.

use std::collections::HashMap;
use std::fmt;

use datamodel::float::format_g;
use datamodel::labels::Quoted;

use crate::ast::BinaryOp;
use crate::numbers::{GoFloat2, rfc3339_seconds};
use crate::span::Span;

/// Warnings and infos of one evaluation, each with its place (`… (1:5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Something is probably wrong with the query or the data.
    pub warnings: Vec<String>,
    /// Something is worth knowing.
    pub infos: Vec<String>,
}

/// What happened to native histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// One fact. Floats are kept as bits, so that facts can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Note {
    InvalidQuantile(u64),
    InvalidRatio { given: u64, used: u64 },
    BadBucketLabel { metric: String, value: String },
    MixedFloatsHistograms { metric: String },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative { metric: String },
    NotCounter { metric: String },
    NotGauge { metric: String },
    MixedExponentialCustom { metric: String },
    IncompatibleBucketLayout(BinaryOp),
    SortInRangeQuery,
    CounterResetCollision(HistogramOperation),
    StartTimeOverlap { metric: String },
    PossibleNonCounter { metric: String },
    PossibleNonCounterType { metric: String, found: String },
    ForcedMonotonicity { metric: String },
    IncompatibleTypes { left: &'static str, op: BinaryOp, right: &'static str },
    HistogramIgnoredInAggregation(&'static str),
    HistogramIgnoredInRange { metric: String },
    QuantileNanResult { metric: String },
    QuantileNanSkew { metric: String },
    FractionNans { metric: String },
    MismatchedCustomBuckets(HistogramOperation),
}

impl Note {
    pub(crate) fn invalid_quantile(q: f64) -> Self {
        Self::InvalidQuantile(q.to_bits())
    }

    pub(crate) const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::InvalidQuantile(_)
                | Self::InvalidRatio { .. }
                | Self::BadBucketLabel { .. }
                | Self::MixedFloatsHistograms { .. }
                | Self::MixedFloatsHistogramsInAggregation
                | Self::MixedClassicNative { .. }
                | Self::NotCounter { .. }
                | Self::NotGauge { .. }
                | Self::MixedExponentialCustom { .. }
                | Self::IncompatibleBucketLayout(_)
                | Self::SortInRangeQuery
                | Self::CounterResetCollision(_)
                | Self::StartTimeOverlap { .. }
        )
    }
}

/// ` for metric name "…"`, or nothing for an empty name.
struct ForMetric<'a>(&'a str);

impl fmt::Display for ForMetric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " for metric name {}", Quoted(self.0)) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_warning() { "PromQL warning: " } else { "PromQL info: " })?;
        match self {
            Self::InvalidQuantile(q) => {
                write!(f, "quantile value should be between 0 and 1, got {}", format_g(f64::from_bits(*q)))
            }
            Self::InvalidRatio { given, used } => {
                let (given, used) = (format_g(f64::from_bits(*given)), format_g(f64::from_bits(*used)));
                write!(f, "ratio value should be between -1 and 1, got {given}, capping to {used}")
            }
            Self::BadBucketLabel { metric, value } => {
                let value = Quoted(value);
                write!(f, "bucket label \"le\" is missing or has a malformed value of {value}{}", ForMetric(metric))
            }
            Self::MixedFloatsHistograms { metric } => {
                write!(f, "encountered a mix of histograms and floats for metric name {}", Quoted(metric))
            }
            Self::MixedFloatsHistogramsInAggregation => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::MixedClassicNative { metric } => {
                write!(f, "vector contains a mix of classic and native histograms{}", ForMetric(metric))
            }
            Self::NotCounter { metric } => {
                write!(f, "this native histogram metric is not a counter: {}", Quoted(metric))
            }
            Self::NotGauge { metric } => write!(f, "this native histogram metric is not a gauge: {}", Quoted(metric)),
            Self::MixedExponentialCustom { metric } => write!(
                f,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                Quoted(metric)
            ),
            Self::IncompatibleBucketLayout(op) => {
                write!(f, "incompatible bucket layout encountered for binary operator {}", op.as_str())
            }
            Self::SortInRangeQuery => {
                f.write_str("sort is ineffective for range queries since results are always ordered by labels")
            }
            Self::CounterResetCollision(op) => {
                write!(f, "conflicting counter resets during histogram {}", op.as_str())
            }
            Self::StartTimeOverlap { metric } => write!(
                f,
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                Quoted(metric)
            ),
            _ => self.fmt_info(f),
        }
    }
}

impl Note {
    fn fmt_info(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PossibleNonCounter { metric } => write!(
                f,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                Quoted(metric)
            ),
            Self::PossibleNonCounterType { metric, found } => write!(
                f,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                Quoted(found),
                Quoted(metric)
            ),
            Self::ForcedMonotonicity { metric } => write!(
                f,
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                ForMetric(metric)
            ),
            Self::IncompatibleTypes { left, op, right } => {
                let op = op.as_str();
                write!(f, "incompatible sample types encountered for binary operator \"{op}\": {left} {op} {right}")
            }
            Self::HistogramIgnoredInAggregation(op) => write!(f, "ignored histogram in {op} aggregation"),
            Self::HistogramIgnoredInRange { metric } => write!(
                f,
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                Quoted(metric)
            ),
            Self::QuantileNanResult { metric } => {
                write!(f, "input to histogram_quantile has NaN observations, result is NaN{}", ForMetric(metric))
            }
            Self::QuantileNanSkew { metric } => write!(
                f,
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                ForMetric(metric)
            ),
            Self::FractionNans { metric } => write!(
                f,
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                ForMetric(metric)
            ),
            Self::MismatchedCustomBuckets(op) => {
                write!(f, "mismatched custom buckets were reconciled during {}", op.as_str())
            }
            _ => Ok(()),
        }
    }
}

/// What the fix for monotonicity did, over all samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Monotonicity {
    pub(crate) min_at: i64,
    pub(crate) max_at: i64,
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    span: Span,
    order: usize,
    count: usize,
    monotonicity: Option<Monotonicity>,
}

/// Collects notes during an evaluation.
#[derive(Debug, Default)]
pub(crate) struct Notes(HashMap<Note, Seen>);

impl Notes {
    pub(crate) fn add(&mut self, note: Note, span: Span) {
        self.add_counted(note, span, None);
    }

    pub(crate) fn add_monotonicity(&mut self, metric: &str, span: Span, detail: Monotonicity) {
        self.add_counted(Note::ForcedMonotonicity { metric: metric.to_owned() }, span, Some(detail));
    }

    fn add_counted(&mut self, note: Note, span: Span, detail: Option<Monotonicity>) {
        let order = self.0.len();
        let seen = self.0.entry(note).or_insert(Seen { span, order, count: 0, monotonicity: None });
        seen.span = span;
        seen.count += 1;
        seen.monotonicity = match (seen.monotonicity, detail) {
            (Some(a), Some(b)) => Some(Monotonicity {
                min_at: a.min_at.min(b.min_at),
                max_at: a.max_at.max(b.max_at),
                min_bucket: a.min_bucket.min(b.min_bucket),
                max_bucket: a.max_bucket.max(b.max_bucket),
                max_diff: a.max_diff.max(b.max_diff),
            }),
            (a, b) => a.or(b),
        };
    }

    /// The texts, in the order in which the facts were first seen.
    pub(crate) fn finish(self, text: Option<&str>) -> Annotations {
        let mut notes: Vec<_> = self.0.into_iter().collect();
        notes.sort_by_key(|(_, seen)| seen.order);
        let mut annotations = Annotations::default();
        for (note, seen) in notes {
            let place =
                text.map_or_else(|| format!("1:{}", seen.span.start + 1), |text| seen.span.position(text).to_string());
            let mut line = note.to_string();
            if let Some(detail) = seen.monotonicity {
                line.push_str(&format!(
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    format_g(detail.min_bucket),
                    format_g(detail.max_bucket),
                    GoFloat2(detail.max_diff),
                    seen.count,
                    rfc3339_seconds(detail.min_at),
                    rfc3339_seconds(detail.max_at),
                ));
            } else if seen.count > 1 && matches!(note, Note::StartTimeOverlap { .. }) {
                line.push_str(&format!(" ({} occurrences)", seen.count));
            }
            line.push_str(&format!(" ({place})"));
            if note.is_warning() {
                annotations.warnings.push(line);
            } else {
                annotations.infos.push(line);
            }
        }
        annotations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_fact_is_told_once_with_its_last_place() {
        let mut notes = Notes::default();
        notes.add(Note::invalid_quantile(2.0), Span::new(9, 10));
        notes.add(Note::PossibleNonCounter { metric: "x".to_owned() }, Span::new(0, 1));
        notes.add(Note::invalid_quantile(2.0), Span::new(3, 4));
        let annotations = notes.finish(Some("a\nb + c"));
        assert_eq!(annotations.warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:2)"]);
        assert_eq!(
            annotations.infos,
            ["PromQL info: metric might not be a counter, name does not end in \
              _total/_sum/_count/_bucket: \"x\" (1:1)"]
        );
    }

    #[test]
    fn forced_monotonicity_is_merged_over_samples() {
        let mut notes = Notes::default();
        let detail =
            |at, diff| Monotonicity { min_at: at, max_at: at, min_bucket: 1.0, max_bucket: 2.5, max_diff: diff };
        notes.add_monotonicity("", Span::new(0, 1), detail(0, 1.0));
        notes.add_monotonicity("", Span::new(0, 1), detail(60_000, 123.456));
        assert_eq!(
            notes.finish(None).infos,
            ["PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
              https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets 1 to \
              2.5, with a max diff of 1.2e+02, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)"]
        );
    }
}
