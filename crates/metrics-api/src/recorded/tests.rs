use storage::{Appendable, MemoryStorage};

use super::*;
use crate::embedded::EmbeddedSource;
use crate::hold::Ages;
use crate::server::REQUEST_DEADLINE;
use crate::source::{InstantValue, MetricsSource, SourceError};
use crate::testing::{at, labels};

/// Rules by name: expression, and a label that is set.
struct Rules(&'static [(&'static str, &'static str)]);

impl Recorded for Rules {
    fn rule(&self, metric: &str) -> Option<RecordedRule> {
        let (_, expr) = self.0.iter().find(|(name, _)| *name == metric)?;
        Some(RecordedRule { expr: Arc::new(promql::parse(expr).unwrap()), labels: labels(&[("by", "rule")]) })
    }
}

const RULES: &[(&str, &str)] = &[
    ("one", "sum by (pod) (load) + 1"),
    ("two", "one + 1"),
    ("three", "two + 1"),
    ("four", "three + 1"),
    ("rate", "rate(load[5m])"),
    ("loop", "loop + 1"),
];

/// What is stored: a minute old, recorded values too.
const STORED: &[(&str, i64, f64)] = &[("load", -60, 1.0), ("one", -50, 2.0), ("three", -50, 4.0), ("loop", -50, 7.0)];

#[tokio::test]
async fn recorded_name_is_evaluated_on_the_fresh_rows() {
    check("one", "11 0").await;
    check("one{pod=\"a\",by=\"rule\"}", "11 0").await;
    check("sum(three)", "13 0").await;
}

#[tokio::test]
async fn rule_that_builds_too_deep_counts_with_its_stored_samples() {
    // `four`, `three` and `two` are evaluated; `one`, on which `two` builds, is what is stored.
    check("four", "5 -50").await;
}

#[tokio::test]
async fn rule_that_builds_on_itself_ends() {
    // What it gives is not newer than what is stored.
    check("loop", "7 -50").await;
}

#[tokio::test]
async fn without_fresh_rows_the_stored_samples_count() {
    let answer = source().instant("one", at(0), None, REQUEST_DEADLINE).await.unwrap();
    assert_eq!(text_of(&answer.value), "2 -50");
}

#[tokio::test]
async fn range_of_a_rule_must_be_covered() {
    let error = source().covered_since(at(-100)).instant("rate", at(0), None, REQUEST_DEADLINE).await.unwrap_err();
    assert!(matches!(error, SourceError::NotCovered { wanted, .. } if wanted == Duration::from_mins(5)), "{error}");
}

fn store(samples: &[(&str, i64, f64)]) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (name, seconds, value) in samples {
        let by = if *name == "load" { "" } else { "rule" };
        let series = appender.series(None, &labels(&[("__name__", name), ("pod", "a"), ("by", by)])).unwrap();
        appender.append(series, at(*seconds), *value).unwrap();
    }
    appender.commit().unwrap();
    Arc::new(storage)
}

fn source() -> EmbeddedSource {
    EmbeddedSource::new(Engine::default(), store(STORED), Ages::default()).with_recorded(Arc::new(Rules(RULES)))
}

fn text_of(value: &InstantValue) -> String {
    let InstantValue::Vector(samples) = value else { panic!("no vector") };
    let line = |sample: &crate::source::SourceSample| {
        format!("{} {}", sample.value, (sample.timestamp.unix_ms() - at(0).unix_ms()) / 1_000)
    };
    samples.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// Value and time of the only element, with a fresh row `load` of 10 at 0.
async fn check(query: &str, expected: &str) {
    let mut samples = STORED.to_vec();
    samples.push(("load", 0, 10.0));
    let fresh: Arc<dyn Queryable> = store(&samples);
    let answer = source().instant(query, at(0), Some(fresh), REQUEST_DEADLINE).await.unwrap();
    assert_eq!(text_of(&answer.value), expected, "{query}");
}
