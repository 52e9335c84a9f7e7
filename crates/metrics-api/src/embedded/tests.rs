use std::time::Duration;

use datamodel::STALE_NAN;
use storage::{Appendable, MemoryStorage};

use super::*;
use crate::server::REQUEST_DEADLINE;
use crate::testing::{at, labels};

/// Pods whose targets are still discovered.
struct Targets(&'static [&'static str]);

impl Discovered for Targets {
    fn is_discovered(&self, series: &Labels) -> bool {
        series.get("pod").is_some_and(|pod| self.0.contains(&pod))
    }
}

#[tokio::test]
async fn answer_carries_the_time_of_the_newest_input() {
    let storage = storage(&[("a", &[(-40, 1.0), (-10, 3.0)]), ("b", &[(-5, 4.0)])]);
    let source = source(storage, &[]);
    check(&source, "sum(load)", &[("{}", 7.0, -5)], &[]).await;
    check(&source, "load{pod=\"a\"}", &[("a", 3.0, -10)], &[]).await;
    let answer = source.instant("1 + 1", at(0), None, REQUEST_DEADLINE).await.unwrap();
    assert_eq!(answer.value, InstantValue::Scalar(2.0));
    let answer = source.instant("load[1m]", at(0), None, REQUEST_DEADLINE).await.unwrap();
    assert_eq!(answer.value, InstantValue::Other("range vector"));
}

#[tokio::test]
async fn series_of_a_target_that_does_not_answer_is_held_also_inside_sum() {
    let ended = storage(&[("a", &[(-60, 5.0), (-30, STALE_NAN)]), ("b", &[(-5, 4.0)])]);
    let source = source(Arc::clone(&ended), &["a", "b"]);
    check(&source, "sum(load)", &[("{}", 9.0, -5)], &["a"]).await;
    check(&source, "load", &[("a", 5.0, -60), ("b", 4.0, -5)], &["a"]).await;
}

#[tokio::test]
async fn series_of_a_deleted_pod_is_never_held() {
    let ended = storage(&[("a", &[(-60, 5.0), (-30, STALE_NAN)]), ("b", &[(-5, 4.0)])]);
    let source = source(ended, &["b"]);
    check(&source, "sum(load)", &[("{}", 4.0, -5)], &[]).await;
}

#[tokio::test]
async fn hold_ends_after_ninety_seconds() {
    let ended = storage(&[("a", &[(-91, 5.0), (-60, STALE_NAN)]), ("b", &[(-5, 4.0)])]);
    check(&source(ended, &["a", "b"]), "sum(load)", &[("{}", 4.0, -5)], &[]).await;
    // Without a marker the plain engine would use it for five minutes.
    let silent = storage(&[("a", &[(-91, 5.0)]), ("b", &[(-5, 4.0)]), ("c", &[(-80, 1.0)])]);
    check(&source(silent, &["a", "b"]), "sum(load)", &[("{}", 5.0, -5)], &["c"]).await;
}

#[tokio::test]
async fn expired_series_of_a_discovered_target_is_missing_in_the_answer() {
    let samples: &[(&str, &[(i64, f64)])] =
        &[("a", &[(-120, 5.0), (-90, STALE_NAN)]), ("b", &[(-5, 4.0)]), ("c", &[(-100, 1.0)])];
    let answer =
        source(storage(samples), &["a", "b", "c"]).instant("sum(load)", at(0), None, REQUEST_DEADLINE).await.unwrap();
    let pods: Vec<&str> = answer.missing.iter().filter_map(|labels| labels.get("pod")).collect();
    assert_eq!((pods, answer.held.len()), (vec!["a", "c"], 0));
    // Deleted pods are not missed.
    let answer = source(storage(samples), &["b"]).instant("sum(load)", at(0), None, REQUEST_DEADLINE).await.unwrap();
    assert_eq!((answer.missing.len(), answer.held.len()), (0, 0));
}

