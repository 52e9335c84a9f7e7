//! Answers against expectations.
//!
//! Rule: floats agree to one part in a million; a staleness marker agrees only with itself.

use std::sync::Arc;

use datamodel::histogram::same_bounds;
use datamodel::{Histogram, Labels, is_stale_nan};

use crate::annotations::Annotations;
use crate::engine::{InstantSample, QueryValue, RangeSeries, Value};
use crate::numbers::equal;
use crate::testing::script::{Eval, Expectations, Expected, TextMatch, When};
use crate::testing::sequence::SequenceValue;

/// Relative difference that does not count.
const TOLERANCE: f64 = 1e-6;

fn almost(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || equal(a, b) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if equal(a, 0.0) || equal(b, 0.0) || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn almost_all(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| almost(*a, *b))
}

fn almost_histogram(expected: &Histogram, found: &Histogram, with_hint: bool) -> bool {
    let (expected, found) = (expected.clone().compacted(), found.clone().compacted());
    expected.schema == found.schema
        && almost(expected.count, found.count)
        && almost(expected.sum, found.sum)
        && same_bounds(&expected.custom_values, &found.custom_values)
        && equal(expected.zero_threshold, found.zero_threshold)
        && almost(expected.zero_count, found.zero_count)
        && expected.positive_spans == found.positive_spans
        && expected.negative_spans == found.negative_spans
        && almost_all(&expected.positive_buckets, &found.positive_buckets)
        && almost_all(&expected.negative_buckets, &found.negative_buckets)
        && (!with_hint || expected.counter_reset_hint == found.counter_reset_hint)
}

/// A histogram with all that a comparison looks at.
fn shown(histogram: &Histogram) -> String {
    format!(
        "{histogram} (schema {}, zero threshold {}, bounds {:?}, {:?})",
        histogram.schema, histogram.zero_threshold, histogram.custom_values, histogram.counter_reset_hint
    )
}

fn same_value(expected: &SequenceValue, found: &Value) -> bool {
    match (expected, found) {
        (SequenceValue::Float(expected), Value::Float(found)) => almost(*expected, *found),
        (SequenceValue::Histogram(expected, with_hint), Value::Histogram(found)) => {
            almost_histogram(expected, found, *with_hint)
        }
        _ => false,
    }
}

fn shown_expected(value: &SequenceValue) -> String {
    match value {
        SequenceValue::Gap => "nothing".to_owned(),
        SequenceValue::Float(value) => value.to_string(),
        SequenceValue::Histogram(histogram, _) => shown(histogram),
    }
}

fn shown_found(value: &Value) -> String {
    match value {
        Value::Float(value) => value.to_string(),
        Value::Histogram(histogram) => shown(histogram),
    }
}

/// Compares a value with what the case expects.
pub(super) fn compare(eval: &Eval, found: &QueryValue) -> Result<(), String> {
    match (&eval.expected, found) {
        (Expected::Scalar(expected), QueryValue::Scalar(sample)) => {
            if almost(*expected, sample.value) {
                return Ok(());
            }
            Err(format!("expected {expected}, got {}", sample.value))
        }
        (Expected::String(expected), QueryValue::String { value, .. }) => {
            if expected == value {
                return Ok(());
            }
            Err(format!("expected {expected:?}, got {value:?}"))
        }
        (Expected::Series(expected), QueryValue::InstantVector(samples)) => {
            compare_instant(expected, samples, eval.expectations.is_ordered)
        }
        (Expected::Series(expected), QueryValue::RangeVector(series)) => {
            let (start, end, step) = match (eval.range_vector, eval.when) {
                (Some(grid), _) => grid,
                (None, When::Range { start, end, step }) => (start, end, step),
                (None, When::Instant(at)) => (at, at, 1),
            };
            compare_range(expected, series, (start, end, step))
        }
        (_, found) => Err(format!("unexpected type of result: {found:?}")),
    }
}

type ExpectedSeries = [(Labels, Vec<SequenceValue>)];

