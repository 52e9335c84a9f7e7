//! Reads a block into a segment.
//!
//! ```text
//! index ─▶ series ─▶ chunks ─▶ samples, a few millions at a time ─▶ series with the same instants share a chunk
//! ```
//!
//! Rule: all of a block or nothing; memory is bounded by [`BATCH`] samples beside the names.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use datamodel::Labels;
use storage::Samples;

use crate::Tsdb;
use crate::bytes::{Corrupt, Reader};
use crate::codec::chunk::Column;
use crate::db::Inner;
use crate::disk::Disk;
use crate::disk::mapped::Mapped;
use crate::folder::segment_path;
use crate::head::group::column_of;
use crate::query::sort_tail;
use crate::segment::names::Names;
use crate::segment::write::{About, SegmentWriter};

use super::chunk::{ChunkError, decode};
use super::crc::crc32c;
use super::index::{ChunkAt, IndexReader, IndexedSeries};
use super::tombstones::{self, Deleted};
use super::{BlockError, BlockInfo, Progress};

/// Samples that are held before they are written.
const BATCH: usize = 2_000_000;

const MAGIC: u32 = 0x85bd_40dd;

/// What came out of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What the block says about itself.
    pub block: BlockInfo,
    /// Series with samples.
    pub series: u64,
    /// Samples that were read, those left out that the block had deleted.
    pub samples: u64,
    /// Bytes of the new segment.
    pub bytes: u64,
}

/// The files of chunks of a block.
struct ChunkFiles {
    files: Vec<(std::path::PathBuf, Mapped)>,
}

impl ChunkFiles {
    fn open(disk: &dyn Disk, folder: &Path) -> Result<Self, BlockError> {
        let mut paths = disk.list(folder).map_err(BlockError::io("list", folder))?;
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let bytes = disk.map(&path).map_err(BlockError::io("open", &path))?;
            let mut front = Reader(&bytes);
            if front.array().map(u32::from_be_bytes) != Ok(MAGIC) {
                return Err(BlockError::corrupt(&path)(Corrupt("no magic number")));
            }
            match front.byte() {
                Ok(1) => files.push((path, bytes)),
                version => {
                    let what = format!("version {} of the chunks", version.unwrap_or(0));
                    return Err(BlockError::Unsupported { path, what });
                }
            }
        }
        Ok(Self { files })
    }

    fn read(&self, chunk: &ChunkAt, into: &mut Samples) -> Result<(), BlockError> {
        let file = usize::try_from(chunk.place >> 32).ok().and_then(|file| self.files.get(file));
        let Some((path, bytes)) = file else {
            let reason = format!("the index names a file of chunks {}, which is not there", (chunk.place >> 32) + 1);
            return Err(BlockError::Corrupt { path: std::path::PathBuf::from("chunks"), reason });
        };
        let corrupt = BlockError::corrupt(path);
        let start = bytes.get((chunk.place as u32) as usize..).unwrap_or(&[]);
        let (encoding, data) = whole_chunk(start).map_err(&corrupt)?;
        decode(encoding, data, into).map_err(|error| match error {
            ChunkError::Corrupt(reason) => corrupt(reason),
            ChunkError::Unknown(encoding) => {
                let what = format!("encoding {encoding} of a chunk");
                BlockError::Unsupported { path: path.clone(), what }
            }
        })
    }
}

/// Encoding and data of a chunk, checked.
fn whole_chunk(bytes: &[u8]) -> Result<(u8, &[u8]), Corrupt> {
    let mut reader = Reader(bytes);
    let len = reader.size()?;
    let summed = reader.take(len.checked_add(1).ok_or(Corrupt("chunk is out of range"))?)?;
    if crc32c(summed) != u32::from_be_bytes(reader.array()?) {
        return Err(Corrupt("checksum of a chunk is wrong"));
    }
    summed.split_first().map(|(encoding, data)| (*encoding, data)).ok_or(Corrupt("ends early"))
}

