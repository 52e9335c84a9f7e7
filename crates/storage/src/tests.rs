use datamodel::time::TimeRange;
use datamodel::{Labels, MatchOp, Matcher, Timestamp};

use crate::{
    AppendError, Appendable, Exemplar, ExemplarQueryable, MemoryStorage, Queryable, Samples, SelectHints, SeriesRef,
};

fn ms(unix_ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms)
}

fn write(storage: &MemoryStorage, pod: &str, at: i64, value: f64) -> Vec<(SeriesRef, AppendError)> {
    let mut appender = storage.appender();
    let series = appender.series(None, &Labels::from_pairs([("__name__", "up"), ("pod", pod)])).unwrap();
    appender.append(series, ms(at), value).unwrap();
    appender.commit().unwrap()
}

fn read(storage: &MemoryStorage, matcher: &Matcher, start: i64, end: i64) -> Vec<(String, Vec<i64>)> {
    let range = TimeRange { start: ms(start), end: ms(end) };
    let querier = storage.querier(range).unwrap();
    let mut set = querier.select(std::slice::from_ref(matcher), &SelectHints::default()).unwrap();
    let mut found = Vec::new();
    while let Some(series) = set.next() {
        let series = series.unwrap();
        let mut samples = Samples::default();
        series.read(range, &mut samples).unwrap();
        found.push((series.labels().get("pod").unwrap().to_owned(), samples.timestamps));
    }
    found
}

#[test]
fn batch_is_visible_after_commit_and_in_order_of_labels() {
    let storage = MemoryStorage::new();
    write(&storage, "b", 10, 1.0);
    write(&storage, "a", 10, 1.0);
    write(&storage, "a", 20, 2.0);
    let mut dropped = storage.appender();
    let series = dropped.series(None, &Labels::from_pairs([("pod", "never")])).unwrap();
    dropped.append(series, ms(10), 1.0).unwrap();
    drop(dropped);
    let all = Matcher::new(MatchOp::Regex, "pod", ".+").unwrap();
    assert_eq!(read(&storage, &all, 0, 20), [("a".to_owned(), vec![10, 20]), ("b".to_owned(), vec![10])]);
    assert_eq!(read(&storage, &all, 11, 20), [("a".to_owned(), vec![20])]);
}

#[test]
fn late_and_conflicting_samples_are_refused_one_by_one() {
    let storage = MemoryStorage::new();
    write(&storage, "a", 10, 1.0);
    let refused = write(&storage, "a", 5, 1.0);
    assert_eq!(refused[0].1.to_string(), "out-of-order sample: at 5 ms, series ends at 10 ms");
    assert!(write(&storage, "a", 10, 1.0).is_empty());
    assert!(matches!(write(&storage, "a", 10, 2.0)[0].1, AppendError::Duplicate(_)));
}

#[test]
fn exemplars_are_kept_once_and_read_by_series() {
    let storage = MemoryStorage::new();
    let write = |trace: &str, at: i64, has_timestamp: bool| {
        let mut appender = storage.appender();
        let series = appender.series(None, &Labels::from_pairs([("__name__", "hits_total")])).unwrap();
        let labels = Labels::from_pairs([("trace_id", trace)]);
        let taken = appender.append_exemplar(series, Exemplar { labels, value: 1.0, at: ms(at), has_timestamp });
        appender.commit().unwrap();
        taken
    };
    write("a", 10, false).unwrap();
    write("a", 20, false).unwrap();
    write("a", 30, true).unwrap();
    write("b", 25, true).unwrap();
    write("b", 40, false).unwrap();
    let error = write(&"x".repeat(121), 50, true).unwrap_err();
    assert!(error.to_string().starts_with("exemplar labels exceed 128 characters"), "{error}");
    let range = TimeRange { start: ms(10), end: ms(40) };
    let selectors = [vec![Matcher::equal("__name__", "misses_total")], vec![Matcher::equal("__name__", "hits_total")]];
    let found = storage.exemplars(range, &selectors).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].exemplars.iter().map(|exemplar| exemplar.at.unix_ms()).collect::<Vec<_>>(), [10, 30, 40]);
    assert_eq!(storage.exemplars(range, &[]).unwrap(), []);
}
