//! `*_over_time`: one value for all samples of a window.
//!
//! Rule: sums and means keep their low bits, as upstream's do.

use std::sync::Arc;

use datamodel::sum::KahanSum;

use crate::annotations::Note;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::series::Made;
use crate::numbers::{Mean, quantile};
use crate::plan::RangeFunction;

fn seconds(at: i64) -> f64 {
    at as f64 / 1000.0
}

impl Evaluator<'_> {
    pub(super) fn count(function: RangeFunction, call: &Call<'_>) -> Made {
        if function != RangeFunction::CountOverTime {
            return Made::Float(1.0);
        }
        Made::Float((call.window.times.len() + call.window.histograms.len()) as f64)
    }

    pub(super) fn sum_over_time(&self, call: &Call<'_>) -> Option<Made> {
        if call.has_both_kinds() {
            self.note_mixed(call, call.span);
            return None;
        }
        if !call.window.histograms.is_empty() {
            return self.histograms_over_time(call, false);
        }
        let mut sum = KahanSum::default();
        for value in call.window.values {
            sum.add(*value);
        }
        Some(Made::Float(if sum.sum.is_infinite() { sum.sum } else { sum.total() }))
    }

    pub(super) fn avg_over_time(&self, call: &Call<'_>) -> Option<Made> {
        if call.has_both_kinds() {
            self.note_mixed(call, call.span);
            return None;
        }
        if !call.window.histograms.is_empty() {
            return self.histograms_over_time(call, true);
        }
        let (first, rest) = call.window.values.split_first()?;
        let mut mean = Mean::new(*first);
        for value in rest {
            mean.add(*value);
        }
        Some(Made::Float(mean.value()))
    }

    pub(super) fn first_over_time(call: &Call<'_>) -> Option<Made> {
        let window = &call.window;
        match (window.times.first(), window.histograms.first()) {
            (Some(at), Some((histogram_at, _))) if at < histogram_at => window.values.first().copied().map(Made::Float),
            (_, Some((_, histogram))) => Some(Made::Histogram(Arc::clone(histogram))),
            (_, None) => window.values.first().copied().map(Made::Float),
        }
    }

    pub(super) fn last_over_time(call: &Call<'_>) -> Option<Made> {
        let window = &call.window;
        match (window.times.last(), window.histograms.last()) {
            (Some(at), Some((histogram_at, _))) if histogram_at < at => window.values.last().copied().map(Made::Float),
            (_, Some((_, histogram))) => Some(Made::Histogram(Arc::clone(histogram))),
            (_, None) => window.values.last().copied().map(Made::Float),
        }
    }

    pub(super) fn time_of_end(function: RangeFunction, call: &Call<'_>) -> Option<Made> {
        let window = &call.window;
        let at = if function == RangeFunction::TsOfFirstOverTime {
            let histogram = window.histograms.first().map(|(at, _)| *at);
            window.times.first().copied().into_iter().chain(histogram).min()
        } else {
            let histogram = window.histograms.last().map(|(at, _)| *at);
            window.times.last().copied().into_iter().chain(histogram).max()
        };
        at.map(|at| Made::Float(seconds(at)))
    }

    /// `min_over_time`, `max_over_time` and the times of the extremes (of several equal ones the last).
    pub(super) fn extreme_over_time(&self, function: RangeFunction, call: &Call<'_>) -> Option<Made> {
        use RangeFunction::{MaxOverTime, MinOverTime, TsOfMaxOverTime, TsOfMinOverTime};
        let window = &call.window;
        let (mut best, mut best_at) = (*window.values.first()?, *window.times.first()?);
        self.note_ignored_histograms(call);
        for (&value, &at) in window.values.iter().zip(window.times) {
            let is_better = best.is_nan()
                || match function {
                    MinOverTime => value < best,
                    MaxOverTime => value > best,
                    TsOfMinOverTime => value <= best,
                    _ => value >= best,
                };
            if is_better {
                (best, best_at) = (value, at);
            }
        }
        let is_time = matches!(function, TsOfMinOverTime | TsOfMaxOverTime);
        Some(Made::Float(if is_time { seconds(best_at) } else { best }))
    }

    pub(super) fn variance_over_time(&self, function: RangeFunction, call: &Call<'_>) -> Option<Made> {
        if call.window.values.is_empty() {
            return None;
        }
        self.note_ignored_histograms(call);
        let (mut mean, mut squares) = (KahanSum::default(), KahanSum::default());
        let mut count = 0.0;
        for &value in call.window.values {
            count += 1.0;
            let delta = value - mean.total();
            mean.add(delta / count);
            squares.add(delta * (value - mean.total()));
        }
        let variance = squares.total() / count;
        Some(Made::Float(if function == RangeFunction::StddevOverTime { variance.sqrt() } else { variance }))
    }

    pub(super) fn quantile_over_time(&self, call: &Call<'_>) -> Option<Made> {
        if call.window.values.is_empty() {
            return None;
        }
        let q = call.scalar(0);
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            self.note(Note::invalid_quantile(q), call.args_span);
        }
        if !call.window.histograms.is_empty() {
            self.note(Note::HistogramIgnoredInRange { metric: call.metric.to_owned() }, call.args_span);
        }
        let mut values = call.window.values.to_vec();
        Some(Made::Float(quantile(q, &mut values)))
    }

    /// Median of the absolute deviations from the median.
    pub(super) fn mad_over_time(&self, call: &Call<'_>) -> Option<Made> {
        if call.window.values.is_empty() {
            return None;
        }
        self.note_ignored_histograms(call);
        if call.window.values.iter().any(|value| value.is_nan()) {
            return Some(Made::Float(f64::NAN));
        }
        let mut values = call.window.values.to_vec();
        let median = quantile(0.5, &mut values);
        for value in &mut values {
            *value = (*value - median).abs();
        }
        Some(Made::Float(quantile(0.5, &mut values)))
    }
}
