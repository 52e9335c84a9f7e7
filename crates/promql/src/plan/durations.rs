//! Durations and `@` resolved for the range of a query.
//!
//! Rule: a range or step that is not positive is an error with its place, never a guess.

use crate::ast::{At, BinaryOp, DurationExpr, DurationKind, DurationValue};
use crate::error::EvalError;
use crate::parser::MAX_DURATION_SECONDS;
use crate::plan::QueryRange;

impl QueryRange {
    /// Milliseconds of an offset; may be negative.
    pub(super) fn offset(self, value: &DurationValue) -> Result<i64, EvalError> {
        match value {
            DurationValue::Millis(ms) => Ok(*ms),
            DurationValue::Expr(expr) => self.millis(expr, true),
        }
    }

    /// Milliseconds of a range or step.
    pub(super) fn positive(self, value: &DurationValue) -> Result<i64, EvalError> {
        match value {
            DurationValue::Millis(ms) => Ok(*ms),
            DurationValue::Expr(expr) => self.millis(expr, false),
        }
    }

    /// Unix milliseconds of `@`.
    pub(super) const fn at(self, at: Option<At>) -> Option<i64> {
        match at {
            None => None,
            Some(At::Time(at)) => Some(at.unix_ms()),
            Some(At::Start) => Some(self.start),
            Some(At::End) => Some(self.end),
        }
    }

    /// Seconds between steps; 0 for instant queries.
    pub(super) fn step_seconds(self) -> f64 {
        self.step as f64 / 1000.0
    }

    /// Seconds from start to end.
    pub(super) fn range_seconds(self) -> f64 {
        self.end.saturating_sub(self.start) as f64 / 1000.0
    }

    fn millis(self, expr: &DurationExpr, may_be_negative: bool) -> Result<i64, EvalError> {
        let seconds = self.seconds(expr)?;
        let problem = if !seconds.is_finite() {
            "duration is NaN or infinite"
        } else if seconds <= 0.0 && !may_be_negative {
            "duration must be greater than 0"
        } else if seconds.abs() > MAX_DURATION_SECONDS {
            "duration is out of range"
        } else {
            // In range by the checks above; whole milliseconds, towards zero as upstream has it.
            return Ok((seconds * 1000.0) as i64);
        };
        Err(error(expr, problem))
    }

    fn seconds(self, expr: &DurationExpr) -> Result<f64, EvalError> {
        Ok(match &expr.kind {
            DurationKind::Number(number) => number.value,
            DurationKind::Step => self.step_seconds(),
            DurationKind::Range => self.range_seconds(),
            DurationKind::Negative(inner) => -self.seconds(inner)?,
            DurationKind::Positive(inner) => self.seconds(inner)?,
            DurationKind::MinOf(left, right) => go_min(self.seconds(left)?, self.seconds(right)?),
            DurationKind::MaxOf(left, right) => go_max(self.seconds(left)?, self.seconds(right)?),
            DurationKind::Binary(op, left, right) => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                let is_zero = crate::numbers::equal(right, 0.0);
                match op {
                    BinaryOp::Div if is_zero => return Err(error(expr, "division by zero")),
                    BinaryOp::Mod if is_zero => return Err(error(expr, "modulo by zero")),
                    op => crate::eval::scalar_binary(*op, left, right),
                }
            }
        })
    }
}

fn error(expr: &DurationExpr, problem: &str) -> EvalError {
    EvalError::InvalidArgument { message: format!("{}:{}: {problem}", expr.span.start, expr.span.end), span: expr.span }
}

/// The smaller of two; NaN if either is NaN.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The larger of two; NaN if either is NaN.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
