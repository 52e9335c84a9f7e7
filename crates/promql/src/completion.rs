//! What may stand at a place in an expression that is being typed.
//!
//! - [`completion_at`]: from a text and a place to a [`Completion`]: which part is being typed, and what it is.
//!
//! Rule: the same tokens as the parser's; texts that do not parse yet are the usual case.

use crate::ast::AggregateOp;
use crate::lexer::{Keyword, Token, TokenKind, tokenize};
use crate::span::Span;

/// What is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An expression begins: a metric, a function, an aggregation.
    Expression,
    /// Behind an expression: an operator or a modifier.
    Operator,
    /// A label name inside braces; with the metric before them, if one is there.
    LabelName(Option<String>),
    /// A label name behind `by`, `without`, `on` and the like; with the metrics of the expression.
    Grouping(Vec<String>),
    /// A label value; with the metric and the label.
    LabelValue(Option<String>, String),
    /// A duration inside brackets or behind `offset`.
    Duration,
    /// Nothing that can be known: a number, a text.
    Nothing,
}

/// The part of a text that a completion replaces, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is being typed.
    pub wanted: Wanted,
    /// Where it stands: from its first byte to the place that was asked about.
    pub span: Span,
    /// What of it is there.
    pub prefix: String,
}

/// What may stand at the byte `at` of the text; a place inside of a character counts as before it.
#[must_use]
pub fn completion_at(text: &str, at: usize) -> Completion {
    let at = text.floor_char_boundary(at);
    let before = text.get(..at).unwrap_or_default();
    let tokens = tokenize(before);
    let known: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token.kind, TokenKind::Eof | TokenKind::Error(_))).collect();
    let raw = |token: &Token| before.get(token.span.start..token.span.end).unwrap_or_default();
    if let Some(open) = open_quote(before) {
        let start = open + 1;
        let wanted = value_place(&known, before, open).unwrap_or(Wanted::Nothing);
        return completion(wanted, before, start, at);
    }
    // A word that touches the place is what is being typed.
    let word = known.last().filter(|token| token.span.end == at && is_word(&token.kind, raw(token)));
    let (done, start) = match word {
        Some(token) => (known.get(..known.len() - 1).unwrap_or_default(), token.span.start),
        None => (known.as_slice(), at),
    };
    let head = before.get(..start).unwrap_or_default();
    completion(place(done, head), before, start, at)
}

fn completion(wanted: Wanted, before: &str, start: usize, at: usize) -> Completion {
    let prefix = before.get(start..at).unwrap_or_default().to_owned();
    Completion { wanted, span: Span::new(start, at), prefix }
}

fn is_word(kind: &TokenKind, raw: &str) -> bool {
    raw.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == ':')
        && matches!(
            kind,
            TokenKind::Identifier
                | TokenKind::MetricIdentifier
                | TokenKind::Keyword(_)
                | TokenKind::Aggregate(_)
                | TokenKind::Operator(_)
                | TokenKind::Number
        )
        || matches!(kind, TokenKind::Number | TokenKind::Duration)
}

/// The byte where a text begins that does not end before the end.
fn open_quote(text: &str) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    let mut escaped = false;
    let mut comment = false;
    for (at, c) in text.char_indices() {
        match open {
            Some((_, quote)) => {
                if escaped {
                    escaped = false;
                } else if c == '\\' && quote != '`' {
                    escaped = true;
                } else if c == quote {
                    open = None;
                }
            }
            None if comment => comment = c != '\n',
            None => match c {
                '"' | '\'' | '`' => open = Some((at, c)),
                '#' => comment = true,
                _ => {}
            },
        }
    }
    open.map(|(at, _)| at)
}

/// The label whose value begins at the open quote, if one does.
fn value_place(tokens: &[&Token], before: &str, open: usize) -> Option<Wanted> {
    let known: Vec<&Token> = tokens.iter().copied().filter(|token| token.span.end <= open).collect();
    let text = |token: &Token| before.get(token.span.start..token.span.end).unwrap_or_default();
    let (operator, rest) = known.split_last()?;
    let (label, rest) = rest.split_last()?;
    let is_match = matches!(text(operator), "=" | "!=" | "=~" | "!~");
    let name = text(label).trim_matches('"').to_owned();
    is_match.then(|| Wanted::LabelValue(metric_of_braces(rest, before), name))
}

/// The metric in front of the innermost open brace.
fn metric_of_braces(tokens: &[&Token], before: &str) -> Option<String> {
    let brace = tokens.iter().rposition(|token| token.kind == TokenKind::LeftBrace)?;
    let token = tokens.get(brace.checked_sub(1)?)?;
    let is_name = matches!(token.kind, TokenKind::Identifier | TokenKind::MetricIdentifier);
    is_name.then(|| before.get(token.span.start..token.span.end).unwrap_or_default().to_owned())
}

