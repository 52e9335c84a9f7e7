//! What whoever opens a page should know: the configuration could not be reloaded, the server is starting.
//!
//! Rule: a text stands once, from when it was raised until it is withdrawn.

use std::sync::{Arc, Mutex, PoisonError};

use datamodel::Timestamp;

/// The most texts at once; the oldest goes.
pub const MAX_NOTIFICATIONS: usize = 50;

/// A text and since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The text.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// The texts that hold now. A clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct Notifications(Arc<Mutex<Vec<Notification>>>);

impl Notifications {
    /// Puts up a text; one that stands already keeps its time.
    pub fn raise(&self, text: &str, at: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|found| found.text == text) {
            return;
        }
        if all.len() >= MAX_NOTIFICATIONS {
            all.remove(0);
        }
        all.push(Notification { text: text.to_owned(), since: at });
    }

    /// Takes a text down.
    pub fn withdraw(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|found| found.text != text);
    }

    /// The texts, the oldest first.
    #[must_use]
    pub fn active(&self) -> Vec<Notification> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
