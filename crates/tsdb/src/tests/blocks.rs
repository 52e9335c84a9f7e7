//! Blocks of Prometheus: what is exported comes back, damage is told, and nothing is left out silently.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamodel::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Matcher, STALE_NAN, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use storage::Appendable;

use super::{Bits, Value, append, everything, folder, open, options};
use crate::{BlockError, BlockInfo, ExportOptions, Tsdb, TsdbOptions, list_blocks};

fn export(tsdb: &Tsdb, to: &Path) -> Result<Vec<BlockInfo>, BlockError> {
    let options = ExportOptions {
        range: TimeRange::ALL,
        matchers: vec![],
        block: Duration::from_secs(7200),
        now: Timestamp::from_unix_ms(1_700_000_000_000),
    };
    let mut seen = Vec::new();
    let blocks = tsdb.export_blocks(to, &options, &mut |progress| seen.push(progress.done));
    assert!(seen.is_sorted());
    blocks
}

fn histogram(n: i64) -> Histogram {
    let count = (n % 50) as f64 * 1.5;
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: count / 3.0,
        count: count + count / 3.0,
        sum: count * 0.7,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        positive_buckets: vec![count / 2.0, count / 4.0, count / 4.0],
        ..Histogram::default()
    }
}

/// Five hours of counters, gauges, histograms and markers, some of it sealed.
fn write(tsdb: &Tsdb) {
    let group = tsdb.appender().create_group();
    let labels = |n: usize| Labels::from_pairs([("__name__", "m"), ("n", &n.to_string()), ("é", "ü")]);
    let names: Vec<Labels> = (0..4).map(labels).collect();
    for scrape in 0..300 {
        let at = scrape * 60_000 + 7;
        let stale = scrape % 40 == 39;
        let float = |value: f64| Value::Float(if stale { STALE_NAN } else { value });
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: Arc::from([0.25, 1.0, 1.0 / 3.0 + 2.0]),
            positive_spans: vec![Span { offset: 0, length: 4 }],
            positive_buckets: vec![1.0, 2.0, 3.0, scrape as f64],
            count: 6.0 + scrape as f64,
            ..Histogram::default()
        };
        let row = [
            (&names[0], at, float((scrape % 90) as f64)),
            (&names[1], at, float((scrape as f64).sin())),
            (&names[2], at, if stale { float(0.0) } else { Value::Histogram(histogram(scrape)) }),
            (&names[3], at, if scrape < 50 { Value::Histogram(custom) } else { float(1e300) }),
        ];
        assert!(append(tsdb, Some(group), &row).is_empty());
        if scrape == 200 {
            tsdb.seal().unwrap();
        }
    }
}

/// Hints say how a histogram was stored, not what it is.
fn without_hints(tsdb: &Tsdb) -> Vec<(String, Vec<(i64, Bits)>)> {
    let plain = |bits| match bits {
        Bits::Histogram(bytes) => {
            let mut histogram = crate::histogram::decode(&bytes).unwrap();
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            Bits::Histogram(crate::histogram::encode(&histogram))
        }
        float => float,
    };
    let all = everything(tsdb).into_iter();
    all.map(|(labels, samples)| (labels, samples.into_iter().map(|(at, bits)| (at, plain(bits))).collect())).collect()
}

#[test]
fn exported_blocks_are_imported_to_the_bit() {
    let (folder, blocks, other) = (folder(), folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    write(&tsdb);
    let exported = export(&tsdb, blocks.path()).unwrap();
    assert_eq!(exported.len(), 3);
    assert_eq!(exported.iter().map(|block| (block.min_ms, block.samples)).collect::<Vec<_>>()[0], (7, 480));
    assert_eq!(exported.iter().map(|block| block.custom_histograms).sum::<u64>(), 50);
    let mut listed = list_blocks(blocks.path()).unwrap();
    for (listed, exported) in listed.iter_mut().zip(&exported) {
        listed.custom_histograms = exported.custom_histograms;
    }
    assert_eq!(listed, exported);
    let (again, _) = open(options(other.path()));
    for block in exported.iter().rev() {
        let imported = again.import_block(&block.path, &mut |_| {}).unwrap();
        assert_eq!((imported.series, imported.samples), (block.series, block.samples));
    }
    let expected = without_hints(&tsdb);
    assert_eq!(without_hints(&again), expected);
    // Later samples are taken, earlier ones are known to be there.
    let labels = Labels::from_pairs([("__name__", "m"), ("n", "0"), ("é", "ü")]);
    assert_eq!(append(&again, None, &[(&labels, 20_000_000, Value::Float(1.0))]).len(), 0);
    assert_eq!(append(&again, None, &[(&labels, 7, Value::Float(1.0))]).len(), 1);
    drop(again);
    let (again, report) = open(options(other.path()));
    assert_eq!((report.segments, report.damage.len()), (3, 0));
    again.compact().unwrap();
    again
        .delete(
            &[Matcher::equal("n", "0")],
            TimeRange { start: Timestamp::from_unix_ms(19_000_000), end: Timestamp::MAX },
        )
        .unwrap();
    assert_eq!(without_hints(&again), expected);
    assert!(matches!(again.import_block(blocks.path(), &mut |_| {}), Err(BlockError::NotABlock(_))));
}

#[test]
fn samples_that_a_block_cannot_hold_are_refused_by_name() {
    let (folder, blocks) = (folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    let labels = Labels::from_pairs([("__name__", "m")]);
    append(&tsdb, None, &[(&labels, 1000, Value::Histogram(Histogram { schema: 12, ..Histogram::default() }))]);
    let error = export(&tsdb, blocks.path()).unwrap_err();
    assert_eq!(error.to_string(), "a block cannot hold m at 1000 ms: a histogram of schema 12");
    append(&tsdb, None, &[(&labels, i64::MAX - 5, Value::Float(1.0))]);
    let error = export(&tsdb, blocks.path()).unwrap_err();
    assert!(matches!(error, BlockError::TooMany { .. }), "{error}");
}

#[test]
fn damaged_blocks_are_refused_and_store_nothing() {
    let (folder, blocks, other) = (folder(), folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    write(&tsdb);
    let block = export(&tsdb, blocks.path()).unwrap().swap_remove(0).path;
    let (again, _) = open(options(other.path()));
    let seed = 20_261_128;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for name in ["index", "chunks/000001", "tombstones"] {
        let path = block.join(name);
        let whole = fs::read(&path).unwrap();
        for _ in 0..60 {
            let mut bytes = whole.clone();
            let at = random.random_range(0..bytes.len());
            if random.random_bool(0.3) {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(&path, &bytes).unwrap();
            match again.import_block(&block, &mut |_| {}) {
                Err(_told) => assert_eq!(again.stats().segments, 0, "{name}, {at}"),
                // What the import does not look at (postings, padding) may be damaged.
                Ok(imported) => {
                    assert_eq!(imported.samples, 480, "{name}, {at}");
                    again.delete(&[Matcher::equal("__name__", "m")], TimeRange::ALL).unwrap();
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    let meta = block.join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("\"version\": 1", "\"version\": 7")).unwrap();
    let error = again.import_block(&block, &mut |_| {}).unwrap_err();
    assert!(error.to_string().ends_with("version 7 of a block is not supported"), "{error}");
    let none = TsdbOptions { max_series: 1, ..options(&other.path().join("none")) };
    assert_eq!(export(&open(none).0, &other.path().join("out")).unwrap(), []);
}
