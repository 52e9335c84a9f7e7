//! Writing: a batch is collected, planned, logged, and then made visible at once.
//!
//! ```text
//! samples ─▶ plan (head, read) ─▶ settle late ones ─▶ log ─▶ apply (head, write)
//!           └──────────────── the writer's lock ─────────────────┘
//! ```
//!
//! Rule: whoever holds the writer's lock is the only one who changes the head.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use datamodel::{Histogram, Labels, Metadata, Timestamp};
use storage::{AppendError, Appendable, Appender, Exemplar, GroupRef, SeriesRef};

use crate::db::{Inner, Tsdb, Writer};
use crate::head::Head;
use crate::head::plan::{PlannedExemplar, Sample, plan, settle};
use crate::open_batches::{Forgotten, OpenBatch};

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
    exemplars: Vec<(SeriesRef, Exemplar)>,
    durable: bool,
    /// Lets the storage remember what a seal forgets before the commit.
    open: OpenBatch<'a>,
}

impl<'a> TsdbAppender<'a> {
    fn new(inner: &'a Inner, durable: bool) -> Self {
        Self { inner, batch: Vec::new(), exemplars: Vec::new(), durable, open: inner.batches.open() }
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
        let is_known = self.inner.generations.may_live(series) || self.inner.batches.remembers(series);
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
        self.find_or_create(group, labels)
    }

    fn is_known(&self, series: SeriesRef) -> bool {
        self.check(series).is_ok()
    }

    fn known_series(&self, pairs: &[(&str, &str)]) -> Option<SeriesRef> {
        self.inner.head().find_series(pairs.iter().copied())
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

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), AppendError> {
        self.check(series)?;
        exemplar.check()?;
        self.exemplars.push((series, exemplar));
        Ok(())
    }

    fn metadata(&mut self, series: SeriesRef, metadata: &Metadata) {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.head_mut().set_metadata(series, metadata);
        drop(writer);
    }

    fn commit(self: Box<Self>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        let Self { inner, mut batch, mut exemplars, durable, open } = *self;
        let refused = {
            let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let named = batch.iter_mut().map(|sample| &mut sample.series);
            inner.renew(named.chain(exemplars.iter_mut().map(|(series, _)| series)).collect());
            inner.commit(&mut writer, batch, exemplars)?
        };
        drop(open);
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
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::OutOfMemory);
        }
        head.create_series(group, labels).ok_or(AppendError::OutOfMemory)
    }

    /// Creates those series again that were forgotten since the batch began, and puts their new references in the
    /// place of the old ones. They had a place under the limit, which was kept for them.
    fn renew(&self, mut named: Vec<&mut SeriesRef>) {
        let forgotten = self.batches.find(named.iter().map(|series| **series));
        if forgotten.is_empty() {
            return;
        }
        let mut head = self.head_mut();
        let mut renewed = HashMap::with_capacity(forgotten.len());
        for (series, Forgotten { group, labels, .. }) in forgotten {
            let now = head.find_series(&labels).or_else(|| head.create_series(Some(group), &labels));
            renewed.extend(now.map(|now| (series, now)));
        }
        drop(head);
        for series in &mut named {
            if let Some(now) = renewed.get(series) {
                **series = *now;
            }
        }
    }

    /// The exemplars that are new, each with the place of its series.
    fn plan_exemplars(&self, head: &Head, exemplars: Vec<(SeriesRef, Exemplar)>) -> Vec<PlannedExemplar> {
        if exemplars.is_empty() {
            return Vec::new();
        }
        let mut held = self.exemplars();
        let new = exemplars.into_iter().filter_map(|(series, exemplar)| {
            let (id, group, column) = head.locate(series)?;
            let series = head.index.labels(id);
            held.takes(&series, &exemplar).then_some(PlannedExemplar { group, column, series, exemplar })
        });
        new.collect()
    }

    /// Logs a batch and makes it visible.
    fn commit(
        &self,
        writer: &mut Writer,
        batch: Vec<Sample>,
        exemplars: Vec<(SeriesRef, Exemplar)>,
    ) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        self.check_open(writer)?;
        let series: Vec<SeriesRef> = batch.iter().map(|sample| sample.series).collect();
        let histograms = batch.iter().filter(|sample| sample.histogram.is_some()).count();
        let (mut planned, moves) = {
            let head = self.head();
            let mut planned = plan(&head, batch, self.oldest_kept(&head));
            let moves = settle(&head, &mut planned, self);
            (planned, moves)
        };
        if !moves.is_empty() {
            moves.apply(&mut self.head_mut(), &mut planned);
        }
        planned.exemplars = self.plan_exemplars(&self.head(), exemplars);
        if !planned.is_empty() {
            let logged = writer.wal.append(&self.head(), &planned);
            if let Err(source) = logged {
                let context = format!("write the write-ahead log: {}", writer.wal.path().display());
                return Err(AppendError::Storage { context, source });
            }
            self.syncer.note_written(writer.wal.file());
            writer.note_batch(self.clock.now(), planned.len());
            self.counters.histograms.fetch_add(histograms as u64, Ordering::Relaxed);
            self.counters.late.fetch_add(planned.late().len() as u64, Ordering::Relaxed);
            self.head_mut().apply(&planned);
            if !planned.exemplars.is_empty() {
                let mut held = self.exemplars();
                planned.exemplars.drain(..).for_each(|planned| held.insert(planned.series, planned.exemplar));
            }
        }
        planned.refused.iter().for_each(|(_, error)| self.counters.note_refused(error));
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
