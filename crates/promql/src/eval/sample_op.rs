//! Binary operations of two samples.
//!
//! Rule: what does not fit gives no sample and says so in an info; it never fails the query.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::histogram::{CounterResetHint, Trim};

use crate::annotations::{HistogramOperation, Note};
use crate::ast::BinaryOp;
use crate::eval::scalar_binary;
use crate::eval::series::{Made, Point};
use crate::numbers::equal;

/// What an operation answers.
pub(super) struct Outcome {
    /// The value; of a comparison the left side's.
    pub(super) made: Made,
    /// Whether a comparison holds; true for all else.
    pub(super) holds: bool,
    /// What is worth saying about it.
    pub(super) note: Option<Note>,
}

/// An operation of two samples; `Err(note)` where there is no answer.
pub(super) fn sample_binary(op: BinaryOp, left: Point<'_>, right: Point<'_>) -> Result<Outcome, Note> {
    let kind = |point: Point<'_>| match point {
        Point::Float(_) => "float",
        Point::Histogram(_) => "histogram",
    };
    let incompatible = Note::IncompatibleTypes { left: kind(left), op, right: kind(right) };
    let done = |made: Made, holds: bool| Ok(Outcome { made, holds, note: None });
    match (left, right) {
        (Point::Float(_), Point::Float(_)) if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) => {
            Err(incompatible)
        }
        (Point::Float(left), Point::Float(right)) if op.is_comparison() => {
            done(Made::Float(left), !equal(scalar_binary(op, left, right), 0.0))
        }
        (Point::Float(left), Point::Float(right)) => done(Made::Float(scalar_binary(op, left, right)), true),
        (Point::Float(factor), Point::Histogram(histogram)) if op == BinaryOp::Mul => {
            done(Made::from(histogram.scaled(factor).compacted()), true)
        }
        (Point::Histogram(histogram), Point::Float(factor)) if op == BinaryOp::Mul => {
            done(Made::from(histogram.scaled(factor).compacted()), true)
        }
        (Point::Histogram(histogram), Point::Float(divisor)) if op == BinaryOp::Div => {
            done(Made::from(histogram.divided(divisor).compacted()), true)
        }
        (Point::Histogram(left), Point::Histogram(right)) if op == BinaryOp::Equal => {
            done(Made::Histogram(Arc::clone(left)), left.same_data(right))
        }
        (Point::Histogram(left), Point::Histogram(right)) if op == BinaryOp::NotEqual => {
            done(Made::Histogram(Arc::clone(left)), !left.same_data(right))
        }
        (Point::Histogram(left), Point::Histogram(right)) if matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
            histogram_sum(op, left, right)
        }
        (Point::Histogram(histogram), Point::Float(at)) if op == BinaryOp::TrimUpper => {
            done(Made::from(histogram.trimmed(at, Trim::Above)), true)
        }
        (Point::Histogram(histogram), Point::Float(at)) if op == BinaryOp::TrimLower => {
            done(Made::from(histogram.trimmed(at, Trim::Below)), true)
        }
        _ => Err(incompatible),
    }
}

fn histogram_sum(op: BinaryOp, left: &Histogram, right: &Histogram) -> Result<Outcome, Note> {
    let is_sum = op == BinaryOp::Add;
    let result = if is_sum { left.plus(right) } else { left.minus(right) };
    let Ok((mut histogram, reconciled)) = result else { return Err(Note::IncompatibleBucketLayout(op)) };
    let operation = if is_sum { HistogramOperation::Addition } else { HistogramOperation::Subtraction };
    if reconciled.conflicting_resets {
        return Err(Note::CounterResetCollision(operation));
    }
    if !is_sum {
        histogram.counter_reset_hint = CounterResetHint::Gauge;
    }
    let note = reconciled.mismatched_bounds.then_some(Note::MismatchedCustomBuckets(operation));
    Ok(Outcome { made: Made::from(histogram.compacted()), holds: true, note })
}
