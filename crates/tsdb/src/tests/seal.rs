//! Sealing, merging and deleting: nothing changes for a reader, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Labels, Matcher, Timestamp};
use storage::{AppendError, Appendable, Queryable, SelectHints};

use super::{Answer, Value, append, everything, folder, open, options};
use crate::{Damage, Tsdb, TsdbOptions};

fn labels(n: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("n", &n.to_string())])
}

/// Scrapes of one target with five series, every second.
fn scrape(tsdb: &Tsdb, seconds: std::ops::Range<i64>) {
    let group = tsdb.appender().create_group();
    let names: Vec<Labels> = (0..5).map(labels).collect();
    for second in seconds {
        let value = |n: usize| Value::Float(second as f64 * [1.0, 0.1, 3.5, 0.0, 7.0][n]);
        let row: Vec<_> = names.iter().enumerate().map(|(n, labels)| (labels, second * 1000, value(n))).collect();
        assert!(append(tsdb, Some(group), &row).is_empty());
    }
}

fn files(folder: &Path) -> Vec<String> {
    let list = |dir: &str| fs::read_dir(folder.join(dir)).unwrap().map(move |entry| entry.unwrap().file_name());
    let mut names: Vec<String> = list("wal").chain(list("segments")).map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn copy_all(from: &Path, to: &Path, extension: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|found| found == extension) {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn count(answer: &Answer) -> usize {
    answer.iter().map(|(_, samples)| samples.len()).sum()
}

#[test]
fn sealed_rows_read_as_before_and_their_log_is_gone() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..100);
    let before = everything(&tsdb);
    let querier = tsdb.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[Matcher::equal("n", "1")], &SelectHints::default()).unwrap();
    let held = set.next().unwrap().unwrap();
    tsdb.seal().unwrap();
    assert_eq!(everything(&tsdb), before);
    assert_eq!(files(folder.path()), ["00000001.seg", "00000002.wal"]);
    let mut samples = storage::Samples::default();
    held.read(TimeRange::ALL, &mut samples).unwrap();
    assert_eq!(samples.len(), 100, "a reader from before the seal keeps its view");
    let stats = tsdb.stats();
    assert_eq!((stats.sealed_samples, stats.head_samples, stats.segments), (500, 0, 1));
    scrape(&tsdb, 100..150);
    tsdb.compact().unwrap();
    assert_eq!(files(folder.path()), ["00000003.seg", "00000003.wal"]);
    assert_eq!(count(&everything(&tsdb)), 750);
    drop(held);
    drop(set);
    drop(querier);
    drop(tsdb);
    let (again, report) = open(options(folder.path()));
    assert_eq!((report.segments, report.replayed_samples, report.damage), (1, 0, vec![]));
    assert_eq!(count(&everything(&again)), 750);
}

#[test]
fn death_between_the_steps_of_a_seal_loses_and_doubles_nothing() {
    let (folder, kept) = (folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..70);
    let before = everything(&tsdb);
    copy_all(&folder.path().join("wal"), kept.path(), "wal");
    tsdb.seal().unwrap();
    drop(tsdb);
    // The log was not removed yet.
    copy_all(kept.path(), &folder.path().join("wal"), "wal");
    // Another segment was begun.
    fs::write(folder.path().join("segments/00000002.tmp"), b"half").unwrap();
    let (again, report) = open(options(folder.path()));
    assert_eq!((report.replayed_samples, report.damage), (0, vec![]));
    assert_eq!(everything(&again), before);
    assert_eq!(files(folder.path()), ["00000001.seg", "00000003.wal"]);
}

