//! Writes blocks: the samples of a range, cut into blocks of equal length.
//!
//! Rule: a block has its name only when every byte of it is on the disk; memory is bounded by the names and places
//! of one block, and one series.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datamodel::histogram::CUSTOM_BUCKETS_SCHEMA;
use datamodel::time::{TimeRange, duration_ms};
use datamodel::{Histogram, Labels, Matcher, Timestamp};
use storage::{Queryable, Samples, SelectHints};

use crate::Tsdb;
use crate::bytes::put_varint;
use crate::disk::{Disk, DiskFile};

use super::chunk::{Chunk, Cutter};
use super::crc::crc32c;
use super::index::{ChunkAt, IndexWriter};
use super::{BlockError, BlockInfo, Progress, meta, tombstones};

/// Blocks of one export.
pub(super) const MAX_BLOCKS: u64 = 10_000;

/// Bytes of a file of chunks, as upstream cuts them.
const MAX_FILE: u64 = 512 << 20;

const MAGIC: u32 = 0x85bd_40dd;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Samples in this range.
    pub range: TimeRange,
    /// Of series that pass all of these; of all series where there are none.
    pub matchers: Vec<Matcher>,
    /// What a block covers; blocks begin at multiples of it.
    pub block: Duration,
    /// When the export is made; goes into the names of the blocks.
    pub now: Timestamp,
}

/// The files of chunks of one block.
struct ChunkFiles<'a> {
    disk: &'a dyn Disk,
    folder: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    files: u64,
    len: u64,
    buffer: Vec<u8>,
    sums: u32,
}

impl ChunkFiles<'_> {
    fn write(&mut self, chunk: &Chunk) -> io::Result<ChunkAt> {
        let mut front = Vec::with_capacity(8);
        put_varint(&mut front, chunk.data.len() as u64);
        let len = (front.len() + 1 + chunk.data.len() + 4) as u64;
        if self.file.is_none() || self.len + len > MAX_FILE {
            self.end()?;
            self.files += 1;
            self.file = Some(self.disk.create(&self.folder.join(format!("{:06}", self.files)))?);
            self.buffer.extend_from_slice(&MAGIC.to_be_bytes());
            self.buffer.extend_from_slice(&[1, 0, 0, 0]);
            self.len = 8;
        }
        let place = (self.files - 1) << 32 | self.len;
        let start = self.buffer.len() + front.len();
        self.buffer.extend_from_slice(&front);
        self.buffer.push(chunk.encoding);
        self.buffer.extend_from_slice(&chunk.data);
        let sum = crc32c(self.buffer.get(start..).unwrap_or(&[]));
        self.sums = self.sums.rotate_left(1) ^ sum;
        self.buffer.extend_from_slice(&sum.to_be_bytes());
        self.len += len;
        if self.buffer.len() > 256 << 10 {
            self.flush()?;
        }
        Ok(ChunkAt { first: chunk.first, last: chunk.last, place })
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.take().map_or(Ok(()), |file| file.sync())
    }
}

/// What a block cannot hold of a histogram.
fn refusal(histogram: &Histogram) -> Option<String> {
    let is_known = (-4..=8).contains(&histogram.schema) || histogram.schema == CUSTOM_BUCKETS_SCHEMA;
    if !is_known {
        return Some(format!("a histogram of schema {}", histogram.schema));
    }
    let sides = [
        (&histogram.positive_spans, histogram.positive_buckets.len()),
        (&histogram.negative_spans, histogram.negative_buckets.len()),
    ];
    let fits = |(spans, buckets): &(&Vec<datamodel::histogram::Span>, usize)| {
        spans.iter().map(|span| u64::from(span.length)).sum::<u64>() == *buckets as u64
    };
    (!sides.iter().all(fits)).then(|| "a histogram whose spans name other buckets than it has".to_owned())
}