#[tokio::test]
async fn offset_is_judged_at_its_own_time() {
    let storage = storage(&[("a", &[(-605, 5.0), (-5, 1.0)])]);
    check(&source(storage, &[]), "load offset 10m", &[("a", 5.0, -605)], &[]).await;
}

#[tokio::test]
async fn query_beyond_the_covered_time_is_refused() {
    let storage = storage(&[("a", &[(-5, 1.0)])]);
    let source = source(storage, &[]).covered_since(at(-100));
    check(&source, "load", &[("a", 1.0, -5)], &[]).await;
    let error = source.instant("avg_over_time(load[2m])", at(0), None, REQUEST_DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), "source holds data for 100 s only, and the query looks back 120 s");
}

#[tokio::test]
async fn fresh_rows_are_read_for_their_question_only() {
    let source = source(storage(&[("a", &[(-5, 1.0)])]), &[]);
    let fresh: Arc<dyn Queryable> = storage(&[("a", &[(-5, 1.0), (0, 7.0)])]);
    let answer = source.instant("load", at(0), Some(fresh), REQUEST_DEADLINE).await.unwrap();
    let InstantValue::Vector(samples) = answer.value else { panic!("no vector") };
    assert_eq!(samples[0].timestamp, at(0));
    check(&source, "load", &[("a", 1.0, -5)], &[]).await;
}

#[tokio::test]
async fn broken_query_is_refused_with_the_reason() {
    let error = source(storage(&[]), &[]).instant("sum(load", at(0), None, REQUEST_DEADLINE).await.unwrap_err();
    assert!(error.to_string().starts_with("source refuses the query `sum(load`: "), "{error}");
}

#[tokio::test]
async fn listing_gives_shapes_not_series() {
    let storage = storage(&[("a", &[(-5, 1.0)]), ("b", &[(-5, 1.0)]), ("old", &[(-500, 1.0)])]);
    let range = TimeRange { start: at(-60), end: at(0) };
    let matchers = promql::parse_selector("{__name__=~\"lo.*\",pod!=\"\"}").unwrap();
    let shapes = source(storage, &[]).series(&matchers, range).await.unwrap();
    let shape = SeriesShape { metric: Arc::from("load"), labels: vec![Arc::from("namespace"), Arc::from("pod")] };
    assert_eq!(shapes, BTreeSet::from([shape]));
}

/// A storage with series `load` of pods, times in seconds from now.
fn storage(pods: &[(&str, &[(i64, f64)])]) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (pod, samples) in pods {
        let labels = labels(&[("__name__", "load"), ("namespace", "asr"), ("pod", pod)]);
        let series = appender.series(None, &labels).unwrap();
        for (seconds, value) in *samples {
            appender.append(series, at(*seconds), *value).unwrap();
        }
    }
    appender.commit().unwrap();
    Arc::new(storage)
}

fn source(storage: Arc<MemoryStorage>, discovered: &'static [&'static str]) -> EmbeddedSource {
    let ages = Ages::for_interval(Duration::from_secs(30));
    EmbeddedSource::new(Engine::default(), storage, ages).with_discovered(Arc::new(Targets(discovered)))
}

async fn check(source: &EmbeddedSource, query: &str, expected: &[(&str, f64, i64)], held: &[&str]) {
    let answer = source.instant(query, at(0), None, REQUEST_DEADLINE).await.unwrap();
    let InstantValue::Vector(samples) = answer.value else {
        panic!("{query} gives no vector");
    };
    let found: Vec<(String, String, Timestamp)> = samples
        .iter()
        .map(|sample| {
            let pod = sample.labels.get("pod").map_or_else(|| "{}".to_owned(), str::to_owned);
            (pod, sample.value.to_string(), sample.timestamp)
        })
        .collect();
    let expected: Vec<(String, String, Timestamp)> =
        expected.iter().map(|(pod, value, seconds)| ((*pod).to_owned(), value.to_string(), at(*seconds))).collect();
    assert_eq!(found, expected, "{query}");
    let names: Vec<&str> = answer.held.iter().filter_map(|labels| labels.get("pod")).collect();
    assert_eq!(names, held, "{query}");
}
