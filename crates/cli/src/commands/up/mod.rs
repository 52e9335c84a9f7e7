//! `crescendo up`: the whole loop on one machine, without a cluster.
//!
//! - [`UpArgs`], [`run`]: from arguments to a running loop.
//! - `wiring`: who is connected to whom. `pods`: workers as Kubernetes objects.
//! - `state_series`: the `kube_*` series. `banner`, `status_line`: what a person sees.
//!
//! Rule: everything that can fail at the start fails before the first worker starts.

mod banner;
mod pods;
pub(super) mod state_series;
mod status_line;
mod wiring;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use datamodel::time::parse_duration;
use hpa::HorizontalPodAutoscaler;

use self::banner::Banner;
use self::wiring::{Parts, wire};
use super::{Outcome, model};
use crate::printer::Printer;
use crate::run_group::{RunGroup, StopTimeouts};
use crate::{folders, signals};

/// The manifest that is used when none is named.
const DEFAULT_HPA: &str = include_str!("../../../../../manifests/lightning-asr-hpa.yaml");

/// What a stage gets to end. Requests that were accepted: the five minutes that front and supervisor give
/// them, and what a worker then takes to stop.
const STOP_TIMEOUTS: StopTimeouts =
    StopTimeouts { requests: Duration::from_secs(330), others: Duration::from_secs(40) };

/// Workers beyond the cores that the default manifest allows: one waits while another starts.
const SPARE_WORKERS: usize = 2;

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  crescendo up
  crescendo load --url http://127.0.0.1:2269 --concurrency 12 --duration 40s     # in another terminal")]
pub struct UpArgs {
    /// Pages, queries, metrics API; a loopback address.
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9090")]
    web: SocketAddr,
    /// Speech: OpenAI's transcription API, and the metrics of the seed.
    #[arg(long = "asr.listen-address", default_value = "127.0.0.1:2269")]
    asr: SocketAddr,
    /// Where samples are kept [default: up/data, below ~/.local/state/crescendo].
    #[arg(long = "storage.path")]
    storage: Option<PathBuf>,
    /// The manifest to scale by: any `HorizontalPodAutoscaler` of autoscaling/v2.
    #[arg(long)]
    hpa: Option<PathBuf>,
    /// Time between two decisions.
    #[arg(long = "hpa.sync-period", default_value = "2s", value_parser = parse_duration)]
    sync_period: Duration,
    /// Time between two scrapes of a worker.
    #[arg(long = "scrape.interval", default_value = "1s", value_parser = parse_duration)]
    scrape_interval: Duration,
    /// A known model (see `crescendo model list`) or a folder with one.
    #[arg(long, env = "ASR_MODEL_PATH", default_value = model::DEFAULT_MODEL)]
    model: String,
}

/// Runs the loop until a signal comes.
///
/// # Errors
///
/// The manifest, an address, the model or the storage cannot be used, or a component failed.
pub async fn run(args: UpArgs, printer: Printer) -> Result<Outcome> {
    for (flag, period) in [("--hpa.sync-period", args.sync_period), ("--scrape.interval", args.scrape_interval)] {
        ensure!(period >= Duration::from_millis(100), "`{flag}` must be at least 100ms");
    }
    let (hpa, manifest) = manifest(args.hpa.as_deref())?;
    let storage = match args.storage {
        Some(path) => path,
        None => folders::state()?.join("up").join("data"),
    };
    let web = crate::listen::bind(args.web, "--web.listen-address").await?;
    let model_folder = model_folder(&args.model, printer).await?;
    let mut group = RunGroup::new(STOP_TIMEOUTS);
    let parts = Parts {
        hpa: hpa.clone(),
        manifest,
        web,
        asr: args.asr,
        storage: storage.clone(),
        model: model_folder,
        model_id: args.model.clone(),
        sync_period: args.sync_period,
        scrape_interval: args.scrape_interval,
    };
    let wired = wire(parts, &mut group).await?;
    let banner = Banner {
        asr: wired.asr,
        web: wired.web,
        model: &args.model,
        hpa: args.hpa.as_ref().and_then(|path| path.to_str()).unwrap_or("the seed's; --hpa FILE takes another"),
        namespace: &hpa.namespace,
        storage: &storage,
    };
    printer.data(&banner.text())?;
    if printer.progress() {
        let status = wired.status;
        group.add("status line", crate::run_group::Stage::Ingress, |token| status_line::run(status, printer, token));
    }
    group.run(signals::stop).await?;
    Ok(Outcome::Fine)
}

/// The manifest of the file with its text, or the default one with room for as many workers as the machine has cores.
fn manifest(path: Option<&std::path::Path>) -> Result<(HorizontalPodAutoscaler, String)> {
    if let Some(path) = path {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let hpa = HorizontalPodAutoscaler::parse(&path.display().to_string(), &text)
            .with_context(|| format!("the manifest {} is wrong", path.display()))?;
        return Ok((hpa, text));
    }
    let mut hpa = HorizontalPodAutoscaler::parse("the default manifest", DEFAULT_HPA)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    hpa.spec.max_replicas = i32::try_from(cores + SPARE_WORKERS).unwrap_or(i32::MAX);
    Ok((hpa, DEFAULT_HPA.to_owned()))
}

/// A folder as it is; a known model from the cache, fetched where it is not there.
async fn model_folder(name: &str, printer: Printer) -> Result<PathBuf> {
    let given = PathBuf::from(name);
    if given.is_dir() {
        return Ok(given);
    }
    model::pull(&model::store(None)?, name, &[], printer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_manifest_is_the_seeds_with_room_for_this_machine() {
        let (hpa, _) = manifest(None).unwrap();
        assert_eq!((hpa.namespace.as_str(), hpa.spec.min_replicas), ("smallest", 1));
        assert!(hpa.spec.max_replicas >= 3);
    }
}
