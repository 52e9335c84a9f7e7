//! The power goes at every step of a workload: nothing that was acknowledged is lost, nothing deleted comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Clock, Labels, Matcher, Timestamp};
use storage::{AppendError, Appendable, Exemplar, ExemplarQueryable};

use super::{Bits, Value, append, everything};
use crate::disk::simulated::{SimulatedDisk, Unsynced};
use crate::{Damage, Tsdb, TsdbOptions};

/// Labels and instant.
type Key = (String, i64);

/// What may and what must be there.
#[derive(Clone, Default)]
struct Ledger {
    /// Acknowledged as durable.
    certain: BTreeMap<Key, Bits>,
    /// Committed, or about to be, or about to be deleted: all of a batch or nothing.
    possible: Vec<BTreeMap<Key, Bits>>,
    /// Samples that may go one by one.
    leaving: BTreeMap<Key, Bits>,
    /// Folders with what must be in them.
    snapshots: Vec<(PathBuf, BTreeMap<Key, Bits>)>,
    exemplars: BTreeSet<i64>,
}

impl Ledger {
    fn sync(&mut self) {
        self.certain.extend(std::mem::take(&mut self.possible).into_iter().flatten());
    }

    /// All that may be there.
    fn all(&self) -> BTreeMap<Key, Bits> {
        let possible = self.possible.iter().flatten();
        possible.chain(&self.certain).chain(&self.leaving).map(|(key, bits)| (key.clone(), bits.clone())).collect()
    }

    fn check(&self, found: &BTreeMap<Key, Bits>, context: &str) {
        let all = self.all();
        for (key, bits) in found {
            assert_eq!(all.get(key), Some(bits), "{context}: {key:?} is there, and should not be");
        }
        for (key, bits) in &self.certain {
            assert_eq!(found.get(key), Some(bits), "{context}: {key:?} is lost");
        }
        for batch in &self.possible {
            let there = batch.keys().filter(|key| found.contains_key(*key)).count();
            assert!(there == 0 || there == batch.len(), "{context}: half of a batch is there");
        }
    }
}

fn folder() -> &'static Path {
    Path::new("/data")
}

fn options(path: &Path) -> TsdbOptions {
    let window = Duration::from_secs(20);
    TsdbOptions { out_of_order_window: window, ..TsdbOptions::new(path) }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_ms(100_000_000)))
}

fn labels(n: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("n", &n.to_string())])
}

fn samples_of(tsdb: &Tsdb) -> BTreeMap<Key, Bits> {
    let series = everything(tsdb).into_iter();
    series
        .flat_map(|(labels, samples)| samples.into_iter().map(move |(at, bits)| ((labels.clone(), at), bits)))
        .collect()
}

/// Commits a row of four series; a durable writer's counts as acknowledged.
fn row(tsdb: &Tsdb, ledger: &mut Ledger, at: i64, is_durable: bool) -> Result<(), AppendError> {
    let value = at as f64 / 4.0;
    let batch = (0..4).map(|n| ((labels(n).to_string(), at), Bits::Float(value.to_bits()))).collect();
    ledger.possible.push(batch);
    let durable = tsdb.durable();
    let mut appender = if is_durable { durable.appender() } else { tsdb.appender() };
    for n in 0..4 {
        let series = appender.series(None, &labels(n))?;
        appender.append(series, Timestamp::from_unix_ms(at), value)?;
    }
    assert!(appender.commit()?.is_empty());
    if is_durable {
        ledger.sync();
    }
    Ok(())
}

fn exemplar(tsdb: &Tsdb, ledger: &mut Ledger, at: i64) -> Result<(), AppendError> {
    let durable = tsdb.durable();
    let mut appender = durable.appender();
    let series = appender.series(None, &labels(0))?;
    let trace = Labels::from_pairs([("trace_id", at.to_string())]);
    let exemplar = Exemplar { labels: trace, value: 1.0, at: Timestamp::from_unix_ms(at), has_timestamp: true };
    appender.append_exemplar(series, exemplar)?;
    appender.commit()?;
    ledger.exemplars.insert(at);
    Ok(())
}

