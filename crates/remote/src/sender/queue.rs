//! What waits for one storage.
//!
//! Rule: bounded in number, and reserved from the common pool of memory; where there is no room the oldest go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use datamodel::{Histogram, Labels, Timestamp};
use storage::{Exemplar, MemoryPool, Reservation};
use tokio::sync::Notify;

/// Bytes of an item with its share of the queue; labels are shared with the storage's head.
const ITEM_BYTES: usize = 56;

/// A sample on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) labels: Labels,
    pub(super) at: Timestamp,
    pub(super) value: Payload,
}

/// What was sampled.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    Float(f64),
    Histogram(Arc<Histogram>),
    Exemplar(Arc<Exemplar>),
}

#[derive(Debug)]
struct Waiting {
    items: VecDeque<Item>,
    memory: Reservation,
}

/// Items in the order in which they were committed.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    grown: Notify,
}

impl Queue {
    pub(super) fn new(capacity: usize, pool: &MemoryPool) -> Self {
        let waiting = Waiting { items: VecDeque::new(), memory: pool.reservation() };
        Self { waiting: Mutex::new(waiting), capacity, grown: Notify::new() }
    }

    /// Adds at the end; gives back those that had to go, the oldest.
    pub(super) fn push(&self, items: impl Iterator<Item = Item>) -> Vec<Item> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { items: queue, memory } = &mut *waiting;
        let before = queue.len();
        queue.extend(items);
        let mut fits = self.capacity;
        if memory.resize(queue.len().min(fits) * ITEM_BYTES).is_err() {
            // As many as there were: what is new pushes out what is old.
            fits = fits.min(before);
        }
        let dropped: Vec<Item> = queue.drain(..queue.len().saturating_sub(fits)).collect();
        drop(waiting);
        self.grown.notify_one();
        dropped
    }

    /// Takes the oldest.
    pub(super) fn take(&self, most: usize) -> Vec<Item> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { items, memory } = &mut *waiting;
        let count = most.min(items.len());
        let taken = items.drain(..count).collect();
        if items.capacity() > 4 * items.len().max(1024) {
            items.shrink_to(2 * items.len());
        }
        memory.resize_anyway(items.len() * ITEM_BYTES);
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).items.len()
    }

    /// Waits until so many wait.
    pub(super) async fn holds(&self, count: usize) {
        while self.len() < count {
            self.grown.notified().await;
        }
    }
}
