//! As many workers as are wanted.
//!
//! - [`Supervisor`]: starts and takes out of service; owns one task for each worker.
//! - `WorkerTask`: one worker from its start to its end, over the crashes between.
//!
//! ```text
//! launch ─▶ announced ─▶ probe … ready ─▶ leave: no new request ─▶ idle ─▶ SIGTERM ─▶ ended
//!    ▲                     │ ended                                    └ grace period ─┘  └ SIGKILL
//!    └───── backoff ◀──────┘
//! ```
//!
//! Rule: a worker that is wanted is always either running or being started; one that is not wanted ends
//! within the grace period and the stop timeout.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, WorkerId, WorkerPhase, WorkerSnapshot};
use crate::launcher::{WorkerLauncher, WorkerProcess};
use crate::probe::{Probe, Readiness};

/// Most workers at once, whoever asks for more.
pub const MAX_WORKERS: usize = 256;
/// Failed probes in a row after which a worker that was ready is not any more: Kubernetes' default.
const FAILURE_THRESHOLD: u32 = 3;
/// The letters of pod names in Kubernetes: no vowels, so no words.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random part of a name.
const NAME_SUFFIX_LEN: usize = 5;

/// How workers are started, watched and stopped.
#[derive(Clone, Copy, Debug)]
pub struct SupervisorConfig {
    /// How long a process may take until it listens (not until it is ready). Default 30 s.
    pub start_timeout: Duration,
    /// Time between two probes while a worker is not ready. Default 100 ms: it is what a new worker adds to
    /// the reaction time.
    pub starting_probe_interval: Duration,
    /// Time between two probes of a ready worker. Default 1 s.
    pub probe_interval: Duration,
    /// Delay before the first restart; doubled by each further one. Default 2 s: longer than a scrape
    /// interval, so that a crash is always seen as `up == 0`.
    pub first_backoff: Duration,
    /// Longest delay before a restart. Default 1 min.
    pub max_backoff: Duration,
    /// A worker that was ready for this long starts again without history. Default 1 min.
    pub backoff_reset: Duration,
    /// How long the requests of a leaving worker may take. Default 5 min: an hour of audio.
    pub grace_period: Duration,
    /// How long a process may take to end after SIGTERM. Default 10 s.
    pub stop_timeout: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(30),
            starting_probe_interval: Duration::from_millis(100),
            probe_interval: Duration::from_secs(1),
            first_backoff: Duration::from_secs(2),
            max_backoff: Duration::from_mins(1),
            backoff_reset: Duration::from_mins(1),
            grace_period: Duration::from_mins(5),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Keeps as many workers as are wanted.
#[derive(Debug)]
pub struct Supervisor {
    fleet: Arc<Fleet>,
    launcher: Arc<dyn WorkerLauncher>,
    probe: Arc<dyn Probe>,
    config: SupervisorConfig,
    wanted: watch::Receiver<usize>,
    names: Names,
    /// What tells each worker's task to let it leave.
    leave: HashMap<WorkerId, CancellationToken>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// `wanted` holds the number of workers; `seed` decides their names.
    #[must_use]
    pub fn new(
        fleet: Arc<Fleet>,
        launcher: Arc<dyn WorkerLauncher>,
        probe: Arc<dyn Probe>,
        config: SupervisorConfig,
        wanted: watch::Receiver<usize>,
        seed: u64,
    ) -> Self {
        let names = Names(seed);
        Self { fleet, launcher, probe, config, wanted, names, leave: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Starts and stops workers until shutdown; then lets all leave and waits for them.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut is_steered = true;
        loop {
            self.adjust();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.wanted.changed(), if is_steered => is_steered = changed.is_ok(),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
            }
        }
        for leave in self.leave.values() {
            leave.cancel();
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "the task of a worker failed");
        }
        let present: Vec<WorkerId> = self.fleet.snapshot().iter().map(|worker| worker.id).collect();
        self.leave.retain(|id, _| present.contains(id));
    }

    /// Starts what is missing, and lets go what is too much.
    fn adjust(&mut self) {
        let wanted = (*self.wanted.borrow_and_update()).min(MAX_WORKERS);
        let mut staying: Vec<WorkerSnapshot> = self.fleet.snapshot();
        staying.retain(|worker| self.leave.get(&worker.id).is_some_and(|leave| !leave.is_cancelled()));
        for _ in staying.len()..wanted {
            self.start();
        }
        // Who does least for the users leaves first; of equals the youngest.
        staying.sort_by_key(|worker| {
            (worker.phase != WorkerPhase::Pending, worker.is_ready, worker.active, std::cmp::Reverse(worker.id))
        });
        for worker in staying.iter().take(staying.len().saturating_sub(wanted)) {
            // At once and not by its task, so that its phase is never behind the decision.
            self.fleet.set_terminating(worker.id);
            if let Some(leave) = self.leave.get(&worker.id) {
                leave.cancel();
            }
            tracing::info!(worker = %worker.name, active = worker.active, "worker leaves");
        }
    }

    fn start(&mut self) {
        let taken: Vec<Arc<str>> = self.fleet.snapshot().into_iter().map(|worker| worker.name).collect();
        let name = self.names.next(&taken);
        let id = self.fleet.add(&name);
        let leave = CancellationToken::new();
        let task = WorkerTask {
            entry: Entry { fleet: Arc::clone(&self.fleet), id },
            name,
            launcher: Arc::clone(&self.launcher),
            probe: Arc::clone(&self.probe),
            config: self.config,
            leave: leave.clone(),
        };
        tracing::info!(worker = %task.name, "worker starts");
        self.leave.insert(id, leave);
        self.tasks.spawn(task.run());
    }
}

