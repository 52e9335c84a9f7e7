//! The ASR server: OpenAI's transcription API over HTTP, a bounded queue, metrics, an orderly end.
//!
//! - [`Server`]: from a checked [`ServerConfig`] and a way to load a model, to [`Server::run`].
//! - [`config`]: settings and limits. [`ServeError`]: why it could not start or had to stop.
//! - inside: `connection` (accept, age, farewell), `api` (paths), `form` (upload), `admission` (queue),
//!   `compute` (threads), `render` (answers), `metrics`, `auth`, `tls`, `reload`.
//!
//! ```text
//! connection ─▶ api ─▶ form ─▶ admission ─▶ compute ─▶ Backend
//!                 ◀── render ◀─────────────────┘
//! ```
//!
//! Rule: [`Server::run`] returns only when every connection is closed and every thread joined.

mod admission;
mod api;
mod auth;
mod compute;
pub mod config;
mod connection;
mod error;
mod form;
mod languages;
mod metrics;
mod process;
mod reload;
mod render;
mod request_id;
mod tls;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use datamodel::Clock;
use datamodel::registry::{Descriptor, RegisterError};
use datamodel::time::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::admission::{Queue, UploadBudget};
use self::api::{App, LoadedModel};
use self::auth::ApiKeys;
pub use self::auth::ApiKeysError;
use self::compute::ComputeThreads;
pub use self::config::{ConfigError, ConfigErrors, ServerConfig};
use self::connection::{Connections, ShutdownSteps};
use self::metrics::Metrics;
pub use self::process::register_process_metrics;
use self::reload::Reloaded;
use self::request_id::RequestIds;
pub use self::tls::TlsError;
use crate::Backend;
use crate::gpu::{Choice, GpuSampler};

/// Any error of the loader.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Loads the model; called once, on a thread of its own, after the server listens.
pub type Loader = Box<dyn FnOnce() -> Result<Arc<dyn Backend>, BoxError> + Send>;

