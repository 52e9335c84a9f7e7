//! The same prometheus.yml, rules, samples and questions to Debian's Prometheus and to us.
//!
//! - `data`: samples by remote write. `queries`: expressions. `endpoints`: the other answers of the API.
//! - `answer`: when two answers are alike.
//!
//! Rule: whatever differs is named in a table with the change of Prometheus that explains it, or the test fails.

mod answer;
mod data;
mod endpoints;
mod queries;

use std::collections::BTreeSet;

use anyhow::Result;
use e2e::client::{Client, encode};
use e2e::peer::{self, Peer};
use e2e::server::{SOON, Server};
use e2e::target::Target;
use e2e::wait;
use serde_json::Value;

const PAGE: &str = "# HELP asr_active_requests Requests under way.\n# TYPE asr_active_requests gauge\n\
                    asr_active_requests{queue=\"a\"} 3\n\
                    # HELP asr_total_requests Requests that ended.\n# TYPE asr_total_requests counter\n\
                    asr_total_requests 12\n";

const RULES: &str = "\
groups:
- name: recorded
  interval: 1s
  rules:
  - record: job:asr_active_requests:sum
    expr: sum by (job) (asr_active_requests)
    labels: {team: speech}
- name: alerts
  interval: 1s
  rules:
  - alert: AlwaysThere
    expr: asr_active_requests > 2
    labels: {severity: page}
    annotations: {summary: '{{ $labels.queue }} has {{ $value }}'}
  - alert: Waits
    expr: asr_active_requests > 2
    for: 1h
  - alert: Never
    expr: asr_active_requests > 1000
";

const FLAGS: [&str; 5] = [
    "--web.external-url=http://metrics.example:9090/",
    "--web.enable-remote-write-receiver",
    "--web.enable-admin-api",
    "--storage.tsdb.retention.time=100y",
    "--enable-feature=native-histograms,promql-at-modifier",
];

/// Theirs, and ours.
struct Both {
    theirs: Peer,
    ours: Server,
    _target: Target,
    _folder: tempfile::TempDir,
}

impl Both {
    /// Starts both; none where there is no Prometheus.
    async fn start() -> Option<Self> {
        let Some(program) = peer::find("prometheus").unwrap() else {
            println!("not run: no prometheus in PATH; `make tools` gets it");
            return None;
        };
        let target = Target::start(PAGE).await.unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s, external_labels: {{zone: a}}}}\n\
             rule_files: [rules.yml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:1']}}]}}]}}\n\
             scrape_configs:\n\
             - job_name: asr\n  static_configs: [{{targets: ['{address}', 'gone.example:1'], labels: {{tier: gpu, job: own}}}}]\n\
             \x20 relabel_configs: [{{source_labels: [__address__], regex: gone.*, action: drop}}]\n\
             - job_name: refused\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n",
            address = target.address()
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
        let theirs = Peer::start_prometheus(&program, folder.path(), &config, &FLAGS).await.unwrap();
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join("rules.yml"), RULES).unwrap();
        std::fs::write(own.path().join("prometheus.yml"), config).unwrap();
        let ours = Server::start_in(own, &FLAGS).await.unwrap();
        Some(Self { theirs, ours, _target: target, _folder: folder })
    }

    fn clients(&self) -> [&Client; 2] {
        [&self.ours.web, &self.theirs.web]
    }

    /// Sends the same bodies to both.
    async fn fill(&self) {
        let (bodies, samples) = data::bodies();
        for client in self.clients() {
            for body in &bodies {
                let answer = client.write(body.clone()).await.unwrap();
                assert!(answer.status.is_success(), "{}: {}: {}", client.base(), answer.status, answer.text());
            }
        }
        println!("both were sent {samples} samples");
    }
}

/// The paths of a question in its forms: at an instant and over a range, by turns.
///
/// All instants are odd seconds, and steps multiples of 12: points of subqueries, which lie on multiples of their step,
/// are never on the edge of a range.
fn paths(index: usize, expression: &str) -> [String; 2] {
    let (first, last) = (data::START, data::START + data::ROWS * data::STEP);
    let query = encode(expression);
    let at = [first + 1931, first + 3613, first + 5447, last - 301][index % 4];
    let (start, end, step) =
        [(first + 607, last - 301, 84), (first + 1201, first + 2999, 12), (first + 1231, last + 601, 312)][index % 3];
    both_forms(&query, at, (start, end, step))
}

/// As [`paths`], at whole minutes.
fn paths_at_edges(expression: &str) -> [String; 2] {
    both_forms(&encode(expression), data::START + 660, (data::START + 600, data::START + 3600, 60))
}

fn both_forms(query: &str, at: i64, (start, end, step): (i64, i64, i64)) -> [String; 2] {
    [
        format!("/api/v1/query?query={query}&time={at}"),
        format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}"),
    ]
}

/// What both answer, as JSON, with the status.
async fn ask(both: &Both, path: &str) -> Result<[(u16, Value); 2]> {
    let mut answers = Vec::new();
    for client in both.clients() {
        let answer = client.get(path).await?;
        answers.push((answer.status.as_u16(), answer.json()?));
    }
    let answers: Result<[_; 2], _> = answers.try_into();
    answers.map_err(|_more| anyhow::anyhow!("two were asked"))
}

