//! `crescendo server`: a drop-in for Prometheus.
//!
//! - [`ServerArgs`], [`run`]: from flags to a running server.
//! - `other_flags`: flags of Prometheus that have no effect here or are refused.
//! - `monitors`: what objects of a cluster add. `kube_state`: what they say of themselves.
//! - `wiring`: who is connected to whom. `reload`: the configuration. `status`: what the server tells of itself.
//! - `adapter_args`, `embedded`: the metrics API inside the server.
//!
//! Rule: everything that can be wrong with flags, configuration, addresses and storage is found before the
//! first scrape.

mod adapter_args;
mod args;
mod embedded;
mod kube_state;
mod monitors;
pub(super) mod other_flags;
mod reload;
mod status;
mod wiring;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use web::Protection;

pub use self::args::ServerArgs;
use super::Outcome;
use super::secured_api::SecuredApi;
use crate::config::ConfigSource;
use crate::printer::Printer;
use crate::run_group::{RunGroup, StopTimeouts};
use crate::{listen, signals};

/// What a stage gets to end. Requests that run are cut after two seconds (`wiring::REQUEST_GRACE`), so that
/// the whole end takes less than the five that supervisors of processes often give.
const STOP_TIMEOUTS: StopTimeouts = StopTimeouts { requests: Duration::from_secs(5), others: Duration::from_secs(10) };

/// Runs the server until a signal, `/-/quit`, or a component ends it.
///
/// # Errors
///
/// A flag is refused, the configuration is wrong, an address or the storage cannot be used, or a component
/// failed.
pub async fn run(args: ServerArgs, printer: Printer) -> Result<Outcome> {
    let flags = args.check()?;
    let source = ConfigSource {
        features: flags.features,
        extra_scrape_metrics: args.has_feature("extra-scrape-metrics"),
        ..ConfigSource::new(args.config_file.clone())
    };
    let loading = source.clone();
    let config = tokio::task::spawn_blocking(move || loading.load()).await.context("the load ended early")?;
    let config = config.context("the configuration is wrong")?;
    let protection = args.web.config_file.as_deref().map(Protection::open).transpose();
    let protection = protection.context("`--web.config.file` cannot be used")?;
    let listeners = listen::bind_all(&args.web.listen_address, "--web.listen-address").await?;
    let metrics_api = match &args.adapter.api {
        Some(api) => Some(SecuredApi::open(api.clone(), wiring::REQUEST_GRACE).await?),
        None => None,
    };
    let mut group = RunGroup::new(STOP_TIMEOUTS);
    let quit = CancellationToken::new();
    let scheme = if protection.as_ref().is_some_and(Protection::speaks_tls) { "https" } else { "http" };
    let edge = wiring::Edge { listeners, protection, scheme, metrics_api };
    let addresses = wiring::wire(args, flags, source, config, edge, quit.clone(), &mut group).await?;
    for address in addresses.web {
        printer.say(&format!("Crescendo is ready: {scheme}://{address}/"));
    }
    if let Some(address) = addresses.metrics_api {
        printer.say(&format!("The metrics API is ready: https://{address}/apis"));
    }
    group
        .run(|| async {
            tokio::select! {
                () = signals::stop() => {}
                () = quit.cancelled() => {}
            }
        })
        .await?;
    Ok(Outcome::Fine)
}
