//! The storage on disk: appends, seals, decoding, and the queries that autoscaling asks.
//!
//! 1,000 targets with three histograms of 15 buckets each, one row every 15 s for an hour: 45,000 series.
//! Throughput is in samples. `quantile_of_all` is the p95 of docs/benchmarks.md without HTTP; its goal is in
//! CPU time, of which a single thread uses nothing else.
#![expect(clippy::unwrap_used, reason = "a bench may fail by panic")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Labels, MatchOp, Matcher, Timestamp};
use divan::Bencher;
use divan::counter::ItemsCount;
use promql::{Engine, EngineOptions, QueryContext};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use storage::{Appendable, Queryable, Samples, SelectHints, SeriesRef};
use tempfile::TempDir;
use tsdb::{Tsdb, TsdbOptions};

fn main() {
    divan::main();
}

const TARGETS: u64 = 1_000;
const MODES: [&str; 3] = ["streaming", "batch", "shortform"];
/// Upper bounds of the buckets of one histogram.
const BOUNDS: [&str; 15] =
    ["0.05", "0.1", "0.2", "0.3", "0.5", "0.75", "1", "1.5", "2", "3", "5", "8", "13", "21", "+Inf"];
const COLUMNS: u64 = 45;
/// Between two scrapes.
const INTERVAL: Duration = Duration::from_secs(15);
/// One hour and the range before it.
const ROWS: u32 = 260;
/// As often as a server seals: every 15 minutes.
const ROWS_OF_A_SEGMENT: u32 = 60;
const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const BUCKETS: &str = "asr_request_duration_seconds_bucket";

/// A storage in a folder of its own.
struct Folder {
    storage: Tsdb,
    _folder: TempDir,
}

fn empty() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let options = TsdbOptions { retention_time: None, ..TsdbOptions::new(folder.path()) };
    let (storage, _) = Tsdb::open(options, Arc::new(ManualClock::new(START))).unwrap();
    Folder { storage, _folder: folder }
}

/// Counters of one target.
struct Target {
    series: Vec<SeriesRef>,
    values: Vec<f64>,
}

fn targets(storage: &Tsdb) -> Vec<Target> {
    (0..TARGETS)
        .map(|target| {
            let mut appender = storage.appender();
            let group = appender.create_group();
            let mut series = Vec::new();
            for mode in MODES {
                for le in BOUNDS {
                    let labels = Labels::from_pairs([
                        ("__name__", BUCKETS),
                        ("instance", &format!("10.0.{}.{}:2269", target / 250, target % 250)),
                        ("job", "asr"),
                        ("le", le),
                        ("mode", mode),
                        ("pod", &format!("asr-worker-{target}")),
                    ]);
                    series.push(appender.series(Some(group), &labels).unwrap());
                }
            }
            assert_eq!(appender.commit().unwrap().len(), 0);
            Target { values: vec![0.0; series.len()], series }
        })
        .collect()
}

/// One scrape of each target.
fn scrape(storage: &Tsdb, targets: &mut [Target], row: u32, rng: &mut StdRng) {
    let at = START.saturating_add(INTERVAL * row);
    for target in targets {
        for buckets in target.values.chunks_mut(BOUNDS.len()) {
            for _ in 0..rng.random_range(0..9) {
                // Small buckets are hit more often, as latencies are.
                let first = rng.random_range(0..BOUNDS.len()).min(rng.random_range(0..BOUNDS.len()));
                buckets.iter_mut().skip(first).for_each(|count| *count += 1.0);
            }
        }
        let mut appender = storage.appender();
        for (series, value) in target.series.iter().zip(&target.values) {
            appender.append(*series, at, *value).unwrap();
        }
        assert_eq!(appender.commit().unwrap().len(), 0);
    }
}

/// An hour as a server holds it: the older rows sealed, the newest in the head.
fn hour() -> &'static Folder {
    static HOUR: OnceLock<Folder> = OnceLock::new();
    HOUR.get_or_init(|| {
        let folder = empty();
        let mut targets = targets(&folder.storage);
        let mut rng = StdRng::seed_from_u64(1);
        for row in 0..ROWS {
            scrape(&folder.storage, &mut targets, row, &mut rng);
            if (row + 1).is_multiple_of(ROWS_OF_A_SEGMENT) {
                folder.storage.seal().unwrap();
            }
        }
        folder
    })
}

