//! Decoders of the common types, and those that build decoders from decoders.
//!
//! Rule: a decoder that returns `None` has reported why.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use datamodel::time::parse_duration;

use crate::node::{Node, Scalar, Style, excerpt};
use crate::report::Report;
use crate::suggest::nearest;

fn scalar<'n>(node: &'n Node, report: &mut Report, what: &str) -> Option<&'n Scalar> {
    let found = node.as_scalar().filter(|scalar| !scalar.is_null());
    if found.is_none() {
        report.expected(node, what);
    }
    found
}

/// Any scalar's text, as Go's yaml fills a string field: `5` is `"5"`.
pub fn string(node: &Node, report: &mut Report) -> Option<String> {
    scalar(node, report, "a string").map(|scalar| scalar.text.to_string())
}

/// A string as Kubernetes takes it: a bare number or boolean is refused, because it is none in JSON.
pub fn strict_string(node: &Node, report: &mut Report) -> Option<String> {
    let scalar = scalar(node, report, "a string")?;
    if scalar.style == Style::Plain && (scalar.as_bool().is_some() || scalar.as_f64().is_some()) {
        report.error(node, format!("expected a string, found {}: put it in quotes", node.describe()));
        return None;
    }
    Some(scalar.text.to_string())
}

/// `true` or `false`; also `yes`, `no`, `on`, `off`, as in Go's yaml.
pub fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    let found = node.as_scalar().and_then(|scalar| match &*scalar.text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if scalar.style == Style::Plain => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if scalar.style == Style::Plain => Some(false),
        _ => scalar.as_bool(),
    });
    if found.is_none() {
        report.expected(node, "a boolean");
    }
    found
}

/// A whole number of the asked type; out of its range is an error.
pub fn integer<T: TryFrom<i64>>(node: &Node, report: &mut Report) -> Option<T> {
    let Some(whole) = node.as_scalar().and_then(Scalar::as_i64) else {
        report.expected(node, "a whole number");
        return None;
    };
    let fitting = T::try_from(whole).ok();
    if fitting.is_none() {
        report.error(node, format!("out of range: `{whole}`"));
    }
    fitting
}

/// A number.
pub fn float(node: &Node, report: &mut Report) -> Option<f64> {
    let found = node.as_scalar().and_then(Scalar::as_f64);
    if found.is_none() {
        report.expected(node, "a number");
    }
    found
}

/// A duration as Prometheus spells it: `15s`, `1h30m`.
pub fn duration(node: &Node, report: &mut Report) -> Option<Duration> {
    let scalar = scalar(node, report, "a duration")?;
    parse_duration(&scalar.text).map_err(|cause| report.error(node, cause.to_string())).ok()
}

/// A size in bytes as Prometheus spells it: `512MB`; see [`parse_size`](crate::parse_size).
pub fn size(node: &Node, report: &mut Report) -> Option<u64> {
    let scalar = scalar(node, report, "a size")?;
    crate::size::parse_size(&scalar.text).map_err(|cause| report.error(node, cause.to_string())).ok()
}

/// Any scalar whose text is a `T`; its error is reported as it prints.
pub fn parsed<T: FromStr<Err: Display>>(node: &Node, report: &mut Report) -> Option<T> {
    let scalar = scalar(node, report, "a text or number")?;
    scalar.text.parse().map_err(|cause: T::Err| report.error(node, cause.to_string())).ok()
}

/// One of the named values, by its exact name.
pub fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl FnMut(&Node, &mut Report) -> Option<T> {
    move |node, report| {
        let scalar = scalar(node, report, "a string")?;
        let found = choices.iter().find(|(name, _)| *name == &*scalar.text);
        if found.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            let hint = nearest(&scalar.text, choices.iter().map(|(name, _)| *name))
                .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
            let message = format!("expected one of {}, found `{}`{hint}", names.join(", "), excerpt(&scalar.text));
            report.error(node, message);
        }
        found.map(|(_, value)| *value)
    }
}

/// A list; each element is decoded, also after a wrong one. Null is the empty list, as in Go.
pub fn list<T>(
    mut element: impl FnMut(&Node, &mut Report) -> Option<T>,
) -> impl FnMut(&Node, &mut Report) -> Option<Vec<T>> {
    move |node, report| {
        let Some(items) = node.as_sequence() else {
            if node.is_null() {
                return Some(Vec::new());
            }
            report.expected(node, "a list");
            return None;
        };
        let decoded: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| report.within_index(index, |report| element(item, report)))
            .collect();
        decoded.into_iter().collect()
    }
}

/// A mapping with free keys, in the order of the text; each value is decoded, also after a wrong one.
/// Null is the empty mapping, as in Go.
pub fn map<T>(
    mut value: impl FnMut(&Node, &mut Report) -> Option<T>,
) -> impl FnMut(&Node, &mut Report) -> Option<Vec<(String, T)>> {
    move |node, report| {
        let Some(entries) = node.as_mapping() else {
            if node.is_null() {
                return Some(Vec::new());
            }
            report.expected(node, "a mapping");
            return None;
        };
        let decoded: Vec<Option<(String, T)>> = entries
            .iter()
            .map(|entry| {
                let value = report.within_key(&entry.key.text, |report| value(&entry.value, report));
                value.map(|value| (entry.key.text.to_string(), value))
            })
            .collect();
        decoded.into_iter().collect()
    }
}

/// The node itself, for a later decoder.
pub fn node(node: &Node, _report: &mut Report) -> Option<Node> {
    Some(node.clone())
}
