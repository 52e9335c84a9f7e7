//! All jobs: starts, changes and ends their pools, and tells what their targets are doing.
//!
//! - [`ScrapeManager`]: runs the pools.
//! - [`ScrapeHandle`]: changes the jobs, shows the targets, pulls.
//!
//! Rule: what a handle shows is a copy; nobody who looks can hold up a scrape.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamodel::registry::{RegisterError, Registry};
use datamodel::relabel::RelabelConfig;
use datamodel::{Clock, Labels};
use discovery::Discoverer;
use futures_util::future::join_all;
use http_client::ClientOptions;
use storage::{Appendable, MemoryPool};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{CheckedConfig, ConfigError, ConfigErrors, ConfigProblem, DEFAULT_BODY_SIZE_LIMIT, ScrapeConfig};
use crate::metrics::Metrics;
use crate::pool::{PoolSignals, ScrapePool, check};
use crate::pull::{MAX_CONCURRENT_PULLS, PULL_BUDGET, PulledTarget, ask};
use crate::target::{DroppedTarget, PoolStatus, TargetState, TargetStatus};

/// Sets of jobs that may wait to be applied; one more waits in its caller.
const JOBS_QUEUE: usize = 1;

/// A job and those who find its targets.
#[derive(Debug)]
pub struct Job {
    /// How the targets are scraped.
    pub config: ScrapeConfig,
    /// Who finds them.
    pub discoverers: Vec<Box<dyn Discoverer>>,
}

/// A job that was checked.
#[derive(Debug)]
struct CheckedJob {
    config: CheckedConfig,
    discoverers: Vec<Box<dyn Discoverer>>,
}

/// What all jobs share.
#[derive(Clone, Debug, Default)]
pub struct ScrapeOptions {
    /// How connections are opened, and what we call ourselves to targets.
    pub client: ClientOptions,
    /// Moves the place of all targets in their interval, so that two servers do not scrape at once.
    pub offset_seed: u64,
    /// Where the memory of large pages is reserved, [`MAX_PAGES_BYTES`] of it at most.
    pub memory: MemoryPool,
    /// Where the loops of the targets run. None: where the manager runs.
    pub runtimes: Option<ScrapeRuntimes>,
}

/// Two runtimes, each of one thread that may wait. A large page costs long steps (64 MiB are put together and given back
/// in 10 ms and more), and those must not delay the loops.
#[derive(Clone, Debug)]
pub struct ScrapeRuntimes {
    /// Where the loops run, which read and write usual pages themselves.
    pub loops: Handle,
    /// Where large pages are read.
    pub large_pages: Handle,
}

/// Bytes that pages may hold together, beyond the allowance that each target has: four of the largest.
pub const MAX_PAGES_BYTES: usize = 4 * DEFAULT_BODY_SIZE_LIMIT;

/// Pages that reserved more than this are read a few at a time, so that they leave processors to the others.
pub(crate) const LARGE_PAGE_BYTES: usize = 1024 * 1024;

/// Why jobs are not applied.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// They are wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The manager does not run any more.
    #[error("scraping has ended")]
    Ended,
}

/// What manager, pools and loops share.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Appendable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client: ClientOptions,
    pub(crate) offset_seed: u64,
    pub(crate) metrics: Metrics,
    pub(crate) pull_permits: Semaphore,
    /// For reading large pages: half of the processors.
    pub(crate) large_page_permits: Arc<Semaphore>,
    /// For the pace at which they come: all processors.
    pub(crate) large_page_pace: Arc<Semaphore>,
    /// Where memory for pages is reserved.
    pub(crate) pages: MemoryPool,
    pub(crate) targets: Targets,
    pub(crate) runtimes: Option<ScrapeRuntimes>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The targets of all pools, for those who look.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pools: RwLock<BTreeMap<Arc<str>, PoolView>>,
    /// How many targets have these labels.
    active: RwLock<HashMap<Labels, usize>>,
}

#[derive(Debug, Default)]
struct PoolView {
    generation: u64,
    relabel_configs: Arc<[RelabelConfig]>,
    active: Vec<Arc<TargetState>>,
    dropped: Vec<DroppedTarget>,
    dropped_count: usize,
}

impl Targets {
    fn begin(&self, pool: Arc<str>, generation: u64, relabel_configs: Arc<[RelabelConfig]>) {
        let view = PoolView { generation, relabel_configs, ..PoolView::default() };
        self.pools.write().unwrap_or_else(PoisonError::into_inner).insert(pool, view);
    }