fn compare_instant(expected: &ExpectedSeries, found: &[InstantSample], is_ordered: bool) -> Result<(), String> {
    for (place, sample) in found.iter().enumerate() {
        let Some(at) = expected.iter().position(|(labels, _)| *labels == sample.labels) else {
            return Err(format!("unexpected series {} with {}", sample.labels, shown_found(&sample.value)));
        };
        if is_ordered && at != place {
            return Err(format!("expected {} at position {at}, but it is at {place}", sample.labels));
        }
        let wanted = expected.get(at).and_then(|(_, values)| values.first()).unwrap_or(&SequenceValue::Gap);
        if !same_value(wanted, &sample.value) {
            let (wanted, found) = (shown_expected(wanted), shown_found(&sample.value));
            return Err(format!("expected {wanted} for {}, got {found}", sample.labels));
        }
    }
    match expected.iter().find(|(labels, _)| !found.iter().any(|sample| sample.labels == *labels)) {
        Some((labels, _)) => Err(format!("expected series {labels} not found")),
        None => Ok(()),
    }
}

fn compare_range(expected: &ExpectedSeries, found: &[RangeSeries], grid: (i64, i64, i64)) -> Result<(), String> {
    let (start, end, step) = grid;
    for series in found {
        let Some((_, values)) = expected.iter().find(|(labels, _)| *labels == series.labels) else {
            return Err(format!("unexpected series {} with {:?}", series.labels, series.samples));
        };
        let mut wanted = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let at = start + step * i64::try_from(index).unwrap_or(i64::MAX);
            if at > end {
                return Err(format!("{} expected values, but the range holds fewer", values.len()));
            }
            if *value != SequenceValue::Gap {
                wanted.push((at, value));
            }
        }
        let found: Vec<(i64, Value)> = points(series).collect();
        if wanted.len() != found.len() {
            let (wanted, found) = (wanted.len(), found.len());
            return Err(format!("expected {wanted} samples of {}, got {found}: {:?}", series.labels, series.samples));
        }
        for ((at, wanted), (found_at, found)) in wanted.iter().zip(&found) {
            if at != found_at || !same_value(wanted, found) {
                let (wanted, found) = (shown_expected(wanted), shown_found(found));
                return Err(format!(
                    "expected {wanted} at {at} ms for {}, got {found} at {found_at} ms",
                    series.labels
                ));
            }
        }
    }
    match expected.iter().find(|(labels, _)| !found.iter().any(|series| series.labels == *labels)) {
        Some((labels, _)) => Err(format!("expected series {labels} not found")),
        None => Ok(()),
    }
}

/// The samples of a series as values.
pub(super) fn points(series: &RangeSeries) -> impl Iterator<Item = (i64, Value)> + '_ {
    let samples = &series.samples;
    samples.timestamps.iter().zip(&samples.values).enumerate().map(|(index, (at, value))| {
        let value = match samples.histograms.binary_search_by_key(&index, |(place, _)| *place) {
            Ok(place) => samples
                .histograms
                .get(place)
                .map_or(Value::Float(*value), |(_, histogram)| Value::Histogram(Arc::clone(histogram))),
            Err(_) => Value::Float(*value),
        };
        (*at, value)
    })
}

/// Compares annotations: each expected one is there, and where some are expected no other is.
pub(super) fn compare_annotations(expectations: &Expectations, found: &Annotations) -> Result<(), String> {
    for (kind, expected, found, none) in [
        ("warning", &expectations.warn, &found.warnings, expectations.no_warn),
        ("info", &expectations.info, &found.infos, expectations.no_info),
    ] {
        if none && !found.is_empty() {
            return Err(format!("unexpected {kind}: {found:?}"));
        }
        if let Some(missing) = expected.iter().find(|text| !found.iter().any(|found| text.matches(found))) {
            return Err(format!("expected {kind} {} not among {found:?}", TextMatch::shown(missing)));
        }
        if expected.is_empty() {
            continue;
        }
        if let Some(surplus) = found.iter().find(|found| !expected.iter().any(|text| text.matches(found))) {
            return Err(format!("unexpected {kind}: {surplus}"));
        }
    }
    Ok(())
}