#[test]
fn death_between_the_steps_of_a_merge_loses_and_doubles_nothing() {
    let (folder, kept) = (folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    for part in 0..3 {
        scrape(&tsdb, part * 50..part * 50 + 50);
        tsdb.seal().unwrap();
    }
    let before = everything(&tsdb);
    copy_all(&folder.path().join("segments"), kept.path(), "seg");
    tsdb.compact().unwrap();
    drop(tsdb);
    copy_all(kept.path(), &folder.path().join("segments"), "seg");
    let (again, report) = open(options(folder.path()));
    assert_eq!((report.segments, report.damage), (1, vec![]));
    assert_eq!(everything(&again), before);
    assert_eq!(files(folder.path()).iter().filter(|name| name.ends_with(".seg")).count(), 1);
}

#[test]
fn damaged_segment_is_set_aside_and_damaged_chunk_fails_its_query_only() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..50);
    tsdb.seal().unwrap();
    scrape(&tsdb, 50..100);
    tsdb.seal().unwrap();
    drop(tsdb);
    let damage = |name: &str, place: fn(usize) -> usize| {
        let path = folder.path().join("segments").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let at = place(bytes.len());
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    damage("00000001.seg", |len| len - 10);
    damage("00000002.seg", |_| 40);
    let (again, report) = open(options(folder.path()));
    assert_eq!(report.segments, 1);
    assert!(
        matches!(&report.damage[..], [Damage::SetAside { reason, .. }] if reason.contains("checksum of the footer"))
    );
    let querier = again.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[Matcher::equal("n", "1")], &SelectHints::default()).unwrap();
    let error = set.next().unwrap().unwrap().read(TimeRange::ALL, &mut storage::Samples::default()).unwrap_err();
    assert!(error.to_string().ends_with("00000002.seg"), "{error}");
    scrape(&again, 100..110);
}

#[test]
fn newer_segment_is_refused_by_name() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..50);
    tsdb.seal().unwrap();
    drop(tsdb);
    let path = folder.path().join("segments/00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[6] = 2;
    fs::write(&path, bytes).unwrap();
    let error = Tsdb::open(options(folder.path()), Arc::new(ManualClock::default())).map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("00000001.seg has format version 2; this version reads up to 1"), "{error}");
}

#[test]
fn head_is_sealed_by_age_and_by_size_and_neighbours_are_merged() {
    let folder = folder();
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
    let wanted = TsdbOptions { seal_samples: 1000, ..options(folder.path()) };
    let (tsdb, _) = Tsdb::open(wanted, Arc::clone(&clock) as Arc<dyn datamodel::Clock>).unwrap();
    scrape(&tsdb, 0..100);
    tsdb.maintain().unwrap();
    assert_eq!(tsdb.stats().segments, 0, "neither old nor large");
    clock.advance(Duration::from_secs(15 * 60));
    tsdb.maintain().unwrap();
    assert_eq!((tsdb.stats().segments, tsdb.stats().head_samples), (1, 0));
    for part in 1..4 {
        scrape(&tsdb, part * 1000..part * 1000 + 200);
        tsdb.maintain().unwrap();
        assert_eq!(tsdb.stats().segments, part.unsigned_abs() + 1, "large");
    }
    let before = everything(&tsdb);
    tsdb.maintain().unwrap();
    assert_eq!(tsdb.stats().segments, 1);
    assert_eq!(everything(&tsdb), before);
}

#[test]
fn retention_deletes_by_time_and_by_all_bytes() {
    let folder = folder();
    let by_time = TsdbOptions { retention_time: Some(Duration::from_secs(300)), ..options(folder.path()) };
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(700_000)));
    let (tsdb, _) = Tsdb::open(by_time, Arc::clone(&clock) as Arc<dyn datamodel::Clock>).unwrap();
    for part in 0..4 {
        scrape(&tsdb, part * 200..part * 200 + 100);
        tsdb.seal().unwrap();
    }
    tsdb.maintain().unwrap();
    clock.set(Timestamp::from_unix_ms(1_250_000));
    tsdb.inner.retain().unwrap();
    assert_eq!(tsdb.stats().sealed_bounds_ms.unwrap().0, 400_000, "counted from the newest sample, not the clock");
    scrape(&tsdb, 1000..1300);
    tsdb.seal().unwrap();
    tsdb.inner.retain().unwrap();
    assert_eq!(tsdb.stats().sealed_bounds_ms.unwrap().0, 1_000_000, "not from a sample in the future");
    let refused = append(&tsdb, None, &[(&labels(9), 900_000, Value::Float(1.0))]);
    assert_eq!(refused[0].1.to_string(), "sample too old: at 900000 ms, oldest accepted is 950000 ms");
    drop(tsdb);

    let folder = super::folder();
    let (tsdb, _) = open(TsdbOptions { retention_size: Some(6000), ..options(folder.path()) });
    for part in 0..20 {
        scrape(&tsdb, part * 200..part * 200 + 200);
        tsdb.seal().unwrap();
        tsdb.inner.retain().unwrap();
        assert!(tsdb.stats().disk_bytes <= 6000);
    }
    assert_eq!(tsdb.stats().sealed_bounds_ms.unwrap().1, 3_999_000);
    assert!(tsdb.stats().segments > 0);
}

