//! `absent` and `absent_over_time`: a series where there is none.
//!
//! Rule: the answer has the labels that the selector fixes with `=`.

use datamodel::Labels;

use crate::error::EvalError;
use crate::eval::series::{Column, EvalSeries, Grid, NO_INPUT};
use crate::eval::{Evaluator, Sink};
use crate::plan::{RangeFunction, RangePlan, VectorPlan};
use crate::span::Span;

fn push_absent(found: &[bool], labels: &Labels, drop_name: bool, sink: &mut Sink<'_>) -> Result<(), EvalError> {
    let mut column = Column::new(found.len());
    for (index, found) in found.iter().enumerate() {
        if !found {
            column.set(index, 1.0);
        }
    }
    if column.is_empty() {
        return Ok(());
    }
    sink(EvalSeries { labels: labels.clone(), drop_name, column, newest: NO_INPUT })
}

fn mark(found: &mut [bool], column: &Column) {
    for (index, place) in found.iter_mut().enumerate() {
        *place |= column.is_present(index);
    }
}

impl Evaluator<'_> {
    pub(super) fn absent(
        &self,
        input: &VectorPlan,
        labels: &Labels,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut found = vec![false; grid.steps];
        self.vector(input, grid, &mut |series| {
            mark(&mut found, &series.column);
            Ok(())
        })?;
        push_absent(&found, labels, false, sink)
    }

    pub(super) fn absent_over_time(
        &self,
        input: &RangePlan,
        labels: &Labels,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut found = vec![false; grid.steps];
        let function = RangeFunction::AbsentOverTime;
        self.range_call(function, input, &[], Span::default(), grid, &mut |series| {
            mark(&mut found, &series.column);
            Ok(())
        })?;
        push_absent(&found, labels, true, sink)
    }
}
