//! Operators by precedence, modifiers behind an expression.
//!
//! Rule: `[…]`, `offset`, `@`, `anchored` and `smoothed` bind tighter than any operator.

use std::sync::Arc;

use datamodel::Timestamp;
use datamodel::labels::Quoted;

use crate::ast::{
    At, Binary, BinaryOp, Cardinality, DurationValue, Expr, ExprKind, Matching, RangeMode, RangeSelector, Subquery,
    UNARY_PRECEDENCE, Unary, VectorSelector,
};
use crate::lexer::{Keyword, TokenKind};
use crate::parser::{MAX_DEPTH, ParseError, Parser};
use crate::span::Span;

impl Parser<'_> {
    /// An expression whose operators bind more strongly than `min`.
    pub(super) fn expression(&mut self, min: u8) -> Result<Expr, ParseError> {
        self.nested(|parser| {
            let mut left = parser.operand()?;
            let mut height = 0;
            while let TokenKind::Operator(op) = parser.peek().kind
                && op.precedence() > min
            {
                height += 1;
                parser.check_height(height)?;
                parser.bump();
                let (is_bool, matching) = parser.binary_modifiers()?;
                // `^` is the only operator that groups from the right.
                let next_min = if op == BinaryOp::Pow { op.precedence() - 1 } else { op.precedence() };
                let right = parser.expression(next_min)?;
                let span = left.span.to(right.span);
                if !parser.features.fill_modifiers && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
                    return Err(parser.error_at(span, "binop fill modifiers are experimental and not enabled"));
                }
                let binary = Binary { op, left, right, is_bool, matching: Some(matching) };
                left = Expr { kind: ExprKind::Binary(Box::new(binary)), span };
            }
            Ok(left)
        })
    }

    /// Refuses chains of operators that make the tree too deep.
    pub(super) fn check_height(&self, height: usize) -> Result<(), ParseError> {
        if height + self.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(self.error_at(self.peek().span, format!("expression nests deeper than {MAX_DEPTH} levels")))
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek().clone();
        let is_negative = match token.kind {
            TokenKind::Operator(BinaryOp::Add) => false,
            TokenKind::Operator(BinaryOp::Sub) => true,
            _ => {
                let primary = self.primary()?;
                return self.postfix(primary);
            }
        };
        self.bump();
        let operand = self.expression(UNARY_PRECEDENCE)?;
        let span = token.span.to(operand.span);
        let kind = match operand.kind {
            ExprKind::Number(mut number) => {
                if is_negative {
                    number.value = -number.value;
                }
                ExprKind::Number(number)
            }
            kind => {
                let expr = Expr { kind, span: operand.span };
                ExprKind::Unary(Box::new(Unary { is_negative, expr }))
            }
        };
        Ok(Expr { kind, span })
    }

    fn binary_modifiers(&mut self) -> Result<(bool, Matching), ParseError> {
        let mut matching = Matching::default();
        let is_bool = self.eat(&TokenKind::Keyword(Keyword::Bool)).is_some();
        let on = self.eat(&TokenKind::Keyword(Keyword::On)).is_some();
        if on || self.eat(&TokenKind::Keyword(Keyword::Ignoring)).is_some() {
            matching.is_on = on;
            matching.labels = self.grouping_labels()?;
            let group = match self.peek().kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = group {
                self.bump();
                matching.cardinality = cardinality;
                if self.peek().kind == TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok((is_bool, matching))
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        if self.eat(&TokenKind::Keyword(Keyword::Fill)).is_some() {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        for _ in 0..2 {
            let side = match self.peek().kind {
                TokenKind::Keyword(Keyword::FillLeft) if matching.fill_left.is_none() => &mut matching.fill_left,
                TokenKind::Keyword(Keyword::FillRight) if matching.fill_right.is_none() => &mut matching.fill_right,
                _ => break,
            };
            self.at += 1;
            *side = Some(self.fill_value()?);
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.expect(&TokenKind::LeftParen, "fill modifier", "\"(\"")?;
        let is_negative = self.eat(&TokenKind::Operator(BinaryOp::Sub)).is_some();
        if !is_negative {
            self.eat(&TokenKind::Operator(BinaryOp::Add));
        }
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("fill modifier", "number"));
        }
        let value = self.number_literal()?.value;
        self.expect(&TokenKind::RightParen, "fill modifier", "\")\"")?;
        Ok(if is_negative { -value } else { value })
    }

    /// Labels in parentheses, as behind `by`, `on` and `group_left`.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<Arc<str>>, ParseError> {
        const CONTEXT: &str = "grouping opts";
        self.expect(&TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.eat(&TokenKind::RightParen).is_some() {
                return Ok(labels);
            }
            labels.push(self.grouping_label()?);
            if self.eat(&TokenKind::Comma).is_some() {
                continue;
            }
            self.expect(&TokenKind::RightParen, CONTEXT, "\",\" or \")\"")?;
            return Ok(labels);
        }
    }

    fn grouping_label(&mut self) -> Result<Arc<str>, ParseError> {
        let token = self.peek().clone();
        let invalid = |parser: &Self, name: &str| {
            Err(parser.error_at(token.span, format!("invalid label name for grouping: {}", Quoted(name))))
        };
        let label: Arc<str> = match &token.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Keyword(_) | TokenKind::Aggregate(_) => {
                Arc::from(self.raw(token.span))
            }
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                Arc::from(self.raw(token.span))
            }
            TokenKind::String(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Arc::from(text),
                Err(_not_utf8) => return invalid(self, &String::from_utf8_lossy(bytes)),
            },
            _ => return Err(self.unexpected("grouping opts", "label")),
        };
        if label.is_empty() {
            return invalid(self, "");
        }
        self.bump();
        Ok(label)
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => expr = self.range_or_subquery(expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                TokenKind::At => self.at_modifier(&mut expr)?,
                TokenKind::Keyword(Keyword::Anchored) => self.range_mode(&mut expr, RangeMode::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.range_mode(&mut expr, RangeMode::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    fn range_or_subquery(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        const EXPECTED: &str = "number, duration, step(), or range()";
        let open = self.bump().span;
        let range = self.positive_duration("subquery or range selector", EXPECTED)?;
        if self.eat(&TokenKind::Colon).is_some() {
            let step = if self.peek().kind == TokenKind::RightBracket {
                None
            } else {
                let expected = "number, duration, step(), range(), or \"]\"";
                Some(self.positive_duration("subquery selector", expected)?)
            };
            let close = self.expect(&TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            let span = expr.span.to(close);
            let subquery = Subquery { expr, range, step, offset: DurationValue::default(), at: None };
            return self.nested_once(Expr { kind: ExprKind::Subquery(Box::new(subquery)), span });
        }
        let close = self.expect(&TokenKind::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let bracket = open.to(close);
        let ExprKind::Selector(selector) = expr.kind else {
            return Err(self.error_at(bracket, "ranges only allowed for vector selectors"));
        };
        if selector.offset != DurationValue::default() {
            return Err(self.error_at(bracket, "no offset modifiers allowed before range"));
        }
        if selector.at.is_some() {
            return Err(self.error_at(bracket, "no @ modifiers allowed before range"));
        }
        let range = RangeSelector { selector, selector_span: expr.span, range };
        Ok(Expr { kind: ExprKind::Range(range), span: expr.span.to(close) })
    }

    /// Counts a subquery as a level, so that `a[1m:][1m:]…` cannot grow the tree without bound.
    fn nested_once(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        self.depth += 1;
        self.check_height(0)?;
        Ok(expr)
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.bump();
        let offset = self.offset_duration()?;
        let end = self.previous_end();
        let Some((place, _)) = offset_and_at(&mut expr.kind) else {
            let message =
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error_at(expr.span, message));
        };
        if *place != DurationValue::default() {
            return Err(self.error_at(expr.span, "offset may not be set multiple times"));
        }
        *place = offset;
        expr.span.end = end;
        Ok(())
    }

    fn at_modifier(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.bump();
        let at = self.at_value(expr.span)?;
        let end = self.previous_end();
        let Some((_, place)) = offset_and_at(&mut expr.kind) else {
            let message =
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error_at(expr.span, message));
        };
        if place.is_some() {
            return Err(self.error_at(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *place = Some(at);
        expr.span.end = end;
        Ok(())
    }

    fn at_value(&mut self, span: Span) -> Result<At, ParseError> {
        if let TokenKind::Keyword(word @ (Keyword::Start | Keyword::End)) = self.peek().kind {
            self.bump();
            self.expect(&TokenKind::LeftParen, "@", "timestamp")?;
            self.expect(&TokenKind::RightParen, "@", "timestamp")?;
            return Ok(if word == Keyword::Start { At::Start } else { At::End });
        }
        let is_negative = self.eat(&TokenKind::Operator(BinaryOp::Sub)).is_some();
        if !is_negative {
            self.eat(&TokenKind::Operator(BinaryOp::Add));
        }
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let value = self.number_literal()?.value;
        let seconds = if is_negative { -value } else { value };
        // The bound that upstream checks: whole seconds of an i64.
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            return Err(self.error_at(span, format!("timestamp out of bounds for @ modifier: {seconds:.6}")));
        }
        // Saturates at the ends of time.
        Ok(At::Time(Timestamp::from_unix_ms((seconds * 1000.0).round() as i64)))
    }

    fn range_mode(&mut self, expr: &mut Expr, mode: RangeMode) -> Result<(), ParseError> {
        let word = if mode == RangeMode::Anchored { "anchored" } else { "smoothed" };
        if !self.features.extended_range_selectors {
            return Err(self.error_at(expr.span, format!("{word} modifier is experimental and not enabled")));
        }
        self.bump();
        let selector: &mut VectorSelector = match &mut expr.kind {
            ExprKind::Selector(selector) => selector,
            ExprKind::Range(range) => &mut range.selector,
            ExprKind::Subquery(_) => {
                return Err(self.error_at(expr.span, format!("{word} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error_at(expr.span, format!("{word} modifier not implemented"))),
        };
        if selector.mode != RangeMode::Plain && selector.mode != mode {
            return Err(self.error_at(expr.span, "anchored and smoothed modifiers cannot be used together"));
        }
        selector.mode = mode;
        Ok(())
    }

    /// Where the token before the next one ends.
    fn previous_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.span.end)
    }
}

fn offset_and_at(kind: &mut ExprKind) -> Option<(&mut DurationValue, &mut Option<At>)> {
    match kind {
        ExprKind::Selector(selector) => Some((&mut selector.offset, &mut selector.at)),
        ExprKind::Range(range) => Some((&mut range.selector.offset, &mut range.selector.at)),
        ExprKind::Subquery(subquery) => Some((&mut subquery.offset, &mut subquery.at)),
        _ => None,
    }
}
