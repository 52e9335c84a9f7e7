//! The evaluator: walks a plan over a grid of steps, series by series.
//!
//! ```text
//!   storage ──▶ selector ──▶ kernel (rate, …) ──▶ map ──▶ aggregate ──▶ result
//!              one series at a time is pushed through; only what must be held is held
//! ```
//!
//! - `series`: [`Grid`], columns, series; `selector`, `range`: from storage; `kernels`: functions of a run
//!   of samples; `map`, `labels`, `sort`, `absent`: functions of vectors; `aggregate`, `topk`;
//!   `binary`, `set`: two sides; `classic`: quantiles of classic histograms; `result`: the answer.
//!
//! Rule: operators push series into a sink and keep nothing, unless they reserve the memory for it first.

mod absent;
mod aggregate;
mod binary;
mod budget;
mod classic;
mod info;
mod kernels;
mod labels;
mod map;
mod native;
mod range;
mod result;
mod sample_op;
mod selector;
mod series;
mod set;
mod sort;
#[cfg(test)]
mod tests;
mod topk;

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use storage::{MemoryPool, Querier};

use crate::annotations::{Annotations, Note, Notes};
use crate::ast::BinaryOp;
use crate::engine::{Deadline, QueryContext};
use crate::error::EvalError;
use crate::features::Features;
use crate::numbers;
use crate::plan::{ScalarPlan, VectorPlan, go_max, go_min};
use crate::span::Span;

use budget::{Budget, Reservation};
use series::{Column, EvalSeries, NO_INPUT};

pub(crate) use result::Answer;
pub(crate) use series::{Grid, Point};

/// Takes series from an operator.
type Sink<'s> = dyn FnMut(EvalSeries) -> Result<(), EvalError> + 's;

/// What an evaluation is bound to.
pub(crate) struct Evaluator<'a> {
    querier: &'a dyn Querier,
    features: Features,
    /// Milliseconds.
    lookback: i64,
    context: &'a QueryContext,
    deadline: Option<Deadline<'a>>,
    budget: Budget,
    notes: RefCell<Notes>,
}

/// Samples that one series may look at before the deadline and the cancellation are looked at again:
/// about a millisecond of the slower kernels.
const WORK_BETWEEN_CHECKS: usize = 1 << 16;

/// Series that an operator holds, with the memory reserved for them.
struct Collected<'a> {
    series: Vec<EvalSeries>,
    _memory: Reservation<'a>,
}

/// A number for each step.
struct ScalarColumn {
    values: ScalarValues,
    newest: i64,
}

enum ScalarValues {
    Const(f64),
    Steps(Vec<f64>),
}

impl ScalarColumn {
    const fn constant(value: f64) -> Self {
        Self { values: ScalarValues::Const(value), newest: NO_INPUT }
    }

    #[inline]
    fn at(&self, index: usize) -> f64 {
        match &self.values {
            ScalarValues::Const(value) => *value,
            ScalarValues::Steps(values) => values.get(index).copied().unwrap_or(f64::NAN),
        }
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        querier: &'a dyn Querier,
        features: Features,
        lookback: i64,
        context: &'a QueryContext,
        deadline: Option<Deadline<'a>>,
        memory: &MemoryPool,
    ) -> Self {
        Self { querier, features, lookback, context, deadline, budget: Budget::new(memory), notes: RefCell::default() }
    }

    /// The annotations so far, with places in `text`.
    pub(crate) fn into_annotations(self, text: Option<&str>) -> Annotations {
        self.notes.into_inner().finish(text)
    }

    fn note(&self, note: Note, span: Span) {
        self.notes.borrow_mut().add(note, span);
    }

    /// Called at least once for each series: stops a query that nobody waits for.
    fn check_alive(&self) -> Result<(), EvalError> {
        if self.context.cancel.load(Ordering::Relaxed) {
            return Err(EvalError::Cancelled);
        }
        if self.deadline.as_ref().is_some_and(Deadline::has_passed) {
            return Err(EvalError::TimedOut);
        }
        Ok(())
    }

    /// The same within one series: looks after each [`WORK_BETWEEN_CHECKS`] samples.
    #[inline]
    fn check_alive_after(&self, work: &mut usize, samples: usize) -> Result<(), EvalError> {
        *work = work.saturating_add(samples).saturating_add(1);
        if *work >= WORK_BETWEEN_CHECKS {
            *work = 0;
            self.check_alive()?;
        }
        Ok(())
    }

    /// Refuses grids whose single column would already break the budget.
    fn check_grid(&self, grid: Grid) -> Result<(), EvalError> {
        Ok(self.budget.check(Column::byte_len_for(grid.steps))?)
    }

