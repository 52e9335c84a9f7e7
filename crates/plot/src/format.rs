//! Values as people read them.
//!
//! - [`format_value`]: a value in a unit, to three significant digits.
//! - [`format_tick`]: the same, with as many digits as tell two neighbouring ticks apart.
//!
//! Rule: every finite value gives a short text; what no prefix reaches is written with an exponent.

use crate::Unit;

/// A value in a unit, to three significant digits: `1.23k`, `250ms`, `1m30s`, `512MiB`, `40%`.
#[must_use]
pub fn format_value(value: f64, unit: Unit) -> String {
    if value == 0.0 {
        return zero(unit);
    }
    format_tick(value, 0.0, unit)
}

/// A value in a unit, to the digits of `step`; to three significant ones where that is zero.
pub(crate) fn format_tick(value: f64, step: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // A tick at zero may be off by rounding.
    if value.abs() < step.abs() / 1000.0 || value == 0.0 {
        return zero(unit);
    }
    match unit {
        Unit::Number => scaled(value, step, &SI, ""),
        Unit::PerSecond => scaled(value, step, &SI, "/s"),
        Unit::Bytes => scaled(value, step, &BINARY, "B"),
        Unit::Percent => fixed(value, step, "%"),
        Unit::Ratio => fixed(value * 100.0, step * 100.0, "%"),
        Unit::Seconds => seconds(value, step),
    }
}

fn zero(unit: Unit) -> String {
    match unit {
        Unit::Number => "0",
        Unit::PerSecond => "0/s",
        Unit::Bytes => "0B",
        Unit::Percent | Unit::Ratio => "0%",
        Unit::Seconds => "0s",
    }
    .to_owned()
}

type Prefixes = [(f64, &'static str)];

const SI: [(f64, &str); 8] =
    [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")];

const KIB: f64 = 1024.0;
const BINARY: [(f64, &str); 6] = [
    (KIB * KIB * KIB * KIB * KIB, "Pi"),
    (KIB * KIB * KIB * KIB, "Ti"),
    (KIB * KIB * KIB, "Gi"),
    (KIB * KIB, "Mi"),
    (KIB, "Ki"),
    (1.0, ""),
];

/// Between these a number needs no prefix: 0.05 is easier to read than 50m.
const PLAIN: std::ops::Range<f64> = 0.001..1000.0;

fn scaled(value: f64, step: f64, prefixes: &Prefixes, unit: &str) -> String {
    let size = value.abs();
    if !(1e-9..1e15).contains(&size) {
        return format!("{value:.1e}{unit}");
    }
    if PLAIN.contains(&size) {
        return fixed(value, step, unit);
    }
    let fitting = prefixes.iter().find(|(factor, _)| size >= *factor).or_else(|| prefixes.last());
    let (factor, prefix) = fitting.copied().unwrap_or((1.0, ""));
    fixed(value / factor, step / factor, &format!("{prefix}{unit}"))
}

/// With as many decimals as the step has (without a step, for three digits), six at most, and no
/// trailing zeros.
fn fixed(value: f64, step: f64, unit: &str) -> String {
    if value.abs() >= 1e15 {
        return format!("{value:.1e}{unit}");
    }
    let decimals = decimals(value.abs(), step.abs());
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{unit}")
}

fn decimals(size: f64, step: f64) -> usize {
    const MOST: usize = 6;
    let is_enough = |decimals: &usize| {
        let factor = 10f64.powf(*decimals as f64);
        if step > 0.0 {
            (step * factor - (step * factor).round()).abs() <= 1e-6 * (step * factor).max(1e-3)
        } else {
            size * factor >= 100.0
        }
    };
    (0..MOST).find(is_enough).unwrap_or(MOST)
}

fn seconds(value: f64, step: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "-" } else { "" };
    if size < 1.0 {
        let (factor, unit) = if size >= 1e-3 {
            (1e3, "ms")
        } else if size >= 1e-6 {
            (1e6, "µs")
        } else {
            (1e9, "ns")
        };
        return fixed(value * factor, step * factor, unit);
    }
    if size < 60.0 {
        return fixed(value, step, "s");
    }
    // More than some 30,000 years: nobody reads years and days of that.
    if size >= 1e12 {
        return format!("{value:.1e}s");
    }
    // Two parts are enough: 1d4h, 2h30m, 1m30s.
    let mut rest = size.round();
    let mut text = sign.to_owned();
    let mut parts = 0;
    for (length, unit) in [(86_400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s")] {
        let count = (rest / length).floor();
        if count > 0.0 && parts < 2 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * length;
        }
        // A part that is missing counts too, once there is a first: 1h5s is 1h.
        if parts > 0 || count > 0.0 {
            parts += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        for (value, unit, expected) in [
            (0.0, Unit::Number, "0"),
            (3.0, Unit::Number, "3"),
            (0.05, Unit::Number, "0.05"),
            (1234.0, Unit::Number, "1.23k"),
            (-1500.0, Unit::Number, "-1.5k"),
            (999_600.0, Unit::Number, "1000k"),
            (2e7, Unit::Number, "20M"),
            (4e-6, Unit::Number, "4µ"),
            (1e300, Unit::Number, "1.0e300"),
            (12.5, Unit::PerSecond, "12.5/s"),
            (0.25, Unit::Seconds, "250ms"),
            (0.000_25, Unit::Seconds, "250µs"),
            (1.5, Unit::Seconds, "1.5s"),
            (90.0, Unit::Seconds, "1m30s"),
            (3605.0, Unit::Seconds, "1h"),
            (-7200.0, Unit::Seconds, "-2h"),
            (100_000.0, Unit::Seconds, "1d3h"),
            (1e13, Unit::Seconds, "1.0e13s"),
            (1536.0, Unit::Bytes, "1.5KiB"),
            (24e9, Unit::Bytes, "22.4GiB"),
            (100.0, Unit::Bytes, "100B"),
            (37.5, Unit::Percent, "37.5%"),
            (0.333, Unit::Ratio, "33.3%"),
            (f64::NAN, Unit::Number, "–"),
        ] {
            assert_eq!(format_value(value, unit), expected, "{value} {unit:?}");
        }
    }

    #[test]
    fn ticks_have_the_digits_of_their_step() {
        for (value, step, unit, expected) in [
            (1.0, 0.25, Unit::Number, "1"),
            (0.75, 0.25, Unit::Number, "0.75"),
            (1e-17, 0.5, Unit::Number, "0"),
            (1500.0, 500.0, Unit::Number, "1.5k"),
            (0.5, 0.5, Unit::Seconds, "500ms"),
            (1.5, 0.5, Unit::Seconds, "1.5s"),
            (0.2, 0.1, Unit::Ratio, "20%"),
        ] {
            assert_eq!(format_tick(value, step, unit), expected, "{value} {step} {unit:?}");
        }
    }
}
