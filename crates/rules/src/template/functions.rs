//! The functions of templates: Go's own, and those that Prometheus documents.
//!
//! Rule: a function is pure but for `query`; its arguments are checked by number and type.

use datamodel::Labels;
use datamodel::regex::Regex;
use datamodel::time::parse_duration;

use super::MAX_OUTPUT_BYTES;
use super::exec::Runtime;
use super::format::{format_4g, print, sprintf};
use super::value::{TemplateSample, Value};

/// The functions that exist.
pub(super) const NAMES: &[&str] = &[
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "urlquery",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "sortByLabel",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "title",
    "toUpper",
    "toLower",
    "stripPort",
    "stripDomain",
    "match",
    "reReplaceAll",
    "graphLink",
    "tableLink",
    "parseDuration",
    "externalURL",
    "pathPrefix",
    "urlQueryEscape",
    "safeHtml",
];

/// Functions of Go or Prometheus that are refused by name.
pub(super) const UNSUPPORTED: &[&str] = &["args", "tmpl", "call", "js"];

/// Bytes that one `reReplaceAll` may make at worst, before its output is held to [`MAX_OUTPUT_BYTES`].
const MAX_REPLACED_BYTES: usize = 16 * 1024 * 1024;

type Outcome = Result<Value, String>;

/// Calls a function; `and` and `or` are not among them, they are evaluated lazily.
pub(super) fn call(name: &str, args: &[Value], runtime: &Runtime<'_>) -> Outcome {
    match name {
        "print" | "println" | "printf" => printing(name, args),
        "not" | "len" | "index" | "slice" => basic(name, args),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => comparison(name, args),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" => humanized(name, args),
        "humanizeTimestamp" | "toTime" | "toDuration" | "parseDuration" => timed(name, args),
        "query" | "first" | "label" | "value" | "strvalue" | "sortByLabel" => sampled(name, args, runtime),
        "now" | "externalURL" | "pathPrefix" => constant(name, args, runtime),
        _ => textual(name, args),
    }
}

fn wrong_arguments<T>(name: &str, args: &[Value]) -> Result<T, String> {
    let types: Vec<&str> = args.iter().map(Value::type_name).collect();
    let given = if types.is_empty() { "none".to_owned() } else { types.join(", ") };
    Err(format!("{name}: wrong arguments: {given}"))
}

fn printing(name: &str, args: &[Value]) -> Outcome {
    if name == "printf" {
        return match args {
            [Value::Text(format), rest @ ..] => sprintf(format, rest).map(Value::Text),
            _ => wrong_arguments(name, args),
        };
    }
    let mut output = String::new();
    for (index, value) in args.iter().enumerate() {
        let is_text = |value: Option<&Value>| matches!(value, Some(Value::Text(_)));
        let before = index.checked_sub(1).and_then(|before| args.get(before));
        // `print` puts a blank only between two values that are no strings.
        if index > 0 && (name == "println" || !(is_text(before) || is_text(Some(value)))) {
            output.push(' ');
        }
        output.push_str(&print(value)?);
        if output.len() > MAX_OUTPUT_BYTES {
            return Err(format!("{name}: output exceeds {MAX_OUTPUT_BYTES} bytes"));
        }
    }
    if name == "println" {
        output.push('\n');
    }
    Ok(Value::Text(output))
}

fn basic(name: &str, args: &[Value]) -> Outcome {
    match (name, args) {
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [Value::Text(text)]) => Ok(length(text.len())),
        ("len", [Value::Map(labels)]) => Ok(length(labels.len())),
        ("len", [Value::Samples(samples)]) => Ok(length(samples.len())),
        ("index", [value]) => Ok(value.clone()),
        ("index", [Value::Map(labels), Value::Text(key)]) => Ok(Value::from(labels.get(key).unwrap_or_default())),
        ("index", [Value::Samples(samples), Value::Int(index)]) => {
            let found = usize::try_from(*index).ok().and_then(|index| samples.get(index));
            found.cloned().map(Value::Sample).ok_or_else(|| format!("index: out of range: {index}"))
        }
        ("slice", [Value::Text(text), bounds @ ..]) if bounds.len() <= 2 => {
            let bound = |at: usize, default| match bounds.get(at) {
                None => Some(default),
                Some(Value::Int(index)) => usize::try_from(*index).ok(),
                Some(_) => None,
            };
            let range = bound(0, 0).zip(bound(1, text.len()));
            let part = range.and_then(|(from, to)| text.get(from..to));
            part.map(Value::from).ok_or_else(|| "slice: out of range".to_owned())
        }
        _ => wrong_arguments(name, args),
    }
}