    fn collect(&self, plan: &VectorPlan, grid: Grid) -> Result<Collected<'_>, EvalError> {
        let mut memory = self.budget.reservation();
        let mut all = Vec::new();
        self.vector(plan, grid, &mut |series| {
            memory.grow(series.byte_len())?;
            all.push(series);
            Ok(())
        })?;
        Ok(Collected { series: all, _memory: memory })
    }

    /// Pushes the series of a plan into the sink; series without samples are left out.
    fn vector(&self, plan: &VectorPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.check_alive()?;
        self.check_grid(grid)?;
        if grid.steps == 0 {
            return Ok(());
        }
        match plan {
            VectorPlan::Selector(selector) => self.selector(selector, grid, sink),
            VectorPlan::SampleTime { selector, is_start } => self.sample_time(selector, *is_start, grid, sink),
            VectorPlan::StepInvariant(input) => self.step_invariant(input, grid, sink),
            VectorPlan::Range { function, input, args, args_span } => {
                self.range_call(*function, input, args, *args_span, grid, sink)
            }
            VectorPlan::AbsentOverTime { input, labels } => self.absent_over_time(input, labels, grid, sink),
            VectorPlan::Absent { input, labels } => self.absent(input, labels, grid, sink),
            VectorPlan::Map { function, input } => self.map(function, input, grid, sink),
            VectorPlan::Negate(input) => self.negate(input, grid, sink),
            VectorPlan::FromScalar(scalar) => self.vector_from_scalar(scalar, grid, sink),
            VectorPlan::DateNow(function) => Self::date_now(*function, grid, sink),
            VectorPlan::Empty => Ok(()),
            VectorPlan::HistogramQuantile(plan) => self.histogram_quantile(plan, grid, sink),
            VectorPlan::HistogramFraction { lower, upper, input, span } => {
                self.histogram_fraction((lower, upper), input, *span, grid, sink)
            }
            VectorPlan::LabelReplace(plan) => self.label_replace(plan, grid, sink),
            VectorPlan::LabelJoin { input, target, separator, sources } => {
                self.label_join(input, target, separator, sources, grid, sink)
            }
            VectorPlan::Sort { input, by, span } => self.sort(input, by, *span, grid, sink),
            VectorPlan::Info(plan) => self.info(plan, grid, sink),
            VectorPlan::Aggregate(plan) => self.aggregate(plan, grid, sink),
            VectorPlan::VectorScalar(plan) => self.vector_scalar(plan, grid, sink),
            VectorPlan::VectorVector(plan) => self.vector_vector(plan, grid, sink),
            VectorPlan::Set { op, left, right, matching } => self.set(*op, left, right, matching, grid, sink),
        }
    }

    fn step_invariant(&self, input: &VectorPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        if grid.is_instant() {
            return self.vector(input, grid, sink);
        }
        self.vector(input, Grid::instant(grid.start), &mut |series| {
            let column = series.column.broadcast(grid.steps);
            sink(EvalSeries { column, ..series })
        })
    }

    fn scalar(&self, plan: &ScalarPlan, grid: Grid) -> Result<ScalarColumn, EvalError> {
        self.check_grid(grid)?;
        Ok(match plan {
            ScalarPlan::Const(value) => ScalarColumn::constant(*value),
            ScalarPlan::Time => ScalarColumn {
                values: ScalarValues::Steps((0..grid.steps).map(|index| grid.at(index) as f64 / 1000.0).collect()),
                newest: NO_INPUT,
            },
            ScalarPlan::FromVector(vector) => self.scalar_from_vector(vector, grid)?,
            ScalarPlan::Negate(inner) => {
                let inner = self.scalar(inner, grid)?;
                Self::combine(grid, &inner, &inner, |value, _| -value)
            }
            ScalarPlan::Binary(op, left, right) => {
                let (left, right) = (self.scalar(left, grid)?, self.scalar(right, grid)?);
                Self::combine(grid, &left, &right, |left, right| scalar_binary(*op, left, right))
            }
            ScalarPlan::MinOf(left, right) => {
                Self::combine(grid, &self.scalar(left, grid)?, &self.scalar(right, grid)?, go_min)
            }
            ScalarPlan::MaxOf(left, right) => {
                Self::combine(grid, &self.scalar(left, grid)?, &self.scalar(right, grid)?, go_max)
            }
            ScalarPlan::StepInvariant(inner) => {
                let value = self.scalar(inner, Grid::instant(grid.start))?;
                ScalarColumn { values: ScalarValues::Const(value.at(0)), newest: value.newest }
            }
        })
    }

    fn combine(grid: Grid, left: &ScalarColumn, right: &ScalarColumn, op: impl Fn(f64, f64) -> f64) -> ScalarColumn {
        let newest = left.newest.max(right.newest);
        let values = match (&left.values, &right.values) {
            (ScalarValues::Const(left), ScalarValues::Const(right)) => ScalarValues::Const(op(*left, *right)),
            _ => ScalarValues::Steps((0..grid.steps).map(|index| op(left.at(index), right.at(index))).collect()),
        };
        ScalarColumn { values, newest }
    }

    /// `scalar(v)`: the value of the only float, else NaN.
    fn scalar_from_vector(&self, plan: &VectorPlan, grid: Grid) -> Result<ScalarColumn, EvalError> {
        let mut values = vec![f64::NAN; grid.steps];
        let mut counts = vec![0_u8; grid.steps];
        let mut newest = NO_INPUT;
        self.vector(plan, grid, &mut |series| {
            newest = newest.max(series.newest);
            for (index, point) in series.column.iter() {
                let Point::Float(value) = point else { continue };
                if let (Some(place), Some(count)) = (values.get_mut(index), counts.get_mut(index)) {
                    *count = count.saturating_add(1);
                    *place = if *count == 1 { value } else { f64::NAN };
                }
            }
            Ok(())
        })?;
        Ok(ScalarColumn { values: ScalarValues::Steps(values), newest })
    }
}

/// An operation of two numbers; comparisons give 1 or 0.
pub(crate) fn scalar_binary(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        BinaryOp::Equal => truth(numbers::equal(left, right)),
        BinaryOp::NotEqual => truth(!numbers::equal(left, right)),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessEqual => truth(left <= right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterEqual => truth(left >= right),
        // The parser lets none of these stand between numbers.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}
