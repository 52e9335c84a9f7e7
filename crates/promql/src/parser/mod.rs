//! Tokens to a checked tree.
//!
//! - [`parse`], [`parse_with`]: an expression; [`parse_selector`]: the matchers of `match[]`.
//! - `expression`: precedence climbing and postfix modifiers; `primary`: what an expression starts with;
//!   `duration`: expressions in the place of durations; `check`: types.
//!
//! Rule: a tree that leaves this module is well typed, and at most [`MAX_DEPTH`] deep.

mod check;
mod duration;
mod expression;
mod number;
mod primary;
#[cfg(test)]
mod tests;

use std::fmt;

use datamodel::Matcher;

use crate::ast::{Expr, ExprKind};
use crate::features::Features;
use crate::lexer::{Token, TokenKind, tokenize};
use crate::span::{Position, Span};

pub(crate) use number::{MAX_DURATION_SECONDS, parse_number};

/// How deep expressions may nest. The tree is walked by recursion; this keeps it within a thread's stack.
pub const MAX_DEPTH: usize = 200;

/// Longest expression in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where it went wrong.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    position: Position,
}

impl ParseError {
    pub(crate) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), position: span.position(text) }
    }

    /// Line and column, both from 1.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The error with the line of the text and a caret under the place, for terminals.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        format!("{self}\n{}", self.span.underline(text))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.position, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses an expression with the default features.
///
/// # Errors
///
/// The text is no well-typed PromQL, or nests deeper than [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, &Features::DEFAULT)
}

/// Parses an expression.
///
/// # Errors
///
/// As [`parse`]; what a switched-off feature would allow is refused by its name.
pub fn parse_with(text: &str, features: &Features) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, features)?;
    if parser.peek().kind == TokenKind::Eof {
        return Err(parser.error_at(Span::default(), "no expression found in input"));
    }
    let mut expr = parser.expression(0)?;
    if parser.peek().kind != TokenKind::Eof {
        return Err(parser.unexpected("", ""));
    }
    parser.check(&mut expr)?;
    Ok(expr)
}

/// Parses a vector selector alone, as in `match[]` parameters.
///
/// # Errors
///
/// The text is no vector selector without modifiers, or all its matchers accept the empty value.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut expr = parse_with(text, &Features::DEFAULT)?;
    match &mut expr.kind {
        ExprKind::Selector(selector)
            if selector.at.is_none() && selector.offset == crate::ast::DurationValue::Millis(0) =>
        {
            Ok(std::mem::take(&mut selector.matchers))
        }
        _ => Err(ParseError::new(text, expr.span, "expected a vector selector without modifiers")),
    }
}

pub(crate) struct Parser<'a> {
    text: &'a str,
    features: &'a Features,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, features: &'a Features) -> Result<Self, ParseError> {
        if text.len() > MAX_BYTES {
            return Err(ParseError::new(text, Span::default(), format!("expression is longer than {MAX_BYTES} bytes")));
        }
        Ok(Self { text, features, tokens: tokenize(text), at: 0, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    /// The token `ahead` places further; the last one for all places behind the end.
    fn peek_at(&self, ahead: usize) -> &Token {
        const END: &Token = &Token { kind: TokenKind::Eof, span: Span::new(0, 0) };
        self.tokens.get(self.at + ahead).or(self.tokens.last()).unwrap_or(END)
    }

    fn bump(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, kind: &TokenKind) -> Option<Span> {
        if self.peek().kind == *kind { Some(self.bump().span) } else { None }
    }

    fn expect(&mut self, kind: &TokenKind, context: &str, expected: &str) -> Result<Span, ParseError> {
        self.eat(kind).ok_or_else(|| self.unexpected(context, expected))
    }

    fn raw(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn error_at(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    /// The error for the next token, which has no place here.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        if let TokenKind::Error(reason) = &token.kind {
            return self.error_at(token.span, reason.clone());
        }
        let mut message = format!("unexpected {}", token.describe(self.text));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error_at(token.span, message)
    }

    /// Enters one level; every way of nesting goes through here.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error_at(self.peek().span, format!("expression nests deeper than {MAX_DEPTH} levels")));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }
}
