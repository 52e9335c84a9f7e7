//! The write-ahead log: every committed batch, until a sealed segment holds it.
//!
//! - [`record`]: the bytes of one batch.
//! - [`replay`]: from files back to batches, whatever state they are in.
//! - [`Wal`]: the open file; [`Syncer`]: who waits for the disk, and who makes it so.
//!
//! ```text
//! 00000007.wal:  header │ frame │ frame │ …        frame: length, check, checksum, payload
//! ```
//!
//! Rule: a batch is in the file before a reader sees it; after a failed write the file ends before it.

pub(crate) mod record;
pub(crate) mod replay;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::head::Head;
use crate::head::plan::Planned;
use crate::head::seal::Thawed;
use record::Encoder;

/// Version of the file format that this build writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 2;
/// First bytes of a file.
const MAGIC: &[u8; 6] = b"CRWAL\0";
/// Magic, version, number.
const HEADER_LEN: usize = 16;
/// Length, its check, checksum of the payload.
const FRAME_LEN: usize = 9;
/// Larger batches are refused: a remote write has at most 32 MiB before compression of ours.
const MAX_PAYLOAD: usize = 256 << 20;

/// The byte that tells a length from noise.
fn check_byte(len: u32) -> u8 {
    (crc32fast::hash(&len.to_le_bytes()) >> 24) as u8
}

fn file_name(number: u64) -> String {
    format!("{number:08}.wal")
}

/// The files of a directory with their numbers, ascending.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for path in disk.list(dir)? {
        let is_wal = path.extension().is_some_and(|extension| extension == "wal");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| is_wal) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Removes the files up to a number: a segment holds their batches. They stay away after a loss of power as well,
/// so that the segment may be deleted.
pub(crate) fn remove_through(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    for (_, path) in list(disk, dir)?.into_iter().filter(|(found, _)| *found <= number) {
        disk.remove(&path)?;
    }
    disk.sync_folder(dir)
}

/// The file that is written.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    encoder: Encoder,
    buffer: Vec<u8>,
    /// A failed write could not be undone: the file is as it is until the next begins.
    broken: bool,
}

impl Wal {
    /// Begins a file.
    pub(crate) fn create(disk: &Arc<dyn Disk>, dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(file_name(number));
        let file = disk.create_new(&path)?;
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        file.append(&header)?;
        // A file that has its name has its header.
        file.sync()?;
        disk.sync_folder(dir)?;
        Ok(Self {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            number,
            path,
            file,
            len: HEADER_LEN as u64,
            encoder: Encoder::default(),
            buffer: Vec::new(),
            broken: false,
        })
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Puts another file in the place of the open one.
    #[cfg(test)]
    pub(crate) fn set_file(&mut self, file: Arc<dyn DiskFile>) {
        self.file = file;
    }

    /// The head has forgotten series: what the file says of their groups and symbols counts no more.
    pub(crate) fn forget(&mut self, thawed: &Thawed) {
        if thawed.index_rebuilt {
            self.encoder = Encoder::default();
        } else {
            thawed.changed_groups.iter().for_each(|group| self.encoder.forget(*group));
        }
    }

    /// Begins the next file. What is in the old one must be durable by now.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        *self = Self::create(&self.disk, &self.dir, self.number + 1)?;
        Ok(())
    }

    /// Writes a batch. After an error the file is as it was, or takes no more.
    pub(crate) fn append(&mut self, head: &Head, planned: &Planned) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed and could not be undone"));
        }
        self.buffer.clear();
        self.buffer.resize(FRAME_LEN, 0);
        self.encoder.encode(head, planned, &mut self.buffer);
        let written = self.write_frame();
        if written.is_err() {
            // The encoder has told more than the file: begin anew, with all definitions.
            self.encoder = Encoder::default();
            self.broken = self.file.cut(self.len).is_err();
        }
        // One large batch must not hold its memory for good.
        self.buffer.shrink_to(1 << 20);
        written
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let (frame, payload) = self.buffer.split_at_mut(FRAME_LEN);
        if payload.len() > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "batch is too large"));
        }
        let len = payload.len() as u32;
        let fields = [&len.to_le_bytes()[..], &[check_byte(len)], &crc32fast::hash(payload).to_le_bytes()].concat();
        frame.copy_from_slice(&fields);
        self.file.append(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        Ok(())
    }
}

#[derive(Debug)]
struct SyncState {
    file: Arc<dyn DiskFile>,
    /// Batches written, and of these known to be on the disk.
    written: u64,
    synced: u64,
    running: bool,
    failed: bool,
}

/// Group commit: one waiter syncs for all.
#[derive(Debug)]
pub(crate) struct Syncer {
    state: Mutex<SyncState>,
    done: Condvar,
}

impl Syncer {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        let state = SyncState { file, written: 0, synced: 0, running: false, failed: false };
        Self { state: Mutex::new(state), done: Condvar::new() }
    }

    /// Notes that a batch was written to `file`. An earlier file must have been synced.
    pub(crate) fn note_written(&self, file: &Arc<dyn DiskFile>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.written += 1;
        if !Arc::ptr_eq(&state.file, file) {
            state.file = Arc::clone(file);
        }
    }

    /// Whether a sync has failed: what is on the disk is then unknown, for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed
    }

    /// Returns when everything written before the call is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let target = state.written;
        loop {
            if state.failed {
                return Err(io::Error::other("an earlier sync of the write-ahead log failed"));
            }
            if state.synced >= target {
                return Ok(());
            }
            if state.running {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            let (written, file) = (state.written, Arc::clone(&state.file));
            drop(state);
            let result = file.sync();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            if result.is_ok() {
                state.synced = state.synced.max(written);
            } else {
                state.failed = true;
            }
            self.done.notify_all();
            result?;
        }
    }
}
