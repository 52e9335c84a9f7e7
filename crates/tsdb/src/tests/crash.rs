//! Death at any moment, and damage of any kind: what comes back is a prefix, or says what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use datamodel::Labels;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use storage::Appendable;

use super::{Answer, Bits, Value, append, everything, open, options};
use crate::{Damage, Tsdb};

/// Writes batches that look like scrapes of two targets and a rule; returns what was stored after each.
fn write_batches(tsdb: &Tsdb, batches: usize) -> Vec<Answer> {
    let labels = |target: usize, n: usize| {
        Labels::from_pairs([("__name__", "m"), ("pod", &target.to_string()), ("n", &n.to_string())])
    };
    let groups: Vec<_> = (0..2).map(|_| tsdb.appender().create_group()).collect();
    let mut states = vec![everything(tsdb)];
    for batch in 0..batches {
        let target = batch % 3;
        let at = 1000 + i64::try_from(batch).unwrap() * 500;
        let series: Vec<Labels> = (0..6).map(|n| labels(target, n)).collect();
        let value = |n: usize| Value::Float((batch * (n + 1)) as f64 / [1.0, 10.0, 3.0][n % 3]);
        let samples: Vec<_> = series.iter().zip(0..).map(|(labels, n)| (labels, at, value(n))).collect();
        let refused = append(tsdb, groups.get(target).copied(), &samples[..3 + batch % 4]);
        assert!(refused.is_empty());
        states.push(everything(tsdb));
    }
    states
}

fn wal_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

/// A folder with only this log in it.
fn with_log(bytes: &[u8]) -> tempfile::TempDir {
    let folder = super::folder();
    fs::create_dir_all(folder.path().join("wal")).unwrap();
    fs::write(folder.path().join("wal/00000001.wal"), bytes).unwrap();
    folder
}

#[test]
fn process_that_dies_loses_nothing_committed() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let states = write_batches(&tsdb, 200);
    // Neither closed nor dropped before the files are read: the copy is what a killed process leaves.
    let copy = with_log(&fs::read(wal_file(folder.path())).unwrap());
    let (again, report) = open(options(copy.path()));
    assert_eq!(&everything(&again), states.last().unwrap());
    assert_eq!((report.replayed_batches, report.damage), (200, vec![]));
}

#[test]
fn log_cut_at_any_byte_is_a_prefix() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let states = write_batches(&tsdb, 24);
    let bytes = fs::read(wal_file(folder.path())).unwrap();
    let mut seen = 0;
    for len in 0..=bytes.len() {
        let copy = with_log(&bytes[..len]);
        let (again, report) = open(options(copy.path()));
        let found = everything(&again);
        let batch = report.replayed_batches as usize;
        assert_eq!(found, states[batch], "cut at {len}");
        assert!(batch >= seen, "cut at {len}: a longer log holds less");
        seen = batch;
        let torn = report.damage.iter().all(|damage| matches!(damage, Damage::TornTail { .. }));
        assert!(torn, "cut at {len}: {:?}", report.damage);
        drop(again);
        assert_eq!(open(options(copy.path())).1.damage, vec![], "cut at {len}: reported twice");
    }
    assert_eq!(seen, 24);
}

#[test]
fn flipped_bits_never_make_a_value() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let states = write_batches(&tsdb, 200);
    let written: BTreeMap<(String, i64), Bits> = states
        .last()
        .unwrap()
        .iter()
        .flat_map(|(labels, samples)| samples.iter().map(|(at, value)| ((labels.clone(), *at), value.clone())))
        .collect();
    let bytes = fs::read(wal_file(folder.path())).unwrap();
    let seed = 20_261_124;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..150 {
        let mut damaged = bytes.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..damaged.len());
            damaged[at] ^= 1 << random.random_range(0..8);
        }
        let copy = with_log(&damaged);
        let clock = std::sync::Arc::new(datamodel::time::ManualClock::default());
        let Ok((again, report)) = Tsdb::open(options(copy.path()), clock) else {
            // Only the version number can make a file unreadable.
            assert_ne!(damaged[..16], bytes[..16]);
            continue;
        };
        for (labels, samples) in everything(&again) {
            for (at, value) in samples {
                assert_eq!(written.get(&(labels.clone(), at)), Some(&value), "{labels} at {at}");
            }
        }
        assert!(!report.damage.is_empty() || everything(&again) == *states.last().unwrap());
    }
}

