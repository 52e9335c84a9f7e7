//! The compute threads: they take jobs from the queue and give them to the backend.
//!
//! - [`ComputeThreads`]: started once the model is loaded, ended by closing the queue, joined by the
//!   server.
//!
//! Rule: a backend that panics costs one request, never a thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::time::Instant;

use super::admission::{Job, JobError, Outcome, Queue};
use super::metrics::Metrics;
use crate::Backend;

/// The threads on which the model computes.
#[derive(Debug)]
pub(crate) struct ComputeThreads(Vec<JoinHandle<()>>);

impl ComputeThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system gives no thread; those already started end when the queue is closed.
    pub(crate) fn start(
        count: usize,
        queue: &Queue,
        backend: &Arc<dyn Backend>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let start = |index| {
            let (queue, backend, metrics) = (queue.clone(), Arc::clone(backend), Arc::clone(metrics));
            let run = move || {
                while let Some((running, job)) = queue.take() {
                    let (reply, outcome) = compute(&*backend, &queue, &metrics, job);
                    drop(running);
                    // The client may have gone in this moment.
                    reply.send(outcome).ok();
                }
            };
            thread::Builder::new().name(format!("asr-compute-{index}")).spawn(run)
        };
        (0..count).map(start).collect::<io::Result<Vec<_>>>().map(Self)
    }

    /// Waits for the end of all threads; blocks. The queue must be closed.
    pub(crate) fn join(self) {
        for thread in self.0 {
            // What a thread can panic with was caught and logged inside.
            thread.join().ok();
        }
    }
}

type Reply = tokio::sync::oneshot::Sender<Outcome>;

fn compute(backend: &dyn Backend, queue: &Queue, metrics: &Metrics, job: Job) -> (Reply, Outcome) {
    let Job { audio, options, cancel, reply, upload, .. } = job;
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| backend.transcribe(audio, &options, &cancel)));
    drop(upload);
    let elapsed = started.elapsed();
    queue.processed(elapsed);
    let outcome = match result {
        Ok(Ok(transcript)) => {
            metrics.processed(elapsed, transcript.duration_seconds);
            Ok(transcript)
        }
        Ok(Err(_)) if queue.is_aborted() => Err(JobError::Aborted),
        Ok(Err(error)) => Err(JobError::Transcribe(error)),
        Err(_) => Err(JobError::Panicked),
    };
    (reply, outcome)
}
