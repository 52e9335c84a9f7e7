//! Tests of the whole storage, each on a folder of its own.

mod blocks;
mod crash;
mod differential;
mod exemplars;
mod late;
mod options;
mod power;
mod seal;

use std::path::Path;
use std::sync::Arc;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Histogram, Labels, MatchOp, Matcher, Timestamp};
use storage::{AppendError, Appendable, GroupRef, Queryable, Samples, SelectHints, SeriesRef};

use crate::{OpenReport, Tsdb, TsdbOptions};

/// A value that a test writes.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Float(f64),
    Histogram(Histogram),
}

/// A sample in a form that compares to the bit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bits {
    Float(u64),
    Histogram(Vec<u8>),
}

type Answer = Vec<(String, Vec<(i64, Bits)>)>;

/// A folder in memory where the machine has one, because the tests sync much.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_absent| tempfile::tempdir()).unwrap()
}

fn options(path: &Path) -> TsdbOptions {
    TsdbOptions::new(path)
}

fn open(options: TsdbOptions) -> (Tsdb, OpenReport) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_000_000)));
    Tsdb::open(options, clock).unwrap()
}

/// Appends in one batch; returns the texts of the refusals, sorted.
fn append(
    storage: &dyn Appendable,
    group: Option<GroupRef>,
    samples: &[(&Labels, i64, Value)],
) -> Vec<(SeriesRef, AppendError)> {
    let mut appender = storage.appender();
    for (labels, at, value) in samples {
        let series = appender.series(group, labels).unwrap();
        let at = Timestamp::from_unix_ms(*at);
        match value {
            Value::Float(value) => appender.append(series, at, *value).unwrap(),
            Value::Histogram(histogram) => appender.append_histogram(series, at, histogram.clone()).unwrap(),
        }
    }
    appender.commit().unwrap()
}

/// Everything that passes the matchers in the range.
fn answer(storage: &dyn Queryable, matchers: &[Matcher], range: TimeRange) -> Answer {
    let querier = storage.querier(range).unwrap();
    let mut set = querier.select(matchers, &SelectHints::default()).unwrap();
    let mut answer = Vec::new();
    while let Some(series) = set.next() {
        let series = series.unwrap();
        let mut samples = Samples::default();
        series.read(range, &mut samples).unwrap();
        if !samples.is_empty() {
            answer.push((series.labels().to_string(), bits(&samples)));
        }
    }
    answer
}

fn everything(storage: &dyn Queryable) -> Answer {
    answer(storage, &[Matcher::new(MatchOp::NotEqual, "none", "x").unwrap()], TimeRange::ALL)
}

fn bits(samples: &Samples) -> Vec<(i64, Bits)> {
    let mut histograms = samples.histograms.iter().peekable();
    let with_index = samples.timestamps.iter().zip(&samples.values).enumerate();
    with_index
        .map(|(index, (at, value))| match histograms.next_if(|(place, _)| *place == index) {
            Some((_, histogram)) => (*at, Bits::Histogram(crate::histogram::encode(histogram))),
            None => (*at, Bits::Float(value.to_bits())),
        })
        .collect()
}
