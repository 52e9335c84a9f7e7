//! Many targets, one in ten of them hostile: the others are scraped as if these were not there.
//!
//! The short form has 100 targets at 250 ms; `CRESCENDO_SOAK=1` runs 1,000 at 1 s (3,000 open files).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use datamodel::registry::Registry;
use datamodel::time::{SystemClock, TimeRange};
use datamodel::{Labels, MatchOp, Matcher};
use discovery::{ADDRESS, Discoverer, StaticDiscoverer, TargetGroup};
use storage::{Appendable, MemoryPool, MemoryStorage, Queryable, Samples, SelectHints};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::config;
use super::hostile::{Behaviour, HEAD, endless_page, gzip_bomb, page, say, serve};
use crate::{Job, MAX_PAGES_BYTES, ScrapeConfig, ScrapeManager, ScrapeOptions, ScrapeRuntimes};

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
struct Plan {
    healthy: usize,
    hostile: usize,
    interval: Duration,
    /// Scrapes of each target.
    rounds: u32,
    /// As the server has it: loops and large pages on a thread each. Otherwise all run where the manager runs.
    own_threads: bool,
}

/// What a run showed.
#[derive(Debug)]
struct Run {
    /// How late each scrape of a healthy target was, in milliseconds, ascending.
    lateness_ms: Vec<i64>,
    /// The most memory that pages held together.
    peak: usize,
    /// Health of the hostile targets, by what was said last.
    failures: BTreeMap<String, usize>,
}

impl Run {
    fn p99(&self) -> i64 {
        let index = self.lateness_ms.len() * 99 / 100;
        self.lateness_ms.get(index).copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_tenth_neither_delays_the_others_nor_takes_their_memory() {
    let plan = if std::env::var_os("CRESCENDO_SOAK").is_some() {
        Plan { healthy: 900, hostile: 100, interval: Duration::from_secs(1), rounds: 30, own_threads: true }
    } else {
        Plan { healthy: 90, hostile: 10, interval: Duration::from_millis(250), rounds: 12, own_threads: true }
    };
    for own_threads in [true, false] {
        compare(Plan { own_threads, ..plan }).await;
    }
}

async fn compare(plan: Plan) {
    let alone = run(Plan { hostile: 0, ..plan }).await;
    let beside = run(plan).await;
    println!(
        "lateness p99 without the hostile targets {} ms, with them {} ms; pages held {} MiB at most; {:?}",
        alone.p99(),
        beside.p99(),
        beside.peak >> 20,
        beside.failures
    );
    // What is off by less than a twentieth of the interval is the test machine's, not the hostile targets'.
    let least = i64::try_from(plan.interval.as_millis()).unwrap() / 20;
    assert!(beside.p99() <= 2 * alone.p99().max(least), "p99 {} ms, alone {} ms", beside.p99(), alone.p99());
    assert!(beside.peak <= MAX_PAGES_BYTES, "{} bytes", beside.peak);
    assert_eq!(beside.failures.values().sum::<usize>(), plan.hostile, "{:?}", beside.failures);
}

async fn run(plan: Plan) -> Run {
    let servers = Servers::start(plan.hostile);
    let address = |address: &String| Labels::from_pairs([(ADDRESS, address.as_str())]);
    // Healthy targets share a server and differ by their paths.
    let healthy = |index: usize| {
        let path = format!("/{index}");
        let instance = format!("healthy-{index}");
        let healthy = servers.healthy.as_str();
        Labels::from_pairs([(ADDRESS, healthy), ("__metrics_path__", path.as_str()), ("instance", instance.as_str())])
    };
    let targets = (0..plan.healthy).map(healthy).chain(servers.hostile.iter().map(address)).collect();
    let group = TargetGroup { source: "test".into(), labels: Labels::empty(), targets };
    let storage = Arc::new(MemoryStorage::new());
    let memory = MemoryPool::unlimited();
    let (loops, large_pages) = (RuntimeThread::start(), RuntimeThread::start());
    let own = ScrapeRuntimes { loops: loops.handle.clone(), large_pages: large_pages.handle.clone() };
    let runtimes = plan.own_threads.then_some(own);
    let options = ScrapeOptions { memory: memory.clone(), runtimes, ..ScrapeOptions::default() };
    let appendable: Arc<dyn Appendable> = Arc::<MemoryStorage>::clone(&storage);
    let manager = ScrapeManager::new(options, appendable, Arc::new(SystemClock), &Registry::new()).unwrap();
    let handle = manager.handle();
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(manager.run(shutdown.clone()));
    let config = ScrapeConfig { scrape_interval: plan.interval, scrape_timeout: plan.interval, ..config() };
    let discoverers: Vec<Box<dyn Discoverer>> = vec![Box::new(StaticDiscoverer::new(vec![group]))];
    handle.apply(vec![Job { config, discoverers }]).await.unwrap();
    sleep_until(Instant::now() + plan.interval * (plan.rounds + 2)).await;
    let mut failures = BTreeMap::new();
    for status in handle.active_targets() {
        if !status.labels.get("instance").unwrap().starts_with("healthy-") && !status.last_error.is_empty() {
            *failures.entry(status.last_error).or_insert(0) += 1;
        }
    }
    shutdown.cancel();
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    Run { lateness_ms: lateness(&storage, plan), peak: memory.peak(), failures }
}

/// How late the scrapes of the healthy targets were against the earliest regular schedule that fits; none of
/// them may have failed or be missing.
fn lateness(storage: &MemoryStorage, plan: Plan) -> Vec<i64> {
    let matchers = [("__name__", MatchOp::Equal, "up"), ("instance", MatchOp::Regex, "healthy-.*")];
    let matchers = matchers.map(|(name, op, value)| Matcher::new(op, name, value).unwrap());
    let querier = storage.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&matchers, &SelectHints::default()).unwrap();
    let interval_ms = i64::try_from(plan.interval.as_millis()).unwrap();
    let (mut late, mut seen) = (Vec::new(), 0);
    while let Some(series) = set.next() {
        let series = series.unwrap();
        let mut samples = Samples::default();
        series.read(TimeRange::ALL, &mut samples).unwrap();
        assert!(samples.values.iter().all(|up| *up > 0.5), "{} failed: {:?}", series.labels(), samples.values);
        assert!(samples.len() >= plan.rounds as usize, "{} has {} scrapes", series.labels(), samples.len());
        let gaps = samples.timestamps.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            gaps.clone().all(|gap| gap < interval_ms * 2),
            "{} missed one: {:?}",
            series.labels(),
            samples.timestamps
        );
        let off: Vec<i64> = samples.timestamps.iter().zip(0..).map(|(at, round)| at - round * interval_ms).collect();
        let earliest = *off.iter().min().unwrap();
        late.extend(off.iter().map(|off| off - earliest));
        seen += 1;
    }
    assert_eq!(seen, plan.healthy);
    late.sort_unstable();
    late
}

