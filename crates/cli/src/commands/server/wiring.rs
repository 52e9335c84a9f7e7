//! Who is connected to whom in the server, and in which order they stop.
//!
//! ```text
//! web ─▶ query engine ─▶ storage ◀─ scrape ◀─ discovery
//!  │                        ▲ └──▶ rules
//!  │                        │    └──▶ notifier ─▶ Alertmanagers
//!  │                        └ tee ─▶ remote write ─▶ other storages
//!  │                        └──▶ metrics API, where it is asked for
//!  ├▶ reloader ◀─ monitors ─┴ applies a configuration to scrape, rules, notifier and storage
//!  └▶ state series ◀─ scrape, in memory
//! ```
//!
//! Rule: connections are made here, once; no component finds another by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use datamodel::Clock;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use promql::EngineOptions;
use rules::RuleOptions;
use rules::notifier::{Notifier, NotifierHandle, NotifierOptions};
use storage::Appendable;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tsdb::TsdbOptions;
use web::{ApiOptions, HostGuard, Notifications, Parts, Protection, Readiness, ServeOptions};

use super::args::{Flags, ServerArgs};
use super::embedded;
use super::kube_state::OwnState;
use super::reload::{Reloader, ReloaderParts};
use super::status::{ConfigState, Retention, ServerView};
use crate::commands::secured_api::SecuredApi;
use crate::config::{ConfigSource, ServerConfig};
use crate::memory::MemoryLimit;
use crate::run_group::{RunGroup, Stage};
use crate::storage_view::{StorageChanges, StorageView};
use crate::wiring::recorded::RecordingRules;
use crate::wiring::{EngineSettings, WiredEngine, build_info, ended, wire_engine};

/// What requests that run get when the server ends; then they are cut.
pub(super) const REQUEST_GRACE: Duration = Duration::from_secs(2);

/// What alerts that wait for an Alertmanager get when the server ends; with the grace of requests it stays
/// below the five seconds of a whole end.
const NOTIFIER_DRAIN: Duration = Duration::from_secs(2);

/// Where the server is reached, and what stands before it.
pub(super) struct Edge {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) protection: Option<Protection>,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) metrics_api: Option<SecuredApi>,
}

/// Where the server is reached, once it is.
pub(super) struct Addresses {
    pub(super) web: Vec<SocketAddr>,
    pub(super) metrics_api: Option<SocketAddr>,
}

