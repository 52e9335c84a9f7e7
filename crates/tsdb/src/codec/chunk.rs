//! Rows of several columns that share their timestamps, packed column by column.
//!
//! ```text
//! rows │ columns │ width of ends │ times │ end of each column … │ column …
//! column:  flags │ [presence] │ [histograms] │ [listed floats] │ floats
//! ```
//!
//! - [`Column`]: what goes in. - [`ChunkView`]: what is read, in place.
//!
//! Rule: a column is reached without reading the others, but for at most three on which it builds.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::time::TimeRange;
use storage::Samples;

use crate::bytes::{Corrupt, Reader, put_bytes, put_varint};

use super::floats::{self, Decimals, MAX_RELATED, RELATED};
use super::times;

/// Rows that a chunk may have: bounds what a reader allocates for one column.
pub(crate) const MAX_ROWS: usize = 16_384;

const PRESENCE: u8 = 0x20;
const HISTOGRAMS: u8 = 0x40;

/// One column on its way into a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Column {
    /// The rows that have a value, ascending; the whole chunk where `None`.
    pub(crate) rows: Option<Vec<u32>>,
    /// The bits of the values; zero where a histogram stands.
    pub(crate) values: Vec<u64>,
    /// Histograms by index into `values`, ascending.
    pub(crate) histograms: Vec<(u32, Arc<Histogram>)>,
}

impl Column {
    /// Whether no row has a value.
    pub(crate) const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Packs rows; there is at least one, and at most [`MAX_ROWS`]. With `related` a column may build on the
/// one before: shorter, and slower to read.
pub(crate) fn encode(times: &[i64], related: bool, columns: impl ExactSizeIterator<Item = Column>) -> Vec<u8> {
    let count = columns.len();
    let mut before: Option<Decimals> = None;
    let mut depth = 0;
    let mut ends = Vec::with_capacity(count);
    let mut data = Vec::with_capacity(count * 32);
    for column in columns {
        let base = before.as_ref().filter(|_| related && depth < MAX_RELATED);
        let (is_related, now) = put_column(&mut data, times.len(), &column, base);
        depth = if is_related { depth + 1 } else { 0 };
        before = now;
        ends.push(data.len());
    }
    let wide = data.len() > usize::from(u16::MAX);
    let mut out = Vec::with_capacity(data.len() + count * 2 + 32);
    put_varint(&mut out, times.len() as u64);
    put_varint(&mut out, count as u64);
    out.push(if wide { 4 } else { 2 });
    let mut packed_times = Vec::new();
    times::put(&mut packed_times, times);
    put_bytes(&mut out, &packed_times);
    for end in ends {
        out.extend(end.to_le_bytes().iter().take(if wide { 4 } else { 2 }));
    }
    out.extend_from_slice(&data);
    out
}

/// Appends timestamps as a chunk holds them.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    times::put(out, times);
}

/// Returns whether the column builds on the one before, and what the next one may build on.
fn put_column(out: &mut Vec<u8>, rows: usize, column: &Column, before: Option<&Decimals>) -> (bool, Option<Decimals>) {
    let flags_at = out.len();
    out.push(0);
    let mut flags = 0;
    if let Some(present) = column.rows.as_ref().filter(|present| present.len() < rows) {
        flags |= PRESENCE;
        put_runs(out, present);
    }
    if !column.histograms.is_empty() {
        flags |= HISTOGRAMS;
        put_histograms(out, &column.histograms);
    }
    let complete = flags == 0;
    let (form, decimals) = floats::put(out, &column.values, before.filter(|_| complete));
    out[flags_at] = flags | form;
    (form & RELATED != 0, decimals.filter(|_| complete))
}

/// Runs of rows: how many, then for each the gap before it and its length.
fn put_runs(out: &mut Vec<u8>, rows: &[u32]) {
    let runs: Vec<&[u32]> = rows.chunk_by(|a, b| a + 1 == *b).collect();
    put_varint(out, runs.len() as u64);
    let mut next = 0;
    for run in runs {
        let Some(first) = run.first() else { continue };
        put_varint(out, u64::from(first - next));
        put_varint(out, run.len() as u64);
        next = first + run.len() as u32;
    }
}

