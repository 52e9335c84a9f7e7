//! Sealed segments: immutable files with packed columns and their own index, read in place.
//!
//! - [`mod@write`]: makes one. - [`names`]: its index, while it is made.
//! - [`Segment`]: reads one.
//!
//! ```text
//! magic │ chunk … │ chunk table │ symbols │ pairs │ postings │ series │ replaced │ footer
//! ```
//!
//! The layout stands in `docs/format/segment.md`.
//!
//! Rule: index and footer are checked when the file is opened, a chunk when it is first read.

pub(crate) mod names;
pub(crate) mod write;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use datamodel::Labels;
use datamodel::time::TimeRange;
use storage::Samples;

use crate::bytes::{Corrupt, Reader};
use crate::codec::chunk::{ChunkView, Scratch};
use crate::disk::Disk;
use crate::disk::mapped::Mapped;
use crate::postings::{LabelIndex, union};

use names::SERIES_BLOCK;

/// Version of the format that this build writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 6] = b"CRSEG\0";
const SECTIONS: usize = 7;
/// Section starts and their end, time bounds, samples, log number, chunks, series, level, two checksums.
const FOOTER_LEN: usize = (SECTIONS + 1) * 8 + 4 * 8 + 5 * 4;
/// Offset, length, checksum, first and last instant.
const CHUNK_ENTRY: usize = 32;
/// Name, value, start of the postings.
const PAIR_ENTRY: usize = 12;

/// Why a file is no segment.
#[derive(Debug)]
pub(crate) enum SegmentError {
    Io(std::io::Error),
    Newer(u16),
    Corrupt(Corrupt),
}

impl From<Corrupt> for SegmentError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// A sealed file.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    number: u64,
    bytes: Mapped,
    starts: [usize; SECTIONS + 1],
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) samples: u64,
    pub(crate) wal_through: u64,
    pub(crate) level: u8,
    series: u32,
    /// A bit for each chunk whose checksum was found right.
    checked: Box<[AtomicU64]>,
}

/// One entry of the chunk table.
#[derive(Clone, Copy, Debug)]
struct ChunkAt {
    offset: u64,
    len: u32,
    sum: u32,
    first: i64,
    last: i64,
}

impl Segment {
    pub(crate) fn open(disk: &dyn Disk, path: &Path, number: u64) -> Result<Self, SegmentError> {
        let bytes = disk.map(path).map_err(SegmentError::Io)?;
        let mut front = Reader(&bytes);
        if front.take(MAGIC.len())? != MAGIC {
            return Err(Corrupt("no magic number").into());
        }
        let version = u16::from_le_bytes(front.array()?);
        if version > VERSION {
            return Err(SegmentError::Newer(version));
        }
        let footer_at = bytes.len().checked_sub(FOOTER_LEN).ok_or(Corrupt("ends early"))?;
        let footer = bytes.get(footer_at..).unwrap_or(&[]);
        let (summed, sum) = footer.split_last_chunk::<4>().ok_or(Corrupt("ends early"))?;
        if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
            return Err(Corrupt("checksum of the footer is wrong").into());
        }
        let mut reader = Reader(summed);
        let mut starts = [0; SECTIONS + 1];
        for start in &mut starts {
            *start = usize::try_from(reader.u64()?).map_err(|_too_big| Corrupt("number is too big"))?;
        }
        if !starts.is_sorted() || starts.last() != Some(&footer_at) {
            return Err(Corrupt("sections are out of range").into());
        }
        let (min_ms, max_ms) = (reader.u64()?.cast_signed(), reader.u64()?.cast_signed());
        let (samples, wal_through) = (reader.u64()?, reader.u64()?);
        let (chunks, series) = (reader.u32()?, reader.u32()?);
        let [level, ..] = reader.array::<4>()?;
        let index_sum = reader.u32()?;
        if crc32fast::hash(bytes.get(starts[0]..footer_at).unwrap_or(&[])) != index_sum {
            return Err(Corrupt("checksum of the index is wrong").into());
        }
        let checked = (0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let path = path.to_path_buf();
        Ok(Self { path, number, bytes, starts, min_ms, max_ms, samples, wal_through, level, series, checked })
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub(crate) fn byte_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) const fn series_len(&self) -> u32 {
        self.series
    }

    pub(crate) const fn overlaps(&self, range: TimeRange) -> bool {
        self.min_ms <= range.end.unix_ms() && range.start.unix_ms() <= self.max_ms
    }

    fn section(&self, index: usize) -> &[u8] {
        self.bytes.get(self.starts[index]..self.starts[index + 1]).unwrap_or(&[])
    }

    /// The segments that this one takes the place of.
    pub(crate) fn replaces(&self) -> Vec<u64> {
        self.section(6).as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
    }

    fn symbol_count(&self) -> usize {
        word(self.section(1), 0) as usize
    }

