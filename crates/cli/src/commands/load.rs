//! `crescendo load`: speech at a server, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use datamodel::Clock;
use datamodel::time::{SystemClock, parse_duration};
use load::{Clips, LoadConfig, Mode, ObservedPanel, Progress, Rate, Spacing};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use crate::printer::{OutputFormat, Printer};
use crate::signals;

const EXAMPLES: &str = "Examples:
  crescendo load --url http://127.0.0.1:2269 --concurrency 12 --duration 40s
  crescendo load --url http://127.0.0.1:2269 --rate 2..20/30s,5/1m --plot load.svg --engine http://127.0.0.1:9090
  crescendo load --url http://127.0.0.1:2269 --rate 5 --output json speech/*.wav";

/// Arguments of `load`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LoadArgs {
    /// The server, as `http://HOST:PORT`; without a path, OpenAI's path for transcriptions.
    #[arg(long)]
    url: String,
    /// Clients that each send one request after the other, on a connection of their own.
    #[arg(long, conflicts_with = "rate", required_unless_present = "rate", help_heading = "Load")]
    concurrency: Option<usize>,
    /// Requests a second, due whether or not earlier ones are answered: `5`, a step `5/1m`, a ramp `2..20/30s`,
    /// several by comma.
    #[arg(long, value_parser = Rate::parse, help_heading = "Load")]
    rate: Option<Rate>,
    /// Requests at equal distances, instead of by chance (Poisson).
    #[arg(long, requires = "rate", help_heading = "Load")]
    even: bool,
    /// Decides the chance: the same seed, the same arrivals.
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    seed: u64,
    /// The most requests under way with `--rate`; those due beyond it are counted as shed, not sent.
    #[arg(long, default_value_t = 1000, help_heading = "Load")]
    max_in_flight: usize,
    /// How long requests are begun.
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Load")]
    duration: Duration,
    /// How long a request may take, from when it was due.
    #[arg(long, default_value = "1m", value_parser = parse_duration, help_heading = "Load")]
    timeout: Duration,
    /// The form's `model`.
    #[arg(long, default_value = "whisper-1", help_heading = "Request")]
    model: String,
    /// The form's `language`.
    #[arg(long, help_heading = "Request")]
    language: Option<String>,
    /// Sent as bearer token.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, help_heading = "Request")]
    api_key: Option<String>,
    /// Table or JSON.
    #[arg(short, long, value_enum, default_value_t, help_heading = "Report")]
    output: OutputFormat,
    /// Also draw the run into this file, as SVG.
    #[arg(long, help_heading = "Report")]
    plot: Option<PathBuf>,
    /// Below the run, also draw what this Prometheus-compatible engine saw meanwhile.
    #[arg(long, value_name = "URL", requires = "plot", help_heading = "Report")]
    engine: Option<String>,
    /// What it is asked, as `TITLE=EXPRESSION`; by default the replicas, and how long requests waited in the queue.
    #[arg(long, value_parser = ObservedPanel::parse, requires = "engine", help_heading = "Report")]
    panel: Vec<ObservedPanel>,
    /// Recordings or folders of them; a text of the same name (`x.wav`, `x.txt`) gives the word error rate. Without
    /// any, the recording that is built in.
    recordings: Vec<PathBuf>,
}

/// Runs the load. Not fine when a request failed.
///
/// # Errors
///
/// The arguments cannot be run, or a file cannot be read or written.
pub async fn run(args: LoadArgs, printer: Printer) -> Result<Outcome> {
    let (output, plot) = (args.output, args.plot.clone());
    let (engine, mut panels) = (args.engine.clone(), args.panel.clone());
    let config = config(args)?;
    let shutdown = CancellationToken::new();
    let progress = |progress: &Progress| {
        if printer.progress() {
            printer.status(&status(progress));
        }
    };
    let start = SystemClock.now();
    let running = load::run(config, progress, shutdown.clone());
    tokio::pin!(running);
    let report = tokio::select! {
        report = &mut running => report?,
        () = signals::stop() => {
            shutdown.cancel();
            running.await?
        }
    };
    if printer.progress() {
        printer.status("");
    }
    match output {
        OutputFormat::Table => printer.data(report.table().trim_end())?,
        OutputFormat::Json => printer.data(&serde_json::to_string_pretty(&report)?)?,
    }
    if let Some(path) = plot {
        let mut chart = report.chart();
        if let Some(engine) = engine {
            if panels.is_empty() {
                panels = ObservedPanel::defaults();
            }
            let elapsed = Duration::from_secs_f64(report.elapsed_seconds);
            chart.panels.extend(load::observe(&engine, &panels, start, elapsed).await?);
        }
        std::fs::write(&path, chart.to_svg()).with_context(|| format!("cannot write {}", path.display()))?;
        printer.say(&format!("drawn into {}", path.display()));
    }
    Ok(if report.failed == 0 { Outcome::Fine } else { Outcome::NotFine })
}

fn config(args: LoadArgs) -> Result<LoadConfig> {
    let clips = if args.recordings.is_empty() { Clips::sample() } else { Clips::read(&args.recordings)? };
    let mode = match (args.rate, args.concurrency) {
        (Some(rate), _) => Mode::OpenLoop {
            rate,
            spacing: if args.even { Spacing::Even } else { Spacing::Poisson },
            seed: args.seed,
            max_in_flight: args.max_in_flight,
        },
        (None, clients) => Mode::ClosedLoop { clients: clients.unwrap_or(1) },
    };
    Ok(LoadConfig {
        url: args.url,
        clips,
        mode,
        duration: args.duration,
        timeout: args.timeout,
        model: args.model,
        language: args.language,
        api_key: args.api_key.filter(|key| !key.is_empty()),
    })
}

fn status(progress: &Progress) -> String {
    let p95 = progress.p95.map_or_else(|| "–".to_owned(), |p95| format!("{:.2} s", p95.as_secs_f64()));
    let (seconds, requests, failed) = (progress.elapsed.as_secs(), progress.requests, progress.failed);
    let (under_way, shed) = (progress.in_flight, progress.shed);
    format!("{seconds:>4} s  {requests} requests, {under_way} under way, {failed} failed, {shed} shed, p95 {p95}")
}
