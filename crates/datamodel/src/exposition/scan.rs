//! The text of a series: name and labels.
//!
//! - [`series`] finds where it ends and checks it, without storing anything: once for each sample line.
//! - [`pairs`] reads a checked text again and hands out name and value: only when a cache misses.
//!
//! Rule: [`pairs`] is only given what [`series`] or [`exemplar`] has accepted.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{Format, MAX_LABELS, Reason};
use crate::float::{parse_float, write_g};
use crate::labels::METRIC_NAME;
use crate::metadata::MetricType;

/// An error at an offset of the scanned bytes.
pub(super) type At<T> = Result<T, (usize, Reason)>;

pub(super) const fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':'
}

pub(super) const fn is_name_byte(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit()
}

/// Bytes of a metric name without quotes.
pub(super) fn name_len(bytes: &[u8]) -> usize {
    if bytes.first().copied().is_some_and(is_name_start) {
        bytes.iter().take_while(|byte| is_name_byte(**byte)).count()
    } else {
        0
    }
}

/// Bytes of a label name without quotes.
fn label_len(bytes: &[u8]) -> usize {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if bytes.first().copied().is_some_and(is_start) {
        bytes.iter().take_while(|byte| is_start(**byte) || byte.is_ascii_digit()).count()
    } else {
        0
    }
}

pub(super) fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// Bytes of blanks and tabs from `at` on.
pub(super) fn blanks(bytes: &[u8], at: usize) -> usize {
    rest(bytes, at).iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Where the quoted text that begins at `at` (with its quote) ends, behind the closing quote.
pub(super) fn quoted(bytes: &[u8], at: usize, format: Format) -> At<usize> {
    let mut end = at + 1;
    loop {
        let Some(step) = memchr2(b'"', b'\\', rest(bytes, end)) else {
            return Err((at, Reason::OpenQuote));
        };
        end += step;
        if bytes.get(end) == Some(&b'"') {
            break;
        }
        // A backslash takes the next byte with it, whatever it is.
        end += 2;
    }
    let text = bytes.get(at + 1..end).unwrap_or_default();
    if format == Format::OpenMetrics100 && memchr(b'\n', text).is_some() {
        return Err((at, Reason::OpenQuote));
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(end + 1),
        Err(error) => Err((at + 1 + error.valid_up_to(), Reason::InvalidUtf8)),
    }
}

/// Where name and labels that begin at `at` end. Text format 0.0.4 allows blanks between all parts.
pub(super) fn series(bytes: &[u8], at: usize, format: Format) -> At<usize> {
    let name = name_len(rest(bytes, at));
    let end = at + name;
    let gap = if format == Format::PrometheusText004 { blanks(bytes, end) } else { 0 };
    if bytes.get(end + gap) == Some(&b'{') {
        return braces(bytes, end + gap, name > 0, Some(at), format);
    }
    if name == 0 {
        return Err((at, Reason::Expected("a metric name")));
    }
    Ok(at + name)
}

/// Where the label set of an exemplar, which has no name, ends; it begins with its brace.
pub(super) fn exemplar(bytes: &[u8], at: usize, format: Format) -> At<usize> {
    braces(bytes, at, true, None, format)
}

/// Scans a label set from its brace on. `start` is where the series begins; without it no metric name may
/// stand in the braces.
fn braces(bytes: &[u8], at: usize, named: bool, start: Option<usize>, format: Format) -> At<usize> {
    let skip = |at: usize| if format == Format::PrometheusText004 { at + blanks(bytes, at) } else { at };
    let mut named = named;
    let mut labels = 0;
    let mut here = skip(at + 1);
    while bytes.get(here) != Some(&b'}') {
        let item = here;
        let is_quoted = bytes.get(here) == Some(&b'"');
        here = if is_quoted { quoted(bytes, here, format)? } else { here + label_len(rest(bytes, here)) };
        if here == item {
            return Err((here, Reason::Expected("a label name or `}`")));
        }
        if is_quoted && here == item + 2 {
            return Err((item, Reason::Expected("a name between the quotes")));
        }
        here = skip(here);
        if bytes.get(here) == Some(&b'=') {
            here = skip(here + 1);
            if bytes.get(here) != Some(&b'"') {
                return Err((here, Reason::Expected("a label value in double quotes")));
            }
            here = skip(quoted(bytes, here, format)?);
            labels += 1;
            if labels > MAX_LABELS {
                return Err((item, Reason::ManyLabels));
            }
        } else if is_quoted && matches!(bytes.get(here), Some(b',' | b'}')) {
            if named {
                let reason = if start.is_some() { Reason::SecondName } else { Reason::Expected("`=`") };
                return Err((item, reason));
            }
            named = true;
        } else {
            return Err((here, Reason::Expected("`=`")));
        }
        if bytes.get(here) == Some(&b',') {
            here = skip(here + 1);
        } else if format == Format::OpenMetrics100 && bytes.get(here) != Some(&b'}') {
            return Err((here, Reason::Expected("`,` or `}`")));
        }
    }
    match start {
        Some(start) if !named => Err((start, Reason::NoName)),
        _ => Ok(here + 1),
    }
}

/// The metric name of a checked series text.
pub(super) fn metric_name(series: &str) -> Cow<'_, str> {
    let (name, _) = split(series, name_len(series.as_bytes()));
    if !name.is_empty() {
        return Cow::Borrowed(name);
    }
    pairs(series).find(|(name, _)| name == METRIC_NAME).map(|(_, value)| value).unwrap_or_default()
}

