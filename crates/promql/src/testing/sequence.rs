//! Series descriptions: a metric and a row of values.
//!
//! `1 2 _ 3` values and gaps; `1+2x3` four values from 1 in steps of 2; `stale`; `{{…}}` native histograms.
//!
//! Source: Prometheus' documentation of unit tests for rules, section "series".
//!
//! Rule: a row never grows beyond [`MAX_VALUES`].

use std::sync::Arc;

use datamodel::histogram::{CounterResetHint, Histogram, Span};
use datamodel::{Labels, LabelsBuilder, METRIC_NAME, STALE_NAN};

use crate::lexer::{TokenKind, tokenize};
use crate::parser::parse_number;

/// Most values of one row.
const MAX_VALUES: usize = 1_000_000;

/// One place of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceValue {
    /// `_`
    Gap,
    /// A number or `stale`.
    Float(f64),
    /// `{{…}}`, and whether it names its counter reset hint.
    Histogram(Arc<Histogram>, bool),
}

/// Reads `metric{label="value"} 1 2 3`.
///
/// # Errors
///
/// The text breaks the grammar; the error says where.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<SequenceValue>), String> {
    let (labels, rest) = parse_metric(text)?;
    Ok((labels, parse_values(rest)?))
}

/// Reads the metric in front; returns what follows it.
pub(super) fn parse_metric(text: &str) -> Result<(Labels, &str), String> {
    let text = text.trim_start();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.starts_with(|c: char| c.is_ascii_digit()) || (name.is_empty() && !rest.starts_with('{')) {
        return Err(format!("expected a metric: {text}"));
    }
    let mut builder = LabelsBuilder::default();
    let mut rest = rest;
    if rest.starts_with('{') {
        let close = closing_brace(rest).ok_or_else(|| format!("unclosed brace: {text}"))?;
        let (braces, after) = rest.split_at(close + 1);
        parse_labels(braces, &mut builder)?;
        rest = after;
    }
    if !name.is_empty() {
        builder.set(METRIC_NAME, name);
    }
    Ok((builder.build(), rest))
}

/// Where the first brace closes; quotes are skipped.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (Some('"' | '\''), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// `{a="b", "c"="d", "metric"}`
fn parse_labels(braces: &str, builder: &mut LabelsBuilder) -> Result<(), String> {
    let tokens = tokenize(braces);
    let wrong = || format!("bad labels: {braces}");
    let text_of = |kind: &TokenKind| match kind {
        TokenKind::String(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    let mut rest = tokens.iter().skip(1).peekable();
    loop {
        let token = rest.next().ok_or_else(wrong)?;
        let name = match &token.kind {
            TokenKind::RightBrace => return Ok(()),
            TokenKind::Identifier => braces.get(token.span.start..token.span.end).map(str::to_owned),
            kind => text_of(kind),
        };
        let name = name.ok_or_else(wrong)?;
        if rest.next_if(|token| token.kind == TokenKind::Assign).is_some() {
            let value = rest.next().and_then(|token| text_of(&token.kind)).ok_or_else(wrong)?;
            builder.set(&name, &value);
        } else if matches!(token.kind, TokenKind::String(_)) {
            builder.set(METRIC_NAME, &name);
        } else {
            return Err(wrong());
        }
        match rest.next().map(|token| &token.kind) {
            Some(TokenKind::Comma) => {}
            Some(TokenKind::RightBrace) => return Ok(()),
            _ => return Err(wrong()),
        }
    }
}

/// Splits at spaces outside of `{{…}}`.
fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = None;
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth <= 0 {
            items.extend(start.take().and_then(|start| text.get(start..at)));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    items.extend(start.and_then(|start| text.get(start..)));
    items
}

fn parse_values(text: &str) -> Result<Vec<SequenceValue>, String> {
    let mut values = Vec::new();
    for item in items(text) {
        parse_item(item, &mut values).ok_or_else(|| format!("bad value: {item}"))??;
        if values.len() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
    }
    Ok(values)
}

/// The repetitions behind `x`.
fn times(text: &str) -> Option<usize> {
    text.parse().ok().filter(|times| *times < MAX_VALUES)
}

/// `None` where the grammar is broken.
fn parse_item(item: &str, into: &mut Vec<SequenceValue>) -> Option<Result<(), String>> {
    if item.starts_with("{{") {
        return parse_histogram_item(item, into);
    }
    if let Some(rest) = item.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { times(rest.strip_prefix('x')?)? };
        into.extend(std::iter::repeat_n(SequenceValue::Gap, count));
        return Some(Ok(()));
    }
    if let Some(rest) = item.strip_prefix("stale") {
        let count = if rest.is_empty() { 1 } else { times(rest.strip_prefix('x')?)? + 1 };
        into.extend(std::iter::repeat_n(SequenceValue::Float(STALE_NAN), count));
        return Some(Ok(()));
    }
    let (first, rest) = number_prefix(item)?;
    if rest.is_empty() {
        into.push(SequenceValue::Float(first));
        return Some(Ok(()));
    }
    if let Some(count) = rest.strip_prefix('x') {
        into.extend(std::iter::repeat_n(SequenceValue::Float(first), times(count)? + 1));
        return Some(Ok(()));
    }
    let (step, rest) = number_prefix(rest)?;
    let count = times(rest.strip_prefix('x')?)?;
    let mut value = first;
    for _ in 0..=count {
        into.push(SequenceValue::Float(value));
        value += step;
    }
    Some(Ok(()))
}

/// A number with an optional sign, and what follows it.
fn number_prefix(text: &str) -> Option<(f64, &str)> {
    let (sign, body) = match text.as_bytes().first()? {
        b'+' => (1.0, text.get(1..)?),
        b'-' => (-1.0, text.get(1..)?),
        _ => (1.0, text),
    };
    for (word, value) in [("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if body.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(word)) {
            return Some((sign * value, body.get(3..)?));
        }
    }
    let mut end = 0;
    let mut before = ' ';
    for c in body.chars() {
        let is_exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
        if !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || is_exponent_sign) {
            break;
        }
        before = c;
        end += 1;
    }
    let (digits, rest) = body.split_at(end);
    Some((sign * parse_number(digits)?, rest))
}