/// Builds every component and gives it to the group. Returns the addresses.
pub(super) async fn wire(
    args: ServerArgs,
    flags: Flags,
    source: ConfigSource,
    config: ServerConfig,
    edge: Edge,
    quit: CancellationToken,
    group: &mut RunGroup,
) -> Result<Addresses> {
    let Edge { listeners, protection, scheme, metrics_api } = edge;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    let memory = memory_limit(&args);
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    let external_url = args.external_url(addresses.first().copied().unwrap_or(([0, 0, 0, 0], 0).into()), scheme);
    let storage = storage_options(&args, &config, &memory);
    let retention = Retention { time: storage.retention_time, size: storage.retention_size };
    let seed = clock.now().unix_ms().unsigned_abs();
    let kube_state = OwnState::open(&args.kubernetes, seed)?;
    let scrape = kube_state.scrape_options(memory.pool.clone());
    let notifier = Notifier::new(notifier_options(&args, &external_url), &registry)?;
    let notifier_handle = notifier.handle();
    let settings = EngineSettings {
        storage,
        storage_flag: "--storage.tsdb.path",
        query: query_options(&args, &flags, &config, &memory),
        scrape: scrape.clone(),
        rules: rule_options(&args, &config, &external_url, &notifier_handle),
        remote_write: Some(memory.pool.consumer("remote write")),
    };
    let engine = wire_engine(settings, &clock, &registry, group).await?;
    group.add("notifier", Stage::Notify, |token| ended(notifier.run(token)));

    let kube_state = kube_state.wire(&registry, group)?;
    let (watcher, monitors) = args.kubernetes.watcher(&scrape.client, seed)?.unzip();
    let (state, notifications, readiness) =
        (Arc::new(ConfigState::default()), Notifications::default(), Readiness::default());
    let recorded = RecordingRules::default();
    let scrape_interval = args.adapter.scrape_interval.unwrap_or(config.global.scrape.scrape_interval);
    let parts = ReloaderParts {
        source,
        engine: engine.clone(),
        notifier: notifier_handle.clone(),
        recorded: recorded.clone(),
        scrape,
        state: Arc::clone(&state),
        notifications: notifications.clone(),
        clock: Arc::clone(&clock),
        registry: &registry,
        watch_interval: args.auto_reload_interval,
        monitors: monitors.unwrap_or_default(),
        scrapes_kube_state: kube_state.is_some(),
        quit,
    };
    let (mut reloader, lifecycle) = Reloader::new(parts, &config)?;

    let mut api =
        Parts::new(Arc::clone(&engine.queryable), engine.engine.clone(), Arc::clone(&clock), registry.clone());
    connect_engine(&mut api, &args, &engine, &clock);
    api.alertmanagers = Some(Arc::new(Told(notifier_handle)));
    api.lifecycle = args.web.enable_lifecycle.then(|| Arc::new(lifecycle) as Arc<dyn web::Lifecycle>);
    api.kube_state = kube_state;
    api.notifications = notifications;
    api.readiness = readiness.clone();
    api.server = Some(Arc::new(ServerView {
        state,
        flags: args.shown.clone(),
        start_time: clock.now(),
        damages: engine.damages,
        memory_limit_bytes: memory.bytes,
        retention,
    }));
    let port = addresses.first().map(SocketAddr::port);
    api.options = ApiOptions { listen_port: port, ..api_options(&args, flags, external_url.clone()) };
    let api = web::Api::new(api)?;

    reloader.apply(config).await?;
    group.add("configuration", Stage::Control, |token| reloader.run(token));
    if let Some(watcher) = watcher {
        group.add("monitors", Stage::Control, |token| ended(watcher.run(token)));
    }
    group.add("memory", Stage::Storage, |token| memory.observe(token));
    readiness.set(true);
    let options = serve_options(&args);
    let listeners = listeners.into_iter().zip(addresses.clone()).collect();
    group
        .add("web", Stage::Ingress, |token| ended(serve_all(listeners, api, protection, external_url, options, token)));
    // In a box: most servers run without it.
    let metrics_api = embedded::wire(metrics_api, &engine, recorded, scrape_interval, &clock, registry, group);
    let metrics_api = Box::pin(metrics_api).await?;
    Ok(Addresses { web: addresses, metrics_api })
}

fn memory_limit(args: &ServerArgs) -> MemoryLimit {
    let memory = MemoryLimit::find(args.memory_limit);
    tracing::info!(bytes = memory.bytes, reason = memory.reason, "memory limit");
    memory
}

const fn serve_options(args: &ServerArgs) -> ServeOptions {
    ServeOptions {
        max_connections: args.web.max_connections,
        read_timeout: args.web.read_timeout,
        grace_period: Some(REQUEST_GRACE),
    }
}

/// Serves each listener behind what protects it.
async fn serve_all(
    listeners: Vec<(TcpListener, SocketAddr)>,
    api: web::Api,
    protection: Option<Protection>,
    external_url: String,
    options: ServeOptions,
    shutdown: CancellationToken,
) {
    let router = api.router();
    let each = listeners.into_iter().map(|(listener, address)| {
        let router = match HostGuard::for_listener(address, &external_url) {
            Some(guard) => guard.protect(router.clone()),
            None => router.clone(),
        };
        let router = match &protection {
            Some(protection) => protection.protect(router),
            None => router,
        };
        web::serve(listener, router, protection.clone(), options, shutdown.clone())
    });
    let all: JoinSet<()> = each.collect();
    drop(all.join_all().await);
}

