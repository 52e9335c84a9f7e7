//! Admission: who may wait, who computes, who is sent away.
//!
//! - [`Queue`]: at most `max_queued` waiting and `max_concurrent` running jobs; above that [`Refused`].
//! - [`Active`]: an accepted request until its answer is written or its client gone. Dropping it ends
//!   the job, wherever that stands, and counts the request exactly once.
//! - [`Job`]: what a compute thread takes; [`UploadBudget`], [`Reservation`]: bytes of request bodies.
//!
//! ```text
//! handler ── enqueue ─▶ waiting ── take ─▶ running ─▶ outcome ─▶ handler ─▶ answer written
//!    └ Active ─────────────────────────────────────────────────────────────▶ drop: counted
//! ```
//!
//! Rule: enqueued = active + total, and enqueued = dequeued + queued, at every instant.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::metrics::{HangUpPhase, Metrics};
use crate::{AudioInput, CancelFlag, TranscribeError, TranscribeOptions, Transcript};

/// Why a request may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Queue and compute threads are full; the number is for `Retry-After`.
    Full { retry_after_seconds: u64 },
    /// The server is shutting down.
    Closed,
}

/// What became of a job.
pub(crate) type Outcome = Result<Transcript, JobError>;

/// Why a job has no transcript.
#[derive(Debug)]
pub(crate) enum JobError {
    /// The backend said so.
    Transcribe(TranscribeError),
    /// The backend panicked; the thread goes on with the next job.
    Panicked,
    /// The server shut down before the job's end.
    Aborted,
}

/// One accepted transcription.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    pub(crate) audio: AudioInput,
    pub(crate) options: TranscribeOptions,
    pub(crate) cancel: CancelFlag,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// Keeps the bytes of `audio` on the account as long as they exist.
    pub(crate) upload: Arc<Reservation>,
    accepted_at: Instant,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    running: Vec<(u64, CancelFlag)>,
    next_id: u64,
    /// Nobody enters any more; the threads end when nothing waits.
    closed: bool,
    /// What is still here was ended by us, not by its clients.
    aborted: bool,
    /// Moving mean of the compute time, for `Retry-After`.
    mean_processing_seconds: f64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    max_queued: usize,
    max_concurrent: usize,
    metrics: Arc<Metrics>,
}

/// The door, the waiting room and the list of those inside. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Shared>);

/// Weight of the newest job in the moving mean: the last ten or so count.
const MEAN_WEIGHT: f64 = 0.2;

/// Nobody is asked to stay away for longer: by then the autoscaler has acted.
const MAX_RETRY_AFTER_SECONDS: f64 = 30.0;

