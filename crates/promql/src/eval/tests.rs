use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use datamodel::{Clock, Labels, Timestamp};
use storage::{Appendable, MemoryPool, MemoryStorage};

use crate::{Engine, EngineOptions, EvalError, Features, QueryContext, QueryValue, Value};

/// Two pods, a counter and a gauge each, one sample every 10 s for 10 minutes.
fn pods() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (pod, slope) in [("a", 1.0), ("b", 3.0)] {
        for (name, factor) in [("asr_total_requests", slope), ("asr_active_requests", 0.0)] {
            let labels = Labels::from_pairs([("__name__", name), ("pod", pod), ("namespace", "smallest")]);
            let series = appender.series(None, &labels).unwrap();
            for step in 0..=60_i32 {
                let at = Timestamp::from_unix_ms(i64::from(step) * 10_000);
                let value = if factor > 0.0 { factor * f64::from(step) * 10.0 } else { slope };
                appender.append(series, at, value).unwrap();
            }
        }
    }
    assert!(appender.commit().unwrap().is_empty());
    storage
}

fn engine() -> Engine {
    Engine::new(EngineOptions::default())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(seconds * 1000)
}

/// Evaluates at 600 s and compares one line for each series.
fn check(text: &str, expected: &[&str]) {
    let result = engine().instant(&pods(), text, at(600), &QueryContext::default()).unwrap();
    assert_eq!(lines(&result.value), expected, "{text}");
}

/// The value without the last bits, which extrapolation does not keep round.
fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

fn lines(value: &QueryValue) -> Vec<String> {
    match value {
        QueryValue::Scalar(sample) => vec![sample.value.to_string()],
        QueryValue::String { value, .. } => vec![value.clone()],
        QueryValue::InstantVector(samples) => samples
            .iter()
            .map(|sample| match &sample.value {
                Value::Float(value) => format!("{} {}", sample.labels, rounded(*value)),
                Value::Histogram(histogram) => format!("{} {histogram}", sample.labels),
            })
            .collect(),
        QueryValue::RangeVector(series) => series
            .iter()
            .map(|series| {
                let mut line = series.labels.to_string();
                series.samples.values.iter().for_each(|value| write!(line, " {}", rounded(*value)).unwrap());
                line
            })
            .collect(),
    }
}

#[test]
fn rules_and_alerts_of_the_product_evaluate() {
    check(
        "rate(asr_total_requests[5m])",
        &["{namespace=\"smallest\", pod=\"a\"} 1", "{namespace=\"smallest\", pod=\"b\"} 3"],
    );
    check("avg(asr_active_requests) by (namespace)", &["{namespace=\"smallest\"} 2"]);
    check("asr_active_requests > 2", &["asr_active_requests{namespace=\"smallest\", pod=\"b\"} 3"]);
    check("asr_total_requests / 1000 > 0.9", &["{namespace=\"smallest\", pod=\"b\"} 1.8"]);
    check("sum(increase(asr_total_requests[1m]))", &["{} 240"]);
    check("max_over_time(sum(asr_active_requests)[1m:10s])", &["{} 4"]);
    check("absent(missing{pod=\"x\"})", &["{pod=\"x\"} 1"]);
    check("count(asr_active_requests) + on () vector(1)", &["{} 3"]);
    check(
        "sort_desc(asr_active_requests)[1m:1m]",
        &[
            "asr_active_requests{namespace=\"smallest\", pod=\"a\"} 1",
            "asr_active_requests{namespace=\"smallest\", pod=\"b\"} 3",
        ],
    );
}

#[test]
fn range_query_has_a_sample_for_each_step() {
    let context = QueryContext::default();
    let step = Duration::from_secs(60);
    let result = engine().range(&pods(), "sum(asr_total_requests)", at(0), at(120), step, &context).unwrap();
    assert_eq!(lines(&result.value), ["{} 0 240 480"]);
}

#[test]
fn newest_input_goes_through_all_operators() {
    let result = engine()
        .instant(&pods(), "sum(rate(asr_total_requests[1m] offset 95s)) * 2", at(600), &QueryContext::default())
        .unwrap();
    let QueryValue::InstantVector(samples) = result.value else { panic!("{result:?}") };
    assert_eq!(samples[0].newest_input, Some(at(500)));
    let result = engine().instant(&pods(), "vector(1)", at(600), &QueryContext::default()).unwrap();
    let QueryValue::InstantVector(samples) = result.value else { panic!("{result:?}") };
    assert_eq!(samples[0].newest_input, None);
}

#[test]
fn counters_by_name_only_are_hinted_at_with_their_place() {
    let result =
        engine().instant(&pods(), "sum(\n rate(asr_active_requests[1m]))", at(600), &QueryContext::default()).unwrap();
    let expected = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \
                    \"asr_active_requests\" (2:7)";
    assert_eq!(result.annotations.infos, [expected]);
}

