//! The metrics API behind its secured listener: what `adapter` and `server` have in common.
//!
//! - [`SecuredApi`]: rules and address, found right before anything starts, then wired to a source.
//! - [`SecuredApiArgs`]: the flags. `access`: who may ask, and which objects there are.
//!
//! ```text
//! listener ─▶ metrics API ─▶ source
//!  └ files     └ rules, listings
//! ```
//!
//! Rule: what differs between the two commands is the source; who may ask and what is answered does not.

mod access;
mod args;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapter::{Ready, ServeOptions};
use anyhow::{Context, Result};
use datamodel::Clock;
use datamodel::registry::Registry;
use metrics_api::{
    ApiMetrics, Backends, Config, ConfigFile, Freshen, MetricsApi, MetricsProvider, MetricsSource, ServerState,
    Settings,
};
use tokio::net::TcpListener;
use web::MetricsPage;

use self::access::Access;
pub(super) use self::args::SecuredApiArgs;
use crate::listen;
use crate::run_group::{RunGroup, Stage};
use crate::wiring::ended;

/// Rules that were read, and an address that was taken.
#[derive(Debug)]
pub(super) struct SecuredApi {
    args: SecuredApiArgs,
    file: ConfigFile,
    config: Config,
    listener: TcpListener,
    request_grace: Duration,
}

/// Where the metrics come from.
pub(super) struct Source {
    pub(super) source: Arc<dyn MetricsSource>,
    /// Scrapes the pods that are asked for before the answer is computed.
    pub(super) freshen: Option<Arc<dyn Freshen>>,
    /// What holds on it.
    pub(super) settings: Settings,
    /// What the cluster says of itself, told beside the API to who may ask.
    pub(super) kube_state: Option<Arc<dyn MetricsPage>>,
}

impl SecuredApi {
    /// Reads the rules and takes the address. Requests that run when the process ends get `request_grace`.
    ///
    /// # Errors
    ///
    /// There is no file of rules, it is wrong, or the address is taken.
    pub(super) async fn open(args: SecuredApiArgs, request_grace: Duration) -> Result<Self> {
        let path = args.config.clone();
        // The words of prometheus-adapter.
        let path = path.with_context(|| {
            format!("no metrics discovery configuration file specified (make sure to use {})", args.flag("config"))
        })?;
        let loaded = tokio::task::spawn_blocking(move || ConfigFile::load(&path)).await;
        let (file, config) = loaded.context("the load ended early")??;
        let flags = format!("{}` and `{}", args.flag("bind-address"), args.flag("secure-port"));
        let listener = listen::bind(args.serving.address(), &flags).await?;
        Ok(Self { args, file, config, listener, request_grace })
    }

    /// How the API behaves on a source that scrapes so often.
    ///
    /// # Errors
    ///
    /// Series would be listed further apart than they are looked for.
    pub(super) fn settings(&self, scrape_interval: Duration) -> Result<Settings> {
        self.args.settings(scrape_interval)
    }

    /// Builds every component and gives it to the group. Returns the address.
    ///
    /// # Errors
    ///
    /// A certificate cannot be used, or who may ask is not known.
    pub(super) async fn wire(
        self,
        source: Source,
        clock: Arc<dyn Clock>,
        registry: Registry,
        group: &mut RunGroup,
    ) -> Result<SocketAddr> {
        let Self { args, file, config, listener, request_grace } = self;
        let Source { source, freshen, settings, kube_state } = source;
        let address = listener.local_addr()?;
        let access = Access::of(&args, address, &source, &clock, group).await?;
        let tls = access::certificate(&args, args.tls(access.asks_for_certificate)?, &clock, group).await?;
        let backends = Backends { source, mapper: access.mapper, lister: access.lister, freshen, clock };
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
        let pages = kube_state.map(web::kube_state_router).unwrap_or_default();
        let router = adapter::operations(&state, apis, registry, ready, pages, &args.clients.always_allowed());

        let rules = Arc::clone(&api);
        group.add("mapping rules", Stage::Control, |token| ended(async move { file.watch(&rules, token).await }));
        group.add("metrics API", Stage::Engine, |token| ended(async move { api.run(token).await }));
        let options = ServeOptions { grace_period: request_grace };
        group.add("secured listener", Stage::Ingress, |token| {
            ended(adapter::serve(listener, tls, router, options, token))
        });
        Ok(address)
    }
}