#[test]
fn damage_in_the_middle_costs_only_what_builds_on_it() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let states = write_batches(&tsdb, 600);
    let mut bytes = fs::read(wal_file(folder.path())).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let copy = with_log(&bytes);
    let (again, report) = open(options(copy.path()));
    assert!(matches!(report.damage[0], Damage::Lost { .. }), "{:?}", report.damage);
    let count = |answer: &Answer| answer.iter().map(|(_, samples)| samples.len()).sum::<usize>();
    let (found, all) = (everything(&again), count(states.last().unwrap()));
    // A group is read again from its next absolute row on, at most 64 of its 200 rows later.
    assert!(count(&found) * 10 > all * 6, "{} of {all}", count(&found));
    let newest = |answer: &Answer| answer.iter().filter_map(|(_, samples)| samples.last()).map(|(at, _)| *at).max();
    assert_eq!(newest(&found), newest(states.last().unwrap()));
}

#[test]
fn failed_write_makes_nothing_visible_and_the_next_file_goes_on() {
    let folder = super::folder();
    let (tsdb, _) = open(options(folder.path()));
    let group = tsdb.appender().create_group();
    let labels = [Labels::from_pairs([("n", "1")]), Labels::from_pairs([("n", "2")])];
    let write = |at: i64| {
        let mut appender = tsdb.appender();
        for labels in &labels {
            let series = appender.series(Some(group), labels).unwrap();
            appender.append(series, datamodel::Timestamp::from_unix_ms(at), at as f64).unwrap();
        }
        appender.commit()
    };
    write(1000).unwrap();
    let Ok(full) = fs::OpenOptions::new().append(true).open("/dev/full") else {
        println!("not checked: no /dev/full on this machine");
        return;
    };
    tsdb.inner.writer().wal.set_file(std::sync::Arc::new(crate::disk::RealFile(full)));
    let before = everything(&tsdb);
    let error = write(2000).unwrap_err();
    assert!(error.to_string().starts_with("storage failed: write the write-ahead log"), "{error}");
    assert_eq!(everything(&tsdb), before);
    assert!(write(2000).is_err(), "the file takes no more");
    tsdb.seal().unwrap();
    write(3000).unwrap();
    let after = everything(&tsdb);
    drop(tsdb);
    assert_eq!(everything(&open(options(folder.path())).0), after);
    assert_eq!(after[0].1.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1000, 3000]);
}

/// Names the folder to the process that is to be killed.
const VICTIM: &str = "CRESCENDO_TSDB_TEST_VICTIM";

/// Commits one row after the other and says so after each, until it is killed.
fn be_the_victim(folder: &Path) {
    let (tsdb, report) = open(options(folder));
    assert!(report.damage.iter().all(|damage| matches!(damage, Damage::TornTail { .. })), "{:?}", report.damage);
    let labels: Vec<Labels> = (0..20).map(|n: i32| Labels::from_pairs([("n", n.to_string())])).collect();
    let group = tsdb.appender().create_group();
    let first = everything(&tsdb).first().and_then(|(_, samples)| samples.last().map(|(at, _)| at + 1)).unwrap_or(0);
    for at in first.. {
        let row: Vec<_> = labels.iter().map(|labels| (labels, at, Value::Float(at as f64 / 8.0))).collect();
        assert!(append(&tsdb, Some(group), &row).is_empty());
        println!("\ncommitted {at}");
        if at % 97 == 96 {
            tsdb.seal().unwrap();
            tsdb.inner.merge_once().unwrap();
        }
    }
}

#[test]
fn killed_process_loses_nothing_that_it_acknowledged() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        be_the_victim(Path::new(&folder));
    }
    let folder = super::folder();
    let seed = 20_261_125;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut acknowledged = -1;
    for round in 0..8 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::crash::killed_process_loses_nothing_that_it_acknowledged", "--nocapture"])
            .env(VICTIM, folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let until = acknowledged + random.random_range(1..250);
        let lines = std::io::BufRead::lines(std::io::BufReader::new(victim.stdout.take().unwrap()));
        for line in lines.map_while(Result::ok) {
            if let Some(at) = line.strip_prefix("committed ").and_then(|at| at.parse().ok()) {
                acknowledged = at;
            }
            if acknowledged >= until {
                break;
            }
        }
        assert!(acknowledged >= until, "round {round}: the process ended by itself");
        // On Unix this is signal 9.
        victim.kill().unwrap();
        victim.wait().unwrap();
        let (again, _) = open(options(folder.path()));
        let found = everything(&again);
        assert_eq!(found.len(), 20, "round {round}");
        for (labels, samples) in found {
            let expected = |at: i64| (at, Bits::Float((at as f64 / 8.0).to_bits()));
            let len = i64::try_from(samples.len()).unwrap();
            assert!(len > acknowledged, "round {round}: {labels} ends early");
            assert!(samples.iter().cloned().eq((0..len).map(expected)), "round {round}: {labels}");
        }
    }
}
