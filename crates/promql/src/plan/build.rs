//! From the tree to the plan: types by construction, constants folded, what does not change between
//! steps hoisted.
//!
//! Rule: whether something is evaluated once is decided as upstream decides it, so that annotations agree.

use std::sync::Arc;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, StringLiteral, Subquery, Unary, VectorSelector,
};
use crate::error::EvalError;
use crate::eval::scalar_binary;
use crate::features::Features;
use crate::plan::{
    AggregatePlan, Plan, QueryRange, RangeInput, RangePlan, ScalarArg, ScalarPlan, SelectorPlan, SubqueryPlan,
    VectorPlan, VectorScalarPlan, VectorVectorPlan,
};
use crate::span::Span;

/// Builds the plan of an expression for a range of time.
///
/// # Errors
///
/// A duration is out of range, an argument can never be right, or a part is not supported.
pub(crate) fn build(expr: &Expr, query: QueryRange, options: BuildOptions) -> Result<Plan, EvalError> {
    let builder = Builder { query, options, function: "", statistics: Statistics::Unknown };
    Ok(builder.expr(expr)?.hoisted())
}

/// What the plan depends on beside the expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildOptions {
    pub(crate) features: Features,
    /// Step of subqueries without one, in milliseconds.
    pub(crate) default_subquery_step: i64,
}

/// A node with what is known of its change between steps.
pub(super) struct Built {
    pub(super) plan: Plan,
    /// The value is the same at all steps.
    pub(super) is_invariant: bool,
    /// Evaluating it once saves something.
    pub(super) is_worth_hoisting: bool,
}

impl Built {
    pub(super) fn constant(value: f64) -> Self {
        Self { plan: Plan::Scalar(ScalarPlan::Const(value)), is_invariant: true, is_worth_hoisting: false }
    }