impl Queue {
    pub(crate) fn new(max_queued: usize, max_concurrent: usize, metrics: Arc<Metrics>) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: Vec::new(),
            next_id: 0,
            closed: false,
            aborted: false,
            mean_processing_seconds: 0.0,
        };
        metrics.set_max_concurrent(max_concurrent);
        Self(Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), max_queued, max_concurrent, metrics }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics with the lock held; were it so, the state would still be whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, state: &State) -> Result<(), Refused> {
        if state.closed {
            return Err(Refused::Closed);
        }
        // A job that waits for a thread that is just waking up counts as running.
        let inside = state.waiting.len() + state.running.len();
        if inside < self.0.max_queued.saturating_add(self.0.max_concurrent) {
            return Ok(());
        }
        // The first place gets free when the next running job ends.
        let seconds = state.mean_processing_seconds / self.0.max_concurrent as f64;
        // In 1 to 30, so the cast is exact.
        #[expect(clippy::cast_sign_loss, reason = "clamped to positive values")]
        let retry_after_seconds = seconds.ceil().clamp(1.0, MAX_RETRY_AFTER_SECONDS) as u64;
        Err(Refused::Full { retry_after_seconds })
    }

    /// Whether a request would be let in now, to spare a client the upload.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.admit(&self.state())
    }

    /// Accepts a request, or not. From here on it is active.
    pub(crate) fn enqueue(
        &self,
        audio: AudioInput,
        options: TranscribeOptions,
        upload: Arc<Reservation>,
    ) -> Result<(Active, oneshot::Receiver<Outcome>), Refused> {
        let (reply, outcome) = oneshot::channel();
        let cancel = CancelFlag::new();
        let accepted_at = Instant::now();
        let mut state = self.state();
        self.admit(&state)?;
        let id = state.next_id;
        state.next_id += 1;
        let job = Job { id, audio, options, cancel: cancel.clone(), reply, upload, accepted_at };
        state.waiting.push_back(job);
        self.0.metrics.enqueued();
        drop(state);
        self.0.work.notify_one();
        Ok((Active { queue: self.clone(), id, cancel, accepted_at, end: None }, outcome))
    }

    /// The next job, for a compute thread: blocks until there is one; none once the queue is closed
    /// and empty.
    pub(crate) fn take(&self) -> Option<(Running, Job)> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.running.push((job.id, job.cancel.clone()));
                let running = Running { queue: self.clone(), id: job.id };
                self.0.metrics.dequeued(job.accepted_at.elapsed());
                return Some((running, job));
            }
            if state.closed {
                return None;
            }
            state = self.0.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets nobody in any more. Who is inside is served.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.0.work.notify_all();
    }

    /// Ends everything inside; the requests count as failed.
    pub(crate) fn abort(&self) {
        let mut state = self.state();
        state.closed = true;
        state.aborted = true;
        for (_, cancel) in &state.running {
            cancel.cancel();
        }
        let waiting: Vec<Job> = state.waiting.drain(..).collect();
        drop(state);
        self.0.work.notify_all();
        for job in waiting {
            self.0.metrics.dequeued(job.accepted_at.elapsed());
            // The client may have gone in this moment.
            job.reply.send(Err(JobError::Aborted)).ok();
        }
    }

    /// Whether the server ended what is inside.
    pub(crate) fn is_aborted(&self) -> bool {
        self.state().aborted
    }

    /// A compute thread has ended a job after this time.
    pub(crate) fn processed(&self, elapsed: Duration) {
        let mut state = self.state();
        let mean = state.mean_processing_seconds;
        state.mean_processing_seconds = mean + MEAN_WEIGHT * (elapsed.as_secs_f64() - mean);
    }

    fn leave_waiting(&self, id: u64) -> Option<Job> {
        let mut state = self.state();
        let at = state.waiting.iter().position(|job| job.id == id)?;
        state.waiting.remove(at)
    }
}

/// A job on a compute thread. Dropping it frees the thread's place.
#[derive(Debug)]
pub(crate) struct Running {
    queue: Queue,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.state().running.retain(|(id, _)| *id != self.id);
    }
}

/// How an accepted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With an answer that is not the server's fault.
    Answered,
    /// With a 5xx.
    Failed,
}

/// An accepted request, not yet answered.
#[derive(Debug)]
pub(crate) struct Active {
    queue: Queue,
    id: u64,
    cancel: CancelFlag,
    accepted_at: Instant,
    end: Option<End>,
}

impl Active {
    /// The last byte of the answer has left.
    pub(crate) fn answered(mut self, failed: bool) {
        self.end = Some(if failed { End::Failed } else { End::Answered });
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.cancel.cancel();
        let left = self.queue.leave_waiting(self.id);
        let metrics = &self.queue.0.metrics;
        if left.is_some() {
            metrics.dequeued(self.accepted_at.elapsed());
        }
        match self.end {
            Some(end) => metrics.ended(self.accepted_at.elapsed(), end == End::Failed),
            None if self.queue.is_aborted() => metrics.ended(self.accepted_at.elapsed(), true),
            None => metrics.hung_up(if left.is_some() { HangUpPhase::Queued } else { HangUpPhase::Running }),
        }
    }
}

/// Bytes of request bodies that may be in memory at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct UploadBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    used_bytes: AtomicU64,
    limit_bytes: u64,
}

impl UploadBudget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Budget { used_bytes: AtomicU64::new(0), limit_bytes }))
    }

    /// An account for one request, with nothing on it yet.
    pub(crate) fn open(&self) -> Arc<Reservation> {
        Arc::new(Reservation { budget: self.clone(), bytes: AtomicU64::new(0) })
    }
}

/// Bytes on the account of one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: UploadBudget,
    bytes: AtomicU64,
}

impl Reservation {
    /// Takes more; false, and nothing taken, if there is not that much.
    #[must_use]
    pub(crate) fn grow(&self, bytes: u64) -> bool {
        let Budget { used_bytes, limit_bytes } = &*self.budget.0;
        let grown = used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| sum <= limit_bytes)
        });
        if grown.is_ok() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        grown.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}