#[test]
fn series_without_samples_are_forgotten_and_come_back() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    let group = tsdb.appender().create_group();
    let (kept, gone) = (labels(1), labels(2));
    append(&tsdb, Some(group), &[(&kept, 1000, Value::Float(1.0)), (&gone, 1000, Value::Float(1.0))]);
    let reference = tsdb.appender().series(None, &gone).unwrap();
    for second in 2..6 {
        append(&tsdb, Some(group), &[(&kept, second * 1000, Value::Float(1.0))]);
        tsdb.seal().unwrap();
    }
    assert_eq!(tsdb.stats().head_series, 1);
    let mut appender = tsdb.appender();
    let at = Timestamp::from_unix_ms(9000);
    assert!(matches!(appender.append(reference, at, 1.0), Err(AppendError::UnknownSeries)));
    assert!(matches!(appender.append(storage::SeriesRef(1 << 32 | 77), at, 1.0), Err(AppendError::UnknownSeries)));
    drop(appender);
    // The same instant with another value is told even though the head has forgotten the sample.
    let refused = append(&tsdb, Some(group), &[(&gone, 1000, Value::Float(2.0))]);
    assert!(matches!(refused[..], [(_, AppendError::Duplicate(_))]), "{refused:?}");
    assert!(
        append(&tsdb, Some(group), &[(&gone, 6000, Value::Float(2.0)), (&kept, 6000, Value::Float(2.0))]).is_empty()
    );
    for _ in 0..4 {
        tsdb.seal().unwrap();
    }
    // The holder of a group outlives its series.
    scrape_alone(&tsdb, group);
    let found = everything(&tsdb);
    assert_eq!(found.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [7, 3]);
    drop(tsdb);
    assert_eq!(everything(&open(options(folder.path())).0), found);
}

fn scrape_alone(tsdb: &Tsdb, group: storage::GroupRef) {
    let row = [(&labels(1), 10_000, Value::Float(3.0)), (&labels(2), 10_000, Value::Float(3.0))];
    assert!(append(tsdb, Some(group), &row).is_empty());
}

#[test]
fn snapshot_is_a_storage_of_its_own() {
    let (folder, other) = (folder(), folder());
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..50);
    let before = everything(&tsdb);
    let to = other.path().join("snapshot");
    tsdb.snapshot(&to).unwrap();
    scrape(&tsdb, 50..100);
    tsdb.compact().unwrap();
    assert_eq!(everything(&open(options(&to)).0), before);
    assert!(tsdb.snapshot(&to).is_err(), "the folder exists");
}

#[test]
fn batch_that_is_open_over_many_seals_loses_nothing() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    let mut appender = tsdb.appender();
    let early = appender.series(None, &labels(1)).unwrap();
    appender.append(early, Timestamp::from_unix_ms(1000), 1.0).unwrap();
    let late = appender.series(None, &labels(2)).unwrap();
    for second in 0..6 {
        append(&tsdb, None, &[(&labels(3), second * 1000, Value::Float(0.0))]);
        tsdb.seal().unwrap();
    }
    assert_eq!(tsdb.stats().head_series, 1, "both were forgotten meanwhile");
    appender.append(late, Timestamp::from_unix_ms(2000), 2.0).unwrap();
    assert!(appender.commit().unwrap().is_empty());
    let lengths: Vec<_> = everything(&tsdb).iter().map(|(_, samples)| samples.len()).collect();
    assert_eq!(lengths, [1, 1, 6]);
}

