//! Writes a segment: chunks as they come, then the index, then the footer that makes it whole.
//!
//! Rule: the file has its name only when every byte of it is on the disk.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::chunk::{self, Column};
use crate::disk::{Appending, Disk};

use super::names::{Names, Place};
use super::{FOOTER_LEN, MAGIC, VERSION};

/// Columns of a chunk: bounds what one damaged chunk costs, and what is checked at the first read.
pub(crate) const MAX_COLUMNS: usize = 256;

/// What a new segment says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// Merges that led to it.
    pub(crate) level: u8,
    /// Write-ahead logs up to this number hold nothing that is not here or in earlier segments.
    pub(crate) wal_through: u64,
    /// Segments that this one takes the place of.
    pub(crate) replaces: Vec<u64>,
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    disk: Arc<dyn Disk>,
    final_path: PathBuf,
    path: PathBuf,
    file: BufWriter<Appending>,
    len: u64,
    table: Vec<u8>,
    chunks: u32,
    places: Vec<Place>,
    samples: u64,
    bounds: Option<(i64, i64)>,
}

impl SegmentWriter {
    pub(crate) fn create(disk: &Arc<dyn Disk>, final_path: &Path) -> io::Result<Self> {
        let path = final_path.with_extension("tmp");
        let mut file = BufWriter::with_capacity(256 << 10, Appending(disk.create(&path)?));
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            disk: Arc::clone(disk),
            final_path: final_path.to_path_buf(),
            path,
            file,
            len: (MAGIC.len() + 2) as u64,
            table: Vec::new(),
            chunks: 0,
            places: Vec::new(),
            samples: 0,
            bounds: None,
        })
    }

    /// Whether there is nothing in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    /// Adds columns that share their timestamps, each with the key of its series; cuts what is larger than
    /// a chunk may be. Columns may be longer in rows than a chunk: they are cut as well.
    pub(crate) fn add(&mut self, times: &[i64], columns: Vec<(u32, Column)>) -> io::Result<()> {
        if times.len() > chunk::MAX_ROWS {
            let middle = times.len() / 2;
            let (first, second) = times.split_at(middle);
            let (before, behind) = columns.into_iter().map(|(key, column)| split(key, column, middle)).unzip();
            self.add(first, before)?;
            return self.add(second, behind);
        }
        let columns: Vec<(u32, Column)> = columns.into_iter().filter(|(_, column)| !column.is_empty()).collect();
        for part in columns.chunks(MAX_COLUMNS) {
            let (Some(first), Some(last)) = (times.first(), times.last()) else { break };
            let bytes = chunk::encode(times, true, part.iter().map(|(_, column)| column.clone()));
            let len = u32::try_from(bytes.len())
                .map_err(|_too_large| io::Error::new(io::ErrorKind::FileTooLarge, "chunk exceeds four gigabytes"))?;
            self.table.extend_from_slice(&self.len.to_le_bytes());
            self.table.extend_from_slice(&len.to_le_bytes());
            self.table.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            self.table.extend_from_slice(&first.to_le_bytes());
            self.table.extend_from_slice(&last.to_le_bytes());
            self.file.write_all(&bytes)?;
            self.len += u64::from(len);
            for ((key, column), index) in part.iter().zip(0..) {
                self.places.push((*key, self.chunks, index));
                self.samples += column.values.len() as u64;
            }
            self.bounds = Some(self.bounds.map_or((*first, *last), |(min, max)| (min.min(*first), max.max(*last))));
            self.chunks += 1;
        }
        Ok(())
    }

    /// Writes index and footer and gives the file its name.
    pub(crate) fn finish(mut self, names: Names, about: &About) -> io::Result<()> {
        let sections = names.write(std::mem::take(&mut self.places))?;
        let mut index = Vec::new();
        let mut starts = Vec::new();
        let replaces: Vec<u8> = about.replaces.iter().flat_map(|number| number.to_le_bytes()).collect();
        let parts = [
            &self.table,
            &sections.symbols,
            &sections.pairs,
            &sections.postings,
            &sections.series_blocks,
            &sections.series,
            &replaces,
        ];
        for part in parts {
            starts.push(self.len + index.len() as u64);
            index.extend_from_slice(part);
        }
        starts.push(self.len + index.len() as u64);
        let (min, max) = self.bounds.unwrap_or_default();
        let mut footer = Vec::with_capacity(FOOTER_LEN);
        starts.iter().for_each(|start| footer.extend_from_slice(&start.to_le_bytes()));
        footer.extend_from_slice(&min.to_le_bytes());
        footer.extend_from_slice(&max.to_le_bytes());
        footer.extend_from_slice(&self.samples.to_le_bytes());
        footer.extend_from_slice(&about.wal_through.to_le_bytes());
        footer.extend_from_slice(&self.chunks.to_le_bytes());
        footer.extend_from_slice(&sections.series_len.to_le_bytes());
        footer.extend_from_slice(&[about.level, 0, 0, 0]);
        footer.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
        footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
        self.file.write_all(&index)?;
        self.file.write_all(&footer)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.0.sync()?;
        self.disk.rename(&self.path, &self.final_path)?;
        self.final_path.parent().map_or(Ok(()), |folder| self.disk.sync_folder(folder))
    }

    /// Gives up and removes what was written.
    pub(crate) fn discard(self) {
        drop(self.file);
        // What stays of it is removed at the next start.
        drop(self.disk.remove(&self.path));
    }
}

/// Cuts a column at a row.
fn split(key: u32, column: Column, row: usize) -> ((u32, Column), (u32, Column)) {
    let Column { rows, mut values, histograms } = column;
    let place = rows.as_ref().map_or(row, |rows| rows.partition_point(|at| (*at as usize) < row)).min(values.len());
    let behind_values = values.split_off(place);
    let (before_histograms, behind_histograms): (Vec<_>, Vec<_>) =
        histograms.into_iter().partition(|(at, _)| (*at as usize) < place);
    let behind_histograms = behind_histograms.into_iter().map(|(at, h)| (at - place as u32, h)).collect();
    let (before_rows, behind_rows) = match rows {
        Some(mut rows) => {
            let behind = rows.split_off(place).into_iter().map(|at| at - row as u32).collect();
            (Some(rows), Some(behind))
        }
        None => (None, None),
    };
    let before = Column { rows: before_rows, values, histograms: before_histograms };
    let behind = Column { rows: behind_rows, values: behind_values, histograms: behind_histograms };
    ((key, before), (key, behind))
}
