//! Writing text format 0.0.4.
//!
//! Rule: names stand as they are given; nothing is appended, renamed or checked against a convention.

use std::fmt::Write as _;

use crate::float::write_g;
use crate::labels::{is_legacy_label_name, is_legacy_metric_name};
use crate::metadata::MetricType;

/// The word for a type in text format 0.0.4, which lacks those of OpenMetrics.
#[must_use]
pub const fn type_word(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::GaugeHistogram | MetricType::Unknown => "untyped",
    }
}

/// Appends `# HELP name text` and `# TYPE name type`; an empty help has no line.
pub fn metadata(into: &mut String, name: &str, metric_type: MetricType, help: &str) {
    if !help.is_empty() {
        into.push_str("# HELP ");
        family_name(into, name);
        into.push(' ');
        for c in help.chars() {
            match c {
                '\\' => into.push_str("\\\\"),
                '\n' => into.push_str("\\n"),
                c => into.push(c),
            }
        }
        into.push('\n');
    }
    into.push_str("# TYPE ");
    family_name(into, name);
    into.push(' ');
    into.push_str(type_word(metric_type));
    into.push('\n');
}

/// Appends one sample line: name, labels in the given order, value, and the timestamp in Unix milliseconds
/// if there is one. Names that need quotes get them.
pub fn sample<'a>(
    into: &mut String,
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: f64,
    timestamp_ms: Option<i64>,
) {
    series(into, name, labels);
    into.push(' ');
    write_g(into, value);
    if let Some(timestamp_ms) = timestamp_ms {
        // Writing to a text cannot fail.
        write!(into, " {timestamp_ms}").unwrap_or_default();
    }
    into.push('\n');
}

/// Appends name and labels.
pub(super) fn series<'a>(into: &mut String, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let plain = is_legacy_metric_name(name);
    if plain {
        into.push_str(name);
    } else {
        into.push('{');
        quoted(into, name);
    }
    if pairs(into, labels, !plain) {
        into.push('}');
    }
}

/// Appends labels behind what stands in braces already, or behind a brace of their own; whether one is open.
pub(super) fn pairs<'a>(
    into: &mut String,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    mut is_open: bool,
) -> bool {
    for (label, value) in labels {
        into.push(if is_open { ',' } else { '{' });
        is_open = true;
        if is_legacy_label_name(label) {
            into.push_str(label);
        } else {
            quoted(into, label);
        }
        into.push('=');
        quoted(into, value);
    }
    is_open
}

pub(super) fn family_name(into: &mut String, name: &str) {
    if is_legacy_metric_name(name) {
        into.push_str(name);
    } else {
        quoted(into, name);
    }
}

/// Appends a text in quotes, with `\`, `"` and line feeds escaped.
fn quoted(into: &mut String, text: &str) {
    into.push('"');
    for c in text.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            c => into.push(c),
        }
    }
    into.push('"');
}
