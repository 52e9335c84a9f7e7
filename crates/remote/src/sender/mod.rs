//! Sends what is stored to other storages, by remote write.
//!
//! - [`RemoteWriter`], [`RemoteWriteHandle`]: runs a queue for each storage of the configuration.
//! - [`Tee`]: a storage for writers, whose commits go to the queues too.
//! - [`RemoteWriteConfig`], [`remote_write_configs`]: the section `remote_write`.
//! - `queue`: what waits; `send`: the way to one storage; `request`: samples to a message.
//!
//! ```text
//! scrape, rules ─▶ Tee ─▶ commit ─▶ own storage
//!                          └ what was taken ─▶ queue ─▶ relabel, encode ─▶ POST ─┬▶ 2xx: sent
//!                                            └▶ queue ─▶ …                       ├▶ 5xx, 429, no answer: again
//!                                                                                └▶ refused: counted
//! ```
//!
//! Rule: a storage that is slow or away holds up nobody. What waits is bounded; beyond it the oldest go, and are
//! counted. One request at a time is under way to each, so that samples of a series arrive in their order.

mod config;
mod metrics;
mod queue;
mod request;
mod send;
mod tee;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamodel::registry::{RegisterError, Registry};
use datamodel::{Clock, Labels, Metadata};
use http_client::ClientOptions;
use storage::MemoryPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{MetadataConfig, QueueConfig, RemoteWriteConfig, remote_write_configs};
pub use tee::Tee;

use metrics::Metrics;
use queue::Item;
use send::Sender;
use tee::Known;

/// How long queues are emptied at the end.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Storages that are written to; each costs a task and a queue.
pub const MAX_REMOTES: usize = 20;

/// Configurations that may wait to be applied; one more waits in its caller.
const CONFIG_QUEUE: usize = 1;

/// What the metric families say about themselves.
pub type MetadataSource = Arc<dyn Fn() -> Vec<(Arc<str>, Metadata)> + Send + Sync>;

/// What holds for all storages, from the start to the end.
#[derive(Clone)]
pub struct RemoteWriteOptions {
    /// How requests are sent.
    pub client: ClientOptions,
    /// Where what waits is reserved.
    pub memory: MemoryPool,
    /// How long queues are emptied at the end.
    pub drain_timeout: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is sent where a configuration asks for metadata.
    pub metadata: MetadataSource,
}

impl std::fmt::Debug for RemoteWriteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteWriteOptions").field("drain_timeout", &self.drain_timeout).finish_non_exhaustive()
    }
}

/// Whom to write to, and the labels of this server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteWrites {
    /// Labels that every series gets, unless it has them.
    pub external_labels: Labels,
    /// The storages.
    pub remotes: Vec<RemoteWriteConfig>,
}

/// The remote writer does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the remote writer has ended")]
pub struct RemoteWriterEnded;

/// What the tee and the writer share.
#[derive(Debug)]
struct Shared {
    senders: RwLock<Vec<Arc<Sender>>>,
    known: Known,
    options: RemoteWriteOptions,
    metrics: Metrics,
}

impl Shared {
    fn is_idle(&self) -> bool {
        self.senders.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn push(&self, items: &[Item]) {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        senders.iter().for_each(|sender| sender.push(items));
    }
}

/// Changes whom is written to. A clone is the same handle.
#[derive(Clone, Debug)]
pub struct RemoteWriteHandle {
    shared: Arc<Shared>,
    configs: mpsc::Sender<RemoteWrites>,
}

impl RemoteWriteHandle {
    /// Makes this the configuration. Storages that are in it as before keep their queues.
    ///
    /// # Errors
    ///
    /// The writer does not run any more.
    pub async fn apply(&self, config: RemoteWrites) -> Result<(), RemoteWriterEnded> {
        self.configs.send(config).await.map_err(|_returned| RemoteWriterEnded)
    }

    /// A storage for writers, whose commits are sent too.
    #[must_use]
    pub fn tee(&self, storage: Arc<dyn storage::Appendable>) -> Tee {
        Tee::new(storage, Arc::clone(&self.shared))
    }
}

/// A storage whose loop runs.
#[derive(Debug)]
struct Running {
    config: RemoteWriteConfig,
    external_labels: Labels,
    sender: Arc<Sender>,
    stop: CancellationToken,
}

/// Runs the queues.
#[derive(Debug)]
pub struct RemoteWriter {
    handle: RemoteWriteHandle,
    configs: mpsc::Receiver<RemoteWrites>,
    running: Vec<Running>,
    tasks: JoinSet<()>,
}

impl RemoteWriter {
    /// A writer that knows no storage yet.
    ///
    /// # Errors
    ///
    /// The registry has metrics of the same names already.
    pub fn new(options: RemoteWriteOptions, registry: &Registry) -> Result<Self, RegisterError> {
        let metrics = Metrics::register(registry)?;
        let known = Known::new(Arc::clone(&options.clock));
        let shared = Arc::new(Shared { senders: RwLock::default(), known, options, metrics });
        let (sender, configs) = mpsc::channel(CONFIG_QUEUE);
        let handle = RemoteWriteHandle { shared, configs: sender };
        Ok(Self { handle, configs, running: Vec::new(), tasks: JoinSet::new() })
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> RemoteWriteHandle {
        self.handle.clone()
    }

    /// Sends until shutdown, then what waits, within the drain time.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(config) = self.configs.recv() => self.apply(config),
                Some(ended) = self.tasks.join_next() => resume(ended),
            }
        }
        self.running.iter().for_each(|running| running.stop.cancel());
        while let Some(ended) = self.tasks.join_next().await {
            resume(ended);
        }
    }

    fn apply(&mut self, config: RemoteWrites) {
        let RemoteWrites { external_labels, remotes } = config;
        let mut before = std::mem::take(&mut self.running);
        for config in remotes {
            let is_same = |running: &Running| running.config == config && running.external_labels == external_labels;
            let running = match before.iter().position(is_same) {
                Some(place) => before.swap_remove(place),
                None => self.start(config, external_labels.clone()),
            };
            self.running.push(running);
        }
        let shared = &self.handle.shared;
        let senders = self.running.iter().map(|running| Arc::clone(&running.sender)).collect();
        *shared.senders.write().unwrap_or_else(PoisonError::into_inner) = senders;
        if self.running.is_empty() {
            shared.known.clear();
        }
        let kept: HashSet<_> = self.running.iter().map(|running| running.sender.key()).collect();
        for running in before {
            running.stop.cancel();
            if !kept.contains(&running.sender.key()) {
                running.sender.forget_metrics();
            }
        }
    }

    fn start(&mut self, config: RemoteWriteConfig, external_labels: Labels) -> Running {
        let shared = &self.handle.shared;
        let metrics = shared.metrics.of(&config);
        let sender = Sender::new(config.clone(), external_labels.clone(), &shared.options, metrics);
        let (sender, stop) = (Arc::new(sender), CancellationToken::new());
        self.tasks.spawn(send::run(Arc::clone(&sender), stop.clone()));
        Running { config, external_labels, sender, stop }
    }
}

/// A panic of a queue's task is one of the writer.
fn resume(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