/// The Alertmanagers as the API shows them.
struct Told(NotifierHandle);

impl web::Alertmanagers for Told {
    fn active(&self) -> Vec<String> {
        self.0.alertmanagers().active
    }

    fn dropped(&self) -> Vec<String> {
        self.0.alertmanagers().dropped
    }
}

fn rule_options(args: &ServerArgs, config: &ServerConfig, external_url: &str, sink: &NotifierHandle) -> RuleOptions {
    RuleOptions {
        evaluation_interval: config.global.evaluation_interval,
        query_offset: config.global.rule_query_offset,
        external_labels: config.global.external_labels.clone(),
        external_url: external_url.to_owned(),
        alert_times: args.rules.times(),
        sink: Some(Arc::new(sink.clone())),
    }
}

fn notifier_options(args: &ServerArgs, external_url: &str) -> NotifierOptions {
    NotifierOptions {
        queue_capacity: args.rules.notification_queue_capacity,
        batch_size: args.rules.notification_batch_size,
        drain_timeout: if args.rules.drain_notifications { NOTIFIER_DRAIN } else { Duration::ZERO },
        external_url: external_url.to_owned(),
    }
}

fn query_options(args: &ServerArgs, flags: &Flags, config: &ServerConfig, memory: &MemoryLimit) -> EngineOptions {
    EngineOptions {
        lookback_delta: args.query.lookback_delta,
        default_subquery_step: config.global.evaluation_interval,
        timeout: args.query.timeout,
        budget_bytes: flags.query_budget_bytes,
        memory: memory.pool.clone(),
        features: flags.features,
        ..EngineOptions::default()
    }
}

/// What the storage is opened with: the configuration's word, else the flags'.
fn storage_options(args: &ServerArgs, config: &ServerConfig, memory: &MemoryLimit) -> TsdbOptions {
    let mut options = TsdbOptions::new(&args.storage.path);
    options.retention_time = args.retention_time();
    options.retention_size = args.storage.retention_size.filter(|size| *size > 0);
    let own = config.storage;
    if own.retention_time.is_some() || own.retention_size.is_some() {
        (options.retention_time, options.retention_size) = (own.retention_time, own.retention_size);
    }
    options.out_of_order_window = own.out_of_order_time_window;
    options.max_exemplars = own.max_exemplars.unwrap_or(options.max_exemplars);
    options.memory = memory.head();
    options
}

/// What the API shows of the engine, and what it may change.
fn connect_engine(api: &mut Parts, args: &ServerArgs, engine: &WiredEngine, clock: &Arc<dyn Clock>) {
    api.targets = Some(engine.scrape.clone());
    api.rules = Some(engine.rules.clone());
    api.build = build_info();
    api.storage = Some(Arc::new(StorageView::new(engine.tsdb.clone())));
    api.exemplars = Some(Arc::new(engine.tsdb.clone()));
    if args.web.enable_admin_api {
        api.admin = Some(Arc::new(StorageChanges::new(engine.tsdb.clone(), Arc::clone(clock))));
    }
    if args.web.enable_remote_write_receiver {
        // A 2xx is a promise, also against loss of power.
        let durable: Arc<dyn Appendable> = Arc::new(engine.tsdb.durable());
        api.receiver = Some(match &engine.remote_write {
            Some(handle) => Arc::new(handle.tee(durable)),
            None => durable,
        });
    }
}

fn api_options(args: &ServerArgs, flags: Flags, external_url: String) -> ApiOptions {
    ApiOptions {
        max_concurrency: args.query.max_concurrency,
        read_sample_limit: args.storage.read_sample_limit,
        cors_origin: Some(flags.cors_origin),
        external_url,
        route_prefix: flags.route_prefix,
        page_title: args.web.page_title.clone(),
        ..ApiOptions::default()
    }
}
