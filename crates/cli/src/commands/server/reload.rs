//! Loading the configuration: at the start, at SIGHUP, at `/-/reload`, and when a file changes.
//!
//! - [`Reloader`]: the one who loads; [`Reloader::apply`] puts a whole configuration in force.
//! - [`ReloadHandle`]: asks it to, for the HTTP API.
//!
//! ```text
//! SIGHUP ─────┐
//! /-/reload ──┼─▶ load all files ─▶ check all ─▶ build discoverers ─▶ scrape, rules, notifier, storage
//! a change ───┘        └─ anything wrong: nothing changes, the last good one stays in force
//! monitors of a cluster ─▶ the last good one with what they add ──┘
//! ```
//!
//! Rule: one load at a time; what it changes is changed after everything of it was found right.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use datamodel::Clock;
use datamodel::registry::Registry;
use discovery::{DiscoveryContext, DiscoveryMetrics};
use remote::sender::RemoteWrites;
use rules::RuleGroup;
use rules::notifier::NotifierHandle;
use scrape::{Job, JobConfig, ScrapeOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use web::{ActionError, BoxFuture, Lifecycle};

use super::monitors::Monitors;
use super::status::ConfigState;
use crate::config::{
    ConfigMetrics, ConfigSource, FoundConfig, Global, KUBE_STATE_JOB, Patterns, ServerConfig, StorageConfig,
    kube_state_job,
};
use crate::signals;
use crate::wiring::WiredEngine;
use crate::wiring::recorded::RecordingRules;

/// Requests to reload that may wait; each waits for a load of its own.
const MAX_WAITING: usize = 8;

/// What a notification says while the last load failed.
const FAILED: &str = "the last attempt to load the configuration failed; the one before it is in force";

type Reply = oneshot::Sender<Result<()>>;

/// Asks for reloads, and for the end.
#[derive(Clone, Debug)]
pub(super) struct ReloadHandle {
    requests: mpsc::Sender<Reply>,
    quit: CancellationToken,
}

fn refused(source: anyhow::Error) -> ActionError {
    // The chain is told by whoever prints the error.
    ActionError { action: "reload the configuration", source: source.into() }
}

impl Lifecycle for ReloadHandle {
    fn reload(&self) -> BoxFuture<'_, Result<(), ActionError>> {
        Box::pin(async {
            let (reply, answer) = oneshot::channel();
            self.requests.send(reply).await.map_err(|_closed| refused(anyhow!("the server is shutting down")))?;
            let answer = answer.await.map_err(|_dropped| refused(anyhow!("the server is shutting down")))?;
            answer.map_err(refused)
        })
    }

    fn quit(&self) {
        self.quit.cancel();
    }
}

/// Loads and applies configurations.
#[derive(Debug)]
pub(super) struct Reloader {
    source: ConfigSource,
    engine: WiredEngine,
    notifier: NotifierHandle,
    recorded: RecordingRules,
    discovery: DiscoveryContext,
    state: Arc<ConfigState>,
    notifications: web::Notifications,
    clock: Arc<dyn Clock>,
    metrics: ConfigMetrics,
    requests: mpsc::Receiver<Reply>,
    watch_interval: Duration,
    monitors: Monitors,
    /// Whether the state series of a cluster are a job of this server.
    scrapes_kube_state: bool,
    /// The configuration in force, without what the monitors add.
    config: Arc<ServerConfig>,
    patterns: Patterns,
    /// The fingerprint of the files that were last loaded.
    seen: u64,
    /// What the storage was opened with: it is not opened anew.
    opened_with: StorageConfig,
    /// What the rules were set up with.
    started_with: Global,
}

/// What a reloader is made of.
pub(super) struct ReloaderParts<'a> {
    pub(super) source: ConfigSource,
    pub(super) engine: WiredEngine,
    pub(super) notifier: NotifierHandle,
    /// The recording rules in force.
    pub(super) recorded: RecordingRules,
    /// Discovery speaks to servers as scraping does.
    pub(super) scrape: ScrapeOptions,
    pub(super) state: Arc<ConfigState>,
    pub(super) notifications: web::Notifications,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: &'a Registry,
    pub(super) watch_interval: Duration,
    pub(super) monitors: Monitors,
    /// Whether the state series of a cluster are a job of this server.
    pub(super) scrapes_kube_state: bool,
    pub(super) quit: CancellationToken,
}

