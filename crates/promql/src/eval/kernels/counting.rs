//! `changes` and `resets`: how often something happens between neighbours.
//!
//! Rule: a step from a float to a histogram or back counts as one.

use std::sync::Arc;

use datamodel::Histogram;

use crate::ast::RangeMode;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::range::is_restart;
use crate::eval::series::Made;
use crate::numbers::equal;

#[derive(Clone, Copy)]
enum Neighbour<'a> {
    Float(f64, Times),
    Histogram(&'a Arc<Histogram>, Times),
}

/// Time of a sample and start of its counter.
type Times = (i64, i64);

impl<'a> Call<'a> {
    /// The places where counting starts: 0 and 0, or with `anchored` the newest sample at or before the
    /// start of the range, of whichever kind. `None` if there is no sample behind the start.
    fn counting_starts(&self) -> Option<(usize, usize)> {
        if self.mode != RangeMode::Anchored {
            return Some((0, 0));
        }
        let (times, histograms) = (self.window.times, self.window.histograms);
        let floats_before = times.partition_point(|at| *at <= self.start);
        let histograms_before = histograms.partition_point(|(at, _)| *at <= self.start);
        if floats_before >= times.len() && histograms_before >= histograms.len() {
            return None;
        }
        let last_float = floats_before.checked_sub(1);
        let last_histogram = histograms_before.checked_sub(1);
        Some(match (last_float, last_histogram) {
            (None, None) => (0, 0),
            (Some(float), None) => (float, histograms_before),
            (None, Some(histogram)) => (floats_before, histogram),
            (Some(float), Some(histogram)) => {
                let is_float_newer = times.get(float).copied() >= histograms.get(histogram).map(|(at, _)| *at);
                if is_float_newer { (float, histograms_before) } else { (floats_before, histogram) }
            }
        })
    }

    /// All samples in order of time, floats and histograms mixed.
    fn neighbours(&self, first: (usize, usize)) -> impl Iterator<Item = Neighbour<'a>> {
        let (times, values, histograms) = (self.window.times, self.window.values, self.window.histograms);
        let (starts, histogram_starts) = (self.window.starts, self.window.histogram_starts);
        let (mut float, mut histogram) = first;
        std::iter::from_fn(move || {
            let takes_float = match (times.get(float), histograms.get(histogram)) {
                (Some(at), Some((histogram_at, _))) => at < histogram_at,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return None,
            };
            if takes_float {
                float += 1;
                let sample_times = (*times.get(float - 1)?, starts.get(float - 1).copied().unwrap_or(0));
                values.get(float - 1).map(|value| Neighbour::Float(*value, sample_times))
            } else {
                histogram += 1;
                let start = histogram_starts.get(histogram - 1).copied().unwrap_or(0);
                histograms.get(histogram - 1).map(|(at, value)| Neighbour::Histogram(value, (*at, start)))
            }
        })
    }

    fn count_pairs(&self, mut happens: impl FnMut(Neighbour<'a>, Neighbour<'a>) -> bool) -> Option<Made> {
        let mut neighbours = self.neighbours(self.counting_starts()?);
        let mut before = neighbours.next()?;
        let mut count = 0_u32;
        for next in neighbours {
            count += u32::from(happens(before, next));
            before = next;
        }
        Some(Made::Float(f64::from(count)))
    }
}

impl Evaluator<'_> {
    pub(super) fn changes(call: &Call<'_>) -> Option<Made> {
        call.count_pairs(|before, next| match (before, next) {
            (Neighbour::Float(before, _), Neighbour::Float(next, _)) => {
                !(equal(before, next) || before.is_nan() && next.is_nan())
            }
            (Neighbour::Histogram(before, _), Neighbour::Histogram(next, _)) => !before.same_data(next),
            _ => true,
        })
    }

    pub(super) fn resets(call: &Call<'_>) -> Option<Made> {
        call.count_pairs(|before, next| match (before, next) {
            (Neighbour::Float(before, times), Neighbour::Float(next, next_times)) => {
                next < before || is_restart(times, next_times)
            }
            (Neighbour::Histogram(before, times), Neighbour::Histogram(next, next_times)) => {
                is_restart(times, next_times) || next.is_reset_from(before)
            }
            _ => true,
        })
    }
}
