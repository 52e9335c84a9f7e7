//! The write-ahead log: any payloads, in frames whose checksums are right, so that the decoder sees them.
//!
//! ```text
//! bytes ─▶ length, payload, length, payload … ─▶ frames of docs/format/wal.md ─▶ open ─▶ read, write, close ─▶ open
//! ```
//!
//! Rule: whatever the log says, the storage opens, serves what it has, takes more, and has it after a restart.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datamodel::time::{SystemClock, TimeRange};
use datamodel::{Labels, MatchOp, Matcher, Timestamp};
use storage::{Appendable, Queryable, Samples, SelectHints};
use tsdb::{Tsdb, TsdbOptions};

/// Payloads: a definition, a row, an exemplar's header; damage between.
pub const SEEDS: &[&[u8]] = &[
    b"\x09\x00\x00\x80\x01\x01\x01\x01m\x01",
    b"\x04\x00\x01\x00\x80\x81\x03\x00\x00\x00\x05",
    b"\x02\x00\x01\x01\x02\x07\x00\x00\x01\x00\x02\x00\x80",
];

/// One byte of length before each payload; 255 stands for two bytes of noise between frames.
pub fn wal(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let file = folder.path().join("wal").join("00000001.wal");
    let written = fs::create_dir_all(folder.path().join("wal")).and_then(|()| fs::write(&file, frames(data)));
    written.unwrap_or_else(|error| panic!("no log: {error}"));

    let storage = open(folder.path());
    let found = dump(&storage);
    let labels = Labels::from_pairs([("__name__", "after_the_log")]);
    // Behind everything that a log can hold and that can still be followed.
    let at = Timestamp::from_unix_ms(found.iter().map(|(_, newest, _)| *newest).max().unwrap_or(0).saturating_add(1));
    let mut appender = storage.appender();
    let series = appender.series(None, &labels);
    let appended = series.and_then(|series| appender.append(series, at, 1.0)).and_then(|()| appender.commit());
    let taken = matches!(&appended, Ok(refused) if refused.is_empty());
    let before = dump(&storage);
    assert!(!taken || before.iter().any(|(found, ..)| *found == labels), "an acknowledged sample is not there");
    storage.close().unwrap_or_else(|error| panic!("cannot close: {error}"));
    drop(storage);
    assert_eq!(dump(&open(folder.path())), before, "a restart changes what is there");
}

fn frames(data: &[u8]) -> Vec<u8> {
    let mut file = [b"CRWAL\0".as_slice(), &2_u16.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        if length == u8::MAX {
            let (noise, after) = after.split_at(after.len().min(2));
            file.extend_from_slice(noise);
            rest = after;
            continue;
        }
        let (payload, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        let bytes = u32::from(length).min(u32::try_from(payload.len()).unwrap_or(u32::MAX)).to_le_bytes();
        file.extend_from_slice(&bytes);
        file.push((crc32fast::hash(&bytes) >> 24) as u8);
        file.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        file.extend_from_slice(payload);
    }
    file
}

fn open(folder: &Path) -> Tsdb {
    let options = TsdbOptions { retention_time: None, max_series: 10_000, ..TsdbOptions::new(folder) };
    match Tsdb::open(options, Arc::new(SystemClock)) {
        Ok((storage, _report)) => storage,
        Err(error) => panic!("cannot open: {error}"),
    }
}

/// Labels, newest timestamp and all samples of every series.
fn dump(storage: &Tsdb) -> Vec<(Labels, i64, String)> {
    let all = Matcher::new(MatchOp::NotEqual, "\u{1}", "x");
    let (Ok(all), Ok(querier)) = (all, storage.querier(TimeRange::ALL)) else { panic!("cannot query") };
    let Ok(mut set) = querier.select(&[all], &SelectHints::default()) else { panic!("cannot select") };
    let mut found = Vec::new();
    while let Some(series) = set.next() {
        let Ok(series) = series else { panic!("cannot read a series") };
        let mut samples = Samples::default();
        series.read(TimeRange::ALL, &mut samples).unwrap_or_else(|error| panic!("cannot read: {error}"));
        let bits: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
        let text = format!("{:?} {bits:?} {:?}", samples.timestamps, samples.histograms);
        found.push((series.labels().clone(), samples.timestamps.last().copied().unwrap_or_default(), text));
    }
    found.sort();
    found
}
