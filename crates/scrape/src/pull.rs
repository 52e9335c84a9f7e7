//! Pull-through: rows that are scraped because somebody asks, and never stored.
//!
//! - [`PulledRow`]: what a target said; [`FreshOverlay`](crate::FreshOverlay) shows it over the storage.
//! - [`PulledTarget`], [`PullOutcome`]: what became of a pull, target by target.
//! - [`PullQueue`]: what the loop of a target remembers of the last attempt.
//!
//! ```text
//! pull(pods, 200ms) ─▶ target's loop ─▶ less than a second since the last attempt? its outcome
//!                                    └▶ else one request for all who wait, within the budget
//! ```
//!
//! Rule: watching a value must not change it: a pull writes nothing, and a scheduled scrape that is due
//! displaces it.

use std::sync::Arc;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::target::TargetState;

/// The longest time that a pull may take: what a metrics request can spare.
pub const PULL_BUDGET: Duration = Duration::from_millis(200);

/// The least time between two requests to a target for pulls, scheduled scrapes counted.
pub const PULL_SPACING: Duration = Duration::from_secs(1);

/// Pulls that may be under way at once, over all targets: a deployment's pods, and few sockets.
pub(crate) const MAX_CONCURRENT_PULLS: usize = 64;

/// Askers that may wait for one target; more are turned away as busy.
pub(crate) const MAX_WAITING: usize = 64;

/// One sample of a pulled row.
#[derive(Clone, Debug, PartialEq)]
pub struct PulledSample {
    /// Labels as a scheduled scrape would store them.
    pub labels: Labels,
    /// Time of the pull, or the timestamp of the page.
    pub at: Timestamp,
    /// The value; a staleness marker for a series that the page no longer has.
    pub value: f64,
}

/// What a target said when it was asked between two scrapes.
#[derive(Clone, Debug, PartialEq)]
pub struct PulledRow {
    /// When it was asked.
    pub at: Timestamp,
    /// Its samples, ascending by labels, each label set once.
    pub samples: Vec<PulledSample>,
}

/// Why a target was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSkip {
    /// Its last scrape took longer than the budget.
    TooSlow,
    /// Too many pulls are under way.
    Busy,
    /// The budget ended before its turn or before the answer.
    OutOfBudget,
    /// It is no longer scraped.
    Gone,
}

/// What became of a pull.
#[derive(Clone, Debug, PartialEq)]
pub enum PullOutcome {
    /// The row, at most [`PULL_SPACING`] old.
    Pulled(Arc<PulledRow>),
    /// A scheduled scrape was committed within [`PULL_SPACING`]: the storage has the newest row.
    Stored,
    /// The target was not asked; its last scheduled row counts.
    Skipped(PullSkip),
    /// The target was asked in vain, with the reason; its last scheduled row counts.
    Failed(Arc<str>),
}

/// What became of the pull of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct PulledTarget {
    /// The job.
    pub scrape_pool: Arc<str>,
    /// Labels of the target's series.
    pub labels: Labels,
    /// What became of it.
    pub outcome: PullOutcome,
}

impl PulledTarget {
    /// The pulled row, if there is one.
    #[must_use]
    pub const fn row(&self) -> Option<&Arc<PulledRow>> {
        match &self.outcome {
            PullOutcome::Pulled(row) => Some(row),
            _ => None,
        }
    }
}

/// Somebody waits for a pull.
#[derive(Debug)]
pub(crate) struct PullRequest {
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<PullOutcome>,
}

/// Asks the loop of a target, and waits until the deadline.
pub(crate) async fn ask(target: &TargetState, deadline: Instant) -> PulledTarget {
    let (reply, answer) = oneshot::channel();
    let outcome = match target.pulls.try_send(PullRequest { deadline, reply }) {
        Err(mpsc::error::TrySendError::Full(_)) => PullOutcome::Skipped(PullSkip::Busy),
        Err(mpsc::error::TrySendError::Closed(_)) => PullOutcome::Skipped(PullSkip::Gone),
        Ok(()) => match timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_dropped)) => PullOutcome::Skipped(PullSkip::Gone),
            Err(_elapsed) => PullOutcome::Skipped(PullSkip::OutOfBudget),
        },
    };
    PulledTarget { scrape_pool: Arc::clone(&target.pool), labels: target.spec.labels.clone(), outcome }
}

/// Those who wait for a target, and the last attempt at it.
#[derive(Debug)]
pub(crate) struct PullQueue {
    requests: mpsc::Receiver<PullRequest>,
    /// When the target was last asked for whatever reason, and with what outcome. The only place that
    /// keeps a pulled row: the next attempt, pulled or scheduled, replaces it.
    last: Option<(Instant, PullOutcome)>,
}

impl PullQueue {
    pub(crate) const fn new(requests: mpsc::Receiver<PullRequest>) -> Self {
        Self { requests, last: None }
    }

    /// Waits for somebody, then takes all who wait. Never returns nothing.
    pub(crate) async fn next(&mut self) -> Vec<PullRequest> {
        match self.requests.recv().await {
            Some(first) => {
                let mut waiting = vec![first];
                while let Ok(more) = self.requests.try_recv() {
                    waiting.push(more);
                }
                waiting
            }
            // The sending end lives in the target's state, which the loop owns too.
            None => std::future::pending().await,
        }
    }

    /// Notes an attempt.
    pub(crate) fn attempted(&mut self, started: Instant, outcome: PullOutcome) {
        self.last = Some((started, outcome));
    }

    /// The outcome of an attempt that is recent enough to count for everybody.
    pub(crate) fn recent(&self, now: Instant) -> Option<PullOutcome> {
        let (started, outcome) = self.last.as_ref()?;
        (now.duration_since(*started) < PULL_SPACING).then(|| outcome.clone())
    }
}

/// Tells everybody who waits.
pub(crate) fn answer(waiting: Vec<PullRequest>, outcome: &PullOutcome) {
    for request in waiting {
        // Who gave up waiting is not there to hear it.
        request.reply.send(outcome.clone()).ok();
    }
}