    fn symbol(&self, id: u32) -> Result<&str, Corrupt> {
        let section = self.section(1);
        let (id, count) = (id as usize, self.symbol_count());
        if id >= count {
            return Err(Corrupt("symbol is out of range"));
        }
        let start = if id == 0 { 0 } else { word(section, id) as usize };
        let base = (count + 1) * 4;
        let text = section.get(base + start..base + word(section, id + 1) as usize);
        std::str::from_utf8(text.ok_or(Corrupt("symbol is out of range"))?).map_err(|_invalid| Corrupt("no UTF-8"))
    }

    /// The number of a text.
    fn find_symbol(&self, text: &str) -> Result<Option<u32>, Corrupt> {
        let (mut low, mut high) = (0, self.symbol_count() as u32);
        while low < high {
            let middle = u32::midpoint(low, high);
            if self.symbol(middle)? < text { low = middle + 1 } else { high = middle }
        }
        Ok((low < self.symbol_count() as u32 && self.symbol(low)? == text).then_some(low))
    }

    /// Number of pairs of name and value.
    pub(crate) fn pair_count(&self) -> usize {
        word(self.section(2), 0) as usize
    }

    fn pair(&self, at: usize) -> (u32, u32, usize) {
        let section = self.section(2);
        let base = 1 + at * (PAIR_ENTRY / 4);
        (word(section, base), word(section, base + 1), word(section, base + 2) as usize)
    }

    /// Name and value of a pair.
    pub(crate) fn pair_text(&self, pair: u32) -> Result<(&str, &str), Corrupt> {
        if pair as usize >= self.pair_count() {
            return Err(Corrupt("pair is out of range"));
        }
        let (name, value, _) = self.pair(pair as usize);
        Ok((self.symbol(name)?, self.symbol(value)?))
    }

    /// The number of the first pair that is not below these.
    fn pair_place(&self, name: u32, value: u32) -> usize {
        let (mut low, mut high) = (0, self.pair_count());
        while low < high {
            let middle = usize::midpoint(low, high);
            let (found_name, found_value, _) = self.pair(middle);
            if (found_name, found_value) < (name, value) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn list(&self, at: usize) -> Result<Vec<u32>, Corrupt> {
        let mut reader = Reader(self.section(3).get(at..).ok_or(Corrupt("postings are out of range"))?);
        let len = reader.size()?;
        if len > self.series as usize {
            return Err(Corrupt("postings are too long"));
        }
        let mut list = Vec::with_capacity(len);
        let mut next: u64 = 0;
        while list.len() < len {
            let code = reader.varint()?;
            let first = next.saturating_add(code >> 1);
            let run = if code & 1 == 1 { reader.varint()? } else { 1 };
            next = first.saturating_add(run);
            if next > u64::from(self.series) || run == 0 || run > (len - list.len()) as u64 {
                return Err(Corrupt("series is out of range"));
            }
            list.extend(first as u32..next as u32);
        }
        Ok(list)
    }

    /// Reads series one after the other.
    pub(crate) const fn walk(&self) -> Walk<'_> {
        Walk { segment: self, next: 0, rest: Reader(&[]), pairs: Vec::new(), places: Vec::new() }
    }

    /// Labels of a series, and where its samples are: chunk and column.
    pub(crate) fn series(&self, series: u32) -> Result<(Labels, Vec<(u32, u32)>), Corrupt> {
        let mut walk = self.walk();
        walk.seek(series)?;
        Ok((walk.labels()?, walk.places))
    }

    /// The series with exactly these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Result<Option<u32>, Corrupt> {
        let (mut low, mut high) = (0, self.series);
        while low < high {
            let middle = u32::midpoint(low, high);
            if self.series(middle)?.0 < *labels { low = middle + 1 } else { high = middle }
        }
        Ok((low < self.series && self.series(low)?.0 == *labels).then_some(low))
    }

    fn chunk_at(&self, chunk: u32) -> Result<ChunkAt, Corrupt> {
        let at = chunk as usize * CHUNK_ENTRY;
        let mut reader = Reader(self.section(0).get(at..at + CHUNK_ENTRY).ok_or(Corrupt("chunk is out of range"))?);
        Ok(ChunkAt {
            offset: reader.u64()?,
            len: reader.u32()?,
            sum: reader.u32()?,
            first: reader.u64()?.cast_signed(),
            last: reader.u64()?.cast_signed(),
        })
    }

    /// First and last instant of a chunk.
    pub(crate) fn chunk_bounds(&self, chunk: u32) -> Result<(i64, i64), Corrupt> {
        self.chunk_at(chunk).map(|at| (at.first, at.last))
    }