#[test]
fn reference_of_an_earlier_batch_outlives_a_seal_between_sample_and_commit() {
    let folder = folder();
    let (tsdb, _) = open(TsdbOptions { max_series: 3, ..options(folder.path()) });
    let group = tsdb.appender().create_group();
    append(&tsdb, Some(group), &[(&labels(1), 1000, Value::Float(1.0)), (&labels(2), 1000, Value::Float(1.0))]);
    let references: Vec<_> = (1..3).map(|n| tsdb.appender().series(None, &labels(n)).unwrap()).collect();
    let mut first = tsdb.appender();
    let mut second = tsdb.appender();
    first.append(references[0], Timestamp::from_unix_ms(2000), 2.0).unwrap();
    for second in 2..6 {
        append(&tsdb, None, &[(&labels(3), second * 1000, Value::Float(0.0))]);
        tsdb.seal().unwrap();
    }
    assert_eq!(tsdb.stats().head_series, 1, "both were forgotten meanwhile");
    let error = tsdb.appender().series(None, &labels(9)).unwrap_err();
    assert!(matches!(error, AppendError::OutOfMemory), "their places are kept: {error}");
    second.append(references[1], Timestamp::from_unix_ms(2000), 2.0).unwrap();
    second.append(references[0], Timestamp::from_unix_ms(3000), 3.0).unwrap();
    assert_eq!(first.commit().unwrap().len(), 0);
    assert_eq!(second.commit().unwrap().len(), 0);
    let expected = everything(&tsdb);
    assert_eq!(expected.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [3, 2, 4]);
    let mut third = tsdb.appender();
    let refused = third.append(references[0], Timestamp::from_unix_ms(4000), 4.0);
    assert!(matches!(refused, Err(AppendError::UnknownSeries)), "it began when the reference was dead");
    drop(third);
    assert_eq!((tsdb.stats().created_series, tsdb.stats().forgotten_series), (5, 2));
    assert_eq!(tsdb.inner.batches.remembered_len(), 0);
    drop(tsdb);
    assert_eq!(everything(&open(options(folder.path())).0), expected);
}

#[test]
fn no_reference_is_lost_to_seals_at_any_moment() {
    const MOST_BATCHES: i64 = 200_000;
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    let done = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer: usize| {
                let tsdb = tsdb.clone();
                scope.spawn(move || {
                    let mut references: Vec<_> = (0..8).map(|_| None).collect();
                    let mut written = 0;
                    for second in 0..MOST_BATCHES {
                        // How soon a seal meets a series at rest is up to the scheduler: go on until one did.
                        if second >= 3000 && second % 500 == 0 && tsdb.stats().forgotten_series > 0 {
                            break;
                        }
                        // Most series rest for a while, so that seals forget them.
                        let n = (usize::try_from(second / 500 + second % 2).unwrap() + writer) % 8;
                        let mut appender = tsdb.appender();
                        let at = Timestamp::from_unix_ms(second * 1000);
                        let known = references[n].filter(|series| appender.append(*series, at, 1.0).is_ok());
                        if known.is_none() {
                            let name = labels(writer * 8 + n);
                            let series = appender.series(None, &name).unwrap();
                            appender.append(series, at, 1.0).unwrap();
                            references[n] = Some(series);
                        }
                        assert!(appender.commit().unwrap().is_empty(), "second {second}");
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        let sealer = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                tsdb.seal().unwrap();
            }
        });
        let written: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        sealer.join().unwrap();
        written
    });
    tsdb.compact().unwrap();
    assert_eq!(count(&everything(&tsdb)), written);
    assert!(tsdb.stats().forgotten_series > 0, "nothing was forgotten: the test shows nothing");
}

#[test]
fn writers_and_readers_go_on_while_the_head_is_sealed() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                scope.spawn({
                    let tsdb = tsdb.clone();
                    move || {
                        let group = tsdb.appender().create_group();
                        let names: Vec<Labels> = (0..4).map(|n| labels(writer * 4 + n)).collect();
                        for second in 0..600 {
                            let row: Vec<_> =
                                names.iter().map(|name| (name, second * 1000, Value::Float(second as f64))).collect();
                            assert!(append(&tsdb, Some(group), &row).is_empty());
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            tsdb.seal().unwrap();
            tsdb.inner.merge_once().unwrap();
            // Whatever is seen of a series is a run from its first sample, without a gap.
            for (name, samples) in everything(&tsdb) {
                let times: Vec<i64> = samples.iter().map(|(at, _)| *at).collect();
                let expected: Vec<i64> = (0..).map(|second| second * 1000).take(times.len()).collect();
                assert_eq!(times, expected, "{name}");
            }
        }
    });
    assert_eq!(count(&everything(&tsdb)), 8 * 600);
    drop(tsdb);
    assert_eq!(count(&everything(&open(options(folder.path())).0)), 8 * 600);
}

