//! Reads files of the log: whole frames, whatever lies between them.
//!
//! Rule: damage at the end is a torn write and is cut off; damage before it is stepped over and reported.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use datamodel::Labels;
use storage::{AppendError, Exemplar, GroupRef, SeriesRef};

use crate::bytes::Reader;
use crate::disk::Disk;
use crate::exemplars::Exemplars;
use crate::head::plan::{Past, Sample, plan, settle};
use crate::head::{Head, Last};
use crate::options::{OpenError, OpenReport};

use super::record::{DecodeError, Decoder, Sink, Value};
use super::{FRAME_LEN, HEADER_LEN, MAGIC, MAX_PAYLOAD, VERSION, check_byte};

/// Bytes that a search for the next whole frame may checksum: bounds the time of a hostile file.
const SEARCH_BUDGET: usize = 64 << 20;

/// Something in a file that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The last write did not complete; the file was cut back.
    TornTail {
        /// The file.
        path: PathBuf,
        /// Where it ends now, in bytes.
        at: u64,
        /// Bytes that were cut off.
        bytes: u64,
    },
    /// Bytes in the middle do not check; what lies behind them was read as far as it can be told.
    Lost {
        /// The file.
        path: PathBuf,
        /// Where the damage begins, in bytes.
        at: u64,
        /// Bytes that were stepped over.
        bytes: u64,
    },
    /// A sealed file cannot be read and was set aside.
    SetAside {
        /// The file, under its new name.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a file has in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Good,
    Newer(u16),
    Bad,
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    let mut reader = Reader(bytes);
    let magic = reader.take(MAGIC.len());
    match (magic, reader.array().map(u16::from_le_bytes)) {
        (Ok(magic), Ok(version)) if magic == MAGIC && version > VERSION => Header::Newer(version),
        (Ok(magic), Ok(version)) if magic == MAGIC && version > 0 && bytes.len() >= HEADER_LEN => Header::Good,
        _ => Header::Bad,
    }
}

/// The payload of the frame at this place, if it is whole. `budget` falls by the bytes that were summed.
fn frame_at<'a>(bytes: &'a [u8], at: usize, budget: &mut usize) -> Option<&'a [u8]> {
    let mut reader = Reader(bytes.get(at..)?);
    let len = reader.u32().ok()?;
    let check = reader.byte().ok()?;
    let sum = reader.u32().ok()?;
    if check != check_byte(len) || len as usize > MAX_PAYLOAD {
        return None;
    }
    let payload = reader.take(len as usize).ok()?;
    if payload.is_empty() || payload.len() > *budget {
        return None;
    }
    *budget -= payload.len();
    (crc32fast::hash(payload) == sum).then_some(payload)
}

/// The next whole frame at or behind this place.
fn search(bytes: &[u8], from: usize) -> Option<usize> {
    let mut budget = SEARCH_BUDGET;
    (from..bytes.len().saturating_sub(FRAME_LEN)).find(|at| frame_at(bytes, *at, &mut budget).is_some())
}

/// What came out of a file.
#[derive(Debug, Default)]
pub(super) struct FileReport {
    pub(super) batches: u64,
    /// Samples that build on lost bytes.
    pub(super) lost_samples: u64,
    /// Whole batches that do.
    pub(super) lost_batches: u64,
    /// Offset and length of damage in the middle.
    pub(super) lost: Vec<(u64, u64)>,
    /// Where the file should end, if its last write is torn.
    pub(super) torn_at: Option<u64>,
}

/// Takes the batches of one file, one after the other.
pub(super) trait BatchSink: Sink {
    /// The batch is complete: apply what was given since the last end.
    fn end_batch(&mut self);

    /// The batch cannot be read to its end: forget what was given since the last end.
    fn abandon_batch(&mut self);
}

/// Reads the frames behind the header.
pub(super) fn read_frames<T: BatchSink>(bytes: &[u8], sink: &mut T) -> FileReport {
    let mut report = FileReport::default();
    let mut decoder = Decoder::default();
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let mut unlimited = usize::MAX;
        let Some(payload) = frame_at(bytes, at, &mut unlimited) else {
            let Some(next) = search(bytes, at + 1) else {
                report.torn_at = Some(at as u64);
                break;
            };
            report.lost.push((at as u64, (next - at) as u64));
            decoder.distrust();
            at = next;
            continue;
        };
        match decoder.decode(payload, sink) {
            Ok(()) => {
                report.batches += 1;
                sink.end_batch();
            }
            Err(DecodeError::Lost) => {
                report.lost_batches += 1;
                sink.abandon_batch();
            }
            Err(DecodeError::Corrupt) => {
                sink.abandon_batch();
                report.lost.push((at as u64, (payload.len() + FRAME_LEN) as u64));
            }
        }
        at += FRAME_LEN + payload.len();
    }
    report.lost_samples = decoder.lost_samples;
    report
}

/// What the log fills.
#[derive(Debug)]
pub(crate) struct Restored<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) head: &'a mut Head,
    pub(crate) exemplars: &'a mut Exemplars,
}

