//! Types: does every operand fit its place?
//!
//! Rule: the first error in the order of upstream's checks is the one reported.

use datamodel::labels::{METRIC_NAME, Quoted};

use crate::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, RangeSelector, ValueType, VectorSelector,
};
use crate::functions::Variadic;
use crate::parser::{ParseError, Parser};
use crate::span::Span;

const OPERANDS: &str = "binary expression must contain only scalar and instant vector types";

impl Parser<'_> {
    /// Checks a tree and settles the matching of its binary operations.
    pub(super) fn check(&self, expr: &mut Expr) -> Result<(), ParseError> {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
            ExprKind::Selector(selector) => self.check_selector(selector, span),
            ExprKind::Range(RangeSelector { selector, selector_span, .. }) => {
                self.check_selector(selector, *selector_span)
            }
            ExprKind::Subquery(subquery) => {
                self.check(&mut subquery.expr)?;
                let found = subquery.expr.value_type();
                if found == ValueType::InstantVector {
                    return Ok(());
                }
                let message = format!("subquery is only allowed on instant vector, got {} instead", found.api_name());
                Err(self.error_at(span, message))
            }
            ExprKind::Paren(inner) => self.check(inner),
            ExprKind::Unary(unary) => {
                self.check(&mut unary.expr)?;
                let found = unary.expr.value_type();
                if matches!(found, ValueType::Scalar | ValueType::InstantVector) {
                    return Ok(());
                }
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    Quoted(found.as_str())
                );
                Err(self.error_at(span, message))
            }
            ExprKind::Aggregate(aggregate) => self.check_aggregate(aggregate),
            ExprKind::Binary(binary) => self.check_binary(binary, span),
            ExprKind::Call(call) => self.check_call(call, span),
        }
    }

    fn check_selector(&self, selector: &VectorSelector, span: Span) -> Result<(), ParseError> {
        if let Some((_, others)) = selector.matchers.split_last().filter(|_| !selector.name.is_empty()) {
            let Some(second) = others.iter().find(|matcher| matcher.name() == METRIC_NAME) else { return Ok(()) };
            let message =
                format!("metric name must not be set twice: {} or {}", Quoted(&selector.name), Quoted(second.value()));
            return Err(self.error_at(span, message));
        }
        if selector.may_be_empty || selector.matchers.iter().any(|matcher| !matcher.matches_absent()) {
            return Ok(());
        }
        Err(self.error_at(span, "vector selector must contain at least one non-empty matcher"))
    }

    fn expect_type(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
        self.check(expr)?;
        let found = expr.value_type();
        if found == wanted {
            return Ok(());
        }
        let message = format!("expected type {} in {context}, got {}", wanted.as_str(), found.as_str());
        Err(self.error_at(expr.span, message))
    }

    fn check_aggregate(&self, aggregate: &mut Aggregate) -> Result<(), ParseError> {
        self.expect_type(&mut aggregate.expr, ValueType::InstantVector, "aggregation expression")?;
        let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        match &mut aggregate.param {
            Some(param) => self.expect_type(param, wanted, "aggregation parameter"),
            None => Ok(()),
        }
    }

    fn check_binary(&self, binary: &mut Binary, span: Span) -> Result<(), ParseError> {
        self.check(&mut binary.left)?;
        self.check(&mut binary.right)?;
        let (left, right) = (binary.left.value_type(), binary.right.value_type());
        let op = binary.op;
        let op_span = self.operator_span(binary);
        if binary.is_bool && !op.is_comparison() {
            return Err(self.error_at(op_span, "bool modifier can only be used on comparison operators"));
        }
        let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
        if op.is_comparison() && !binary.is_bool && both_scalar {
            return Err(self.error_at(op_span, "comparisons between scalars must use BOOL modifier"));
        }
        let matching = binary.matching.get_or_insert_default();
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if matching.is_on
            && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
        {
            let message = format!("label {} must not occur in ON and GROUP clause at once", Quoted(label));
            return Err(self.error_at(op_span, message));
        }
        let is_operand = |found: ValueType| matches!(found, ValueType::Scalar | ValueType::InstantVector);
        if !is_operand(left) {
            return Err(self.error_at(binary.left.span, OPERANDS));
        }
        if !is_operand(right) {
            return Err(self.error_at(binary.right.span, OPERANDS));
        }
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        let has_scalar = left == ValueType::Scalar || right == ValueType::Scalar;
        let problem = if has_scalar && !matching.labels.is_empty() {
            Some("vector matching only allowed between instant vectors".to_owned())
        } else if has_scalar && has_fill {
            Some("filling in missing series only allowed between instant vectors".to_owned())
        } else if has_scalar && op.is_set() {
            Some(format!("set operator {} not allowed in binary scalar expression", Quoted(op.as_str())))
        } else if op.is_set() && matching.cardinality != Cardinality::ManyToMany {
            Some(format!("no grouping allowed for {} operation", Quoted(op.as_str())))
        } else if op.is_set() && has_fill {
            Some("filling in missing series not allowed for set operators".to_owned())
        } else {
            None
        };
        if has_scalar {
            binary.matching = None;
        }
        problem.map_or(Ok(()), |message| Err(self.error_at(span, message)))
    }

    /// The operator with its modifiers, without the spaces around them.
    fn operator_span(&self, binary: &Binary) -> Span {
        let between = Span::new(binary.left.span.end, binary.right.span.start);
        let raw = self.raw(between);
        let lead = raw.len() - raw.trim_start().len();
        Span::new(between.start + lead, between.start + raw.trim_end().len().max(lead))
    }

    fn check_call(&self, call: &mut Call, span: Span) -> Result<(), ParseError> {
        let function = call.function;
        let name = Quoted(function.name);
        let (wanted, count) = (function.args.len(), call.args.len());
        let problem = match function.variadic {
            Variadic::Fixed if wanted != count => {
                Some(format!("expected {wanted} argument(s) in call to {name}, got {count}"))
            }
            Variadic::UpTo(_) | Variadic::Any if count + 1 < wanted => {
                Some(format!("expected at least {} argument(s) in call to {name}, got {count}", wanted - 1))
            }
            Variadic::UpTo(more) if count > wanted - 1 + more => {
                Some(format!("expected at most {} argument(s) in call to {name}, got {count}", wanted - 1 + more))
            }
            _ => None,
        };
        if let Some(message) = problem {
            return Err(self.error_at(span, message));
        }
        if function.name == "info"
            && let Some(arg) = call.args.get_mut(1)
        {
            self.check_info_selector(arg, span)?;
        }
        for (index, arg) in call.args.iter_mut().enumerate() {
            let Some(&wanted) = function.args.get(index).or(function.args.last()) else { break };
            self.check(arg)?;
            let found = arg.value_type();
            if found != wanted {
                let message =
                    format!("expected type {} in call to function {name}, got {}", wanted.as_str(), found.as_str());
                return Err(self.error_at(arg.span, message));
            }
        }
        Ok(())
    }

    fn check_info_selector(&self, arg: &mut Expr, call_span: Span) -> Result<(), ParseError> {
        let found = arg.value_type();
        if found != ValueType::InstantVector {
            let message = format!("expected type instant vector in call to function \"info\", got {}", found.as_str());
            return Err(self.error_at(call_span, message));
        }
        match &mut arg.kind {
            ExprKind::Selector(selector) if selector.name.is_empty() => {
                selector.may_be_empty = true;
                Ok(())
            }
            ExprKind::Selector(_) => {
                Err(self.error_at(arg.span, "expected label selectors only, got vector selector instead"))
            }
            _ => Err(self.error_at(arg.span, "expected label selectors only")),
        }
    }
}
