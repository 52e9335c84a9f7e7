//! Files that may change while the server runs: certificates, keys, authorities.
//!
//! - [`Watched`]: what was made of the files; the present one for whoever asks.
//!
//! Rule: files that cannot be used leave the last good ones in force, which is said once; only at the start are they
//! an error.

use std::error::Error;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How often the files are looked at. A mounted Secret takes up to a minute to arrive anyway.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Largest file; a bundle of all public authorities has 200 KB.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// One cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// One is too large.
    #[error("{0} has more than {MAX_FILE_BYTES} bytes")]
    TooLarge(PathBuf),
    /// Nothing can be made of them.
    #[error("cannot use {files}")]
    Unusable {
        /// The files.
        files: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
}

type Texts = Vec<Vec<u8>>;
type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync;

/// What was made of files. Cheap to clone.
pub struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    present: RwLock<Arc<T>>,
    /// What was last looked at, good or not.
    seen: Mutex<Option<Texts>>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Watched<T> {
    /// The files alone: what is in them may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files for the first time; `make` gets their texts in the order of the files.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or nothing can be made of them.
    pub fn open<E>(
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, FileError>
    where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let make: Box<Make<T>> = Box::new(move |texts| make(texts).map_err(Into::into));
        let texts = read_all(&files)?;
        let present = RwLock::new(Arc::new(made(&*make, &files, &texts)?));
        Ok(Self(Arc::new(Inner { files, make, present, seen: Mutex::new(Some(texts)) })))
    }

    /// A value that comes from no files, and stays until its owner gives another.
    #[must_use]
    pub fn constant(value: T) -> Self {
        let make: Box<Make<T>> = Box::new(|_texts| Err("there are no files".into()));
        let present = RwLock::new(Arc::new(value));
        Self(Arc::new(Inner { files: Vec::new(), make, present, seen: Mutex::new(Some(Vec::new())) }))
    }

    /// Another value from now on.
    pub(crate) fn set(&self, value: T) {
        *self.0.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files once. Whether the value has changed; an error is told once.
    ///
    /// # Errors
    ///
    /// The files have changed and are of no use.
    pub fn look(&self) -> Result<bool, FileError> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = match read_all(&self.0.files) {
            Ok(texts) => texts,
            Err(error) => return if seen.take().is_some() { Err(error) } else { Ok(false) },
        };
        if seen.as_ref() == Some(&texts) {
            return Ok(false);
        }
        let outcome = made(&*self.0.make, &self.0.files, &texts);
        *seen = Some(texts);
        self.set(outcome?);
        Ok(true)
    }

    /// Follows the files until shutdown.
    pub async fn watch(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let watched = self.clone();
            match tokio::task::spawn_blocking(move || watched.look()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!(files = ?self.0.files, "read changed files"),
                Ok(Err(error)) => {
                    let cause = error.source().map(ToString::to_string);
                    tracing::error!(cause, "the last good files stay in force: {error}");
                }
                Err(_ended) => tracing::error!(files = ?self.0.files, "looking at files ended early"),
            }
        }
    }
}

fn made<T>(make: &Make<T>, files: &[PathBuf], texts: &[Vec<u8>]) -> Result<T, FileError> {
    let unusable = |source| {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        FileError::Unusable { files: files.join(", "), source }
    };
    make(texts).map_err(unusable)
}

fn read_all(files: &[PathBuf]) -> Result<Texts, FileError> {
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(FileError::TooLarge(path.to_owned())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_file_is_taken_over_and_a_broken_one_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let open =
            || Watched::open(vec![path.clone()], |texts| String::from_utf8_lossy(&texts[0]).trim().parse::<u32>());
        assert!(matches!(open().unwrap_err(), FileError::Read { .. }));
        std::fs::write(&path, "x").unwrap();
        assert_eq!(open().unwrap_err().to_string(), format!("cannot use {}", path.display()));
        std::fs::write(&path, "1").unwrap();
        let watched = open().unwrap();
        assert!(!watched.look().unwrap());
        std::fs::write(&path, "2").unwrap();
        assert!(watched.look().unwrap());
        std::fs::write(&path, "no number").unwrap();
        watched.look().unwrap_err();
        assert!(!watched.look().unwrap());
        std::fs::remove_file(&path).unwrap();
        watched.look().unwrap_err();
        assert!(!watched.look().unwrap());
        assert_eq!(*watched.get(), 2);
        std::fs::write(&path, "3").unwrap();
        assert!(watched.look().unwrap());
        assert_eq!(*watched.get(), 3);
        std::fs::write(&path, vec![b'1'; 2 << 20]).unwrap();
        assert!(matches!(watched.look().unwrap_err(), FileError::TooLarge(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_followed_until_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "a").unwrap();
        let watched = Watched::open(vec![path.clone()], |texts| Ok::<_, std::io::Error>(texts[0].clone())).unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(watched.clone().watch(shutdown.clone()));
        std::fs::write(&path, "b").unwrap();
        while *watched.get() != b"b" {
            tokio::time::advance(LOOK_INTERVAL).await;
        }
        shutdown.cancel();
        tasks.join_all().await;
    }
}