impl Tsdb {
    /// Writes what is stored as blocks of Prometheus into a folder, which is created where it is not there.
    /// Prometheus, Thanos and others take the folders from it.
    ///
    /// # Errors
    ///
    /// The storage cannot be read or the folder not written, or there is a sample that a block cannot hold. Blocks
    /// that were finished before stay.
    pub fn export_blocks(
        &self,
        to: &Path,
        options: &ExportOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<BlockInfo>, BlockError> {
        let disk = self.inner.disk.as_ref();
        disk.create_folders(to).map_err(BlockError::io("create the folder", to))?;
        let Some((first, last)) = self.bounds(options.range) else { return Ok(Vec::new()) };
        let block = duration_ms(options.block).max(1);
        let (from, through) = (first.div_euclid(block), last.div_euclid(block));
        let total = through.abs_diff(from).saturating_add(1);
        if total > MAX_BLOCKS {
            return Err(BlockError::TooMany { blocks: total });
        }
        let mut blocks = Vec::new();
        for (window, done) in (from..=through).zip(0..) {
            progress(Progress { done, total });
            let (start, end) = (window.saturating_mul(block), window.saturating_add(1).saturating_mul(block) - 1);
            let (start, end) = (Timestamp::from_unix_ms(start), Timestamp::from_unix_ms(end));
            let range = TimeRange { start: start.max(options.range.start), end: end.min(options.range.end) };
            blocks.extend(self.export_block(disk, to, range, options)?);
        }
        progress(Progress { done: total, total });
        Ok(blocks)
    }

    /// First and last instant of what is stored in a range.
    fn bounds(&self, range: TimeRange) -> Option<(i64, i64)> {
        let stats = self.stats();
        let stored = stats.head_bounds_ms.into_iter().chain(stats.sealed_bounds_ms);
        let (first, last) = stored.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let (first, last) = (first.max(range.start.unix_ms()), last.min(range.end.unix_ms()));
        (first <= last).then_some((first, last))
    }

    /// Writes one block, if there is any sample.
    fn export_block(
        &self,
        disk: &dyn Disk,
        to: &Path,
        range: TimeRange,
        options: &ExportOptions,
    ) -> Result<Option<BlockInfo>, BlockError> {
        let folder = to.join(format!("{}.tmp-for-creation", meta::ulid(options.now.unix_ms(), 0)));
        let chunks = folder.join("chunks");
        let mut block = Block {
            files: ChunkFiles { disk, folder: chunks, file: None, files: 0, len: 0, buffer: Vec::new(), sums: 0 },
            index: IndexWriter::default(),
            info: BlockInfo {
                path: to.to_path_buf(),
                ulid: String::new(),
                min_ms: i64::MAX,
                max_ms: i64::MIN,
                samples: 0,
                series: 0,
                chunks: 0,
                level: 1,
                bytes: 0,
                custom_histograms: 0,
            },
        };
        let querier = self.querier(range)?;
        let mut set = querier.select(&options.matchers, &SelectHints::default())?;
        let mut samples = Samples::default();
        while let Some(series) = set.next() {
            let series = series?;
            samples.clear();
            series.read(range, &mut samples)?;
            if samples.is_empty() {
                continue;
            }
            if block.index.len() == 0 {
                disk.create_folders(&block.files.folder).map_err(BlockError::io("create", &folder))?;
            }
            block.add(series.labels(), &samples)?;
        }
        if block.index.len() == 0 { Ok(None) } else { block.finish(to, &folder, options.now).map(Some) }
    }
}

/// A block that is being written.
struct Block<'a> {
    files: ChunkFiles<'a>,
    index: IndexWriter,
    info: BlockInfo,
}

impl Block<'_> {
    fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<(), BlockError> {
        let mut cutter = Cutter::default();
        let mut histograms = samples.histograms.iter().peekable();
        for (index, (at, value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
            let Some((_, histogram)) = histograms.next_if(|(place, _)| *place == index) else {
                cutter.push(*at, *value);
                continue;
            };
            if let Some(what) = refusal(histogram) {
                return Err(BlockError::NotHeld { series: labels.to_string(), at_ms: *at, what });
            }
            self.info.custom_histograms += u64::from(histogram.schema == CUSTOM_BUCKETS_SCHEMA);
            cutter.push_histogram(*at, histogram);
        }
        cutter.end();
        let mut places = Vec::with_capacity(cutter.done.len());
        for chunk in &cutter.done {
            places.push(self.files.write(chunk).map_err(BlockError::io("write", &self.files.folder))?);
            self.info.min_ms = self.info.min_ms.min(chunk.first);
            self.info.max_ms = self.info.max_ms.max(chunk.last.saturating_add(1));
            self.info.samples += u64::from(chunk.samples);
        }
        self.info.chunks += places.len() as u64;
        self.info.series += 1;
        self.index.add(labels, places);
        Ok(())
    }

    fn finish(mut self, to: &Path, folder: &Path, now: Timestamp) -> Result<BlockInfo, BlockError> {
        let disk = self.files.disk;
        let chunks = self.files.folder.clone();
        self.files.end().map_err(BlockError::io("write", &chunks))?;
        disk.sync_folder(&chunks).map_err(BlockError::io("sync", &chunks))?;
        let index = folder.join("index");
        let sum = self.index.write(disk, &index).map_err(BlockError::io("write", &index))?;
        let sums = u128::from(sum) << 48 ^ u128::from(self.files.sums) << 16;
        self.info.ulid = meta::ulid(now.unix_ms(), sums ^ u128::from(self.info.min_ms.cast_unsigned()));
        let small = [("tombstones", tombstones::empty()), ("meta.json", self.info.to_json().into_bytes())];
        for (name, bytes) in small {
            let path = folder.join(name);
            let write = || {
                let file = disk.create(&path)?;
                file.append(&bytes)?;
                file.sync()
            };
            write().map_err(BlockError::io("write", &path))?;
        }
        disk.sync_folder(folder).map_err(BlockError::io("sync", folder))?;
        let path = to.join(&self.info.ulid);
        disk.rename(folder, &path).map_err(BlockError::io("name the block", &path))?;
        disk.sync_folder(to).map_err(BlockError::io("sync", to))?;
        Ok(BlockInfo { bytes: disk.byte_len(&path), path, ..self.info })
    }
}
