//! How fast a run of samples changes.
//!
//! Rule: what lies between the ends of the samples and of the range is extrapolated, but a counter never
//! below zero and never further than 1.1 times the mean distance of the samples.

use crate::annotations::Note;
use crate::ast::RangeMode;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::series::Made;

/// How much more than the mean distance a gap at an end may be to be bridged.
const EXTRAPOLATION_LIMIT: f64 = 1.1;

/// The ends of a run within its range, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) to_start: f64,
    pub(super) to_end: f64,
    pub(super) sampled: f64,
    pub(super) mean_distance: f64,
}

impl Ends {
    /// The first and last of samples with so many gaps between them, within a range (Unix milliseconds).
    #[inline]
    pub(super) fn new((start, end): (i64, i64), (first, last): (i64, i64), gaps: usize) -> Self {
        let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
        let sampled = seconds(first, last);
        let mean_distance = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
        Self { to_start: seconds(start, first), to_end: seconds(last, end), sampled, mean_distance }
    }

    /// How far the start is extrapolated.
    #[inline]
    pub(super) fn start_reach(&self) -> f64 {
        if self.to_start >= self.mean_distance * EXTRAPOLATION_LIMIT { self.mean_distance / 2.0 } else { self.to_start }
    }

    /// By how much the change between the ends grows to cover the range. `zero_after` is the share of the
    /// sampled time after which, going back, a counter would be at zero.
    #[inline]
    pub(super) fn factor(mut self, zero_after: Option<f64>) -> f64 {
        self.to_start = self.start_reach();
        if let Some(share) = zero_after {
            let to_zero = self.sampled * share;
            if to_zero < self.to_start {
                self.to_start = to_zero;
            }
        }
        self.factor_to_end()
    }

    /// The same where the counter is known to have started at `start` within the range: nothing is
    /// extrapolated before it.
    pub(super) fn factor_from_start(mut self, start: i64, last: i64) -> f64 {
        self.to_start = 0.0;
        self.sampled = last.saturating_sub(start) as f64 / 1000.0;
        self.factor_to_end()
    }

    #[inline]
    fn factor_to_end(mut self) -> f64 {
        if self.to_end >= self.mean_distance * EXTRAPOLATION_LIMIT {
            self.to_end = self.mean_distance / 2.0;
        }
        if self.sampled.abs() <= 0.0 { 1.0 } else { (self.sampled + self.to_start + self.to_end) / self.sampled }
    }
}

/// The share of the sampled time after which, going back, a counter would be at zero.
#[inline]
pub(super) fn zero_after(is_counter: bool, first: f64, change: f64) -> Option<f64> {
    (is_counter && change > 0.0 && first >= 0.0).then(|| first / change)
}

/// The start of the first sample's counter, if it lies within the range and before the sample.
pub(super) fn start_within(call: &Call<'_>, starts: &[i64], first: i64) -> Option<i64> {
    starts.first().copied().filter(|start| *start != 0 && *start > call.start && *start < first)
}

/// Whether a sample says that it started before the one in front of it, which started elsewhere.
pub(super) fn has_overlap(times: impl Iterator<Item = i64>, starts: &[i64]) -> bool {
    let pairs = times.zip(starts.windows(2));
    pairs.into_iter().any(
        |(before_time, pair)| matches!(pair, [before, next] if *next != 0 && *next < before_time && next != before),
    )
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta`.
    pub(super) fn extrapolated(&self, call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<Made> {
        if call.has_both_kinds() {
            self.note_mixed(call, call.span);
            return None;
        }
        let is_plain = call.mode == RangeMode::Plain;
        match (call.window.histograms.is_empty(), is_plain) {
            (true, true) => self.float_rate(call, is_counter, is_rate).map(Made::Float),
            (true, false) => Self::extended_rate(call, is_counter, is_rate).map(Made::Float),
            (false, true) => self.histogram_rate(call, is_counter, is_rate),
            (false, false) => self.extended_histogram_rate(call, is_counter, is_rate),
        }
    }

    fn float_rate(&self, call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
        let window = &call.window;
        let (&first_time, &last_time) = (window.times.first()?, window.times.last()?);
        let (&first, &last) = (window.values.first()?, window.values.last()?);
        let mut change = last - first;
        let mut start = None;
        if is_counter {
            // What was counted before each reset is added in order, as the plain loop would.
            for at in window.drops {
                let before = at.checked_sub(window.first + 1).and_then(|at| window.values.get(at));
                change += before.copied().unwrap_or(0.0);
            }
            if has_overlap(window.times.iter().copied(), window.starts) {
                self.note(Note::StartTimeOverlap { metric: call.metric.to_owned() }, call.span);
            }
            start = start_within(call, window.starts, first_time);
        }
        let ends = Ends::new((call.start, call.end), (first_time, last_time), window.times.len() - 1);
        let factor = match start {
            Some(start) => {
                change += first;
                ends.factor_from_start(start, last_time)
            }
            None if window.times.len() < 2 => return None,
            None => ends.factor(zero_after(is_counter, first, change)),
        };
        Some(if is_rate { change * (factor / call.range_seconds()) } else { change * factor })
    }
}
