//! Five hours of samples: counters with resets, gauges, markers, late samples, classic and native histograms.
//!
//! Rule: everything follows from one seed; instants end with 137 ms, so that none lies on the edge of a range.

use std::fmt::Write;

use datamodel::histogram::{CounterResetHint, Span};
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, MatchOp, Matcher, STALE_NAN, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use storage::{Appendable, Queryable, Samples, SelectHints};
use tsdb::Tsdb;

/// The first scrape.
pub(crate) const START_MS: i64 = 1_700_006_400_137;
const STEP_MS: i64 = 15_000;
const SCRAPES: i64 = 1200;
/// Behind the last scrape.
pub(crate) const END_MS: i64 = START_MS + SCRAPES * STEP_MS;
const PODS: usize = 4;
const BOUNDS: [&str; 5] = ["0.1", "0.5", "1.0", "5.0", "+Inf"];
const SEED: u64 = 20_261_129;

/// What a pod counts.
#[derive(Clone, Default)]
struct Pod {
    requests: f64,
    latency: [f64; BOUNDS.len()],
    latency_sum: f64,
    native: Histogram,
}

fn labels(name: &str, pod: usize, more: &[(&str, &str)]) -> Labels {
    let pod = format!("worker-{pod}");
    let pairs = [("__name__", name), ("pod", pod.as_str()), ("job", "asr")];
    Labels::from_pairs(pairs.into_iter().chain(more.iter().copied()))
}

fn empty_native(wide: bool) -> Histogram {
    let spans = if wide {
        vec![Span { offset: -1, length: 2 }, Span { offset: 1, length: 3 }]
    } else {
        vec![Span { offset: 0, length: 3 }]
    };
    let buckets = spans.iter().map(|span| span.length as usize).sum();
    Histogram {
        schema: 1,
        zero_threshold: 2.0_f64.powi(-128),
        positive_spans: spans,
        positive_buckets: vec![0.0; buckets],
        negative_spans: vec![Span { offset: 2, length: 1 }],
        negative_buckets: vec![0.0],
        ..Histogram::default()
    }
}

impl Pod {
    /// A pod that has counted for a while: where a series begins within a range, 2.42 and 3.14 differ in how far they
    /// carry small counts back to zero.
    fn running(random: &mut StdRng) -> Self {
        let mut native = empty_native(false);
        (0..400).for_each(|_| observe(&mut native, random, 1.0));
        Self { requests: 5000.0, latency: [1000.0, 2000.0, 3000.0, 4000.0, 5000.0], latency_sum: 9000.0, native }
    }

    /// A pod that begins anew; its native histogram falls, but not to zero, for the same reason.
    fn restarted(random: &mut StdRng) -> Self {
        let mut native = empty_native(random.random_bool(0.5));
        (0..40).for_each(|_| observe(&mut native, random, 1.0));
        Self { native, ..Self::default() }
    }
}

fn observe(histogram: &mut Histogram, random: &mut StdRng, unit: f64) {
    for bucket in histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets) {
        *bucket += f64::from(random.random_range(0..4)) * unit;
    }
    histogram.zero_count += unit;
    let all = histogram.positive_buckets.iter().chain(&histogram.negative_buckets).sum::<f64>();
    histogram.count = all + histogram.zero_count;
    histogram.sum += f64::from(random.random_range(0..1000)) / 8.0;
}

/// Writes the samples; with `all` also native histograms and late samples.
pub(crate) fn write(tsdb: &Tsdb, all: bool) {
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut pods: Vec<Pod> = (0..PODS).map(|_| Pod::running(&mut random)).collect();
    let groups: Vec<_> = (0..PODS).map(|_| tsdb.appender().create_group()).collect();
    for scrape in 0..SCRAPES {
        for (number, pod) in pods.iter_mut().enumerate() {
            let at = START_MS + scrape * STEP_MS + i64::try_from(number).unwrap() * 1000;
            // Pods restart, and one is away for a while.
            let away = number == 3 && (500..640).contains(&scrape);
            if number == 3 && scrape == 640 {
                *pod = Pod::running(&mut random);
            } else if random.random_bool(0.01) && !away {
                *pod = Pod::restarted(&mut random);
            }
            if away && scrape > 500 {
                continue;
            }
            let row = scrape_pod(pod, number, &mut random, all);
            let mut appender = tsdb.appender();
            for (labels, value) in row {
                let series = appender.series(Some(groups[number]), &labels).unwrap();
                let at = Timestamp::from_unix_ms(at);
                match value {
                    Ok(value) => appender.append(series, at, if away { STALE_NAN } else { value }).unwrap(),
                    Err(_) if away => appender.append(series, at, STALE_NAN).unwrap(),
                    Err(histogram) => appender.append_histogram(series, at, histogram).unwrap(),
                }
            }
            assert_eq!(appender.commit().unwrap().len(), 0);
        }
        if all && scrape % 50 == 49 {
            write_late(tsdb, scrape);
        }
        if scrape == 700 {
            tsdb.seal().unwrap();
        }
    }
}

