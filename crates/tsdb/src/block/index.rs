//! The index of a block: symbols, series with their chunks, postings.
//!
//! - [`IndexWriter`]: collects series in the order of their labels, then writes all. - [`IndexReader`]: reads one
//!   series after the other.
//!
//! ```text
//! magic │ symbols │ series (each at a multiple of 16, which is its number) │ postings … │ offsets of those │ contents
//! ```
//!
//! Rule: a writer holds names and places, never samples; a reader trusts no length.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datamodel::Labels;

use crate::bytes::{Corrupt, Reader, put_bytes, put_signed, put_varint};
use crate::disk::mapped::Mapped;
use crate::disk::{Appending, Disk};

use super::BlockError;
use super::crc::crc32c;

const MAGIC: u32 = 0xbaaa_d700;
const VERSION: u8 = 2;
/// Six offsets and a checksum.
const CONTENTS_LEN: usize = 6 * 8 + 4;

/// Where a chunk lies, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkAt {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Number of the file from zero in the upper half, offset in the lower.
    pub(super) place: u64,
}

#[derive(Debug)]
struct SeriesEntry {
    labels: Vec<(u32, u32)>,
    chunks: Vec<ChunkAt>,
}

/// Collects series, then writes the index.
#[derive(Debug, Default)]
pub(super) struct IndexWriter {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    series: Vec<SeriesEntry>,
}

/// The file as it grows.
struct Out {
    file: BufWriter<Appending>,
    len: u64,
    sums: u32,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        let zeros = [0; 16];
        let missing = (self.len.next_multiple_of(to) - self.len) as usize;
        self.put(zeros.get(..missing).unwrap_or(&[]))
    }

    /// The length, the bytes, their checksum; returns where it begins.
    fn section(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let start = self.len;
        let len = u32::try_from(bytes.len()).map_err(|_too_large| too_large())?;
        let sum = crc32c(bytes);
        self.sums = self.sums.rotate_left(1) ^ sum;
        self.put(&len.to_be_bytes())?;
        self.put(bytes)?;
        self.put(&sum.to_be_bytes())?;
        Ok(start)
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the index is too large; write shorter blocks")
}

