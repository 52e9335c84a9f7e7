//! Rates of a run of floats over all steps in one loop.
//!
//! Rule: the answer is, bit for bit, that of the kernel that sees one window at a time.

use crate::error::EvalError;
use crate::eval::Evaluator;
use crate::eval::kernels::rate::{Ends, zero_after};
use crate::eval::range::Run;
use crate::eval::series::{Column, Grid, NO_INPUT};
use crate::plan::RangePlan;

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta` of floats without start timestamps. Also the time of the newest sample
    /// that counted, or [`NO_INPUT`].
    pub(in crate::eval) fn float_rates(
        &self,
        run: &Run,
        plan: &RangePlan,
        grid: Grid,
        (is_counter, is_rate): (bool, bool),
    ) -> Result<(Column, i64), EvalError> {
        let (times, values, drops) = (run.times.as_slice(), run.values.as_slice(), run.drops.as_slice());
        let mut column = Column::new(grid.steps);
        let mut newest = NO_INPUT;
        let range_seconds = plan.range as f64 / 1000.0;
        let (mut first, mut behind, mut first_drop) = (0, 0, 0);
        let (mut work, mut resets) = (0, 0);
        for index in 0..grid.steps {
            self.check_alive_after(&mut work, std::mem::take(&mut resets))?;
            let end = plan.data_time(grid.at(index));
            let start = end.saturating_sub(plan.range);
            advance(&mut first, times, start);
            advance(&mut behind, times, end);
            let (Some(window), Some(inside)) = (times.get(first..behind), values.get(first..behind)) else { continue };
            let ([first_time, .., last_time], [first_value, .., last_value]) = (window, inside) else { continue };
            let mut change = last_value - first_value;
            if is_counter {
                while drops.get(first_drop).is_some_and(|at| *at <= first) {
                    first_drop += 1;
                }
                for at in drops.iter().skip(first_drop).take_while(|at| **at < behind) {
                    change += at.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or(0.0);
                    resets += 1;
                }
            }
            let ends = Ends::new((start, end), (*first_time, *last_time), window.len() - 1);
            let factor = ends.factor(zero_after(is_counter, *first_value, change));
            column.set(index, if is_rate { change * (factor / range_seconds) } else { change * factor });
            newest = *last_time;
        }
        Ok((column, newest))
    }
}

/// Moves a place behind the last sample that is not later than `at`. Steps ascend, so nothing is searched.
#[inline]
fn advance(place: &mut usize, times: &[i64], at: i64) {
    while times.get(*place).is_some_and(|time| *time <= at) {
        *place += 1;
    }
}
