//! The engine of this process: what `up` and `server` have in common.
//!
//! - [`EngineSettings`], [`wire_engine`]: storage, query engine, scraping and rules, connected and given to a
//!   run group.
//! - [`WiredEngine`]: the handles that the caller connects further.
//! - `storage_metrics`: what the storage says about itself.
//! - [`pull`]: pull-through for the metrics API. [`recorded`]: the recording rules that it evaluates anew.
//!   [`known_targets`]: which targets it may hold the values of. [`own_page`]: a page of this process as a target.
//!
//! ```text
//! targets ─▶ scrape ─▶ storage ◀─▶ rules
//!              │          └─▶ query engine ─▶ web, metrics API
//!              └──────── pull ────────────────────▲
//! ```
//!
//! Rule: a component is built here only if both commands have it; what they do differently is a setting.

pub mod known_targets;
pub mod own_page;
pub mod pull;
pub mod recorded;
mod storage_metrics;

use std::sync::Arc;

use anyhow::{Context, Result};
use datamodel::Clock;
use datamodel::registry::Registry;
use promql::{Engine, EngineOptions};
use remote::sender::{DEFAULT_DRAIN_TIMEOUT, RemoteWriteHandle, RemoteWriteOptions, RemoteWriter};
use rules::{RuleHandle, RuleManager, RuleOptions};
use scrape::{ScrapeHandle, ScrapeManager, ScrapeOptions, ScrapeRuntimes};
use storage::{Appendable, MemoryPool, Queryable};
use tsdb::{Tsdb, TsdbOptions};

use crate::run_group::{RunGroup, Stage};
use crate::{upkeep, version};

/// How the engine's parts are set up.
#[derive(Debug)]
pub struct EngineSettings {
    /// Where samples are kept, and for how long.
    pub storage: TsdbOptions,
    /// The flag that names the folder of the storage, for errors.
    pub storage_flag: &'static str,
    /// How queries are evaluated.
    pub query: EngineOptions,
    /// What all scrape jobs share.
    pub scrape: ScrapeOptions,
    /// How rules are evaluated.
    pub rules: RuleOptions,
    /// Where samples that wait for other storages are reserved; without it none are sent.
    pub remote_write: Option<MemoryPool>,
}

/// The engine's handles.
#[derive(Clone)]
pub struct WiredEngine {
    /// The storage.
    pub tsdb: Tsdb,
    /// Damages that were found when it was opened.
    pub damages: u64,
    /// The storage, for readers.
    pub queryable: Arc<dyn Queryable>,
    /// The query engine.
    pub engine: Engine,
    /// Changes and shows scrape jobs.
    pub scrape: ScrapeHandle,
    /// Changes and shows rule groups.
    pub rules: RuleHandle,
    /// Changes which other storages are written to.
    pub remote_write: Option<RemoteWriteHandle>,
}

impl std::fmt::Debug for WiredEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WiredEngine").field("tsdb", &self.tsdb).finish_non_exhaustive()
    }
}

