//! `crescendo tsdb`: what lies in a data folder, and the way to Prometheus and back.
//!
//! - `list`: segments or blocks. `analyze`: where the series come from. `dump`: samples as text.
//! - `copy`: `import` and `export` of Prometheus' blocks.
//!
//! Rule: these commands work on folders that no process has open; whoever has one is named.

mod analyze;
mod copy;
mod dump;
mod list;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ::tsdb::{Tsdb, TsdbOptions};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use datamodel::time::{SystemClock, TimeRange};
use datamodel::{Labels, Matcher, Timestamp, rfc3339};
use storage::{Queryable, Samples, SelectHints};

use super::Outcome;
use crate::printer::Printer;

/// Look into a data folder; take data over from Prometheus or hand it over.
#[derive(Debug, Subcommand)]
pub enum TsdbCommand {
    /// List the segments of a data folder, or the blocks of a folder of Prometheus.
    #[command(after_help = list::HELP)]
    List(list::ListArgs),
    /// Say where the series come from: metrics, labels, values.
    #[command(after_help = analyze::HELP)]
    Analyze(analyze::AnalyzeArgs),
    /// Print samples, one a line.
    #[command(after_help = dump::HELP)]
    Dump(dump::DumpArgs),
    /// Read blocks of Prometheus into a data folder.
    #[command(after_help = copy::IMPORT_HELP)]
    Import(copy::ImportArgs),
    /// Write samples as blocks of Prometheus.
    #[command(after_help = copy::EXPORT_HELP)]
    Export(copy::ExportArgs),
}

/// Runs a command.
///
/// # Errors
///
/// A folder cannot be read or written, or is in use.
pub fn run(command: &TsdbCommand, printer: Printer) -> Result<Outcome> {
    match command {
        TsdbCommand::List(args) => list::run(args, printer),
        TsdbCommand::Analyze(args) => analyze::run(args, printer),
        TsdbCommand::Dump(args) => dump::run(args, printer),
        TsdbCommand::Import(args) => copy::import(args, printer),
        TsdbCommand::Export(args) => copy::export(args, printer),
    }
}

/// Which samples.
#[derive(Debug, Args)]
struct Selection {
    /// From here on: seconds since 1970, or a date as in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant, allow_negative_numbers = true)]
    min_time: Option<Timestamp>,
    /// Up to here.
    #[arg(long, value_name = "TIME", value_parser = instant, allow_negative_numbers = true)]
    max_time: Option<Timestamp>,
    /// Only series that match, as `{job="asr"}`; those that match any, if it is given more than once.
    #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
    matches: Vec<Selector>,
}

/// The matchers of a selector.
#[derive(Clone, Debug)]
struct Selector(Vec<Matcher>);

impl Selection {
    fn range(&self) -> TimeRange {
        TimeRange { start: self.min_time.unwrap_or(Timestamp::MIN), end: self.max_time.unwrap_or(Timestamp::MAX) }
    }

    /// The selectors; one that takes all, where none is given.
    fn selectors(&self) -> Vec<Vec<Matcher>> {
        if self.matches.is_empty() {
            return vec![Vec::new()];
        }
        self.matches.iter().map(|selector| selector.0.clone()).collect()
    }

    /// Hands out each selected series that has samples in the range, once, with these.
    fn each(&self, tsdb: &Tsdb, mut take: impl FnMut(&Labels, &Samples) -> Result<()>) -> Result<()> {
        let (range, selectors) = (self.range(), self.selectors());
        let querier = tsdb.querier(range)?;
        let (mut seen, mut samples) = (HashSet::new(), Samples::default());
        for matchers in &selectors {
            let mut set = querier.select(matchers, &SelectHints::default())?;
            while let Some(series) = set.next() {
                let series = series?;
                // Only several selectors can name a series twice.
                if selectors.len() > 1 && !seen.insert(series.labels().clone()) {
                    continue;
                }
                samples.clear();
                series.read(range, &mut samples)?;
                if !samples.is_empty() {
                    take(series.labels(), &samples)?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    // A float becomes the nearest whole number in the range.
    let unix = seconds.map(|seconds| Timestamp::from_unix_ms((seconds * 1000.0).round() as i64));
    unix.or_else(|| rfc3339::parse_rfc3339(text))
        .ok_or_else(|| "neither seconds since 1970 nor a date as in RFC 3339".to_owned())
}

fn selector(text: &str) -> Result<Selector, String> {
    ::promql::parse_selector(text).map(Selector).map_err(|error| error.to_string())
}

/// An instant for people.
fn date(unix_ms: i64) -> String {
    rfc3339::format_rfc3339(Timestamp::from_unix_ms(unix_ms))
}

/// Whether a folder is one of ours.
fn is_ours(folder: &Path) -> bool {
    folder.join("segments").is_dir()
}

/// Opens a data folder that is there; nothing in it is ever too old.
fn open(folder: &Path) -> Result<Tsdb> {
    ensure!(is_ours(folder), "no data folder of this program: {} (there is no `segments` in it)", folder.display());
    create(folder)
}

/// Opens a data folder, or begins one.
fn create(folder: &Path) -> Result<Tsdb> {
    let options = TsdbOptions { retention_time: None, ..TsdbOptions::new(folder) };
    let (tsdb, report) = Tsdb::open(options, Arc::new(SystemClock)).context("cannot open the data folder")?;
    for damage in &report.damage {
        tracing::warn!(?damage, "the data are damaged; everything else was read");
    }
    Ok(tsdb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        assert_eq!(instant("1.5"), Ok(Timestamp::from_unix_ms(1500)));
        assert_eq!(instant("-2"), Ok(Timestamp::from_unix_ms(-2000)));
        assert_eq!(instant("2026-11-24T00:00:00Z").map(Timestamp::unix_ms), Ok(1_795_478_400_000));
        assert!(instant("yesterday").is_err());
        assert!(instant("NaN").is_err());
        assert!(selector("{job=\"a\"}").is_ok());
        assert!(selector("sum(a)").is_err());
    }
}
