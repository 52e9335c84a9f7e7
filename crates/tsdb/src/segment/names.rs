//! Names of the series of a segment while it is written: symbols, pairs, sets, in order.
//!
//! - [`Names`]: label sets by key, from a head or from other segments.
//! - [`Names::write`]: the index, with each series' places.
//!
//! Rule: series are numbered in the order of their labels, so that a reader needs no sorting.

use std::collections::HashMap;
use std::io;

use crate::bytes::put_varint;

/// Series a block of the series table holds; only the first of a block stands for itself.
pub(super) const SERIES_BLOCK: usize = 16;

/// Label sets by key.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u32>,
    /// Name and value of each label, ascending by name, one set after the other.
    labels: Vec<(u32, u32)>,
    ends: Vec<u32>,
}

/// Where a series has samples: key, chunk, column.
pub(crate) type Place = (u32, u32, u32);

impl Names {
    /// The number of a text.
    pub(crate) fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.by_text.get(text) {
            return *known;
        }
        // A text takes at least a byte of a file that is no longer than four gigabytes.
        let id = self.texts.len() as u32;
        self.texts.push(Box::from(text));
        self.by_text.insert(Box::from(text), id);
        id
    }

    /// Adds a label set, in numbers of texts, ascending by name; returns its key.
    pub(crate) fn push(&mut self, labels: impl Iterator<Item = (u32, u32)>) -> u32 {
        self.labels.extend(labels);
        self.ends.push(self.labels.len() as u32);
        (self.ends.len() - 1) as u32
    }

    fn set(&self, key: u32) -> &[(u32, u32)] {
        let key = key as usize;
        let start = key.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(key).copied().unwrap_or(start);
        self.labels.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// Writes the sections of the index; series without a place are left out.
    pub(super) fn write(mut self, mut places: Vec<Place>) -> io::Result<Sections> {
        places.sort_unstable();
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.texts[*a as usize].cmp(&self.texts[*b as usize]));
        let mut rank = vec![0; order.len()];
        for (place, id) in order.iter().enumerate() {
            rank[*id as usize] = place as u32;
        }
        for (name, value) in &mut self.labels {
            (*name, *value) = (rank[*name as usize], rank[*value as usize]);
        }
        let mut sections = Sections::default();
        put_u32(&mut sections.symbols, order.len())?;
        let mut end = 0;
        for id in &order {
            end += self.texts[*id as usize].len();
            put_u32(&mut sections.symbols, end)?;
        }
        for id in &order {
            sections.symbols.extend_from_slice(self.texts[*id as usize].as_bytes());
        }
        let mut series: Vec<&[Place]> = places.chunk_by(|a, b| a.0 == b.0).collect();
        series.sort_by(|a, b| self.set(a[0].0).cmp(self.set(b[0].0)));
        self.write_pairs(&series, &mut sections)?;
        sections.series_len = series.len() as u32;
        Ok(sections)
    }

    fn write_pairs(&self, series: &[&[Place]], sections: &mut Sections) -> io::Result<()> {
        let mut pairs: Vec<(u32, u32)> = series.iter().flat_map(|places| self.set(places[0].0)).copied().collect();
        pairs.sort_unstable();
        pairs.dedup();
        let number: HashMap<(u32, u32), u32> = pairs.iter().copied().zip(0..).collect();
        let mut postings = vec![Postings::default(); pairs.len()];
        let mut blocks = Vec::new();
        let mut previous: Vec<u32> = Vec::new();
        for (id, places) in series.iter().enumerate() {
            let set: Vec<u32> = self.set(places[0].0).iter().map(|pair| number[pair]).collect();
            for pair in &set {
                postings[*pair as usize].push(id as u32);
            }
            if id.is_multiple_of(SERIES_BLOCK) {
                put_u32(&mut blocks, sections.series.len())?;
                previous.clear();
            }
            put_series(&mut sections.series, &previous, &set, places);
            previous = set;
        }
        sections.series_blocks = blocks;
        put_u32(&mut sections.pairs, pairs.len())?;
        let mut lists = Vec::new();
        for ((name, value), list) in pairs.iter().zip(postings) {
            put_u32(&mut sections.pairs, *name as usize)?;
            put_u32(&mut sections.pairs, *value as usize)?;
            put_u32(&mut sections.pairs, lists.len())?;
            list.write(&mut lists);
        }
        sections.postings = lists;
        Ok(())
    }
}

/// The labels that differ from the previous series', then the places.
fn put_series(out: &mut Vec<u8>, previous: &[u32], set: &[u32], places: &[Place]) {
    put_varint(out, set.len() as u64);
    let same = |at: usize| previous.get(at).is_some() && previous.get(at) == set.get(at);
    for byte in 0..set.len().div_ceil(8) {
        out.push((0..8).filter(|bit| same(byte * 8 + bit)).fold(0, |byte, bit| byte | 1 << bit));
    }
    for (_, pair) in set.iter().enumerate().filter(|(at, _)| !same(*at)) {
        put_varint(out, u64::from(*pair));
    }
    put_varint(out, places.len() as u64);
    for (_, chunk, column) in places {
        put_varint(out, u64::from(*chunk));
        put_varint(out, u64::from(*column));
    }
}

fn put_u32(out: &mut Vec<u8>, value: usize) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "index exceeds four gigabytes");
    let value = u32::try_from(value).map_err(too_large)?;
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

/// A list of ascending ids, as gaps and runs.
#[derive(Clone, Debug, Default)]
struct Postings {
    len: u32,
    next: u32,
    /// First id and length of the run that is not written yet.
    run: (u32, u32),
    bytes: Vec<u8>,
}

impl Postings {
    fn push(&mut self, id: u32) {
        self.len += 1;
        if self.run.1 > 0 && self.run.0 + self.run.1 == id {
            self.run.1 += 1;
        } else {
            self.flush();
            self.run = (id, 1);
        }
    }

    fn flush(&mut self) {
        let (first, len) = self.run;
        if len == 0 {
            return;
        }
        put_varint(&mut self.bytes, u64::from(first - self.next) << 1 | u64::from(len > 1));
        if len > 1 {
            put_varint(&mut self.bytes, u64::from(len));
        }
        self.next = first + len;
    }

    fn write(mut self, out: &mut Vec<u8>) {
        self.flush();
        put_varint(out, u64::from(self.len));
        out.extend_from_slice(&self.bytes);
    }
}

/// The parts of an index as bytes.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) symbols: Vec<u8>,
    pub(super) pairs: Vec<u8>,
    pub(super) postings: Vec<u8>,
    pub(super) series_blocks: Vec<u8>,
    pub(super) series: Vec<u8>,
    pub(super) series_len: u32,
}
