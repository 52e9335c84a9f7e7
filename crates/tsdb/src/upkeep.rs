//! Upkeep: sealing the head, merging segments, deleting old ones. Each call does what is due.
//!
//! ```text
//! head ─seal─▶ level 0 ─4─▶ level 1 ─4─▶ level 2 …      15 min, 1 h, 4 h, 16 h, …
//! ```
//!
//! Rule: one thread at a time; a step that fails leaves everything readable and is tried again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use datamodel::sample::STALE_NAN_BITS;
use datamodel::time::{TimeRange, duration_ms};
use datamodel::{Matcher, Timestamp};
use storage::{AppendError, Samples};

use crate::codec::chunk::{Column, Scratch};
use crate::db::Inner;
use crate::folder::segment_path;
use crate::head::Last;
use crate::head::group::{Frozen, column_of};
use crate::head::seal::{Frost, Sealed};
use crate::merge::Deletion;
use crate::postings::resolve;
use crate::segment::names::Names;
use crate::segment::write::{About, MAX_COLUMNS, SegmentWriter};
use crate::segment::{Segment, SegmentError};

/// Neighbours of one level that are merged into one of the next.
const MERGE: usize = 4;

/// Fewer ended series than this are not worth a seal of their own: they hold less than a megabyte.
const MIN_ENDED: u64 = 1000;

/// A merged segment covers at most this share of the retention, so that deleting whole segments does not
/// keep data for much longer than asked.
const RETENTION_SHARE: i64 = 10;

/// Where no retention is set, and at most: 31 days, so that one damaged file is not everything.
const MAX_SPAN_MS: i64 = 31 * 86_400_000;

/// After a failure nothing is tried for so long: packing millions of samples for a full disk once a second
/// would take a whole core.
const REST: Duration = Duration::from_secs(30);

/// A seal that was begun.
#[derive(Debug)]
pub(crate) struct PendingSeal {
    frost: Frost,
    wal_through: u64,
}

/// What upkeep remembers between its steps.
#[derive(Debug)]
pub(crate) struct Upkeep {
    next_number: u64,
    pending: Option<PendingSeal>,
    /// Exemplars that had been taken when they were last written.
    saved_exemplars: u64,
    /// When a step last failed.
    failed_at: Option<Timestamp>,
}

impl Upkeep {
    /// `next_number`: of the next segment.
    pub(crate) const fn new(next_number: u64) -> Self {
        Self { next_number, pending: None, saved_exemplars: 0, failed_at: None }
    }

    /// The number of the next segment.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The next segment is there.
    pub(crate) const fn take_number(&mut self) {
        self.next_number += 1;
    }
}

fn failed(action: &str, path: &Path) -> impl FnOnce(io::Error) -> AppendError {
    let context = format!("{action}: {}", path.display());
    move |source| AppendError::Storage { context, source }
}

impl Inner {
    pub(crate) fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a step failed a short time ago.
    pub(crate) fn upkeep_rests(&self) -> bool {
        let now = self.clock.now();
        let failed_at = self.upkeep().failed_at;
        failed_at.is_some_and(|failed_at| failed_at <= now && now.since(failed_at) < REST)
    }

    pub(crate) fn let_upkeep_rest(&self) {
        self.counters.failed_upkeep.fetch_add(1, Ordering::Relaxed);
        self.upkeep().failed_at = Some(self.clock.now());
    }

    /// Whether the head is to be sealed now.
    pub(crate) fn seal_is_due(&self) -> bool {
        let now = self.clock.now();
        let oldest = self.writer().oldest_batch;
        let is_old = oldest.is_some_and(|oldest| now.since(oldest) >= self.options.seal_interval);
        let pending = self.upkeep().pending.is_some();
        let (samples, series) = (self.head().samples_len(), self.head().series_len() as u64);
        // Near its limit of bytes the head is sealed early, as long as that frees more than labels.
        let held = self.head_memory().bytes();
        let near = held / 3 > self.options.memory.left();
        // Ended series are forgotten by a seal: with many of them it pays early.
        let ended = self.head().ended_len();
        let many_ended = ended > MIN_ENDED && ended * 4 > series;
        // Late samples take some eight times the memory of others.
        let many_late = self.head().late_len() * 8 >= self.options.seal_samples;
        is_old
            || many_ended
            || many_late
            || pending
            || samples >= self.options.seal_samples
            || (near && samples > series * 8)
    }