    fn end(&self, pool: &str) {
        self.pools.write().unwrap_or_else(PoisonError::into_inner).remove(pool);
    }

    pub(crate) fn publish(
        &self,
        pool: &Arc<str>,
        generation: u64,
        active: Vec<Arc<TargetState>>,
        (dropped, dropped_count): (Vec<DroppedTarget>, usize),
    ) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = pools.get_mut(pool).filter(|view| view.generation == generation) {
            view.active = active;
            view.dropped = dropped;
            view.dropped_count = dropped_count;
        }
    }

    pub(crate) fn activate(&self, labels: &Labels) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner).entry(labels.clone()).or_insert(0) += 1;
    }

    pub(crate) fn deactivate(&self, labels: &Labels) {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = active.get_mut(labels) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                active.remove(labels);
            }
        }
    }

    /// Whether a running target has these labels.
    pub(crate) fn is_active(&self, labels: &Labels) -> bool {
        self.active.read().unwrap_or_else(PoisonError::into_inner).contains_key(labels)
    }

    fn states(&self, mut wanted: impl FnMut(&TargetState) -> bool) -> Vec<Arc<TargetState>> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.values().flat_map(|view| &view.active).filter(|state| wanted(state)).cloned().collect()
    }
}

/// Changes the jobs, shows the targets, pulls. A clone is the same handle.
#[derive(Clone, Debug)]
pub struct ScrapeHandle {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Vec<CheckedJob>>,
}

impl ScrapeHandle {
    /// Makes these the jobs. A job that did not change goes on without a gap; its discoverers are replaced.
    ///
    /// # Errors
    ///
    /// [`ManagerError::Config`] with everything that is wrong (and nothing changes), or
    /// [`ManagerError::Ended`].
    pub async fn apply(&self, jobs: Vec<Job>) -> Result<(), ManagerError> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        let mut checked = Vec::with_capacity(jobs.len());
        for Job { config, discoverers } in jobs {
            if !names.insert(config.job_name.clone()) {
                errors.push(ConfigError { job_name: config.job_name.clone(), problem: ConfigProblem::TwiceJobName });
            }
            match config.check() {
                Ok(config) => checked.push(CheckedJob { config, discoverers }),
                Err(ConfigErrors(more)) => errors.extend(more),
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors).into());
        }
        self.jobs.send(checked).await.map_err(|_returned| ManagerError::Ended)
    }

    /// All targets that are scraped, by job and labels.
    #[must_use]
    pub fn active_targets(&self) -> Vec<TargetStatus> {
        self.shared.targets.states(|_| true).iter().map(|state| state.status()).collect()
    }

    /// Targets that relabelling dropped; at most 1,000 of a job.
    #[must_use]
    pub fn dropped_targets(&self) -> Vec<DroppedTarget> {
        let pools = self.shared.targets.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.values().flat_map(|view| view.dropped.iter().cloned()).collect()
    }

    /// The rules on the labels of a job's targets, to show what they do.
    #[must_use]
    pub fn relabel_configs(&self, scrape_pool: &str) -> Option<Arc<[RelabelConfig]>> {
        let pools = self.shared.targets.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.get(scrape_pool).map(|view| Arc::clone(&view.relabel_configs))
    }

    /// All jobs, with the number of their targets.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        let pools = self.shared.targets.pools.read().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, view): (&Arc<str>, &PoolView)| PoolStatus {
            scrape_pool: Arc::clone(name),
            active: view.active.len(),
            dropped: view.dropped_count,
        };
        pools.iter().map(status).collect()
    }

    /// Asks targets now, those whose labels `select` picks, within `budget` (at most [`PULL_BUDGET`]).
    ///
    /// Nothing is written; the rows are in the answer, one entry for each target. Call it only after the
    /// asker was authorised to see these targets.
    pub async fn pull(&self, select: impl Fn(&Labels) -> bool + Send, budget: Duration) -> Vec<PulledTarget> {
        let deadline = Instant::now() + budget.min(PULL_BUDGET);
        let targets = self.shared.targets.states(|state| select(&state.spec.labels));
        join_all(targets.iter().map(|state| ask(state, deadline))).await
    }
}

