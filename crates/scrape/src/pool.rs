//! The pool of one job: discovery's groups become targets, each with a loop of its own.
//!
//! ```text
//! updates ─▶ groups by (discoverer, source) ─▶ relabel, deduplicate ─▶ start and end loops
//! ```
//!
//! Rule: two targets with the same labels and URL are one, and a loop that needs no change is left alone.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::Labels;
use discovery::{Discoverer, TargetGroup, Update, Updates};
use http_client::{ClientOptions, HttpClient};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::CheckedConfig;
use crate::error::describe;
use crate::fetch::LargePages;
use crate::manager::Shared;
use crate::pull::{MAX_WAITING, PullQueue};
use crate::scrape_loop::{ScrapeLoop, Signals};
use crate::target::{Discovered, DroppedTarget, TargetSpec, TargetState, build_target};
use crate::url::TargetUrl;

/// Updates that may wait for the pool; a discoverer waits when there are more.
const UPDATE_QUEUE: usize = 16;

/// The least time between two rounds of relabelling all targets. Rollouts change many pods at once; a new
/// pod need not wait longer than a person would notice.
const SYNC_SPACING: Duration = Duration::from_millis(200);

/// Dropped targets that are kept for display; the rest is only counted.
const MAX_DROPPED_KEPT: usize = 1_000;

/// Targets that cannot be built and are logged one by one in a round; the rest is only counted.
const MAX_FAILURES_LOGGED: usize = 10;

/// What the loops of a job share.
#[derive(Debug)]
pub(crate) struct JobState {
    pub(crate) config: CheckedConfig,
    /// Sends the requests to all targets of the job.
    pub(crate) client: Arc<HttpClient>,
    /// Number of targets and limit, while there are too many.
    over_limit: Mutex<Option<(usize, usize)>>,
}

impl JobState {
    fn new(config: CheckedConfig, options: ClientOptions) -> Self {
        let client = Arc::new(HttpClient::new(config.config().http.clone(), options));
        Self { config, client, over_limit: Mutex::new(None) }
    }

    pub(crate) fn over_target_limit(&self) -> Option<(usize, usize)> {
        *self.over_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_over_limit(&self, over: Option<(usize, usize)>) -> bool {
        let mut present = self.over_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = present.is_none() && over.is_some();
        *present = over;
        begins
    }
}

/// What makes two targets the same.
type TargetKey = (Labels, TargetUrl, Duration, Duration);

#[derive(Debug)]
struct RunningTarget {
    state: Arc<TargetState>,
    gone: CancellationToken,
}

/// The groups that discovery reported, by the round of configuration, discoverer and source.
#[derive(Debug, Default)]
struct Groups {
    round: u64,
    by_source: BTreeMap<(usize, u64, Arc<str>), TargetGroup>,
}

impl Groups {
    /// A new set of discoverers begins; what the old ones reported stays until each new one reports.
    fn replace_discoverers(&mut self, count: usize) {
        self.round += 1;
        self.by_source.retain(|(discoverer, _, _), _| *discoverer < count);
    }

    fn apply(&mut self, update: Update) {
        let (round, number) = (self.round, update.discoverer);
        self.by_source.retain(|(discoverer, of, _), _| *discoverer != number || *of == round);
        for group in update.groups {
            let key = (number, round, Arc::clone(&group.source));
            if group.targets.is_empty() {
                self.by_source.remove(&key);
            } else {
                self.by_source.insert(key, group);
            }
        }
    }
}

/// Runs the discoverers and the loops of one job.
#[derive(Debug)]
pub(crate) struct ScrapePool {
    name: Arc<str>,
    /// Tells this pool from an earlier one of the same name.
    generation: u64,
    job: Arc<JobState>,
    shared: Arc<Shared>,
    groups: Groups,
    running: BTreeMap<TargetKey, RunningTarget>,
    loops: JoinSet<()>,
}

/// What ends a pool, and what changes its discoverers.
#[derive(Debug)]
pub(crate) struct PoolSignals {
    pub(crate) discoverers: mpsc::Receiver<Vec<Box<dyn Discoverer>>>,
    /// The job is gone: its targets' series end.
    pub(crate) gone: CancellationToken,
    pub(crate) shutdown: CancellationToken,
}

/// The discoverers that run at present.
#[derive(Debug)]
struct Discovery {
    tasks: JoinSet<()>,
    updates: mpsc::Receiver<Update>,
    /// Keeps the channel open when all discoverers are done.
    _sender: mpsc::Sender<Update>,
    stop: CancellationToken,
}

impl Discovery {
    fn start(discoverers: Vec<Box<dyn Discoverer>>) -> Self {
        let (sender, updates) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (number, discoverer) in discoverers.into_iter().enumerate() {
            tasks.spawn(discoverer.run(Updates::new(number, sender.clone()), stop.clone()));
        }
        Self { tasks, updates, _sender: sender, stop }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.updates.close();
        while let Some(joined) = self.tasks.join_next().await {
            check(joined);
        }
    }
}

impl ScrapePool {
    pub(crate) fn new(name: Arc<str>, generation: u64, job: CheckedConfig, shared: Arc<Shared>) -> Self {
        Self {
            name,
            generation,
            job: Arc::new(JobState::new(job, shared.client.clone())),
            shared,
            groups: Groups::default(),
            running: BTreeMap::new(),
            loops: JoinSet::new(),
        }
    }

