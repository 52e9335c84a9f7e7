//! What both are asked, and how answers are compared.
//!
//! Rule: instants of questions are whole seconds and no multiples of a minute: the edges of ranges, which belong to
//! the range in Prometheus 2 and not in 3, hold no sample.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use promql::{Engine, EngineOptions, QueryContext, QueryValue, Value};
use serde_json::Value as Json;
use tsdb::Tsdb;

use crate::data::{END_MS, START_MS};
use crate::server::Prometheus;

const FLOATS: [&str; 45] = [
    "requests_total",
    "queue_depth",
    "load",
    "sum(requests_total)",
    "sum by (pod) (rate(requests_total[5m]))",
    "sum(rate(requests_total[5m]))",
    "rate(requests_total[2m])",
    "increase(requests_total[10m])",
    "irate(requests_total[2m])",
    "idelta(load[3m])",
    "resets(requests_total[30m])",
    "changes(queue_depth[10m])",
    "delta(load[10m])",
    "deriv(load[10m])",
    "predict_linear(load[10m], 600)",
    "avg_over_time(load[7m])",
    "min_over_time(load[7m])",
    "max_over_time(load[7m])",
    "sum_over_time(load[7m])",
    "count_over_time(load[20m])",
    "stddev_over_time(load[7m])",
    "stdvar_over_time(queue_depth[7m])",
    "quantile_over_time(0.9, load[7m])",
    "last_over_time(queue_depth[7m])",
    "present_over_time(queue_depth[40m])",
    "absent_over_time(up{pod=\"worker-3\"}[6m])",
    "absent(up{pod=\"worker-3\"})",
    "count(up)",
    "avg(load)",
    "stddev(load)",
    "quantile(0.5, load)",
    "topk(2, load)",
    "bottomk(2, load)",
    "count_values(\"depth\", queue_depth)",
    "histogram_quantile(0.95, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.5, sum by (le, pod) (rate(latency_seconds_bucket[10m])))",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
    "requests_total offset 10m",
    "rate(requests_total[5m] offset 10m)",
    "max_over_time(sum(rate(requests_total[2m]))[20m:1m])",
    "queue_depth / on (pod) group_left load",
    "queue_depth > bool 20",
    "requests_total unless queue_depth < 20",
    "label_replace(up, \"number\", \"$1\", \"pod\", \"worker-(.*)\")",
    "{pod=~\"worker-[12]\",__name__!~\".*bucket|audio.*|batch.*\"}",
];

const NATIVE: [&str; 11] = [
    "histogram_count(audio_seconds)",
    "histogram_sum(audio_seconds)",
    "histogram_count(sum(audio_seconds))",
    "histogram_sum(sum by (job) (audio_seconds))",
    "histogram_count(rate(audio_seconds[5m]))",
    "histogram_sum(rate(audio_seconds[5m]))",
    "histogram_count(sum(rate(audio_seconds[10m])))",
    "histogram_count(increase(audio_seconds[7m]))",
    "histogram_sum(batch_size)",
    "late_depth",
    "sum_over_time(late_depth[10m])",
];

/// A series of an answer: labels and points.
type Points = BTreeMap<i64, f64>;
type Answer = BTreeMap<String, Points>;

fn number(value: &Json) -> f64 {
    match value.as_str().unwrap() {
        "NaN" => f64::NAN,
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap(),
    }
}

fn their_labels(metric: &Json) -> String {
    let pairs =
        metric.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    Labels::from_pairs(pairs).to_string()
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of our time")]
fn point(pair: &Json) -> (i64, f64) {
    ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, number(&pair[1]))
}

fn theirs(result: &Json) -> Answer {
    let mut answer = Answer::new();
    for series in result.as_array().unwrap() {
        let points = match series.get("values") {
            Some(values) => values.as_array().unwrap().iter().map(point).collect(),
            None => Points::from([point(&series["value"])]),
        };
        answer.insert(their_labels(&series["metric"]), points);
    }
    answer
}

fn ours(value: QueryValue) -> Answer {
    let float = |value: &Value| match value {
        Value::Float(value) => *value,
        Value::Histogram(_) => panic!("a histogram where floats are asked for"),
    };
    match value {
        QueryValue::InstantVector(samples) => samples
            .iter()
            .map(|sample| (sample.labels.to_string(), [(sample.timestamp.unix_ms(), float(&sample.value))].into()))
            .collect(),
        QueryValue::RangeVector(series) => series
            .iter()
            .map(|series| {
                let points = series.samples.timestamps.iter().copied().zip(series.samples.values.iter().copied());
                (series.labels.to_string(), points.collect())
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn check(query: &str, at: i64, ours: &Answer, theirs: &Answer) {
    let names = |answer: &Answer| answer.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{query} at {at}: series");
    for (labels, points) in ours {
        let expected = &theirs[labels];
        let alike =
            points.len() == expected.len() && points.iter().zip(expected).all(|(a, b)| a.0 == b.0 && same(*a.1, *b.1));
        let differ: Vec<_> =
            points.iter().zip(expected).filter(|(a, b)| a.0 != b.0 || !same(*a.1, *b.1)).take(3).collect();
        assert!(
            alike,
            "{query} at {at}: {labels}: ours, theirs: {differ:?}, of {} and {}",
            points.len(),
            expected.len()
        );
    }
}

/// Asks both everything; returns the number of questions.
pub(crate) fn compare(tsdb: &Tsdb, server: &Prometheus, native: bool) -> usize {
    let engine = Engine::new(EngineOptions::default());
    let context = QueryContext::default();
    let queries: Vec<&str> = FLOATS.into_iter().chain(NATIVE.into_iter().filter(|_| native)).collect();
    // Whole seconds.
    let (start, end) = (START_MS / 1000, END_MS / 1000);
    let instants = [start + 1931, start + 7613, start + 9787, start + 15_239, end - 301];
    let (mut asked, mut answered) = (0, 0);
    for query in queries {
        for at in instants {
            let instant = Timestamp::from_unix_ms(at * 1000);
            let result = engine.instant(tsdb, query, instant, &context).unwrap();
            let parameters = [("query", query.to_owned()), ("time", at.to_string())];
            let found = theirs(&server.get("/api/v1/query", &parameters));
            check(query, at, &ours(result.value), &found);
            asked += 1;
            answered += usize::from(!found.is_empty());
        }
        let (from, through, step) = (start + 607, end - 301, 97);
        let (first, last) = (Timestamp::from_unix_ms(from * 1000), Timestamp::from_unix_ms(through * 1000));
        let result = engine.range(tsdb, query, first, last, Duration::from_secs(step), &context).unwrap();
        let parameters = [
            ("query", query.to_owned()),
            ("start", from.to_string()),
            ("end", through.to_string()),
            ("step", step.to_string()),
        ];
        let found = theirs(&server.get("/api/v1/query_range", &parameters));
        check(query, from, &ours(result.value), &found);
        asked += 1;
        answered += usize::from(!found.is_empty());
    }
    assert!(answered * 10 > asked * 9, "only {answered} of {asked} had an answer");
    asked
}