fn delete(tsdb: &Tsdb, ledger: &mut Ledger, n: usize, range: TimeRange) -> Result<(), AppendError> {
    let is_deleted =
        |(series, at): &Key| *series == labels(n).to_string() && range.contains(Timestamp::from_unix_ms(*at));
    tsdb.seal()?;
    ledger.sync();
    let leaving: Vec<Key> = ledger.certain.keys().filter(|key| is_deleted(key)).cloned().collect();
    for key in leaving {
        let bits = ledger.certain.remove(&key).unwrap();
        ledger.leaving.insert(key, bits);
    }
    tsdb.delete(&[Matcher::equal("n", n.to_string())], range)?;
    ledger.leaving.clear();
    Ok(())
}

/// Everything that a storage does; ends at the first error.
fn work(tsdb: &Tsdb, ledger: &mut Ledger, from: i64) -> Result<(), AppendError> {
    let second = |n: i64| (from + n) * 1000;
    row(tsdb, ledger, second(0), false)?;
    row(tsdb, ledger, second(1), true)?;
    exemplar(tsdb, ledger, second(1))?;
    row(tsdb, ledger, second(2), false)?;
    tsdb.seal()?;
    ledger.sync();
    for n in 3..6 {
        row(tsdb, ledger, second(n), n == 4)?;
        // Behind newer ones.
        let late = (labels(1).to_string(), second(n) - 700);
        ledger.possible.push(BTreeMap::from([(late.clone(), Bits::Float(7.0_f64.to_bits()))]));
        let refused = append_late(tsdb, late.1)?;
        assert_eq!(refused, 0);
        tsdb.seal()?;
        ledger.sync();
    }
    exemplar(tsdb, ledger, second(5))?;
    tsdb.inner.merge_once()?;
    row(tsdb, ledger, second(6), false)?;
    let to = folder().join(format!("snapshot-{from}"));
    tsdb.snapshot(&to)?;
    ledger.sync();
    ledger.snapshots.push((to, ledger.certain.clone()));
    let range = TimeRange { start: Timestamp::from_unix_ms(second(1)), end: Timestamp::from_unix_ms(second(4)) };
    delete(tsdb, ledger, 2, range)?;
    row(tsdb, ledger, second(7), true)?;
    // All that one series has, which leaves a segment empty in no case, and then all of all.
    delete(tsdb, ledger, 3, TimeRange::ALL)?;
    for n in 0..4 {
        delete(tsdb, ledger, n, TimeRange { start: Timestamp::MIN, end: Timestamp::from_unix_ms(second(6)) })?;
    }
    row(tsdb, ledger, second(8), false)?;
    tsdb.compact()?;
    ledger.sync();
    row(tsdb, ledger, second(9), true)?;
    for n in 0..4 {
        delete(tsdb, ledger, n, TimeRange::ALL)?;
    }
    row(tsdb, ledger, second(10), true)?;
    tsdb.close()
}

fn append_late(tsdb: &Tsdb, at: i64) -> Result<usize, AppendError> {
    let mut appender = tsdb.appender();
    let series = appender.series(None, &labels(1))?;
    appender.append(series, Timestamp::from_unix_ms(at), 7.0)?;
    appender.commit().map(|refused| refused.len())
}

fn check_opened(disk: &SimulatedDisk, ledger: &Ledger, context: &str) -> Tsdb {
    let opened = Tsdb::open_on(Arc::new(disk.clone()), options(folder()), clock());
    let (tsdb, report) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    let torn = |damage: &Damage| matches!(damage, Damage::TornTail { .. });
    assert!(report.damage.iter().all(torn), "{context}: {:?}", report.damage);
    ledger.check(&samples_of(&tsdb), context);
    let selectors = [vec![Matcher::equal("__name__", "m")]];
    let exemplars = tsdb.exemplars(TimeRange::ALL, &selectors).unwrap();
    let found: BTreeSet<i64> =
        exemplars.iter().flat_map(|found| &found.exemplars).map(|exemplar| exemplar.at.unix_ms()).collect();
    assert!(found.is_superset(&ledger.exemplars), "{context}: exemplars {:?} of {:?}", found, ledger.exemplars);
    for (to, expected) in &ledger.snapshots {
        let opened = Tsdb::open_on(Arc::new(disk.clone()), options(to), clock());
        let (snapshot, report) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!((samples_of(&snapshot), report.damage), (expected.clone(), vec![]), "{context}: snapshot");
    }
    tsdb
}

