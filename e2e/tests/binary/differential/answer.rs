//! Answers of queries, and whether two are alike.
//!
//! Rule: floats may differ by a billionth, as their sums are added in another order; nothing else may.

use std::collections::BTreeMap;

use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

/// A float in quotes, as both write it.
fn number(value: &Value) -> Option<f64> {
    match value.as_str()? {
        "NaN" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

fn same_number(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

/// Whether two trees are alike, texts that are numbers as numbers.
pub(super) fn is_alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let alike = |(name, value): (&String, &Value)| theirs.get(name).is_some_and(|other| is_alike(value, other));
            ours.len() == theirs.len() && ours.iter().all(alike)
        }
        (Value::String(text), Value::String(other)) if text != other => {
            number(ours).zip(number(theirs)).is_some_and(|(ours, theirs)| same_number(ours, theirs))
        }
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        _ => ours == theirs,
    }
}

/// A result by its series; their order has a meaning only where the expression sorts.
fn by_labels(result: &Value) -> BTreeMap<String, &Value> {
    let labels = |series: &Value| {
        let labels: BTreeMap<String, Value> = serde_json::from_value(series["metric"].clone()).unwrap_or_default();
        format!("{labels:?}")
    };
    result.as_array().into_iter().flatten().map(|series| (labels(series), series)).collect()
}

/// What differs between two `data` of queries; none if they are alike.
pub(super) fn difference(ours: &Value, theirs: &Value, is_sorted: bool) -> Option<String> {
    let short = |value: &Value| value.to_string().chars().take(400).collect::<String>();
    let kind = ours["resultType"].as_str();
    if kind != theirs["resultType"].as_str() {
        return Some(format!("ours {}, theirs {}", ours["resultType"], theirs["resultType"]));
    }
    let (ours, theirs) = (&ours["result"], &theirs["result"]);
    if is_sorted || !matches!(kind, Some("vector" | "matrix")) {
        return (!is_alike(ours, theirs)).then(|| format!("ours {}\n    theirs {}", short(ours), short(theirs)));
    }
    let (ours, theirs) = (by_labels(ours), by_labels(theirs));
    let names = |series: &BTreeMap<String, &Value>| series.keys().cloned().collect::<Vec<_>>();
    if names(&ours) != names(&theirs) {
        return Some(format!("ours {:?}\n    theirs {:?}", names(&ours), names(&theirs)));
    }
    ours.iter().find_map(|(labels, series)| {
        let other = theirs.get(labels)?;
        (!is_alike(series, other)).then(|| format!("{labels}\n    ours {}\n    theirs {}", short(series), short(other)))
    })
}
