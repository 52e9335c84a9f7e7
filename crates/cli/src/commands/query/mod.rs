//! `crescendo query`: ask a server, ours or any that speaks Prometheus' HTTP API.
//!
//! - `instant`: an expression at a time. `range`: over a range, as lines, JSON or a chart. `lists`: series and labels.
//! - [`Target`]: which server, and how it is reached.
//!
//! Rule: stdout is the answer, stderr what the server says about it; exit code 1 where nothing is found.

mod instant;
mod lists;
mod range;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use datamodel::Clock;
use datamodel::time::{SystemClock, TimeRange, parse_duration};
use datamodel::{Labels, Timestamp};
use http_client::{HttpClientConfig, http_client_config};
use remote::client::{Answer, BaseUrl, Client, ClientOptions};
use serde_json::{Map, Value, json};

use super::Outcome;
use crate::printer::Printer;

/// Ask a server that speaks Prometheus' HTTP API. Exit code 1: nothing was found.
#[derive(Debug, Subcommand)]
pub enum QueryCommand {
    /// Evaluate an expression at one instant.
    #[command(after_help = instant::HELP)]
    Instant(instant::InstantArgs),
    /// Evaluate an expression over a range.
    #[command(after_help = range::HELP)]
    Range(range::RangeArgs),
    /// List the series that selectors choose.
    #[command(after_help = lists::SERIES_HELP)]
    Series(lists::SeriesArgs),
    /// List label names, or the values of one label.
    #[command(after_help = lists::LABELS_HELP)]
    Labels(lists::LabelsArgs),
}

/// Runs a command.
///
/// # Errors
///
/// The server cannot be asked, or refuses.
pub async fn run(command: &QueryCommand, printer: Printer) -> Result<Outcome> {
    match command {
        QueryCommand::Instant(args) => instant::run(args, printer).await,
        QueryCommand::Range(args) => range::run(args, printer).await,
        QueryCommand::Series(args) => lists::series(args, printer).await,
        QueryCommand::Labels(args) => lists::labels(args, printer).await,
    }
}

/// Which server, and how it is reached.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct Target {
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    server: String,
    /// A file with the keys of Prometheus' `http_config`: credentials, TLS, proxies.
    #[arg(long = "http.config.file", value_name = "FILE")]
    http_config: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl Target {
    /// How requests are sent.
    pub(super) fn http(&self) -> Result<HttpClientConfig> {
        self.http_config.as_deref().map_or_else(|| Ok(HttpClientConfig::default()), http_config)
    }

    pub(super) fn url(&self) -> Result<BaseUrl> {
        BaseUrl::parse(&self.server).context("`--server` is no URL of a server")
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    fn client(&self) -> Result<Client> {
        let options = ClientOptions { http: self.http()?, ..ClientOptions::new(self.url()?) };
        Ok(Client::new(options, http_client::ClientOptions::default()))
    }

    /// Says where the question went, if it fails.
    fn asked<T>(&self, answer: Result<T, remote::ClientError>) -> Result<T> {
        answer
            .with_context(|| format!("cannot ask {}", self.url().map_or_else(|_| String::new(), |url| url.to_string())))
    }
}

/// Reads a file with the keys of `http_config`.
pub(super) fn http_config(path: &Path) -> Result<HttpClientConfig> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let config = yaml::decode(&path.display().to_string(), &text, |node, report| {
        yaml::mapping(node, report, |fields| Some(http_client_config(fields, directory)))
    })?;
    Ok(config)
}

/// A part of time.
#[derive(Clone, Copy, Debug, Args)]
struct Span {
    /// From here on: seconds since 1970, a date as in RFC 3339, or a time before now such as `-1h`.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    start: Option<Moment>,
    /// Up to here; default: now.
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    end: Option<Moment>,
}

impl Span {
    /// The bounds; `default` is how much is asked for where no start is given.
    fn range(self, default: Duration) -> TimeRange {
        let now = SystemClock.now();
        let end = self.end.map_or(now, |moment| moment.at(now));
        TimeRange { start: self.start.map_or(end.saturating_sub(default), |moment| moment.at(now)), end }
    }
}

/// An instant, or a distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.saturating_sub(ago),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Some(ago) = text.strip_prefix('-').and_then(|ago| parse_duration(ago).ok()) {
        return Ok(Moment::Ago(ago));
    }
    super::tsdb::instant(text)
        .map(Moment::At)
        .map_err(|problem| format!("{problem}, nor a time before now such as `-1h`"))
}

fn selector(text: &str) -> Result<Selector, String> {
    promql::parse_selector(text).map(Selector).map_err(|error| error.to_string())
}

/// The matchers of a selector.
#[derive(Clone, Debug)]
struct Selector(Vec<datamodel::Matcher>);

/// Tells what the server says about its answer.
fn tell<T>(answer: &Answer<T>, printer: Printer) {
    answer.warnings.iter().for_each(|warning| printer.say(&format!("warning: {warning}")));
    answer.infos.iter().for_each(|info| printer.say(&format!("info: {info}")));
}

fn object(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>())
}

/// A float as the API writes it: a text, so that NaN and infinities survive.
fn number(value: f64) -> String {
    let mut text = String::new();
    datamodel::float::write_api(&mut text, value);
    text
}

/// Columns as wide as their widest cell.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_instants_or_times_before_now() {
        assert_eq!(moment("-1h"), Ok(Moment::Ago(Duration::from_secs(3600))));
        assert_eq!(moment("1.5"), Ok(Moment::At(Timestamp::from_unix_ms(1500))));
        assert_eq!(moment("-5"), Ok(Moment::At(Timestamp::from_unix_ms(-5000))));
        assert!(moment("yesterday").unwrap_err().ends_with("nor a time before now such as `-1h`"));
        let now = Timestamp::from_unix_ms(10_000);
        assert_eq!(Moment::Ago(Duration::from_secs(4)).at(now), Timestamp::from_unix_ms(6_000));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(columns(&rows), "a     1\nlong  22");
    }
}
