//! A group of series: its newest rows, its packed rows, and what is being sealed.
//!
//! ```text
//! sealing (Arc) ◀─ freeze ─ chunks (packed, Arc) ◀─ 32 rows ─ rows ◀─ append
//! ```
//!
//! Rule: what is packed or frozen never changes, so that readers share it.

use std::sync::Arc;

use datamodel::time::TimeRange;
use storage::Samples;

use crate::bytes::Corrupt;
use crate::codec::chunk::{self, ChunkView, Column, Scratch};

use super::Last;
use super::rows::Rows;

/// Rows that a group holds before they are packed. A raw value has eight bytes and a packed one about one;
/// shorter chunks would lose that to their fronts.
const OPEN_ROWS: usize = 32;

/// Packed rows in memory.
#[derive(Debug)]
pub(crate) struct HeadChunk {
    /// Series ids by column.
    series: Arc<[u32]>,
    bytes: Box<[u8]>,
    first: i64,
    last: i64,
}

impl HeadChunk {
    fn pack(series: Arc<[u32]>, rows: &Rows) -> Self {
        let times = rows.times();
        let bytes = chunk::encode(times, false, (0..rows.width()).map(|column| rows.column(column))).into_boxed_slice();
        let (first, last) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        Self { series, bytes, first, last }
    }

    pub(crate) const fn overlaps(&self, range: TimeRange) -> bool {
        self.first <= range.end.unix_ms() && range.start.unix_ms() <= self.last
    }

    pub(crate) fn view(&self) -> Result<ChunkView<'_>, Corrupt> {
        ChunkView::new(&self.bytes)
    }

    /// The column of a series; `guess` is where it is now.
    pub(crate) fn column_of(&self, series: u32, guess: usize) -> Option<usize> {
        if self.series.get(guess) == Some(&series) {
            return Some(guess);
        }
        self.series.iter().rposition(|candidate| *candidate == series)
    }

    /// Appends the samples of a column that lie in the range.
    pub(crate) fn read(
        &self,
        column: usize,
        range: TimeRange,
        into: &mut Samples,
        scratch: &mut Scratch,
    ) -> Result<(), Corrupt> {
        if !self.overlaps(range) {
            return Ok(());
        }
        self.view()?.read(None, column, range, into, scratch)
    }
}

/// What a group hands over to be sealed.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// Series ids by column of the rows.
    pub(crate) series: Vec<u32>,
    pub(crate) chunks: Vec<Arc<HeadChunk>>,
    pub(crate) rows: Rows,
}

/// Series that are usually sampled at the same instant.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) generation: u32,
    pub(super) live: bool,
    /// Number of the seal before which the group was created.
    pub(super) born: u32,
    /// Series ids by column. A column whose series has left stays until a seal.
    pub(super) series: Vec<u32>,
    pub(super) rows: Rows,
    pub(super) chunks: Vec<Arc<HeadChunk>>,
    pub(super) sealing: Option<Arc<Frozen>>,
    /// Newest row so far, sealed ones included.
    pub(super) last_ms: Option<i64>,
    /// Up to here a sealed segment may hold newer samples of some series of the group.
    pub(super) floor_ms: Option<i64>,
}

impl Group {
    pub(crate) fn series(&self) -> &[u32] {
        &self.series
    }

    pub(crate) const fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(crate) fn chunks(&self) -> &[Arc<HeadChunk>] {
        &self.chunks
    }

    pub(crate) const fn sealing(&self) -> Option<&Arc<Frozen>> {
        self.sealing.as_ref()
    }

    /// Rows up to this instant need a look at each series.
    pub(crate) fn barrier_ms(&self) -> Option<i64> {
        self.last_ms.max(self.floor_ms)
    }

    /// Bytes held on the heap, nearly.
    pub(super) fn byte_len(&self) -> usize {
        let packed: usize = self.chunks.iter().map(|chunk| chunk.bytes.len() + 80).sum();
        let frozen = self.sealing.as_ref().map_or(0, |frozen| {
            frozen.rows.byte_len() + frozen.chunks.iter().map(|chunk| chunk.bytes.len() + 80).sum::<usize>()
        });
        size_of::<Self>() + self.series.capacity() * 4 + self.rows.byte_len() + packed + frozen
    }

    /// Packs the newest rows when there are enough of them.
    pub(super) fn pack_if_full(&mut self) {
        if self.rows.len() < OPEN_ROWS {
            return;
        }
        // Columns may have joined since the first row: the rows are as wide as the newest of them.
        let previous = self.chunks.last().map(|chunk| &chunk.series);
        let known = self.series.get(..self.rows.width()).unwrap_or(&self.series);
        let series = match previous {
            Some(previous) if **previous == *known => Arc::clone(previous),
            _ => Arc::from(known),
        };
        self.chunks.push(Arc::new(HeadChunk::pack(series, &self.rows)));
        self.rows.clear();
    }

