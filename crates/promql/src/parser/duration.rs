//! Expressions in the place of durations: `[5m * 2]`, `offset -step()`.
//!
//! Rule: a bare number becomes milliseconds at once; all else waits for the plan.

use crate::ast::{BinaryOp, DurationExpr, DurationKind, DurationValue, NumberLiteral, UNARY_PRECEDENCE};
use crate::lexer::{Keyword, TokenKind};
use crate::parser::number::{MAX_DURATION_SECONDS, parse_duration_seconds, parse_number, seconds_to_millis};
use crate::parser::{ParseError, Parser};
use crate::span::Span;

impl Parser<'_> {
    /// A range or step: must be positive.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Result<DurationValue, ParseError> {
        let expr = self.duration_expr(0, context, expected)?;
        if let DurationKind::Number(number) = expr.kind
            && number.value <= 0.0
        {
            return Err(self.error_at(expr.span, "duration must be greater than 0"));
        }
        Ok(resolve_number(expr))
    }

    /// What follows `offset`. Without parentheses it is a single term, so that `a offset 5m + b` adds.
    pub(super) fn offset_duration(&mut self) -> Result<DurationValue, ParseError> {
        const EXPECTED: &str = "number, duration, step(), or range()";
        let token = self.peek().clone();
        let sign = match token.kind {
            TokenKind::Operator(BinaryOp::Add) => Some(false),
            TokenKind::Operator(BinaryOp::Sub) => Some(true),
            TokenKind::LeftParen => return Ok(resolve_number(self.duration_expr(0, "offset", EXPECTED)?)),
            _ => None,
        };
        let Some(is_negative) = sign else {
            return Ok(resolve_number(self.duration_term("offset", EXPECTED)?));
        };
        self.bump();
        let term = self.duration_term("offset", EXPECTED)?;
        Ok(resolve_number(signed(term, is_negative, token.span)))
    }

    fn duration_expr(&mut self, min: u8, context: &str, expected: &str) -> Result<DurationExpr, ParseError> {
        self.nested(|parser| {
            let mut left = parser.duration_operand(context, expected)?;
            let mut height = 0;
            while let TokenKind::Operator(op) = parser.peek().kind
                && matches!(
                    op,
                    BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
                )
                && op.precedence() > min
            {
                height += 1;
                parser.check_height(height)?;
                let op_span = parser.bump().span;
                parser.require_duration_expressions(left.span)?;
                let next_min = if op == BinaryOp::Pow { op.precedence() - 1 } else { op.precedence() };
                let right = parser.duration_expr(next_min, context, expected)?;
                let is_zero = matches!(right.kind, DurationKind::Number(number) if number.value == 0.0);
                if is_zero && op == BinaryOp::Div {
                    return Err(parser.error_at(op_span, "division by zero"));
                }
                if is_zero && op == BinaryOp::Mod {
                    return Err(parser.error_at(op_span, "modulo by zero"));
                }
                let span = left.span.to(right.span);
                let kind = DurationKind::Binary(op, Box::new(left), Box::new(right));
                left = DurationExpr { kind, span, is_wrapped: false };
            }
            Ok(left)
        })
    }

    fn duration_operand(&mut self, context: &str, expected: &str) -> Result<DurationExpr, ParseError> {
        let token = self.peek().clone();
        let is_negative = match token.kind {
            TokenKind::Operator(BinaryOp::Add) => false,
            TokenKind::Operator(BinaryOp::Sub) => true,
            _ => return self.duration_term(context, expected),
        };
        self.bump();
        let operand = self.duration_expr(UNARY_PRECEDENCE, context, expected)?;
        Ok(signed(operand, is_negative, token.span))
    }

    fn duration_term(&mut self, context: &str, expected: &str) -> Result<DurationExpr, ParseError> {
        let token = self.peek().clone();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal()?;
                if number.value.abs() > MAX_DURATION_SECONDS {
                    return Err(self.error_at(token.span, "duration out of range"));
                }
                Ok(DurationExpr { kind: DurationKind::Number(number), span: token.span, is_wrapped: false })
            }
            TokenKind::LeftParen => self.duration_paren(token.span, context, expected),
            TokenKind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                self.bump();
                self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
                let end = self.expect(&TokenKind::RightParen, context, "\")\"")?;
                let span = token.span.to(end);
                self.require_duration_expressions(span)?;
                let kind = if word == Keyword::Step { DurationKind::Step } else { DurationKind::Range };
                Ok(DurationExpr { kind, span, is_wrapped: false })
            }
            TokenKind::Keyword(word @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.bump();
                self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
                let left = Box::new(self.duration_expr(0, context, expected)?);
                self.expect(&TokenKind::Comma, context, "\",\"")?;
                let right = Box::new(self.duration_expr(0, context, expected)?);
                let end = self.expect(&TokenKind::RightParen, context, "\")\"")?;
                let span = token.span.to(end);
                self.require_duration_expressions(span)?;
                let kind = if word == Keyword::MinOf {
                    DurationKind::MinOf(left, right)
                } else {
                    DurationKind::MaxOf(left, right)
                };
                Ok(DurationExpr { kind, span, is_wrapped: false })
            }
            _ => Err(self.unexpected(context, expected)),
        }
    }

    fn duration_paren(&mut self, start: Span, context: &str, expected: &str) -> Result<DurationExpr, ParseError> {
        self.bump();
        let mut inner = self.duration_expr(0, context, expected)?;
        let end = self.expect(&TokenKind::RightParen, context, "\")\"")?;
        self.require_duration_expressions(inner.span)?;
        if let DurationKind::Number(_) = inner.kind {
            let kind = DurationKind::Positive(Box::new(inner));
            return Ok(DurationExpr { kind, span: start.to(end), is_wrapped: true });
        }
        inner.is_wrapped = true;
        Ok(inner)
    }

    fn require_duration_expressions(&self, span: Span) -> Result<(), ParseError> {
        if self.features.duration_expressions {
            return Ok(());
        }
        Err(self.error_at(span, "experimental duration expression is not enabled"))
    }

    /// A number or duration token.
    pub(super) fn number_literal(&mut self) -> Result<NumberLiteral, ParseError> {
        let token = self.bump();
        let raw = self.raw(token.span);
        if token.kind == TokenKind::Duration {
            let value = parse_duration_seconds(raw).map_err(|message| self.error_at(token.span, message))?;
            return Ok(NumberLiteral { value, is_duration: true });
        }
        let value = parse_number(raw)
            .ok_or_else(|| self.error_at(token.span, format!("error parsing number: invalid syntax: {raw}")))?;
        Ok(NumberLiteral { value, is_duration: false })
    }
}

/// Applies a sign; a bare number takes it into its value.
fn signed(expr: DurationExpr, is_negative: bool, sign: Span) -> DurationExpr {
    let span = sign.to(expr.span);
    match expr.kind {
        DurationKind::Number(mut number) => {
            if is_negative {
                number.value = -number.value;
            }
            DurationExpr { kind: DurationKind::Number(number), span, is_wrapped: false }
        }
        _ if is_negative => DurationExpr { kind: DurationKind::Negative(Box::new(expr)), span, is_wrapped: false },
        _ => expr,
    }
}

fn resolve_number(expr: DurationExpr) -> DurationValue {
    match expr.kind {
        DurationKind::Number(number) => DurationValue::Millis(seconds_to_millis(number.value)),
        _ => DurationValue::Expr(expr),
    }
}
