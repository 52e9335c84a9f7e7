//! `crescendo check`: is a file right, without running anything.
//!
//! Rule: what is wrong is data on stdout; what is only doubtful is talk on stderr.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hpa::manifest::HorizontalPodAutoscaler;

use super::lint::{LintArgs, lint_hpa, mapping_queries, report};
use super::query::Target;
use super::{Outcome, check_config, check_metrics, check_rules, check_server};
use crate::printer::Printer;

/// Check files, without running anything. Exit code 1: not fine.
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Check manifests of Horizontal Pod Autoscalers (autoscaling/v2): all errors at once, with line and key.
    #[command(after_help = "Example:\n  crescendo check hpa manifests/lightning-asr-hpa.yaml")]
    Hpa(HpaArgs),
    /// Check rule files: all errors at once, and what in them breaks scaling.
    #[command(after_help = check_rules::HELP)]
    Rules(check_rules::CheckRulesArgs),
    /// Check a prometheus.yml with the rule files and scrape files that it names, as `server` does.
    #[command(after_help = check_config::HELP)]
    Config(check_config::ConfigArgs),
    /// Check a page of metrics from stdin, by the rules of its format and of good names.
    #[command(after_help = check_metrics::HELP)]
    Metrics(check_metrics::MetricsArgs),
    /// Check files for `--web.config.file`: TLS and users of a listener.
    #[command(after_help = check_server::WEB_CONFIG_HELP)]
    WebConfig(check_server::WebConfigArgs),
    /// Ask a server whether it is healthy.
    #[command(after_help = check_server::HEALTHY_HELP)]
    Healthy(Target),
    /// Ask a server whether it answers queries.
    #[command(after_help = check_server::READY_HELP)]
    Ready(Target),
}

/// Arguments of `check hpa`.
#[derive(Debug, Args)]
pub struct HpaArgs {
    /// The manifests.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lint: LintArgs,
    /// The mapping rules of the metrics API, so that a metric's query is looked at and not its name alone.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
}

/// Runs a check.
///
/// # Errors
///
/// A file cannot be read. A file that is wrong is no error but an outcome.
pub async fn run(command: &CheckCommand, printer: Printer) -> Result<Outcome> {
    match command {
        CheckCommand::Hpa(args) => check_hpa(args, printer),
        CheckCommand::Rules(args) => check_rules::run(args, printer).await,
        CheckCommand::Config(args) => check_config::run(args, printer).await,
        CheckCommand::Metrics(args) => check_metrics::run(args, printer),
        CheckCommand::WebConfig(args) => check_server::check_web_config(args, printer),
        CheckCommand::Healthy(target) => check_server::ask(target, "healthy", printer).await,
        CheckCommand::Ready(target) => check_server::ask(target, "ready", printer).await,
    }
}

fn check_hpa(args: &HpaArgs, printer: Printer) -> Result<Outcome> {
    let selection = args.lint.selection("all")?;
    let queries = match &args.mapping {
        Some(path) => mapping_queries(&path.display().to_string(), &read(path)?)?,
        None => Vec::new(),
    };
    let mut all_good = true;
    let mut findings = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        match HorizontalPodAutoscaler::parse(&name, &read(path)?) {
            Ok(hpa) => {
                printer.data(&format!("{name}: fine"))?;
                findings.extend(lint_hpa(&name, &hpa, &queries));
            }
            Err(errors) => {
                all_good = false;
                printer.data(&errors.to_string())?;
            }
        }
    }
    findings.retain(|finding| selection.contains(finding.check));
    let lint = report(&findings, args.lint.is_fatal(), printer);
    Ok(if all_good { lint } else { Outcome::NotFine })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
