//! The database of one folder: its parts, its start, its upkeep.
//!
//! ```text
//! PATH/lock            one process
//! PATH/wal/N.wal       batches since the last seal
//! PATH/segments/N.seg  sealed rows with their index
//! PATH/exemplars       the newest exemplars, as of the last seal
//! ```
//!
//! Locks, in this order: the upkeep's, the writer's, the head's. Rule: nothing here spawns or reads the ambient clock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use datamodel::time::{TimeRange, duration_ms};
use datamodel::{Clock, Matcher, Metadata, Timestamp};
use storage::{AppendError, Reservation};

use crate::append::Durable;
use crate::disk::{Disk, RealDisk};
use crate::exemplars::Exemplars;
use crate::folder::open_segments;
use crate::head::Head;
use crate::head::generations::Generations;
use crate::lock::FolderLock;
use crate::open_batches::OpenBatches;
use crate::options::{OpenError, OpenReport, TsdbOptions};
use crate::segment::Segment;
use crate::stats::{Cardinality, Counters, SegmentInfo, Stats};
use crate::upkeep::{Upkeep, sealed_through};
use crate::wal::{self, Syncer, Wal};

/// What a new series is taken to need until the head is counted again: labels, postings, some rows.
const NEW_SERIES_BYTES: usize = 400;

/// A storage on disk; a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Tsdb {
    pub(crate) inner: Arc<Inner>,
}

/// What one writer at a time changes.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) wal: Wal,
    pub(crate) closed: bool,
    /// When the oldest batch that is not sealed was committed.
    pub(crate) oldest_batch: Option<Timestamp>,
    pub(crate) appended_samples: u64,
}

impl Writer {
    pub(crate) fn note_batch(&mut self, now: Timestamp, samples: usize) {
        self.oldest_batch.get_or_insert(now);
        self.appended_samples += samples as u64;
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: TsdbOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: Mutex<Writer>,
    head: RwLock<Head>,
    pub(crate) generations: Arc<Generations>,
    pub(crate) batches: Arc<OpenBatches>,
    exemplars: Mutex<Exemplars>,
    pub(crate) counters: Counters,
    pub(crate) syncer: Syncer,
    pub(crate) upkeep: Mutex<Upkeep>,
    last_sync: Mutex<Option<Timestamp>>,
    /// Bytes of the head when it was last counted, and of the series since.
    pub(crate) head_memory: Mutex<Reservation>,
    #[expect(dead_code, reason = "held until the end")]
    lock: Option<FolderLock>,
}

impl Inner {
    pub(crate) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exemplars(&self) -> MutexGuard<'_, Exemplars> {
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn check_open(&self, writer: &Writer) -> Result<(), AppendError> {
        if writer.closed {
            return Err(AppendError::Closed);
        }
        if self.syncer.has_failed() {
            let context = format!("sync the write-ahead log: {}", writer.wal.path().display());
            let source = std::io::Error::other("an earlier sync failed; restart to go on from what is on the disk");
            return Err(AppendError::Storage { context, source });
        }
        Ok(())
    }

    pub(crate) fn head_memory(&self) -> MutexGuard<'_, Reservation> {
        self.head_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the head takes no new series.
    pub(crate) fn is_full(&self, head: &Head) -> bool {
        // A forgotten series that an open batch names keeps its place.
        head.series_len() + self.batches.remembered_len() >= self.options.max_series
            || self.head_memory().grow(NEW_SERIES_BYTES).is_err()
    }

    /// Syncs the log, if the last time is an interval ago.
    pub(crate) fn sync_if_due(&self) -> Result<(), AppendError> {
        let now = self.clock.now();
        let interval = duration_ms(self.options.wal_sync_interval).unsigned_abs();
        let mut last_sync = self.last_sync.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock may be set back: then as well.
        let due = last_sync.is_none_or(|last| now.unix_ms().abs_diff(last.unix_ms()) >= interval);
        if due {
            *last_sync = Some(now);
        }
        drop(last_sync);
        if due { self.sync() } else { Ok(()) }
    }

