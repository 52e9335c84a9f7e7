//! Who is connected to whom in laptop mode, and in which order they stop.
//!
//! ```text
//! front ─▶ workers ◀─ supervisor ◀─ autoscaler ◀─ metrics API ◀─ engine ◀─ storage ◀─ scrape ◀─ workers
//!  └ ingress          └ control       └ control                              └ last    └ engine
//! ```
//!
//! Rule: connections are made here, once; no component finds another by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use datamodel::Clock;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use discovery::{ADDRESS, Discoverer, StaticDiscoverer, TargetGroup, WatchedDiscoverer};
use hpa::HorizontalPodAutoscaler;
use hpa::status::AutoscalingStatus;
use local::{Autoscaler, AutoscalerConfig, Fleet, Front, HttpProbe, ProcessLauncher, Supervisor, SupervisorConfig};
use metrics_api::{
    Ages, ApiMetrics, Backends, BuiltinResources, Config, EmbeddedSource, Listing, LoopbackOnly, MetricsApi,
    ServerState, Settings,
};
use promql::EngineOptions;
use rules::RuleOptions;
use scrape::{Job, ScrapeConfig, ScrapeOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tsdb::TsdbOptions;

use super::pods::{ApiReader, LocalObjects};
use super::state_series;
use crate::run_group::{RunGroup, Stage};
use crate::storage_view::StorageView;
use crate::wiring::known_targets::KnownTargets;
use crate::wiring::pull::PodPull;
use crate::wiring::recorded::RecordingRules;
use crate::wiring::{EngineSettings, WiredEngine, build_info, ended, wire_engine};

/// How often the metrics API lists series: a new worker's metrics are there after a scrape and this.
const RELIST_INTERVAL: Duration = Duration::from_secs(10);

/// The recording and alerting rules of the seed, word for word.
const SEED_RULES: &str = include_str!("../../../../../rules/seed.yaml");

/// Name of the job that scrapes this process itself.
const OWN_JOB: &str = "crescendo";

/// What the loop is made of.
pub(super) struct Parts {
    pub(super) hpa: HorizontalPodAutoscaler,
    /// Its text.
    pub(super) manifest: String,
    pub(super) web: TcpListener,
    pub(super) asr: SocketAddr,
    pub(super) storage: PathBuf,
    pub(super) model: PathBuf,
    pub(super) model_id: String,
    pub(super) sync_period: Duration,
    pub(super) scrape_interval: Duration,
}

/// What the caller shows.
pub(super) struct Wired {
    pub(super) web: SocketAddr,
    pub(super) asr: SocketAddr,
    pub(super) status: watch::Receiver<Arc<AutoscalingStatus>>,
}

/// Builds every component and gives it to the group.
pub(super) async fn wire(parts: Parts, group: &mut RunGroup) -> Result<Wired> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let fleet = Fleet::new(parts.hpa.namespace.clone(), Arc::clone(&clock));
    let front = Front::bind(parts.asr, Arc::clone(&fleet)).await;
    let front = front.with_context(|| format!("cannot take speech on {}; `--asr.listen-address`", parts.asr))?;
    let (web_address, asr_address) = (parts.web.local_addr()?, front.local_addr()?);
    let loopback =
        LoopbackOnly::for_listener(web_address).context("`--web.listen-address` must be a loopback address")?;

    let settings = EngineSettings {
        storage: TsdbOptions::new(parts.storage),
        storage_flag: "--storage.path",
        query: EngineOptions::default(),
        scrape: ScrapeOptions::default(),
        remote_write: None,
        rules: RuleOptions { external_url: format!("http://{web_address}"), ..RuleOptions::default() },
    };
    let wired = wire_engine(settings, &clock, &registry, group).await?;
    wired.scrape.apply(jobs(&fleet, web_address, parts.scrape_interval)).await?;
    let rules = rules::parse_rule_file("rules/seed.yaml", SEED_RULES, &promql::Features::DEFAULT)?;
    let recorded = RecordingRules::default();
    recorded.set(&rules);
    wired.rules.apply(rules).await?;

    let api = metrics_api(&parts.hpa, &fleet, &wired, recorded, &clock, &registry, parts.scrape_interval)?;
    let reader = Arc::new(ApiReader { api: Arc::clone(&api), scrape: wired.scrape.clone() });
    let config = AutoscalerConfig { sync_period: parts.sync_period, ..AutoscalerConfig::default() };
    let autoscaler = Autoscaler::new(parts.hpa, config, Arc::clone(&fleet), reader, Arc::clone(&clock))
        .with_manifest(&parts.manifest);
    let status = autoscaler.status();
    state_series::register(&registry, status.clone())?;
    local::metrics::register(&registry, &fleet, autoscaler.wanted())?;

    let readiness = web::Readiness::default();
    let mut pages = web::Parts::new(wired.queryable, wired.engine, Arc::clone(&clock), registry);
    pages.targets = Some(wired.scrape);
    pages.rules = Some(wired.rules);
    pages.exemplars = Some(Arc::new(wired.tsdb.clone()));
    pages.storage = Some(Arc::new(StorageView::new(wired.tsdb)));
    pages.autoscaling = Some(status.clone());
    pages.readiness = readiness.clone();
    pages.build = build_info();
    let web = web::Api::new(pages)?;
    let custom = ServerState {
        provider: Arc::clone(&api) as Arc<dyn metrics_api::MetricsProvider>,
        authenticator: Arc::new(loopback),
        authorizer: Arc::new(loopback),
    };
    let mut router = web.router().merge(metrics_api::router(custom));
    if let Some(guard) = web::HostGuard::for_listener(web_address, "") {
        router = guard.protect(router);
    }
    readiness.set(true);

    let launcher = launcher(&parts.model, &parts.model_id)?;
    // Only names come of it; they should differ from the last run's.
    let seed = clock.now().unix_ms().unsigned_abs();
    let supervisor = Supervisor::new(
        fleet,
        Arc::new(launcher),
        Arc::new(HttpProbe),
        SupervisorConfig::default(),
        autoscaler.wanted(),
        seed,
    );
    group.add("front", Stage::Ingress, |token| ended(front.run(token)));
    group.add("autoscaler", Stage::Control, |token| ended(autoscaler.run(token)));
    group.add("supervisor", Stage::Workers, |token| ended(supervisor.run(token)));
    group.add("metrics API", Stage::Engine, |token| async move {
        api.run(token).await;
        Ok(())
    });
    group.add("web", Stage::Engine, |token| {
        ended(web::serve(parts.web, router, None, web::ServeOptions::default(), token))
    });
    Ok(Wired { web: web_address, asr: asr_address, status })
}

