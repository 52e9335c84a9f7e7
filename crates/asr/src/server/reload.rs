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

use tokio::task::spawn_blocking;
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
    /// As the files were before the first reading, so that no change is missed.
    first_stamps: Vec<Option<Stamp>>,
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
        let first_stamps = stamps(&files);
        let present = RwLock::new(Arc::new(read()?));
        let read = Box::new(move || read().map_err(Into::into));
        Ok(Self(Arc::new(Inner { files, first_stamps, read, present })))
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
        let mut seen = self.0.first_stamps.clone();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let reloaded = self.clone();
            let look = move || {
                let stamps = stamps(&reloaded.0.files);
                if stamps != seen {
                    reloaded.reload();
                }
                stamps
            };
            // A panic inside was reported where it happened; the next look will see a change.
            seen = spawn_blocking(look).await.unwrap_or_default();
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp { modified: metadata.modified().ok(), len: metadata.len() })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changed_file_is_read_and_a_broken_one_leaves_the_last_good_value() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        fs::write(&path, "1").unwrap();
        let read_path = path.clone();
        let read = move || fs::read_to_string(&read_path).unwrap().parse::<u32>();
        let reloaded = Reloaded::open(vec![path.clone()], read).unwrap();
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(reloaded.clone().watch(shutdown.clone()));
        let until = async |expected: u32| {
            while *reloaded.get() != expected {
                advance(LOOK_EVERY).await;
            }
        };
        assert_eq!(*reloaded.get(), 1);
        fs::write(&path, "22").unwrap();
        until(22).await;
        fs::write(&path, "no number").unwrap();
        for _ in 0..20 {
            advance(LOOK_EVERY).await;
        }
        assert_eq!(*reloaded.get(), 22);
        fs::write(&path, "4444").unwrap();
        until(4444).await;
        shutdown.cancel();
        tasks.join_all().await;
    }

    #[test]
    fn first_read_must_succeed() {
        assert!(Reloaded::<u32>::open(Vec::new(), || "x".parse::<u32>()).is_err());
    }
}
