//! A rule manager on a paused clock, over a storage in memory.
//!
//! Rule: time passes only when everything waits, so that every timestamp is exact.

mod alerts;
mod files;
mod groups;
mod seed;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamodel::registry::Registry;
use datamodel::time::TimeRange;
use datamodel::{Clock, Labels, MatchOp, Matcher, Timestamp, is_stale_nan};
use promql::{Engine, EngineOptions, Features};
use storage::{Appendable, MemoryStorage, Queryable, Samples, SelectHints};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Alert, AlertSink, GroupStatus, RuleHandle, RuleManager, RuleOptions, parse_rule_file};

pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Where the paused clock begins.
pub(super) const EPOCH_MS: i64 = 1_000_000_000_000;

/// Wall-clock time that follows the paused clock, from a time of its own, and that can be set.
#[derive(Debug)]
pub(super) struct FollowingClock(Instant, AtomicI64);

impl FollowingClock {
    /// Sets the wall clock forward, or back.
    pub(super) fn jump(&self, seconds: i64) {
        self.1.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for FollowingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.1.load(Ordering::SeqCst)).saturating_add(self.0.elapsed())
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<Alert>>);

impl AlertSink for Told {
    fn send(&self, _expression: &str, alerts: Vec<Alert>) {
        self.0.lock().unwrap().extend(alerts);
    }
}

/// A running manager and all around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) storage: Arc<MemoryStorage>,
    pub(super) handle: RuleHandle,
    pub(super) told: Arc<Told>,
    pub(super) registry: Registry,
    pub(super) clock: Arc<FollowingClock>,
    shutdown: CancellationToken,
    manager: JoinSet<()>,
}

impl World {
    pub(super) async fn start(rules: &str) -> Self {
        Self::start_on(Arc::new(MemoryStorage::new()), EPOCH_MS, rules).await
    }

    /// Starts over a storage of before.
    pub(super) async fn start_on(storage: Arc<MemoryStorage>, epoch_ms: i64, rules: &str) -> Self {
        let clock = Arc::new(FollowingClock(Instant::now(), AtomicI64::new(epoch_ms)));
        let told = Arc::new(Told::default());
        let sink: Arc<dyn AlertSink> = Arc::<Told>::clone(&told);
        let options = RuleOptions {
            evaluation_interval: INTERVAL,
            external_labels: Labels::from_pairs([("cluster", "c1")]),
            external_url: "http://localhost:9090".to_owned(),
            sink: Some(sink),
            ..RuleOptions::default()
        };
        let registry = Registry::new();
        let wall: Arc<dyn Clock> = Arc::<FollowingClock>::clone(&clock);
        let engine = Engine::new(EngineOptions { clock: Arc::clone(&wall), ..EngineOptions::default() });
        let queryable: Arc<dyn Queryable> = Arc::<MemoryStorage>::clone(&storage);
        let appendable: Arc<dyn Appendable> = Arc::<MemoryStorage>::clone(&storage);
        let manager = RuleManager::new(options, engine, queryable, appendable, wall, &registry).unwrap();
        let handle = manager.handle();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(manager.run(shutdown.clone()));
        let world = Self { storage, handle, told, registry, clock, shutdown, manager: tasks };
        world.apply(rules).await;
        world
    }

    pub(super) async fn apply(&self, rules: &str) {
        let groups = parse_rule_file("rules.yml", rules, &Features::DEFAULT).unwrap();
        self.handle.apply(groups).await.unwrap();
        self.pass(Duration::from_millis(1)).await;
    }

    /// Lets time pass.
    pub(super) async fn pass(&self, duration: Duration) {
        sleep_until(Instant::now() + duration).await;
    }

    /// Waits for the first evaluation, then half an interval more; gives back its instant.
    pub(super) async fn evaluated(&self) -> i64 {
        loop {
            if let Some(at) = self.group().last_evaluation {
                self.pass(INTERVAL / 2 - self.clock.now().since(at)).await;
                return at.unix_ms();
            }
            self.pass(Duration::from_millis(10)).await;
        }
    }

    /// The first group.
    pub(super) fn group(&self) -> GroupStatus {
        self.handle.status().remove(0)
    }

    /// Writes a sample now.
    pub(super) fn write(&self, pairs: &[(&str, &str)], value: f64) {
        let mut appender = self.storage.appender();
        let series = appender.series(None, &Labels::from_pairs(pairs.iter().copied())).unwrap();
        appender.append(series, self.clock.now(), value).unwrap();
        assert!(appender.commit().unwrap().is_empty());
    }

    /// Ends the server and waits for it.
    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(joined) = self.manager.join_next().await {
            joined.unwrap();
        }
    }

    /// The stored series whose names match, one a line, with values and seconds since `from`.
    #[track_caller]
    pub(super) fn check(&self, name: &str, from: i64, expected: &[&str]) {
        assert_eq!(self.show(name, from), expected);
    }

    pub(super) fn show(&self, name: &str, from: i64) -> Vec<String> {
        let querier = self.storage.querier(TimeRange::ALL).unwrap();
        let matcher = Matcher::new(MatchOp::Regex, "__name__", name).unwrap();
        let mut set = querier.select(&[matcher], &SelectHints::default()).unwrap();
        let mut lines = Vec::new();
        while let Some(series) = set.next() {
            let series = series.unwrap();
            let mut samples = Samples::default();
            series.read(TimeRange::ALL, &mut samples).unwrap();
            let mut line = series.labels().to_string();
            for (at, value) in samples.timestamps.iter().zip(&samples.values) {
                let seconds = (at - from) as f64 / 1000.0;
                if is_stale_nan(*value) {
                    write!(line, " stale@{seconds}").unwrap();
                } else {
                    write!(line, " {value}@{seconds}").unwrap();
                }
            }
            lines.push(line);
        }
        lines
    }

    #[track_caller]
    pub(super) fn counted(&self, line: &str) {
        let mut text = String::new();
        self.registry.encode_text(&mut text);
        assert!(text.lines().any(|present| present == line), "{line} not in:\n{text}");
    }

    /// What the sink was told since the last call: name, state and annotations.
    pub(super) fn told(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.told.0.lock().unwrap());
        let line = |alert: &Alert| {
            let name = alert.labels.get("alertname").unwrap();
            format!("{name} {} {}", alert.state.as_str(), alert.annotations)
        };
        told.iter().map(line).collect()
    }
}
