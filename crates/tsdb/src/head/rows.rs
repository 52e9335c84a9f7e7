//! The newest rows of a group, as they came: one timestamp and one value for each series.
//!
//! ```text
//!          col 0   col 1   col 2
//!  t0        1       7       –        – is absent (a bitmap, only if any value ever is)
//!  t1        1       8      2.5
//! ```
//!
//! Rule: timestamps strictly ascend; a histogram lies beside the table, its place in the table is zero.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::time::TimeRange;
use storage::Samples;

use crate::codec::chunk::Column;

use super::Last;

/// One value of a row on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) column: u32,
    pub(crate) bits: u64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

/// Rows of one width.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    width: usize,
    times: Vec<i64>,
    values: Vec<u64>,
    /// A bit for each value, whole words a row; empty while every value is present.
    present: Vec<u64>,
    histograms: Vec<(u32, u32, Arc<Histogram>)>,
}

impl Rows {
    pub(crate) const fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    /// Bytes held on the heap, nearly.
    pub(crate) const fn byte_len(&self) -> usize {
        (self.times.capacity() + self.values.capacity() + self.present.capacity()) * 8 + self.histograms.len() * 300
    }

    const fn words(&self) -> usize {
        self.width.div_ceil(64)
    }

    fn is_present(&self, row: usize, column: usize) -> bool {
        column < self.width
            && (self.present.is_empty() || self.present[row * self.words() + column / 64] >> (column % 64) & 1 == 1)
    }

    /// Makes room for more columns; the rows so far lack them.
    fn widen(&mut self, width: usize) {
        if width <= self.width {
            return;
        }
        let old = std::mem::replace(self, Self { width, ..Self::default() });
        if old.is_empty() {
            return;
        }
        let words = self.words();
        self.values = vec![0; old.len() * width];
        self.present = vec![0; old.len() * words];
        for row in 0..old.len() {
            let from = row * old.width;
            self.values[row * width..row * width + old.width].copy_from_slice(&old.values[from..from + old.width]);
            for column in (0..old.width).filter(|column| old.is_present(row, *column)) {
                self.present[row * words + column / 64] |= 1 << (column % 64);
            }
        }
        self.times = old.times;
        self.histograms = old.histograms;
    }

    /// Adds a row; `width` columns exist by now, cells ascend by column.
    pub(crate) fn push(&mut self, width: usize, at: i64, cells: impl ExactSizeIterator<Item = Cell>) {
        self.widen(width);
        let row = self.len();
        let words = self.words();
        if cells.len() < self.width && self.present.is_empty() {
            let full_row = (0..words).map(|word| {
                let bits = (self.width - word * 64).min(64);
                u64::MAX >> (64 - bits)
            });
            self.present = full_row.collect::<Vec<_>>().repeat(row);
        }
        let masked = cells.len() < self.width || !self.present.is_empty();
        let (base, mask_base) = (self.values.len(), self.present.len());
        self.times.push(at);
        self.values.resize(base + self.width, 0);
        if masked {
            self.present.resize(mask_base + words, 0);
        }
        for cell in cells {
            let column = cell.column as usize;
            self.values[base + column] = cell.bits;
            if masked {
                self.present[mask_base + column / 64] |= 1 << (column % 64);
            }
            if let Some(histogram) = cell.histogram {
                // Rows are cut long before 2^32.
                self.histograms.push((row as u32, cell.column, histogram));
            }
        }
    }

    fn histogram(&self, row: usize, column: usize) -> Option<&Arc<Histogram>> {
        let key = (row as u32, column as u32);
        let at = self.histograms.binary_search_by_key(&key, |(row, column, _)| (*row, *column)).ok()?;
        self.histograms.get(at).map(|(_, _, histogram)| histogram)
    }

