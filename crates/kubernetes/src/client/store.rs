//! The objects of a scope as they are now.
//!
//! Rule: a reader sees whole objects, and all of a list at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::error::ApiError;
use super::list::MAX_OBJECTS;
use super::meta::{Keyed, ObjectKey};

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Grows with each change.
    pub version: u64,
    /// Whether there was a list; before it the store is empty because nothing is known.
    pub is_ready: bool,
}

/// Objects by namespace and name, kept by a [`Reflector`](super::Reflector).
#[derive(Debug)]
pub struct Store<T> {
    objects: RwLock<BTreeMap<ObjectKey, Arc<T>>>,
    failure: RwLock<Option<Arc<ApiError>>>,
    progress: watch::Sender<Progress>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let (progress, _) = watch::channel(Progress::default());
        Self { objects: RwLock::default(), failure: RwLock::default(), progress }
    }
}

impl<T: Keyed> Store<T> {
    /// All objects, ascending by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read().values().map(Arc::clone).collect()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.read().get(key).map(Arc::clone)
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none, or nothing is known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// How far it has come; the receiver is woken by each change.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether there was a list.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.progress.borrow().is_ready
    }

    /// Why the server could not be asked the last time; none after a success.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<ApiError>> {
        self.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, objects: Vec<T>) {
        let fresh: BTreeMap<_, _> = objects.into_iter().map(|object| (object.key(), Arc::new(object))).collect();
        *self.write() = fresh;
        self.set_failure(None);
        self.progress.send_modify(|progress| *progress = Progress { version: progress.version + 1, is_ready: true });
    }

    /// Adds or changes an object.
    pub(super) fn apply(&self, object: T) -> Result<(), ApiError> {
        let mut objects = self.write();
        let key = object.key();
        if objects.len() >= MAX_OBJECTS && !objects.contains_key(&key) {
            return Err(ApiError::TooMany(MAX_OBJECTS));
        }
        objects.insert(key, Arc::new(object));
        drop(objects);
        self.progress.send_modify(|progress| progress.version += 1);
        Ok(())
    }

    pub(super) fn remove(&self, key: &ObjectKey) {
        let removed = self.write().remove(key);
        if removed.is_some() {
            self.progress.send_modify(|progress| progress.version += 1);
        }
    }

    /// Says why the server cannot be asked; whoever waits for a list looks again.
    pub(super) fn set_failure(&self, failure: Option<Arc<ApiError>>) {
        let is_failure = failure.is_some();
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = failure;
        if is_failure {
            self.progress.send_modify(|_| {});
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ObjectKey, Arc<T>>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ObjectKey, Arc<T>>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}
