//! The newest exemplars of all series together: a ring, and for each series where its exemplars lie in it.
//!
//! ```text
//! ring:    7 │ 8 │ 9 │ 10 │ 11        the oldest leaves when the ring is full
//! series:  a ─▶ 7, 10    b ─▶ 8, 9, 11
//! ```
//!
//! Rule: exemplars of a series ascend by time, and the ring never holds more than its bound.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher, Timestamp};
use storage::{Exemplar, SeriesExemplars};

use crate::bytes::{Corrupt, Reader, put_bytes, put_signed, put_varint};
use crate::disk::Disk;
use crate::options::{Damage, OpenError, OpenReport};

/// First bytes of the file.
const MAGIC: &[u8; 6] = b"CREXE\0";
/// Version of the file that this build writes, and the newest that it reads.
const VERSION: u16 = 1;

/// What a held exemplar takes beside its text, nearly.
const ENTRY_BYTES: usize = 160;

#[derive(Debug)]
struct Held {
    series: Labels,
    exemplar: Exemplar,
}

/// The newest exemplars.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    max: usize,
    ring: VecDeque<Held>,
    /// Number of the first in the ring, counted from the start.
    first: u64,
    /// Numbers of the exemplars of each series, ascending.
    series: HashMap<Labels, VecDeque<u64>>,
    text_bytes: usize,
    appended: u64,
    left_out: u64,
}

impl Exemplars {
    /// Keeps at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Changes the bound; what is too much goes at once.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
        while self.ring.len() > max {
            self.remove_oldest();
        }
        self.ring.shrink_to(max);
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Series with exemplars.
    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }

    /// Exemplars that were taken since the start.
    pub(crate) const fn appended(&self) -> u64 {
        self.appended
    }

    /// Exemplars that were older than the newest of their series, or repeated it.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When the oldest was observed.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.ring.front().map(|held| held.exemplar.at)
    }

    /// Bytes held on the heap, nearly.
    pub(crate) fn byte_len(&self) -> usize {
        self.ring.len() * ENTRY_BYTES + self.text_bytes
    }

    fn newest(&self, series: &Labels) -> Option<&Exemplar> {
        let number = self.series.get(series)?.back()?;
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.ring.get(at).map(|held| &held.exemplar)
    }

    /// Whether an exemplar would be taken; counts it where not.
    pub(crate) fn takes(&mut self, series: &Labels, exemplar: &Exemplar) -> bool {
        let takes = self.max > 0 && self.newest(series).is_none_or(|newest| exemplar.follows(newest));
        self.left_out += u64::from(!takes);
        takes
    }

    /// Adds an exemplar, if it is to be taken.
    pub(crate) fn insert(&mut self, series: Labels, exemplar: Exemplar) {
        if !self.takes(&series, &exemplar) {
            return;
        }
        if self.ring.len() >= self.max {
            self.remove_oldest();
        }
        self.series.entry(series.clone()).or_default().push_back(self.first + self.ring.len() as u64);
        self.text_bytes += series.byte_len() + exemplar.labels.byte_len();
        self.ring.push_back(Held { series, exemplar });
        self.appended += 1;
    }

    fn remove_oldest(&mut self) {
        let Some(oldest) = self.ring.pop_front() else { return };
        self.first += 1;
        self.text_bytes -= oldest.series.byte_len() + oldest.exemplar.labels.byte_len();
        if let Some(numbers) = self.series.get_mut(&oldest.series) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.series.remove(&oldest.series);
            }
        }
    }

    /// The exemplars in the range of the series that pass one of the selectors.
    pub(crate) fn select(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Vec<SeriesExemplars> {
        let wanted =
            |labels: &Labels| selectors.iter().any(|matchers| matchers.iter().all(|m| m.matches_labels(labels)));
        let mut found: Vec<SeriesExemplars> = Vec::new();
        for (series, numbers) in self.series.iter().filter(|(series, _)| wanted(series)) {
            let held = numbers.iter().filter_map(|number| self.ring.get(usize::try_from(number - self.first).ok()?));
            let within = held.map(|held| &held.exemplar).filter(|exemplar| range.contains(exemplar.at));
            let exemplars: Vec<Exemplar> = within.cloned().collect();
            if !exemplars.is_empty() {
                found.push(SeriesExemplars { series: series.clone(), exemplars });
            }
        }
        found.sort_by(|a, b| a.series.cmp(&b.series));
        found
    }

    /// All exemplars in the order in which they came, as a file.
    pub(crate) fn file_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        for held in &self.ring {
            put_labels(&mut out, &held.series);
            put_exemplar(&mut out, &held.exemplar);
        }
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Adds the exemplars of a file, where there is one. A damaged one is reported and costs its exemplars.
    pub(crate) fn load(&mut self, disk: &dyn Disk, path: &Path, report: &mut OpenReport) -> Result<(), OpenError> {
        let bytes = match disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(OpenError::Io { action: "read the exemplars", path: path.to_path_buf(), source });
            }
        };
        let found = version_of(&bytes);
        if found > VERSION {
            return Err(OpenError::NewerFormat { path: path.to_path_buf(), found, supported: VERSION });
        }
        if self.decode(&bytes).is_err() {
            let lost = bytes.len() as u64;
            report.damage.push(Damage::Lost { path: path.to_path_buf(), at: 0, bytes: lost });
        }
        Ok(())
    }

    /// Adds what [`file_bytes`](Self::file_bytes) wrote.
    fn decode(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let (summed, sum) = bytes.split_last_chunk::<4>().ok_or(Corrupt("ends early"))?;
        if crc32fast::hash(summed) != u32::from_le_bytes(*sum) {
            return Err(Corrupt("checksum is wrong"));
        }
        let mut reader = Reader(summed);
        if reader.take(MAGIC.len())? != MAGIC || reader.array::<2>()? == [0, 0] {
            return Err(Corrupt("no magic number"));
        }
        while !reader.is_empty() {
            let series = read_labels(&mut reader)?;
            let exemplar = read_exemplar(&mut reader)?;
            self.insert(series, exemplar);
        }
        Ok(())
    }
}

