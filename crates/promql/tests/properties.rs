//! Properties that hold for all inputs.
//!
//! Rule: the model is as plain as the definition; it shares no code with the engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::time::Duration;

use datamodel::{Labels, Timestamp};
use promql::{Engine, EngineOptions, QueryContext, QueryValue};
use proptest::prelude::*;
use storage::{Appendable, MemoryStorage};

/// A sample of the model: Unix milliseconds and a value; none is a staleness marker.
type Sample = (i64, f64);

fn expression() -> impl Strategy<Value = String> {
    let selector = prop::sample::select(vec![
        "up",
        "{__name__=\"a b\"}",
        "up{job=~\"a|b\", pod!=\"c\"}",
        "asr_active_requests offset 5m",
        "up @ 10 offset -1m",
        "{\"é\"=\"x\", job!~\"\"} @ end()",
        "1.5",
        "-0x1F",
        "vector(time())",
        "rate(asr_total_requests{pod=\"a\\n\"}[5m])",
        "max_over_time(up[1h30m:15s] @ start())",
        "quantile_over_time(0.9, up[1d])",
    ])
    .prop_map(str::to_owned);
    selector.prop_recursive(4, 24, 3, |inner| {
        let operators = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "== bool",
            "> bool",
            "* on(pod)",
            "+ ignoring(le, pod)",
            "/ on(pod) group_left(node)",
        ]);
        let aggregations =
            prop::sample::select(vec!["sum", "avg by (pod)", "max without (le)", "count by ()", "group"]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} - {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} ^ {b}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (aggregations, inner.clone()).prop_map(|(op, a)| format!("{op} ({a})")),
            inner.prop_map(|a| format!("sum_over_time(({a})[10m:1m])")),
        ]
    })
}

proptest! {
    #[test]
    fn printed_expressions_parse_to_the_same(text in expression()) {
        if let Ok(expr) = promql::parse(&text) {
            let printed = expr.to_string();
            let again = promql::parse(&printed).map_err(|error| TestCaseError::fail(error.render(&printed)))?;
            prop_assert_eq!(again.to_string(), printed);
        }
    }

    #[test]
    fn any_text_parses_or_is_refused_within_itself(text in "[ -~é{}()\\[\\]\"@:,]{0,60}") {
        if let Err(error) = promql::parse(&text) {
            prop_assert!(error.span.end <= text.len(), "{:?}", error);
            prop_assert!(!error.render(&text).is_empty());
        }
    }

    #[test]
    fn rates_are_those_of_the_definition(
        gaps in prop::collection::vec((1_i64..40_000, 0_u32..50), 0..60),
        range in 1_i64..200,
        step in 1_i64..90,
    ) {
        let mut at = 1_000_000;
        let samples: Vec<Sample> = gaps.iter().map(|(gap, value)| { at += gap; (at, f64::from(*value)) }).collect();
        let storage = counter(&samples);
        let (start, end) = (990_000, at + 60_000);
        for (function, is_counter) in [("rate", true), ("increase", true), ("delta", false)] {
            let found = values(&storage, &format!("{function}(asr_total[{range}s])"), (start, end), step);
            let expected: Vec<Sample> = (start..=end)
                .step_by(usize::try_from(step * 1000).unwrap())
                .filter_map(|at| Some((at, model(&samples, at, range, is_counter, function == "rate")?)))
                .collect();
            prop_assert_eq!(&found, &expected, "{}", function);
        }
    }

    #[test]
    fn a_range_is_its_instants(values_in in prop::collection::vec(0_u32..9, 1..40), step in 1_i64..50) {
        let samples: Vec<Sample> = (0..).zip(&values_in).map(|(at, value)| (at * 10_000, f64::from(*value))).collect();
        let storage = counter(&samples);
        for expr in [
            "asr_total > 3",
            "avg_over_time(asr_total[35s])",
            "sum(max_over_time(asr_total[1m:7s])) or vector(1)",
            "changes(asr_total[2m]) * on() group_left() count(asr_total)",
            "irate(asr_total[1m] offset 10s)",
        ] {
            let end = 400_000;
            let found = values(&storage, expr, (0, end), step);
            let expected: Vec<Sample> = (0..=end)
                .step_by(usize::try_from(step * 1000).unwrap())
                .flat_map(|at| values(&storage, expr, (at, at), 1))
                .collect();
            prop_assert_eq!(&found, &expected, "{}", expr);
        }
    }
}

/// `rate`, `increase` and `delta` of the window before `at`, each loop as the definition reads.
fn model(samples: &[Sample], at: i64, range: i64, is_counter: bool, is_rate: bool) -> Option<f64> {
    let start = at - range * 1000;
    let window: Vec<Sample> = samples.iter().copied().filter(|(time, _)| *time > start && *time <= at).collect();
    let ((first_time, first), (last_time, last)) = (*window.first()?, *window.last()?);
    if window.len() < 2 {
        return None;
    }
    let mut change = last - first;
    for pair in window.windows(2) {
        if is_counter && pair[1].1 < pair[0].1 {
            change += pair[0].1;
        }
    }
    let sampled = (last_time - first_time) as f64 / 1000.0;
    let mean = sampled / (window.len() - 1) as f64;
    let mut to_start = (first_time - start) as f64 / 1000.0;
    let mut to_end = (at - last_time) as f64 / 1000.0;
    if to_start >= mean * 1.1 {
        to_start = mean / 2.0;
    }
    if is_counter && change > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / change));
    }
    if to_end >= mean * 1.1 {
        to_end = mean / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled;
    Some(if is_rate { change * (factor / range as f64) } else { change * factor })
}

fn counter(samples: &[Sample]) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    let series = appender.series(None, &Labels::from_pairs([("__name__", "asr_total"), ("pod", "a")])).unwrap();
    for (at, value) in samples {
        appender.append(series, Timestamp::from_unix_ms(*at), *value).unwrap();
    }
    assert!(appender.commit().unwrap().is_empty());
    storage
}

/// The samples of a range query, of all series one after the other at each instant.
fn values(storage: &MemoryStorage, expr: &str, (start, end): (i64, i64), step: i64) -> Vec<Sample> {
    let engine = Engine::new(EngineOptions::default());
    let (start, end) = (Timestamp::from_unix_ms(start), Timestamp::from_unix_ms(end));
    let step = Duration::from_secs(step.unsigned_abs());
    let result = engine.range(storage, expr, start, end, step, &QueryContext::default()).unwrap();
    let QueryValue::RangeVector(series) = result.value else { panic!("{result:?}") };
    let mut all: Vec<(i64, Labels, f64)> = Vec::new();
    for series in &series {
        let samples = series.samples.timestamps.iter().zip(&series.samples.values);
        all.extend(samples.map(|(at, value)| (*at, series.labels.clone(), *value)));
    }
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    all.into_iter().map(|(at, _, value)| (at, value)).collect()
}
