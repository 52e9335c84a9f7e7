//! What an expression starts with: literals, selectors, calls, aggregations, parentheses.
//!
//! Rule: a word of the language is still a metric name where nothing else can stand.

use std::sync::Arc;

use datamodel::labels::{METRIC_NAME, Quoted};
use datamodel::{MatchOp, Matcher};

use crate::ast::{Aggregate, AggregateOp, BinaryOp, Call, Expr, ExprKind, StringLiteral, VectorSelector};
use crate::functions;
use crate::lexer::{Keyword, TokenKind};
use crate::parser::{ParseError, Parser};
use crate::span::Span;

/// Labels and whether they stand behind `without`.
type Grouping = (Vec<Arc<str>>, bool);

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek().clone();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number_literal()?;
                Ok(Expr { kind: ExprKind::Number(number), span: token.span })
            }
            TokenKind::String(value) => {
                self.bump();
                Ok(Expr { kind: ExprKind::String(StringLiteral(value)), span: token.span })
            }
            TokenKind::LeftParen => self.paren(token.span),
            TokenKind::LeftBrace => self.selector(None),
            TokenKind::Aggregate(op) if self.starts_aggregate() => self.aggregate(op),
            TokenKind::Identifier if self.peek_at(1).kind == TokenKind::LeftParen => self.call(),
            TokenKind::Keyword(word) if word.is_preprocessor() && self.peek_at(1).kind == TokenKind::LeftParen => {
                self.call()
            }
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => {
                self.selector(Some(token.span))
            }
            TokenKind::Keyword(word) if word.can_name_metric() => self.selector(Some(token.span)),
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => self.selector(Some(token.span)),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn paren(&mut self, open: Span) -> Result<Expr, ParseError> {
        self.bump();
        let inner = self.expression(0)?;
        let close = self.expect(&TokenKind::RightParen, "", "")?;
        Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: open.to(close) })
    }

    fn starts_aggregate(&self) -> bool {
        matches!(self.peek_at(1).kind, TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.bump().span;
        let before = self.aggregate_modifier()?;
        if self.peek().kind != TokenKind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let (mut args, close) = self.arguments()?;
        let mut end = close;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => {
                let after = self.aggregate_modifier()?;
                if after.is_some() {
                    end = self.tokens.get(self.at.wrapping_sub(1)).map_or(close, |token| token.span);
                }
                after
            }
        };
        let (grouping, is_without) = grouping.unwrap_or_default();
        let span = start.to(end);
        if args.is_empty() {
            return Err(self.error_at(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.features.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(self.error_at(span, message));
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let count = args.len();
        let (Some(expr), true) = (args.pop(), count == wanted) else {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {count}");
            return Err(self.error_at(span, message));
        };
        let aggregate = Aggregate { op, expr, param: args.pop(), grouping, is_without };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    fn aggregate_modifier(&mut self) -> Result<Option<Grouping>, ParseError> {
        let is_without = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some((self.grouping_labels()?, is_without)))
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let name_span = self.bump().span;
        let name = self.raw(name_span);
        let Some(function) = functions::find(name) else {
            return Err(self.error_at(name_span, format!("unknown function with name {}", Quoted(name))));
        };
        if function.is_experimental && !self.features.experimental_functions {
            return Err(self.error_at(name_span, format!("function {} is not enabled", Quoted(name))));
        }
        let (args, close) = self.arguments()?;
        Ok(Expr { kind: ExprKind::Call(Call { function, args }), span: name_span.to(close) })
    }

    /// Arguments in parentheses, and the closing one.
    fn arguments(&mut self) -> Result<(Vec<Expr>, Span), ParseError> {
        self.expect(&TokenKind::LeftParen, "", "\"(\"")?;
        let mut args = Vec::new();
        if let Some(close) = self.eat(&TokenKind::RightParen) {
            return Ok((args, close));
        }
        loop {
            args.push(self.expression(0)?);
            let Some(comma) = self.eat(&TokenKind::Comma) else {
                let close = self.expect(&TokenKind::RightParen, "", "")?;
                return Ok((args, close));
            };
            if self.peek().kind == TokenKind::RightParen {
                return Err(self.error_at(comma, "trailing commas not allowed in function call args"));
            }
        }
    }

    fn selector(&mut self, name_span: Option<Span>) -> Result<Expr, ParseError> {
        let mut selector = VectorSelector::default();
        let start = self.peek().span;
        let mut span = start;
        if let Some(name_span) = name_span {
            self.bump();
            selector.name = Arc::from(self.raw(name_span));
        }
        if self.peek().kind == TokenKind::LeftBrace {
            span = start.to(self.matchers(&mut selector.matchers)?);
        }
        if !selector.name.is_empty() {
            selector.matchers.push(Matcher::equal(METRIC_NAME, Arc::clone(&selector.name)));
        }
        Ok(Expr { kind: ExprKind::Selector(selector), span })
    }

    /// Matchers in braces; returns the closing one.
    fn matchers(&mut self, into: &mut Vec<Matcher>) -> Result<Span, ParseError> {
        const CONTEXT: &str = "label matching";
        self.expect(&TokenKind::LeftBrace, CONTEXT, "\"{\"")?;
        loop {
            if let Some(close) = self.eat(&TokenKind::RightBrace) {
                return Ok(close);
            }
            into.push(self.matcher()?);
            if self.eat(&TokenKind::Comma).is_none() {
                return self.expect(&TokenKind::RightBrace, CONTEXT, "\",\" or \"}\"");
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        const CONTEXT: &str = "label matching";
        let token = self.peek().clone();
        let name: Arc<str> = match &token.kind {
            TokenKind::Identifier => Arc::from(self.raw(token.span)),
            TokenKind::String(bytes) => Arc::from(self.utf8(bytes, token.span)?),
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        self.bump();
        let op = match self.peek().kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotRegex => MatchOp::NotRegex,
            // A quoted text alone is the metric name.
            _ if matches!(token.kind, TokenKind::String(_)) => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.bump();
        let value = self.peek().clone();
        let TokenKind::String(bytes) = &value.kind else {
            return Err(self.unexpected(CONTEXT, "string"));
        };
        let text = self.utf8(bytes, value.span)?;
        self.bump();
        Matcher::new(op, name, text).map_err(|error| {
            let message = format!("error parsing regexp: {}", error.reason);
            self.error_at(token.span.to(value.span), message)
        })
    }

    fn utf8<'b>(&self, bytes: &'b [u8], span: Span) -> Result<&'b str, ParseError> {
        std::str::from_utf8(bytes).map_err(|_not_utf8| self.error_at(span, "matcher is not valid UTF-8"))
    }
}
