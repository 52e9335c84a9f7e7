//! The disk as the storage sees it: a seam, so that tests can take the power away at any step.
//!
//! - [`Disk`], [`DiskFile`]: what is asked of it. - [`RealDisk`]: the file system. - [`mapped`]: bytes of a file
//!   in memory.
//! - `simulated`: files in memory that forget what was not synced (tests only).
//!
//! Rule: a name is durable once its folder was synced, bytes once their file was; nothing else is promised, in no
//! order. Nothing outside of this module touches a file.

pub(crate) mod mapped;
mod real;
#[cfg(test)]
pub(crate) mod simulated;

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lock::FolderLock;
use crate::options::OpenError;

use mapped::Mapped;

pub(crate) use real::RealDisk;
#[cfg(test)]
pub(crate) use real::RealFile;

/// A file system.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Takes a folder for this process; the lock ends with what is returned.
    fn lock(&self, folder: &Path) -> Result<Option<FolderLock>, OpenError>;

    /// Creates a folder and those above it, where they are not there; their names are durable.
    fn create_folders(&self, folder: &Path) -> io::Result<()>;

    /// Creates a folder that must not be there; its name is durable.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// What lies in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Begins a file that must not be there.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Begins a file in the place of any that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The bytes of a file that nobody changes any more.
    fn map(&self, path: &Path) -> io::Result<Mapped>;

    /// Cuts a file back; its length is durable.
    fn cut(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Gives a file another name in the same folder, in the place of any that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file that nobody changes any more another name besides, or a copy, whose bytes are durable.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Bytes of all files below a folder; what vanishes meanwhile counts nothing.
    fn byte_len(&self, folder: &Path) -> u64;
}

/// An open file, written at its end.
pub(crate) trait DiskFile: Debug + Send + Sync {
    /// Writes behind what is there; after an error a part of it may be.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file back.
    fn cut(&self, len: u64) -> io::Result<()>;

    /// Returns when the bytes are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file as something to write to.
#[derive(Debug)]
pub(crate) struct Appending(pub(crate) Arc<dyn DiskFile>);

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a small file as a whole: after a loss of power either the old or the new one is there.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let file = disk.create(&unfinished)?;
    file.append(bytes)?;
    file.sync()?;
    disk.rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))
}