impl IndexWriter {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let text: Arc<str> = Arc::from(text);
        // Texts are bounded by the storage's own 32 bits.
        let number = self.texts.len() as u32;
        self.numbers.insert(Arc::clone(&text), number);
        self.texts.push(text);
        number
    }

    /// Adds a series; they come ascending by labels.
    pub(super) fn add(&mut self, labels: &Labels, chunks: Vec<ChunkAt>) {
        let labels = labels.iter().map(|(name, value)| (self.number(name), self.number(value))).collect();
        self.series.push(SeriesEntry { labels, chunks });
    }

    pub(super) const fn len(&self) -> usize {
        self.series.len()
    }

    /// Writes the file; returns a checksum of its content.
    pub(super) fn write(self, disk: &dyn Disk, path: &Path) -> io::Result<u32> {
        let mut out = Out { file: BufWriter::with_capacity(256 << 10, Appending(disk.create(path)?)), len: 0, sums: 0 };
        out.put(&MAGIC.to_be_bytes())?;
        out.put(&[VERSION])?;
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.texts[*a as usize].cmp(&self.texts[*b as usize]));
        let mut places = vec![0; order.len()];
        let mut symbols = (order.len() as u32).to_be_bytes().to_vec();
        for (number, place) in order.iter().zip(0_u32..) {
            places[*number as usize] = place;
            put_bytes(&mut symbols, self.texts[*number as usize].as_bytes());
        }
        let symbols_at = out.section(&symbols)?;
        out.pad(16)?;
        let series_at = out.len;
        let postings = self.write_series(&mut out, &places)?;
        let postings_at = out.len;
        let mut table = (postings.len() as u32).to_be_bytes().to_vec();
        for ((name, value), series) in &postings {
            let mut list = (series.len() as u32).to_be_bytes().to_vec();
            series.iter().for_each(|number| list.extend_from_slice(&number.to_be_bytes()));
            out.pad(4)?;
            let at = out.section(&list)?;
            table.push(2);
            put_bytes(&mut table, name.as_bytes());
            put_bytes(&mut table, value.as_bytes());
            put_varint(&mut table, at);
        }
        let table_at = out.section(&table)?;
        let mut contents = Vec::with_capacity(CONTENTS_LEN);
        // The sections of label values are not used any more: zero says that there are none.
        for at in [symbols_at, series_at, 0, 0, postings_at, table_at] {
            contents.extend_from_slice(&at.to_be_bytes());
        }
        let sum = crc32c(&contents);
        contents.extend_from_slice(&sum.to_be_bytes());
        out.put(&contents)?;
        let file = out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.0.sync()?;
        Ok(out.sums ^ sum)
    }

    /// Writes the series; returns the numbers of those with each label, and of all.
    fn write_series(&self, out: &mut Out, places: &[u32]) -> io::Result<BTreeMap<(&str, &str), Vec<u32>>> {
        let mut postings: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::from([(("", ""), Vec::new())]);
        for series in &self.series {
            out.pad(16)?;
            let number = u32::try_from(out.len / 16).map_err(|_too_large| too_large())?;
            let mut entry = Vec::new();
            put_varint(&mut entry, series.labels.len() as u64);
            postings.entry(("", "")).or_default().push(number);
            for (name, value) in &series.labels {
                put_varint(&mut entry, u64::from(places[*name as usize]));
                put_varint(&mut entry, u64::from(places[*value as usize]));
                let pair = (self.texts[*name as usize].as_ref(), self.texts[*value as usize].as_ref());
                postings.entry(pair).or_default().push(number);
            }
            put_varint(&mut entry, series.chunks.len() as u64);
            let mut before: Option<&ChunkAt> = None;
            for chunk in &series.chunks {
                match before {
                    None => {
                        put_signed(&mut entry, chunk.first);
                        put_varint(&mut entry, chunk.last.wrapping_sub(chunk.first).cast_unsigned());
                        put_varint(&mut entry, chunk.place);
                    }
                    Some(before) => {
                        put_varint(&mut entry, chunk.first.wrapping_sub(before.last).cast_unsigned());
                        put_varint(&mut entry, chunk.last.wrapping_sub(chunk.first).cast_unsigned());
                        put_signed(&mut entry, chunk.place.wrapping_sub(before.place).cast_signed());
                    }
                }
                before = Some(chunk);
            }
            let mut len = Vec::new();
            put_varint(&mut len, entry.len() as u64);
            let sum = crc32c(&entry);
            out.sums = out.sums.rotate_left(1) ^ sum;
            out.put(&len)?;
            out.put(&entry)?;
            out.put(&sum.to_be_bytes())?;
        }
        Ok(postings)
    }
}

/// One series of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexedSeries {
    pub(super) number: u64,
    pub(super) labels: Labels,
    pub(super) chunks: Vec<ChunkAt>,
}

/// Reads the series of an index, one after the other.
#[derive(Debug)]
pub(super) struct IndexReader {
    path: PathBuf,
    bytes: Mapped,
    /// Start and end of each text.
    symbols: Vec<(usize, usize)>,
    next: usize,
    end: usize,
}

/// The bytes of a section that begins with its length, checked.
fn section(bytes: &[u8], at: usize) -> Result<(usize, &[u8]), Corrupt> {
    let mut reader = Reader(bytes.get(at..).ok_or(Corrupt("section is out of range"))?);
    let len = u32::from_be_bytes(reader.array()?) as usize;
    let content = reader.take(len)?;
    if crc32c(content) != u32::from_be_bytes(reader.array()?) {
        return Err(Corrupt("checksum of a section is wrong"));
    }
    Ok((at + 4, content))
}

impl IndexReader {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, BlockError> {
        let bytes = disk.map(path).map_err(BlockError::io("open", path))?;
        let corrupt = BlockError::corrupt(path);
        let mut front = Reader(&bytes);
        if front.array().map(u32::from_be_bytes).map_err(&corrupt)? != MAGIC {
            return Err(corrupt(Corrupt("no magic number")));
        }
        let version = front.byte().map_err(&corrupt)?;
        if version != VERSION {
            let what = format!("version {version} of the index");
            return Err(BlockError::Unsupported { path: path.to_path_buf(), what });
        }
        let (symbols, next, end) = contents(&bytes).map_err(corrupt)?;
        Ok(Self { path: path.to_path_buf(), bytes, symbols, next, end })
    }

