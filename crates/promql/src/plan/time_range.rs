//! The range of samples that a plan may read.
//!
//! Rule: a superset is fine, a sample too few is not.

use datamodel::Timestamp;
use datamodel::time::TimeRange;

use crate::ast::RangeMode;
use crate::eval::Grid;
use crate::plan::{MapFunction, Plan, RangeInput, RangePlan, ScalarPlan, SelectorPlan, VectorPlan};

/// The first and last instant that the plan reads; an empty range at the grid's start if it reads none.
pub(crate) fn time_range(plan: &Plan, grid: Grid, lookback: i64) -> TimeRange {
    let mut reads = Reads { lookback, range: None };
    match plan {
        Plan::Scalar(plan) => reads.scalar(plan, grid),
        Plan::Vector(plan) => reads.vector(plan, grid),
        Plan::Range(plan) => reads.range(plan, grid),
        Plan::String(_) => {}
    }
    let (start, end) = reads.range.unwrap_or((grid.start, grid.start));
    TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) }
}

struct Reads {
    lookback: i64,
    range: Option<(i64, i64)>,
}

impl Reads {
    fn add(&mut self, start: i64, end: i64) {
        let (old_start, old_end) = self.range.unwrap_or((start, end));
        self.range = Some((old_start.min(start), old_end.max(end)));
    }

    fn selector(&mut self, selector: &SelectorPlan, range: i64, grid: Grid) {
        let (before, after) = match (selector.mode, range) {
            (RangeMode::Smoothed, range) => (range.saturating_add(self.lookback), self.lookback),
            (RangeMode::Plain, 0) => (self.lookback, 0),
            (RangeMode::Plain, range) => (range, 0),
            (RangeMode::Anchored, range) => (range.saturating_add(self.lookback), 0),
        };
        let start = selector.data_time(grid.start).saturating_sub(before);
        self.add(start, selector.data_time(grid.end()).saturating_add(after));
    }

    fn range(&mut self, plan: &RangePlan, grid: Grid) {
        match &plan.input {
            RangeInput::Selector(selector) => self.selector(selector, plan.range, grid),
            RangeInput::Subquery(subquery) => self.vector(&subquery.inner, plan.subquery_grid(subquery, grid)),
        }
    }

    fn scalar(&mut self, plan: &ScalarPlan, grid: Grid) {
        match plan {
            ScalarPlan::Const(_) | ScalarPlan::Time => {}
            ScalarPlan::FromVector(vector) => self.vector(vector, grid),
            ScalarPlan::Negate(inner) | ScalarPlan::StepInvariant(inner) => self.scalar(inner, grid),
            ScalarPlan::Binary(_, left, right) | ScalarPlan::MinOf(left, right) | ScalarPlan::MaxOf(left, right) => {
                self.scalar(left, grid);
                self.scalar(right, grid);
            }
        }
    }

    fn vector(&mut self, plan: &VectorPlan, grid: Grid) {
        match plan {
            VectorPlan::Selector(selector) | VectorPlan::SampleTime { selector, .. } => {
                self.selector(selector, 0, grid);
            }
            VectorPlan::Range { input, args, .. } => {
                self.range(input, grid);
                args.iter().for_each(|arg| self.scalar(&arg.plan, grid));
            }
            VectorPlan::AbsentOverTime { input, .. } => self.range(input, grid),
            VectorPlan::Map { function, input } => {
                if let MapFunction::Clamp { min, max } = function {
                    self.scalar(min, grid);
                    self.scalar(max, grid);
                }
                if let MapFunction::Round { to_nearest } = function {
                    self.scalar(to_nearest, grid);
                }
                self.vector(input, grid);
            }
            VectorPlan::FromScalar(scalar) => self.scalar(scalar, grid),
            VectorPlan::DateNow(_) | VectorPlan::Empty => {}
            VectorPlan::StepInvariant(input)
            | VectorPlan::Absent { input, .. }
            | VectorPlan::Negate(input)
            | VectorPlan::LabelJoin { input, .. }
            | VectorPlan::Sort { input, .. } => self.vector(input, grid),
            VectorPlan::LabelReplace(plan) => self.vector(&plan.input, grid),
            VectorPlan::Info(plan) => {
                self.vector(&plan.input, grid);
                let data_time = |at: i64| plan.at.unwrap_or(at).saturating_sub(plan.offset);
                let start = data_time(grid.start).saturating_sub(self.lookback);
                self.add(start, data_time(grid.end()));
            }
            VectorPlan::HistogramQuantile(plan) => {
                plan.quantiles.iter().for_each(|arg| self.scalar(&arg.plan, grid));
                self.vector(&plan.input, grid);
            }
            VectorPlan::HistogramFraction { lower, upper, input, .. } => {
                self.scalar(lower, grid);
                self.scalar(upper, grid);
                self.vector(input, grid);
            }
            VectorPlan::Aggregate(plan) => {
                if let Some(param) = &plan.param {
                    self.scalar(&param.plan, grid);
                }
                self.vector(&plan.input, grid);
            }
            VectorPlan::VectorScalar(plan) => {
                self.scalar(&plan.scalar, grid);
                self.vector(&plan.vector, grid);
            }
            VectorPlan::VectorVector(plan) => {
                self.vector(&plan.left, grid);
                self.vector(&plan.right, grid);
            }
            VectorPlan::Set { left, right, .. } => {
                self.vector(left, grid);
                self.vector(right, grid);
            }
        }
    }
}

impl RangePlan {
    /// The instants at which a subquery's expression is evaluated: multiples of its step in the range
    /// that is open on the left.
    pub(crate) fn subquery_grid(&self, subquery: &super::SubqueryPlan, grid: Grid) -> Grid {
        let first = self.data_time(grid.start).saturating_sub(self.range);
        let end = self.data_time(grid.end());
        let step = subquery.step.max(1);
        let mut start = first / step * step;
        if start <= first {
            start = start.saturating_add(step);
        }
        Grid::new(start, end, step)
    }
}