/// The version that a file names; zero where it is none of ours.
fn version_of(bytes: &[u8]) -> u16 {
    let mut reader = Reader(bytes);
    let is_ours = reader.take(MAGIC.len()).is_ok_and(|magic| magic == MAGIC);
    if is_ours { reader.array().map_or(0, u16::from_le_bytes) } else { 0 }
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_varint(out, labels.len() as u64);
    for (name, value) in labels {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, Corrupt> {
    let count = reader.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let mut text = || std::str::from_utf8(reader.bytes()?).map_err(|_invalid| Corrupt("text is no UTF-8"));
        pairs.push((text()?, text()?));
    }
    Ok(Labels::from_sorted(&pairs))
}

/// Appends the bytes of an exemplar.
pub(crate) fn put_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.push(u8::from(exemplar.has_timestamp));
    put_signed(out, exemplar.at.unix_ms());
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_labels(out, &exemplar.labels);
}

/// Reads what [`put_exemplar`] wrote.
pub(crate) fn read_exemplar(reader: &mut Reader<'_>) -> Result<Exemplar, Corrupt> {
    let has_timestamp = reader.byte()? & 1 == 1;
    let at = Timestamp::from_unix_ms(reader.signed()?);
    let value = f64::from_bits(reader.u64()?);
    Ok(Exemplar { labels: read_labels(reader)?, value, at, has_timestamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(trace: i64, at: i64) -> Exemplar {
        let labels = Labels::from_pairs([("trace_id", trace.to_string())]);
        Exemplar { labels, value: 0.5, at: Timestamp::from_unix_ms(at), has_timestamp: true }
    }

    fn series(n: i64) -> Labels {
        Labels::from_pairs([("__name__", "hits_total"), ("n", &n.to_string())])
    }

    fn times(exemplars: &Exemplars, range: TimeRange) -> Vec<(String, Vec<i64>)> {
        let found = exemplars.select(range, &[vec![Matcher::equal("__name__", "hits_total")]]);
        let of = |found: SeriesExemplars| {
            (found.series.get("n").unwrap().to_owned(), found.exemplars.iter().map(|e| e.at.unix_ms()).collect())
        };
        found.into_iter().map(of).collect()
    }

    #[test]
    fn oldest_exemplars_of_all_series_leave_first() {
        let mut exemplars = Exemplars::new(4);
        for at in 0..7 {
            exemplars.insert(series(at % 3), exemplar(at, at));
        }
        exemplars.insert(series(0), exemplar(9, 5));
        let expected = [("0".to_owned(), vec![3, 6]), ("1".to_owned(), vec![4]), ("2".to_owned(), vec![5])];
        assert_eq!(times(&exemplars, TimeRange::ALL), expected);
        assert_eq!((exemplars.len(), exemplars.series_len(), exemplars.appended()), (4, 3, 7));
        assert_eq!((exemplars.left_out(), exemplars.oldest()), (1, Some(Timestamp::from_unix_ms(3))));
        let range = TimeRange { start: Timestamp::from_unix_ms(4), end: Timestamp::from_unix_ms(5) };
        assert_eq!(times(&exemplars, range), expected[1..]);
        let mut again = Exemplars::new(10);
        again.decode(&exemplars.file_bytes()).unwrap();
        assert_eq!(times(&again, TimeRange::ALL), expected);
        assert_eq!(again.byte_len(), exemplars.byte_len());
        exemplars.set_max(1);
        assert_eq!(times(&exemplars, TimeRange::ALL), [("0".to_owned(), vec![6])]);
        exemplars.set_max(0);
        exemplars.insert(series(1), exemplar(10, 10));
        assert_eq!((exemplars.len(), exemplars.byte_len()), (0, 0));
    }

    #[test]
    fn cut_bytes_are_an_error_and_no_panic() {
        let mut exemplars = Exemplars::new(4);
        exemplars.insert(series(1), exemplar(1, 1));
        let bytes = exemplars.file_bytes();
        for len in 0..bytes.len() {
            assert!(Exemplars::new(4).decode(&bytes[..len]).is_err(), "{len}");
        }
    }
}