fn read_runs(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<u32>, Corrupt> {
    let runs = reader.count(2)?;
    let mut present = Vec::new();
    let mut next = 0_usize;
    for _ in 0..runs {
        let first = next.saturating_add(reader.size()?);
        next = first.saturating_add(reader.size()?);
        if next > rows {
            return Err(Corrupt("row is out of range"));
        }
        present.extend(first as u32..next as u32);
    }
    Ok(present)
}

fn put_histograms(out: &mut Vec<u8>, histograms: &[(u32, Arc<Histogram>)]) {
    put_varint(out, histograms.len() as u64);
    let mut next = 0;
    let mut previous: Option<&Histogram> = None;
    for (place, histogram) in histograms {
        put_varint(out, u64::from(place - next));
        put_bytes(out, &crate::histogram::encode_after(previous, histogram));
        next = place + 1;
        previous = Some(histogram);
    }
}

fn read_histograms(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(usize, Arc<Histogram>)>, Corrupt> {
    let len = reader.count(2)?;
    let mut histograms: Vec<(usize, Arc<Histogram>)> = Vec::with_capacity(len);
    let mut next = 0_usize;
    for _ in 0..len {
        let place = next.saturating_add(reader.size()?);
        if place >= count {
            return Err(Corrupt("histogram is out of range"));
        }
        let previous = histograms.last().map(|(_, histogram)| histogram.as_ref());
        let histogram = crate::histogram::decode_after(previous, reader.bytes()?)?;
        histograms.push((place, Arc::new(histogram)));
        next = place + 1;
    }
    Ok(histograms)
}

/// Columns that a reader keeps because the next one may build on them: the buckets of a few histograms in
/// some segments. Together at most a megabyte.
const KEPT_COLUMNS: usize = 128;

/// Longer columns are not kept.
const MAX_KEPT_ROWS: usize = 1024;

/// A chunk among all: segment and number.
pub(crate) type ChunkId = (u64, u32);

/// A column that was read.
#[derive(Debug, Default)]
struct Kept {
    /// Chunk and column.
    of: Option<(ChunkId, usize)>,
    values: Vec<f64>,
}

/// Room that is reused between columns.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    integers: Vec<u64>,
    values: Vec<f64>,
    /// Each column has one place where it may be kept; neighbours in a few chunks do not meet.
    kept: Vec<Kept>,
}

impl Scratch {
    fn place(chunk: ChunkId, column: usize) -> usize {
        // Only spreads: the bits above do not matter.
        let spread = (chunk.0 as usize).wrapping_mul(53).wrapping_add((chunk.1 as usize).wrapping_mul(29));
        spread.wrapping_add(column) % KEPT_COLUMNS
    }

    /// Takes a kept column out; [`put_back`](Self::put_back) returns it.
    fn take(&mut self, chunk: ChunkId, column: usize) -> Option<Vec<f64>> {
        let kept = self.kept.get_mut(Self::place(chunk, column))?;
        kept.of.take_if(|of| *of == (chunk, column)).map(|_| std::mem::take(&mut kept.values))
    }

    fn put_back(&mut self, chunk: ChunkId, column: usize, values: Vec<f64>) {
        if let Some(kept) = self.kept.get_mut(Self::place(chunk, column)) {
            *kept = Kept { of: Some((chunk, column)), values };
        }
    }

    /// Keeps the column that was read last.
    fn keep(&mut self, chunk: Option<ChunkId>, column: usize) {
        let Some(chunk) = chunk.filter(|_| self.values.len() <= MAX_KEPT_ROWS) else { return };
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT_COLUMNS, Kept::default);
        }
        if let Some(kept) = self.kept.get_mut(Self::place(chunk, column)) {
            kept.of = Some((chunk, column));
            kept.values.clone_from(&self.values);
        }
    }
}

/// A packed chunk, in place.
#[derive(Debug)]
pub(crate) struct ChunkView<'a> {
    rows: usize,
    columns: usize,
    times: times::Times,
    /// Bytes of each end.
    wide: usize,
    ends: &'a [u8],
    data: &'a [u8],
}