impl Tsdb {
    /// Reads a block of Prometheus into a sealed segment. Where the storage has a sample of the same series and
    /// instant, one of the two counts.
    ///
    /// # Errors
    ///
    /// The block is damaged or of a kind that is not known, or the storage cannot be written. Nothing of the block
    /// is stored then.
    pub fn import_block(&self, block: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Imported, BlockError> {
        self.inner.import_block(block, progress)
    }
}

impl Inner {
    fn import_block(&self, block: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Imported, BlockError> {
        let disk = &self.disk;
        let info = BlockInfo::read(disk.as_ref(), block)?;
        let source = Source {
            index: IndexReader::open(disk.as_ref(), &block.join("index"))?,
            chunks: ChunkFiles::open(disk.as_ref(), &block.join("chunks"))?,
            deleted: tombstones::read(disk.as_ref(), &block.join("tombstones"))?,
        };
        let failed = |path: &Path| BlockError::io("write", path);
        let mut upkeep = self.upkeep();
        let number = upkeep.next_number();
        let path = segment_path(&self.segment_dir(), number);
        let writer = SegmentWriter::create(disk, &path).map_err(failed(&path))?;
        let mut target = Target { writer, names: Names::default(), held: Vec::new(), held_samples: 0, all: (0, 0) };
        match source.copy(&mut target, progress) {
            Ok(()) if target.all.0 > 0 => {}
            result => {
                target.writer.discard();
                result?;
                return Ok(Imported { block: info, series: 0, samples: 0, bytes: 0 });
            }
        }
        let (series, samples) = target.all;
        target.writer.finish(target.names, &About::default()).map_err(failed(&path))?;
        let segment = self.open_written(&path, number)?;
        let bytes = segment.byte_len();
        upkeep.take_number();
        self.add_segment(segment);
        drop(upkeep);
        Ok(Imported { block: info, series, samples, bytes })
    }

    fn add_segment(&self, segment: Arc<crate::segment::Segment>) {
        let _writer = self.writer();
        let mut head = self.head_mut();
        let segments = head.segments().iter().cloned().chain([segment]).collect();
        head.set_segments(segments);
        // The block may hold newer samples than the rows of any group.
        head.raise_floors();
    }
}

/// A block that is read.
struct Source {
    index: IndexReader,
    chunks: ChunkFiles,
    deleted: Deleted,
}

/// The segment that is made of it.
struct Target {
    writer: SegmentWriter,
    names: Names,
    held: Vec<(u32, Samples)>,
    held_samples: usize,
    /// Series and samples.
    all: (u64, u64),
}

impl Source {
    fn copy(mut self, target: &mut Target, progress: &mut dyn FnMut(Progress)) -> Result<(), BlockError> {
        let path = self.index.path().to_path_buf();
        while let Some(series) = self.index.next().map_err(BlockError::corrupt(&path))? {
            let samples = self.read(&series)?;
            if !samples.is_empty() {
                let (done, total) = self.index.progress();
                progress(Progress { done, total });
                target.add(&series.labels, samples).map_err(BlockError::io("write", &path))?;
            }
        }
        target.flush().map_err(BlockError::io("write", &path))
    }

    fn read(&self, series: &IndexedSeries) -> Result<Samples, BlockError> {
        let mut samples = Samples::default();
        for chunk in &series.chunks {
            self.chunks.read(chunk, &mut samples)?;
        }
        // Chunks of a block may overlap, where samples came out of order.
        sort_tail(&mut samples, 0);
        let Some(deleted) = self.deleted.get(&series.number) else { return Ok(samples) };
        Ok(without(&samples, deleted))
    }
}

fn without(samples: &Samples, deleted: &[(i64, i64)]) -> Samples {
    let mut left = Samples::default();
    let mut histograms = samples.histograms.iter().peekable();
    for (index, (at, value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
        let histogram = histograms.next_if(|(place, _)| *place == index);
        if deleted.iter().any(|(from, through)| (*from..=*through).contains(at)) {
            continue;
        }
        match histogram {
            Some((_, histogram)) => left.push_histogram(*at, Arc::clone(histogram)),
            None => left.push(*at, *value),
        }
    }
    left
}

impl Target {
    fn add(&mut self, labels: &Labels, samples: Samples) -> io::Result<()> {
        let numbers: Vec<(u32, u32)> =
            labels.iter().map(|(name, value)| (self.names.text(name), self.names.text(value))).collect();
        let key = self.names.push(numbers.into_iter());
        self.all.0 += 1;
        self.all.1 += samples.len() as u64;
        self.held_samples += samples.len();
        self.held.push((key, samples));
        if self.held_samples >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what is held; series with the same instants share a chunk.
    fn flush(&mut self) -> io::Result<()> {
        self.held_samples = 0;
        let mut by_times: BTreeMap<Vec<i64>, Vec<(u32, Column)>> = BTreeMap::new();
        for (key, samples) in self.held.drain(..) {
            let column = column_of(&samples, &samples.timestamps);
            by_times.entry(samples.timestamps).or_default().push((key, column));
        }
        by_times.into_iter().try_for_each(|(times, columns)| self.writer.add(&times, columns))
    }
}
