//! `crescendo server`: a drop-in for Prometheus.
//!
//! - [`ServerArgs`], [`run`]: from flags to a running server.
//! - `other_flags`: flags of Prometheus that have no effect here or are refused.
//! - `wiring`: who is connected to whom. `reload`: the configuration. `status`: what the server tells of itself.
//!
//! Rule: everything that can be wrong with flags, configuration, addresses and storage is found before the
//! first scrape.

mod args;
mod other_flags;
mod reload;
mod status;
mod wiring;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

pub use self::args::ServerArgs;
use super::Outcome;
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
    let source = ConfigSource { path: args.config_file.clone(), features: flags.features };
    let loading = source.clone();
    let config = tokio::task::spawn_blocking(move || loading.load()).await.context("the load ended early")?;
    let config = config.context("the configuration is wrong")?;
    let listeners = listen::bind_all(&args.web.listen_address, "--web.listen-address").await?;
    let mut group = RunGroup::new(STOP_TIMEOUTS);
    let quit = CancellationToken::new();
    let addresses = wiring::wire(args, flags, source, config, listeners, quit.clone(), &mut group).await?;
    for address in addresses {
        printer.say(&format!("Crescendo is ready: http://{address}/"));
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
