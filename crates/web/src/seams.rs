//! What the owner of the process tells the API, and what the API asks of it.
//!
//! - [`ServerStatus`]: configuration, flags, state of the process.
//! - [`StorageStatus`], [`StorageAdmin`]: what is stored, and changes to it.
//! - [`Alertmanagers`]: who is told of alerts.
//! - [`Lifecycle`]: reload, and the end.
//! - [`MetricsPage`]: metrics of something else than this process.
//!
//! Rule: methods that are not asynchronous may block; the API calls those of storage and configuration on
//! threads that may.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

use datamodel::exposition::Format;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Metadata, Timestamp};

/// A future of a seam.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What was asked for was not done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub struct ActionError {
    /// What was being done: `delete series`.
    pub action: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// State of the process, for `/api/v1/status/runtimeinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// When the process started.
    pub start_time: Timestamp,
    /// The working directory.
    pub working_directory: String,
    /// The name of the machine.
    pub hostname: String,
    /// Whether the last attempt to load the configuration succeeded.
    pub reload_config_success: bool,
    /// When the configuration in force was loaded.
    pub last_config_time: Timestamp,
    /// Damages that the storage found when it was opened.
    pub corruption_count: u64,
    /// Threads of the process.
    pub threads: u64,
    /// The memory limit in bytes; zero for none.
    pub memory_limit_bytes: u64,
    /// How long and how much is stored: `15d or 10GiB`.
    pub storage_retention: String,
}

/// Tells of configuration, flags and state.
pub trait ServerStatus: Send + Sync {
    /// The configuration in force as YAML; secrets are `<secret>`.
    fn config_yaml(&self) -> String;

    /// Every flag without its dashes, with its value, given or by default.
    fn flags(&self) -> Vec<(String, String)>;

    /// The labels of this server, for federation and remote reads.
    fn external_labels(&self) -> Labels;

    /// The state of the process.
    fn runtime(&self) -> RuntimeInfo;
}

/// The head of the storage: what is not sealed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadStatus {
    /// Series.
    pub series: u64,
    /// Distinct labels.
    pub label_pairs: u64,
    /// Chunks, where the storage has such.
    pub chunks: u64,
    /// The oldest and the newest sample; none in an empty head.
    pub bounds: Option<TimeRange>,
}

/// The segments, or blocks, of the storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Samples in them.
    pub sealed_samples: u64,
    /// The oldest and the newest sample in them.
    pub bounds: Option<TimeRange>,
}

/// A name with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// A metric name, label name, or `name=value`.
    pub name: String,
    /// Series, values, or bytes.
    pub value: u64,
}

/// Where the series of the head come from; each table is descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series by metric name.
    pub series_by_metric: Vec<Count>,
    /// Distinct values by label name.
    pub values_by_label: Vec<Count>,
    /// Bytes of all values, counted once for each series, by label name.
    pub bytes_by_label: Vec<Count>,
    /// Series by `name=value`.
    pub series_by_pair: Vec<Count>,
}

/// How far the replay of the write-ahead log is, in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayStatus {
    /// The first file.
    pub min: u64,
    /// The last file.
    pub max: u64,
    /// The file that is being read.
    pub current: u64,
}

/// Tells of what is stored.
pub trait StorageStatus: Send + Sync {
    /// The head.
    fn head(&self) -> HeadStatus;

    /// What is on the disk.
    fn disk(&self) -> DiskStatus;

    /// Where the series of the head come from; at most `limit` rows in each table.
    fn cardinality(&self, limit: usize) -> Cardinality;

    /// What the metric families say about themselves, in no order.
    fn metadata(&self) -> Vec<(Arc<str>, Metadata)>;

    /// How far the replay is.
    fn replay(&self) -> ReplayStatus;
}

/// Changes the storage.
pub trait StorageAdmin: Send + Sync {
    /// Makes a copy of everything that is stored, without what is only in the head if `skip_head`. Returns
    /// the name of the copy in the folder of snapshots.
    ///
    /// # Errors
    ///
    /// The copy cannot be written.
    fn snapshot(&self, skip_head: bool) -> Result<String, ActionError>;

    /// Deletes the samples in the range of the series that pass all matchers.
    ///
    /// # Errors
    ///
    /// The disk failed; what was deleted until then stays deleted.
    fn delete_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), ActionError>;

    /// Frees what deleted samples still take on the disk.
    ///
    /// # Errors
    ///
    /// The disk failed.
    fn clean_tombstones(&self) -> Result<(), ActionError>;

    /// Merges what is stored as far as possible.
    ///
    /// # Errors
    ///
    /// The disk failed.
    fn merge(&self) -> Result<(), ActionError>;
}

/// Tells who is told of alerts.
pub trait Alertmanagers: Send + Sync {
    /// The URLs to which alerts are sent.
    fn active(&self) -> Vec<String>;

    /// The URLs that relabelling dropped.
    fn dropped(&self) -> Vec<String>;
}

/// Reloads and ends the server.
pub trait Lifecycle: Send + Sync {
    /// Loads the configuration anew and puts it in force as a whole.
    ///
    /// # Errors
    ///
    /// The new one is wrong; the old one stays in force.
    fn reload(&self) -> BoxFuture<'_, Result<(), ActionError>>;

    /// Asks the server to end; returns at once.
    fn quit(&self);
}

/// Writes a page of metrics about something else than this process.
pub trait MetricsPage: Send + Sync {
    /// The page in this format. May take long.
    ///
    /// # Errors
    ///
    /// There is none now; another attempt may succeed.
    fn page(&self, format: Format) -> Result<String, ActionError>;
}