#[test]
fn ended_series_are_forgotten_by_a_seal_that_comes_early() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    let group = tsdb.appender().create_group();
    let names: Vec<Labels> = (0..3000).map(labels).collect();
    let kept = Labels::from_pairs([("__name__", "up")]);
    let row = |at: i64, value: f64| {
        let mut row: Vec<_> = names.iter().map(|name| (name, at, Value::Float(value))).collect();
        row.push((&kept, at, Value::Float(1.0)));
        assert!(append(&tsdb, Some(group), &row).is_empty());
    };
    row(1000, 1.0);
    tsdb.maintain().unwrap();
    assert_eq!(tsdb.stats().segments, 0);
    row(2000, datamodel::STALE_NAN);
    tsdb.maintain().unwrap();
    assert_eq!((tsdb.stats().segments, tsdb.stats().head_series), (1, 1));
    assert!(tsdb.stats().symbols < 10, "the index was made anew");
    // They come back as if nothing had happened.
    row(3000, 2.0);
    let found = everything(&tsdb);
    assert_eq!((found.len(), count(&found)), (3001, 9003));
    drop(tsdb);
    assert_eq!(everything(&open(options(folder.path())).0), found);
}

#[test]
fn seal_that_fails_loses_nothing_and_is_tried_again_after_a_rest() {
    let folder = folder();
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
    let wanted = TsdbOptions { seal_samples: 400, ..options(folder.path()) };
    let (tsdb, _) = Tsdb::open(wanted, Arc::clone(&clock) as Arc<dyn datamodel::Clock>).unwrap();
    let segments = folder.path().join("segments");
    scrape(&tsdb, 0..100);
    fs::remove_dir(&segments).unwrap();
    let error = tsdb.maintain().unwrap_err();
    assert!(error.to_string().starts_with("storage failed: seal: "), "{error}");
    scrape(&tsdb, 100..150);
    let before = everything(&tsdb);
    assert_eq!(count(&before), 750, "frozen and new rows are read");
    fs::create_dir(&segments).unwrap();
    tsdb.maintain().unwrap();
    assert_eq!(tsdb.stats().segments, 0, "it rests");
    clock.advance(Duration::from_secs(30));
    tsdb.maintain().unwrap();
    assert_eq!((tsdb.stats().segments, tsdb.stats().sealed_samples), (2, 750));
    assert_eq!(everything(&tsdb), before);
    drop(tsdb);
    assert_eq!(everything(&open(options(folder.path())).0), before);
}

#[test]
fn deleted_samples_are_gone_and_others_stay() {
    let folder = folder();
    let (tsdb, _) = open(options(folder.path()));
    scrape(&tsdb, 0..50);
    tsdb.seal().unwrap();
    scrape(&tsdb, 50..100);
    let mut expected = everything(&tsdb);
    let range = TimeRange { start: Timestamp::from_unix_ms(40_000), end: Timestamp::from_unix_ms(59_000) };
    tsdb.delete(&[Matcher::equal("n", "1")], range).unwrap();
    expected[1].1.retain(|(at, _)| *at < 40_000 || *at > 59_000);
    assert_eq!(everything(&tsdb), expected);
    tsdb.delete(&[Matcher::equal("n", "3")], TimeRange::ALL).unwrap();
    expected.remove(3);
    assert_eq!(everything(&tsdb), expected);
    drop(tsdb);
    let (again, report) = open(options(folder.path()));
    assert_eq!((everything(&again), report.damage), (expected, vec![]));
    again.delete(&[Matcher::equal("__name__", "m")], TimeRange::ALL).unwrap();
    assert_eq!((again.stats().segments, everything(&again)), (0, vec![]));
    scrape(&again, 100..110);
    assert_eq!(count(&everything(&again)), 50);
}
