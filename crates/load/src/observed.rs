//! What a Prometheus-compatible engine saw during a run, as panels under the run's own.
//!
//! - [`ObservedPanel`]: a title and an expression. [`observe`]: asks for them after the run.
//!
//! Rule: one range query for each panel; what an engine answers is bounded, and an engine that refuses is an
//! error with its words.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use datamodel::Timestamp;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use plot::{Panel, Point, Series, Style, Unit};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::config::LoadError;
use crate::transport;

/// The longest answer: a hundred series of ten thousand points.
const MAX_OBSERVED_BYTES: usize = 32 * 1024 * 1024;
/// As long as an engine may take for one panel.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Points of a panel: one for each pixel or so.
const MAX_POINTS: i64 = 960;

/// A panel that an engine fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPanel {
    /// Above the panel.
    pub title: String,
    /// `PromQL`; each series of the answer is a line.
    pub expression: String,
}

impl ObservedPanel {
    /// Reads `TITLE=EXPRESSION`.
    ///
    /// # Errors
    ///
    /// There is no `=`, or nothing on a side of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (title, expression) = text.split_once('=').unwrap_or((text, ""));
        if title.trim().is_empty() || expression.trim().is_empty() {
            return Err("expected `TITLE=EXPRESSION`".to_owned());
        }
        Ok(Self { title: title.trim().to_owned(), expression: expression.trim().to_owned() })
    }

    /// The two that explain a run against `crescendo up`: replicas, and how long requests waited.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let panel = |title: &str, expression: &str| Self { title: title.to_owned(), expression: expression.to_owned() };
        vec![
            panel("Replicas", "sum(kube_deployment_status_replicas_ready)"),
            panel(
                "Queue wait, p95",
                "histogram_quantile(0.95, sum by (le) (rate(asr_queue_wait_seconds_bucket[15s])))",
            ),
        ]
    }

    fn unit(&self) -> Unit {
        if self.expression.contains("_seconds") { Unit::Seconds } else { Unit::Number }
    }
}

/// Asks the engine at `engine` (`http://HOST:PORT`) what it saw from `start` on, for `elapsed`.
///
/// # Errors
///
/// The engine cannot be asked, or refuses an expression.
pub async fn observe(
    engine: &str,
    panels: &[ObservedPanel],
    start: Timestamp,
    elapsed: Duration,
) -> Result<Vec<Panel>, LoadError> {
    let connections = TaskTracker::new();
    let client = transport::client(&connections);
    let mut drawn = Vec::new();
    for panel in panels {
        let uri = range_query(engine, &panel.expression, start, elapsed)?;
        let failed = |reason: String| LoadError::Observe { engine: engine.to_owned(), reason };
        let answer = timeout(ANSWER_TIMEOUT, ask(&client, uri)).await;
        let answer = answer.map_err(|_elapsed| failed("no answer in 30 s".to_owned()))?.map_err(failed)?;
        drawn.push(draw(panel, &answer, start));
    }
    // Without a client, its connections close.
    drop(client);
    connections.close();
    connections.wait().await;
    Ok(drawn)
}

fn range_query(engine: &str, expression: &str, start: Timestamp, elapsed: Duration) -> Result<Uri, LoadError> {
    let start_ms = start.unix_ms();
    let span_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX).max(1000);
    let step_ms = (span_ms / MAX_POINTS).max(1000);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", expression)
        .append_pair("start", &seconds(start_ms))
        .append_pair("end", &seconds(start_ms.saturating_add(span_ms)))
        .append_pair("step", &seconds(step_ms))
        .finish();
    let uri = format!("{}/api/v1/query_range?{query}", engine.trim_end_matches('/'));
    uri.parse().map_err(|_invalid| LoadError::Url(engine.to_owned()))
}

fn seconds(unix_ms: i64) -> String {
    format!("{}.{:03}", unix_ms.div_euclid(1000), unix_ms.rem_euclid(1000))
}

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

async fn ask(client: &Client<HttpConnector, Full<Bytes>>, uri: Uri) -> Result<Vec<Line>, String> {
    let response = client.get(uri).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_OBSERVED_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| format!("{status}: {error}"))?;
    match (answer.error, answer.data) {
        (None, Some(data)) => Ok(data.result),
        (error, _) => Err(error.unwrap_or_else(|| format!("{status} without data"))),
    }
}

fn draw(panel: &ObservedPanel, lines: &[Line], start: Timestamp) -> Panel {
    let start_ms = start.unix_ms();
    let series = lines.iter().map(|line| {
        let name = if line.metric.is_empty() { panel.title.clone() } else { labels(&line.metric) };
        let point = |(at, value): &(f64, String)| {
            let at = Timestamp::from_unix_ms((at * 1000.0).round() as i64 - start_ms);
            value.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| Point { at, value })
        };
        let style = if panel.unit() == Unit::Number { Style::StepArea } else { Style::Line };
        Series { name, style, points: line.values.iter().filter_map(point).collect(), max_gap: None }
    });
    Panel { title: panel.title.clone(), unit: panel.unit(), series: series.collect(), ..Panel::default() }
}

fn labels(metric: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> = metric.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panel_reads_title_and_expression() {
        let panel = ObservedPanel::parse("Load = sum(rate(a{b=\"c\"}[1m]))").unwrap();
        assert_eq!(panel.title, "Load");
        assert_eq!(panel.expression, "sum(rate(a{b=\"c\"}[1m]))");
        assert!(ObservedPanel::parse("a").is_err());
        assert!(ObservedPanel::parse("=a").is_err());
    }

    #[test]
    fn times_of_an_answer_become_times_of_the_run() {
        let lines: Vec<Line> = serde_json::from_str(
            r#"[{"metric":{},"values":[[100.5,"1"],[101.5,"NaN"],[102.5,"3"]]},{"metric":{"pod":"a"},"values":[]}]"#,
        )
        .unwrap();
        let panel = ObservedPanel { title: "Replicas".to_owned(), expression: "count(up)".to_owned() };
        let drawn = draw(&panel, &lines, Timestamp::from_unix_ms(100_000));
        let points: Vec<_> = drawn.series[0].points.iter().map(|point| (point.at.unix_ms(), point.value)).collect();
        assert_eq!(points, [(500, 1.0), (2500, 3.0)]);
        assert_eq!(drawn.series[0].name, "Replicas");
        assert_eq!(drawn.series[1].name, "pod=a");
    }

    #[test]
    fn range_covers_the_run_in_at_most_960_points() {
        let uri =
            range_query("http://127.0.0.1:9090/", "up", Timestamp::from_unix_ms(1_500), Duration::from_secs(9_600));
        let uri = uri.unwrap().to_string();
        assert_eq!(uri, "http://127.0.0.1:9090/api/v1/query_range?query=up&start=1.500&end=9601.500&step=10.000");
    }
}
