//! Sizes in bytes, as Prometheus spells them: `512MB`, `1GB500MB`.
//!
//! Rule: every unit is a power of 1,024, with or without the `i`, and a number needs its unit.

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// The text breaks the grammar.
    #[error("not a valid size: `{0}` (expected something like `512MB` or `1GB500MB`)")]
    Invalid(String),
    /// The value does not fit.
    #[error("size out of range: `{0}`")]
    OutOfRange(String),
}

const UNITS: [(&str, u32); 13] = [
    ("B", 0),
    ("KB", 10),
    ("KiB", 10),
    ("MB", 20),
    ("MiB", 20),
    ("GB", 30),
    ("GiB", 30),
    ("TB", 40),
    ("TiB", 40),
    ("PB", 50),
    ("PiB", 50),
    ("EB", 60),
    ("EiB", 60),
];

/// Parses a size of configuration files and flags; `0` needs no unit.
///
/// # Errors
///
/// The text is empty, breaks the grammar, or is 2⁶³ bytes or more.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    if text == "0" {
        return Ok(0);
    }
    let invalid = || SizeError::Invalid(text.to_owned());
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let number: f64 = number.parse().map_err(|_no_number| invalid())?;
        total += number * 2_f64.powi(i32::try_from(*shift).unwrap_or_default());
        rest = after;
    }
    // What Prometheus can hold.
    if total >= 2_f64.powi(63) {
        return Err(SizeError::OutOfRange(text.to_owned()));
    }
    #[expect(clippy::cast_sign_loss, reason = "digits and dots make no negative number, and the bound is below 2^64")]
    Ok(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("0", 0),
            ("1B", 1),
            ("512MB", 512 << 20),
            ("512MiB", 512 << 20),
            ("1.5KB", 1536),
            ("1GB500MB", (1 << 30) + (500 << 20)),
            ("7EB", 7 << 60),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "MB", "1mb", "-1MB", "1.2.3MB", "1 MB", "1MB2", "1M", "é"] {
            assert_eq!(parse_size(text), Err(SizeError::Invalid(text.to_owned())), "{text}");
        }
        assert_eq!(parse_size("8EB"), Err(SizeError::OutOfRange("8EB".to_owned())));
    }
}
