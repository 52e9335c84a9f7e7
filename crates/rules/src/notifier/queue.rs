//! What waits for one Alertmanager.
//!
//! Rule: bounded; where there is no room, the oldest go, because a firing alert is told again and its newest
//! word is the one that counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::wire::Notification;

/// Notifications in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Arc<Notification>>>,
    capacity: usize,
    filled: Notify,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), capacity, filled: Notify::new() }
    }

    /// Adds at the end; gives back how many had to go.
    pub(super) fn push(&self, notifications: &[Arc<Notification>]) -> usize {
        let newest = notifications.len().saturating_sub(self.capacity);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = notifications.get(newest..).unwrap_or_default();
        let too_many = (waiting.len() + kept.len()).saturating_sub(self.capacity);
        waiting.drain(..too_many);
        waiting.extend(kept.iter().cloned());
        drop(waiting);
        self.filled.notify_one();
        newest + too_many
    }

    /// Takes the oldest.
    pub(super) fn take(&self, most: usize) -> Vec<Arc<Notification>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(waiting.len());
        waiting.drain(..count).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until something waits.
    pub(super) async fn filled(&self) {
        while self.len() == 0 {
            self.filled.notified().await;
        }
    }
}
