//! Instants as RFC 3339 writes them: `2015-07-01T20:10:51.781Z`.
//!
//! Rule: the calendar is the proleptic Gregorian one; leap seconds do not exist.

use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// Reads an instant, as Go's layout `RFC3339Nano`: upper-case `T`, `Z` or an offset, any number of digits
/// behind the second (what is finer than a millisecond is cut off). `None` for any other text.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let month = digits(after(&mut rest, "-")?, 2)?;
    let day = digits(after(&mut rest, "-")?, 2)?;
    let hour = digits(after(&mut rest, "T")?, 2)?;
    let minute = digits(after(&mut rest, ":")?, 2)?;
    let second = digits(after(&mut rest, ":")?, 2)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, behind) = fraction.split_at(len);
        if fraction.is_empty() {
            return None;
        }
        ms = fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        rest = behind;
    }
    let offset_minutes = offset(rest)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let of_day = ((hour * 60 + minute - offset_minutes) * 60 + second) * 1000 + ms;
    Some(Timestamp::from_unix_ms(days_from_civil(year, month, day) * DAY_MS + of_day))
}

/// Writes an instant in UTC, as Go's layout `RFC3339Nano`: without zeros at the end of the fraction.
#[must_use]
pub fn format_rfc3339(at: Timestamp) -> String {
    let ms = at.unix_ms();
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if of_day % 1000 != 0 {
        let fraction = format!(".{:03}", of_day % 1000);
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Takes exactly `len` digits off the front.
fn digits(rest: &mut &str, len: usize) -> Option<i64> {
    let (digits, behind) = rest.split_at_checked(len)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    *rest = behind;
    if all { digits.parse().ok() } else { None }
}

/// Takes a mark off the front.
fn after<'r, 't>(rest: &'r mut &'t str, mark: &str) -> Option<&'r mut &'t str> {
    *rest = rest.strip_prefix(mark)?;
    Some(rest)
}

/// `Z`, or `+02:00`, in minutes.
fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, mut rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let hours = digits(&mut rest, 2)?;
    let minutes = digits(after(&mut rest, ":")?, 2)?;
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. The year is counted from March, so that the leap day is its last one.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_instants() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.7+02:00", 1_435_781_451_700),
            ("2015-07-01T19:40:51-00:30", 1_435_781_451_000),
            ("2000-02-29T00:00:00.000999999Z", 951_782_400_000),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse_rfc3339(text).map(Timestamp::unix_ms), Some(unix_ms), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "2015-07-01",
            "2015-07-01T20:10Z",
            "2015-07-01T20:10:51",
            "2015-07-01t20:10:51Z",
            "2015-07-01T20:10:51z",
            "2015-07-01 20:10:51Z",
            "2015-7-1T20:10:51Z",
            "2015-02-29T00:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-07-01T24:00:00Z",
            "2015-07-01T20:10:60Z",
            "2015-07-01T20:10:51.Z",
            "2015-07-01T20:10:51+0200",
            "2015-07-01T20:10:51Z ",
            "+015-07-01T20:10:51Z",
            "é015-07-01T20:10:51Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(unix_ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            let at = Timestamp::from_unix_ms(unix_ms);
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(at)), Some(at));
        }

        #[test]
        fn any_instant_prints(unix_ms in any::<i64>()) {
            prop_assert!(format_rfc3339(Timestamp::from_unix_ms(unix_ms)).ends_with('Z'));
        }
    }
}
