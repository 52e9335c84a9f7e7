//! Functions of one window of samples.
//!
//! - `fused`: rate, increase and delta of floats over all steps at once;
//!   `rate`: rate, increase, delta, irate, idelta; `extended`: the same for `anchored` and `smoothed`;
//!   `over_time`: aggregations; `regression`: deriv, `predict_linear`, smoothing; `counting`: changes, resets;
//!   `histograms`, `extended_histograms`: the same for native histograms.
//!
//! Rule: a kernel sees a window that is not empty and answers one sample or none.

mod counting;
mod extended;
mod extended_histograms;
mod fused;
mod histograms;
mod over_time;
mod rate;
mod regression;

pub(super) use extended::extended_samples;
pub(super) use fused::RateWindows;
pub(super) use histograms::{HistogramMean, ResetHints};

use crate::annotations::Note;
use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::range::Window;
use crate::eval::series::Made;
use crate::eval::{Evaluator, ScalarColumn};
use crate::plan::RangeFunction;
use crate::span::Span;

/// One call of a kernel. Times in Unix milliseconds.
pub(super) struct Call<'a> {
    pub(super) window: Window<'a>,
    /// Start of the range, exclusive.
    pub(super) start: i64,
    /// End of the range, inclusive.
    pub(super) end: i64,
    pub(super) step_time: i64,
    /// Milliseconds.
    pub(super) range: i64,
    pub(super) mode: RangeMode,
    /// Number of the step.
    pub(super) index: usize,
    pub(super) scalars: &'a [ScalarColumn],
    pub(super) metric: &'a str,
    pub(super) span: Span,
    pub(super) args_span: Span,
}

impl Call<'_> {
    fn scalar(&self, place: usize) -> f64 {
        self.scalars.get(place).map_or(f64::NAN, |column| column.at(self.index))
    }

    fn has_both_kinds(&self) -> bool {
        !self.window.times.is_empty() && !self.window.histograms.is_empty()
    }

    fn range_seconds(&self) -> f64 {
        self.range as f64 / 1000.0
    }
}

impl Evaluator<'_> {
    pub(super) fn kernel(&self, function: RangeFunction, call: &Call<'_>) -> Result<Option<Made>, EvalError> {
        use RangeFunction as F;
        Ok(match function {
            F::Rate => self.extrapolated(call, true, true),
            F::Increase => self.extrapolated(call, true, false),
            F::Delta => self.extrapolated(call, false, false),
            F::Irate => self.instant_change(call, true),
            F::Idelta => self.instant_change(call, false),
            F::Changes => Self::changes(call),
            F::Resets => Self::resets(call),
            F::SumOverTime => self.sum_over_time(call),
            F::AvgOverTime => self.avg_over_time(call),
            F::Deriv => self.deriv(call),
            F::PredictLinear => self.predict_linear(call),
            F::DoubleExponentialSmoothing => self.double_exponential_smoothing(call)?,
            F::CountOverTime | F::PresentOverTime | F::AbsentOverTime => Some(Self::count(function, call)),
            F::FirstOverTime => Self::first_over_time(call),
            F::LastOverTime => Self::last_over_time(call),
            F::TsOfFirstOverTime | F::TsOfLastOverTime => Self::time_of_end(function, call),
            F::MinOverTime | F::MaxOverTime | F::TsOfMinOverTime | F::TsOfMaxOverTime => {
                self.extreme_over_time(function, call)
            }
            F::StddevOverTime | F::StdvarOverTime => self.variance_over_time(function, call),
            F::QuantileOverTime => self.quantile_over_time(call),
            F::MadOverTime => self.mad_over_time(call),
        })
    }

    /// Notes that histograms beside floats were left out.
    fn note_ignored_histograms(&self, call: &Call<'_>) {
        if !call.window.histograms.is_empty() {
            self.note(Note::HistogramIgnoredInRange { metric: call.metric.to_owned() }, call.span);
        }
    }

    fn note_mixed(&self, call: &Call<'_>, span: Span) {
        self.note(Note::MixedFloatsHistograms { metric: call.metric.to_owned() }, span);
    }
}