impl Reloader {
    /// A reloader that has applied nothing yet, and its handle. `config` is what storage and rules were set
    /// up with.
    pub(super) fn new(parts: ReloaderParts<'_>, config: &ServerConfig) -> Result<(Self, ReloadHandle)> {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        let ReloaderParts { source, engine, notifier, recorded, scrape, state, notifications, clock, registry, .. } =
            parts;
        let (watch_interval, monitors, quit) = (parts.watch_interval, parts.monitors, parts.quit);
        let scrapes_kube_state = parts.scrapes_kube_state;
        let discovery = DiscoveryContext {
            client: scrape.client,
            metrics: DiscoveryMetrics::new(registry)?,
            // Makes the numbers of questions differ from run to run.
            id_seed: clock.now().unix_ms().unsigned_abs(),
        };
        let reloader = Self {
            source,
            engine,
            notifier,
            recorded,
            discovery,
            state,
            notifications,
            clock,
            metrics: ConfigMetrics::register(registry)?,
            requests,
            watch_interval,
            monitors,
            scrapes_kube_state,
            config: Arc::default(),
            patterns: config.patterns.clone(),
            seen: config.fingerprint,
            opened_with: config.storage,
            started_with: config.global.clone(),
        };
        Ok((reloader, ReloadHandle { requests: sender, quit }))
    }

