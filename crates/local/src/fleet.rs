//! The workers as supervisor, front and autoscaler see them.
//!
//! - [`Fleet`]: the shared state; the supervisor writes it, the others read it.
//! - [`Lease`]: one request's right to a worker; while it lives, the worker does not leave.
//! - [`WorkerSnapshot`]: one worker at one instant.
//!
//! Rule: choosing a worker and taking it out of service happen under one lock, so that a worker without
//! leases that is leaving gets none any more.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamodel::{Clock, Labels, Timestamp};
use discovery::{ADDRESS, TargetGroup};
use tokio::sync::{Notify, watch};

use crate::metrics::Tally;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerPhase {
    /// Its process is being started and did not say yet where it listens.
    Pending,
    /// Its process runs, or is being started again.
    Running,
    /// It gets no request any more and ends when those that it has are done.
    Terminating,
}

impl WorkerPhase {
    /// The name in status and log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Terminating => "Terminating",
        }
    }
}

/// Names a worker in its fleet; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u64);

/// One worker at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Its number.
    pub id: WorkerId,
    /// Its name, also the `pod` label of its metrics.
    pub name: Arc<str>,
    /// Where its process listens, or listened last; none before it first said so.
    pub address: Option<SocketAddr>,
    /// Where it is in its life.
    pub phase: WorkerPhase,
    /// Whether it takes requests.
    pub is_ready: bool,
    /// When `is_ready` last changed; its start before that.
    pub ready_changed: Timestamp,
    /// When it was first started.
    pub started: Timestamp,
    /// Requests that it has.
    pub active: usize,
    /// How often its process was started again.
    pub restarts: u32,
}

struct Worker {
    snapshot: WorkerSnapshot,
    /// Woken when the last lease ends.
    idle: Arc<Notify>,
    /// Number of the choice that last fell on it: among equals the one that waited longest is next.
    last_chosen: u64,
}

#[derive(Default)]
struct State {
    workers: Vec<Worker>,
    next_id: u64,
    choices: u64,
}

/// The workers, in the order of their start.
pub struct Fleet {
    clock: Arc<dyn Clock>,
    namespace: String,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    targets: watch::Sender<Vec<TargetGroup>>,
    tally: Tally,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot()).finish()
    }
}

impl Fleet {
    /// The `job` label of all workers.
    pub const JOB: &'static str = "lightning-asr";

    /// No worker yet. `namespace` becomes a label of theirs.
    #[must_use]
    pub fn new(namespace: impl Into<String>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (version, _) = watch::channel(0);
        let (targets, _) = watch::channel(Vec::new());
        Arc::new(Self {
            clock,
            namespace: namespace.into(),
            state: Mutex::default(),
            version,
            targets,
            tally: Tally::default(),
        })
    }

    /// Changes whenever a worker comes, goes, or changes its phase, address or readiness; not with its
    /// requests.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The workers that have said where they listen, as one group for discovery.
    #[must_use]
    pub fn targets(&self) -> watch::Receiver<Vec<TargetGroup>> {
        self.targets.subscribe()
    }

    /// All workers, in the order of their start.
    #[must_use]
    pub fn snapshot(&self) -> Vec<WorkerSnapshot> {
        self.lock().workers.iter().map(|worker| worker.snapshot.clone()).collect()
    }

    /// The oldest worker that answers, ready ones first: it speaks for all where one must.
    #[must_use]
    pub fn spokesman(&self) -> Option<SocketAddr> {
        let state = self.lock();
        let snapshots = state.workers.iter().map(|worker| &worker.snapshot);
        let best = snapshots
            .filter(|worker| worker.phase != WorkerPhase::Terminating && worker.address.is_some())
            .min_by_key(|worker| (!worker.is_ready, worker.id));
        best.and_then(|worker| worker.address)
    }

