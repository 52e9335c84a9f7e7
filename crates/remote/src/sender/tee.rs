//! A storage for writers, whose commits go to the queues too.
//!
//! Rule: what the own storage refuses is not sent; what it takes is what it would be without the tee.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::{Clock, Histogram, Labels, Metadata, Timestamp, is_stale_nan};
use storage::{AppendError, Appendable, Appender, Exemplar, GroupRef, SeriesRef};

use super::Shared;
use super::queue::{Item, Payload};

/// Series that were not written for so long are forgotten; who writes them again is asked for their labels.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// What is known of a series of the storage.
#[derive(Debug)]
struct Series {
    labels: Labels,
    /// The newest that was sent: pages repeat their exemplars.
    exemplar: Option<Arc<Exemplar>>,
}

/// The labels behind the storage's references.
#[derive(Debug)]
pub(super) struct Known {
    clock: Arc<dyn Clock>,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    current: HashMap<SeriesRef, Series>,
    /// Those that were not written since the turn.
    previous: HashMap<SeriesRef, Series>,
    turned: Timestamp,
}

impl Generations {
    fn find(&mut self, series: SeriesRef) -> Option<&mut Series> {
        if let Some(found) = self.previous.remove(&series) {
            self.current.insert(series, found);
        }
        self.current.get_mut(&series)
    }
}

impl Known {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, generations: Mutex::default() }
    }

    pub(super) fn clear(&self) {
        *self.generations() = Generations::default();
    }

    fn generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, series: SeriesRef, labels: &Labels) {
        let mut generations = self.generations();
        if generations.find(series).is_none() {
            generations.current.insert(series, Series { labels: labels.clone(), exemplar: None });
        }
    }

    fn labels(&self, series: SeriesRef) -> Option<Labels> {
        self.generations().find(series).map(|series| series.labels.clone())
    }

    /// The labels of a series to which an exemplar is new.
    fn labels_for(&self, series: SeriesRef, exemplar: &Arc<Exemplar>) -> Option<Labels> {
        let mut generations = self.generations();
        let series = generations.find(series)?;
        if series.exemplar.as_ref().is_some_and(|newest| !exemplar.follows(newest)) {
            return None;
        }
        series.exemplar = Some(Arc::clone(exemplar));
        Some(series.labels.clone())
    }

    /// Forgets what was not written for long.
    fn turn(&self) {
        let now = self.clock.now();
        let mut generations = self.generations();
        if now.since(generations.turned) >= FORGET_AFTER {
            generations.previous = std::mem::take(&mut generations.current);
            generations.turned = now;
        }
    }
}

/// A storage for writers, whose commits are sent too; made by [`RemoteWriteHandle::tee`](super::RemoteWriteHandle::tee).
pub struct Tee {
    storage: Arc<dyn Appendable>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tee").finish_non_exhaustive()
    }
}

impl Tee {
    pub(super) fn new(storage: Arc<dyn Appendable>, shared: Arc<Shared>) -> Self {
        Self { storage, shared }
    }
}

impl Appendable for Tee {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let inner = self.storage.appender();
        if self.shared.is_idle() {
            inner
        } else {
            Box::new(TeeAppender { inner, shared: &self.shared, batch: Vec::new() })
        }
    }
}

struct TeeAppender<'a> {
    inner: Box<dyn Appender + 'a>,
    shared: &'a Shared,
    batch: Vec<(SeriesRef, Item)>,
}

impl TeeAppender<'_> {
    fn note(&mut self, series: SeriesRef, labels: Labels, at: Timestamp, value: Payload) {
        self.batch.push((series, Item { labels, at, value }));
    }
}

impl Appender for TeeAppender<'_> {
    fn create_group(&mut self) -> GroupRef {
        self.inner.create_group()
    }

    fn is_known(&self, series: SeriesRef) -> bool {
        self.inner.is_known(series) && self.shared.known.labels(series).is_some()
    }

    fn series(&mut self, group: Option<GroupRef>, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let series = self.inner.series(group, labels)?;
        self.shared.known.learn(series, labels);
        Ok(series)
    }

    fn append(&mut self, series: SeriesRef, at: Timestamp, value: f64) -> Result<(), AppendError> {
        let Some(labels) = self.shared.known.labels(series) else {
            // Writers do not create a series again only to end it.
            return if is_stale_nan(value) {
                self.inner.append(series, at, value)
            } else {
                Err(AppendError::UnknownSeries)
            };
        };
        self.inner.append(series, at, value)?;
        self.note(series, labels, at, Payload::Float(value));
        Ok(())
    }

    fn append_histogram(&mut self, series: SeriesRef, at: Timestamp, value: Histogram) -> Result<(), AppendError> {
        let labels = self.shared.known.labels(series).ok_or(AppendError::UnknownSeries)?;
        self.inner.append_histogram(series, at, value.clone())?;
        self.note(series, labels, at, Payload::Histogram(Arc::new(value)));
        Ok(())
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: Exemplar) -> Result<(), AppendError> {
        let sent = Arc::new(exemplar.clone());
        self.inner.append_exemplar(series, exemplar)?;
        if let Some(labels) = self.shared.known.labels_for(series, &sent) {
            self.note(series, labels, sent.at, Payload::Exemplar(sent));
        }
        Ok(())
    }

    fn metadata(&mut self, series: SeriesRef, metadata: &Metadata) {
        self.inner.metadata(series, metadata);
    }

    fn commit(self: Box<Self>) -> Result<Vec<(SeriesRef, AppendError)>, AppendError> {
        let Self { inner, shared, mut batch } = *self;
        let left_out = inner.commit()?;
        if !left_out.is_empty() {
            let is_left_out = |(series, item): &(SeriesRef, Item)| {
                left_out.iter().any(|(other, error)| other == series && concerns(error, item.at))
            };
            batch.retain(|entry| !is_left_out(entry));
        }
        let items: Vec<Item> = batch.into_iter().map(|(_, item)| item).collect();
        shared.push(&items);
        shared.known.turn();
        Ok(left_out)
    }
}

/// Whether an error is about the sample of that time; those that name none are about all of a series.
fn concerns(error: &AppendError, time: Timestamp) -> bool {
    match error {
        AppendError::OutOfOrder { at, .. } | AppendError::TooOld { at, .. } | AppendError::Duplicate(at) => *at == time,
        _ => true,
    }
}