    /// Appends the samples of a series, which has this column now, that lie in the range.
    pub(crate) fn read(&self, series: u32, column: usize, range: TimeRange, into: &mut Samples) -> Result<(), Corrupt> {
        let mut scratch = Scratch::default();
        if let Some(frozen) = &self.sealing {
            frozen.read(series, range, into, &mut scratch)?;
        }
        for chunk in &self.chunks {
            if let Some(column) = chunk.column_of(series, column) {
                chunk.read(column, range, into, &mut scratch)?;
            }
        }
        self.rows.read(column, range, into);
        Ok(())
    }

    /// The newest sample of a series that has this column now. A chunk that cannot be read holds none.
    pub(super) fn last(&self, series: u32, column: usize) -> Option<Last> {
        self.rows.last(column).or_else(|| last_packed(&self.chunks, series, column)).or_else(|| {
            let frozen = self.sealing.as_ref()?;
            let in_rows = frozen.series.iter().rposition(|candidate| *candidate == series);
            let in_rows = in_rows.and_then(|column| frozen.rows.last(column));
            in_rows.or_else(|| last_packed(&frozen.chunks, series, column))
        })
    }

    /// Hands everything over to be sealed; `None` if there is nothing.
    pub(super) fn freeze(&mut self) -> Option<Arc<Frozen>> {
        if self.chunks.is_empty() && self.rows.is_empty() {
            return None;
        }
        let rows = std::mem::take(&mut self.rows);
        let series = self.series.get(..rows.width()).unwrap_or(&self.series).to_vec();
        let frozen = Arc::new(Frozen { series, chunks: std::mem::take(&mut self.chunks), rows });
        self.sealing = Some(Arc::clone(&frozen));
        Some(frozen)
    }
}

/// The newest sample of a series in packed rows.
fn last_packed(chunks: &[Arc<HeadChunk>], series: u32, column: usize) -> Option<Last> {
    chunks.iter().rev().find_map(|chunk| {
        let mut samples = Samples::default();
        let column = chunk.column_of(series, column)?;
        chunk.read(column, TimeRange::ALL, &mut samples, &mut Scratch::default()).ok()?;
        Last::of(&samples)
    })
}

impl Frozen {
    /// All series that may have samples here.
    pub(crate) fn all_series(&self) -> Vec<u32> {
        let packed = self.chunks.iter().flat_map(|chunk| chunk.series.iter().copied());
        let mut all: Vec<u32> = packed.chain(self.series.iter().copied()).collect();
        // In the order of the columns, which is the order of the page: neighbours belong together.
        let mut seen = std::collections::HashSet::with_capacity(all.len());
        all.retain(|series| seen.insert(*series));
        all
    }

    /// The timestamps of all rows, ascending.
    pub(crate) fn times(&self) -> Result<Vec<i64>, Corrupt> {
        let mut times = Vec::new();
        for chunk in &self.chunks {
            times.extend(chunk.view()?.times());
        }
        times.extend_from_slice(self.rows.times());
        Ok(times)
    }

    /// Appends the samples of a series, ascending.
    pub(crate) fn read(
        &self,
        series: u32,
        range: TimeRange,
        into: &mut Samples,
        scratch: &mut Scratch,
    ) -> Result<(), Corrupt> {
        let at = self.series.iter().rposition(|candidate| *candidate == series);
        for chunk in &self.chunks {
            if let Some(column) = chunk.column_of(series, at.unwrap_or(usize::MAX)) {
                chunk.read(column, range, into, scratch)?;
            }
        }
        if let Some(column) = at {
            self.rows.read(column, range, into);
        }
        Ok(())
    }
}

/// The samples of a series as a column of rows with these timestamps; the samples' are among them.
pub(crate) fn column_of(samples: &Samples, times: &[i64]) -> Column {
    let histogram_at = |index: &usize| samples.histograms.binary_search_by_key(index, |(at, _)| *at).is_ok();
    let bits = samples.values.iter().enumerate();
    let values = bits.map(|(index, value)| if histogram_at(&index) { 0 } else { value.to_bits() }).collect();
    let histograms = samples.histograms.iter().map(|(at, histogram)| (*at as u32, Arc::clone(histogram))).collect();
    let rows = (samples.len() < times.len()).then(|| {
        let mut row = 0;
        let mut rows = Vec::with_capacity(samples.len());
        for at in &samples.timestamps {
            row += times.get(row..).map_or(0, |rest| rest.partition_point(|time| time < at));
            rows.push(row as u32);
        }
        rows
    });
    Column { rows, values, histograms }
}