/// Names and values of a checked series or exemplar text in their order, unescaped, the metric name first
/// or where it stands.
pub(super) fn pairs(series: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let (name, labels) = split(series, name_len(series.as_bytes()));
    let name = (!name.is_empty()).then_some((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
    name.into_iter().chain(Items(labels))
}

/// What is left of the text behind the name of a series.
struct Items<'a>(&'a str);

const SEPARATORS: [char; 5] = ['{', '}', ',', ' ', '\t'];

impl<'a> Iterator for Items<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches(SEPARATORS);
        if text.is_empty() {
            return None;
        }
        let (name, text) = word(text);
        let text = text.trim_start_matches([' ', '\t']);
        let Some(value) = text.strip_prefix('=') else {
            self.0 = text;
            return Some((Cow::Borrowed(METRIC_NAME), name));
        };
        let (value, text) = word(value.trim_start_matches([' ', '\t']));
        self.0 = text;
        Some((name, value))
    }
}

/// Takes a name or a quoted text off the front.
fn word(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, rest) = split(text, label_len(text.as_bytes()).max(1));
        return (Cow::Borrowed(name), rest);
    };
    let mut end = 0;
    while let Some(step) = memchr2(b'"', b'\\', rest(quoted.as_bytes(), end)) {
        end += step;
        if quoted.as_bytes().get(end) == Some(&b'"') {
            break;
        }
        end += 2;
    }
    let (inside, behind) = split(quoted, end);
    (unescape(inside), behind.strip_prefix('"').unwrap_or_default())
}

/// Splits at a byte; what is no character boundary (in no checked text) ends the text.
fn split(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Replaces `\\`, `\"` and `\n`; a backslash before anything else stays.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    unescape_with(text, true)
}

/// As [`unescape`]; with `quotes` false, `\"` stays as it is, as in help texts of text format 0.0.4.
pub(super) fn unescape_with(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let replaced = match (c, chars.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) if quotes => Some('"'),
            _ => None,
        };
        if replaced.is_some() {
            chars.next();
        }
        plain.push(replaced.unwrap_or(c));
    }
    Cow::Owned(plain)
}

/// The value of a label, with bucket bounds and quantiles in the spelling of OpenMetrics: always with a
/// point or an exponent.
pub(super) fn canonical_bound<'a>(metric_type: MetricType, label: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    let is_bound = match metric_type {
        MetricType::Histogram => label == "le",
        MetricType::Summary => label == "quantile",
        _ => false,
    };
    if !is_bound {
        return value;
    }
    let Ok(bound) = parse_float(&value) else { return value };
    let mut text = String::new();
    write_g(&mut text, bound);
    if bound.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    Cow::Owned(text)
}
