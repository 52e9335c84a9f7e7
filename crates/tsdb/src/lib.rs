//! Storage on disk: samples of scrape groups, a write-ahead log, sealed segments.
//!
//! - [`Tsdb`]: opens a folder; [`storage::Appendable`] and [`storage::Queryable`].
//! - [`TsdbOptions`], [`OpenReport`], [`OpenError`], [`Damage`]: how it is opened and what was found.
//! - [`Tsdb::export_blocks`], [`Tsdb::import_block`], [`list_blocks`]: blocks of Prometheus.
//! - [`Stats`], [`Cardinality`]: figures for metrics and the status page.
//!
//! ```text
//! batch ─▶ plan ─▶ WAL ─▶ head (rows of a target share their timestamps)
//! ```
//!
//! Rule: nothing here spawns, reads the ambient clock or knows of scrapes, rules or HTTP: the owner calls
//! [`Tsdb::maintain`].
mod append;
mod block;
mod bytes;
mod codec;
mod db;
mod decimal;
mod disk;
mod exemplars;
mod folder;
mod head;
mod histogram;
mod lock;
mod merge;
mod open_batches;
mod options;
mod past;
mod postings;
mod query;
mod segment;
mod select;
mod stats;
mod table;
mod upkeep;
mod wal;

pub use append::Durable;
pub use block::{BlockError, BlockInfo, ExportOptions, Imported, Progress, list_blocks};
pub use db::Tsdb;
pub use options::{Damage, OpenError, OpenReport, TsdbOptions};
pub use stats::{Cardinality, Count, SegmentInfo, Stats};

#[cfg(test)]
mod tests;
