//! `anchored` and `smoothed`: the range has a value at both of its ends.
//!
//! Rule: anchored takes the sample before the start; smoothed interpolates between its neighbours.

use storage::Samples;

use crate::ast::RangeMode;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::range::Window;
use crate::numbers::equal;

/// The straight line between two samples at a time between them. A counter that was reset counts from
/// zero.
fn interpolate(before: (i64, f64), after: (i64, f64), at: i64, is_counter: bool) -> f64 {
    let start = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    start + (after.1 - start) * (at - before.0) as f64 / (after.0 - before.0) as f64
}

impl Window<'_> {
    fn float_at(&self, place: usize) -> Option<(i64, f64)> {
        Some((*self.times.get(place)?, *self.values.get(place)?))
    }

    /// The value of a smoothed instant selector at a time.
    pub(in crate::eval) fn smoothed_at(&self, at: i64) -> Option<f64> {
        let next = self.times.partition_point(|time| *time < at);
        match (next.checked_sub(1).and_then(|place| self.float_at(place)), self.float_at(next)) {
            (_, Some((time, value))) if time == at => Some(value),
            (Some(before), Some(after)) => Some(interpolate(before, after, at, false)),
            (Some((_, value)), None) => Some(value),
            (None, _) => None,
        }
    }
}

/// What `foo[5m] anchored` is by itself: the samples within, and one at each end of the range.
pub(in crate::eval) fn extended_samples(window: &Window<'_>, start: i64, end: i64, mode: RangeMode) -> Samples {
    let mut samples = Samples::default();
    let Some((first, last)) = places(window.times, start, end, mode) else { return samples };
    let is_smoothed = mode == RangeMode::Smoothed;
    let Some((left, right)) = end_values(window, (first, last), (start, end), is_smoothed, false) else {
        return samples;
    };
    samples.push(start, left);
    for (&at, &value) in window.times.iter().zip(window.values) {
        if at > start && at < end {
            samples.push(at, value);
        }
    }
    samples.push(end, right);
    samples
}

/// The values at both ends of a range, between the samples at two places.
fn end_values(
    window: &Window<'_>,
    (first, last): (usize, usize),
    (start, end): (i64, i64),
    is_smoothed: bool,
    is_counter: bool,
) -> Option<(f64, f64)> {
    let (first_sample, last_sample) = (window.float_at(first)?, window.float_at(last)?);
    let left = if is_smoothed && first_sample.0 < start {
        interpolate(first_sample, window.float_at(first + 1)?, start, is_counter)
    } else {
        first_sample.1
    };
    let right = if is_smoothed && last > 0 && last_sample.0 > end {
        interpolate(window.float_at(last - 1)?, last_sample, end, is_counter)
    } else {
        last_sample.1
    };
    Some((left, right))
}

/// First and last place of the samples that count for an extended range: the last one at or before its
/// start (or the first of all), and for `smoothed` the first one at or behind its end.
pub(super) fn extended_places(times: &[i64], start: i64, end: i64, mode: RangeMode) -> Option<(usize, usize)> {
    places(times, start, end, mode)
        .filter(|(first, _)| mode != RangeMode::Smoothed || times.get(*first).is_some_and(|time| *time <= end))
}

/// The same, also where all samples are behind the range.
fn places(times: &[i64], start: i64, end: i64, mode: RangeMode) -> Option<(usize, usize)> {
    let last_of_all = times.len().checked_sub(1)?;
    let within = times.get(..last_of_all).unwrap_or_default();
    let first = within.partition_point(|time| *time <= start).saturating_sub(1);
    let last = if mode == RangeMode::Smoothed { within.partition_point(|time| *time < end) } else { last_of_all };
    let is_before = times.get(last).is_some_and(|time| *time <= start);
    if is_before { None } else { Some((first, last)) }
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta` of an extended range of floats.
    pub(super) fn extended_rate(call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
        let window = &call.window;
        let (first, last) = extended_places(window.times, call.start, call.end, call.mode)?;
        let (first_sample, last_sample) = (window.float_at(first)?, window.float_at(last)?);
        let is_smoothed = call.mode == RangeMode::Smoothed;
        let (left, right) = end_values(window, (first, last), (call.start, call.end), is_smoothed, is_counter)?;
        let mut change = right - left;
        if is_counter {
            let from = if first_sample.0 <= call.start { first + 1 } else { first };
            let to = if last_sample.0 >= call.end { last } else { last + 1 };
            let mut before = left;
            let mut correction = 0.0;
            for &value in window.values.get(from..to).unwrap_or_default() {
                if value < before {
                    correction += before;
                }
                before = value;
            }
            if right < before {
                correction += before;
            }
            if !equal(correction, 0.0) {
                change += correction;
            }
        }
        Some(if is_rate { change / call.range_seconds() } else { change })
    }
}
