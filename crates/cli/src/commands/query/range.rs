//! `crescendo query range`: lines with a sparkline, JSON, or a chart.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use datamodel::time::{TimeRange, duration_ms, parse_duration};
use plot::{Chart, Panel, Point, Series, Style, TimeLabels, sparkline};
use remote::client::{MatrixElement, QueryValue};
use serde_json::{Value, json};

use super::super::Outcome;
use super::{Span, Target, columns, number, object, tell};
use crate::printer::Printer;

/// What stands below the options in the help.
pub(super) const HELP: &str = "Examples:
  crescendo query range 'sum(asr_active_requests)' --start -1h
  crescendo query range 'rate(asr_total_requests[1m])' --start -6h --step 1m -o svg > rate.svg

The shape of `--output json`; numbers are texts, as NaN is none in JSON:
  {\"result\": [{\"labels\", \"values\": [[time_ms, value]], \"histograms\": [[time_ms, count, sum]]}],
   \"warnings\", \"infos\"}";

/// Points of a series where no step is given: more than a terminal or a chart shows.
const POINTS: u32 = 240;
/// Characters of a sparkline.
const SPARKLINE: usize = 40;
const WIDTH_PX: u32 = 960;
const HEIGHT_PX: u32 = 320;

/// How a range is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum RangeOutput {
    /// A line for each series: least, most and last value, and a sparkline.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// A chart.
    Svg,
}

/// Arguments of `query range`.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// The expression.
    expression: String,
    /// The part of time; default: the last hour.
    #[command(flatten)]
    span: Span,
    /// Time between two points; default: the range in 240 parts, at least 1s.
    #[arg(long, value_parser = parse_duration)]
    step: Option<Duration>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: RangeOutput,
    #[command(flatten)]
    target: Target,
}

/// Asks and prints.
pub(super) async fn run(args: &RangeArgs, printer: Printer) -> Result<Outcome> {
    let range = args.span.range(Duration::from_secs(3600));
    if range.end < range.start {
        bail!("`--end` is before `--start`");
    }
    let step = args.step.unwrap_or_else(|| (range.end.since(range.start) / POINTS).max(Duration::from_secs(1)));
    if duration_ms(step) == 0 {
        bail!("`--step` must be at least 1ms");
    }
    let client = args.target.client()?;
    let answer = client.query_range(&args.expression, range, step, args.target.timeout()).await;
    let answer = args.target.asked(answer)?;
    tell(&answer, printer);
    let QueryValue::Matrix(series) = &answer.value else { bail!("the server answers a range with something else") };
    match args.output {
        RangeOutput::Table if series.is_empty() => {}
        RangeOutput::Table => printer.data(&table(series))?,
        RangeOutput::Json => {
            let result: Vec<Value> = series.iter().map(tree).collect();
            printer.data(&json!({"result": result, "warnings": answer.warnings, "infos": answer.infos}).to_string())?;
        }
        RangeOutput::Svg => printer.data(&chart(&args.expression, series, range, step).to_svg())?,
    }
    if series.len() > plot::MAX_SERIES && args.output == RangeOutput::Svg {
        printer.say(&format!("the chart shows {} of {} series", plot::MAX_SERIES, series.len()));
    }
    Ok(if series.is_empty() { Outcome::NotFine } else { Outcome::Fine })
}

/// Times and values; of a native histogram the count of its observations.
fn points(series: &MatrixElement) -> Vec<Point> {
    let floats = series.samples.iter().map(|sample| Point { at: sample.timestamp, value: sample.value });
    let counts = series.histograms.iter().map(|(at, count, _)| Point { at: *at, value: *count });
    let mut points: Vec<Point> = floats.chain(counts).collect();
    points.sort_by_key(|point| point.at);
    points
}

fn table(series: &[MatrixElement]) -> String {
    let mut rows = vec![["SERIES", "MIN", "MAX", "LAST", "TREND"].map(str::to_owned).to_vec()];
    rows.extend(series.iter().map(|series| {
        let values: Vec<f64> = points(series).iter().map(|point| point.value).collect();
        let bound = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).map_or_else(String::new, number);
        let last = values.last().copied().map_or_else(String::new, number);
        vec![series.labels.to_string(), bound(f64::min), bound(f64::max), last, sparkline(&values, SPARKLINE)]
    }));
    columns(&rows)
}

/// A series as JSON.
pub(super) fn tree(series: &MatrixElement) -> Value {
    let values: Vec<Value> =
        series.samples.iter().map(|sample| json!([sample.timestamp.unix_ms(), number(sample.value)])).collect();
    let histograms = series.histograms.iter();
    let histograms: Vec<Value> =
        histograms.map(|(at, count, sum)| json!([at.unix_ms(), number(*count), number(*sum)])).collect();
    json!({"labels": object(&series.labels), "values": values, "histograms": histograms})
}

fn chart(expression: &str, series: &[MatrixElement], range: TimeRange, step: Duration) -> Chart {
    let drawn = series.iter().take(plot::MAX_SERIES).map(|series| Series {
        name: series.labels.to_string(),
        style: Style::Line,
        points: points(series),
        max_gap: Some(step + step / 2),
    });
    Chart {
        title: expression.to_owned(),
        description: format!("{} series", series.len()),
        width_px: WIDTH_PX,
        range,
        time_labels: TimeLabels::Utc,
        panels: vec![Panel { height_px: HEIGHT_PX, series: drawn.collect(), ..Panel::default() }],
        markers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use datamodel::{Labels, Sample, Timestamp};

    use super::*;

    fn series() -> MatrixElement {
        let sample = |at, value| Sample { timestamp: Timestamp::from_unix_ms(at), value };
        MatrixElement {
            labels: Labels::from_pairs([("__name__", "a"), ("b", "c")]),
            samples: vec![sample(1000, 1.0), sample(2000, 4.0), sample(3000, f64::NAN)],
            histograms: Vec::new(),
        }
    }

    #[test]
    fn line_says_least_most_last_and_trend() {
        let text = table(&[series()]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["SERIES", "MIN", "MAX", "LAST", "TREND"]);
        assert_eq!(lines[1], ["a{b=\"c\"}", "1", "4", "NaN", "▃█"]);
    }

    #[test]
    fn json_keeps_what_is_no_number() {
        let tree = tree(&series());
        assert_eq!(tree["values"][2], json!([3000, "NaN"]));
        assert_eq!(tree["labels"], json!({"__name__": "a", "b": "c"}));
    }

    #[test]
    fn chart_names_series_and_expression() {
        let range = TimeRange { start: Timestamp::from_unix_ms(1000), end: Timestamp::from_unix_ms(3000) };
        let svg = chart("sum(a)", &[series()], range, Duration::from_secs(1)).to_svg();
        assert!(svg.starts_with("<svg") && svg.contains("sum(a)") && svg.contains("a{b=&quot;c&quot;}"), "{svg}");
    }
}
