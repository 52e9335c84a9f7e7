//! Who is connected to whom in the adapter, and in which order they stop.
//!
//! ```text
//! server ─▶ metrics API ─▶ source ─▶ Prometheus
//!  └ files    └ rules, listings
//! ```
//!
//! Rule: connections are made here, once; no component finds another by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter::{Ready, RemoteSource, ServeOptions, SourceMetrics};
use anyhow::{Context, Result};
use datamodel::Clock;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use http_client::EnvironmentProxies;
use metrics_api::{ApiMetrics, Backends, Config, ConfigFile, MetricsApi, MetricsProvider, MetricsSource, ServerState};
use remote::Client;
use tokio::net::TcpListener;

use super::access::Access;
use super::args::AdapterArgs;
use crate::run_group::{RunGroup, Stage};
use crate::wiring::{declare_process, ended};

/// What requests that run get when the adapter ends; then they are cut.
const REQUEST_GRACE: Duration = Duration::from_secs(5);

/// Reads the rules.
///
/// # Errors
///
/// There is no file, or it is wrong.
pub(super) async fn load(args: &AdapterArgs) -> Result<(ConfigFile, Config)> {
    let path = args.config.clone();
    // The words of prometheus-adapter.
    let path = path.context("no metrics discovery configuration file specified (make sure to use --config)")?;
    let loaded = tokio::task::spawn_blocking(move || ConfigFile::load(&path)).await;
    Ok(loaded.context("the load ended early")??)
}

/// Builds every component and gives it to the group. Returns the address.
pub(super) async fn wire(
    args: AdapterArgs,
    (file, config): (ConfigFile, Config),
    listener: TcpListener,
    group: &mut RunGroup,
) -> Result<SocketAddr> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    declare_process(&registry)?;
    let address = listener.local_addr()?;
    let settings = args.settings()?;
    let mut options = args.source.flags().options()?;
    // As prometheus-adapter's client.
    options.http.proxy.from_environment = true;
    let common = http_client::ClientOptions {
        environment: EnvironmentProxies::read(|name| std::env::var(name).ok()),
        ..http_client::ClientOptions::default()
    };
    let client = Client::new(options, common);
    client.check().await.context("the source cannot be asked")?;
    let source = RemoteSource::new(client, settings.ages).with_metrics(SourceMetrics::register(&registry)?);
    let source: Arc<dyn MetricsSource> = Arc::new(source);
    let access = Access::of(&args, address, &source, &clock, group).await?;
    let tls = args.serving.certificate().open(args.serving.tls(access.asks_for_certificate)?)?;
    let backends = Backends { source, mapper: access.mapper, lister: access.lister, freshen: None, clock };
    let api = MetricsApi::new(config, settings, backends).with_metrics(ApiMetrics::register(&registry)?);
    let api = Arc::new(api);
    let state = ServerState {
        provider: Arc::clone(&api) as Arc<dyn MetricsProvider>,
        authenticator: access.authenticator,
        authorizer: access.authorizer,
    };
    let is_listed = Arc::clone(&api);
    let ready = Ready::new(move || is_listed.is_listed());
    let apis = metrics_api::router(state.clone());
    let router = adapter::operations(&state, apis, registry, ready, &args.clients.always_allowed());

    let certificate = tls.clone();
    group.add("certificate", Stage::Control, |token| ended(certificate.watch(token)));
    let rules = Arc::clone(&api);
    group.add("rules", Stage::Control, |token| ended(async move { file.watch(&rules, token).await }));
    group.add("metrics API", Stage::Engine, |token| ended(async move { api.run(token).await }));
    let options = ServeOptions { grace_period: REQUEST_GRACE };
    group.add("server", Stage::Ingress, |token| ended(adapter::serve(listener, tls, router, options, token)));
    Ok(address)
}
