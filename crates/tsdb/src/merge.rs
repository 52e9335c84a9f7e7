//! Several segments into one: longer columns, one index. And one into one, without some samples.
//!
//! ```text
//! A: chunk 3 ┐
//!            ├─▶ series that lie in the same chunks have the same timestamps: they share a chunk again
//! B: chunk 7 ┘
//! ```
//!
//! Rule: memory is bounded by the columns of one new chunk, beside the names.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use datamodel::time::TimeRange;
use datamodel::{Labels, Timestamp};
use storage::Samples;

use crate::codec::chunk::Scratch;
use crate::disk::Disk;
use crate::head::group::column_of;
use crate::query::{copy, sort_tail};
use crate::segment::names::Names;
use crate::segment::write::{About, SegmentWriter};
use crate::segment::{Segment, Walk};
use crate::upkeep::{read_all, sealed_through};

/// Where a series lies in one of the segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lies {
    segment: usize,
    places: Vec<(u32, u32)>,
}

/// A series of the merged segment.
#[derive(Debug)]
struct Merged {
    key: u32,
    lies: Vec<Lies>,
}

impl Merged {
    /// The chunks in which the series lies, in the order of time.
    fn chunks(&self) -> impl Iterator<Item = (usize, u32)> {
        self.lies.iter().flat_map(|lies| lies.places.iter().map(|(chunk, _)| (lies.segment, *chunk)))
    }
}

/// Samples that a rewrite leaves out.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// Series of the segment, by number.
    pub(crate) series: HashSet<u32>,
    pub(crate) range: TimeRange,
}

/// Writes the segments, ascending by time, as one. `meanwhile` is called now and then, between chunks.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    path: &Path,
    run: &[Arc<Segment>],
    meanwhile: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let level = run.iter().map(|segment| segment.level).max().unwrap_or(0).saturating_add(1);
    write_as(disk, path, run, level, None, meanwhile).map(drop)
}

/// Writes a segment anew, without some samples; returns whether there are others.
pub(crate) fn rewrite(
    disk: &Arc<dyn Disk>,
    path: &Path,
    segment: &Arc<Segment>,
    without: &Deletion,
    meanwhile: impl FnMut() -> io::Result<()>,
) -> io::Result<bool> {
    write_as(disk, path, std::slice::from_ref(segment), segment.level, Some(without), meanwhile)
}

fn write_as(
    disk: &Arc<dyn Disk>,
    path: &Path,
    run: &[Arc<Segment>],
    level: u8,
    without: Option<&Deletion>,
    mut meanwhile: impl FnMut() -> io::Result<()>,
) -> io::Result<bool> {
    let (names, mut series) = collect(run)?;
    // Series in the same chunks, one after the other; within them in the order of the columns.
    series.sort_by(|a, b| a.chunks().cmp(b.chunks()).then_with(|| a.lies.cmp(&b.lies)));
    let mut writer = SegmentWriter::create(disk, path)?;
    for together in series.chunk_by(|a, b| a.chunks().eq(b.chunks())) {
        if let Err(error) = write_together(&mut writer, run, together, without).and_then(|()| meanwhile()) {
            writer.discard();
            return Err(error);
        }
    }
    if writer.is_empty() {
        writer.discard();
        return Ok(false);
    }
    let replaces = run.iter().map(|segment| segment.number()).collect();
    writer.finish(names, &About { level, wal_through: sealed_through(run), replaces }).map(|()| true)
}

/// The next series of a segment that is walked through.
struct Cursor<'a> {
    segment: &'a Segment,
    walk: Walk<'a>,
    next: u32,
    labels: Labels,
}

impl Cursor<'_> {
    /// Goes to the next series; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        if self.next >= self.segment.series_len() {
            return Ok(false);
        }
        self.walk.seek(self.next)?;
        self.labels = self.walk.labels()?;
        self.next += 1;
        Ok(true)
    }
}

/// All label sets, and for each where it lies: the segments have them in the same order.
fn collect(run: &[Arc<Segment>]) -> io::Result<(Names, Vec<Merged>)> {
    let mut names = Names::default();
    let mut series = Vec::new();
    let mut cursors = Vec::new();
    for (at, segment) in run.iter().enumerate() {
        let mut cursor = Cursor { segment, walk: segment.walk(), next: 0, labels: Labels::empty() };
        if cursor.advance()? {
            cursors.push((at, cursor));
        }
    }
    while let Some(labels) = cursors.iter().map(|(_, cursor)| &cursor.labels).min().cloned() {
        let numbers: Vec<(u32, u32)> =
            labels.iter().map(|(name, value)| (names.text(name), names.text(value))).collect();
        let key = names.push(numbers.into_iter());
        let mut lies = Vec::new();
        let mut left = Vec::with_capacity(cursors.len());
        for (at, mut cursor) in cursors {
            let mut goes_on = true;
            if cursor.labels == labels {
                lies.push(Lies { segment: at, places: cursor.walk.places().to_vec() });
                goes_on = cursor.advance()?;
            }
            if goes_on {
                left.push((at, cursor));
            }
        }
        cursors = left;
        series.push(Merged { key, lies });
    }
    Ok((names, series))
}

fn read_series(run: &[Arc<Segment>], lies: &[Lies], scratch: &mut Scratch) -> io::Result<Samples> {
    let mut samples = Samples::default();
    for at in lies {
        let Some(segment) = run.get(at.segment) else { continue };
        let mut part = read_all(segment, &at.places, scratch)?;
        let base = samples.len();
        samples.timestamps.append(&mut part.timestamps);
        samples.values.append(&mut part.values);
        samples.histograms.extend(part.histograms.into_iter().map(|(index, histogram)| (index + base, histogram)));
    }
    sort_tail(&mut samples, 0);
    Ok(samples)
}

/// The samples that do not lie in the range.
fn outside(samples: &Samples, range: TimeRange) -> Samples {
    let mut left = Samples::default();
    if let Some(end) = range.start.unix_ms().checked_sub(1) {
        copy(samples, TimeRange { start: Timestamp::MIN, end: Timestamp::from_unix_ms(end) }, &mut left);
    }
    if let Some(start) = range.end.unix_ms().checked_add(1) {
        copy(samples, TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::MAX }, &mut left);
    }
    left
}

fn write_together(
    writer: &mut SegmentWriter,
    run: &[Arc<Segment>],
    together: &[Merged],
    without: Option<&Deletion>,
) -> io::Result<()> {
    let mut scratch = Scratch::default();
    for part in together.chunks(crate::segment::write::MAX_COLUMNS) {
        let mut read = Vec::with_capacity(part.len());
        for series in part {
            let mut samples = read_series(run, &series.lies, &mut scratch)?;
            // In a single segment the keys are the numbers of the series.
            if let Some(deletion) = without.filter(|deletion| deletion.series.contains(&series.key)) {
                samples = outside(&samples, deletion.range);
            }
            read.push((series.key, samples));
        }
        // Series that miss rows differ: the chunk has the rows of all.
        let mut times: Vec<i64> = Vec::new();
        for (_, samples) in &read {
            if !samples.timestamps.iter().all(|at| times.binary_search(at).is_ok()) {
                times.extend_from_slice(&samples.timestamps);
                times.sort_unstable();
                times.dedup();
            }
        }
        writer.add(&times, read.iter().map(|(key, samples)| (*key, column_of(samples, &times))).collect())?;
    }
    Ok(())
}