#[derive(Debug)]
struct RunningPool {
    config: ScrapeConfig,
    discoverers: mpsc::Sender<Vec<Box<dyn Discoverer>>>,
    gone: CancellationToken,
}

/// Runs all jobs.
#[derive(Debug)]
pub struct ScrapeManager {
    handle: ScrapeHandle,
    jobs: mpsc::Receiver<Vec<CheckedJob>>,
    pools: BTreeMap<Arc<str>, RunningPool>,
    tasks: JoinSet<()>,
    generation: u64,
}

impl ScrapeManager {
    /// A manager without jobs.
    ///
    /// # Errors
    ///
    /// The registry has metrics of the same names already.
    pub fn new(
        options: ScrapeOptions,
        storage: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, RegisterError> {
        let (sender, jobs) = mpsc::channel(JOBS_QUEUE);
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let shared = Arc::new(Shared {
            storage,
            clock,
            client: options.client,
            offset_seed: options.offset_seed,
            metrics: Metrics::register(registry)?,
            pull_permits: Semaphore::new(MAX_CONCURRENT_PULLS),
            large_page_permits: Arc::new(Semaphore::new((processors / 2).max(1))),
            large_page_pace: Arc::new(Semaphore::new(processors)),
            pages: options.memory.child("pages of targets", MAX_PAGES_BYTES),
            targets: Targets::default(),
            runtimes: options.runtimes,
        });
        let handle = ScrapeHandle { shared, jobs: sender };
        Ok(Self { handle, jobs, pools: BTreeMap::new(), tasks: JoinSet::new(), generation: 0 })
    }

    /// A handle to the manager.
    #[must_use]
    pub fn handle(&self) -> ScrapeHandle {
        self.handle.clone()
    }

    /// Scrapes until shutdown, and returns when every pool and loop has ended. Staleness markers are not
    /// written then: the next process goes on with the same series.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(joined) = self.tasks.join_next() => check(joined),
                Some(jobs) = self.jobs.recv() => self.apply(jobs, &shutdown).await,
            }
        }
        self.jobs.close();
        while let Some(joined) = self.tasks.join_next().await {
            check(joined);
        }
    }

    async fn apply(&mut self, jobs: Vec<CheckedJob>, shutdown: &CancellationToken) {
        let shared = Arc::clone(&self.handle.shared);
        let kept: BTreeSet<&str> = jobs
            .iter()
            .map(|job| job.config.config())
            .filter(|config| self.pools.get(config.job_name.as_str()).is_some_and(|pool| pool.config == **config))
            .map(|config| config.job_name.as_str())
            .collect();
        let gone: Vec<Arc<str>> = self.pools.keys().filter(|name| !kept.contains(name.as_ref())).cloned().collect();
        for name in gone {
            if let Some(pool) = self.pools.remove(&name) {
                pool.gone.cancel();
                shared.targets.end(&name);
                shared.metrics.end_pool(&name);
            }
        }
        for CheckedJob { config, discoverers } in jobs {
            if let Some(pool) = self.pools.get(config.config().job_name.as_str()) {
                shared.metrics.pool_reloads.inc();
                // A pool that has just ended does so because the server ends.
                pool.discoverers.send(discoverers).await.ok();
            } else {
                self.start(config, discoverers, shutdown).await;
            }
        }
    }

    async fn start(
        &mut self,
        config: CheckedConfig,
        discoverers: Vec<Box<dyn Discoverer>>,
        shutdown: &CancellationToken,
    ) {
        let shared = &self.handle.shared;
        let name: Arc<str> = Arc::from(config.config().job_name.as_str());
        self.generation += 1;
        shared.metrics.pools.inc();
        shared.metrics.pool_target_limit.with([&name]).set(config.config().limits.target_limit as f64);
        let relabel_configs = config.config().relabel_configs.clone().into();
        shared.targets.begin(Arc::clone(&name), self.generation, relabel_configs);
        let (sender, receiver) = mpsc::channel(1);
        let gone = CancellationToken::new();
        let signals = PoolSignals { discoverers: receiver, gone: gone.clone(), shutdown: shutdown.clone() };
        let running = RunningPool { config: config.config().clone(), discoverers: sender, gone };
        let pool = ScrapePool::new(Arc::clone(&name), self.generation, config, Arc::clone(shared));
        self.tasks.spawn(pool.run(signals));
        // The channel is new and has room.
        running.discoverers.send(discoverers).await.ok();
        self.pools.insert(name, running);
    }
}