/// A worker's place in the fleet; given back whichever way its task ends.
struct Entry {
    fleet: Arc<Fleet>,
    id: WorkerId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.fleet.remove(self.id);
    }
}

/// One worker from its start to its end.
struct WorkerTask {
    entry: Entry,
    name: String,
    launcher: Arc<dyn WorkerLauncher>,
    probe: Arc<dyn Probe>,
    config: SupervisorConfig,
    leave: CancellationToken,
}

impl WorkerTask {
    async fn run(self) {
        let mut failures: u32 = 0;
        while !self.leave.is_cancelled() {
            let ready_for = match self.launcher.launch(&self.name) {
                Ok(mut process) => {
                    let ready_for = self.live(&mut *process).await;
                    if self.leave.is_cancelled() {
                        self.stop(&mut *process).await;
                        return;
                    }
                    ready_for
                }
                Err(error) => {
                    tracing::warn!(worker = %self.name, %error, "worker could not be started");
                    Duration::ZERO
                }
            };
            self.entry.fleet.set_restarting(self.entry.id);
            failures = if ready_for >= self.config.backoff_reset { 0 } else { failures };
            let factor = 2_u32.saturating_pow(failures);
            let backoff = self.config.first_backoff.saturating_mul(factor).min(self.config.max_backoff);
            failures = failures.saturating_add(1);
            tracing::info!(worker = %self.name, ?backoff, "worker is started again");
            tokio::select! {
                () = sleep(backoff) => {}
                () = self.leave.cancelled() => {}
            }
        }
    }

    /// Watches a process until it ends or the worker is to leave. Returns how long it was ready at the end.
    async fn live(&self, process: &mut dyn WorkerProcess) -> Duration {
        let announced = tokio::select! {
            announced = timeout(self.config.start_timeout, process.announced()) => announced,
            () = self.leave.cancelled() => return Duration::ZERO,
        };
        let address = match announced {
            Ok(Ok(address)) => address,
            Ok(Err(error)) => {
                tracing::warn!(worker = %self.name, %error, "worker did not start");
                self.end(process).await;
                return Duration::ZERO;
            }
            Err(_elapsed) => {
                tracing::warn!(worker = %self.name, "worker did not listen in time");
                self.end(process).await;
                return Duration::ZERO;
            }
        };
        let (fleet, id) = (&self.entry.fleet, self.entry.id);
        fleet.set_address(id, address);
        let mut ready_since: Option<Instant> = None;
        let mut silent_probes = 0;
        loop {
            let probe = async {
                let interval = match ready_since {
                    Some(_) => self.config.probe_interval,
                    None => self.config.starting_probe_interval,
                };
                sleep(interval).await;
                self.probe.probe(address).await
            };
            let found = tokio::select! {
                biased;
                () = self.leave.cancelled() => break,
                ended = process.wait() => {
                    tracing::warn!(worker = %self.name, %ended, "worker ended by itself");
                    break;
                }
                found = probe => found,
            };
            silent_probes = if found == Readiness::NoAnswer { silent_probes + 1 } else { 0 };
            let is_ready = match found {
                Readiness::Ready => true,
                Readiness::NotReady => false,
                Readiness::NoAnswer => ready_since.is_some() && silent_probes < FAILURE_THRESHOLD,
            };
            if is_ready != ready_since.is_some() {
                ready_since = is_ready.then(Instant::now);
                fleet.set_ready(id, is_ready);
                tracing::info!(worker = %self.name, is_ready, "readiness of worker changed");
            }
        }
        ready_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Lets the worker end its requests, then ends it.
    async fn stop(&self, process: &mut dyn WorkerProcess) {
        self.entry.fleet.set_terminating(self.entry.id);
        let idle = timeout(self.config.grace_period, self.entry.fleet.idle(self.entry.id));
        let ended = tokio::select! {
            idle = idle => {
                if idle.is_err() {
                    tracing::warn!(worker = %self.name, "worker still has requests after the grace period");
                }
                None
            }
            ended = process.wait() => Some(ended),
        };
        if let Some(ended) = ended {
            tracing::warn!(worker = %self.name, %ended, "worker ended before its requests did");
            return;
        }
        process.terminate();
        if timeout(self.config.stop_timeout, process.wait()).await.is_err() {
            tracing::warn!(worker = %self.name, "worker does not end after SIGTERM");
            self.end(process).await;
        }
        tracing::info!(worker = %self.name, "worker left");
    }

    /// Ends a process that is of no use.
    async fn end(&self, process: &mut dyn WorkerProcess) {
        process.kill();
        if timeout(self.config.stop_timeout, process.wait()).await.is_err() {
            tracing::error!(worker = %self.name, "worker does not end after SIGKILL");
        }
    }
}

/// Names of workers, as a `ReplicaSet` would make them; the same seed gives the same names.
#[derive(Debug)]
struct Names(u64);

impl Names {
    /// A name that is not among those that are taken.
    fn next(&mut self, taken: &[Arc<str>]) -> String {
        loop {
            let mut name = format!("{}-", Fleet::JOB);
            let mut bits = self.next_bits();
            for _ in 0..NAME_SUFFIX_LEN {
                let letters = NAME_ALPHABET.len() as u64;
                let letter = usize::try_from(bits % letters).ok().and_then(|index| NAME_ALPHABET.get(index));
                name.push(letter.map_or('x', |letter| char::from(*letter)));
                bits /= letters;
            }
            if taken.iter().all(|other| **other != *name) {
                return name;
            }
        }
    }

    /// `SplitMix64`: enough for names, and no state but one number.
    fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
