//! Random work, the same on this storage and on the one in memory: the answers are the same.

use std::collections::BTreeMap;

use datamodel::time::TimeRange;
use datamodel::{Labels, MatchOp, Matcher, STALE_NAN, Timestamp};
use proptest::prelude::*;
use storage::{Appendable, GroupRef, MemoryStorage, Queryable};

use super::{Value, answer, everything, open, options};
use crate::histogram::tests::any_histogram;

#[derive(Clone, Debug)]
enum Step {
    /// A batch: milliseconds since the last one, and for some series an offset and a value each.
    Batch(i64, Vec<(usize, i64, Value)>),
    /// As if killed: without close.
    Restart,
    /// The head becomes a segment.
    Seal,
    /// All segments become one.
    Compact,
}

fn value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![
        4 => (-20i32..2000).prop_map(f64::from),
        4 => (0u32..100_000).prop_map(|v| f64::from(v) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop_oneof![Just(STALE_NAN), Just(-0.0), Just(0.1 + 0.2), Just(1e300), Just(f64::INFINITY)],
    ];
    prop_oneof![12 => float.prop_map(Value::Float), 1 => any_histogram().prop_map(Value::Histogram)]
}

/// Mostly on time with the batch, sometimes before or behind it.
fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0), 1 => -3000i64..1000]
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0usize..14, offset(), value());
    let batch = (prop_oneof![3 => Just(1000i64), 1 => 0i64..2000], proptest::collection::vec(sample, 1..24));
    prop_oneof![12 => batch.prop_map(|(after, samples)| Step::Batch(after, samples)), 1 => Just(Step::Restart), 1 => Just(Step::Seal), 1 => Just(Step::Compact)]
}

fn labels(index: usize) -> Labels {
    let (name, pod) = (["up", "asr_total_requests", "queue"][index % 3], ["a", "b", "c"][index / 5]);
    Labels::from_pairs([("__name__", name), ("pod", pod), ("n", &index.to_string())])
}

fn matchers(seed: u8) -> Vec<Matcher> {
    let matcher = |op, name: &str, value: &str| Matcher::new(op, name, value).unwrap();
    match seed % 5 {
        0 => vec![matcher(MatchOp::Equal, "__name__", "up")],
        1 => vec![matcher(MatchOp::Regex, "pod", "a|c"), matcher(MatchOp::NotEqual, "n", "3")],
        2 => vec![matcher(MatchOp::NotRegex, "n", "1.*")],
        3 => vec![matcher(MatchOp::Equal, "missing", "")],
        _ => vec![matcher(MatchOp::Equal, "pod", "nobody")],
    }
}

/// Runs one batch and returns the refusals as texts, sorted.
fn run(
    storage: &dyn Appendable,
    groups: &mut BTreeMap<usize, GroupRef>,
    samples: &BTreeMap<(usize, i64), Value>,
) -> Vec<String> {
    let mut appender = storage.appender();
    let mut names = BTreeMap::new();
    for ((index, at), value) in samples {
        // The first ten series lie in two groups, the others in none.
        let group = (*index < 10).then(|| *groups.entry(index / 5).or_insert_with(|| appender.create_group()));
        let series = appender.series(group, &labels(*index)).unwrap();
        names.insert(series, *index);
        let at = Timestamp::from_unix_ms(*at);
        match value {
            Value::Float(value) => appender.append(series, at, *value).unwrap(),
            Value::Histogram(histogram) => appender.append_histogram(series, at, histogram.clone()).unwrap(),
        }
    }
    let refused = appender.commit().unwrap();
    let mut texts: Vec<String> = refused.iter().map(|(series, error)| format!("{}: {error}", names[series])).collect();
    texts.sort();
    texts
}

proptest! {
    // Long cases: a fifth of the usual number.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 5, ..ProptestConfig::default() })]
    #[test]
    fn storage_on_disk_answers_as_the_one_in_memory(
        steps in proptest::collection::vec(step(), 1..40),
        seed in any::<u8>(),
        range in (0i64..40_000, 0i64..40_000),
    ) {
        let folder = super::folder();
        let memory = MemoryStorage::new();
        let (mut disk, _) = open(options(folder.path()));
        let (mut memory_groups, mut disk_groups) = (BTreeMap::new(), BTreeMap::new());
        let mut now = 10_000;
        for step in steps {
            match step {
                Step::Batch(after, samples) => {
                    now += after;
                    let samples = samples.into_iter().map(|(index, off, value)| ((index, now + off), value)).collect();
                    let expected = run(&memory, &mut memory_groups, &samples);
                    prop_assert_eq!(run(&disk, &mut disk_groups, &samples), expected);
                }
                Step::Seal => disk.seal().unwrap(),
                Step::Compact => disk.compact().unwrap(),
                Step::Restart => {
                    drop(disk);
                    let (again, report) = open(options(folder.path()));
                    prop_assert_eq!(report.damage, vec![]);
                    disk = again;
                    disk_groups.clear();
                }
            }
        }
        prop_assert_eq!(everything(&disk), everything(&memory));
        let range = TimeRange {
            start: Timestamp::from_unix_ms(range.0.min(range.1)),
            end: Timestamp::from_unix_ms(range.0.max(range.1)),
        };
        let matchers = matchers(seed);
        prop_assert_eq!(answer(&disk, &matchers, range), answer(&memory, &matchers, range));
        let (ours, theirs) = (disk.querier(TimeRange::ALL).unwrap(), memory.querier(TimeRange::ALL).unwrap());
        prop_assert_eq!(ours.label_names(&matchers, None).unwrap(), theirs.label_names(&matchers, None).unwrap());
        prop_assert_eq!(
            ours.label_values("n", &matchers, Some(3)).unwrap(),
            theirs.label_values("n", &matchers, Some(3)).unwrap()
        );
    }
}
