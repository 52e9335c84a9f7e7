//! `crescendo tsdb list`: the files that hold the samples.

use std::path::PathBuf;

use ::tsdb::list_blocks;
use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::super::Outcome;
use super::{date, is_ours, open};
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const HELP: &str = "Example:
  crescendo tsdb list data/

The shape of `--output json`, for a data folder:
  {\"segments\": [{\"number\", \"level\", \"min_time_ms\", \"max_time_ms\", \"samples\", \"series\", \"bytes\"}],
   \"head\": {\"samples\", \"series\"}, \"wal_bytes\", \"bytes\"}
and for a folder of Prometheus, where `max_time_ms` is behind the last sample:
  {\"blocks\": [{\"ulid\", \"level\", \"min_time_ms\", \"max_time_ms\", \"samples\", \"series\", \"chunks\", \"bytes\"}]}";

/// Arguments of `tsdb list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A data folder, or a folder with blocks of Prometheus.
    folder: PathBuf,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Lists segments or blocks.
pub(super) fn run(args: &ListArgs, printer: Printer) -> Result<Outcome> {
    let text = if is_ours(&args.folder) { segments(args)? } else { blocks(args)? };
    printer.data(&text)?;
    Ok(Outcome::Fine)
}

fn segments(args: &ListArgs) -> Result<String> {
    let tsdb = open(&args.folder)?;
    let (segments, stats) = (tsdb.segments(), tsdb.stats());
    if args.output == OutputFormat::Json {
        let each = segments.iter().map(|segment| {
            json!({
                "number": segment.number, "level": segment.level,
                "min_time_ms": segment.min_ms, "max_time_ms": segment.max_ms,
                "samples": segment.samples, "series": segment.series, "bytes": segment.bytes,
            })
        });
        let head = json!({ "samples": stats.head_samples, "series": stats.head_series });
        let all = json!({
            "segments": each.collect::<Vec<_>>(), "head": head,
            "wal_bytes": stats.wal_bytes, "bytes": stats.disk_bytes,
        });
        return Ok(all.to_string());
    }
    let mut rows = vec![["SEGMENT", "LEVEL", "FIRST", "LAST", "SAMPLES", "SERIES", "BYTES"].map(str::to_owned)];
    rows.extend(segments.iter().map(|segment| {
        [
            segment.number.to_string(),
            segment.level.to_string(),
            date(segment.min_ms),
            date(segment.max_ms),
            segment.samples.to_string(),
            segment.series.to_string(),
            segment.bytes.to_string(),
        ]
    }));
    let (first, last) = stats.head_bounds_ms.map_or_else(Default::default, |(min, max)| (date(min), date(max)));
    let (samples, series) = (stats.head_samples.to_string(), stats.head_series.to_string());
    rows.push(["head".to_owned(), String::new(), first, last, samples, series, stats.wal_bytes.to_string()]);
    Ok(table(&rows))
}

fn blocks(args: &ListArgs) -> Result<String> {
    let blocks = list_blocks(&args.folder)?;
    if args.output == OutputFormat::Json {
        let each = blocks.iter().map(|block| {
            json!({
                "ulid": block.ulid, "level": block.level,
                "min_time_ms": block.min_ms, "max_time_ms": block.max_ms,
                "samples": block.samples, "series": block.series, "chunks": block.chunks, "bytes": block.bytes,
            })
        });
        return Ok(json!({ "blocks": each.collect::<Vec<_>>() }).to_string());
    }
    let mut rows = vec![["BLOCK", "LEVEL", "FIRST", "LAST", "SAMPLES", "SERIES", "BYTES"].map(str::to_owned)];
    rows.extend(blocks.iter().map(|block| {
        [
            block.ulid.clone(),
            block.level.to_string(),
            date(block.min_ms),
            date(block.max_ms.saturating_sub(1)),
            block.samples.to_string(),
            block.series.to_string(),
            block.bytes.to_string(),
        ]
    }));
    Ok(table(&rows))
}

/// Columns as wide as their widest cell.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
