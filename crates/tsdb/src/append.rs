//! Writing: a batch is collected, planned, logged, and then made visible at once.
//!
//! ```text
//! samples ─▶ plan (head, read) ─▶ settle late ones ─▶ log ─▶ apply (head, write)
//!           └──────────────── the writer's lock ─────────────────┘
//! ```
//!
//! Rule: whoever holds the writer's lock is the only one who changes the head.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use datamodel::{Histogram, Labels, Metadata, Timestamp};
use storage::{AppendError, Appendable, Appender, GroupRef, SeriesRef};

use crate::db::{Inner, Tsdb, Writer};
use crate::head::plan::{Sample, plan, settle};

impl Appendable for Tsdb {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(TsdbAppender::new(&self.inner, false))
    }
}

/// The same storage, but a commit returns only when the batch is on the disk.
#[derive(Clone, Debug)]
pub struct Durable(pub(crate) Tsdb);

impl Appendable for Durable {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(TsdbAppender::new(&self.0.inner, true))
    }
}

struct TsdbAppender<'a> {
    inner: &'a Inner,
    batch: Vec<Sample>,
    /// The references that this batch was given, so that a series that a seal forgets before the commit can be
    /// created again: nobody else knows its labels.
    given: Vec<Given>,
    durable: bool,
}

/// A reference that was handed out.
struct Given {
    series: SeriesRef,
    group: Option<GroupRef>,
    labels: Labels,
}

impl<'a> TsdbAppender<'a> {
    const fn new(inner: &'a Inner, durable: bool) -> Self {
        Self { inner, batch: Vec::new(), given: Vec::new(), durable }
    }

    fn find_or_create(&self, group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if let Some(found) = self.inner.head().find_series(labels) {
            return Ok(found);
        }
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.check_open(&writer)?;
        self.inner.create(group, labels)
    }

    /// Refuses references to forgotten series here, where the caller can still create them again: after a
    /// commit the sample would be lost.
    fn check(&self, series: SeriesRef) -> Result<(), AppendError> {
        let is_known = self.inner.generations.may_live(series) || self.given.iter().any(|given| given.series == series);
        if is_known { Ok(()) } else { Err(AppendError::UnknownSeries) }
    }
}

impl Appender for TsdbAppender<'_> {
    fn create_group(&mut self) -> GroupRef {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let group = self.inner.head_mut().create_group();
        drop(writer);
        group
    }

    fn series(&mut self, group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels(labels.clone()));
        }
        let series = self.find_or_create(group, labels)?;
        self.given.push(Given { series, group, labels: labels.clone() });
        Ok(series)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: f64) -> Result<(), AppendError> {
        self.check(series)?;
        self.batch.push(Sample { series, at: at.unix_ms(), bits: value.to_bits(), histogram: None });
        Ok(())
    }

    fn append_histogram(&mut self, series: SeriesRef, at: Timestamp, value: Histogram) -> Result<(), AppendError> {
        self.check(series)?;
        self.batch.push(Sample { series, at: at.unix_ms(), bits: 0, histogram: Some(Arc::new(value)) });
        Ok(())
    }

    fn metadata(&mut self, series: SeriesRef, metadata: &Metadata) {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.head_mut().set_metadata(series, metadata);
        drop(writer);
    }

    fn commit(self: Box<Self>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        let Self { inner, mut batch, given, durable } = *self;
        let refused = {
            let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let renewed = inner.renew(&given);
            for sample in &mut batch {
                if let Some(now) = renewed.get(&sample.series) {
                    sample.series = *now;
                }
            }
            inner.commit(&mut writer, batch)?
        };
        if durable {
            inner.sync()?;
        }
        Ok(refused)
    }
}

impl Inner {
    /// The series with these labels, created where it is not there. The caller holds the writer's lock.
    fn create(&self, group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut head = self.head_mut();
        if let Some(found) = head.find_series(labels) {
            return Ok(found);
        }
        if self.is_full(&head) {
            return Err(AppendError::OutOfMemory);
        }
        head.create_series(group, labels).ok_or(AppendError::OutOfMemory)
    }

    /// Creates those series again that were forgotten since they were given out: old references with new ones.
    /// One that cannot be created keeps its old reference, and its samples are refused by it.
    fn renew(&self, given: &[Given]) -> HashMap<SeriesRef, SeriesRef> {
        let gone = given.iter().filter(|given| !self.generations.may_live(given.series));
        gone.filter_map(|given| Some((given.series, self.create(given.group, &given.labels).ok()?))).collect()
    }

    /// Logs a batch and makes it visible.
    fn commit(&self, writer: &mut Writer, batch: Vec<Sample>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        self.check_open(writer)?;
        let series: Vec<SeriesRef> = batch.iter().map(|sample| sample.series).collect();
        let (mut planned, moves) = {
            let head = self.head();
            let mut planned = plan(&head, batch, self.oldest_kept(&head));
            let moves = settle(&head, &mut planned, self);
            (planned, moves)
        };
        if !moves.is_empty() {
            moves.apply(&mut self.head_mut(), &mut planned);
        }
        if !planned.is_empty() {
            let logged = writer.wal.append(&self.head(), &planned);
            if let Err(source) = logged {
                let context = format!("write the write-ahead log: {}", writer.wal.path().display());
                return Err(AppendError::Storage { context, source });
            }
            self.syncer.note_written(writer.wal.file());
            writer.note_batch(self.clock.now(), planned.len());
            self.head_mut().apply(&planned);
        }
        let refused = planned.refused.into_iter();
        Ok(refused.filter_map(|(order, error)| Some((*series.get(order as usize)?, error))).collect())
    }

    /// Returns when all commits so far are on the disk.
    pub(crate) fn sync(&self) -> Result<(), AppendError> {
        self.syncer.sync().map_err(|source| AppendError::Storage {
            context: format!("sync the write-ahead log: {}", self.options.path.display()),
            source,
        })
    }
}
