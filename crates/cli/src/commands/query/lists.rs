//! `crescendo query series` and `crescendo query labels`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use datamodel::{Labels, Matcher};
use serde_json::{Value, json};

use super::super::Outcome;
use super::{Selector, Span, Target, object, selector, tell};
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const SERIES_HELP: &str = "Example:
  crescendo query series '{job=\"asr\"}' --start -1h

The shape of `--output json`:
  {\"series\": [labels], \"warnings\"}";

/// What stands below the options in the help.
pub(super) const LABELS_HELP: &str = "Examples:
  crescendo query labels
  crescendo query labels pod --match asr_total_requests

The shape of `--output json`:
  {\"values\": [text], \"warnings\"}";

/// How far back is looked where nothing is said: as Prometheus' pages do.
const DEFAULT_RANGE: Duration = Duration::from_secs(12 * 3600);

/// Arguments of `query series`.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// Selectors such as `up{job="asr"}`; series that any of them chooses.
    #[arg(required = true, value_parser = selector)]
    selectors: Vec<Selector>,
    #[command(flatten)]
    span: Span,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `query labels`.
#[derive(Debug, Args)]
pub struct LabelsArgs {
    /// A label whose values are listed; without it, the names of all labels are.
    name: Option<String>,
    /// Only on series that match; those that match any, if it is given more than once.
    #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
    matches: Vec<Selector>,
    #[command(flatten)]
    span: Span,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    target: Target,
}

fn matchers(selectors: &[Selector]) -> Vec<&[Matcher]> {
    selectors.iter().map(|selector| selector.0.as_slice()).collect()
}

/// Lists series.
pub(super) async fn series(args: &SeriesArgs, printer: Printer) -> Result<Outcome> {
    let (client, range) = (args.target.client()?, args.span.range(DEFAULT_RANGE));
    let mut found: Vec<Labels> = Vec::new();
    let take = |labels| {
        found.push(labels);
        Ok(())
    };
    let asked = client.series(&matchers(&args.selectors), Some(range), args.target.timeout(), take).await;
    let warnings = args.target.asked(asked)?;
    warnings.iter().for_each(|warning| printer.say(&format!("warning: {warning}")));
    if args.output == OutputFormat::Json {
        let series: Vec<Value> = found.iter().map(object).collect();
        printer.data(&json!({"series": series, "warnings": warnings}).to_string())?;
    } else {
        lines(found.iter().map(ToString::to_string), printer)?;
    }
    Ok(if found.is_empty() { Outcome::NotFine } else { Outcome::Fine })
}

/// Lists names or values.
pub(super) async fn labels(args: &LabelsArgs, printer: Printer) -> Result<Outcome> {
    let (client, range) = (args.target.client()?, Some(args.span.range(DEFAULT_RANGE)));
    let (matchers, timeout) = (matchers(&args.matches), args.target.timeout());
    let asked = match &args.name {
        Some(name) => client.label_values(name, &matchers, range, timeout).await,
        None => client.label_names(&matchers, range, timeout).await,
    };
    let answer = args.target.asked(asked)?;
    tell(&answer, printer);
    if args.output == OutputFormat::Json {
        printer.data(&json!({"values": answer.value, "warnings": answer.warnings}).to_string())?;
    } else {
        lines(answer.value.iter().cloned(), printer)?;
    }
    Ok(if answer.value.is_empty() { Outcome::NotFine } else { Outcome::Fine })
}

fn lines(lines: impl Iterator<Item = String>, printer: Printer) -> Result<()> {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        printer.data(&lines.join("\n"))?;
    }
    Ok(())
}
