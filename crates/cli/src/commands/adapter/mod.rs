//! `crescendo adapter`: a drop-in for prometheus-adapter.
//!
//! - [`AdapterArgs`], [`run`]: from flags to a running server.
//! - `other_flags`: flags of prometheus-adapter that have no effect here or are refused.
//! - `wiring`: the source.
//!
//! Rule: everything that can be wrong with flags, rules, certificates and addresses is found before the first
//! request; a source that is away is not: it may come back.

mod args;
mod other_flags;
mod wiring;

use std::time::Duration;

use anyhow::Result;

pub use self::args::AdapterArgs;
use super::Outcome;
use super::secured_api::SecuredApi;
use crate::printer::Printer;
use crate::run_group::{RunGroup, StopTimeouts};
use crate::signals;

/// What requests that run get when the adapter ends; then they are cut.
const REQUEST_GRACE: Duration = Duration::from_secs(5);

/// What a stage gets to end. Requests that run are cut after five seconds, so that the whole end takes less than the
/// thirty that Kubernetes gives.
const STOP_TIMEOUTS: StopTimeouts = StopTimeouts { requests: Duration::from_secs(10), others: Duration::from_secs(10) };

/// Runs the adapter until a signal, or a component ends it.
///
/// # Errors
///
/// A flag is refused, the rules are wrong, a certificate or an address cannot be used, or a component failed.
pub async fn run(args: AdapterArgs, printer: Printer) -> Result<Outcome> {
    args.check()?;
    let state = args.state.scope()?.map(|scope| Ok::<_, anyhow::Error>((args.api.listed_cluster()?, scope)));
    let state = state.transpose()?;
    let api = SecuredApi::open(args.api, REQUEST_GRACE).await?;
    let mut group = RunGroup::new(STOP_TIMEOUTS);
    let address = wiring::wire(&args.source, state, api, &mut group).await?;
    printer.say(&format!("Crescendo is ready: https://{address}/apis"));
    group.run(signals::stop).await?;
    Ok(Outcome::Fine)
}