/// A counter that changed its name, or its type, after five minutes.
#[test]
fn renamed_counter_is_one_for_operators_and_an_error_for_ranges() {
    let check = |features: Features, labels: [&[(&str, &str)]; 2], expr: &str, is_ok: bool| {
        let storage = MemoryStorage::new();
        let mut appender = storage.appender();
        for (half, labels) in (0_i32..).zip(labels) {
            let series = appender.series(None, &Labels::from_pairs(labels.iter().copied())).unwrap();
            for step in 0..30 {
                let at = Timestamp::from_unix_ms(i64::from(half * 30 + step) * 10_000);
                appender.append(series, at, f64::from(step)).unwrap();
            }
            if half == 0 {
                appender.append(series, Timestamp::from_unix_ms(300_000), datamodel::STALE_NAN).unwrap();
            }
        }
        assert!(appender.commit().unwrap().is_empty());
        let engine = Engine::new(EngineOptions { features, ..EngineOptions::default() });
        let result = engine.range(&storage, expr, at(0), at(600), Duration::from_secs(30), &QueryContext::default());
        match result {
            Ok(result) => {
                let QueryValue::RangeVector(series) = result.value else { panic!("{:?}", result.value) };
                assert!(is_ok && series.len() == 1, "{expr}: {series:?}");
            }
            Err(error) => assert!(!is_ok && matches!(error, EvalError::DuplicateLabels), "{expr}: {error}"),
        }
    };
    let names: [&[(&str, &str)]; 2] = [&[("__name__", "a_total")], &[("__name__", "b_total")]];
    check(Features::default(), names, "{__name__=~\"._total\"} + 1", true);
    check(Features::default(), names, "rate({__name__=~\"._total\"}[1m])", false);
    let delayed = Features { delayed_name_removal: true, ..Features::default() };
    check(delayed, names, "rate({__name__=~\"._total\"}[20s])", true);
    let types: [&[(&str, &str)]; 2] =
        [&[("__name__", "a_total"), ("__type__", "gauge")], &[("__name__", "a_total"), ("__type__", "counter")]];
    let typed = Features { type_and_unit_labels: true, ..Features::default() };
    check(typed, types, "abs(a_total)", true);
    check(typed, types, "rate(a_total[1m])", false);
}

#[test]
fn cancelled_and_late_queries_stop() {
    let run = |context: &QueryContext| engine().instant(&pods(), "asr_total_requests", at(600), context).unwrap_err();
    let cancelled = QueryContext { cancel: Arc::new(AtomicBool::new(true)), ..QueryContext::default() };
    assert!(matches!(run(&cancelled), EvalError::Cancelled));
    let late = QueryContext { deadline: Some(Timestamp::from_unix_ms(1)), ..QueryContext::default() };
    assert!(matches!(run(&late), EvalError::TimedOut));
}

/// A clock that advances by one millisecond whenever it is read.
#[derive(Debug, Default)]
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn one_series_of_many_windows_stops_at_the_deadline() {
    let options = || EngineOptions { clock: Arc::new(TickingClock::default()), ..EngineOptions::default() };
    let engine = Engine::new(EngineOptions { timeout: Duration::from_millis(50), ..options() });
    for expr in ["max_over_time(asr_total_requests{pod=\"a\"}[10m])", "rate(asr_total_requests{pod=\"a\"}[10m])"] {
        let run = |step| engine.range(&pods(), expr, at(0), at(6_000), step, &QueryContext::default());
        assert!(run(Duration::from_secs(10)).is_ok(), "{expr}");
        assert!(matches!(run(Duration::from_millis(1)), Err(EvalError::TimedOut)), "{expr}");
    }
}

#[test]
fn query_over_its_budget_is_refused_before_it_allocates() {
    let context = QueryContext { budget_bytes: Some(10_000), ..QueryContext::default() };
    let storage = pods();
    let steps = |step: Duration| {
        engine().range(&storage, "asr_total_requests + asr_total_requests", at(0), at(600), step, &context)
    };
    assert!(steps(Duration::from_secs(60)).is_ok());
    assert!(matches!(steps(Duration::from_millis(1)), Err(EvalError::OutOfMemory(_))));
    let text = "max_over_time(\n  asr_total_requests[100000d:1ms])";
    let error = engine().instant(&storage, text, at(600), &context).unwrap_err();
    let expected = "query `max_over_time( asr_total_requests[100000d:1ms])` would need 63.8 TiB more of memory: \
                    9.8 KiB of its 9.8 KiB are left";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn query_over_the_common_pool_is_refused_and_gives_everything_back() {
    let memory = MemoryPool::new(1 << 20);
    let engine = Engine::new(EngineOptions { memory: memory.clone(), ..EngineOptions::default() });
    let storage = pods();
    let run = || {
        engine.range(
            &storage,
            "asr_total_requests",
            at(0),
            at(6_000),
            Duration::from_millis(250),
            &QueryContext::default(),
        )
    };
    assert!(run().is_ok());
    assert!(memory.peak() > 200_000, "{}", memory.peak());
    assert_eq!(memory.used(), 0);
    let head = memory.consumer("head").reserve(900_000).unwrap();
    let error = run().unwrap_err().to_string();
    assert!(error.starts_with("query `asr_total_requests` would need"), "{error}");
    assert!(error.ends_with("of the 1.0 MiB of the process are left, most is held by head: 878.9 KiB"), "{error}");
    drop(head);
    assert_eq!(memory.used(), 0);
    assert!(run().is_ok());
}
