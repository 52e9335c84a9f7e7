//! Measures the storage on data shaped like ASR pods: bytes a sample, time a sample, memory a series.
//!
//! `cargo run --release -p tsdb --example measure -- [TARGETS] [ROWS]`
//!
//! Rule: one line a figure, so that two runs can be compared; the folder is in memory where the machine has
//! one, so that the figures are not the disk's.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::sync::Arc;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Labels, MatchOp, Matcher, Timestamp};
use storage::{Appendable, Queryable, Samples, SelectHints, SeriesRef};
use tsdb::{Tsdb, TsdbOptions};

/// How a series moves.
#[derive(Clone, Copy)]
enum Kind {
    Counter(u64),
    Constant(f64),
    Gauge { base: f64, spread: f64, decimals: i32 },
    Bucket,
    Sum,
    Count,
}

/// A small generator: figures must be the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, small ones more often.
    fn skewed(&mut self, end: usize) -> usize {
        let most = self.next() % (end as u64 * 1024);
        (most * most / (end as u64 * 1024) / 1024) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A series of a pod: metric name, labels of its own, how it moves.
type Described = (String, Vec<(&'static str, String)>, Kind);

fn kinds() -> Vec<Described> {
    let mut all = Vec::new();
    let mut add = |name: &str, labels: &[(&'static str, &str)], kind| {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        all.push((name.to_owned(), labels, kind));
    };
    let bounds = ["0.05", "0.1", "0.25", "0.5", "0.75", "1", "1.5", "2", "3", "5", "8", "13", "21", "60", "+Inf"];
    for mode in ["streaming", "batch", "short", "long"] {
        for bound in bounds {
            add("asr_request_duration_seconds_bucket", &[("le", bound), ("mode", mode)], Kind::Bucket);
        }
        add("asr_request_duration_seconds_sum", &[("mode", mode)], Kind::Sum);
        add("asr_request_duration_seconds_count", &[("mode", mode)], Kind::Count);
    }
    add("asr_total_requests", &[], Kind::Counter(40));
    add("asr_failed_requests", &[], Kind::Counter(1));
    for reason in ["timeout", "memory", "decode", "client"] {
        add("asr_rejected_requests_total", &[("reason", reason)], Kind::Counter(1));
    }
    for direction in ["in", "out"] {
        add("asr_bytes_total", &[("direction", direction)], Kind::Counter(60_000));
    }
    let gauge = |base, spread, decimals| Kind::Gauge { base, spread, decimals };
    add("asr_active_requests", &[], gauge(3.0, 6.0, 0));
    add("asr_queued_requests", &[], gauge(8.0, 8.0, 0));
    add("asr_backlog_seconds", &[], gauge(20.0, 30.0, 2));
    add("asr_gpu_utilization", &[], gauge(0.6, 0.4, 3));
    add("asr_gpu_memory_used_bytes", &[], gauge(2.0e10, 4.0e6, 0));
    for quantile in ["0.5", "0.9", "0.99"] {
        add("asr_latency_seconds", &[("quantile", quantile)], gauge(0.4, 0.6, 6));
    }
    add("process_resident_memory_bytes", &[], gauge(4.0e9, 2.0e6, 0));
    add("process_open_fds", &[], gauge(120.0, 12.0, 0));
    let names: Vec<String> = (0..14).map(|item| item.to_string()).collect();
    for (item, name) in names.iter().enumerate() {
        add("asr_config_limit", &[("item", name)], Kind::Constant(10.0 * item as f64));
    }
    all
}

/// Moves all series of a target by one scrape.
fn step(kinds: &[Kind], values: &mut [f64], random: &mut Random) {
    let mut at = 0;
    while at < kinds.len() {
        match kinds[at] {
            Kind::Counter(most) => values[at] += (random.next() % (most + 1)) as f64,
            Kind::Constant(value) => values[at] = value,
            Kind::Gauge { base, spread, decimals } => {
                let power = 10f64.powi(decimals);
                values[at] = ((base + spread * random.unit()) * power).round() / power;
            }
            Kind::Sum => values[at] += (random.unit() * 3e4).round() / 1e4,
            Kind::Count => {}
            Kind::Bucket => {
                let buckets = kinds[at..].iter().take_while(|kind| matches!(kind, Kind::Bucket)).count();
                for _ in 0..random.next() % 9 {
                    let unit = random.unit();
                    let first = random.skewed(buckets);
                    values[at + first..at + buckets].iter_mut().for_each(|value| *value += 1.0);
                    values[at + buckets] += (unit * unit * 4.0 * 1e6).round() / 1e6;
                    values[at + buckets + 1] += 1.0;
                }
                at += buckets + 2;
                continue;
            }
        }
        at += 1;
    }
}

/// Nanoseconds that this thread has worked, so that other work on the machine does not count.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Resident bytes that are not file pages.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn open(path: &std::path::Path) -> Result<(Tsdb, tsdb::OpenReport), tsdb::OpenError> {
    Tsdb::open(TsdbOptions::new(path), Arc::new(ManualClock::new(Timestamp::from_unix_ms(0))))
}

/// One target: its series, their values, and what moves them.
struct Pod {
    references: Vec<SeriesRef>,
    values: Vec<f64>,
    random: Random,
}

fn create_pods(
    tsdb: &Tsdb,
    targets: usize,
    all: &[Described],
    grouped: bool,
) -> Result<Vec<Pod>, storage::AppendError> {
    let mut pods = Vec::new();
    for target in 0..targets {
        let mut appender = tsdb.appender();
        let group = grouped.then(|| appender.create_group());
        let pod = format!("asr-worker-{target}");
        let mut references = Vec::new();
        for (name, own, _) in all {
            let common = [("namespace", "asr"), ("job", "asr/asr"), ("instance", &pod), ("pod", &pod)];
            let own = own.iter().map(|(name, value)| (*name, value.as_str()));
            let labels = Labels::from_pairs(common.into_iter().chain(own).chain([("__name__", name.as_str())]));
            references.push(appender.series(group, &labels)?);
        }
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(target as u64 + 1);
        pods.push(Pod { references, values: vec![0.0; all.len()], random: Random(seed) });
    }
    Ok(pods)
}

/// Scrapes all pods at each of the rows; returns the nanoseconds that appending took.
fn scrape(
    tsdb: &Tsdb,
    pods: &mut [Pod],
    all: &[Described],
    rows: std::ops::Range<i64>,
) -> Result<f64, storage::AppendError> {
    let kinds: Vec<Kind> = all.iter().map(|(_, _, kind)| *kind).collect();
    let mut appending = 0.0;
    for row in rows {
        pods.iter_mut().for_each(|pod| step(&kinds, &mut pod.values, &mut pod.random));
        let at = Timestamp::from_unix_ms(1_700_000_000_000 + row * 15_000);
        let began = cpu_ns();
        for pod in &*pods {
            let mut appender = tsdb.appender();
            for (reference, value) in pod.references.iter().zip(&pod.values) {
                appender.append(*reference, at, *value)?;
            }
            appender.commit()?;
        }
        appending += cpu_ns() - began;
    }
    Ok(appending)
}

/// Sends four samples of each series of a pod at a time; returns the nanoseconds that appending took.
fn push(tsdb: &Tsdb, pods: &mut [Pod], all: &[Described], rows: i64) -> Result<f64, storage::AppendError> {
    let kinds: Vec<Kind> = all.iter().map(|(_, _, kind)| *kind).collect();
    let mut appending = 0.0;
    for part in 0..rows / 4 {
        for pod in &mut *pods {
            let mut block = Vec::new();
            for _ in 0..4 {
                step(&kinds, &mut pod.values, &mut pod.random);
                block.push(pod.values.clone());
            }
            let began = cpu_ns();
            let mut appender = tsdb.appender();
            for (column, reference) in pod.references.iter().enumerate() {
                for (values, row) in block.iter().zip(part * 4..) {
                    let at = Timestamp::from_unix_ms(1_700_000_000_000 + row * 15_000);
                    appender.append(*reference, at, values[column])?;
                }
            }
            appender.commit()?;
            appending += cpu_ns() - began;
        }
    }
    Ok(appending)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let targets: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let rows: i64 = arguments.next().map_or(Ok(240), |text| text.parse())?;
    let folder = || tempfile::tempdir_in("/dev/shm").or_else(|_absent| tempfile::tempdir());
    let (first, second, third) = (folder()?, folder()?, folder()?);
    let all = kinds();
    let series = (targets * all.len()) as f64;
    let samples = series * rows as f64;

    let (tsdb, _) = open(first.path())?;
    let start = anonymous_kib();
    let mut pods = create_pods(&tsdb, targets, &all, true)?;
    let created = anonymous_kib();
    let appending = scrape(&tsdb, &mut pods, &all, 0..rows)?;
    let stats = tsdb.stats();
    println!("series                           {series}");
    println!("samples                          {samples}");
    println!("series, KiB each                 {:.3}", (created.saturating_sub(start)) as f64 / series);
    println!("head, KiB a series               {:.3}", (anonymous_kib().saturating_sub(start)) as f64 / series);
    println!("head by own account, KiB         {:.3}", stats.head_bytes as f64 / 1024.0 / series);
    println!("append, CPU ns a sample          {:.1}", appending / samples);
    println!("log, bytes a sample              {:.3}", stats.wal_bytes as f64 / samples);
    drop(tsdb);

    let began = cpu_ns();
    let (tsdb, report) = open(first.path())?;
    println!("replay, CPU ns a sample          {:.1}", (cpu_ns() - began) / report.replayed_samples as f64);
    let began = cpu_ns();
    tsdb.seal()?;
    println!("seal, CPU ns a sample            {:.1}", (cpu_ns() - began) / samples);
    println!("one segment, bytes a sample      {:.3}", tsdb.stats().sealed_bytes as f64 / samples);

    let querier = tsdb.querier(TimeRange::ALL)?;
    let matcher = Matcher::new(MatchOp::Regex, "__name__", ".*_bucket")?;
    let began = cpu_ns();
    let mut set = querier.select(&[matcher], &SelectHints::default())?;
    let selected = cpu_ns() - began;
    let (mut into, mut read, mut found) = (Samples::default(), 0, 0);
    while let Some(series) = set.next() {
        into.clear();
        series?.read(TimeRange::ALL, &mut into)?;
        read += into.len();
        found += 1;
    }
    println!("select, CPU us a series          {:.2}", selected / 1000.0 / f64::from(found));
    println!("read buckets, CPU ns a sample    {:.1}", (cpu_ns() - began - selected) / read as f64);

    let (tsdb, _) = open(second.path())?;
    let mut pods = create_pods(&tsdb, targets, &all, true)?;
    for part in 0..4 {
        scrape(&tsdb, &mut pods, &all, rows * part / 4..rows * (part + 1) / 4)?;
        tsdb.seal()?;
    }
    println!("four segments, bytes a sample    {:.3}", tsdb.stats().sealed_bytes as f64 / samples);
    let began = cpu_ns();
    tsdb.compact()?;
    println!("merge, CPU ns a sample           {:.1}", (cpu_ns() - began) / samples);
    println!("folder, bytes a sample           {:.3}", tsdb.stats().disk_bytes as f64 / samples);
    drop(tsdb);

    // As a remote write brings them: series without a group, four samples of each in a batch.
    let (tsdb, _) = open(third.path())?;
    let mut pods = create_pods(&tsdb, targets, &all, false)?;
    let start = anonymous_kib();
    let appending = push(&tsdb, &mut pods, &all, rows)?;
    println!("pushed, KiB a series             {:.3}", (anonymous_kib().saturating_sub(start)) as f64 / series);
    println!("pushed, CPU ns a sample          {:.1}", appending / samples);
    println!("pushed, log, bytes a sample      {:.3}", tsdb.stats().wal_bytes as f64 / samples);
    let began = cpu_ns();
    tsdb.seal()?;
    println!("pushed, seal, CPU ns a sample    {:.1}", (cpu_ns() - began) / samples);
    println!("pushed, segment, bytes a sample  {:.3}", tsdb.stats().sealed_bytes as f64 / samples);
    Ok(())
}