/// Names that are called in expressions.
fn called() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for expression in queries::EXPRESSIONS {
        // Letters, digits and underscores before a parenthesis or a space.
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut parts = expression.split(['(', ' ']).collect::<Vec<_>>();
        parts.pop();
        names.extend(parts.iter().filter_map(|before| before.rsplit(|c| !is_of_name(c)).next()).map(str::to_owned));
    }
    names
}

/// Functions and aggregations that Prometheus 2.42 and we have, found by asking both.
async fn known_to_both(both: &Both) -> Vec<String> {
    // Every name of both versions' documentation; who does not know one says so.
    let names = "abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max \
                 clamp_min cos cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv \
                 double_exponential_smoothing exp first_over_time floor histogram_avg histogram_count \
                 histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum holt_winters hour \
                 idelta increase info irate label_join label_replace last_over_time ln log10 log2 mad_over_time \
                 max_over_time min_over_time minute month pi predict_linear present_over_time quantile_over_time rad rate \
                 resets round scalar sgn sin sinh sort sort_by_label sort_by_label_desc sort_desc sqrt stddev_over_time \
                 stdvar_over_time sum_over_time tan tanh time timestamp ts_of_max_over_time vector year \
                 avg bottomk count count_values group limit_ratio limitk max min quantile stddev stdvar sum topk";
    let mut known = Vec::new();
    for name in names.split_whitespace() {
        let path = format!("/api/v1/query?query={}", encode(&format!("{name}()")));
        let answers = ask(both, &format!("{path}&time=0")).await.unwrap();
        let is_known = |answer: &(u16, Value)| {
            let error = answer.1["error"].as_str().unwrap_or_default();
            !error.contains("unknown function") && !error.contains("experimental")
        };
        if answers.iter().all(is_known) {
            known.push(name.to_owned());
        }
    }
    known
}

#[tokio::test]
async fn queries_are_answered_as_prometheus_answers_them() {
    let Some(both) = Both::start().await else { return };
    both.fill().await;

    let (mut asked, mut answered, mut differences) = (0_usize, 0_usize, Vec::new());
    for (index, expression) in queries::EXPRESSIONS.iter().enumerate() {
        for path in paths(index, expression) {
            let [(our_status, ours), (their_status, theirs)] = ask(&both, &path).await.unwrap();
            asked += 1;
            if (our_status, their_status) != (200, 200) {
                differences.push(format!("{path}\n    {our_status} {ours}\n    {their_status} {theirs}"));
                continue;
            }
            let is_sorted = expression.starts_with("sort") && path.starts_with("/api/v1/query?");
            let result = &theirs["data"]["result"];
            answered += usize::from(result.as_array().is_some_and(|result| !result.is_empty()));
            if let Some(difference) = answer::difference(&ours["data"], &theirs["data"], is_sorted) {
                differences.push(format!("{expression}: {path}\n    {difference}"));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {asked} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(answered * 10 >= asked * 9, "only {answered} of {asked} have an answer");

    // An exception that is none belongs to the others.
    for (expression, change) in queries::CHANGED {
        for path in paths_at_edges(expression) {
            let [(_, ours), (_, theirs)] = ask(&both, &path).await.unwrap();
            asked += 1;
            let difference = answer::difference(&ours["data"], &theirs["data"], false);
            assert!(difference.is_some(), "alike, though listed ({change}): {path}: {ours} {theirs}");
        }
    }
    let excepted = 2 * queries::CHANGED.len();
    assert!(asked >= 200 && excepted * 20 <= asked, "{excepted} of {asked} queries are exceptions");

    let called = called();
    let known = known_to_both(&both).await;
    assert!(known.len() > 70, "{known:?}");
    let missing: Vec<_> = known.iter().filter(|name| !called.contains(*name)).collect();
    assert!(missing.is_empty(), "never asked, though both know them: {missing:?}");
    println!(
        "{asked} queries, half of them ranges, {} functions and aggregations: {excepted} differ as listed",
        known.len()
    );
}

#[tokio::test]
async fn wrong_queries_are_refused_as_prometheus_refuses_them() {
    let Some(both) = Both::start().await else { return };
    both.fill().await;
    let mut differences = Vec::new();
    for (index, expression) in queries::WRONG.iter().enumerate() {
        for path in paths(index, expression) {
            let [ours, theirs] = ask(&both, &path).await.unwrap();
            if theirs.0 == 200 || (ours.0, &ours.1["errorType"]) != (theirs.0, &theirs.1["errorType"]) {
                differences
                    .push(format!("{expression}: {path}\n    {} {}\n    {} {}", ours.0, ours.1, theirs.0, theirs.1));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Waits until both have scraped and evaluated what the endpoints are asked about.
async fn settled(both: &Both) {
    for client in both.clients() {
        for (query, labels) in
            [("ALERTS{alertstate=\"pending\"}", 1), ("job:asr_active_requests:sum", 1), ("up == 0", 1)]
        {
            let what = format!("{query} at {}", client.base());
            let ask = || client.query(query, None);
            let done = |result: &Value| result.as_array().is_some_and(|found| found.len() >= labels);
            wait::until(&what, SOON, ask, done).await.unwrap();
        }
    }
}

#[tokio::test]
async fn endpoints_answer_as_prometheus_does() {
    let Some(both) = Both::start().await else { return };
    both.fill().await;
    settled(&both).await;
    endpoints::compare(&both).await;
}