    /// How far the reader is: bytes of the series, of all.
    pub(super) const fn progress(&self) -> (u64, u64) {
        (self.next as u64, self.end as u64)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn symbol(&self, number: u64) -> Result<&str, Corrupt> {
        let place = usize::try_from(number).ok().and_then(|number| self.symbols.get(number));
        let (start, end) = place.ok_or(Corrupt("symbol is out of range"))?;
        let text = self.bytes.get(*start..*end).unwrap_or(&[]);
        std::str::from_utf8(text).map_err(|_invalid| Corrupt("text is no UTF-8"))
    }

    /// The next series.
    pub(super) fn next(&mut self) -> Result<Option<IndexedSeries>, Corrupt> {
        loop {
            self.next = self.next.next_multiple_of(16);
            if self.next >= self.end {
                return Ok(None);
            }
            let at = self.next;
            let mut reader = Reader(self.bytes.get(at..self.end).unwrap_or(&[]));
            let before = reader.len();
            let len = reader.size()?;
            if len == 0 {
                // Padding between the sections.
                self.next += 16;
                continue;
            }
            let entry = reader.take(len)?;
            if crc32c(entry) != u32::from_be_bytes(reader.array()?) {
                return Err(Corrupt("checksum of a series is wrong"));
            }
            self.next += before - reader.len();
            return self.parse(at as u64 / 16, entry).map(Some);
        }
    }

    fn parse(&self, number: u64, entry: &[u8]) -> Result<IndexedSeries, Corrupt> {
        let mut reader = Reader(entry);
        let mut labels = Vec::new();
        for _ in 0..reader.count(2)? {
            labels.push((self.symbol(reader.varint()?)?, self.symbol(reader.varint()?)?));
        }
        let mut chunks: Vec<ChunkAt> = Vec::new();
        for _ in 0..reader.count(3)? {
            let (first, last, place);
            match chunks.last() {
                None => {
                    first = reader.signed()?;
                    last = first.wrapping_add(reader.varint()?.cast_signed());
                    place = reader.varint()?;
                }
                Some(before) => {
                    first = before.last.wrapping_add(reader.varint()?.cast_signed());
                    last = first.wrapping_add(reader.varint()?.cast_signed());
                    place = before.place.wrapping_add(reader.signed()?.cast_unsigned());
                }
            }
            chunks.push(ChunkAt { first, last, place });
        }
        Ok(IndexedSeries { number, labels: Labels::from_sorted(&labels), chunks })
    }
}

type Contents = (Vec<(usize, usize)>, usize, usize);

/// Where the texts are, and where the series begin and end.
fn contents(bytes: &[u8]) -> Result<Contents, Corrupt> {
    let at = bytes.len().checked_sub(CONTENTS_LEN).ok_or(Corrupt("ends early"))?;
    let (summed, sum) = bytes.get(at..).and_then(|table| table.split_last_chunk::<4>()).ok_or(Corrupt("ends early"))?;
    if crc32c(summed) != u32::from_be_bytes(*sum) {
        return Err(Corrupt("checksum of the contents is wrong"));
    }
    let mut offsets = [0; 6];
    for (offset, bytes) in offsets.iter_mut().zip(summed.as_chunks::<8>().0) {
        *offset = usize::try_from(u64::from_be_bytes(*bytes)).map_err(|_too_big| Corrupt("number is too big"))?;
    }
    let [symbols_at, series_at, ..] = offsets;
    let behind = offsets.into_iter().filter(|offset| *offset > series_at);
    let end = behind.min().unwrap_or(at).min(at);
    let (base, content) = section(bytes, symbols_at)?;
    let mut reader = Reader(content);
    let count = u32::from_be_bytes(reader.array()?) as usize;
    if count > reader.len() {
        return Err(Corrupt("count exceeds what follows"));
    }
    let mut symbols = Vec::with_capacity(count);
    for _ in 0..count {
        let text = reader.bytes()?;
        let end = base + content.len() - reader.len();
        symbols.push((end - text.len(), end));
    }
    Ok((symbols, series_at, end))
}
