//! The way to one storage: its queue, and the task that empties it.
//!
//! Rule: one request at a time; a batch is sent, refused or too old, and each is counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamodel::relabel::RelabelRule;
use datamodel::{Clock, Labels, Timestamp};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use http_client::{ClientError, HttpClient};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::RemoteWriteConfig;
use super::metrics::{Reason, RemoteMetrics, shown};
use super::queue::{Item, Payload, Queue};
use super::request::{Built, Counts, Shape};
use super::{MetadataSource, RemoteWriteOptions};
use crate::wire::{FamilyMetadata, WireError, WriteRequest, compress};

/// Bytes of an answer that are read; refusals have some hundred.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Characters of a refusal that are repeated in the log.
const MAX_EXCERPT_CHARS: usize = 256;
/// The longest that a receiver may make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// A full queue is told at most so often.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// No answer came.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 2xx, and what was said.
    #[error("server answered {status}: {excerpt}")]
    Status {
        status: StatusCode,
        excerpt: String,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The message cannot be packed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// One storage.
#[derive(Debug)]
pub(super) struct Sender {
    config: RemoteWriteConfig,
    shape: Shape,
    client: HttpClient,
    queue: Queue,
    clock: Arc<dyn Clock>,
    drain_timeout: Duration,
    metadata: MetadataHolder,
    metrics: RemoteMetrics,
    told: std::sync::Mutex<Option<Timestamp>>,
}

struct MetadataHolder(MetadataSource);

impl std::fmt::Debug for MetadataHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetadataHolder")
    }
}

impl Sender {
    pub(super) fn new(
        config: RemoteWriteConfig,
        external_labels: Labels,
        options: &RemoteWriteOptions,
        metrics: RemoteMetrics,
    ) -> Self {
        // The decoder has checked the rules.
        let rules = config.relabel.iter().filter_map(|rule| RelabelRule::new(rule.clone()).ok()).collect();
        Self {
            shape: Shape { external_labels, rules },
            client: HttpClient::new(config.client.clone(), options.client.clone()),
            queue: Queue::new(config.queue.waiting(), &options.memory),
            clock: Arc::clone(&options.clock),
            drain_timeout: options.drain_timeout,
            metadata: MetadataHolder(Arc::clone(&options.metadata)),
            metrics,
            config,
            told: std::sync::Mutex::default(),
        }
    }

    /// What tells its metrics from those of others.
    pub(super) fn key(&self) -> (String, String) {
        (self.config.name.clone(), shown(&self.config))
    }

    pub(super) fn forget_metrics(&self) {
        self.metrics.forget();
    }

    /// Lets samples wait. Never waits itself.
    pub(super) fn push(&self, items: &[Item]) {
        let wanted = items.iter().filter(|item| match item.value {
            Payload::Float(_) => true,
            Payload::Histogram(_) => self.config.send_native_histograms,
            Payload::Exemplar(_) => self.config.send_exemplars,
        });
        if let Some(newest) = items.iter().map(|item| item.at).max() {
            self.metrics.newest.set(self.metrics.newest.get().max(newest.unix_seconds()));
        }
        let dropped = self.queue.push(wanted.cloned());
        self.metrics.pending.set(self.queue.len() as f64);
        if !dropped.is_empty() {
            self.metrics.dropped(Reason::QueueFull, Counts::of(&dropped));
            self.tell_full(dropped.len());
        }
    }

    fn tell_full(&self, dropped: usize) {
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.is_none_or(|told| now.since(told) >= FULL_LOG_INTERVAL) {
            *told = Some(now);
            let remote = &self.config.name;
            tracing::warn!(remote, dropped, "the queue of remote write is full: the oldest samples are dropped");
        }
    }

    fn take(&self) -> Vec<Item> {
        let items = self.queue.take(self.config.queue.max_samples_per_send);
        self.metrics.pending.set(self.queue.len() as f64);
        items
    }

    /// Takes out and counts what has become too old.
    fn remove_old(&self, items: &mut Vec<Item>) {
        let limit = self.config.queue.sample_age_limit;
        if limit.is_zero() {
            return;
        }
        let oldest = self.clock.now().saturating_sub(limit);
        let old = Counts::of(items.iter().filter(|item| item.at < oldest));
        items.retain(|item| item.at >= oldest);
        self.metrics.dropped(Reason::TooOld, old);
    }

