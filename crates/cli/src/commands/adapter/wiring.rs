//! The adapter's source: an engine over HTTP.
//!
//! Rule: connections are made here, once; no component finds another by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use adapter::{RemoteSource, SourceMetrics};
use anyhow::{Context, Result};
use datamodel::Clock;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use http_client::EnvironmentProxies;
use http_client::kubeconfig::Cluster;
use kubernetes::state::StateScope;
use remote::Client;

use super::args::SourceArgs;
use crate::commands::kube_state::KubeState;
use crate::commands::secured_api::{SecuredApi, Source};
use crate::run_group::RunGroup;
use crate::wiring::declare_process;

/// Connects the API to the source that the flags name, and state series, where they are asked for. Returns the address.
pub(super) async fn wire(
    args: &SourceArgs,
    state: Option<(Cluster, StateScope)>,
    api: SecuredApi,
    group: &mut RunGroup,
) -> Result<SocketAddr> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new();
    declare_process(&registry)?;
    let settings = api.settings(args.scrape_interval)?;
    let mut options = args.flags().options()?;
    // As prometheus-adapter's client.
    options.http.proxy.from_environment = true;
    let common = http_client::ClientOptions {
        environment: EnvironmentProxies::read(|name| std::env::var(name).ok()),
        ..http_client::ClientOptions::default()
    };
    let client = Client::new(options, common);
    client.check().await.context("the source cannot be asked")?;
    let source = RemoteSource::new(client, settings.ages).with_metrics(SourceMetrics::register(&registry)?);
    let seed = clock.now().unix_ms().unsigned_abs();
    let kube_state = state.map(|(cluster, scope)| KubeState::new(cluster, &scope, seed).wire(&registry, group));
    let source = Source { source: Arc::new(source), freshen: None, settings, kube_state: kube_state.transpose()? };
    api.wire(source, clock, registry, group).await
}