fn length(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn comparison(name: &str, args: &[Value]) -> Outcome {
    use std::cmp::Ordering;
    let [left, right, more @ ..] = args else { return wrong_arguments(name, args) };
    if name == "eq" {
        let mut equal = same(name, left, right)?;
        for other in more {
            equal = equal || same(name, left, other)?;
        }
        return Ok(Value::Bool(equal));
    }
    if !more.is_empty() {
        return wrong_arguments(name, args);
    }
    if name == "ne" {
        return Ok(Value::Bool(!same(name, left, right)?));
    }
    let order = match (left, right) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => return incomparable(name, left, right),
    };
    Ok(Value::Bool(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }))
}

fn same(name: &str, left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        #[expect(clippy::float_cmp, reason = "as Go's `eq` does")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        _ => incomparable(name, left, right),
    }
}

fn incomparable<T>(name: &str, left: &Value, right: &Value) -> Result<T, String> {
    let (left, right) = (left.type_name(), right.type_name());
    Err(format!("{name}: incompatible types for comparison: {left} and {right}"))
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// Divides by `factor` while the value is not below it, once for each prefix at most.
fn scaled_down(mut value: f64, factor: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for larger in prefixes {
        if value.abs() < factor {
            break;
        }
        prefix = larger;
        value /= factor;
    }
    (value, prefix)
}

fn scaled_up(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for smaller in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = smaller;
        value *= 1000.0;
    }
    (value, prefix)
}

fn humanized(name: &str, args: &[Value]) -> Outcome {
    let [value] = args else { return wrong_arguments(name, args) };
    let value = value.to_float().map_err(|error| format!("{name}: {error}"))?;
    let special = value == 0.0 || !value.is_finite();
    Ok(Value::Text(match name {
        "humanizePercentage" => format!("{}%", format_4g(value * 100.0)),
        "humanizeDuration" => humanize_duration(value),
        _ if special => format_4g(value),
        "humanize1024" => {
            if value.abs() <= 1.0 {
                return Ok(Value::Text(format_4g(value)));
            }
            let (value, prefix) = scaled_down(value, 1024.0, BINARY);
            format!("{}{prefix}", format_4g(value))
        }
        _ => {
            let (value, prefix) = if value.abs() >= 1.0 { scaled_down(value, 1000.0, LARGE) } else { scaled_up(value) };
            format!("{}{prefix}", format_4g(value))
        }
    }))
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return format_4g(value);
    }
    if value == 0.0 {
        return format!("{}s", format_4g(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scaled_up(value);
        return format!("{}{prefix}s", format_4g(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    // Saturates; seconds beyond i64 are no duration that anybody reads.
    let seconds = value.abs() as i64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", format_4g(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

fn timed(name: &str, args: &[Value]) -> Outcome {
    let [value] = args else { return wrong_arguments(name, args) };
    if name == "parseDuration" {
        let Value::Text(text) = value else { return wrong_arguments(name, args) };
        let duration = parse_duration(text).map_err(|error| format!("{name}: {error}"))?;
        return Ok(Value::Float(duration.as_secs_f64()));
    }
    let seconds = value.to_float().map_err(|error| format!("{name}: {error}"))?;
    if !seconds.is_finite() {
        if name == "humanizeTimestamp" {
            return Ok(Value::Text(format_4g(seconds)));
        }
        return Err(format!("{name}: not a finite number: {}", format_4g(seconds)));
    }
    // 2^63 nanoseconds are 292 years.
    let nanos = seconds * 1e9;
    if nanos.abs() >= 9.223_372_036_854_776e18 {
        return Err(format!("{name}: out of range: {}", format_4g(seconds)));
    }
    let nanos = nanos as i64;
    match name {
        "toDuration" => Ok(Value::Duration(i128::from(nanos))),
        "toTime" => Ok(Value::Time(nanos.div_euclid(1_000_000))),
        _ => print(&Value::Time(nanos.div_euclid(1_000_000))).map(Value::Text),
    }
}

fn sampled(name: &str, args: &[Value], runtime: &Runtime<'_>) -> Outcome {
    match (name, args) {
        ("query", [Value::Text(expression)]) => runtime.query(expression).map(Value::Samples),
        ("first", [Value::Samples(samples)]) => {
            let first = samples.first().cloned().map(Value::Sample);
            first.ok_or_else(|| "first: called on a list without samples".to_owned())
        }
        ("label", [Value::Text(label), Value::Sample(sample)]) => {
            Ok(Value::from(sample.labels.get(label).unwrap_or_default()))
        }
        ("value", [Value::Sample(sample)]) => Ok(Value::Float(sample.value)),
        ("strvalue", [Value::Sample(sample)]) => Ok(Value::from(sample.labels.get("__value__").unwrap_or_default())),
        ("sortByLabel", [Value::Text(label), Value::Samples(samples)]) => {
            let mut samples = samples.clone();
            let key = |sample: &TemplateSample| sample.labels.get(label).unwrap_or_default().to_owned();
            samples.sort_by_cached_key(key);
            Ok(Value::Samples(samples))
        }
        _ => wrong_arguments(name, args),
    }
}

fn constant(name: &str, args: &[Value], runtime: &Runtime<'_>) -> Outcome {
    if !args.is_empty() {
        return wrong_arguments(name, args);
    }
    let url = runtime.data.external_url;
    Ok(match name {
        "now" => Value::Float(runtime.data.at.unix_seconds()),
        "externalURL" => Value::from(url),
        _ => {
            let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
            let path = behind_scheme.split_once('/').map_or("", |(_, path)| path);
            Value::from(if path.is_empty() { String::new() } else { format!("/{path}") })
        }
    })
}

fn textual(name: &str, args: &[Value]) -> Outcome {
    let texts: Option<Vec<&str>> = args
        .iter()
        .map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let Some(texts) = texts else { return wrong_arguments(name, args) };
    let regex = |pattern: &str| Regex::unanchored(pattern).map_err(|error| format!("{name}: {error}"));
    Ok(Value::Text(match (name, texts.as_slice()) {
        ("match", [pattern, text]) => return Ok(Value::Bool(regex(pattern)?.is_match(text))),
        ("reReplaceAll", [pattern, replacement, text]) => {
            // Each match writes the replacement, each `$` in it at most what was matched.
            let references = replacement.matches('$').count();
            let most = (text.len() + 1).saturating_mul(replacement.len()) + references.saturating_mul(text.len());
            if most > MAX_REPLACED_BYTES {
                return Err(format!("{name}: output could exceed {MAX_REPLACED_BYTES} bytes"));
            }
            regex(pattern)?.replace_all(text, replacement)
        }
        ("title", [text]) => title(text),
        ("toUpper", [text]) => text.chars().map(upper).collect(),
        ("toLower", [text]) => text.chars().map(lower).collect(),
        ("stripPort", [text]) => split_host_port(text).map_or(*text, |(host, _)| host).to_owned(),
        ("stripDomain", [text]) => strip_domain(text),
        ("graphLink", [expression]) => format!("/graph?g0.expr={}&g0.tab=0", url_escape(expression)),
        ("tableLink", [expression]) => table_link(expression),
        ("urlquery" | "urlQueryEscape", [text]) => url_escape(text),
        ("safeHtml", [text]) => (*text).to_owned(),
        ("html", [text]) => html_escape(text),
        _ => return wrong_arguments(name, args),
    }))
}

/// The page that shows an expression as a table.
pub(crate) fn table_link(expression: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=1", url_escape(expression))
}

/// Upper case behind everything that is neither letter nor digit nor underscore, as Go's `strings.Title`.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut output = String::with_capacity(text.len());
    for c in text.chars() {
        let in_word = before.is_alphanumeric() || before == '_' || (!before.is_ascii() && !before.is_whitespace());
        if in_word {
            output.push(c);
        } else {
            output.push(upper(c));
        }
        before = c;
    }
    output
}

/// Go's case mappings give one character for one: what would become several stays as it is.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    mapped.next().filter(|_| mapped.next().is_none()).unwrap_or(c)
}

/// As [`upper`]; the one exception is `İ`, whose small letter is `i` in Go.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Host and port; none if the text has not exactly these parts.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once("]:")?;
        return (!port.contains(':')).then_some((host, port));
    }
    let (host, port) = text.split_once(':')?;
    (!port.contains(':')).then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    if port.is_empty() { host.to_owned() } else { format!("{host}:{port}") }
}

/// Go's `url.QueryEscape`.
fn url_escape(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => output.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => output.push(char::from(byte)),
            byte => output.push_str(&format!("%{byte:02X}")),
        }
    }
    output
}