    /// The right to the ready worker with the fewest requests, those in `except` left out; none if there is
    /// no such worker.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, except: &[WorkerId]) -> Option<Lease> {
        let mut state = self.lock();
        state.choices += 1;
        let choice = state.choices;
        let worker = state
            .workers
            .iter_mut()
            .filter(|worker| {
                let snapshot = &worker.snapshot;
                snapshot.is_ready && snapshot.phase == WorkerPhase::Running && !except.contains(&snapshot.id)
            })
            .min_by_key(|worker| (worker.snapshot.active, worker.last_chosen))?;
        let address = worker.snapshot.address?;
        worker.last_chosen = choice;
        worker.snapshot.active += 1;
        Some(Lease { fleet: Arc::clone(self), id: worker.snapshot.id, address })
    }

    /// Waits until the worker has no request, or is gone.
    pub async fn idle(&self, id: WorkerId) {
        loop {
            let Some(idle) = self.lock().find(id).map(|worker| Arc::clone(&worker.idle)) else { return };
            let notified = idle.notified();
            tokio::pin!(notified);
            // Registered before the look, so that no end of a lease falls between the two.
            notified.as_mut().enable();
            if self.lock().find(id).is_none_or(|worker| worker.snapshot.active == 0) {
                return;
            }
            notified.await;
        }
    }

    /// What only ever grows.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Adds a worker whose process is about to be started.
    pub(crate) fn add(&self, name: &str) -> WorkerId {
        let now = self.clock.now();
        let mut state = self.lock();
        let id = WorkerId(state.next_id);
        state.next_id += 1;
        let snapshot = WorkerSnapshot {
            id,
            name: Arc::from(name),
            address: None,
            phase: WorkerPhase::Pending,
            is_ready: false,
            ready_changed: now,
            started: now,
            active: 0,
            restarts: 0,
        };
        state.workers.push(Worker { snapshot, idle: Arc::default(), last_chosen: 0 });
        drop(state);
        self.changed();
        id
    }

    /// Says where the worker's process listens.
    pub(crate) fn set_address(&self, id: WorkerId, address: SocketAddr) {
        self.update(id, |worker, _| {
            worker.address = Some(address);
            if worker.phase == WorkerPhase::Pending {
                worker.phase = WorkerPhase::Running;
            }
        });
    }

    /// Says whether the worker takes requests.
    pub(crate) fn set_ready(&self, id: WorkerId, is_ready: bool) {
        self.update(id, |worker, now| {
            if worker.is_ready != is_ready {
                worker.is_ready = is_ready;
                worker.ready_changed = now;
            }
        });
    }

    /// Says that the worker's process ended and will be started again.
    pub(crate) fn set_restarting(&self, id: WorkerId) {
        self.tally.restart();
        self.set_ready(id, false);
        self.update(id, |worker, _| worker.restarts = worker.restarts.saturating_add(1));
    }

    /// Takes the worker out of service: no further lease.
    pub(crate) fn set_terminating(&self, id: WorkerId) {
        self.update(id, |worker, _| worker.phase = WorkerPhase::Terminating);
    }

    /// Forgets a worker.
    pub(crate) fn remove(&self, id: WorkerId) {
        let mut state = self.lock();
        let gone = state.workers.extract_if(.., |worker| worker.snapshot.id == id).next();
        drop(state);
        if let Some(worker) = gone {
            worker.idle.notify_waiters();
            self.changed();
        }
    }

    fn update(&self, id: WorkerId, change: impl FnOnce(&mut WorkerSnapshot, Timestamp)) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(worker) = state.find(id) else { return };
        let before = worker.snapshot.clone();
        change(&mut worker.snapshot, now);
        let has_changed = worker.snapshot != before;
        drop(state);
        if has_changed {
            self.changed();
        }
    }

    fn changed(&self) {
        self.targets.send_if_modified(|groups| {
            // Looked up under the lock of the channel, so that of two changes at once the later one stays.
            let now = vec![self.target_group()];
            let has_changed = *groups != now;
            *groups = now;
            has_changed
        });
        self.version.send_modify(|version| *version += 1);
    }

    fn target_group(&self) -> TargetGroup {
        let labels = Labels::from_pairs([("job", Self::JOB), ("namespace", &self.namespace)]);
        let target = |worker: &WorkerSnapshot| {
            let address = worker.address?.to_string();
            Some(Labels::from_pairs([("pod", &*worker.name), (ADDRESS, &address)]))
        };
        let targets = self.snapshot().iter().filter_map(target).collect();
        TargetGroup { source: Arc::from("local"), labels, targets }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under the lock left whole entries: every change is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.snapshot.id == id)
    }
}

/// One request's right to a worker. Dropping it ends the request.
#[derive(Debug)]
pub struct Lease {
    fleet: Arc<Fleet>,
    id: WorkerId,
    address: SocketAddr,
}

impl Lease {
    /// The worker.
    #[must_use]
    pub const fn worker(&self) -> WorkerId {
        self.id
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.fleet.lock();
        if let Some(worker) = state.find(self.id) {
            worker.snapshot.active = worker.snapshot.active.saturating_sub(1);
            if worker.snapshot.active == 0 {
                worker.idle.notify_waiters();
            }
        }
    }
}
