//! `crescendo check`: is a file right, without running anything.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hpa::manifest::HorizontalPodAutoscaler;

use super::Outcome;
use crate::printer::Printer;

/// Check files, without running anything. Exit code 1: not fine.
#[derive(Debug, Subcommand)]
pub enum CheckCommand {
    /// Check manifests of Horizontal Pod Autoscalers (autoscaling/v2): all errors at once, with line and key.
    #[command(after_help = "Example:\n  crescendo check hpa manifests/lightning-asr-hpa.yaml")]
    Hpa(HpaArgs),
}

/// Arguments of `check hpa`.
#[derive(Debug, Args)]
pub struct HpaArgs {
    /// The manifests.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs a check.
///
/// # Errors
///
/// A file cannot be read. A file that is wrong is no error but an outcome.
pub fn run(command: &CheckCommand, printer: Printer) -> Result<Outcome> {
    match command {
        CheckCommand::Hpa(args) => check_hpa(args, printer),
    }
}

fn check_hpa(args: &HpaArgs, printer: Printer) -> Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for path in &args.files {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        match HorizontalPodAutoscaler::parse(&path.display().to_string(), &text) {
            Ok(_) => printer.data(&format!("{}: fine", path.display()))?,
            Err(errors) => {
                outcome = Outcome::NotFine;
                printer.data(&errors.to_string())?;
            }
        }
    }
    Ok(outcome)
}
