//! The way to one Alertmanager: its queue, and the task that empties it.
//!
//! ```text
//! queue ─▶ batch ─▶ POST ─┬▶ 2xx: sent
//!                         ├▶ may succeed later: again, twice at most ─▶ dropped
//!                         └▶ refused: dropped
//! ```
//!
//! Rule: one request at a time; a batch is either sent or dropped, and both are counted.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Uri;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::NotifierOptions;
use super::http::{Post, PostError};
use super::metrics::ReceiverMetrics;
use super::queue::Queue;
use super::wire::{Notification, body};

/// Waits before a batch is sent again. Longer ones would be of no use: a firing alert is told again each minute.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How requests are sent.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) post: Arc<dyn Post>,
    pub(super) timeout: Duration,
}

/// One Alertmanager.
#[derive(Debug)]
pub(super) struct Receiver {
    url: Uri,
    text: String,
    settings: RwLock<Arc<Settings>>,
    queue: Queue,
    batch_size: usize,
    drain_timeout: Duration,
    metrics: ReceiverMetrics,
}

impl Receiver {
    pub(super) fn new(
        url: Uri,
        text: String,
        settings: Arc<Settings>,
        options: &NotifierOptions,
        metrics: ReceiverMetrics,
    ) -> Self {
        Self {
            url,
            text,
            settings: RwLock::new(settings),
            queue: Queue::new(options.queue_capacity),
            batch_size: options.batch_size.max(1),
            drain_timeout: options.drain_timeout,
            metrics,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.text
    }

    pub(super) fn set_settings(&self, settings: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets notifications wait. Never waits itself.
    pub(super) fn push(&self, notifications: &[Arc<Notification>]) {
        if notifications.is_empty() {
            return;
        }
        let dropped = self.queue.push(notifications);
        if dropped > 0 {
            self.metrics.dropped.inc_by(dropped as u64);
            tracing::warn!(
                alertmanager = self.text,
                dropped,
                "alert notification queue is full: the oldest are dropped"
            );
        }
        self.metrics.queue_length.set(self.queue.len() as f64);
    }

    fn next_batch(&self) -> Vec<Arc<Notification>> {
        let batch = self.queue.take(self.batch_size);
        self.metrics.queue_length.set(self.queue.len() as f64);
        batch
    }

    fn drop_batch(&self, batch: &[Arc<Notification>]) {
        self.metrics.dropped.inc_by(batch.len() as u64);
    }

    /// One request.
    async fn attempt(&self, batch: &[Arc<Notification>]) -> Result<(), PostError> {
        let settings = self.settings();
        let started = Instant::now();
        let answer = timeout(settings.timeout, settings.post.post(&self.url, body(batch))).await;
        let result = match answer {
            Err(_elapsed) => Err(PostError::Timeout(settings.timeout)),
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => Err(PostError::Status(answer.status, answer.excerpt)),
            Ok(Err(error)) => Err(error),
        };
        match &result {
            Ok(()) => {
                self.metrics.latency.observe_duration(started.elapsed());
                self.metrics.latency_histogram.observe_duration(started.elapsed());
                self.metrics.sent.inc_by(batch.len() as u64);
            }
            Err(_) => self.metrics.errors.inc_by(batch.len() as u64),
        }
        result
    }

    /// Sends a batch, again where that may help, until it is sent, dropped or the loop is stopped; gives a
    /// batch back only in the last case.
    async fn deliver(&self, batch: Vec<Arc<Notification>>, stop: &CancellationToken) -> Option<Vec<Arc<Notification>>> {
        let mut delays = RETRY_DELAYS.into_iter();
        loop {
            let error = tokio::select! {
                biased;
                () = stop.cancelled() => return Some(batch),
                result = self.attempt(&batch) => match result {
                    Ok(()) => return None,
                    Err(error) => error,
                },
            };
            let delay = delays.next().filter(|_| error.may_pass());
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let (alerts, again) = (batch.len(), delay.is_some());
            tracing::error!(alertmanager = self.text, alerts, %error, cause, again, "alerts could not be sent");
            let Some(delay) = delay else {
                self.drop_batch(&batch);
                return None;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Some(batch),
                () = sleep(delay) => {}
            }
        }
    }

    /// Sends what is left, each batch once, within the drain time; the rest is dropped.
    async fn drain(&self, first: Option<Vec<Arc<Notification>>>) {
        let deadline = Instant::now() + self.drain_timeout;
        let mut next = first;
        loop {
            let batch = next.take().unwrap_or_else(|| self.next_batch());
            if batch.is_empty() {
                return;
            }
            if !matches!(timeout_at(deadline, self.attempt(&batch)).await, Ok(Ok(()))) {
                self.drop_batch(&batch);
            }
        }
    }
}

/// Sends to one Alertmanager until stopped, then empties its queue.
pub(super) async fn run(receiver: Arc<Receiver>, stop: CancellationToken) {
    let mut left = None;
    while left.is_none() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = receiver.queue.filled() => {}
        }
        left = receiver.deliver(receiver.next_batch(), &stop).await;
    }
    receiver.drain(left).await;
}
