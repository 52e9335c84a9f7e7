//! The storage as the HTTP API shows and changes it.
//!
//! - [`StorageView`]: what is stored. [`StorageChanges`]: snapshots, deletions, merges.
//!
//! Rule: figures are the storage's own; nothing is counted here.

use std::path::PathBuf;
use std::sync::Arc;

use datamodel::time::TimeRange;
use datamodel::{Clock, Matcher, Metadata, Timestamp};
use tsdb::Tsdb;
use web::{ActionError, Cardinality, Count, DiskStatus, HeadStatus, ReplayStatus, StorageAdmin, StorageStatus};

/// Shows what is stored.
#[derive(Debug)]
pub struct StorageView(Tsdb);

impl StorageView {
    /// A view of this storage.
    #[must_use]
    pub const fn new(tsdb: Tsdb) -> Self {
        Self(tsdb)
    }
}

fn range((start, end): (i64, i64)) -> TimeRange {
    TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) }
}

fn counts(table: Vec<tsdb::Count>) -> Vec<Count> {
    table.into_iter().map(|tsdb::Count { name, value }| Count { name, value }).collect()
}

impl StorageStatus for StorageView {
    fn head(&self) -> HeadStatus {
        let stats = self.0.stats();
        HeadStatus {
            series: stats.head_series,
            label_pairs: stats.label_pairs,
            // A head of ours has columns; the nearest to a chunk is one for each series.
            chunks: stats.head_series,
            bounds: stats.head_bounds_ms.map(range),
        }
    }

    fn disk(&self) -> DiskStatus {
        let stats = self.0.stats();
        DiskStatus {
            bytes: stats.disk_bytes,
            wal_bytes: stats.wal_bytes,
            segments: stats.segments,
            sealed_samples: stats.sealed_samples,
            bounds: stats.sealed_bounds_ms.map(range),
        }
    }

    fn cardinality(&self, limit: usize) -> Cardinality {
        let tables = self.0.cardinality(limit);
        Cardinality {
            series_by_metric: counts(tables.series_by_metric),
            values_by_label: counts(tables.values_by_label),
            bytes_by_label: counts(tables.bytes_by_label),
            series_by_pair: counts(tables.series_by_pair),
        }
    }

    fn metadata(&self) -> Vec<(Arc<str>, Metadata)> {
        self.0.metadata()
    }

    fn replay(&self) -> ReplayStatus {
        // A storage that is open has read its whole log.
        ReplayStatus::default()
    }
}

/// Changes what is stored.
#[derive(Debug)]
pub struct StorageChanges {
    tsdb: Tsdb,
    clock: Arc<dyn Clock>,
}

impl StorageChanges {
    /// Changes to this storage; snapshots are named after the clock's time, in `snapshots` in its folder.
    #[must_use]
    pub const fn new(tsdb: Tsdb, clock: Arc<dyn Clock>) -> Self {
        Self { tsdb, clock }
    }
}

fn failed(action: &'static str) -> impl FnOnce(storage::AppendError) -> ActionError {
    move |source| ActionError { action, source: Box::new(source) }
}

impl StorageAdmin for StorageChanges {
    fn snapshot(&self, _skip_head: bool) -> Result<String, ActionError> {
        // Sealing the head is what a snapshot begins with, so there is no head to skip.
        let name = self.clock.now().unix_ms().to_string();
        let to: PathBuf = self.tsdb.path().join("snapshots").join(&name);
        self.tsdb.snapshot(&to).map_err(failed("make a snapshot"))?;
        Ok(name)
    }

    fn delete_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), ActionError> {
        self.tsdb.delete(matchers, range).map_err(failed("delete series"))
    }

    fn clean_tombstones(&self) -> Result<(), ActionError> {
        // A deletion returns when its bytes are gone: nothing is left to clean.
        Ok(())
    }

    fn merge(&self) -> Result<(), ActionError> {
        self.tsdb.compact().map_err(failed("merge segments"))
    }
}