fn parse_histogram_item(item: &str, into: &mut Vec<SequenceValue>) -> Option<Result<(), String>> {
    let (first, rest) = histogram_prefix(item)?;
    let (first, first_hint) = match first {
        Ok(first) => first,
        Err(message) => return Some(Err(message)),
    };
    if rest.is_empty() {
        into.push(SequenceValue::Histogram(Arc::new(first), first_hint));
        return Some(Ok(()));
    }
    if let Some(count) = rest.strip_prefix('x') {
        let value = SequenceValue::Histogram(Arc::new(first), first_hint);
        into.extend(std::iter::repeat_n(value, times(count)? + 1));
        return Some(Ok(()));
    }
    let is_sum = rest.starts_with('+');
    let (step, rest) = histogram_prefix(rest.get(1..)?)?;
    let (step, has_hint) = match step {
        Ok(step) => step,
        Err(message) => return Some(Err(message)),
    };
    let count = times(rest.strip_prefix('x')?)?;
    let mut value = first;
    into.push(SequenceValue::Histogram(Arc::new(value.clone()), has_hint));
    for _ in 0..count {
        let result = if is_sum { value.plus(&step) } else { value.minus(&step) };
        match result {
            Ok((next, _)) => value = next,
            Err(error) => return Some(Err(error.to_string())),
        }
        into.push(SequenceValue::Histogram(Arc::new(value.clone()), has_hint));
    }
    Some(Ok(()))
}

type Described = Result<(Histogram, bool), String>;

/// A histogram in double braces, and what follows it.
fn histogram_prefix(text: &str) -> Option<(Described, &str)> {
    let end = text.find("}}")?;
    let inner = text.get(2..end).filter(|_| text.starts_with("{{"))?;
    Some((describe(inner), text.get(end + 2..)?))
}

fn describe(text: &str) -> Described {
    let mut histogram = Histogram::default();
    let mut has_hint = false;
    let (mut offset, mut negative_offset) = (0_i32, 0_i32);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let wrong = || format!("bad histogram: {text}");
        let (key, after) = rest.split_once(':').ok_or_else(wrong)?;
        let end = if after.starts_with('[') {
            after.find(']').map(|at| at + 1).ok_or_else(wrong)?
        } else {
            after.find(char::is_whitespace).unwrap_or(after.len())
        };
        let (value, after) = after.split_at(end);
        let number =
            || number_prefix(value).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number).ok_or_else(wrong);
        let whole = || value.parse::<i32>().map_err(|_not_whole| wrong());
        let list = || {
            let inner = value.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).ok_or_else(wrong)?;
            let numbers = inner.split_whitespace().map(|item| {
                number_prefix(item).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number).ok_or_else(wrong)
            });
            numbers.collect::<Result<Vec<f64>, String>>()
        };
        match key.trim() {
            "schema" => histogram.schema = whole()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_values = Arc::from(list()?),
            "buckets" => histogram.positive_buckets = list()?,
            "n_buckets" => histogram.negative_buckets = list()?,
            "offset" => offset = whole()?,
            "n_offset" => negative_offset = whole()?,
            "counter_reset_hint" => {
                has_hint = true;
                histogram.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::CounterReset,
                    "not_reset" => CounterResetHint::NotCounterReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err(wrong()),
                };
            }
            _ => return Err(wrong()),
        }
        rest = after.trim_start();
    }
    let spans = |offset: i32, buckets: &[f64]| match u32::try_from(buckets.len()) {
        Ok(length) if length > 0 => vec![Span { offset, length }],
        _ => Vec::new(),
    };
    histogram.positive_spans = spans(offset, &histogram.positive_buckets);
    histogram.negative_spans = spans(negative_offset, &histogram.negative_buckets);
    Ok((histogram, has_hint))
}
