//! Rates of a run of floats over all steps in one loop.
//!
//! - [`RateWindows`]: which samples each step sees and how far they are extrapolated. That depends on their times
//!   alone, which the series of one target share, so that it is found out once for all of them.
//!
//! Rule: the answer is, bit for bit, that of the kernel that sees one window at a time.

use crate::error::EvalError;
use crate::eval::Evaluator;
use crate::eval::kernels::rate::{Ends, zero_after};
use crate::eval::range::Run;
use crate::eval::series::{Column, Grid, NO_INPUT};
use crate::plan::RangePlan;

/// What the times of a run say about each step.
#[derive(Debug, Default)]
pub(in crate::eval) struct RateWindows {
    times: Vec<i64>,
    windows: Vec<RateWindow>,
    /// The steps that have a window, as a column has them.
    present: Vec<u64>,
    newest: i64,
}

/// One step that sees two samples or more.
#[derive(Clone, Copy, Debug)]
struct RateWindow {
    step: usize,
    /// Places of the first and the last sample.
    first: usize,
    last: usize,
    ends: Ends,
    /// Seconds by which the start is extrapolated, unless a counter would be below zero there.
    to_start: f64,
    /// Factor of the change, extrapolated by that; for `rate` in each second.
    factor: f64,
}

/// Below this, products of seconds and values may have lost digits.
const EXACT_ENOUGH: f64 = 1e-200;

impl RateWindow {
    /// Whether a counter that goes back from `first` stays above zero over all that is extrapolated. `false`
    /// where a division must tell.
    #[inline]
    fn is_above_zero(&self, first: f64, change: f64) -> bool {
        let covered = self.ends.sampled * first;
        covered > self.to_start * change * (1.0 + 1e-9) && covered > EXACT_ENOUGH
    }
}

impl RateWindows {
    /// Steps up to which they are worth their memory: more than a chart has. The kernel answers the others.
    pub(in crate::eval) const MAX_STEPS: usize = 1 << 14;

    /// Bytes for so many steps, at most.
    pub(in crate::eval) const fn byte_len_for(steps: usize) -> usize {
        steps.saturating_mul(size_of::<RateWindow>())
    }

    /// Calls `check` at each step.
    fn find(
        &mut self,
        times: &[i64],
        plan: &RangePlan,
        grid: Grid,
        per_second: Option<f64>,
        mut check: impl FnMut() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        self.times.clear();
        self.times.extend_from_slice(times);
        self.windows.clear();
        self.present.clear();
        self.present.resize(grid.steps.div_ceil(64), 0);
        self.newest = NO_INPUT;
        let (mut first, mut behind) = (0, 0);
        for step in 0..grid.steps {
            check()?;
            let end = plan.data_time(grid.at(step));
            let start = end.saturating_sub(plan.range);
            advance(&mut first, times, start);
            advance(&mut behind, times, end);
            let Some([first_time, .., last_time]) = times.get(first..behind) else { continue };
            let ends = Ends::new((start, end), (*first_time, *last_time), behind - first - 1);
            let factor = ends.factor(None);
            let factor = per_second.map_or(factor, |seconds| factor / seconds);
            self.windows.push(RateWindow { step, first, last: behind - 1, ends, to_start: ends.start_reach(), factor });
            if let Some(word) = self.present.get_mut(step / 64) {
                *word |= 1 << (step % 64);
            }
            self.newest = *last_time;
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta` of floats without start timestamps. Also the time of the newest sample
    /// that counted, or [`NO_INPUT`].
    pub(in crate::eval) fn float_rates(
        &self,
        run: &Run,
        plan: &RangePlan,
        grid: Grid,
        (is_counter, is_rate): (bool, bool),
        cache: &mut RateWindows,
    ) -> Result<(Column, i64), EvalError> {
        let (values, drops) = (run.values.as_slice(), run.drops.as_slice());
        let per_second = is_rate.then_some(plan.range as f64 / 1000.0);
        let mut work = 0;
        if cache.times != run.times || cache.present.len() != grid.steps.div_ceil(64) {
            cache.find(&run.times, plan, grid, per_second, || self.check_alive_after(&mut work, 0))?;
        }
        let mut rates = vec![0.0; grid.steps];
        let (mut first_drop, mut resets) = (0, 0);
        for window in &cache.windows {
            self.check_alive_after(&mut work, std::mem::take(&mut resets))?;
            let (Some(first), Some(last)) = (values.get(window.first), values.get(window.last)) else { continue };
            let mut change = last - first;
            if is_counter && !drops.is_empty() {
                while drops.get(first_drop).is_some_and(|at| *at <= window.first) {
                    first_drop += 1;
                }
                for at in drops.iter().skip(first_drop).take_while(|at| **at <= window.last) {
                    change += at.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or(0.0);
                    resets += 1;
                }
            }
            let factor = match zero_possible(is_counter, *first, change) {
                true if !window.is_above_zero(*first, change) => {
                    let factor = window.ends.factor(zero_after(is_counter, *first, change));
                    per_second.map_or(factor, |seconds| factor / seconds)
                }
                _ => window.factor,
            };
            if let Some(place) = rates.get_mut(window.step) {
                *place = change * factor;
            }
        }
        Ok((Column::from_parts(rates, cache.present.clone()), cache.newest))
    }
}

/// Whether a counter may have been at zero before the first sample.
#[inline]
fn zero_possible(is_counter: bool, first: f64, change: f64) -> bool {
    is_counter && change > 0.0 && first >= 0.0
}

/// Moves a place behind the last sample that is not later than `at`. Steps ascend, so nothing is searched.
#[inline]
fn advance(place: &mut usize, times: &[i64], at: i64) {
    while times.get(*place).is_some_and(|time| *time <= at) {
        *place += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        let near = prop_oneof![Just(0.0), Just(5e-324), Just(1e-200), Just(f64::MAX), Just(f64::INFINITY)];
        prop_oneof![4 => 0.0..1e6, 1 => any::<f64>().prop_map(f64::abs), 1 => near]
    }

    proptest! {
        #[test]
        fn division_is_spared_only_where_it_changes_nothing(
            start in 0_i64..400_000, first_after in 1_i64..400_000, sampled in 1_i64..400_000, end_after in 0_i64..100_000,
            gaps in 1_usize..50, first in value(), change in value(),
        ) {
            let first_time = start + first_after;
            let last_time = first_time + sampled;
            let ends = Ends::new((start, last_time + end_after), (first_time, last_time), gaps);
            let factor = ends.factor(None);
            let window = RateWindow { step: 0, first: 0, last: gaps, ends, to_start: ends.start_reach(), factor };
            if zero_possible(true, first, change) && window.is_above_zero(first, change) {
                let divided = ends.factor(zero_after(true, first, change));
                prop_assert_eq!(divided.to_bits(), factor.to_bits());
            }
        }
    }
}