    /// Seals the head: everything that was committed before the call is in a segment after it.
    pub(crate) fn seal(&self) -> Result<(), AppendError> {
        let mut upkeep = self.upkeep();
        if let Some(pending) = upkeep.pending.take() {
            self.write_seal(&mut upkeep, pending)?;
        }
        // Before the writer's lock is taken, so that little is left to sync under it.
        self.sync()?;
        let pending = {
            let mut writer = self.writer();
            if writer.oldest_batch.is_none() {
                return Ok(());
            }
            self.sync()?;
            let wal_through = writer.wal.number();
            let path = writer.wal.path().to_path_buf();
            writer.wal.rotate().map_err(failed("begin the log after", &path))?;
            writer.oldest_batch = None;
            PendingSeal { frost: self.head_mut().freeze(), wal_through }
        };
        self.write_seal(&mut upkeep, pending)
    }

    fn write_seal(&self, upkeep: &mut Upkeep, pending: PendingSeal) -> Result<(), AppendError> {
        let number = upkeep.next_number;
        let (segment, sampled) = match self.write_pending(upkeep, number, &pending) {
            Ok(written) => written,
            Err(error) => {
                upkeep.pending = Some(pending);
                return Err(error);
            }
        };
        upkeep.next_number += 1;
        {
            let mut writer = self.writer();
            let thawed = self.head_mut().finish_seal(segment, &sampled);
            writer.wal.forget(&thawed);
        }
        self.counters.seals.fetch_add(1, Ordering::Relaxed);
        let dir = self.wal_dir();
        crate::wal::remove_through(self.disk.as_ref(), &dir, pending.wal_through)
            .map_err(failed("remove sealed logs", &dir))
    }

    /// Writes what the logs hold that will be removed.
    fn write_pending(
        &self,
        upkeep: &mut Upkeep,
        number: u64,
        pending: &PendingSeal,
    ) -> Result<(Option<Arc<Segment>>, Sealed), AppendError> {
        self.save_exemplars(upkeep)?;
        let path = segment_path(&self.segment_dir(), number);
        let (sampled, empty) = self.write_frozen(&path, pending).map_err(failed("seal", &path))?;
        let segment = if empty { None } else { Some(self.open_written(&path, number)?) };
        Ok((segment, sampled))
    }

    /// Writes the exemplars, if there are others than last time.
    fn save_exemplars(&self, upkeep: &mut Upkeep) -> Result<(), AppendError> {
        let held = self.exemplars();
        let appended = held.appended();
        if appended == upkeep.saved_exemplars {
            return Ok(());
        }
        let bytes = held.file_bytes();
        drop(held);
        let path = self.exemplars_path();
        crate::disk::replace_file(self.disk.as_ref(), &path, &bytes).map_err(failed("write the exemplars", &path))?;
        upkeep.saved_exemplars = appended;
        Ok(())
    }

    pub(crate) fn open_written(&self, path: &Path, number: u64) -> Result<Arc<Segment>, AppendError> {
        let opened = Segment::open(self.disk.as_ref(), path, number).map_err(|error| match error {
            SegmentError::Io(source) => source,
            SegmentError::Corrupt(corrupt) => corrupt.into(),
            SegmentError::Newer(version) => io::Error::other(format!("unexpected version {version}")),
        });
        opened.map(Arc::new).map_err(failed("open the new segment", path))
    }

    /// Writes what was frozen; returns the series that have samples, and whether there is none.
    fn write_frozen(&self, path: &Path, pending: &PendingSeal) -> io::Result<(Sealed, bool)> {
        let mut writer = SegmentWriter::create(&self.disk, path)?;
        let result = self.pack_frozen(&mut writer, &pending.frost);
        let (names, sampled) = match result {
            Ok(packed) => packed,
            Err(error) => {
                writer.discard();
                return Err(error);
            }
        };
        if writer.is_empty() {
            writer.discard();
            return Ok((sampled, true));
        }
        writer.finish(names, &About { wal_through: pending.wal_through, ..About::default() })?;
        Ok((sampled, false))
    }

    fn pack_frozen(&self, writer: &mut SegmentWriter, frost: &Frost) -> io::Result<(Names, Sealed)> {
        let mut labels = SealNames::default();
        // Narrow groups with the same timestamps, as a remote write makes them, share a chunk.
        let mut narrow: HashMap<Vec<u8>, Vec<&Frozen>> = HashMap::new();
        for frozen in &frost.groups {
            if frozen.series.len() * 4 > MAX_COLUMNS {
                self.pack_together(writer, &mut labels, &[frozen])?;
            } else {
                narrow.entry(times_key(frozen)?).or_default().push(frozen);
            }
        }
        let mut buckets: Vec<Vec<&Frozen>> = narrow.into_values().collect();
        buckets.sort_by_key(|bucket| bucket.first().and_then(|frozen| frozen.series.first().copied()));
        for bucket in buckets {
            let mut together: Vec<&Frozen> = Vec::new();
            let mut width = 0;
            for frozen in bucket {
                let columns = frozen.all_series().len();
                if width + columns > MAX_COLUMNS {
                    self.pack_together(writer, &mut labels, &together)?;
                    together.clear();
                    width = 0;
                }
                width += columns;
                together.push(frozen);
            }
            self.pack_together(writer, &mut labels, &together)?;
        }
        self.pack_late(writer, &mut labels, frost)?;
        let mut sampled = labels.keys;
        for series in &labels.ended {
            sampled.remove(series);
        }
        let sealed = Sealed { ended: labels.ended.into_iter().collect(), sampled: sampled.into_keys().collect() };
        Ok((labels.names, sealed))
    }