impl<'a> ChunkView<'a> {
    /// Reads the front of a chunk.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        let rows = reader.size()?;
        let columns = reader.size()?;
        let wide = usize::from(reader.byte()?);
        if rows == 0 || rows > MAX_ROWS || (wide != 2 && wide != 4) {
            return Err(Corrupt("chunk has no such form"));
        }
        let times = times::read(reader.bytes()?, rows)?;
        let ends = reader.take(columns.checked_mul(wide).ok_or(Corrupt("number is too big"))?)?;
        Ok(Self { rows, columns, times, wide, ends, data: reader.0 })
    }

    /// All timestamps.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        (0..self.rows).map(|row| self.times.get(row))
    }

    /// First and last timestamp.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        (self.times.get(0), self.times.get(self.times.len().saturating_sub(1)))
    }

    fn end(&self, column: usize) -> usize {
        let bytes = self.ends.get(column * self.wide..(column + 1) * self.wide).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |end, byte| end << 8 | usize::from(*byte))
    }

    fn column(&self, column: usize) -> Result<Reader<'a>, Corrupt> {
        if column >= self.columns {
            return Err(Corrupt("column is out of range"));
        }
        let start = if column == 0 { 0 } else { self.end(column - 1) };
        self.data.get(start..self.end(column)).map(Reader).ok_or(Corrupt("column is out of range"))
    }

    /// The values of the column on which a related one builds.
    fn related(&self, column: usize, depth: u8, scratch: &mut Scratch) -> Result<Vec<f64>, Corrupt> {
        let column = column.checked_sub(1).filter(|_| depth < MAX_RELATED);
        let column = column.ok_or(Corrupt("column builds on too many others"))?;
        let mut reader = self.column(column)?;
        let flags = reader.byte()?;
        if flags & (PRESENCE | HISTOGRAMS) != 0 {
            return Err(Corrupt("column before has other rows"));
        }
        let before = if flags & RELATED == 0 { Vec::new() } else { self.related(column, depth + 1, scratch)? };
        let mut values = Vec::with_capacity(self.rows);
        floats::read(&mut reader, flags, self.rows, &before, &mut values, &mut scratch.integers)?;
        Ok(values)
    }

    /// Appends the samples of a column that lie in the range. With an `id`, columns on which others may
    /// build are kept in `scratch`.
    pub(crate) fn read(
        &self,
        id: Option<ChunkId>,
        column: usize,
        range: TimeRange,
        into: &mut Samples,
        scratch: &mut Scratch,
    ) -> Result<(), Corrupt> {
        let from = self.times.count_before(range.start.unix_ms());
        let to = range.end.unix_ms().checked_add(1).map_or(self.rows, |end| self.times.count_before(end));
        if from >= to {
            return Ok(());
        }
        let mut reader = self.column(column)?;
        let flags = reader.byte()?;
        let present = if flags & PRESENCE == 0 { None } else { Some(read_runs(&mut reader, self.rows)?) };
        let count = present.as_ref().map_or(self.rows, Vec::len);
        let histograms = if flags & HISTOGRAMS == 0 { Vec::new() } else { read_histograms(&mut reader, count)? };
        scratch.values.clear();
        if flags & RELATED == 0 {
            floats::read(&mut reader, flags, count, &[], &mut scratch.values, &mut scratch.integers)?;
        } else {
            let base = id.zip(column.checked_sub(1));
            let kept = base.and_then(|(id, before)| scratch.take(id, before));
            let is_kept = kept.is_some();
            let before = kept.map_or_else(|| self.related(column, 0, scratch), Ok)?;
            floats::read(&mut reader, flags, count, &before, &mut scratch.values, &mut scratch.integers)?;
            if let Some((id, column)) = base.filter(|_| is_kept) {
                scratch.put_back(id, column, before);
            }
        }
        if flags & (PRESENCE | HISTOGRAMS) == 0 {
            scratch.keep(id, column);
        }
        let values = &scratch.values;
        if present.is_none() && histograms.is_empty() {
            self.times.extend(from, to, &mut into.timestamps);
            into.values.extend_from_slice(values.get(from..to).ok_or(Corrupt("ends early"))?);
            return Ok(());
        }
        let mut histograms = histograms.into_iter().peekable();
        for place in 0..count {
            let row = present.as_ref().map_or(place, |rows| rows[place] as usize);
            let histogram = histograms.next_if(|(at, _)| *at == place);
            if row < from || row >= to {
                continue;
            }
            match histogram {
                Some((_, histogram)) => into.push_histogram(self.times.get(row), histogram),
                None => into.push(self.times.get(row), *values.get(place).ok_or(Corrupt("ends early"))?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datamodel::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::tests::any_histogram;

    fn any_column(rows: usize) -> impl Strategy<Value = Column> {
        let float = prop_oneof![
            6 => (0u32..5000).prop_map(|value| (f64::from(value) / 10.0).to_bits()),
            1 => any::<u64>(),
        ];
        let cell = prop_oneof![
            10 => float.prop_map(|bits| Some((bits, None))),
            1 => any_histogram().prop_map(|histogram| Some((0, Some(histogram)))),
            1 => Just(None),
        ];
        proptest::collection::vec(cell, rows).prop_map(|cells| {
            let mut column = Column { rows: Some(Vec::new()), ..Column::default() };
            for (cell, row) in cells.into_iter().zip(0..) {
                let Some((bits, histogram)) = cell else { continue };
                column.rows.as_mut().unwrap().push(row);
                if let Some(histogram) = histogram {
                    column.histograms.push((column.values.len() as u32, Arc::new(histogram)));
                }
                column.values.push(bits);
            }
            column
        })
    }

    fn samples(times: &[i64], column: &Column, range: TimeRange) -> Samples {
        let mut expected = Samples::default();
        for (place, bits) in column.values.iter().enumerate() {
            let at = times[column.rows.as_ref().unwrap()[place] as usize];
            let histogram = column.histograms.iter().find(|(index, _)| *index as usize == place);
            match histogram {
                _ if !range.contains(Timestamp::from_unix_ms(at)) => {}
                Some((_, histogram)) => expected.push_histogram(at, Arc::clone(histogram)),
                None => expected.push(at, f64::from_bits(*bits)),
            }
        }
        expected
    }

    type Bits = (Vec<i64>, Vec<u64>, Vec<(usize, Vec<u8>)>);

    fn bits(samples: &Samples) -> Bits {
        let histograms = samples.histograms.iter().map(|(at, h)| (*at, crate::histogram::encode(h))).collect();
        let mut values: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
        samples.histograms.iter().for_each(|(at, _)| values[*at] = 0);
        (samples.timestamps.clone(), values, histograms)
    }

    #[test]
    fn buckets_of_a_histogram_build_on_each_other() {
        let times: Vec<i64> = (0..200).map(|n| n * 1000).collect();
        // Observations fall anywhere, so that each bucket rises by much the same as the one below it.
        let bucket = |bucket: i32| Column {
            values: (0..200).map(|row| f64::from(row * 5 + row * 7919 % 23 + bucket * (row / 60)).to_bits()).collect(),
            ..Column::default()
        };
        let columns: Vec<Column> = (0..12).map(bucket).collect();
        let alone = encode(&times, false, columns.clone().into_iter());
        let related = encode(&times, true, columns.clone().into_iter());
        assert!(related.len() * 2 < alone.len(), "{} of {}", related.len(), alone.len());
        let view = ChunkView::new(&related).unwrap();
        let mut scratch = Scratch::default();
        for id in [None, Some((1, 2))] {
            // In the order of the labels, in which `10` comes before `2`.
            for index in [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9] {
                let mut back = Samples::default();
                view.read(id, index, TimeRange::ALL, &mut back, &mut scratch).unwrap();
                let bits: Vec<u64> = back.values.iter().map(|value| value.to_bits()).collect();
                assert_eq!(bits, columns[index].values);
            }
        }
    }

    proptest! {
        #[test]
        fn any_chunk_comes_back_to_the_bit(
            (times, columns) in proptest::collection::btree_set(0i64..100_000, 1..90).prop_flat_map(|times| {
                let rows = times.len();
                (Just(times.into_iter().collect::<Vec<_>>()), proptest::collection::vec(any_column(rows), 0..5))
            }),
            range in (0i64..100_000, 0i64..100_000),
            related in any::<bool>(),
        ) {
            let bytes = encode(&times, related, columns.clone().into_iter());
            let view = ChunkView::new(&bytes).unwrap();
            prop_assert!(view.times().eq(times.iter().copied()));
            let range = TimeRange { start: Timestamp::from_unix_ms(range.0), end: Timestamp::from_unix_ms(range.1) };
            let mut scratch = Scratch::default();
            for (index, column) in columns.iter().enumerate() {
                for range in [TimeRange::ALL, range] {
                    let mut back = Samples::default();
                    view.read(Some((1, 1)), index, range, &mut back, &mut scratch).unwrap();
                    prop_assert_eq!(bits(&back), bits(&samples(&times, column, range)));
                }
            }
        }

        #[test]
        fn any_damage_is_no_panic(at in 0usize..400, with in any::<u8>()) {
            let times: Vec<i64> = (0..40).map(|n| n * 1000).collect();
            let column = |n: u64| Column { values: (0..40).map(|row| ((row * n) as f64).to_bits()).collect(), ..Column::default() };
            let mut bytes = encode(&times, true, (0..10).map(column).collect::<Vec<_>>().into_iter());
            let len = bytes.len();
            bytes[at % len] = with;
            if let Ok(view) = ChunkView::new(&bytes) {
                for column in 0..view.columns.min(20) {
                    view.read(None, column, TimeRange::ALL, &mut Samples::default(), &mut Scratch::default()).ok();
                }
            }
        }
    }
}