    /// The oldest instant that is kept, and so accepted. Counted from the newest sample, because the
    /// machine's clock may jump, but not from one in the future, because a target's clock may be wrong.
    pub(crate) fn oldest_kept(&self, head: &Head) -> Option<i64> {
        let retention = duration_ms(self.options.retention_time?);
        let newest = head.newest_ms()?.min(self.clock.now().unix_ms());
        Some(newest.saturating_sub(retention))
    }

    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.options.path.join("wal")
    }

    pub(crate) fn exemplars_path(&self) -> PathBuf {
        exemplars_path(&self.options.path)
    }

    pub(crate) fn segment_dir(&self) -> PathBuf {
        self.options.path.join("segments")
    }
}

fn exemplars_path(folder: &Path) -> PathBuf {
    folder.join("exemplars")
}

impl Tsdb {
    /// Opens the folder and reads what the write-ahead log holds.
    ///
    /// # Errors
    ///
    /// Another process has it, a newer version wrote it, or it cannot be read or written. Damaged files
    /// are no error: they are read as far as possible, see [`OpenReport::damage`].
    pub fn open(options: TsdbOptions, clock: Arc<dyn Clock>) -> Result<(Self, OpenReport), OpenError> {
        Self::open_on(Arc::new(RealDisk), options, clock)
    }