#[divan::bench(sample_count = 10)]
fn append_rows(bencher: Bencher<'_, '_>) {
    let folder = empty();
    let mut targets = targets(&folder.storage);
    let mut rng = StdRng::seed_from_u64(1);
    let mut row = 0;
    bencher.counter(ItemsCount::new(TARGETS * COLUMNS)).bench_local(|| {
        scrape(&folder.storage, &mut targets, row, &mut rng);
        row += 1;
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn seal_a_quarter_of_an_hour(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(TARGETS * COLUMNS * u64::from(ROWS_OF_A_SEGMENT)))
        .with_inputs(|| {
            let folder = empty();
            let mut targets = targets(&folder.storage);
            let mut rng = StdRng::seed_from_u64(1);
            (0..ROWS_OF_A_SEGMENT).for_each(|row| scrape(&folder.storage, &mut targets, row, &mut rng));
            folder
        })
        .bench_local_values(|folder| {
            folder.storage.seal().unwrap();
            folder
        });
}

/// Finds the series, reads no sample.
#[divan::bench]
fn select_series(bencher: Bencher<'_, '_>) {
    let storage = &hour().storage;
    bencher.counter(ItemsCount::new(TARGETS * COLUMNS)).bench_local(|| {
        let querier = storage.querier(TimeRange::ALL).unwrap();
        let hints = SelectHints { labels_only: true, ..SelectHints::default() };
        let mut set = querier.select(&matchers(), &hints).unwrap();
        let mut found = 0_u64;
        while let Some(series) = set.next() {
            divan::black_box(series.unwrap().labels());
            found += 1;
        }
        assert_eq!(found, TARGETS * COLUMNS);
    });
}

/// Decodes every sample of every series.
#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let storage = &hour().storage;
    bencher.counter(ItemsCount::new(TARGETS * COLUMNS * u64::from(ROWS))).bench_local(|| {
        let querier = storage.querier(TimeRange::ALL).unwrap();
        let mut set = querier.select(&matchers(), &SelectHints::default()).unwrap();
        let mut samples = Samples::default();
        let mut read = 0;
        while let Some(series) = set.next() {
            samples.clear();
            series.unwrap().read(TimeRange::ALL, &mut samples).unwrap();
            read += samples.len() as u64;
        }
        assert_eq!(read, TARGETS * COLUMNS * u64::from(ROWS));
    });
}

fn matchers() -> [Matcher; 1] {
    [Matcher::new(MatchOp::Equal, "__name__", BUCKETS).unwrap()]
}

#[divan::bench]
fn rate_summed_by_pod(bencher: Bencher<'_, '_>) {
    query(bencher, "sum by (pod) (rate(asr_request_duration_seconds_bucket[5m]))");
}

#[divan::bench]
fn average_over_time(bencher: Bencher<'_, '_>) {
    query(bencher, "sum(avg_over_time(asr_request_duration_seconds_bucket[5m]))");
}

#[divan::bench]
fn quantile_of_all(bencher: Bencher<'_, '_>) {
    query(bencher, "histogram_quantile(0.95, sum by (le) (rate(asr_request_duration_seconds_bucket[5m])))");
}

#[divan::bench]
fn quantile_of_each_pod(bencher: Bencher<'_, '_>) {
    query(bencher, "histogram_quantile(0.95, sum by (le, pod) (rate(asr_request_duration_seconds_bucket[5m])))");
}

/// An hour, every minute.
fn query(bencher: Bencher<'_, '_>, expr: &str) {
    let storage = &hour().storage;
    let engine = Engine::new(EngineOptions::default());
    let expr = engine.parse(expr).unwrap();
    let start = START.saturating_add(INTERVAL * 20);
    let (end, step) = (start.saturating_add(Duration::from_secs(3_585)), Duration::from_secs(60));
    bencher
        .counter(ItemsCount::new(TARGETS * COLUMNS * u64::from(ROWS)))
        .bench_local(|| engine.range(storage, &expr, start, end, step, &QueryContext::default()).unwrap());
}
