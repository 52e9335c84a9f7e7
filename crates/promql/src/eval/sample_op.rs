//! Binary operations of two samples.
//!
//! Rule: what does not fit gives no sample and says so in an info; it never fails the query.

use std::sync::Arc;

use crate::annotations::Note;
use crate::ast::BinaryOp;
use crate::error::EvalError;
use crate::eval::scalar_binary;
use crate::eval::series::{Made, Point};
use crate::numbers::equal;
use crate::span::Span;

/// What an operation answers.
pub(super) struct Outcome {
    /// The value; of a comparison the left side's.
    pub(super) made: Made,
    /// Whether a comparison holds; true for all else.
    pub(super) holds: bool,
    /// What is worth saying about it.
    pub(super) notes: Vec<Note>,
}

/// An operation of two samples; `Err(note)` where there is no answer.
pub(super) fn sample_binary(
    op: BinaryOp,
    left: Point<'_>,
    right: Point<'_>,
    span: Span,
) -> Result<Result<Outcome, Note>, EvalError> {
    let kind = |point: Point<'_>| match point {
        Point::Float(_) => "float",
        Point::Histogram(_) => "histogram",
    };
    let incompatible = Note::IncompatibleTypes { left: kind(left), op, right: kind(right) };
    let done = |made: Made, holds: bool| Ok(Ok(Outcome { made, holds, notes: Vec::new() }));
    match (left, right) {
        (Point::Float(_), Point::Float(_)) if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) => {
            Ok(Err(incompatible))
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
        (Point::Histogram(_), Point::Histogram(_)) if matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
            Err(EvalError::Unsupported { feature: "sums of native histograms", span })
        }
        (Point::Histogram(_), Point::Float(_)) if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) => {
            Err(EvalError::Unsupported { feature: "trimming native histograms", span })
        }
        _ => Ok(Err(incompatible)),
    }
}
