//! `crescendo tsdb import` and `export`: blocks of Prometheus in and out.
//!
//! Rule: what was done until an error is said, and stays.

use std::path::PathBuf;
use std::time::Duration;

use ::tsdb::{BlockInfo, ExportOptions, Progress, list_blocks};
use anyhow::{Context, Result, ensure};
use clap::Args;
use datamodel::Clock;
use datamodel::time::{SystemClock, parse_duration};
use serde_json::json;

use super::super::Outcome;
use super::list::table;
use super::{Selection, create, date, open};
use crate::printer::{OutputFormat, Printer};
use crate::progress::Bar;

/// What stands below the options of `import` in the help.
pub(super) const IMPORT_HELP: &str = "Example:
  crescendo tsdb import data/ /var/lib/prometheus/metrics2

A folder is a block, or a folder with blocks. What a server keeps follows its own retention.
The shape of `--output json`:
  {\"blocks\": [{\"ulid\", \"samples\", \"series\", \"bytes\"}]}, with the bytes of the segment that was made.";

/// What stands below the options of `export` in the help.
pub(super) const EXPORT_HELP: &str = "Example:
  crescendo tsdb export data/ blocks/ --min-time 2026-11-01T00:00:00Z

Copy the folders of the blocks into the data folder of a Prometheus, or hand them to Thanos.
The shape of `--output json`:
  {\"blocks\": [{\"ulid\", \"path\", \"min_time_ms\", \"max_time_ms\", \"samples\", \"series\", \"chunks\", \"bytes\"}]}";

/// Arguments of `tsdb import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The data folder; created where it is not there.
    folder: PathBuf,
    /// Blocks of Prometheus, or folders with blocks.
    #[arg(required = true)]
    blocks: Vec<PathBuf>,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Arguments of `tsdb export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The data folder.
    folder: PathBuf,
    /// Where the blocks are put; created where it is not there.
    to: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// What a block covers: Prometheus makes blocks of 2 h, 6 h, 18 h and so on.
    #[arg(long, default_value = "18h", value_parser = duration)]
    block_duration: Duration,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("a block covers some time".to_owned()) } else { Ok(duration) }
}

/// A step of the bar.
fn show(bar: &mut Bar, what: &str, progress: Progress) {
    bar.at(what, progress.done, Some(progress.total));
}

/// Reads blocks.
pub(super) fn import(args: &ImportArgs, printer: Printer) -> Result<Outcome> {
    let mut blocks = Vec::new();
    for folder in &args.blocks {
        if folder.join("meta.json").is_file() {
            blocks.push(folder.clone());
            continue;
        }
        let found = list_blocks(folder)?;
        ensure!(!found.is_empty(), "no block of Prometheus in {}", folder.display());
        blocks.extend(found.into_iter().map(|block| block.path));
    }
    let tsdb = create(&args.folder)?;
    let mut bar = Bar::new(printer);
    let mut imported = Vec::new();
    for (number, path) in blocks.iter().enumerate() {
        let what = format!("block {} of {}", number + 1, blocks.len());
        let result = tsdb.import_block(path, &mut |progress| show(&mut bar, &what, progress));
        let done = result.with_context(|| {
            let name = path.display();
            format!("cannot import {name}; {number} of {} blocks were imported before it", blocks.len())
        })?;
        imported.push(done);
    }
    bar.clear();
    tsdb.close()?;
    let text = if args.output == OutputFormat::Json {
        let each = imported.iter().map(|done| {
            json!({ "ulid": done.block.ulid, "samples": done.samples, "series": done.series, "bytes": done.bytes })
        });
        json!({ "blocks": each.collect::<Vec<_>>() }).to_string()
    } else {
        let mut rows = vec![["BLOCK", "SAMPLES", "SERIES", "BYTES NOW", "BYTES BEFORE"].map(str::to_owned)];
        rows.extend(imported.iter().map(|done| {
            [
                done.block.ulid.clone(),
                done.samples.to_string(),
                done.series.to_string(),
                done.bytes.to_string(),
                done.block.bytes.to_string(),
            ]
        }));
        table(&rows)
    };
    printer.data(&text)?;
    Ok(Outcome::Fine)
}

/// Writes blocks.
pub(super) fn export(args: &ExportArgs, printer: Printer) -> Result<Outcome> {
    let mut selectors = args.selection.selectors();
    ensure!(selectors.len() == 1, "`export` takes one `--match`: join the selectors in one regular expression");
    let tsdb = open(&args.folder)?;
    let options = ExportOptions {
        range: args.selection.range(),
        matchers: selectors.pop().unwrap_or_default(),
        block: args.block_duration,
        now: SystemClock.now(),
    };
    let mut bar = Bar::new(printer);
    let result = tsdb.export_blocks(&args.to, &options, &mut |progress| show(&mut bar, "blocks", progress));
    bar.clear();
    let blocks = result.context("cannot export")?;
    let custom: u64 = blocks.iter().map(|block| block.custom_histograms).sum();
    if custom > 0 {
        printer.say(&format!("{custom} histograms have custom buckets: Prometheus reads them from version 3.0 on"));
    }
    printer.data(&exported(&blocks, args.output))?;
    Ok(if blocks.is_empty() { Outcome::NotFine } else { Outcome::Fine })
}

fn exported(blocks: &[BlockInfo], output: OutputFormat) -> String {
    if output == OutputFormat::Json {
        let each = blocks.iter().map(|block| {
            json!({
                "ulid": block.ulid, "path": block.path.display().to_string(),
                "min_time_ms": block.min_ms, "max_time_ms": block.max_ms,
                "samples": block.samples, "series": block.series, "chunks": block.chunks, "bytes": block.bytes,
            })
        });
        return json!({ "blocks": each.collect::<Vec<_>>() }).to_string();
    }
    let mut rows = vec![["BLOCK", "FIRST", "LAST", "SAMPLES", "SERIES", "BYTES"].map(str::to_owned)];
    rows.extend(blocks.iter().map(|block| {
        [
            block.ulid.clone(),
            date(block.min_ms),
            date(block.max_ms.saturating_sub(1)),
            block.samples.to_string(),
            block.series.to_string(),
            block.bytes.to_string(),
        ]
    }));
    table(&rows)
}
