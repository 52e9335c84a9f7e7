//! What the owner chooses, what was found at the start, and why a start fails.

use std::path::PathBuf;
use std::time::Duration;

use storage::MemoryPool;

pub use crate::wal::replay::Damage;

/// What the owner chooses.
#[derive(Clone, Debug)]
pub struct TsdbOptions {
    /// The folder of the data; created where it does not exist.
    pub path: PathBuf,
    /// Sealed data older than this are deleted, counted from the newest sample. `None` keeps all.
    pub retention_time: Option<Duration>,
    /// Above so many bytes, write-ahead log and everything else included, the oldest sealed data are
    /// deleted. `None` sets no bound.
    pub retention_size: Option<u64>,
    /// Samples behind newer ones of their series are taken if they are at most so much older than the newest
    /// sample of all. Zero takes none.
    pub out_of_order_window: Duration,
    /// A committed batch is on the disk at most so long after its commit, as long as
    /// [`Tsdb::maintain`](crate::Tsdb::maintain) is called in time.
    pub wal_sync_interval: Duration,
    /// Series in the head beyond which no new ones are taken.
    pub max_series: usize,
    /// Where the head reserves its memory; when there is none left, no new series are taken, and before that
    /// the head is sealed early.
    pub memory: MemoryPool,
    /// Exemplars of all series together; beyond it the oldest go. Zero keeps none.
    pub max_exemplars: usize,
    /// The head is sealed when its oldest batch was committed so long ago.
    pub seal_interval: Duration,
    /// The head is sealed when it holds so many samples; also bounds the time of a replay.
    pub seal_samples: u64,
}

impl TsdbOptions {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention_time: Some(Duration::from_secs(15 * 86_400)),
            retention_size: None,
            out_of_order_window: Duration::ZERO,
            wal_sync_interval: Duration::from_secs(1),
            max_series: 10_000_000,
            memory: MemoryPool::unlimited(),
            max_exemplars: 100_000,
            seal_interval: Duration::from_secs(15 * 60),
            // Replay takes some 100 to 200 ns a sample.
            seal_samples: 2_000_000,
        }
    }
}

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Batches that were read from the write-ahead log.
    pub replayed_batches: u64,
    /// Samples that were read from the write-ahead log.
    pub replayed_samples: u64,
    /// Bytes of the write-ahead log that were read.
    pub replayed_bytes: u64,
    /// How long the replay took.
    pub replay_time: Duration,
    /// Whole batches that could not be told, because they build on bytes that are damaged.
    pub lost_batches: u64,
    /// Samples of other batches that could not be told, for the same reason.
    pub lost_samples: u64,
    /// Sealed segments.
    pub segments: usize,
    /// Everything that is not as it was written.
    pub damage: Vec<Damage>,
}

/// Why a start fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process works in the folder.
    #[error("data folder is in use by another process{}: {}", pid.map(|pid| format!(" ({pid})")).unwrap_or_default(), path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process that is noted in it.
        pid: Option<u32>,
    },
    /// A newer version has written here. Use that version, or a new folder.
    #[error("{} has format version {found}; this version reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The newest version that is read.
        supported: u16,
    },
    /// The folder cannot be read or written.
    #[error("cannot {action}: {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