    async fn attempt(&self, request: &WriteRequest) -> Result<usize, SendError> {
        let body = compress(&request.encode(self.config.version))?;
        let bytes = body.len();
        let mut request = Request::post(self.config.url.clone());
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.config.headers.iter().cloned());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.config.version.content_type()));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            let version = HeaderValue::from_static(self.config.version.version_header());
            headers.insert("x-prometheus-remote-write-version", version);
        }
        let url = || ClientError::Url(shown(&self.config));
        let request = request.body(Bytes::from(body)).map_err(|_invalid| url())?;
        let started = Instant::now();
        let answer = timeout(self.config.timeout, self.client.send(request, MAX_ANSWER_BYTES)).await;
        self.metrics.duration.observe_duration(started.elapsed());
        let answer = answer.map_err(|_elapsed| SendError::Timeout(self.config.timeout))??;
        if answer.status().is_success() {
            return Ok(bytes);
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = String::from_utf8_lossy(answer.body());
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(SendError::Status {
            status: answer.status(),
            excerpt: line.chars().take(MAX_EXCERPT_CHARS).collect(),
            retry_after: seconds.map(Duration::from_secs).map(|wait| wait.min(MAX_RETRY_AFTER)),
        })
    }

    /// Whether the same request may succeed later.
    fn may_pass(&self, error: &SendError) -> bool {
        match error {
            SendError::Client(ClientError::Url(_)) | SendError::Wire(_) => false,
            // A certificate or a token can be mended while samples wait.
            SendError::Client(_) | SendError::Timeout(_) => true,
            SendError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => self.config.queue.retry_on_http_429,
            SendError::Status { status, .. } => status.is_server_error(),
        }
    }

    fn delivered(&self, built: &Built, bytes: usize) {
        self.metrics.sent(built.sent);
        self.metrics.bytes.inc_by(bytes as u64);
        if let Some(newest) = built.newest {
            self.metrics.newest_sent.set(self.metrics.newest_sent.get().max(newest.unix_seconds()));
        }
    }

    /// Sends a batch, again where that may help, until it is sent, refused or the loop is stopped; gives a batch
    /// back only in the last case.
    async fn deliver(&self, mut items: Vec<Item>, stop: &CancellationToken) -> Option<Vec<Item>> {
        let mut backoff = self.config.queue.min_backoff;
        let mut is_first = true;
        loop {
            self.remove_old(&mut items);
            let built = self.shape.build(&items);
            if is_first {
                self.metrics.dropped(Reason::Relabelling, built.unwanted);
            }
            if built.sent.total() == 0 {
                return None;
            }
            let error = tokio::select! {
                biased;
                () = stop.cancelled() => return Some(items),
                result = self.attempt(&built.request) => match result {
                    Ok(bytes) => {
                        if !is_first {
                            tracing::warn!(remote = self.config.name, "the remote storage takes samples again");
                        }
                        self.delivered(&built, bytes);
                        return None;
                    }
                    Err(error) => error,
                },
            };
            let (remote, samples) = (&self.config.name, built.sent.total());
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            if !self.may_pass(&error) {
                tracing::error!(remote, samples, %error, cause, "the remote storage refused samples, which are dropped");
                self.metrics.failed(built.sent);
                return None;
            }
            if is_first {
                tracing::warn!(remote, samples, %error, cause, "samples could not be sent, and wait");
            }
            is_first = false;
            self.metrics.retried(built.sent);
            let asked = if let SendError::Status { retry_after, .. } = &error { *retry_after } else { None };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Some(items),
                () = sleep(asked.unwrap_or(backoff)) => {}
            }
            backoff = (backoff * 2).min(self.config.queue.max_backoff);
        }
    }

    /// Sends what is left, each batch once, within the drain time.
    async fn drain(&self, first: Option<Vec<Item>>) {
        let deadline = Instant::now() + self.drain_timeout;
        let mut next = first;
        loop {
            let mut items = next.take().unwrap_or_else(|| self.take());
            if items.is_empty() {
                return;
            }
            self.remove_old(&mut items);
            let built = self.shape.build(&items);
            match timeout_at(deadline, self.attempt(&built.request)).await {
                Ok(Ok(bytes)) => self.delivered(&built, bytes),
                _ => self.metrics.failed(built.sent),
            }
        }
    }

    async fn send_metadata(&self) {
        let families = (self.metadata.0)();
        let all: Vec<_> = families
            .into_iter()
            .map(|(family, metadata)| FamilyMetadata { family: family.to_string(), metadata })
            .collect();
        for part in all.chunks(self.config.metadata.max_samples_per_send) {
            let request = WriteRequest { metadata: part.to_vec(), ..WriteRequest::default() };
            match self.attempt(&request).await {
                Ok(bytes) => {
                    self.metrics.metadata.inc_by(part.len() as u64);
                    self.metrics.metadata_bytes.inc_by(bytes as u64);
                }
                // They come again with the next interval.
                Err(_) => self.metrics.metadata_failed.inc_by(part.len() as u64),
            }
        }
    }
}

/// Sends to one storage until stopped, then empties its queue.
pub(super) async fn run(sender: Arc<Sender>, stop: CancellationToken) {
    let config = &sender.config;
    let mut metadata = interval(config.metadata.send_interval);
    metadata.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Version 2 has them at the series.
    let sends_metadata = config.metadata.send && config.version == crate::wire::WriteVersion::V1;
    let mut left = None;
    while left.is_none() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _instant = metadata.tick(), if sends_metadata => {
                sender.send_metadata().await;
                continue;
            }
            () = sender.queue.holds(1) => {}
        }
        let full = sender.queue.holds(config.queue.max_samples_per_send);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _full_or_late = timeout(config.queue.batch_send_deadline, full) => {}
        }
        left = sender.deliver(sender.take(), &stop).await;
    }
    sender.drain(left).await;
}
