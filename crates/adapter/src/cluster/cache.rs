//! Answers that are kept for a while.
//!
//! Rule: bounded whatever is asked; when it is full, what expires first goes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datamodel::Timestamp;

/// A map whose entries expire.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: Mutex<HashMap<K, (Timestamp, V)>>,
    max_entries: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(max_entries: usize) -> Self {
        Self { entries: Mutex::default(), max_entries }
    }

    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(expires, _)| now < *expires).map(|(_, value)| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, now: Timestamp, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.max_entries {
            entries.retain(|_, (expires, _)| now < *expires);
        }
        if entries.len() >= self.max_entries {
            let first = entries.iter().min_by_key(|(_, (expires, _))| *expires).map(|(key, _)| key.clone());
            if let Some(first) = first {
                entries.remove(&first);
            }
        }
        entries.insert(key, (now.saturating_add(lifetime), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_and_are_bounded() {
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1_000);
        let cache = Cache::new(10);
        let lifetime = Duration::from_secs(10);
        cache.put("a".to_owned(), 1, at(0), lifetime);
        assert_eq!((cache.get(&"a".to_owned(), at(9)), cache.get(&"a".to_owned(), at(10))), (Some(1), None));
        cache.put("never".to_owned(), 1, at(0), Duration::ZERO);
        assert_eq!(cache.get(&"never".to_owned(), at(0)), None);
        for index in 0..100 {
            cache.put(index.to_string(), index, at(index), Duration::from_secs(1_000));
        }
        assert_eq!(cache.entries.lock().unwrap().len(), 10);
        assert_eq!(cache.get(&"99".to_owned(), at(99)), Some(99));
    }
}
