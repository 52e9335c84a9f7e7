//! `crescendo tsdb analyze`: where the series come from, over everything that is stored.
//!
//! Rule: series are read one after the other; what is held is the distinct names, values and pairs, with a number each.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::super::Outcome;
use super::list::table;
use super::{Selection, open};
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const HELP: &str = "Example:
  crescendo tsdb analyze data/ --limit 5

The shape of `--output json`:
  {\"series\", \"samples\", \"bytes\", \"bytes_per_sample\", \"series_by_metric\": [{\"name\", \"value\"}],
   \"samples_by_metric\": […], \"values_by_label\": […], \"series_by_pair\": […]}
Lists are descending, at most `--limit` long.";

/// Arguments of `tsdb analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// The data folder.
    folder: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Rows of each list.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// How the result is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

#[derive(Debug, Default)]
struct Counts {
    series: u64,
    samples: u64,
    series_by_metric: HashMap<String, u64>,
    samples_by_metric: HashMap<String, u64>,
    values: HashMap<String, HashSet<String>>,
    series_by_pair: HashMap<String, u64>,
}

impl Counts {
    fn add(&mut self, labels: &datamodel::Labels, samples: u64) {
        self.series += 1;
        self.samples += samples;
        let metric = labels.metric_name().unwrap_or_default();
        *self.series_by_metric.entry(metric.to_owned()).or_default() += 1;
        *self.samples_by_metric.entry(metric.to_owned()).or_default() += samples;
        for (name, value) in labels {
            self.values.entry(name.to_owned()).or_default().insert(value.to_owned());
            *self.series_by_pair.entry(format!("{name}={value}")).or_default() += 1;
        }
    }
}

/// The largest numbers, and of equal ones the first names.
fn top(counts: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<(String, u64)> {
    let mut rows: Vec<(String, u64)> = counts.collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(limit);
    rows
}

/// Counts and prints.
pub(super) fn run(args: &AnalyzeArgs, printer: Printer) -> Result<Outcome> {
    let tsdb = open(&args.folder)?;
    let mut counts = Counts::default();
    args.selection.each(&tsdb, |labels, samples| {
        counts.add(labels, samples.len() as u64);
        Ok(())
    })?;
    let stats = tsdb.stats();
    let lists = [
        ("series_by_metric", "Series by metric", top(counts.series_by_metric.into_iter(), args.limit)),
        ("samples_by_metric", "Samples by metric", top(counts.samples_by_metric.into_iter(), args.limit)),
        (
            "values_by_label",
            "Values by label",
            top(counts.values.into_iter().map(|(name, values)| (name, values.len() as u64)), args.limit),
        ),
        ("series_by_pair", "Series by label and value", top(counts.series_by_pair.into_iter(), args.limit)),
    ];
    let stored = stats.sealed_samples + stats.head_samples;
    let per_sample = if stored == 0 { 0.0 } else { stats.disk_bytes as f64 / stored as f64 };
    let text = if args.output == OutputFormat::Json {
        let mut all = json!({
            "series": counts.series, "samples": counts.samples,
            "bytes": stats.disk_bytes, "bytes_per_sample": per_sample,
        });
        for (key, _, rows) in &lists {
            all[key] =
                rows.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<Value>>().into();
        }
        all.to_string()
    } else {
        let mut text = format!(
            "Series: {}\nSamples: {}\nBytes on disk: {} ({per_sample:.2} a sample)",
            counts.series, counts.samples, stats.disk_bytes
        );
        for (_, title, rows) in &lists {
            let rows: Vec<[String; 2]> = rows.iter().map(|(name, value)| [value.to_string(), name.clone()]).collect();
            text.push_str(&format!("\n\n{title}:\n{}", table(&rows)));
        }
        text
    };
    printer.data(&text)?;
    Ok(if counts.series == 0 { Outcome::NotFine } else { Outcome::Fine })
}