    /// The samples of a column in the range.
    pub(crate) fn read(&self, column: usize, range: TimeRange, into: &mut Samples) {
        let from = self.times.partition_point(|at| *at < range.start.unix_ms());
        let to = self.times.partition_point(|at| *at <= range.end.unix_ms());
        for row in from..to {
            if !self.is_present(row, column) {
                continue;
            }
            match self.histogram(row, column) {
                Some(histogram) => into.push_histogram(self.times[row], Arc::clone(histogram)),
                None => into.push(self.times[row], f64::from_bits(self.values[row * self.width + column])),
            }
        }
    }

    /// Forgets the rows, keeps the width.
    pub(super) fn clear(&mut self) {
        *self = Self { width: self.width, ..Self::default() };
    }

    /// A column, to be packed.
    pub(super) fn column(&self, column: usize) -> Column {
        if self.present.is_empty() && self.histograms.is_empty() {
            let values = self.values.iter().skip(column).step_by(self.width.max(1)).copied().collect();
            return Column { rows: None, values, histograms: Vec::new() };
        }
        let present: Vec<u32> =
            (0..self.len()).filter(|row| self.is_present(*row, column)).map(|row| row as u32).collect();
        let values = present.iter().map(|row| self.values[*row as usize * self.width + column]).collect();
        let mut histograms = Vec::new();
        if !self.histograms.is_empty() {
            for (place, row) in present.iter().enumerate() {
                if let Some(histogram) = self.histogram(*row as usize, column) {
                    histograms.push((place as u32, Arc::clone(histogram)));
                }
            }
        }
        let rows = (present.len() < self.len()).then_some(present);
        Column { rows, values, histograms }
    }

    /// Keeps only the columns for which `keep` holds.
    pub(super) fn retain_columns(&mut self, keep: &[bool]) {
        let kept: Vec<usize> = (0..self.width).filter(|column| keep.get(*column).copied().unwrap_or(true)).collect();
        let old = std::mem::take(self);
        self.width = kept.len();
        for row in 0..old.len() {
            let present = kept.iter().zip(0..).filter(|(column, _)| old.is_present(row, **column));
            let cells: Vec<Cell> = present
                .map(|(column, new)| Cell {
                    column: new,
                    bits: old.values[row * old.width + column],
                    histogram: old.histogram(row, *column).cloned(),
                })
                .collect();
            self.push(kept.len(), old.times[row], cells.into_iter());
        }
    }

    /// Whether the column has any value.
    pub(crate) fn has(&self, column: usize) -> bool {
        (0..self.len()).any(|row| self.is_present(row, column))
    }

    /// The newest sample of a column.
    pub(super) fn last(&self, column: usize) -> Option<Last> {
        let row = (0..self.len()).rev().find(|row| self.is_present(*row, column))?;
        let histogram = self.histogram(row, column).cloned();
        Some(Last { at: self.times[row], bits: self.values[row * self.width + column], histogram })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_join_late_and_values_may_be_absent() {
        let cell = |column, value: f64| Cell { column, bits: value.to_bits(), histogram: None };
        let mut rows = Rows::default();
        rows.push(2, 10, [cell(0, 1.0), cell(1, 2.0)].into_iter());
        rows.push(2, 20, [cell(1, 3.0)].into_iter());
        rows.push(3, 30, [cell(0, 4.0), cell(1, 5.0), cell(2, 6.0)].into_iter());
        let read = |column| {
            let mut samples = Samples::default();
            rows.read(column, TimeRange::ALL, &mut samples);
            samples.timestamps.into_iter().zip(samples.values).collect::<Vec<_>>()
        };
        assert_eq!(read(0), [(10, 1.0), (30, 4.0)]);
        assert_eq!(read(1), [(10, 2.0), (20, 3.0), (30, 5.0)]);
        assert_eq!(read(2), [(30, 6.0)]);
        assert_eq!(read(3), []);
        assert_eq!(rows.last(0).map(|last| last.at), Some(30));
        assert!(rows.has(2) && !rows.has(3));
    }
}