/// The workers, and this process itself.
fn jobs(fleet: &Fleet, own: SocketAddr, interval: Duration) -> Vec<Job> {
    let job = |name: &str, discoverer: Box<dyn Discoverer>| {
        let mut config = ScrapeConfig { job_name: name.to_owned(), ..ScrapeConfig::default() };
        config.scrape_interval = interval;
        config.scrape_timeout = interval;
        Job { config, discoverers: vec![discoverer] }
    };
    let workers = job(Fleet::JOB, Box::new(WatchedDiscoverer::new(fleet.targets())));
    let target = datamodel::Labels::from_pairs([(ADDRESS, own.to_string())]);
    let own = TargetGroup { source: OWN_JOB.into(), labels: datamodel::Labels::empty(), targets: vec![target] };
    let mut itself = job(OWN_JOB, Box::new(StaticDiscoverer::new(vec![own])));
    // The `namespace` of the `kube_*` series is the object's, as kube-state-metrics is scraped.
    itself.config.honor_labels = true;
    vec![workers, itself]
}

fn metrics_api(
    hpa: &HorizontalPodAutoscaler,
    fleet: &Arc<Fleet>,
    wired: &WiredEngine,
    recorded: RecordingRules,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
    interval: Duration,
) -> Result<Arc<MetricsApi>> {
    let ages = Ages::for_interval(interval);
    let source = EmbeddedSource::new(wired.engine.clone(), Arc::clone(&wired.queryable), ages)
        .with_discovered(Arc::new(KnownTargets::new(wired.scrape.clone(), Arc::clone(clock))))
        .with_recorded(Arc::new(recorded))
        .covered_since(clock.now());
    let lister = LocalObjects {
        fleet: Arc::clone(fleet),
        namespace: hpa.namespace.clone(),
        deployment: hpa.spec.scale_target_ref.name.clone(),
    };
    let backends = Backends {
        source: Arc::new(source),
        mapper: Arc::new(BuiltinResources),
        lister: Arc::new(lister),
        freshen: Some(Arc::new(PodPull::new(wired.scrape.clone(), Arc::clone(&wired.queryable)))),
        clock: Arc::clone(clock),
    };
    let settings = Settings { listing: Listing::new(RELIST_INTERVAL, None)?, ages };
    let api = MetricsApi::new(Config::seed()?, settings, backends).with_metrics(ApiMetrics::register(registry)?);
    Ok(Arc::new(api))
}

/// Workers are this binary again, on addresses of their own, and end when we do.
fn launcher(model: &std::path::Path, model_id: &str) -> Result<ProcessLauncher> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut words: Vec<std::ffi::OsString> =
        vec!["asr".into(), "--exit-with-stdin".into(), "--log.level".into(), "warn".into()];
    words.extend(["--asr.listen-address".into(), "127.0.0.1:0".into()]);
    words.extend(["--model".into(), model.into(), "--asr.model-id".into(), model_id.into()]);
    // The front has taken the worker out of service before the signal comes.
    words.extend(["--asr.drain-delay".into(), "0s".into()]);
    // Kernels outside the worker's own pool would start a thread for each core in every worker.
    Ok(ProcessLauncher::new(program, words).with_variable("RAYON_NUM_THREADS", "1"))
}