#[test]
fn power_may_go_at_every_step() {
    let begin = |dies_at| {
        let disk = SimulatedDisk::new(folder(), dies_at);
        let mut ledger = Ledger::default();
        let opened = Tsdb::open_on(Arc::new(disk.clone()), options(folder()), clock());
        // Without power at the start there is nothing to lose.
        let result = opened.map_or(Ok(()), |(tsdb, _)| work(&tsdb, &mut ledger, 1000));
        (disk, ledger, result)
    };
    let (whole, ledger, result) = begin(None);
    result.unwrap();
    let steps = whole.steps();
    let tsdb = check_opened(&whole, &ledger, "without a loss");
    assert_eq!(samples_of(&tsdb).len(), 4);
    let seed = 20_261_126;
    println!("{steps} steps, seed {seed}");
    for step in 1..=steps {
        let (disk, ledger, result) = begin(Some(step));
        assert!(disk.is_dead(), "step {step}: {result:?}");
        let seeds = (0..4).map(|n| Unsynced::Either(seed + step * 100 + n));
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain(seeds) {
            let context = format!("step {step}, {unsynced:?}");
            let disk = disk.after_power_loss(unsynced, None);
            let tsdb = check_opened(&disk, &ledger, &context);
            // It goes on, and what it writes now is durable as well.
            let mut after = Ledger { certain: samples_of(&tsdb), ..Ledger::default() };
            row(&tsdb, &mut after, 2_000_000, true).unwrap_or_else(|error| panic!("{context}: {error}"));
            drop(tsdb);
            let disk = disk.after_power_loss(Unsynced::Lost, None);
            check_opened(&disk, &after, &format!("{context}, and again"));
        }
    }
}

#[test]
fn power_may_go_at_every_step_of_a_start_after_a_loss() {
    let seed = 20_261_127;
    println!("seed {seed}");
    let whole = SimulatedDisk::new(folder(), None);
    let (tsdb, _) = Tsdb::open_on(Arc::new(whole.clone()), options(folder()), clock()).unwrap();
    work(&tsdb, &mut Ledger::default(), 1000).unwrap();
    let steps = whole.steps();
    for first in (1..=steps).step_by(7) {
        let disk = SimulatedDisk::new(folder(), Some(first));
        let mut ledger = Ledger::default();
        if let Ok((tsdb, _)) = Tsdb::open_on(Arc::new(disk.clone()), options(folder()), clock()) {
            work(&tsdb, &mut ledger, 1000).unwrap_err();
        }
        for second in 1.. {
            let context = format!("step {first}, then {second}");
            let disk = disk.after_power_loss(Unsynced::Either(seed + first), Some(second));
            let opened = Tsdb::open_on(Arc::new(disk.clone()), options(folder()), clock());
            if !disk.is_dead() {
                opened.unwrap_or_else(|error| panic!("{context}: {error}"));
                break;
            }
            drop(opened);
            let disk = disk.after_power_loss(Unsynced::Either(seed * second), None);
            check_opened(&disk, &ledger, &context);
        }
    }
}

#[test]
fn appended_rows_are_read_as_any_storage_does() {
    // The double is a disk: without a loss it does what the real one does.
    let disk = SimulatedDisk::new(folder(), None);
    let (tsdb, _) = Tsdb::open_on(Arc::new(disk.clone()), options(folder()), clock()).unwrap();
    append(&tsdb, None, &[(&labels(1), 1000, Value::Float(1.0))]);
    tsdb.compact().unwrap();
    assert_eq!(samples_of(&tsdb).len(), 1);
    let names: Vec<String> = disk.files().iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["/data/segments/00000001.seg", "/data/wal/00000002.wal"]);
}
