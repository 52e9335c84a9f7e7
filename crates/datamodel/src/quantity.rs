//! Kubernetes quantities: fixed-point numbers with a suffix, such as `500m`, `1536Mi`, `12e6`.
//!
//! - [`Quantity`]: exact in billionths; parsed and printed as `resource.Quantity` does.
//! - [`Suffix`]: the family of suffixes that a quantity was written with, and is printed with again.
//!
//! Rule: no float is ever kept; who makes a quantity from a float says how it is rounded.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::float::shown;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// The longest text that is read as a quantity: some ten times the longest that makes sense.
const MAX_TEXT_BYTES: usize = 512;

/// The suffixes of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Suffix {
    /// `n u m k M G T P E`, or none.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// `e3`, `E-6`.
    DecimalExponent,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text is no number with one of the suffixes.
    #[error("not a quantity: `{0}` (expected something like `3`, `500m`, `1.5Gi` or `12e6`)")]
    Syntax(String),
    /// The number is well formed but beyond 10^29.
    #[error("quantity out of range: `{0}`")]
    Range(String),
}

/// A number in billionths.
///
/// Two quantities are equal when their numbers are, whatever suffix they print with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    suffix: Suffix,
}

impl Quantity {
    /// A whole number, printed with decimal suffixes (`100000` as `100k`).
    #[must_use]
    pub const fn from_whole(value: i64) -> Self {
        // 2^63 times 10^9 is far from 2^127.
        Self { nanos: value as i128 * NANO, suffix: Suffix::DecimalSi }
    }