/// Samples of one series in the order of a queue that was turned around.
fn write_late(tsdb: &Tsdb, scrape: i64) {
    for back in 0..50 {
        let mut appender = tsdb.appender();
        let series = appender.series(None, &labels("late_depth", 9, &[])).unwrap();
        let at = Timestamp::from_unix_ms(START_MS + (scrape - back) * STEP_MS);
        appender.append(series, at, ((scrape - back) % 17) as f64).unwrap();
        assert_eq!(appender.commit().unwrap().len(), 0);
    }
}

type Row = Vec<(Labels, Result<f64, Histogram>)>;

fn scrape_pod(pod: &mut Pod, number: usize, random: &mut StdRng, all: bool) -> Row {
    let requests = random.random_range(0..9_u32);
    pod.requests += f64::from(requests);
    let mut row: Row = Vec::new();
    let mut float = |labels, value| row.push((labels, Ok(value)));
    float(labels("requests_total", number, &[]), pod.requests);
    float(labels("queue_depth", number, &[]), f64::from(random.random_range(0..40)));
    float(labels("load", number, &[]), f64::from(random.random_range(0..100_000)) / 7.0);
    float(labels("up", number, &[]), 1.0);
    for _ in 0..requests {
        let bucket = random.random_range(0..BOUNDS.len());
        pod.latency.iter_mut().skip(bucket).for_each(|count| *count += 1.0);
        pod.latency_sum += bucket as f64 / 4.0;
    }
    for (bound, count) in BOUNDS.iter().zip(pod.latency) {
        float(labels("latency_seconds_bucket", number, &[("le", bound)]), count);
    }
    float(labels("latency_seconds_count", number, &[]), pod.latency[BOUNDS.len() - 1]);
    float(labels("latency_seconds_sum", number, &[]), pod.latency_sum);
    if all {
        // Two pods count in whole numbers, two in halves.
        observe(&mut pod.native, random, if number < 2 { 1.0 } else { 0.5 });
        row.push((labels("audio_seconds", number, &[]), Err(pod.native.clone())));
        let mut gauge = empty_native(true);
        observe(&mut gauge, random, 1.0);
        gauge.counter_reset_hint = CounterResetHint::Gauge;
        row.push((labels("batch_size", number, &[]), Err(gauge)));
    }
    row
}

/// All series with all their samples.
pub(crate) fn series(tsdb: &Tsdb) -> Vec<(Labels, Samples)> {
    let querier = tsdb.querier(TimeRange::ALL).unwrap();
    let matcher = Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap();
    let mut set = querier.select(&[matcher], &SelectHints::default()).unwrap();
    let mut all = Vec::new();
    while let Some(series) = set.next() {
        let series = series.unwrap();
        let mut samples = Samples::default();
        series.read(TimeRange::ALL, &mut samples).unwrap();
        all.push((series.labels().clone(), samples));
    }
    all
}

/// The floats as a page for promtool, which groups families.
pub(crate) fn open_metrics(tsdb: &Tsdb) -> String {
    let mut page = String::new();
    for (labels, samples) in series(tsdb) {
        let pairs: Vec<String> = labels.iter().skip(1).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = format!("{}{{{}}}", labels.metric_name().unwrap(), pairs.join(","));
        for (at, value) in samples.timestamps.iter().zip(&samples.values) {
            if datamodel::sample::is_stale_nan(*value) {
                // The format has no word for it: promtool takes the bits of a NaN.
                writeln!(page, "{labels} NaN {}.{:03}", at / 1000, at % 1000).unwrap();
            } else {
                writeln!(page, "{labels} {value:?} {}.{:03}", at / 1000, at % 1000).unwrap();
            }
        }
    }
    page.push_str("# EOF\n");
    page
}
