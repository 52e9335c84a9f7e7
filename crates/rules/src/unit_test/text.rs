//! Alerts, samples and histograms as promtool prints them.
//!
//! Rule: two histograms are equal if they print the same, as upstream.

use std::fmt;
use std::time::Duration;

use datamodel::float::format_g;
use datamodel::histogram::{CounterResetHint, Span};
use datamodel::labels::Quoted;
use datamodel::{Histogram, Labels};

use super::FiringAlert;
use crate::template::format_go_duration;

/// A sample that is expected, or that was found.
#[derive(Clone, Debug)]
pub struct ExpectedSample {
    /// Labels, the metric name among them.
    pub labels: Labels,
    /// The value; zero where there is a histogram.
    pub value: f64,
    /// The histogram as text, or empty.
    pub histogram: String,
}

impl PartialEq for ExpectedSample {
    /// NaN is equal to nothing, as upstream.
    fn eq(&self, other: &Self) -> bool {
        self.labels == other.labels && self.histogram == other.histogram && self.value == other.value
    }
}

impl ExpectedSample {
    /// Equal, or with neighbouring floats.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let near = self.value.next_up() >= other.value && self.value.next_down() <= other.value;
        self == other || (near && self.labels == other.labels && self.histogram == other.histogram)
    }
}

impl fmt::Display for ExpectedSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = braces(&self.labels);
        if self.histogram.is_empty() {
            write!(f, "{labels} {}", exponent(self.value))
        } else {
            write!(f, "{labels} {}", self.histogram)
        }
    }
}

/// `{__name__="up", job="a"}`.
pub(super) fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A text in double quotes.
pub(super) fn quoted(text: &str) -> String {
    Quoted(text).to_string()
}

pub(super) fn go_duration(duration: Duration) -> String {
    format_go_duration(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}

/// Go's `E` with as many digits as are needed: `1.5E+01`.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return datamodel::float::format_f(value);
    }
    let text = format!("{value:E}");
    let Some((digits, exponent)) = text.split_once('E') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}E{sign}{exponent:0>2}")
}

/// A list of samples.
pub(super) fn samples(samples: &[ExpectedSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    samples.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A list of alerts, indented as the text around it.
pub(super) fn alerts(alerts: &[FiringAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let indent = " ".repeat(12);
    let items: Vec<String> = alerts
        .iter()
        .enumerate()
        .map(|(index, alert)| {
            let (labels, annotations) = (braces(&alert.labels), braces(&alert.annotations));
            format!("{indent}{index}:\n{indent}  Labels:{labels}\n{indent}  Annotations:{annotations}")
        })
        .collect();
    format!("[\n{}\n{indent}]", items.join(",\n"))
}

/// What is missing and what is too much, in the order of the lists.
pub(super) fn difference(head: &str, expected: &[String], found: &[String]) -> String {
    let mut text = format!("{head}\n        diff:");
    let lines = |text: &mut String, mark: char, lines: &[String], other: &[String]| {
        for line in lines.iter().filter(|line| !other.contains(line)) {
            text.push_str(&format!("\n            {mark} {line}"));
        }
    };
    lines(&mut text, '-', expected, found);
    lines(&mut text, '+', found, expected);
    text
}

/// A histogram in the notation of the input.
pub(super) fn histogram(histogram: &Histogram) -> String {
    let histogram = histogram.clone().compacted();
    let mut parts = Vec::new();
    let mut number = |name: &str, value: f64| {
        if value.is_nan() || value.abs() > 0.0 {
            parts.push(format!("{name}:{}", format_g(value)));
        }
    };
    number("count", histogram.count);
    number("sum", histogram.sum);
    number("z_bucket", histogram.zero_count);
    number("z_bucket_w", histogram.zero_threshold);
    if histogram.schema != 0 {
        parts.insert(0, format!("schema:{}", histogram.schema));
    }
    if !histogram.custom_values.is_empty() {
        parts.push(format!("custom_values:[{}]", numbers(&histogram.custom_values)));
    }
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::CounterReset => parts.push("counter_reset_hint:reset".to_owned()),
        CounterResetHint::NotCounterReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    buckets(&mut parts, ["offset", "buckets"], &histogram.positive_spans, &histogram.positive_buckets);
    buckets(&mut parts, ["n_offset", "n_buckets"], &histogram.negative_spans, &histogram.negative_buckets);
    format!("{{{{{}}}}}", parts.join(" "))
}

/// Buckets as one run, with zeros between the spans.
fn buckets(parts: &mut Vec<String>, [offset, name]: [&str; 2], spans: &[Span], counts: &[f64]) {
    let Some(first) = spans.first() else { return };
    if first.offset != 0 {
        parts.push(format!("{offset}:{}", first.offset));
    }
    let mut run = Vec::with_capacity(counts.len());
    let mut counts = counts.iter().copied();
    for (index, span) in spans.iter().enumerate() {
        if index > 0 {
            let gap = usize::try_from(span.offset).unwrap_or_default().min(MAX_GAP);
            run.extend(std::iter::repeat_n(0.0, gap));
        }
        run.extend(counts.by_ref().take(usize::try_from(span.length).unwrap_or_default()));
    }
    if !run.is_empty() {
        parts.push(format!("{name}:[{}]", numbers(&run)));
    }
}

/// Empty buckets that are printed between two spans; a wider gap is printed as one of this width.
const MAX_GAP: usize = 10_000;

fn numbers(values: &[f64]) -> String {
    values.iter().map(|value| format_g(*value)).collect::<Vec<_>>().join(" ")
}
