//! Exemplars: written with their batch, kept over restarts, bounded.

use std::fs;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use storage::{Appendable, Exemplar, ExemplarQueryable};

use super::{folder, open, options};
use crate::{Damage, Tsdb, TsdbOptions};

fn write(tsdb: &Tsdb, n: i64, at: i64) {
    let mut appender = tsdb.appender();
    let series =
        appender.series(None, &Labels::from_pairs([("__name__", "hits_total"), ("n", &n.to_string())])).unwrap();
    let timestamp = Timestamp::from_unix_ms(at);
    appender.append(series, timestamp, at as f64).unwrap();
    let labels = Labels::from_pairs([("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]);
    // The page does not say when: it is the same observation while the value is the same.
    let value = (at / 10_000) as f64;
    appender.append_exemplar(series, Exemplar { labels, value, at: timestamp, has_timestamp: false }).unwrap();
    assert!(appender.commit().unwrap().is_empty());
}

fn times(tsdb: &Tsdb) -> Vec<Vec<i64>> {
    let found = tsdb.exemplars(TimeRange::ALL, &[vec![Matcher::equal("__name__", "hits_total")]]).unwrap();
    found.iter().map(|found| found.exemplars.iter().map(|exemplar| exemplar.at.unix_ms()).collect()).collect()
}

#[test]
fn exemplars_come_back_from_the_log_and_after_a_seal() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    for second in 0..30 {
        write(&tsdb, second % 2, second * 1000);
    }
    let expected = vec![vec![0, 10_000, 20_000], vec![1000, 11_000, 21_000]];
    assert_eq!(times(&tsdb), expected);
    assert_eq!((tsdb.stats().exemplars, tsdb.stats().left_out_exemplars), (6, 24));
    drop(tsdb);
    let (tsdb, _) = open(options(folder.path()));
    assert_eq!(times(&tsdb), expected, "from the log");
    tsdb.seal().unwrap();
    write(&tsdb, 0, 30_000);
    drop(tsdb);
    let (tsdb, report) = open(options(folder.path()));
    assert_eq!(times(&tsdb), [vec![0, 10_000, 20_000, 30_000], vec![1000, 11_000, 21_000]]);
    assert_eq!(report.damage, []);
    drop(tsdb);
    let (tsdb, _) = open(TsdbOptions { max_exemplars: 2, ..options(folder.path()) });
    assert_eq!(times(&tsdb), [[30_000], [21_000]]);
    tsdb.set_max_exemplars(0);
    write(&tsdb, 0, 60_000);
    assert_eq!(times(&tsdb), Vec::<Vec<i64>>::new());
}

#[test]
fn damaged_exemplars_cost_no_sample_and_newer_ones_are_refused_by_name() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    write(&tsdb, 0, 1000);
    tsdb.seal().unwrap();
    drop(tsdb);
    let path = folder.path().join("exemplars");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (tsdb, report) = open(options(folder.path()));
    assert!(matches!(report.damage[..], [Damage::Lost { at: 0, .. }]), "{:?}", report.damage);
    assert_eq!((times(&tsdb).len(), tsdb.stats().sealed_samples), (0, 1));
    drop(tsdb);
    bytes[6] = 9;
    fs::write(&path, &bytes).unwrap();
    let clock = std::sync::Arc::new(datamodel::time::ManualClock::default());
    let error = Tsdb::open(options(folder.path()), clock).map(drop).unwrap_err();
    assert!(error.to_string().ends_with("exemplars has format version 9; this version reads up to 1"), "{error}");
}
