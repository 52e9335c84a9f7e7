//! A file in memory, without reading it.
//!
//! Rule: only sealed segments and blocks of others are mapped: they are written under another name, synced,
//! renamed, and never changed or cut after that.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file that nobody changes.
#[derive(Debug)]
pub(crate) struct Mapped(Bytes);

#[derive(Debug)]
enum Bytes {
    File(Mmap),
    #[cfg(test)]
    Memory(Vec<u8>),
}

impl Mapped {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        #[expect(unsafe_code, reason = "mapping is the way to read segments without holding them in anonymous memory")]
        // SAFETY: the file is immutable once it has its name (the rule above), the lock of the folder keeps
        // other processes of ours out, and a deleted file stays mapped until the last reader is gone.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Bytes::File(map)))
    }

    #[cfg(test)]
    pub(super) const fn memory(bytes: Vec<u8>) -> Self {
        Self(Bytes::Memory(bytes))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::File(map) => map,
            #[cfg(test)]
            Bytes::Memory(bytes) => bytes,
        }
    }
}
