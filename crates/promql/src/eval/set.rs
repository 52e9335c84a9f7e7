//! `and`, `or`, `unless`: by the presence of matching series.
//!
//! Rule: values pass unchanged; only which samples pass is decided, step by step.

use crate::ast::{BinaryOp, Matching};
use crate::error::EvalError;
use crate::eval::binary::Signatures;
use crate::eval::series::{EvalSeries, Grid, Merger};
use crate::eval::{Evaluator, Sink};
use crate::plan::VectorPlan;

/// For each signature the steps at which some series has a sample.
struct Presence {
    words: usize,
    bits: Vec<u64>,
}

impl Presence {
    fn new(signatures: usize, steps: usize) -> Self {
        let words = steps.div_ceil(64);
        Self { words, bits: vec![0; words.saturating_mul(signatures)] }
    }

    fn mark(&mut self, signature: usize, series: &EvalSeries) {
        for (index, _) in series.column.iter() {
            if let Some(word) = self.bits.get_mut(signature * self.words + index / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }

    fn has(&self, signature: usize, index: usize) -> bool {
        self.bits.get(signature * self.words + index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

/// Clears the samples of a series at the steps where presence is not as wanted.
fn keep_where(series: &mut EvalSeries, presence: &Presence, signature: usize, wanted: bool) {
    for index in 0..series.column.steps() {
        if presence.has(signature, index) != wanted {
            series.column.clear(index);
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn set(
        &self,
        op: BinaryOp,
        left: &VectorPlan,
        right: &VectorPlan,
        matching: &Matching,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let left = self.collect(left, grid)?;
        let right = self.collect(right, grid)?;
        let mut signatures = Signatures::default();
        let left_numbers = signatures.number(&left.series, matching);
        let right_numbers = signatures.number(&right.series, matching);
        let mut memory = self.budget.reservation();
        memory.grow(signatures.len().saturating_mul(grid.steps.div_ceil(8)))?;
        let mut presence = Presence::new(signatures.len(), grid.steps);
        if op == BinaryOp::Or {
            for (number, series) in left_numbers.iter().zip(&left.series) {
                presence.mark(*number, series);
            }
            let mut merger = Merger::default();
            left.series.into_iter().try_for_each(|series| merger.add(series))?;
            for (number, mut series) in right_numbers.iter().zip(right.series) {
                keep_where(&mut series, &presence, *number, false);
                if !series.column.is_empty() {
                    merger.add(series)?;
                }
            }
            return merger.into_series().into_iter().try_for_each(sink);
        }
        for (number, series) in right_numbers.iter().zip(&right.series) {
            presence.mark(*number, series);
        }
        for (number, mut series) in left_numbers.iter().zip(left.series) {
            keep_where(&mut series, &presence, *number, op == BinaryOp::And);
            if !series.column.is_empty() {
                sink(series)?;
            }
        }
        Ok(())
    }
}
