//! Samples as bodies of Prometheus' remote write 1.0, uncompressed within the snappy format.
//!
//! Rule: just enough of protobuf for this message; a series' samples ascend from body to body.

use datamodel::{Histogram, Labels};
use storage::Samples;
use tsdb::Tsdb;

use crate::data;

/// A body.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) whole_histograms: usize,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn signed(out: &mut Vec<u8>, field: u64, value: i64) {
    number(out, field, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn is_whole(histogram: &Histogram) -> bool {
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    buckets.chain([&histogram.count, &histogram.zero_count]).all(|count| count.fract() == 0.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and small, as was asked before")]
fn histogram(at: i64, histogram: &Histogram, whole: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let whole_number = |count: f64| count as u64;
    if whole {
        number(&mut out, 1, whole_number(histogram.count));
    } else {
        double(&mut out, 2, histogram.count);
    }
    double(&mut out, 3, histogram.sum);
    signed(&mut out, 4, i64::from(histogram.schema));
    double(&mut out, 5, histogram.zero_threshold);
    if whole {
        number(&mut out, 6, whole_number(histogram.zero_count));
    } else {
        double(&mut out, 7, histogram.zero_count);
    }
    let sides = [
        (8, &histogram.negative_spans, &histogram.negative_buckets),
        (11, &histogram.positive_spans, &histogram.positive_buckets),
    ];
    for (field, spans, buckets) in sides {
        for span in spans {
            let mut message = Vec::new();
            signed(&mut message, 1, i64::from(span.offset));
            number(&mut message, 2, u64::from(span.length));
            bytes(&mut out, field, &message);
        }
        let mut packed = Vec::new();
        let mut before = 0;
        for count in buckets {
            if whole {
                let delta = *count as i64 - before;
                before = *count as i64;
                varint(&mut packed, ((delta << 1) ^ (delta >> 63)).cast_unsigned());
            } else {
                packed.extend_from_slice(&count.to_bits().to_le_bytes());
            }
        }
        bytes(&mut out, if whole { field + 1 } else { field + 2 }, &packed);
    }
    let is_gauge = histogram.counter_reset_hint == datamodel::histogram::CounterResetHint::Gauge;
    number(&mut out, 14, if is_gauge { 3 } else { 0 });
    number(&mut out, 15, at.cast_unsigned());
    out
}

/// The samples of a series from one index to another, as a message.
fn time_series(labels: &Labels, samples: &Samples, range: std::ops::Range<usize>, whole: &mut usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        bytes(&mut label, 1, name.as_bytes());
        bytes(&mut label, 2, value.as_bytes());
        bytes(&mut out, 1, &label);
    }
    // A series counts either in whole numbers or not.
    let is_whole = samples.histograms.iter().all(|(_, histogram)| is_whole(histogram));
    for index in range {
        let at = samples.timestamps[index];
        match samples.histograms.binary_search_by_key(&index, |(place, _)| *place) {
            Ok(found) => {
                let value = &samples.histograms[found].1;
                *whole += usize::from(is_whole);
                bytes(&mut out, 4, &histogram(at, value, is_whole));
            }
            Err(_float) => {
                let mut sample = Vec::new();
                double(&mut sample, 1, samples.values[index]);
                number(&mut sample, 2, at.cast_unsigned());
                bytes(&mut out, 2, &sample);
            }
        }
    }
    out
}

/// Literals only: longer, and as valid.
fn snappy(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, message.len() as u64);
    for part in message.chunks(1 << 16) {
        out.push(61 << 2);
        out.extend_from_slice(&((part.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Whether a series is not sent: Prometheus 2.42 takes gauges for counters when it writes a block, and fails at what it
/// takes for resets then.
pub(crate) fn is_left_out(labels: &Labels) -> bool {
    labels.metric_name() == Some("batch_size")
}

/// Everything in a storage. Rows of a hundred samples of all series, so that none lies behind the head's window.
pub(crate) fn of(tsdb: &Tsdb) -> Vec<Body> {
    let all = data::series(tsdb);
    let mut bodies = Vec::new();
    let (first, step) = (data::START_MS, 1_500_000);
    for part in 0.. {
        let (from, to) = (first + part * step, first + (part + 1) * step);
        if from > data::END_MS {
            break;
        }
        let mut message = Vec::new();
        let mut whole_histograms = 0;
        for (labels, samples) in &all {
            let place = |at: i64| samples.timestamps.partition_point(|time| *time < at);
            let range = place(from)..place(to);
            if !range.is_empty() && !is_left_out(labels) {
                bytes(&mut message, 1, &time_series(labels, samples, range, &mut whole_histograms));
            }
        }
        bodies.push(Body { bytes: snappy(&message), whole_histograms });
    }
    bodies
}
