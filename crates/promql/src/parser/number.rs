//! Numbers and durations as the language writes them.
//!
//! Rule: integers follow Go's literals (`0x1f`, `0b1`, `017` is octal, `1_000`), then floats.

use datamodel::time::{duration_ms, parse_duration};

/// Parses a number.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = parse_integer(digits).or_else(|| parse_float(digits))?;
    Some(if negative { -value } else { value })
}

fn parse_integer(text: &str) -> Option<f64> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, text.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, text.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, text.get(2..)?),
        [b'0', _, ..] => (8, text.get(1..)?),
        _ => (10, text),
    };
    let digits = without_underscores(digits.strip_prefix('_').filter(|_| radix != 10).unwrap_or(digits))?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&digits, radix).ok().map(|value| value as f64)
}

fn parse_float(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
    if !starts_well {
        return None;
    }
    let value: f64 = without_underscores(text)?.parse().ok()?;
    // What overflows is an error, as in Go.
    value.is_finite().then_some(value)
}

/// Removes underscores that stand between digits; `None` if one stands elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    if !text.contains('_') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let between = |at: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_hexdigit);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    let misplaced = bytes.iter().enumerate().any(|(at, byte)| *byte == b'_' && !between(at));
    (!misplaced).then(|| text.replace('_', ""))
}

/// Seconds of a duration (`1h30m`), or why it is none.
pub(super) fn parse_duration_seconds(text: &str) -> Result<f64, String> {
    match parse_duration(text) {
        // Milliseconds up to 292 million years are exact enough as f64.
        Ok(duration) => Ok(duration_ms(duration) as f64 / 1000.0),
        Err(datamodel::time::DurationError::OutOfRange(_)) => Err("duration out of range".to_owned()),
        Err(_) => Err(format!("not a valid duration string: {}", datamodel::labels::Quoted(text))),
    }
}

/// Largest duration in seconds: what fits 64 bits of nanoseconds.
pub(crate) const MAX_DURATION_SECONDS: f64 = 9_223_372_036.854_775;

/// Whole milliseconds of a duration in seconds, by way of nanoseconds as upstream has it.
pub(crate) fn seconds_to_millis(seconds: f64) -> i64 {
    // In range: callers check against `MAX_DURATION_SECONDS`; `as` saturates in any case.
    (seconds * 1e9).round() as i64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_gos_literals() {
        let check = |text: &str, expected: Option<f64>| {
            let found = parse_number(text);
            assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("0x1f", Some(31.0));
        check("017", Some(15.0));
        check("08", Some(8.0));
        check("1_000", Some(1000.0));
        check("1__0", None);
        check("1e3", Some(1000.0));
        check("-.5", Some(-0.5));
        check("2.", Some(2.0));
        check("+Inf", Some(f64::INFINITY));
        check("1e999", None);
        check("--1", None);
        check("x", None);
        assert!(parse_number("NaN").is_some_and(f64::is_nan));
    }
}