    /// Writes late samples; series with the same instants, as a late batch has them, share a chunk.
    fn pack_late(&self, writer: &mut SegmentWriter, labels: &mut SealNames, frost: &Frost) -> io::Result<()> {
        let mut by_times: BTreeMap<Vec<i64>, Vec<(u32, Column)>> = BTreeMap::new();
        for (series, samples) in frost.late.all() {
            let column = column_of(&samples, &samples.timestamps);
            by_times.entry(samples.timestamps).or_default().push((labels.key(self, series), column));
        }
        by_times.into_iter().try_for_each(|(times, columns)| writer.add(&times, columns))
    }

    /// Writes groups that have the same timestamps.
    fn pack_together(&self, writer: &mut SegmentWriter, labels: &mut SealNames, groups: &[&Frozen]) -> io::Result<()> {
        let Some(first) = groups.first() else { return Ok(()) };
        let times = first.times()?;
        let mut scratch = Scratch::default();
        let mut columns = Vec::new();
        for frozen in groups {
            for series in frozen.all_series() {
                let samples = Frost::read(frozen, series, &mut scratch)?;
                if let Some(last) = Last::of(&samples) {
                    if last.bits == STALE_NAN_BITS && last.histogram.is_none() {
                        labels.ended.push(series);
                    }
                    columns.push((labels.key(self, series), column_of(&samples, &times)));
                }
            }
        }
        self.sync_meanwhile()?;
        writer.add(&times, columns)
    }

    /// Work on segments may take longer than the interval between syncs of the log.
    fn sync_meanwhile(&self) -> io::Result<()> {
        self.sync_if_due().map_err(io::Error::other)
    }

    /// Links or copies the segments into a new folder.
    pub(crate) fn snapshot(&self, to: &Path) -> Result<(), AppendError> {
        // Upkeep must not delete a segment meanwhile.
        let _upkeep = self.upkeep();
        let segments = Arc::clone(self.head().segments());
        self.disk.create_folder(to).map_err(failed("create the snapshot", to))?;
        let dir = to.join("segments");
        self.disk.create_folder(&dir).map_err(failed("create the snapshot", &dir))?;
        for segment in segments.iter() {
            let path = segment_path(&dir, segment.number());
            self.disk.link(segment.path(), &path).map_err(failed("copy a segment to", &path))?;
        }
        self.disk.sync_folder(&dir).map_err(failed("sync the snapshot", &dir))
    }

    /// Merges neighbours, where there are enough of one level; returns whether it did.
    pub(crate) fn merge_once(&self) -> Result<bool, AppendError> {
        let segments = Arc::clone(self.head().segments());
        let retention = self.options.retention_time.map_or(i64::MAX, duration_ms);
        let max_span = (retention / RETENTION_SHARE).min(MAX_SPAN_MS);
        let span = |run: &[Arc<Segment>]| {
            let min = run.iter().map(|segment| segment.min_ms).min().unwrap_or(0);
            let max = run.iter().map(|segment| segment.max_ms).max().unwrap_or(0);
            max.saturating_sub(min)
        };
        let ready = |run: &&[Arc<Segment>]| {
            let level = run.first().map(|segment| segment.level);
            run.iter().all(|segment| Some(segment.level) == level) && span(run) <= max_span
        };
        match segments.windows(MERGE).find(ready) {
            Some(run) => self.merge(run).map(|()| true),
            None => Ok(false),
        }
    }

    /// Merges all segments into one.
    pub(crate) fn merge_all(&self) -> Result<(), AppendError> {
        let segments = Arc::clone(self.head().segments());
        if segments.len() < 2 { Ok(()) } else { self.merge(&segments) }
    }

    fn merge(&self, run: &[Arc<Segment>]) -> Result<(), AppendError> {
        let mut upkeep = self.upkeep();
        let number = upkeep.next_number;
        let path = segment_path(&self.segment_dir(), number);
        crate::merge::write(&self.disk, &path, run, || self.sync_meanwhile())
            .map_err(failed("merge segments into", &path))?;
        let merged = self.open_written(&path, number)?;
        upkeep.next_number += 1;
        self.counters.merges.fetch_add(1, Ordering::Relaxed);
        self.replace(run, Some(merged))
    }

