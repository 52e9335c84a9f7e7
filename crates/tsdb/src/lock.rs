//! One process a folder.
//!
//! Rule: the lock belongs to the open file, so that it ends with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::options::OpenError;

/// Holds a folder until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was forked meanwhile holds the same file until it executes.
        // Without a lock that could be given back there is nothing to do.
        drop(self.0.unlock());
    }
}

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("lock");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(OpenError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The number is a help for people only.
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::Io { action: "lock the data folder", path, source });
            }
        }
        let noted =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(OpenError::io("write the lock file", &path))?;
        Ok(Self(file))
    }
}
