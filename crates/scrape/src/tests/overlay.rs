use std::sync::Arc;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use storage::{Appendable, MemoryStorage, Queryable, Samples, SelectHints};

use super::show;
use crate::{FreshOverlay, PulledRow, PulledSample};

#[test]
fn pulled_samples_stand_between_stored_series_in_order_of_labels() {
    let stored = [("b", 1000, 1.0), ("d", 1000, 2.0)];
    let pulled = [("a", 3000, 10.0), ("b", 3000, 11.0), ("c", 3000, 12.0), ("e", 3000, 13.0), ("f", 3000, 14.0)];
    let fresh = overlay(&stored, &[&pulled]);
    assert_eq!(
        show(&fresh, "m", 0),
        [
            "m{x=\"a\"} 10@3",
            "m{x=\"b\"} 1@1 11@3",
            "m{x=\"c\"} 12@3",
            "m{x=\"d\"} 2@1",
            "m{x=\"e\"} 13@3",
            "m{x=\"f\"} 14@3"
        ]
    );
}

#[test]
fn stored_sample_that_is_newer_counts() {
    let fresh =
        overlay(&[("a", 1000, 1.0), ("a", 4000, 2.0), ("b", 3000, 3.0)], &[&[("a", 3000, 10.0), ("b", 3000, 11.0)]]);
    assert_eq!(show(&fresh, "m", 0), ["m{x=\"a\"} 1@1 2@4", "m{x=\"b\"} 3@3"]);
}

#[test]
fn newer_of_two_rows_counts() {
    let fresh = overlay(&[], &[&[("a", 3000, 10.0)], &[("a", 4000, 11.0)], &[("a", 3500, 12.0)]]);
    assert_eq!(show(&fresh, "m", 0), ["m{x=\"a\"} 11@4"]);
}

#[test]
fn matchers_and_range_hold_for_pulled_samples_too() {
    let fresh = overlay(&[("a", 1000, 1.0)], &[&[("a", 3000, 10.0), ("b", 3000, 11.0)]]);
    let read = |start: i64, end: i64, x: &str| {
        let range = TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) };
        let querier = fresh.querier(range).unwrap();
        let mut set = querier.select(&[Matcher::equal("x", x)], &SelectHints::default()).unwrap();
        let mut samples = Samples::default();
        while let Some(series) = set.next() {
            series.unwrap().read(range, &mut samples).unwrap();
        }
        samples.timestamps
    };
    assert_eq!(read(0, 3000, "a"), [1000, 3000]);
    assert_eq!(read(0, 2999, "a"), [1000]);
    assert_eq!(read(0, 2999, "b"), [0_i64; 0]);
    assert_eq!(read(2000, 3000, "b"), [3000]);
}

#[test]
fn label_names_and_values_hold_those_of_pulled_samples() {
    let fresh = overlay(&[("a", 1000, 1.0)], &[&[("b", 3000, 11.0)]]);
    let querier = fresh.querier(TimeRange::ALL).unwrap();
    let texts = |found: Vec<Arc<str>>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(querier.label_values("x", &[], None).unwrap()), ["a", "b"]);
    assert_eq!(texts(querier.label_values("x", &[], Some(1)).unwrap()), ["a"]);
    assert_eq!(texts(querier.label_values("x", &[Matcher::equal("x", "b")], None).unwrap()), ["b"]);
    assert_eq!(texts(querier.label_names(&[], None).unwrap()), ["__name__", "x"]);
}

/// A storage with series `m{x="…"}` under rows of the same series.
fn overlay(stored: &[(&str, i64, f64)], rows: &[&[(&str, i64, f64)]]) -> FreshOverlay {
    let labels = |x: &str| Labels::from_pairs([("__name__", "m"), ("x", x)]);
    let storage = MemoryStorage::new();
    for (x, at, value) in stored {
        let mut appender = storage.appender();
        let series = appender.series(None, &labels(x)).unwrap();
        appender.append(series, Timestamp::from_unix_ms(*at), *value).unwrap();
        assert!(appender.commit().unwrap().is_empty());
    }
    let row = |samples: &&[(&str, i64, f64)]| {
        let sample = |(x, at, value): &(&str, i64, f64)| {
            let at = Timestamp::from_unix_ms(*at);
            PulledSample { labels: labels(x), at, value: *value }
        };
        Arc::new(PulledRow { at: Timestamp::from_unix_ms(3000), samples: samples.iter().map(sample).collect() })
    };
    FreshOverlay::new(Arc::new(storage), rows.iter().map(row).collect())
}
