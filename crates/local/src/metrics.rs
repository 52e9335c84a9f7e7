//! What laptop mode says about itself.
//!
//! - [`register`]: declares the metrics; their values are read when they are scraped.
//! - `Tally`: what only ever grows, kept by the fleet so that all parts reach it.
//!
//! Rule: labels come from closed sets, never from a request or a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamodel::metadata::MetricType;
use datamodel::registry::{Descriptor, RegisterError, Registry};
use tokio::sync::watch;

use crate::fleet::{Fleet, WorkerPhase};

/// How a request to the front ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// A worker answered, whatever it said.
    Answered,
    /// No worker was ready.
    NoReadyWorker,
    /// No worker took the connection.
    WorkerUnreachable,
    /// The worker ended before it answered.
    WorkerFailed,
}

/// What a sync of the autoscaler came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncOutcome {
    /// More workers.
    Up,
    /// Fewer workers.
    Down,
    /// As many as before.
    Unchanged,
    /// As many as before, because a value is held.
    Held,
    /// No decision, because a metric failed.
    Failed,
    /// No decision, because a worker was not scraped yet.
    Waited,
}

const REQUEST_OUTCOMES: [(RequestOutcome, &str); 4] = [
    (RequestOutcome::Answered, "answered"),
    (RequestOutcome::NoReadyWorker, "no_ready_worker"),
    (RequestOutcome::WorkerUnreachable, "worker_unreachable"),
    (RequestOutcome::WorkerFailed, "worker_failed"),
];

const SYNC_OUTCOMES: [(SyncOutcome, &str); 6] = [
    (SyncOutcome::Up, "up"),
    (SyncOutcome::Down, "down"),
    (SyncOutcome::Unchanged, "unchanged"),
    (SyncOutcome::Held, "held"),
    (SyncOutcome::Failed, "failed"),
    (SyncOutcome::Waited, "waited"),
];

/// What only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: [AtomicU64; REQUEST_OUTCOMES.len()],
    syncs: [AtomicU64; SYNC_OUTCOMES.len()],
    restarts: AtomicU64,
}

impl Tally {
    pub(crate) fn request(&self, outcome: RequestOutcome) {
        count(&self.requests, REQUEST_OUTCOMES.iter().position(|(one, _)| *one == outcome));
    }

    pub(crate) fn sync(&self, outcome: SyncOutcome) {
        count(&self.syncs, SYNC_OUTCOMES.iter().position(|(one, _)| *one == outcome));
    }

    pub(crate) fn restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

fn count(counters: &[AtomicU64], index: Option<usize>) {
    if let Some(counter) = index.and_then(|index| counters.get(index)) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Gauge, help }
}

const fn counter(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Counter, help }
}

const METRICS: [Descriptor; 7] = [
    gauge("crescendo_workers", "Workers by phase."),
    gauge("crescendo_workers_ready", "Workers that take requests."),
    gauge("crescendo_workers_wanted", "Workers that the autoscaler wants."),
    gauge("crescendo_front_active_requests", "Requests that workers have through the front."),
    counter("crescendo_worker_restarts_total", "Processes of workers that ended by themselves and were started again."),
    counter(
        "crescendo_front_requests_total",
        "Requests that the front handed to a worker or answered for want of one.",
    ),
    counter("crescendo_autoscaler_syncs_total", "Syncs of the local autoscaler by what they came to."),
];

/// Declares the metrics of the fleet, its front and its autoscaler.
///
/// # Errors
///
/// A name is taken.
pub fn register(registry: &Registry, fleet: &Arc<Fleet>, wanted: watch::Receiver<usize>) -> Result<(), RegisterError> {
    let fleet = Arc::clone(fleet);
    registry.collector(&METRICS, move |emit| {
        let workers = fleet.snapshot();
        for phase in [WorkerPhase::Pending, WorkerPhase::Running, WorkerPhase::Terminating] {
            let count = workers.iter().filter(|worker| worker.phase == phase).count();
            emit.sample(0, &[("phase", phase.as_str())], count as f64);
        }
        let ready = workers.iter().filter(|worker| worker.is_ready && worker.phase == WorkerPhase::Running).count();
        emit.sample(1, &[], ready as f64);
        emit.sample(2, &[], *wanted.borrow() as f64);
        emit.sample(3, &[], workers.iter().map(|worker| worker.active).sum::<usize>() as f64);
        let tally = fleet.tally();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        emit.sample(4, &[], read(&tally.restarts));
        for ((_, outcome), counter) in REQUEST_OUTCOMES.iter().zip(&tally.requests) {
            emit.sample(5, &[("outcome", outcome)], read(counter));
        }
        for ((_, outcome), counter) in SYNC_OUTCOMES.iter().zip(&tally.syncs) {
            emit.sample(6, &[("outcome", outcome)], read(counter));
        }
    })
}
