//! Files that may change while the server runs: API keys and certificates.
//!
//! - [`Reloaded`]: a value read from files, the present one for whoever asks, renewed by
//!   [`Reloaded::watch`] when a file changes.
//!
//! Rule: a file that cannot be read leaves the last good value in force, with a warning; only at the
//! start is it an error.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

/// How often the files are looked at. A secret mounted by Kubernetes changes within a minute or two
/// anyway; two looks in ten seconds cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a file looked when it was read; symbolic links are followed, so a switched link is a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

type Read<T> = dyn Fn() -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync;

/// A value that follows its files. Cheap to clone.
pub(crate) struct Reloaded<T>(Arc<Inner<T>>);

struct Inner<T> {
    files: Vec<PathBuf>,
    read: Box<Read<T>>,
    present: RwLock<Arc<T>>,
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    /// The files alone: what is in them may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the value for the first time.
    ///
    /// # Errors
    /// What `read` says.
    pub(crate) fn open<E>(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let present = RwLock::new(Arc::new(read()?));
        let read = Box::new(move || read().map_err(Into::into));
        Ok(Self(Arc::new(Inner { files, read, present })))
    }

    /// The present value.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the value again.
    pub(crate) fn reload(&self) {
        match (self.0.read)() {
            Ok(value) => {
                *self.0.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                tracing::info!(files = ?self.0.files, "read changed files");
            }
            Err(error) => {
                let error: &dyn Error = &*error;
                tracing::warn!(files = ?self.0.files, error, "cannot read changed files, the last good ones stay in force");
            }
        }
    }

    /// Follows the files until shutdown.
    pub(crate) async fn watch(self, shutdown: CancellationToken) {
        let mut seen = self.stamps().await;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let stamps = self.stamps().await;
            if stamps == seen {
                continue;
            }
            seen = stamps;
            let reloaded = self.clone();
            // A panic inside was reported where it happened; the last good value stays.
            tokio::task::spawn_blocking(move || reloaded.reload()).await.ok();
        }
    }

    async fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = self.0.files.clone();
        let look = move || {
            let stamp = |path: &PathBuf| {
                let metadata = fs::metadata(path).ok()?;
                Some(Stamp { modified: metadata.modified().ok(), len: metadata.len() })
            };
            files.iter().map(stamp).collect()
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}