    /// The plan, evaluated once where that is possible and useful.
    pub(super) fn hoisted(self) -> Plan {
        if !(self.is_invariant && self.is_worth_hoisting) {
            return self.plan;
        }
        match self.plan {
            Plan::Scalar(ScalarPlan::Const(value)) => Plan::Scalar(ScalarPlan::Const(value)),
            Plan::Scalar(plan) => Plan::Scalar(ScalarPlan::StepInvariant(Box::new(plan))),
            Plan::Vector(plan) => Plan::Vector(VectorPlan::StepInvariant(Box::new(plan))),
            plan => plan,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Builder {
    pub(super) query: QueryRange,
    pub(super) options: BuildOptions,
    /// The function or aggregation around the node.
    pub(super) function: &'static str,
    pub(super) statistics: Statistics,
}

/// Whether only count and sum of native histograms are needed. Their counter resets are then found while
/// reading, which is what upstream's annotations tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistics {
    /// No function has said so.
    Unknown,
    /// `histogram_count` and its kin stand around the node.
    Enough,
    /// Something around the node needs the buckets, or sees only some samples.
    NotEnough,
}

impl Statistics {
    pub(super) const fn within(self, function: &str) -> Self {
        match (self, function.as_bytes()) {
            (Self::NotEnough, _) | (_, b"histogram_quantile" | b"histogram_quantiles" | b"histogram_fraction") => {
                Self::NotEnough
            }
            (_, b"histogram_count" | b"histogram_sum" | b"histogram_avg") => Self::Enough,
            (statistics, _) => statistics,
        }
    }
}

/// A tree that the type check let through never has this; it is an error all the same, not a panic.
pub(super) const fn mistyped(span: Span) -> EvalError {
    EvalError::Unsupported { feature: "an operand of this type", span }
}

pub(super) fn vector(plan: Plan, span: Span) -> Result<Box<VectorPlan>, EvalError> {
    match plan {
        Plan::Vector(plan) => Ok(Box::new(plan)),
        _ => Err(mistyped(span)),
    }
}

pub(super) fn scalar(plan: Plan, span: Span) -> Result<ScalarPlan, EvalError> {
    match plan {
        Plan::Scalar(plan) => Ok(plan),
        _ => Err(mistyped(span)),
    }
}

impl Builder {
    pub(super) fn expr(self, expr: &Expr) -> Result<Built, EvalError> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Built::constant(number.value)),
            ExprKind::String(text) => {
                Ok(Built { plan: Plan::String(text.clone()), is_invariant: true, is_worth_hoisting: false })
            }
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::Selector(selector) => {
                let plan = self.selector(selector, expr.span)?;
                let is_invariant = plan.at.is_some();
                let plan = Plan::Vector(VectorPlan::Selector(plan));
                Ok(Built { plan, is_invariant, is_worth_hoisting: is_invariant })
            }
            ExprKind::Range(range) => {
                let selector = self.selector(&range.selector, expr.span)?;
                let is_invariant = selector.at.is_some();
                let input = RangeInput::Selector(selector);
                let plan = RangePlan { input, range: self.query.positive(&range.range)?, span: expr.span };
                Ok(Built { plan: Plan::Range(plan), is_invariant, is_worth_hoisting: false })
            }
            ExprKind::Subquery(subquery) => self.subquery(subquery, expr.span),
            ExprKind::Unary(unary) => self.unary(unary, expr.span),
            ExprKind::Binary(binary) => self.binary(binary, expr.span),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span),
            ExprKind::Call(call) => self.call(call, expr.span),
        }
    }

    pub(super) fn selector(self, selector: &VectorSelector, span: Span) -> Result<SelectorPlan, EvalError> {
        Ok(SelectorPlan {
            matchers: selector.matchers.clone(),
            offset: self.query.offset(&selector.offset)?,
            at: self.query.at(selector.at),
            mode: selector.mode,
            is_statistics: self.statistics == Statistics::Enough,
            span,
            function: self.function,
        })
    }

    fn subquery(self, subquery: &Subquery, span: Span) -> Result<Built, EvalError> {
        let range = self.query.positive(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.query.positive(step)?,
            None => 0,
        };
        let inner = Self { statistics: Statistics::NotEnough, ..self }.expr(&subquery.expr)?;
        let inner = Built { is_worth_hoisting: true, ..inner }.hoisted();
        let at = self.query.at(subquery.at);
        let plan = SubqueryPlan {
            inner: vector(inner, subquery.expr.span)?,
            step: if step > 0 { step } else { self.options.default_subquery_step.max(1) },
            offset: self.query.offset(&subquery.offset)?,
            at,
        };
        let plan = RangePlan { input: RangeInput::Subquery(plan), range, span };
        Ok(Built { plan: Plan::Range(plan), is_invariant: at.is_some(), is_worth_hoisting: false })
    }

    fn unary(self, unary: &Unary, span: Span) -> Result<Built, EvalError> {
        let built = self.expr(&unary.expr)?;
        if !unary.is_negative {
            return Ok(built);
        }
        let plan = match built.plan {
            Plan::Scalar(ScalarPlan::Const(value)) => Plan::Scalar(ScalarPlan::Const(-value)),
            Plan::Scalar(plan) => Plan::Scalar(ScalarPlan::Negate(Box::new(plan))),
            Plan::Vector(plan) => Plan::Vector(VectorPlan::Negate(Box::new(plan))),
            _ => return Err(mistyped(span)),
        };
        Ok(Built { plan, ..built })
    }

    fn binary(self, binary: &Binary, span: Span) -> Result<Built, EvalError> {
        let is_trim = matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        let statistics = if is_trim { Statistics::NotEnough } else { self.statistics };
        let plain = Self { function: "", statistics, ..self };
        let left = plain.expr(&binary.left)?;
        let right = plain.expr(&binary.right)?;
        let is_invariant = left.is_invariant && right.is_invariant;
        let (left, right) = if is_invariant { (left.plan, right.plan) } else { (left.hoisted(), right.hoisted()) };
        let plan = match (left, right) {
            (Plan::Scalar(ScalarPlan::Const(left)), Plan::Scalar(ScalarPlan::Const(right))) => {
                return Ok(Built::constant(scalar_binary(binary.op, left, right)));
            }
            (Plan::Scalar(left), Plan::Scalar(right)) => {
                Plan::Scalar(ScalarPlan::Binary(binary.op, Box::new(left), Box::new(right)))
            }
            (Plan::Vector(left), Plan::Vector(right)) => {
                let matching = binary.matching.clone().unwrap_or_default();
                let (left, right) = (Box::new(left), Box::new(right));
                Plan::Vector(if binary.op.is_set() {
                    VectorPlan::Set { op: binary.op, left, right, matching }
                } else {
                    let (op, is_bool) = (binary.op, binary.is_bool);
                    VectorPlan::VectorVector(VectorVectorPlan { op, left, right, matching, is_bool, span })
                })
            }
            (Plan::Vector(vector), Plan::Scalar(scalar)) => self.vector_scalar(binary, vector, scalar, false, span),
            (Plan::Scalar(scalar), Plan::Vector(vector)) => self.vector_scalar(binary, vector, scalar, true, span),
            _ => return Err(mistyped(span)),
        };
        Ok(Built { plan, is_invariant, is_worth_hoisting: is_invariant })
    }

    fn vector_scalar(
        self,
        binary: &Binary,
        vector: VectorPlan,
        scalar: ScalarPlan,
        scalar_is_left: bool,
        span: Span,
    ) -> Plan {
        let (op, is_bool) = (binary.op, binary.is_bool);
        let vector = Box::new(vector);
        Plan::Vector(VectorPlan::VectorScalar(VectorScalarPlan { op, vector, scalar, scalar_is_left, is_bool, span }))
    }

    fn aggregate(self, aggregate: &Aggregate, span: Span) -> Result<Built, EvalError> {
        let inner = Self { function: aggregate.op.as_str(), ..self };
        let input_expr = aggregate.expr.unwrapped();
        let built = inner.expr(input_expr)?;
        let (is_invariant, is_worth_hoisting) = (built.is_invariant, built.is_worth_hoisting);
        let mut grouping = aggregate.grouping.clone();
        let mut param = None;
        let mut value_label = None;
        if let Some(expr) = &aggregate.param {
            let expr = expr.unwrapped();
            match (&expr.kind, aggregate.op) {
                (ExprKind::String(text), AggregateOp::CountValues) => {
                    let label = value_label_name(text, expr.span)?;
                    if !aggregate.is_without {
                        grouping.push(Arc::clone(&label));
                    }
                    value_label = Some(label);
                }
                _ => {
                    let plan = scalar(Self { function: "", ..self }.expr(expr)?.hoisted(), expr.span)?;
                    param = Some(ScalarArg { plan, span: expr.span });
                }
            }
        }
        grouping.sort_unstable();
        grouping.dedup();
        let plan = AggregatePlan {
            op: aggregate.op,
            input: vector(built.plan, input_expr.span)?,
            input_span: input_expr.span,
            span,
            param,
            value_label,
            grouping,
            is_without: aggregate.is_without,
        };
        Ok(Built { plan: Plan::Vector(VectorPlan::Aggregate(plan)), is_invariant, is_worth_hoisting })
    }
}

fn value_label_name(text: &StringLiteral, span: Span) -> Result<Arc<str>, EvalError> {
    text.as_str()
        .filter(|label| !label.is_empty())
        .map(Arc::from)
        .ok_or_else(|| EvalError::InvalidArgument { message: format!("invalid label name {text}"), span })
}
