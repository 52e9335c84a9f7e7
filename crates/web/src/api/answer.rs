//! Answers that are small enough to be built as a tree.
//!
//! Rule: keys stand in upstream's order; whole numbers are written without a point, as Go writes them.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use datamodel::Labels;
use datamodel::exposition::PageFormat;
use serde_json::{Map, Value, json};

/// The format of a page of metrics that the client likes best.
pub(crate) fn negotiated(headers: &HeaderMap, offered: &[PageFormat]) -> PageFormat {
    let accepted: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    PageFormat::negotiate(&accepted.join(","), offered)
}

/// An answer in JSON.
pub(crate) fn json_text(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What an endpoint says when it did what it was asked to.
pub(crate) fn success(data: &Value) -> Response {
    json_text(json!({"status": "success", "data": data}).to_string())
}

pub(crate) fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect()
}

/// A number as Go writes it.
pub(crate) fn number(value: f64) -> Value {
    // Whole numbers of that size are exact.
    let limit = 9.0e15;
    if value.fract() == 0.0 && value.abs() < limit { Value::from(value as i64) } else { Value::from(value) }
}

/// A float as Go's `strconv.FormatFloat(value, 'e', -1, 64)` writes it: `1.5e+00`.
pub(crate) fn exponent(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.0, "1e+00"),
            (-1.5, "-1.5e+00"),
            (0.0, "0e+00"),
            (123.456, "1.23456e+02"),
            (1e-7, "1e-07"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(exponent(value), text);
        }
        assert_eq!(number(300.0).to_string(), "300");
        assert_eq!(number(0.25).to_string(), "0.25");
    }
}
