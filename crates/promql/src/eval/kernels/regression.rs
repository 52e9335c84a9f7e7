//! Lines through samples, and exponential smoothing.
//!
//! Rule: a run of equal values has slope zero exactly.

use datamodel::sum::KahanSum;

use crate::error::EvalError;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::series::Made;
use crate::numbers::equal;

/// Slope per second and value at `intercept_at` of the least-squares line.
fn linear_regression(times: &[i64], values: &[f64], intercept_at: i64) -> (f64, f64) {
    let first = values.first().copied().unwrap_or(f64::NAN);
    if values.iter().skip(1).all(|value| equal(*value, first)) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut sum_x, mut sum_y) = (KahanSum::default(), KahanSum::default());
    let (mut sum_xy, mut sum_xx) = (KahanSum::default(), KahanSum::default());
    for (&at, &y) in times.iter().zip(values) {
        let x = at.saturating_sub(intercept_at) as f64 / 1e3;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let count = times.len() as f64;
    let (sum_x, sum_y) = (sum_x.total(), sum_y.total());
    let covariance = sum_xy.total() - sum_x * sum_y / count;
    let variance = sum_xx.total() - sum_x * sum_x / count;
    let slope = covariance / variance;
    (slope, sum_y / count - slope * sum_x / count)
}

impl Evaluator<'_> {
    /// Whether there are the two floats that a line needs; notes histograms that are left out.
    fn has_line(&self, call: &Call<'_>) -> bool {
        let count = call.window.values.len();
        if count > 0 {
            self.note_ignored_histograms(call);
        }
        count >= 2
    }

    pub(super) fn deriv(&self, call: &Call<'_>) -> Option<Made> {
        if !self.has_line(call) {
            return None;
        }
        let window = &call.window;
        // A time near the samples keeps the sums small.
        let (slope, _) = linear_regression(window.times, window.values, *window.times.first()?);
        Some(Made::Float(slope))
    }

    pub(super) fn predict_linear(&self, call: &Call<'_>) -> Option<Made> {
        if !self.has_line(call) {
            return None;
        }
        let (slope, value) = linear_regression(call.window.times, call.window.values, call.step_time);
        Some(Made::Float(slope * call.scalar(0) + value))
    }

    pub(super) fn double_exponential_smoothing(&self, call: &Call<'_>) -> Result<Option<Made>, EvalError> {
        let (smoothing, trend_factor) = (call.scalar(0), call.scalar(1));
        for (name, factor, symbol) in [("smoothing", smoothing, "sf"), ("trend", trend_factor, "tf")] {
            if factor <= 0.0 || factor >= 1.0 {
                let message = format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {factor:.6}");
                return Err(EvalError::InvalidArgument { message, span: call.args_span });
            }
        }
        if !self.has_line(call) {
            return Ok(None);
        }
        let values = call.window.values;
        let [first, second, ..] = values else { return Ok(None) };
        let (mut before, mut smoothed) = (0.0, *first);
        let mut trend = second - first;
        for (index, value) in values.iter().enumerate().skip(1) {
            if index > 1 {
                trend = trend_factor * (smoothed - before) + (1.0 - trend_factor) * trend;
            }
            let next = smoothing * value + (1.0 - smoothing) * (smoothed + trend);
            (before, smoothed) = (smoothed, next);
        }
        Ok(Some(Made::Float(smoothed)))
    }
}