/// After the grace period the refusals of what was aborted still get out, then connections are cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The API keys file cannot be used.
    #[error("cannot use API keys")]
    ApiKeys(#[source] ApiKeysError),
    /// Certificate or key cannot be used.
    #[error("cannot use TLS")]
    Tls(#[source] TlsError),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not: most often in use.
        source: io::Error,
    },
    /// The loader failed.
    #[error("cannot load the model")]
    LoadModel(#[source] BoxError),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    StartThread(#[source] io::Error),
    /// The metrics are declared wrongly: a mistake in the program.
    #[error("cannot declare the metrics")]
    Metrics(#[from] RegisterError),
    /// A part of the server ended that never ends: a mistake in the program.
    #[error("the server's {0} ended unexpectedly")]
    Ended(&'static str),
}

/// An ASR server that is not yet running.
pub struct Server {
    config: ServerConfig,
    load: Loader,
    clock: Arc<dyn Clock>,
    announce: Option<oneshot::Sender<SocketAddr>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes settings and the way to a model.
    ///
    /// # Errors
    /// All settings that cannot be.
    pub fn new(config: ServerConfig, load: Loader) -> Result<Self, ConfigErrors> {
        config.validate()?;
        Ok(Self { config, load, clock: Arc::new(SystemClock), announce: None })
    }

    /// Tells the address when it is bound, for a port that the system chose. The server answers from
    /// then on; it is ready when `/ready` says so.
    #[must_use]
    pub fn announce(mut self, bound: oneshot::Sender<SocketAddr>) -> Self {
        self.announce = Some(bound);
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Listens, loads, serves. After `shutdown` readiness ends at once; accepted requests are finished
    /// within the grace period; then every thread is joined.
    ///
    /// # Errors
    /// See [`ServeError`]. A drain that exceeds the grace period is none: it is in the log, and the
    /// requests that it cost are in `asr_failed_requests`.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let keys = open_keys(&self.config)?;
        let tls = open_tls(&self.config)?;
        let address = self.config.listen_address;
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let metrics = Arc::new(Metrics::new(self.config.pod_name.as_deref())?);
        let queue =
            Queue::new(self.config.max_queued_requests, self.config.max_concurrent_requests, Arc::clone(&metrics));
        let steps = ShutdownSteps::default();
        let app = Arc::new(App {
            metrics,
            queue,
            uploads: UploadBudget::new(self.config.upload_memory_bytes),
            keys: keys.clone(),
            request_ids: RequestIds::new(self.clock.now(), std::process::id()),
            model: OnceLock::new(),
            draining: steps.draining.clone(),
            config: self.config,
        });
        let gpu = start_gpu(&app)?;
        let mut serving = JoinSet::new();
        let router = api::router(Arc::clone(&app));
        serving.spawn(Connections::new(&app.config, listener, tls.clone(), router, steps.clone()).run());
        let mut watching = JoinSet::new();
        if let Some(keys) = keys {
            watching.spawn(keys.watch(steps.closing.clone()));
        }
        if let Some(tls) = tls {
            watching.spawn(tls.watch(steps.closing.clone()));
        }
        tracing::info!(address = %bound, tls = app.config.tls_cert_file.is_some(), "ASR server listens");
        if let Some(announce) = self.announce {
            // Nobody may care any more.
            announce.send(bound).ok();
        }

        let running = Running { app: Arc::clone(&app), clock: self.clock, shutdown, serving, steps: steps.clone() };
        let (result, threads) = running.until_drained(self.load).await;

        app.queue.close();
        let join = move || {
            threads.into_iter().for_each(Joined::join);
            gpu.into_iter().for_each(GpuSampler::stop);
        };
        // A panic of a joined thread was reported by that thread.
        spawn_blocking(join).await.ok();
        watching.join_all().await;
        tracing::info!("ASR server has ended");
        result
    }
}

/// Threads to wait for.
enum Joined {
    Load(JoinHandle<()>),
    Compute(ComputeThreads),
}

impl Joined {
    fn join(self) {
        match self {
            // A panic inside was reported by the thread, and as an error by its silence.
            Self::Load(thread) => drop(thread.join()),
            Self::Compute(threads) => threads.join(),
        }
    }
}

/// The server from the first connection to the last.
struct Running {
    app: Arc<App>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    serving: JoinSet<()>,
    steps: ShutdownSteps,
}

impl Running {
    async fn until_drained(mut self, load: Loader) -> (Result<(), ServeError>, Vec<Joined>) {
        let mut threads = Vec::new();
        let served = self.serve(load, &mut threads).await;
        self.app.metrics.set_ready(false);
        self.steps.draining.cancel();
        match served {
            Ok(()) => self.drain().await,
            Err(_) => self.cut().await,
        }
        (served, threads)
    }

    /// Loads, and serves until shutdown.
    async fn serve(&mut self, load: Loader, threads: &mut Vec<Joined>) -> Result<(), ServeError> {
        let (loaded, result) = oneshot::channel();
        let run = move || drop(loaded.send(load()));
        let thread = thread::Builder::new().name("asr-load".to_owned()).spawn(run).map_err(ServeError::StartThread)?;
        threads.push(Joined::Load(thread));
        let backend = tokio::select! {
            result = result => match result {
                Ok(Ok(backend)) => backend,
                Ok(Err(error)) => return Err(ServeError::LoadModel(error)),
                Err(_panicked) => return Err(ServeError::Ended("loader")),
            },
            () = self.shutdown.cancelled() => return Ok(()),
            _ = self.serving.join_next() => return Err(ServeError::Ended("accept loop")),
        };
        let count = self.app.config.max_concurrent_requests;
        let compute = ComputeThreads::start(count, &self.app.queue, &backend, &self.app.metrics);
        threads.push(Joined::Compute(compute.map_err(ServeError::StartThread)?));
        let info = backend.model().clone();
        tracing::info!(model = info.id, device = info.device, load_seconds = info.load_seconds, "ASR server is ready");
        self.app.metrics.set_model_load_seconds(info.load_seconds);
        let loaded_at = self.clock.now().unix_ms() / 1000;
        // Set here alone, once.
        self.app.model.set(LoadedModel { info, loaded_at }).ok();
        self.app.metrics.set_ready(true);
        tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            _ = self.serving.join_next() => Err(ServeError::Ended("accept loop")),
        }
    }

    /// Finishes what was accepted, within the grace period.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.app.config.grace_period;
        tracing::info!(grace_period = ?self.app.config.grace_period, "ASR server drains");
        sleep(self.app.config.drain_delay).await;
        self.steps.closing.cancel();
        if timeout_at(deadline, self.serving.join_next()).await.is_ok() {
            return;
        }
        tracing::warn!("the grace period is over: requests that are not finished are aborted");
        self.app.queue.abort();
        if timeout_at(deadline + LAST_WORDS, self.serving.join_next()).await.is_err() {
            self.cut().await;
        }
    }

    /// Ends everything at once.
    async fn cut(&mut self) {
        self.app.queue.abort();
        self.steps.closing.cancel();
        self.steps.cutting.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

fn open_keys(config: &ServerConfig) -> Result<Option<Reloaded<ApiKeys>>, ServeError> {
    let Some(path) = config.api_keys_file.clone() else { return Ok(None) };
    let keys = Reloaded::open(vec![path.clone()], move || ApiKeys::read(&path));
    keys.map(Some).map_err(ServeError::ApiKeys)
}

fn open_tls(config: &ServerConfig) -> Result<Option<Reloaded<tokio_rustls::TlsAcceptor>>, ServeError> {
    let (Some(cert), Some(key)) = (config.tls_cert_file.clone(), config.tls_key_file.clone()) else { return Ok(None) };
    let tls = Reloaded::open(vec![cert.clone(), key.clone()], move || tls::load(&cert, &key));
    tls.map(Some).map_err(ServeError::Tls)
}

fn start_gpu(app: &App) -> Result<Option<GpuSampler>, ServeError> {
    let visible = app.config.visible_devices.as_deref();
    let Some(choice) = Choice::from_visible_devices(visible, app.config.gpu_ordinal) else { return Ok(None) };
    let metrics = Arc::clone(&app.metrics);
    let publish = move |sample| metrics.set_gpu(sample);
    let sampler = GpuSampler::start(app.config.nvml_library.clone(), choice, publish);
    sampler.map(Some).map_err(ServeError::StartThread)
}

/// Names, types and help texts of all metrics that a server has.
///
/// # Errors
/// A mistake in the declarations, which a test finds.
pub fn metric_catalogue() -> Result<Vec<Descriptor>, RegisterError> {
    Metrics::new(None).map(|metrics| metrics.catalogue())
}