/// Builds the engine, declares its metrics, and gives its components to the group.
///
/// # Errors
///
/// The storage cannot be opened, or a metric is declared already.
pub async fn wire_engine(
    settings: EngineSettings,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
    group: &mut RunGroup,
) -> Result<WiredEngine> {
    let EngineSettings { storage, storage_flag, query, scrape, rules, remote_write } = settings;
    declare_process(registry)?;
    let limits = storage_metrics::Limits::of(&storage);
    let (tsdb, damages) = open_storage(storage, storage_flag, clock).await?;
    let readable: Arc<dyn Queryable> = Arc::new(tsdb.clone());
    let wired = remote_write.map(|memory| wire_remote_write(&tsdb, &scrape, memory, clock, registry, group));
    let remote_write = wired.transpose()?;
    let stored: Arc<dyn Appendable> = Arc::new(tsdb.clone());
    let writable = match &remote_write {
        Some(handle) => Arc::new(handle.tee(stored)),
        None => stored,
    };
    let engine = Engine::new(EngineOptions { clock: Arc::clone(clock), ..query });

    // They write to the storage, so that they may wait for its disk.
    let loops = group.add_runtime("scrape loops", Stage::Storage)?;
    let large_pages = group.add_runtime("large pages", Stage::Storage)?;
    let scrape = ScrapeOptions { runtimes: Some(ScrapeRuntimes { loops, large_pages }), ..scrape };
    let scrape = ScrapeManager::new(scrape, Arc::clone(&writable), Arc::clone(clock), registry)?;
    let rules = RuleManager::new(rules, engine.clone(), Arc::clone(&readable), writable, Arc::clone(clock), registry)?;
    let (scrape_handle, rules_handle) = (scrape.handle(), rules.handle());
    group.add("scrape", Stage::Engine, |token| ended(scrape.run(token)));
    group.add("rules", Stage::Engine, |token| ended(rules.run(token)));
    let kept = tsdb.clone();
    group.add("storage", Stage::Storage, |token| upkeep::run(kept, token));
    storage_metrics::register(registry, tsdb.clone(), limits)?;
    let (scrape, rules) = (scrape_handle, rules_handle);
    Ok(WiredEngine { tsdb, damages, queryable: readable, engine, scrape, rules, remote_write })
}

/// Sends what is committed to other storages, once a configuration names some.
fn wire_remote_write(
    tsdb: &Tsdb,
    scrape: &ScrapeOptions,
    memory: MemoryPool,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
    group: &mut RunGroup,
) -> Result<RemoteWriteHandle> {
    let described = tsdb.clone();
    let options = RemoteWriteOptions {
        client: scrape.client.clone(),
        memory,
        drain_timeout: DEFAULT_DRAIN_TIMEOUT,
        clock: Arc::clone(clock),
        metadata: Arc::new(move || described.metadata()),
    };
    let writer = RemoteWriter::new(options, registry)?;
    let handle = writer.handle();
    // After those that write: their last commits are sent too.
    group.add("remote write", Stage::Notify, |token| ended(writer.run(token)));
    Ok(handle)
}

/// A component that cannot fail, for the run group.
///
/// # Errors
///
/// Never.
pub async fn ended(component: impl Future<Output = ()>) -> Result<()> {
    component.await;
    Ok(())
}

/// Opens the storage, and says what was found that is not as it was written.
async fn open_storage(options: TsdbOptions, flag: &'static str, clock: &Arc<dyn Clock>) -> Result<(Tsdb, u64)> {
    let clock = Arc::clone(clock);
    let opened = tokio::task::spawn_blocking(move || Tsdb::open(options, clock));
    let (tsdb, report) =
        opened.await?.with_context(|| format!("cannot open the storage; `{flag}` names another folder"))?;
    for damage in &report.damage {
        tracing::warn!(?damage, "the storage is damaged; everything else was read");
    }
    if report.lost_batches + report.lost_samples > 0 {
        let (batches, samples) = (report.lost_batches, report.lost_samples);
        tracing::warn!(batches, samples, "batches and single samples that build on damaged bytes are lost");
    }
    tracing::info!(samples = report.replayed_samples, segments = report.segments, "storage is open");
    Ok((tsdb, report.damage.len() as u64))
}

/// What every Prometheus says about its process and its build.
///
/// # Errors
///
/// A name is taken.
pub fn declare_process(registry: &Registry) -> Result<()> {
    asr::server::register_process_metrics(registry)?;
    let build = registry.gauge_family(
        "prometheus_build_info",
        "A metric with a constant '1' value labeled by version and revision from which the server was built.",
        ["version", "revision"],
    )?;
    build.with([version::VERSION, version::COMMIT]).set(1.0);
    Ok(())
}

/// The build, as the HTTP API tells it.
#[must_use]
pub fn build_info() -> web::BuildInfo {
    let revision = version::COMMIT.to_owned();
    web::BuildInfo { version: version::VERSION.to_owned(), revision, ..web::BuildInfo::default() }
}