fn html_escape(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            '&' => output.push_str("&amp;"),
            '\'' => output.push_str("&#39;"),
            '"' => output.push_str("&#34;"),
            '\0' => output.push('\u{fffd}'),
            c => output.push(c),
        }
    }
    output
}

/// A field of a value.
pub(super) fn field(value: &Value, name: &str, runtime: &Runtime<'_>) -> Outcome {
    let map = |labels: &Labels| Value::Map(labels.clone());
    match (value, name) {
        (Value::Data, "Labels") => Ok(map(runtime.data.labels)),
        (Value::Data, "ExternalLabels") => Ok(map(runtime.data.external_labels)),
        (Value::Data, "ExternalURL") => Ok(Value::from(runtime.data.external_url)),
        (Value::Data, "Value") => Ok(Value::Float(runtime.data.value)),
        (Value::Sample(sample), "Labels") => Ok(map(&sample.labels)),
        (Value::Sample(sample), "Value") => Ok(Value::Float(sample.value)),
        (Value::Map(labels), name) => Ok(Value::from(labels.get(name).unwrap_or_default())),
        (Value::Time(_) | Value::Duration(_), name) => {
            Err(format!("method `{name}` of {} is not supported", value.type_name()))
        }
        _ => Err(format!("{} has no field `{name}`", value.type_name())),
    }
}
