//! How fast a run of samples changes.
//!
//! Rule: what lies between the ends of the samples and of the range is extrapolated, but a counter never
//! below zero and never further than 1.1 times the mean distance of the samples.

use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::series::Made;

/// How much more than the mean distance a gap at an end may be to be bridged.
const EXTRAPOLATION_LIMIT: f64 = 1.1;

/// The ends of a run within its range, in seconds.
pub(super) struct Ends {
    pub(super) to_start: f64,
    pub(super) to_end: f64,
    pub(super) sampled: f64,
    pub(super) mean_distance: f64,
}

impl Ends {
    pub(super) fn new(call: &Call<'_>, first: i64, last: i64, gaps: usize) -> Self {
        let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
        let sampled = seconds(first, last);
        let mean_distance = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
        Self { to_start: seconds(call.start, first), to_end: seconds(last, call.end), sampled, mean_distance }
    }

    /// By how much the change between the ends grows to cover the range. `zero_after` is the share of the
    /// sampled time after which, going back, a counter would be at zero.
    pub(super) fn factor(mut self, zero_after: Option<f64>) -> f64 {
        let limit = self.mean_distance * EXTRAPOLATION_LIMIT;
        if self.to_start >= limit {
            self.to_start = self.mean_distance / 2.0;
        }
        if let Some(share) = zero_after {
            let to_zero = self.sampled * share;
            if to_zero < self.to_start {
                self.to_start = to_zero;
            }
        }
        if self.to_end >= limit {
            self.to_end = self.mean_distance / 2.0;
        }
        (self.sampled + self.to_start + self.to_end) / self.sampled
    }
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta`.
    pub(super) fn extrapolated(
        &self,
        call: &Call<'_>,
        is_counter: bool,
        is_rate: bool,
    ) -> Result<Option<Made>, EvalError> {
        if call.has_both_kinds() {
            self.note_mixed(call, call.span);
            return Ok(None);
        }
        if !call.window.histograms.is_empty() {
            return Err(EvalError::Unsupported { feature: "rate of native histograms", span: call.span });
        }
        if call.mode != RangeMode::Plain {
            return Ok(Self::extended_rate(call, is_counter, is_rate).map(Made::Float));
        }
        Ok(Self::float_rate(call, is_counter, is_rate).map(Made::Float))
    }

    fn float_rate(call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
        let window = &call.window;
        let (&[first_time, .., last_time], &[first, .., last]) = (window.times, window.values) else {
            return None;
        };
        let mut change = last - first;
        if is_counter {
            // What was counted before each reset is added in order, as the plain loop would.
            for at in window.drops {
                let before = at.checked_sub(window.first + 1).and_then(|at| window.values.get(at));
                change += before.copied().unwrap_or(0.0);
            }
        }
        let zero_after = (is_counter && change > 0.0 && first >= 0.0).then(|| first / change);
        let factor = Ends::new(call, first_time, last_time, window.times.len() - 1).factor(zero_after);
        Some(if is_rate { change * (factor / call.range_seconds()) } else { change * factor })
    }

    /// `irate` and `idelta`: of the last two samples.
    pub(super) fn instant_change(&self, call: &Call<'_>, is_rate: bool) -> Result<Option<Made>, EvalError> {
        let window = &call.window;
        if !window.histograms.is_empty() {
            return Err(EvalError::Unsupported { feature: "irate of native histograms", span: call.span });
        }
        let (&[.., before_time, last_time], &[.., before, last]) = (window.times, window.values) else {
            return Ok(None);
        };
        let interval = last_time - before_time;
        if interval == 0 {
            return Ok(None);
        }
        let change = if is_rate && last < before { last } else { last - before };
        Ok(Some(Made::Float(if is_rate { change / (interval as f64 / 1000.0) } else { change })))
    }
}
