//! The samples that both get, as bodies of remote write.
//!
//! Rule: every sample lies 137 ms behind a whole second. Questions are asked at whole seconds, so that no sample lies on
//! the edge of a range, which belongs to the range in Prometheus 2 and not in 3.

use std::sync::Arc;

use datamodel::histogram::Span;
use datamodel::{Histogram, Labels, STALE_NAN, Timestamp};
use remote::wire::{TimeSeries, WireHistogram, WireSample, WriteRequest, WriteVersion, compress};

/// The first sample, Unix seconds; a whole number of hours, so that a step can begin there.
pub(super) const START: i64 = 1_700_002_800;
/// Samples of a series that goes through.
pub(super) const ROWS: i64 = 480;
/// Seconds between two samples.
pub(super) const STEP: i64 = 15;
const OFFSET_MS: i64 = 137;
/// Rows of one request: neither of the two takes samples that lie an hour behind the newest.
const ROWS_OF_A_BODY: i64 = 100;

const BOUNDS: [(&str, f64); 6] =
    [("0.05", 0.05), ("0.1", 0.1), ("0.25", 0.25), ("0.5", 0.5), ("1", 1.0), ("+Inf", f64::INFINITY)];

type Value = dyn Fn(i64) -> Option<f64>;

/// A series of floats, by its value in each row.
struct Floats {
    labels: Labels,
    value: Box<Value>,
}

/// A number from 0 to 1 that looks like chance and is the same each time.
fn noise(seed: i64, row: i64) -> f64 {
    let mixed = (seed * 7919 + row + 1).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)) >> 11 & 0xffff) as f64 / 65_536.0
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn floats(pairs: &[(&str, &str)], value: impl Fn(i64) -> Option<f64> + 'static) -> Floats {
    Floats { labels: labels(pairs), value: Box::new(value) }
}

/// A counter that restarts in a row, if it does.
fn counter(seed: i64, rate: f64, restart: Option<i64>) -> impl Fn(i64) -> Option<f64> {
    move |row| {
        let since = restart.filter(|restart| row >= *restart).map_or(row, |restart| row - restart);
        Some((since as f64 * rate + noise(seed, row) * rate).floor())
    }
}

fn series() -> Vec<Floats> {
    let mut all = Vec::new();
    for worker in 0..4_i64 {
        let pod = format!("worker-{worker}");
        let (pod, job) = (("pod", pod.as_str()), ("job", "asr"));
        let restart = (worker == 2).then_some(200);
        for (code, rate) in [("200", 7.0), ("429", 0.3), ("500", 0.05)] {
            let name = ("__name__", "requests_total");
            all.push(floats(&[name, ("code", code), job, pod], counter(worker, rate * (worker + 1) as f64, restart)));
        }
        all.push(floats(&[("__name__", "queue_depth"), job, pod], move |row| {
            Some((noise(worker + 10, row) * 40.0).floor())
        }));
        all.push(floats(&[("__name__", "load"), job, pod], move |row| match (worker, row % 97) {
            (3, 13) => Some(f64::NAN),
            (3, 14) => Some(f64::INFINITY),
            _ => Some((row as f64 / 20.0 + worker as f64).sin() * 3.0 + 5.0),
        }));
        all.push(floats(&[("__name__", "balance"), job, pod], move |row| {
            Some((row as f64 / 31.0 + worker as f64).cos())
        }));
        for (index, (le, bound)) in BOUNDS.into_iter().enumerate() {
            let share = (bound.min(1.2) / 1.2).sqrt();
            let rate = 11.0 * (worker + 1) as f64;
            all.push(floats(&[("__name__", "latency_seconds_bucket"), job, ("le", le), pod], move |row| {
                // Whole numbers that do not fall from one bucket to the next.
                Some((row as f64 * rate * share).floor() + index as f64)
            }));
        }
        all.push(floats(&[("__name__", "latency_seconds_sum"), job, pod], counter(worker + 20, 3.25, None)));
        all.push(floats(&[("__name__", "latency_seconds_count"), job, pod], counter(worker + 30, 11.0, None)));
        let version = if worker < 2 { "1.4" } else { "1.5" };
        let named = ("__name__", "build_info");
        all.push(floats(&[named, job, pod, ("version", version), ("zone", "a/b-\u{fc}")], |_row| Some(1.0)));
    }
    // Dates far apart, leap days and years before 1970 among them.
    all.push(floats(&[("__name__", "backup_timestamp_seconds"), ("job", "store")], |row| {
        Some((row - 60) as f64 * 3.3e6)
    }));
    // Ends with a marker, begins late, has holes longer than the look-back.
    all.push(floats(&[("__name__", "session"), ("job", "asr"), ("user", "gone")], |row| match row {
        ..150 => Some(row as f64),
        150 => Some(STALE_NAN),
        _ => None,
    }));
    all.push(floats(&[("__name__", "session"), ("job", "asr"), ("user", "late")], |row| (row > 300).then_some(2.5)));
    all.push(floats(&[("__name__", "session"), ("job", "asr"), ("user", "rare")], |row| {
        (row % 60 < 20).then(|| noise(77, row))
    }));
    all
}

/// A native histogram that grows: two runs of buckets, one of them below zero.
fn histogram(row: i64, worker: i64) -> Histogram {
    let grown = |index: i64| (row * (index + worker + 1) / 2) as f64;
    let positive_buckets = vec![grown(1), grown(3), grown(2), grown(1)];
    let negative_buckets = vec![grown(1), grown(2)];
    let zero_count = grown(2);
    let count = positive_buckets.iter().chain(&negative_buckets).sum::<f64>() + zero_count;
    Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count,
        count,
        sum: row as f64 * 1.75,
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 1, length: 2 }],
        negative_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets,
        negative_buckets,
        custom_values: Arc::from([]),
        ..Histogram::default()
    }
}

const fn at(row: i64) -> Timestamp {
    Timestamp::from_unix_ms((START + row * STEP) * 1000 + OFFSET_MS)
}

/// The requests in the order in which they must be sent, and the number of samples in them.
pub(super) fn bodies() -> (Vec<Vec<u8>>, usize) {
    let all = series();
    let mut samples = 0;
    let mut bodies = Vec::new();
    let mut first = 0;
    while first < ROWS {
        let rows = first..(first + ROWS_OF_A_BODY).min(ROWS);
        let mut request = WriteRequest::default();
        for Floats { labels, value } in &all {
            let values = rows.clone().filter_map(|row| Some((row, value(row)?)));
            let values = values.map(|(row, value)| WireSample { at: at(row), value, start: None });
            request.series.push(TimeSeries {
                labels: labels.clone(),
                samples: values.collect(),
                ..TimeSeries::default()
            });
        }
        for worker in 0..2 {
            let pod = format!("worker-{worker}");
            let labels = labels(&[("__name__", "audio_seconds"), ("job", "asr"), ("pod", &pod)]);
            let taken = |row| WireHistogram { at: at(row), histogram: histogram(row, worker), start: None };
            let histograms = rows.clone().map(taken).collect();
            request.series.push(TimeSeries { labels, histograms, ..TimeSeries::default() });
        }
        request.series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
        samples += request.series.iter().map(|series| series.samples.len() + series.histograms.len()).sum::<usize>();
        bodies.push(compress(&request.encode(WriteVersion::V1)).unwrap());
        first = rows.end;
    }
    (bodies, samples)
}