    /// A chunk, checked.
    pub(crate) fn chunk(&self, chunk: u32) -> Result<ChunkView<'_>, Corrupt> {
        let at = self.chunk_at(chunk)?;
        let offset = usize::try_from(at.offset).map_err(|_too_big| Corrupt("number is too big"))?;
        let end = offset.checked_add(at.len as usize).filter(|end| *end <= self.starts[0]);
        let bytes = end.and_then(|end| self.bytes.get(offset..end)).ok_or(Corrupt("chunk is out of range"))?;
        let bit = 1 << (chunk % 64);
        let word = self.checked.get(chunk as usize / 64).ok_or(Corrupt("chunk is out of range"))?;
        if word.load(Ordering::Relaxed) & bit == 0 {
            if crc32fast::hash(bytes) != at.sum {
                return Err(Corrupt("checksum of a chunk is wrong"));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        ChunkView::new(bytes)
    }

    /// Appends the samples of a place that lie in the range.
    pub(crate) fn read(
        &self,
        (chunk, column): (u32, u32),
        range: TimeRange,
        into: &mut Samples,
        scratch: &mut Scratch,
    ) -> Result<(), Corrupt> {
        let at = self.chunk_at(chunk)?;
        if at.first > range.end.unix_ms() || at.last < range.start.unix_ms() {
            return Ok(());
        }
        self.chunk(chunk)?.read(Some((self.number, chunk)), column as usize, range, into, scratch)
    }
}

/// Reads the series table forwards: a series costs what it differs from the one before.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    /// The series that is read next.
    next: u32,
    rest: Reader<'a>,
    pairs: Vec<u32>,
    places: Vec<(u32, u32)>,
}

impl<'a> Walk<'a> {
    /// Goes to a series.
    pub(crate) fn seek(&mut self, series: u32) -> Result<(), Corrupt> {
        if series >= self.segment.series {
            return Err(Corrupt("series is out of range"));
        }
        let block = series as usize / SERIES_BLOCK;
        let first = (block * SERIES_BLOCK) as u32;
        if self.next <= first || self.next > series {
            let at = word(self.segment.section(4), block) as usize;
            self.rest = Reader(self.segment.section(5).get(at..).ok_or(Corrupt("series is out of range"))?);
            self.next = first;
            self.pairs.clear();
        }
        while self.next <= series {
            self.read_next()?;
        }
        Ok(())
    }

    fn read_next(&mut self) -> Result<(), Corrupt> {
        let reader = &mut self.rest;
        let len = reader.size()?;
        let mask = reader.take(len.div_ceil(8))?;
        self.pairs.resize(len, 0);
        for (at, pair) in self.pairs.iter_mut().enumerate() {
            if mask[at / 8] >> (at % 8) & 1 == 0 {
                *pair = reader.id()?;
            }
        }
        self.places.clear();
        for _ in 0..reader.count(2)? {
            self.places.push((reader.id()?, reader.id()?));
        }
        self.next += 1;
        Ok(())
    }

    /// The labels of the series, as numbers of pairs.
    pub(crate) fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// Where the samples of the series are: chunk and column.
    pub(crate) fn places(&self) -> &[(u32, u32)] {
        &self.places
    }

    /// The labels of the series.
    pub(crate) fn labels(&self) -> Result<Labels, Corrupt> {
        let mut texts: Vec<(&'a str, &'a str)> = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            texts.push(self.segment.pair_text(*pair)?);
        }
        Ok(Labels::from_sorted(&texts))
    }
}

/// The n-th little-endian word of a section; zero behind its end.
fn word(section: &[u8], index: usize) -> u32 {
    section.get(index * 4..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl LabelIndex for Segment {
    fn for_each_label(&self, series: Option<&[u32]>, visit: &mut dyn FnMut(&str, &str)) -> Result<(), Corrupt> {
        let Some(series) = series else {
            return (0..self.pair_count() as u32).try_for_each(|pair| {
                let (name, value) = self.pair_text(pair)?;
                visit(name, value);
                Ok(())
            });
        };
        let mut seen = HashSet::new();
        let mut walk = self.walk();
        for id in series {
            walk.seek(*id)?;
            seen.extend(walk.pairs().iter().copied());
        }
        seen.into_iter().try_for_each(|pair| {
            let (name, value) = self.pair_text(pair)?;
            visit(name, value);
            Ok(())
        })
    }

    fn all(&self) -> Vec<u32> {
        (0..self.series).collect()
    }

    fn postings(&self, name: &str, value: &str) -> Result<Cow<'_, [u32]>, Corrupt> {
        let (Some(name), Some(value)) = (self.find_symbol(name)?, self.find_symbol(value)?) else {
            return Ok(Cow::Borrowed(&[]));
        };
        let place = self.pair_place(name, value);
        if place >= self.pair_count() {
            return Ok(Cow::Borrowed(&[]));
        }
        let (found_name, found_value, at) = self.pair(place);
        if (found_name, found_value) == (name, value) { self.list(at).map(Cow::Owned) } else { Ok(Cow::Borrowed(&[])) }
    }

    fn union_where(&self, name: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<u32>, Corrupt> {
        let Some(name) = self.find_symbol(name)? else { return Ok(Vec::new()) };
        let mut lists = Vec::new();
        for place in self.pair_place(name, 0)..self.pair_count() {
            let (found_name, value, at) = self.pair(place);
            if found_name != name {
                break;
            }
            if wanted(self.symbol(value)?) {
                lists.push(Cow::Owned(self.list(at)?));
            }
        }
        Ok(union(&lists))
    }
}
