//! What the owner chooses, and what is refused by name.

use std::fs;
use std::sync::Arc;

use datamodel::time::ManualClock;
use datamodel::{Labels, Metadata, Timestamp};
use storage::{AppendError, Appendable};

use super::{Value, append, everything, open, options};
use crate::{Tsdb, TsdbOptions};

fn refusal(options: TsdbOptions) -> String {
    Tsdb::open(options, Arc::new(ManualClock::default())).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn second_process_is_refused_with_the_number_of_the_first() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let text = refusal(options(folder.path()));
    let expected = format!("data folder is in use by another process ({})", std::process::id());
    assert!(text.starts_with(&expected), "{text}");
    drop(tsdb);
    open(options(folder.path()));
}

#[test]
fn newer_format_is_refused_by_name() {
    let folder = super::folder();
    fs::create_dir_all(folder.path().join("wal")).unwrap();
    let header = [b"CRWAL\0".as_slice(), &9u16.to_le_bytes(), &1u64.to_le_bytes()].concat();
    fs::write(folder.path().join("wal/00000001.wal"), header).unwrap();
    let text = refusal(options(folder.path()));
    assert!(text.ends_with("00000001.wal has format version 9; this version reads up to 2"), "{text}");
}

#[test]
fn series_beyond_the_limit_are_shed_and_others_go_on() {
    let folder = super::folder();
    let (tsdb, _) = open(TsdbOptions { max_series: 2, ..options(folder.path()) });
    let labels = |n: &str| Labels::from_pairs([("n", n)]);
    append(&tsdb, None, &[(&labels("1"), 10, Value::Float(1.0)), (&labels("2"), 10, Value::Float(1.0))]);
    let mut appender = tsdb.appender();
    assert!(matches!(appender.series(None, &labels("3")), Err(AppendError::OutOfMemory)));
    let known = appender.series(None, &labels("2")).unwrap();
    appender.append(known, Timestamp::from_unix_ms(20), 2.0).unwrap();
    assert!(appender.commit().unwrap().is_empty());
    assert_eq!(tsdb.stats().head_samples, 3);
}

#[test]
fn closed_storage_refuses_writes_and_answers_reads() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let labels = Labels::from_pairs([("n", "1")]);
    append(&tsdb.durable(), None, &[(&labels, 10, Value::Float(1.0))]);
    tsdb.close().unwrap();
    let mut appender = tsdb.appender();
    let series = appender.series(None, &labels).unwrap();
    appender.append(series, Timestamp::from_unix_ms(20), 2.0).unwrap();
    assert!(matches!(appender.commit(), Err(AppendError::Closed)));
    assert_eq!(everything(&tsdb).len(), 1);
}

#[test]
fn series_that_is_sampled_at_other_instants_leaves_its_group() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let group = tsdb.appender().create_group();
    let labels: Vec<Labels> = (0..4).map(|n: i32| Labels::from_pairs([("n", n.to_string())])).collect();
    for row in 0..4 {
        let own = |n: usize| if n == 3 { 1000 * row + 250 } else { 1000 * row + 500 };
        let samples: Vec<_> =
            labels.iter().enumerate().map(|(n, labels)| (labels, own(n), Value::Float(row as f64))).collect();
        assert!(append(&tsdb, Some(group), &samples).is_empty());
    }
    let times = |answer: &super::Answer, n: usize| answer[n].1.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    let found = everything(&tsdb);
    assert_eq!(times(&found, 0), [500, 1500, 2500, 3500]);
    assert_eq!(times(&found, 3), [250, 1250, 2250, 3250]);
}

#[test]
fn metadata_and_figures_are_told() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let mut appender = tsdb.appender();
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "asr")]);
    let series = appender.series(None, &labels).unwrap();
    let metadata = Metadata { help: "Whether the last scrape succeeded.".into(), ..Metadata::default() };
    appender.metadata(series, &metadata);
    appender.append(series, Timestamp::from_unix_ms(5), 1.0).unwrap();
    appender.commit().unwrap();
    assert_eq!(tsdb.metadata(), [("up".into(), metadata)]);
    let stats = tsdb.stats();
    assert_eq!((stats.head_series, stats.head_samples, stats.head_bounds_ms), (1, 1, Some((5, 5))));
    assert!(stats.disk_bytes > stats.wal_bytes && stats.wal_bytes > 16);
    let tables = tsdb.cardinality(1);
    assert_eq!(tables.series_by_metric[0].name, "up");
    assert_eq!((tables.series_by_pair.len(), tables.values_by_label[0].value), (1, 1));
}