    /// Runs until the server ends, or until the job is gone and its series have ended.
    pub(crate) async fn run(mut self, mut signals: PoolSignals) {
        let mut discovery = Discovery::start(Vec::new());
        let mut last_sync: Option<Instant> = None;
        let mut is_dirty = false;
        loop {
            let next_sync = last_sync.map_or_else(Instant::now, |at| at + SYNC_SPACING);
            tokio::select! {
                biased;
                () = signals.shutdown.cancelled() => break,
                () = signals.gone.cancelled() => {
                    self.end_all();
                    break;
                }
                Some(joined) = self.loops.join_next() => check(joined),
                Some(joined) = discovery.tasks.join_next() => check(joined),
                Some(discoverers) = signals.discoverers.recv() => {
                    self.groups.replace_discoverers(discoverers.len());
                    std::mem::replace(&mut discovery, Discovery::start(discoverers)).stop().await;
                    is_dirty = true;
                }
                Some(update) = discovery.updates.recv() => {
                    self.groups.apply(update);
                    is_dirty = true;
                }
                () = sleep_until(next_sync), if is_dirty => {
                    self.sync(&signals);
                    last_sync = Some(Instant::now());
                    is_dirty = false;
                }
            }
        }
        discovery.stop().await;
        while let Some(joined) = self.loops.join_next().await {
            check(joined);
        }
    }

    /// Makes the running loops those of the present groups.
    fn sync(&mut self, signals: &PoolSignals) {
        let started = Instant::now();
        let (mut wanted, dropped) = self.wanted();
        let bound = self.job.config.config().limits.target_bound();
        let over = (wanted.len() > bound).then_some((wanted.len(), bound));
        if self.job.set_over_limit(over) {
            self.shared.metrics.target_limit_exceeded.inc();
            let (scrape_pool, targets) = (&self.name, wanted.len());
            tracing::error!(%scrape_pool, targets, limit = bound, "job has too many targets, all of them fail");
        }
        while wanted.len() > bound {
            wanted.pop_last();
        }
        let gone: Vec<TargetKey> = self.running.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            if let Some(target) = self.running.remove(&key) {
                self.end(&target);
            }
        }
        for (key, spec) in wanted {
            match self.running.get(&key) {
                Some(target) => target.state.with(|progress| progress.discovered = spec.discovered),
                None => self.start(key, spec, signals),
            }
        }
        let active = self.running.values().map(|target| Arc::clone(&target.state)).collect();
        let metrics = &self.shared.metrics;
        metrics.pool_syncs.with([&self.name]).inc();
        metrics.sync_length.with([&self.name]).observe_duration(started.elapsed());
        metrics.pool_targets.with([&self.name]).set(self.running.len() as f64);
        self.shared.targets.publish(&self.name, self.generation, active, dropped);
    }

    /// The targets that the groups make, and those that relabelling drops (some of them, and their number).
    fn wanted(&self) -> (BTreeMap<TargetKey, TargetSpec>, (Vec<DroppedTarget>, usize)) {
        let kept = match self.job.config.config().keep_dropped_targets {
            0 => MAX_DROPPED_KEPT,
            limit => limit.min(MAX_DROPPED_KEPT),
        };
        let mut wanted = BTreeMap::new();
        let mut dropped = Vec::new();
        let mut dropped_count = 0;
        let mut failures = 0;
        for group in self.groups.by_source.values() {
            for target in &group.targets {
                match build_target(&self.job.config, group, target) {
                    Ok(Discovered::Target(spec)) => {
                        let key = (spec.labels.clone(), spec.url.clone(), spec.interval, spec.timeout);
                        wanted.entry(key).or_insert(*spec);
                    }
                    Ok(Discovered::Dropped(discovered_labels)) => {
                        dropped_count += 1;
                        if dropped.len() < kept {
                            dropped.push(DroppedTarget { scrape_pool: Arc::clone(&self.name), discovered_labels });
                        }
                    }
                    Err(error) => {
                        failures += 1;
                        if failures <= MAX_FAILURES_LOGGED {
                            let (scrape_pool, error) = (&self.name, describe(&error));
                            tracing::error!(%scrape_pool, ?target, error, "discovered labels are no target");
                        }
                    }
                }
            }
        }
        self.shared.metrics.sync_failed.with([&self.name]).inc_by(failures as u64);
        (wanted, (dropped, dropped_count))
    }

    fn start(&mut self, key: TargetKey, spec: TargetSpec, signals: &PoolSignals) {
        let (asks, pulls) = mpsc::channel(MAX_WAITING);
        let state = Arc::new(TargetState::new(Arc::clone(&self.name), spec, asks));
        let gone = signals.shutdown.child_token();
        let (job, shared) = (Arc::clone(&self.job), Arc::clone(&self.shared));
        let runtime = self.shared.runtimes.as_ref().map_or_else(Handle::current, |own| own.large_pages.clone());
        let large_pages = LargePages { runtime, pace: Arc::clone(&self.shared.large_page_pace) };
        let scrape_loop = ScrapeLoop::new(Arc::clone(&state), job, shared, PullQueue::new(pulls), large_pages);
        self.shared.targets.activate(&state.spec.labels);
        let work = scrape_loop.run(Signals { gone: gone.clone(), shutdown: signals.shutdown.clone() });
        match &self.shared.runtimes {
            Some(runtimes) => self.loops.spawn_on(work, &runtimes.loops),
            None => self.loops.spawn(work),
        };
        self.running.insert(key, RunningTarget { state, gone });
    }

    fn end(&self, target: &RunningTarget) {
        self.shared.targets.deactivate(&target.state.spec.labels);
        target.gone.cancel();
    }

    fn end_all(&mut self) {
        for target in std::mem::take(&mut self.running).into_values() {
            self.end(&target);
        }
    }
}

/// A child that panicked takes its owner along.
pub(crate) fn check(joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}