    /// Loads when asked, until shutdown.
    ///
    /// # Errors
    ///
    /// A component that takes the configuration has ended.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let mut hang_ups = signals::HangUps::new();
        let is_watching = !self.watch_interval.is_zero();
        let mut ticks = interval(if is_watching { self.watch_interval } else { Duration::from_secs(3600) });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut seen = self.seen;
        loop {
            let reply = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = hang_ups.next() => None,
                Some(reply) = self.requests.recv() => Some(reply),
                () = self.monitors.changed() => {
                    self.take_monitors().await;
                    continue;
                }
                _instant = ticks.tick(), if is_watching => {
                    if self.fingerprint().await? == seen {
                        continue;
                    }
                    tracing::info!(file = %self.source.path.display(), "the configuration has changed");
                    None
                }
            };
            // Taken before the files are read: a change during the load is seen by the next look.
            seen = self.fingerprint().await?;
            let result = self.reload().await;
            if let Some(reply) = reply {
                // Who asked may have gone away.
                reply.send(result).ok();
            }
        }
    }

    async fn fingerprint(&self) -> Result<u64> {
        let (source, patterns) = (self.source.clone(), self.patterns.clone());
        tokio::task::spawn_blocking(move || source.fingerprint(&patterns)).await.context("cannot look at the files")
    }

    /// Loads and applies, and says how it went.
    async fn reload(&mut self) -> Result<()> {
        let source = self.source.clone();
        let loaded = tokio::task::spawn_blocking(move || source.load()).await.context("the load ended early")?;
        let result = match loaded {
            Ok(config) => self.apply(config).await,
            Err(errors) => Err(errors.into()),
        };
        match &result {
            Ok(()) => tracing::info!(file = %self.source.path.display(), "configuration is loaded"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "configuration is not loaded; the last good one stays in force");
                self.metrics.failed();
                self.state.failed();
                self.notifications.raise(FAILED, self.clock.now());
            }
        }
        result
    }

    /// Puts a configuration in force.
    ///
    /// # Errors
    ///
    /// A discoverer cannot be built, and then nothing has changed; or a component has ended.
    pub(super) async fn apply(&mut self, config: ServerConfig) -> Result<()> {
        for note in &config.notes {
            tracing::warn!(subject = note.subject, "{}", note.text);
        }
        self.note_what_needs_a_restart(&config);
        self.put_in_force(&config).await?;
        if let Some(max) = config.storage.max_exemplars {
            self.engine.tsdb.set_max_exemplars(max);
        }
        let now = self.clock.now();
        self.patterns = config.patterns.clone();
        self.state.succeeded(&config, now);
        self.config = Arc::new(config);
        self.metrics.succeeded(now);
        self.notifications.withdraw(FAILED);
        Ok(())
    }

    /// Takes what the monitors became, on top of the configuration in force.
    async fn take_monitors(&mut self) {
        let config = Arc::clone(&self.config);
        if let Err(error) = self.put_in_force(&config).await {
            let error = format!("{error:#}");
            tracing::error!(error, "what was found in the cluster is not applied; what was in force stays");
        }
    }

    /// Puts jobs, rules and receivers in force, with what the monitors add.
    async fn put_in_force(&mut self, config: &ServerConfig) -> Result<()> {
        let mut jobs = config.jobs.iter().map(|job| self.job(job)).collect::<Result<Vec<_>>>()?;
        jobs.extend(self.own_jobs(config)?);
        let labels = config.global.external_labels.clone();
        let notifier = config.alerting.notifier_config(labels, &self.discovery).context("section `alerting`")?;
        let mut found = self.monitors.read(config, &self.source.features)?;
        jobs.extend(self.found_jobs(&mut found));
        // Checked as a whole by the manager before it changes anything, and changed first for that.
        self.engine.scrape.apply(jobs).await?;
        // Before the rules, so that the first alerts find whom to tell.
        self.notifier.apply(notifier).await?;
        if let Some(remote_write) = &self.engine.remote_write {
            let (external_labels, remotes) = (config.global.external_labels.clone(), config.remote_write.clone());
            remote_write.apply(RemoteWrites { external_labels, remotes }).await?;
        }
        let found_groups = found.objects.iter().flat_map(|object| object.rule_groups.iter().cloned());
        let groups: Vec<RuleGroup> = groups(config).into_iter().chain(found_groups).collect();
        self.recorded.set(&groups);
        self.engine.rules.apply(groups).await?;
        self.monitors.tell(&found);
        Ok(())
    }

    /// The jobs of this server itself.
    fn own_jobs(&self, config: &ServerConfig) -> Result<Option<Job>> {
        if !self.scrapes_kube_state {
            return Ok(None);
        }
        let is_taken = config.jobs.iter().any(|job| job.config.job_name == KUBE_STATE_JOB);
        ensure!(!is_taken, "scrape job `{KUBE_STATE_JOB}`: `--kubernetes.state-metrics` has a job of this name");
        self.job(&kube_state_job(&config.global.scrape)?).map(Some)
    }

    /// The jobs of objects. One whose targets cannot be looked for is left out.
    fn found_jobs(&self, found: &mut FoundConfig) -> Vec<Job> {
        let mut jobs = Vec::new();
        let FoundConfig { objects, rejected } = found;
        objects.retain(|object| match object.jobs.iter().map(|job| self.job(job)).collect::<Result<Vec<_>>>() {
            Ok(built) => {
                jobs.extend(built);
                true
            }
            Err(error) => {
                rejected.push((object.origin.clone(), format!("{error:#}")));
                false
            }
        });
        jobs
    }

    fn job(&self, job: &JobConfig) -> Result<Job> {
        let discoverers = job.discovery.iter().map(|config| config.discoverer(&self.discovery));
        let discoverers = discoverers.collect::<Result<Vec<_>, _>>();
        let discoverers = discoverers.with_context(|| format!("scrape job `{}`", job.config.job_name))?;
        Ok(Job { config: job.config.clone(), discoverers })
    }

    fn note_what_needs_a_restart(&self, config: &ServerConfig) {
        let without_exemplars = |storage: StorageConfig| StorageConfig { max_exemplars: None, ..storage };
        if without_exemplars(config.storage) != without_exemplars(self.opened_with) {
            tracing::warn!("changes of `storage.tsdb` take effect after a restart");
        }
        if config.global.external_labels != self.started_with.external_labels {
            tracing::warn!("rule templates take changes of `global.external_labels` after a restart");
        }
    }
}

/// The groups, each with the interval and offset that hold for it.
fn groups(config: &ServerConfig) -> Vec<RuleGroup> {
    let with_defaults = |group: &RuleGroup| RuleGroup {
        interval: group.interval.or(Some(config.global.evaluation_interval)),
        query_offset: group.query_offset.or(Some(config.global.rule_query_offset)),
        ..group.clone()
    };
    config.rule_groups.iter().map(with_defaults).collect()
}
