//! Numbers as Go's `strconv` reads and prints them.
//!
//! Rule: hexadecimal floats and underscores are refused, as Prometheus refuses them.

use std::fmt::Write as _;

use crate::sample::NORMAL_NAN;

/// Why a text is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    /// The text breaks the grammar.
    #[error("not a number: `{0}`")]
    Syntax(String),
    /// The number exceeds the range of a 64-bit float.
    #[error("out of range: `{0}`")]
    Range(String),
}

/// The longest part of a bad number that an error shows.
const SHOWN_CHARS: usize = 64;

/// The beginning of a hostile text, with control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS) {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Reads a number as Go's `strconv.ParseFloat` does: decimal, with `Inf`, `Infinity` (either sign) and `NaN`
/// in any case; without hexadecimal digits and underscores. NaN has the bits that Prometheus gives it.
///
/// # Errors
///
/// The text breaks the grammar, or the number is too large.
pub fn parse_float(text: &str) -> Result<f64, FloatError> {
    let bytes = text.as_bytes();
    // Most values are small whole numbers: fifteen digits are exact.
    if !bytes.is_empty() && bytes.len() <= 15 && bytes.iter().all(u8::is_ascii_digit) {
        let whole = bytes.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        return Ok(whole as f64);
    }
    let value: f64 = text.parse().map_err(|_syntax| FloatError::Syntax(shown(text)))?;
    if value.is_nan() {
        // Go takes no sign here, Rust does.
        let signed = bytes.first().is_some_and(|first| matches!(first, b'+' | b'-'));
        return if signed { Err(FloatError::Syntax(shown(text))) } else { Ok(NORMAL_NAN) };
    }
    if value.is_infinite() && bytes.iter().any(u8::is_ascii_digit) {
        return Err(FloatError::Range(shown(text)));
    }
    Ok(value)
}

/// A number as Go's `strconv.FormatFloat(value, 'g', -1, 64)` prints it: the shortest text that reads back,
/// with an exponent below 1e-4 and from 1e6 on (`1e+06`); `NaN`, `+Inf`, `-Inf`. The exposition formats use
/// it, and `fmt` prints numbers so with `%v` and `%g`, which alert templates do.
#[must_use]
pub fn format_g(value: f64) -> String {
    let mut text = String::new();
    write_g(&mut text, value);
    text
}

/// Appends what [`format_g`] gives.
pub fn write_g(into: &mut String, value: f64) {
    write_shortest(into, value, 6);
}

/// A number as Go's `strconv.FormatFloat(value, 'f', -1, 64)` prints it: the shortest text that reads back,
/// never with an exponent; `NaN`, `+Inf`, `-Inf`. PromQL values and the HTTP API use it.
#[must_use]
pub fn format_f(value: f64) -> String {
    let mut text = String::new();
    write_shortest(&mut text, value, i32::MAX);
    text
}

/// Appends a number as Prometheus' HTTP API writes it between quotes: with an exponent below 1e-6 and from
/// 1e21 on.
pub fn write_api(into: &mut String, value: f64) {
    write_between(into, value, -6, 21);
}

/// Appends the shortest text; an exponent is used for powers of ten from `exponent_from` on and below -4,
/// and never when `exponent_from` is `i32::MAX`.
fn write_shortest(into: &mut String, value: f64, exponent_from: i32) {
    let plain_from = if exponent_from == i32::MAX { i32::MIN } else { -4 };
    write_between(into, value, plain_from, exponent_from);
}

/// Appends the shortest text; without an exponent for powers of ten from `plain_from` to below
/// `exponent_from`.
fn write_between(into: &mut String, value: f64, plain_from: i32, exponent_from: i32) {
    if value.is_nan() {
        into.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        into.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let with_exponent = !(plain_from..exponent_from).contains(&exponent);
    // Writing to a text cannot fail.
    if with_exponent {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(into, "{digits}e{sign}{:02}", exponent.unsigned_abs()).unwrap_or_default();
    } else {
        write!(into, "{value}").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_go_prints_them() {
        for (value, g, f) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1523.0, "1523", "1523"),
            (999_999.0, "999999", "999999"),
            (1e6, "1e+06", "1000000"),
            (1_234_567.0, "1.234567e+06", "1234567"),
            (0.05, "0.05", "0.05"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (1e21, "1e+21", "1000000000000000000000"),
            (1e100, "1e+100", &format!("1{}", "0".repeat(100))),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(format_g(value), g);
            assert_eq!(format_f(value), f);
        }
        for (value, api) in
            [(1e-6, "0.000001"), (9.9e-7, "9.9e-07"), (1e20, "100000000000000000000"), (-1e21, "-1e+21")]
        {
            let mut text = String::new();
            write_api(&mut text, value);
            assert_eq!(text, api);
        }
    }

    #[test]
    fn numbers_read_as_go_reads_them() {
        let read = |text: &str| parse_float(text).map(f64::to_bits);
        for (text, value) in [
            ("1", 1.0),
            ("000123", 123.0),
            ("-1.5", -1.5),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("123456789012345", 123_456_789_012_345.0),
            ("12345678901234567890", 1.234_567_890_123_456_8e19),
            ("1e-400", 0.0),
            ("Inf", f64::INFINITY),
            ("+iNf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
            ("nan", NORMAL_NAN),
            ("NaN", NORMAL_NAN),
        ] {
            assert_eq!(read(text), Ok(value.to_bits()), "{text}");
        }
        for text in
            ["", " 1", "1 ", "0x1p3", "0x10", "1_000", "+NaN", "-nan", "1e", "e1", ".", "1e400", "--1", "1f", "inff"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