/// What may stand behind these tokens.
fn place(tokens: &[&Token], before: &str) -> Wanted {
    let Some(last) = tokens.last() else { return Wanted::Expression };
    match innermost(tokens) {
        Some((TokenKind::LeftBrace, _)) => match last.kind {
            TokenKind::LeftBrace | TokenKind::Comma => Wanted::LabelName(metric_of_braces(tokens, before)),
            _ => Wanted::Nothing,
        },
        Some((TokenKind::LeftBracket, _)) => Wanted::Duration,
        Some((_, open)) if groups(tokens, open) => match last.kind {
            TokenKind::LeftParen | TokenKind::Comma => Wanted::Grouping(metrics(before)),
            _ => Wanted::Nothing,
        },
        _ => match &last.kind {
            TokenKind::Keyword(Keyword::Offset) => Wanted::Duration,
            TokenKind::Comma | TokenKind::LeftParen | TokenKind::Operator(_) | TokenKind::Keyword(_) => {
                Wanted::Expression
            }
            TokenKind::Aggregate(_)
            | TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::RightParen
            | TokenKind::RightBrace
            | TokenKind::RightBracket
            | TokenKind::Number
            | TokenKind::Duration => Wanted::Operator,
            _ => Wanted::Nothing,
        },
    }
}

/// The innermost bracket that is open, with its position.
fn innermost<'a>(tokens: &[&'a Token]) -> Option<(&'a TokenKind, usize)> {
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::LeftParen | TokenKind::LeftBrace | TokenKind::LeftBracket => open.push((&token.kind, index)),
            TokenKind::RightParen | TokenKind::RightBrace | TokenKind::RightBracket => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// Whether the parenthesis lists labels.
fn groups(tokens: &[&Token], open: usize) -> bool {
    let before = open.checked_sub(1).and_then(|index| tokens.get(index));
    before.is_some_and(|token| {
        matches!(
            token.kind,
            TokenKind::Keyword(
                Keyword::By
                    | Keyword::Without
                    | Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
            )
        )
    })
}

/// Words of the text that may name metrics.
fn metrics(text: &str) -> Vec<String> {
    let tokens = tokenize(text);
    let named = |pair: &[Token]| {
        let [token, next] = pair else { return None };
        let is_name = matches!(token.kind, TokenKind::Identifier | TokenKind::MetricIdentifier);
        let is_called = next.kind == TokenKind::LeftParen;
        (is_name && !is_called).then(|| text.get(token.span.start..token.span.end).unwrap_or_default().to_owned())
    };
    tokens.windows(2).filter_map(named).collect()
}

/// The words of operators and modifiers, for completion.
pub const OPERATOR_WORDS: [&str; 13] = [
    "and",
    "atan2",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "or",
    "unless",
    "without",
    "@",
];

/// The names of the aggregations.
pub fn aggregations() -> impl Iterator<Item = &'static str> {
    AggregateOp::ALL.into_iter().map(AggregateOp::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|` marks the place.
    #[track_caller]
    fn check(marked: &str, prefix: &str, wanted: &Wanted) {
        let at = marked.find('|').unwrap();
        let text = marked.replacen('|', "", 1);
        let found = completion_at(&text, at);
        assert_eq!((&found.wanted, found.prefix.as_str()), (wanted, prefix), "{marked}");
        assert_eq!(text.get(found.span.start..found.span.end).unwrap(), prefix, "{marked}");
    }

    #[test]
    fn what_is_being_typed_is_known_from_what_stands_before_it() {
        let metric = || Some("up".to_owned());
        check("|", "", &Wanted::Expression);
        check("ra|", "ra", &Wanted::Expression);
        check("sum|", "sum", &Wanted::Expression);
        check("rate(asr_|", "asr_", &Wanted::Expression);
        check("up + |", "", &Wanted::Expression);
        check("up |", "", &Wanted::Operator);
        check("sum(up) b|", "b", &Wanted::Operator);
        check("up{|", "", &Wanted::LabelName(metric()));
        check("up{job=\"a\",in|", "in", &Wanted::LabelName(metric()));
        check("{jo|", "jo", &Wanted::LabelName(None));
        check("up{job|=\"a\"}", "job", &Wanted::LabelName(metric()));
        check("up{job=\"as|", "as", &Wanted::LabelValue(metric(), "job".to_owned()));
        check("up{a=\"b\",job=~'x|", "x", &Wanted::LabelValue(metric(), "job".to_owned()));
        check("up{job=|", "", &Wanted::Nothing);
        check("sum by (|", "", &Wanted::Grouping(Vec::new()));
        check("up / on(po|", "po", &Wanted::Grouping(vec!["up".to_owned()]));
        check("rate(up[|", "", &Wanted::Duration);
        check("rate(up[5|", "5", &Wanted::Duration);
        check("up offset |", "", &Wanted::Duration);
        check("label_replace(up, \"x|", "x", &Wanted::Nothing);
        check("up # it's\n + ra|", "ra", &Wanted::Expression);
    }

    #[test]
    fn no_place_in_any_text_is_too_much() {
        let text = "sum by (a) (rate(x{é=\"ü\\\"\"}[5m:1m] offset -1h)) + \"\\x\" {{[[((";
        for at in 0..=text.len() + 1 {
            let found = completion_at(text, at);
            assert!(found.span.end <= text.len(), "{at}");
        }
    }
}
