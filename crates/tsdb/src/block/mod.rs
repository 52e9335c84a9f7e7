//! Blocks of Prometheus: data can be taken from it and handed over to it, so that nobody is locked in.
//!
//! - [`BlockInfo`]: what a block says about itself; [`list_blocks`] for a folder of them.
//! - [`export`]: writes blocks. - [`import`]: reads one into a segment. - [`BlockError`]: why not.
//! - [`chunk`], [`index`], [`meta`], [`tombstones`]: the files; [`bits`], [`crc`]: what they are made of.
//!
//! ```text
//! 01J…/meta.json   01J…/index   01J…/chunks/000001   01J…/tombstones
//! ```
//!
//! Source: the format documents of Prometheus (`tsdb/docs/format`), index version 2.
//!
//! Rule: what their format cannot hold, or what we cannot read, is refused by name; nothing is left out silently.

mod bits;
mod chunk;
mod crc;
pub(crate) mod export;
pub(crate) mod import;
mod index;
mod meta;
mod tombstones;

use std::io;
use std::path::{Path, PathBuf};

use storage::{AppendError, QueryError};

use crate::bytes::Corrupt;

pub use export::ExportOptions;
pub use import::Imported;
pub use meta::{BlockInfo, list_blocks};

/// How far a long step is: `done` of `total` series, bytes or blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// What there is to do; an estimate.
    pub total: u64,
}

/// Why a block cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The folder is none of a block.
    #[error("no block of Prometheus: {} (there is no `meta.json` in it)", .0.display())]
    NotABlock(PathBuf),
    /// A file of the block is not as it should be.
    #[error("damaged block: {}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A version or an encoding that cannot be read.
    #[error("cannot read {}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: String,
    },
    /// A sample that a block cannot hold.
    #[error("a block cannot hold {series} at {at_ms} ms: {what}")]
    NotHeld {
        /// The series.
        series: String,
        /// When, in Unix milliseconds.
        at_ms: i64,
        /// What cannot be held.
        what: String,
    },
    /// The range would take too many blocks.
    #[error(
        "{blocks} blocks would be written, at most {} are; name a shorter range or longer blocks",
        export::MAX_BLOCKS
    )]
    TooMany {
        /// How many.
        blocks: u64,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot {action}: {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The storage cannot be read.
    #[error("cannot read the storage")]
    Read(#[from] QueryError),
    /// The storage cannot be written.
    #[error("cannot write the storage")]
    Write(#[from] AppendError),
}

impl BlockError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    fn corrupt(path: &Path) -> impl Fn(Corrupt) -> Self + use<> {
        let path = path.to_path_buf();
        move |Corrupt(reason)| Self::Corrupt { path: path.clone(), reason: reason.to_owned() }
    }
}
