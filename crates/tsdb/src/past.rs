//! What a series already has, wherever it is: asked for samples that are not plainly the newest.
//!
//! Rule: the head is asked first, and a segment only if it can hold the answer.

use datamodel::time::{TimeRange, duration_ms};
use datamodel::{Labels, Timestamp};
use storage::{AppendError, Samples};

use crate::bytes::Corrupt;
use crate::codec::chunk::Scratch;
use crate::db::Inner;
use crate::head::plan::Past;
use crate::head::{Head, Last};
use crate::query::sort_tail;
use crate::segment::Segment;

/// The newest sample of a series that a segment holds in a range.
fn last_in(segment: &Segment, labels: &Labels, range: TimeRange) -> Result<Option<Last>, Corrupt> {
    let Some(id) = segment.find(labels)? else { return Ok(None) };
    let mut samples = Samples::default();
    for place in segment.series(id)?.1 {
        segment.read(place, range, &mut samples, &mut Scratch::default())?;
    }
    sort_tail(&mut samples, 0);
    Ok(Last::of(&samples))
}

fn failed(segment: &Segment) -> impl FnOnce(Corrupt) -> AppendError {
    let context = format!("read {}", segment.path().display());
    move |source| AppendError::Storage { context, source: source.into() }
}

impl Past for Inner {
    fn last_sealed(&self, head: &Head, series: u32, after: Option<i64>, at: i64) -> Result<Option<Last>, AppendError> {
        let labels = head.index.labels(series);
        let mut newest: Option<Last> = None;
        for segment in head.segments().iter().rev().filter(|segment| segment.max_ms >= at) {
            if newest.as_ref().map(|last| last.at).max(after) >= Some(segment.max_ms) {
                continue;
            }
            let found = last_in(segment, &labels, TimeRange::ALL).map_err(failed(segment))?;
            if found.as_ref().map(|last| last.at) > newest.as_ref().map(|last| last.at) {
                newest = found;
            }
        }
        Ok(newest)
    }

    fn exactly(&self, head: &Head, series: u32, at: i64) -> Result<Option<Last>, AppendError> {
        let instant = Timestamp::from_unix_ms(at);
        let range = TimeRange { start: instant, end: instant };
        let mut samples = Samples::default();
        head.read_late(series, range, &mut samples);
        for (group, column) in head.places(series) {
            group.read(series, column, range, &mut samples).map_err(|source| AppendError::Storage {
                context: "read the head".to_owned(),
                source: source.into(),
            })?;
        }
        if !samples.is_empty() {
            return Ok(Last::of(&samples));
        }
        let labels = head.index.labels(series);
        for segment in head.segments().iter().filter(|segment| segment.overlaps(range)) {
            let found = last_in(segment, &labels, range).map_err(failed(segment))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn window_start(&self, head: &Head) -> Option<i64> {
        let window = duration_ms(self.options.out_of_order_window);
        if window == 0 { None } else { head.newest_ms().map(|newest| newest.saturating_sub(window)) }
    }
}
