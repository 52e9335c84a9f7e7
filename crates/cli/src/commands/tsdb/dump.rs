//! `crescendo tsdb dump`: samples as text, one a line, as promtool's.
//!
//! Rule: one series at a time is in memory.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use datamodel::Labels;
use serde_json::{Map, Value, json};
use storage::Samples;

use super::super::Outcome;
use super::{Selection, open};
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const HELP: &str = "Example:
  crescendo tsdb dump data/ --match '{__name__=\"asr_active_requests\"}'

A line has the labels, the value and the time in milliseconds. The shape of `--output json`, one series a line:
  {\"labels\": {NAME: VALUE}, \"samples\": [[MILLISECONDS, \"VALUE\"]]}";

/// Arguments of `tsdb dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The data folder.
    folder: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Prints samples.
pub(super) fn run(args: &DumpArgs, printer: Printer) -> Result<Outcome> {
    let tsdb = open(&args.folder)?;
    let mut is_empty = true;
    args.selection.each(&tsdb, |labels, samples| {
        is_empty = false;
        Ok(printer.data(&text(labels, samples, args.output))?)
    })?;
    Ok(if is_empty { Outcome::NotFine } else { Outcome::Fine })
}

/// Times and values of a series, as text.
fn points(samples: &Samples) -> impl Iterator<Item = (i64, String)> {
    let mut histograms = samples.histograms.iter().peekable();
    samples.timestamps.iter().zip(&samples.values).enumerate().map(move |(index, (at, value))| {
        let text = match histograms.next_if(|(place, _)| *place == index) {
            Some((_, histogram)) => histogram.to_string(),
            None if datamodel::is_stale_nan(*value) => "StaleNaN".to_owned(),
            None => datamodel::float::format_g(*value),
        };
        (*at, text)
    })
}

fn text(labels: &Labels, samples: &Samples, output: OutputFormat) -> String {
    if output == OutputFormat::Table {
        let lines: Vec<String> = points(samples).map(|(at, value)| format!("{labels} {value} {at}")).collect();
        return lines.join("\n");
    }
    let names: Map<String, Value> = labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let points: Vec<Value> = points(samples).map(|(at, value)| json!([at, value])).collect();
    json!({ "labels": names, "samples": points }).to_string()
}