/// The targets, on a thread and a runtime of their own: what they burn is not the scraper's.
struct Servers {
    healthy: String,
    hostile: Vec<String>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Servers {
    fn start(hostile: usize) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (sender, addresses) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut servers = JoinSet::new();
                let page: String = (0..30).map(|line| format!("m{{line=\"{line}\"}} {line}\n")).collect();
                let healthy = serve(&mut servers, Behaviour::KeepAlive(page)).await;
                let mut others = Vec::new();
                for index in 0..hostile {
                    others.push(serve(&mut servers, behaviour(index)).await);
                }
                sender.send((healthy, others)).unwrap();
                stopped.cancelled().await;
            });
        });
        let (healthy, hostile) = addresses.recv().unwrap();
        Self { healthy, hostile, stop, thread: Some(thread) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A runtime of one thread, until it is dropped.
struct RuntimeThread {
    handle: Handle,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RuntimeThread {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || runtime.block_on(stopped.cancelled()));
        Self { handle, stop, thread: Some(thread) }
    }
}

impl Drop for RuntimeThread {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn behaviour(index: usize) -> Behaviour {
    match index % 10 {
        0 => Behaviour::SayAndHang(Vec::new()),
        1 => Behaviour::SayAndHang(format!("{HEAD}content-length: 100\r\n\r\nm 1\n").into_bytes()),
        2 | 3 => Behaviour::Reset,
        4 => page(b"\x00\xff\xfe garbage"),
        5 => say("220 smtp.example ESMTP\r\n"),
        6 => endless_page(b"a"),
        7 => endless_page(b"m 1\n"),
        8 => Behaviour::Endless(HEAD.as_bytes().to_vec(), b"x: y\r\n"),
        _ => gzip_bomb(),
    }
}