    /// Writes the segments that hold matching samples in the range anew, without them.
    pub(crate) fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), AppendError> {
        let mut upkeep = self.upkeep();
        let segments = Arc::clone(self.head().segments());
        for segment in segments.iter().filter(|segment| segment.overlaps(range)) {
            let found = resolve(segment.as_ref(), matchers).map_err(io::Error::from);
            let series: HashSet<u32> = found.map_err(failed("read", segment.path()))?.into_iter().collect();
            if series.is_empty() {
                continue;
            }
            let number = upkeep.next_number;
            let path = segment_path(&self.segment_dir(), number);
            let without = Deletion { series, range };
            let rewritten = crate::merge::rewrite(&self.disk, &path, segment, &without, || self.sync_meanwhile());
            let left = rewritten.map_err(failed("write a segment anew as", &path))?;
            let new = if left { Some(self.open_written(&path, number)?) } else { None };
            upkeep.next_number += 1;
            self.replace(std::slice::from_ref(segment), new)?;
        }
        Ok(())
    }

    /// Takes segments out of the list, one in, and deletes their files.
    fn replace(&self, old: &[Arc<Segment>], new: Option<Arc<Segment>>) -> Result<(), AppendError> {
        let gone: HashSet<u64> = old.iter().map(|segment| segment.number()).collect();
        {
            let _writer = self.writer();
            let mut head = self.head_mut();
            let kept = head.segments().iter().filter(|segment| !gone.contains(&segment.number())).cloned();
            let segments = kept.chain(new).collect();
            head.set_segments(segments);
        }
        for segment in old {
            let path = segment.path();
            self.disk.remove(path).map_err(failed("remove a segment", path))?;
        }
        // What was deleted stays away after a loss of power as well.
        let dir = self.segment_dir();
        self.disk.sync_folder(&dir).map_err(failed("sync", &dir))
    }

    /// Deletes segments that are too old, and the oldest ones while the folder is too large.
    pub(crate) fn retain(&self) -> Result<(), AppendError> {
        let segments = Arc::clone(self.head().segments());
        let oldest = self.oldest_kept(&self.head());
        let mut gone: Vec<Arc<Segment>> =
            segments.iter().filter(|segment| Some(segment.max_ms) < oldest).cloned().collect();
        let expired = gone.len();
        if let Some(limit) = self.options.retention_size {
            let dropped: u64 = gone.iter().map(|segment| segment.byte_len()).sum();
            let mut bytes = self.disk.byte_len(&self.options.path).saturating_sub(dropped);
            for segment in segments.iter() {
                if bytes <= limit {
                    break;
                }
                if !gone.iter().any(|other| other.number() == segment.number()) {
                    bytes = bytes.saturating_sub(segment.byte_len());
                    gone.push(Arc::clone(segment));
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.replace(&gone, None)?;
        self.counters.expired.fetch_add(expired as u64, Ordering::Relaxed);
        self.counters.oversize.fetch_add((gone.len() - expired) as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// The log number of the newest seal, which a deleted or merged segment must not take with it.
pub(crate) fn sealed_through(segments: &[Arc<Segment>]) -> u64 {
    segments.iter().map(|segment| segment.wal_through).max().unwrap_or(0)
}

/// What groups with the same timestamps have in common.
fn times_key(frozen: &Frozen) -> io::Result<Vec<u8>> {
    let times = frozen.times()?;
    let mut key = Vec::new();
    crate::codec::chunk::put_times(&mut key, &times);
    key.extend_from_slice(&times.len().to_le_bytes());
    Ok(key)
}

/// Label sets of a seal, by series of the head.
#[derive(Debug, Default)]
struct SealNames {
    names: Names,
    keys: HashMap<u32, u32>,
    /// Series whose newest sample is a staleness marker.
    ended: Vec<u32>,
}

impl SealNames {
    fn key(&mut self, inner: &Inner, series: u32) -> u32 {
        if let Some(key) = self.keys.get(&series) {
            return *key;
        }
        let head = inner.head();
        let labels: Vec<(u32, u32)> = head
            .index
            .symbols_of(series)
            .map(|(name, value)| (self.names.text(head.index.symbol(name)), self.names.text(head.index.symbol(value))))
            .collect();
        drop(head);
        let key = self.names.push(labels.into_iter());
        self.keys.insert(series, key);
        key
    }
}

/// All samples of a series in a segment, ascending.
pub(crate) fn read_all(
    segment: &Segment,
    places: &[(u32, u32)],
    scratch: &mut Scratch,
) -> Result<Samples, crate::bytes::Corrupt> {
    let mut samples = Samples::default();
    for place in places {
        segment.read(*place, TimeRange::ALL, &mut samples, scratch)?;
    }
    Ok(samples)
}