    /// A number of thousandths, printed with decimal suffixes (`1500` as `1500m`, `100000000` as `100k`).
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self { nanos: milli as i128 * (NANO / 1000), suffix: Suffix::DecimalSi }
    }

    /// A float in whole thousandths, cut off towards zero, as prometheus-adapter turns samples into
    /// quantities. `None` for NaN, infinities and what exceeds 64 bits of thousandths.
    #[must_use]
    pub fn from_f64_truncated(value: f64) -> Option<Self> {
        let milli = value * 1000.0;
        // 2^63 in both directions; a NaN is in no range.
        let limit = 2.0 * (1_u64 << 62) as f64;
        (-limit..limit).contains(&milli).then_some(Self::from_milli(milli as i64))
    }

    /// The same number, printed with other suffixes.
    #[must_use]
    pub const fn with_suffix(self, suffix: Suffix) -> Self {
        Self { nanos: self.nanos, suffix }
    }

    /// The suffixes that it is printed with where they fit.
    #[must_use]
    pub const fn suffix(self) -> Suffix {
        self.suffix
    }

    /// The number in thousandths, rounded away from zero; at the ends of `i64` beyond them.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        saturate(divide_away(self.nanos, NANO / 1000))
    }

    /// The whole number, rounded away from zero; at the ends of `i64` beyond them.
    #[must_use]
    pub fn value(self) -> i64 {
        saturate(divide_away(self.nanos, NANO))
    }

    /// The nearest float.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        // Whole numbers are divided as such, so that they stay exact.
        if self.nanos % NANO == 0 { (self.nanos / NANO) as f64 } else { self.nanos as f64 / NANO as f64 }
    }

    /// Whether the number is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the number is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, with the suffixes of `self`; `None` beyond the range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self { nanos: self.nanos.checked_add(other.nanos)?, suffix: self.suffix })
    }

    /// The difference, with the suffixes of `self`; `None` beyond the range.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self { nanos: self.nanos.checked_sub(other.nanos)?, suffix: self.suffix })
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The quotient, rounded away from zero.
const fn divide_away(value: i128, by: i128) -> i128 {
    let rest = value % by;
    value / by + rest.signum()
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// What a suffix means: `base` to the power of `exponent`.
enum Scale {
    Ten(i64),
    Two(u32),
}

fn scale(text: &str) -> Option<(Scale, Suffix)> {
    let decimal = |exponent| Some((Scale::Ten(exponent), Suffix::DecimalSi));
    let binary = |exponent| Some((Scale::Two(exponent), Suffix::BinarySi));
    match text {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = text.strip_prefix(['e', 'E'])?.parse().ok()?;
            Some((Scale::Ten(exponent), Suffix::DecimalExponent))
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    /// Reads a quantity. What is finer than a billionth is rounded away from zero; a number with a binary
    /// suffix stops at 2^63 - 1. Both as upstream.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let syntax = || QuantityError::Syntax(shown(text));
        let range = || QuantityError::Range(shown(text));
        if text.len() > MAX_TEXT_BYTES {
            return Err(syntax());
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let whole_len = digits(unsigned);
        let (whole, rest) = unsigned.split_at(whole_len);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(syntax());
        }
        let (scale, suffix) = scale(rest).ok_or_else(syntax)?;
        let (shift, factor) = match scale {
            Scale::Ten(exponent) => (exponent.saturating_add(9), 1),
            Scale::Two(exponent) => (9, 1_i128 << exponent),
        };
        let magnitude = shifted(whole, fraction, shift, factor);
        let mut suffix = suffix;
        let nanos = match (magnitude, suffix) {
            (magnitude, Suffix::BinarySi) => {
                let most = i128::from(i64::MAX) * NANO;
                let nanos = magnitude.map_or(most, |nanos| nanos.min(most));
                if nanos > 0 && nanos < NANO {
                    suffix = Suffix::DecimalSi;
                }
                nanos
            }
            (Some(nanos), _) => nanos,
            (None, _) => return Err(range()),
        };
        Ok(Self { nanos: if negative { -nanos } else { nanos }, suffix })
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// `whole.fraction × factor × 10^shift`, rounded up to a whole number; `None` beyond `i128`.
fn shifted(whole: &str, fraction: &str, shift: i64, factor: i128) -> Option<i128> {
    let mut number: i128 = 0;
    let mut all = whole.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0')).peekable();
    // Only so many digits count; those behind decide about rounding alone.
    let mut taken = 0;
    let mut exponent = shift.saturating_sub(i64::try_from(fraction.len()).ok()?);
    // 2^60 times 10^20 is below 2^127, and so is 10^30.
    let enough = 10_i128.pow(if factor == 1 { 29 } else { 19 });
    while let Some(digit) = all.peek() {
        if number >= enough {
            break;
        }
        number = number * 10 + digit;
        taken += 1;
        all.next();
    }
    let dropped = whole.len() + fraction.len() - taken;
    exponent = exponent.saturating_add(i64::try_from(dropped).ok()?);
    let dropped_any = all.any(|digit| digit != 0);
    if number == 0 {
        return Some(0);
    }
    let product = number.checked_mul(factor)?;
    let power = |exponent: u64| 10_i128.checked_pow(u32::try_from(exponent).ok()?);
    if exponent >= 0 {
        // Digits that were dropped above a billionth would be lost.
        if dropped_any {
            return None;
        }
        return product.checked_mul(power(exponent.unsigned_abs())?);
    }
    let Some(divisor) = power(exponent.unsigned_abs()) else { return Some(1) };
    let rounded_up = product % divisor != 0 || dropped_any;
    Some(product / divisor + i128::from(rounded_up))
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.suffix == Suffix::BinarySi && self.nanos % NANO == 0 && whole.abs() >= 1024 {
            let (number, power) = strip(whole, 1024);
            let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            if let Some(suffix) = suffixes.get(power) {
                return write!(f, "{number}{suffix}");
            }
        }
        let (number, thousands) = strip(self.nanos, 1000);
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        match suffixes.get(thousands).filter(|_| self.suffix != Suffix::DecimalExponent) {
            Some(suffix) => write!(f, "{number}{suffix}"),
            // Three decimal places for each thousand, nine of them behind the point.
            None if thousands == 3 => write!(f, "{number}"),
            None if thousands > 3 => write!(f, "{number}e{}", 3 * (thousands - 3)),
            None => write!(f, "{number}e-{}", 3 * (3 - thousands)),
        }
    }
}

/// Divides as often as it goes without a rest.
const fn strip(value: i128, by: i128) -> (i128, usize) {
    let mut value = value;
    let mut times = 0;
    while value != 0 && value % by == 0 {
        value /= by;
        times += 1;
    }
    (value, times)
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// From a text, or from a bare number as JSON and YAML allow it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as `500m` or 3")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_whole(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
        }

        deserializer.deserialize_any(Text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_print_in_canonical_form() {
        for (text, printed, milli) in [
            ("0", "0", 0),
            ("0Ki", "0", 0),
            ("3", "3", 3_000),
            ("+3", "3", 3_000),
            ("-3", "-3", -3_000),
            ("500m", "500m", 500),
            ("1.5", "1500m", 1_500),
            ("-1.5", "-1500m", -1_500),
            ("1.", "1", 1_000),
            (".5", "500m", 500),
            ("1.5Gi", "1536Mi", 1_610_612_736_000),
            ("1024", "1024", 1_024_000),
            ("1024Ki", "1Mi", 1_048_576_000),
            ("1000Ki", "1000Ki", 1_024_000_000),
            ("0.5Ki", "512", 512_000),
            ("1.1Ki", "1126400m", 1_126_400),
            ("100000", "100k", 100_000_000),
            ("1500", "1500", 1_500_000),
            ("24000000000", "24G", 24_000_000_000_000),
            ("85899345920", "85899345920", 85_899_345_920_000),
            ("12e6", "12e6", 12_000_000_000),
            ("12E6", "12e6", 12_000_000_000),
            ("1e+2", "100", 100_000),
            ("1e-1", "100e-3", 100),
            ("1.2345", "1234500u", 1_235),
            ("1n", "1n", 1),
            ("0.9n", "1n", 1),
            ("-0.1n", "-1n", -1),
            ("1u", "1u", 1),
            ("1E", "1E", i64::MAX),
            ("1000E", "1e21", i64::MAX),
            ("18446744073709551616", "18446744073709551616", i64::MAX),
            ("123456789012345678901.5", "123456789012345678901500m", i64::MAX),
            ("8Ei", "9223372036854775807", i64::MAX),
            ("-9Ei", "-9223372036854775807", i64::MIN),
            ("1e-400", "1e-9", 1),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.to_string(), printed, "{text}");
            assert_eq!(quantity.milli_value(), milli, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", " ", "+", "-", ".", "k", "Ki", "abc", "1i", "1Kib", "1K", "1ki", "1e", "1e1.5", "1.1.1", "1 k", " 1",
            "1 ", "--1", "0x1", "1_000", "1,5", "NaN", "Inf", "１",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Syntax(text.to_owned())), "{text}");
        }
        for text in ["1e30", "1e99999999999999999", "1e9223372036854775807", &"9".repeat(40)] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Range(text.to_owned())), "{text}");
        }
        assert!("1".repeat(600).parse::<Quantity>().is_err());
    }

    #[test]
    fn samples_are_cut_to_thousandths() {
        for (value, printed) in [
            (3.0, "3"),
            (10.5, "10500m"),
            (0.0005, "0"),
            (0.0019, "1m"),
            (1000.0, "1k"),
            (-1.5, "-1500m"),
            (1234.5678, "1234567m"),
            (24e9, "24G"),
        ] {
            assert_eq!(Quantity::from_f64_truncated(value).unwrap().to_string(), printed);
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e17, -1e17] {
            assert_eq!(Quantity::from_f64_truncated(value), None);
        }
    }

    #[test]
    fn numbers_compare_whatever_their_suffix() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(quantity("1000m"), quantity("1"));
        assert!(quantity("1Ki") > quantity("1k"));
        assert_eq!(quantity("1Ki").checked_add(quantity("1024")).unwrap().to_string(), "2Ki");
        assert_eq!(quantity("1").checked_sub(quantity("1m")).unwrap().to_string(), "999m");
        assert_eq!(quantity("1500m").value(), 2);
        assert_eq!(quantity("-1500m").value(), -2);
        assert!((quantity("1500m").as_f64() - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn json_takes_texts_and_numbers() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|quantity| quantity.to_string());
        assert_eq!(read("\"500m\"").unwrap(), "500m");
        assert_eq!(read("3").unwrap(), "3");
        assert_eq!(read("0.5").unwrap(), "500m");
        assert!(read("true").is_err());
        assert!(read("\"x\"").unwrap_err().to_string().starts_with("not a quantity: `x`"));
        assert_eq!(serde_json::to_string(&Quantity::from_milli(1500)).unwrap(), "\"1500m\"");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            milli in any::<i64>(),
            suffix in proptest::sample::select(&[Suffix::DecimalSi, Suffix::BinarySi, Suffix::DecimalExponent][..]),
        ) {
            let quantity = Quantity::from_milli(milli).with_suffix(suffix);
            let back: Quantity = quantity.to_string().parse().unwrap();
            prop_assert_eq!(back, quantity);
            prop_assert_eq!(back.milli_value(), milli);
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eEinumkKMGTP]{0,40}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
            }
        }
    }
}