/// Reads all files above `sealed`. Returns the highest number that a file has.
pub(crate) fn replay(
    dir: &Path,
    sealed: u64,
    into: &mut Restored<'_>,
    report: &mut OpenReport,
) -> Result<u64, OpenError> {
    let mut newest = sealed;
    for (number, path) in super::list(into.disk, dir).map_err(OpenError::io("list the write-ahead log", dir))? {
        newest = newest.max(number);
        if number > sealed {
            replay_file(&path, into, report)?;
        }
    }
    Ok(newest)
}

fn replay_file(path: &Path, into: &mut Restored<'_>, report: &mut OpenReport) -> Result<(), OpenError> {
    let disk = into.disk;
    let bytes = disk.read(path).map_err(OpenError::io("read a write-ahead log", path))?;
    let len = bytes.len() as u64;
    match read_header(&bytes) {
        Header::Good if bytes.len() == HEADER_LEN => {
            // Without batches there is nothing that a seal would take: the file would stay for good.
            disk.remove(path).map_err(OpenError::io("remove an empty write-ahead log", path))?;
            return Ok(());
        }
        Header::Good => {}
        Header::Newer(found) => {
            return Err(OpenError::NewerFormat { path: path.to_path_buf(), found, supported: VERSION });
        }
        Header::Bad if bytes.len() < HEADER_LEN => {
            // The process ended before it had written the header, so that no batch was acknowledged.
            report.damage.push(Damage::TornTail { path: path.to_path_buf(), at: 0, bytes: len });
            disk.remove(path).map_err(OpenError::io("remove an empty write-ahead log", path))?;
            return Ok(());
        }
        Header::Bad => report.damage.push(Damage::Lost { path: path.to_path_buf(), at: 0, bytes: HEADER_LEN as u64 }),
    }
    let mut sink = HeadSink { into, batch: Vec::new(), exemplars: Vec::new(), groups: HashMap::new(), samples: 0 };
    let found = read_frames(&bytes, &mut sink);
    report.replayed_samples += sink.samples;
    report.replayed_batches += found.batches;
    report.replayed_bytes += len;
    report.lost_batches += found.lost_batches;
    report.lost_samples += found.lost_samples;
    let lost = found.lost.into_iter();
    report.damage.extend(lost.map(|(at, bytes)| Damage::Lost { path: path.to_path_buf(), at, bytes }));
    if let Some(at) = found.torn_at {
        report.damage.push(Damage::TornTail { path: path.to_path_buf(), at, bytes: len.saturating_sub(at) });
        disk.cut(path, at).map_err(OpenError::io("cut back a write-ahead log", path))?;
    }
    Ok(())
}

/// Puts batches into the head, as a commit does, without the log.
struct HeadSink<'a, 'b> {
    into: &'a mut Restored<'b>,
    batch: Vec<Sample>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Groups of the head by their number in the file.
    groups: HashMap<u32, GroupRef>,
    samples: u64,
}

impl Sink for HeadSink<'_, '_> {
    type Series = Option<SeriesRef>;

    fn define(&mut self, group: u32, first: bool, labels: &Labels) -> Self::Series {
        if let Some(found) = self.into.head.find_series(labels) {
            return Some(found);
        }
        if first {
            let created = self.into.head.create_group();
            self.groups.insert(group, created);
        }
        let group = *self.groups.entry(group).or_insert_with(|| self.into.head.create_group());
        self.into.head.create_series(Some(group), labels)
    }

    fn sample(&mut self, series: Self::Series, at: i64, value: Value) {
        let Some(series) = series else { return };
        self.batch.push(match value {
            Value::Float(bits) => Sample { series, at, bits, histogram: None },
            Value::Histogram(histogram) => Sample { series, at, bits: 0, histogram: Some(histogram) },
        });
    }

    fn exemplar(&mut self, series: Self::Series, exemplar: Exemplar) {
        self.exemplars.extend(series.map(|series| (series, exemplar)));
    }
}

/// What was logged had been accepted: nothing is looked up again, and the window is not asked.
struct Unquestioned;

impl Past for Unquestioned {
    fn last_sealed(&self, _: &Head, _: u32, _: Option<i64>, _: i64) -> Result<Option<Last>, AppendError> {
        Ok(None)
    }

    fn exactly(&self, _: &Head, _: u32, _: i64) -> Result<Option<Last>, AppendError> {
        Ok(None)
    }

    fn window_start(&self, _: &Head) -> Option<i64> {
        Some(i64::MIN)
    }
}

impl BatchSink for HeadSink<'_, '_> {
    fn end_batch(&mut self) {
        let head = &mut *self.into.head;
        let mut planned = plan(head, std::mem::take(&mut self.batch), None);
        let moves = settle(head, &mut planned, &Unquestioned);
        if !moves.is_empty() {
            moves.apply(head, &mut planned);
        }
        self.samples += planned.len() as u64;
        head.apply(&planned);
        for (series, exemplar) in self.exemplars.drain(..) {
            if let Some((id, ..)) = head.locate(series) {
                self.into.exemplars.insert(head.index.labels(id), exemplar);
            }
        }
    }

    fn abandon_batch(&mut self) {
        self.batch.clear();
        self.exemplars.clear();
    }
}