    /// Opens the folder on some disk.
    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        options: TsdbOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, OpenReport), OpenError> {
        let wal_dir = options.path.join("wal");
        disk.create_folders(&wal_dir).map_err(OpenError::io("create the data folder", &wal_dir))?;
        let lock = disk.lock(&options.path)?;
        let mut head = Head::default();
        let mut exemplars = Exemplars::new(options.max_exemplars);
        let mut report = OpenReport::default();
        let segment_dir = options.path.join("segments");
        disk.create_folders(&segment_dir).map_err(OpenError::io("create the data folder", &segment_dir))?;
        let (segments, highest) = open_segments(disk.as_ref(), &segment_dir, &mut report)?;
        let sealed = sealed_through(&segments);
        let began = clock.now();
        let number = {
            let path = exemplars_path(&options.path);
            exemplars.load(disk.as_ref(), &path, &mut report)?;
            let mut restored =
                wal::replay::Restored { disk: disk.as_ref(), head: &mut head, exemplars: &mut exemplars };
            wal::replay::replay(&wal_dir, sealed, &mut restored, &mut report)? + 1
        };
        report.replay_time = clock.now().since(began);
        head.set_segments(segments);
        head.raise_floors();
        let wal = Wal::create(&disk, &wal_dir, number).map_err(OpenError::io("create a write-ahead log", &wal_dir))?;
        let syncer = Syncer::new(Arc::clone(wal.file()));
        let oldest_batch = (report.replayed_batches > 0).then(|| clock.now());
        let writer = Writer { wal, closed: false, oldest_batch, appended_samples: 0 };
        let mut head_memory = options.memory.reservation();
        head_memory.resize_anyway(head.byte_len());
        let inner = Inner {
            options,
            disk,
            clock,
            writer: Mutex::new(writer),
            generations: head.generations(),
            batches: head.open_batches(),
            exemplars: Mutex::new(exemplars),
            counters: Counters::default(),
            head: RwLock::new(head),
            syncer,
            upkeep: Mutex::new(Upkeep::new(highest + 1)),
            last_sync: Mutex::new(None),
            head_memory: Mutex::new(head_memory),
            lock,
        };
        let removed = wal::remove_through(inner.disk.as_ref(), &wal_dir, sealed);
        removed.map_err(OpenError::io("remove sealed write-ahead logs", &wal_dir))?;
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// The same storage, but a commit returns only when the batch is on the disk: for writers whose
    /// callers take the answer as a promise against loss of power.
    #[must_use]
    pub fn durable(&self) -> Durable {
        Durable(self.clone())
    }

    /// Returns when all commits so far are on the disk.
    ///
    /// # Errors
    ///
    /// The disk failed; no further batch is taken.
    pub fn sync(&self) -> Result<(), AppendError> {
        self.inner.sync()
    }

    /// One step of upkeep: sync the log, seal the head, merge segments, delete old ones, each if it is due.
    /// The owner calls it at least once per [`wal_sync_interval`](TsdbOptions::wal_sync_interval). A step
    /// may take seconds of work; appends and reads go on meanwhile, and the log is synced in time.
    ///
    /// # Errors
    ///
    /// The disk failed. Everything stays readable, and what was not done is tried again half a minute later.
    pub fn maintain(&self) -> Result<(), AppendError> {
        let inner = &self.inner;
        inner.sync_if_due()?;
        let head_bytes = inner.head().byte_len();
        inner.head_memory().resize_anyway(head_bytes);
        if inner.upkeep_rests() {
            return Ok(());
        }
        let done =
            if inner.seal_is_due() { inner.seal().and_then(|()| inner.retain()) } else { inner.merge_once().map(drop) };
        done.inspect_err(|_| inner.let_upkeep_rest())
    }

    /// Seals the head and merges all segments into one: for a snapshot, or to measure.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain).
    pub fn compact(&self) -> Result<(), AppendError> {
        self.inner.seal()?;
        self.inner.merge_all()?;
        self.inner.retain()
    }

    /// Puts a copy of everything that was committed before the call into a new folder, which another
    /// storage can open. Segments are linked, not copied, where both folders are on one file system.
    ///
    /// # Errors
    ///
    /// The folder exists, or cannot be written.
    pub fn snapshot(&self, to: &Path) -> Result<(), AppendError> {
        self.inner.seal()?;
        self.inner.snapshot(to)
    }

    /// Seals the head: everything that was committed before the call is in a segment after it.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain).
    pub fn seal(&self) -> Result<(), AppendError> {
        self.inner.seal()
    }

    /// Deletes the samples in the range of all series that pass the matchers, as far as they were committed
    /// before the call. Their bytes are gone when this returns; it takes the time of writing each segment
    /// anew that has any of them.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain). What was deleted until then stays deleted.
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), AppendError> {
        self.inner.seal()?;
        self.inner.delete(matchers, range)
    }

    /// Ends writing: what was committed is on the disk when this returns. Readers go on.
    ///
    /// # Errors
    ///
    /// The disk failed.
    pub fn close(&self) -> Result<(), AppendError> {
        self.inner.writer().closed = true;
        self.inner.sync()
    }

    /// What is stored.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::collect(&self.inner)
    }

    /// Keeps at most so many exemplars from now on.
    pub fn set_max_exemplars(&self, max: usize) {
        self.inner.exemplars().set_max(max);
    }

    /// The sealed segments, in the order of their first instant.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let segments = Arc::clone(self.inner.head().segments());
        let info = |segment: &Arc<Segment>| SegmentInfo {
            number: segment.number(),
            level: segment.level,
            min_ms: segment.min_ms,
            max_ms: segment.max_ms,
            samples: segment.samples,
            series: u64::from(segment.series_len()),
            bytes: segment.byte_len(),
        };
        segments.iter().map(info).collect()
    }

    /// What the metric families say about themselves, in no order.
    #[must_use]
    pub fn metadata(&self) -> Vec<(Arc<str>, Metadata)> {
        self.inner.head().metadata().map(|(name, metadata)| (Arc::clone(name), metadata.clone())).collect()
    }

    /// Where the series in the head come from; each table has at most `limit` rows.
    #[must_use]
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        Cardinality::collect(&self.inner.head(), limit)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.options.path.clone()
    }
}
