//! `crescendo query instant`.

use anyhow::Result;
use clap::Args;
use datamodel::Clock;
use datamodel::time::SystemClock;
use remote::client::{ElementValue, QueryValue, VectorElement};
use serde_json::{Value, json};

use super::super::Outcome;
use super::{Moment, Target, columns, moment, number, object, tell};
use crate::printer::{OutputFormat, Printer};

/// What stands below the options in the help.
pub(super) const HELP: &str = "Examples:
  crescendo query instant 'sum by (pod) (rate(asr_total_requests[1m]))'
  crescendo query instant --time -1h -o json up

The shape of `--output json`; numbers are texts, as NaN is none in JSON:
  {\"result\": [{\"labels\", \"time_ms\", \"value\"} or {\"labels\", \"time_ms\", \"count\", \"sum\"}],
   \"warnings\", \"infos\"}
A scalar has no labels; a range vector is asked for with `query range`.";

/// Arguments of `query instant`.
#[derive(Debug, Args)]
pub struct InstantArgs {
    /// The expression.
    expression: String,
    /// When: seconds since 1970, a date as in RFC 3339, or a time before now such as `-1h`; default: now.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    time: Option<Moment>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    #[command(flatten)]
    target: Target,
}

/// Asks and prints.
pub(super) async fn run(args: &InstantArgs, printer: Printer) -> Result<Outcome> {
    let now = SystemClock.now();
    let at = args.time.map_or(now, |moment| moment.at(now));
    let client = args.target.client()?;
    let answer = args.target.asked(client.query(&args.expression, at, args.target.timeout()).await)?;
    tell(&answer, printer);
    let (rows, found) = match &answer.value {
        QueryValue::Vector(elements) => (elements.iter().map(row).collect(), elements.iter().map(tree).collect()),
        QueryValue::Scalar(sample) => {
            let value = number(sample.value);
            let tree = json!({"time_ms": sample.timestamp.unix_ms(), "value": value});
            (vec![vec![value]], vec![tree])
        }
        QueryValue::String(text) => (vec![vec![text.clone()]], vec![json!({"value": text})]),
        QueryValue::Matrix(series) => {
            let rows = series.iter().flat_map(|series| {
                let name = series.labels.to_string();
                series.samples.iter().map(move |sample| {
                    vec![name.clone(), number(sample.value), datamodel::rfc3339::format_rfc3339(sample.timestamp)]
                })
            });
            (rows.collect(), series.iter().map(super::range::tree).collect())
        }
    };
    let is_empty = rows.is_empty();
    if args.output == OutputFormat::Json {
        let all = json!({"result": found, "warnings": answer.warnings, "infos": answer.infos});
        printer.data(&all.to_string())?;
    } else if !is_empty {
        printer.data(&columns(&rows))?;
    }
    Ok(if is_empty { Outcome::NotFine } else { Outcome::Fine })
}

fn row(element: &VectorElement) -> Vec<String> {
    let value = match element.value {
        ElementValue::Float(value) => number(value),
        ElementValue::Histogram { count, sum } => format!("count {}, sum {}", number(count), number(sum)),
    };
    vec![element.labels.to_string(), value]
}

fn tree(element: &VectorElement) -> Value {
    let (labels, time_ms) = (object(&element.labels), element.at.unix_ms());
    match element.value {
        ElementValue::Float(value) => json!({"labels": labels, "time_ms": time_ms, "value": number(value)}),
        ElementValue::Histogram { count, sum } => {
            json!({"labels": labels, "time_ms": time_ms, "count": number(count), "sum": number(sum)})
        }
    }
}
