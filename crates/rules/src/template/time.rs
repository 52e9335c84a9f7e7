//! Times and durations as Go prints them.
//!
//! Rule: UTC only; the calendar is the proleptic Gregorian one.

/// Unix milliseconds as Go's `time.Time` prints in UTC: `2015-09-04 17:13:19.5 +0000 UTC`.
pub(super) fn format_time(unix_ms: i64) -> String {
    let (days, of_day) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}").trim_end_matches('0').to_owned() };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction} +0000 UTC")
}

/// Year, month and day of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    // Days are counted from 0000-03-01, so that a leap day ends its year: 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 153 days every five.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Nanoseconds as Go's `time.Duration` prints: `1h2m3.5s`, `250ms`, `0s`.
pub(crate) fn format_go_duration(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let fraction = |unit: u128| {
        let rest = magnitude % unit;
        let digits = unit.ilog10() as usize;
        if rest == 0 { String::new() } else { format!(".{rest:0digits$}").trim_end_matches('0').to_owned() }
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => format!("{sign}{}{}µs", magnitude / 1_000, fraction(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}{}ms", magnitude / 1_000_000, fraction(1_000_000)),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}{}s", seconds % 60, fraction(1_000_000_000));
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}"),
                (0, _) => format!("{sign}{minutes}m{rest}"),
                _ => format!("{sign}{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(format_time(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(format_time(1_435_065_584_128), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(format_time(951_782_400_500), "2000-02-29 00:00:00.5 +0000 UTC");
        assert_eq!(format_time(-1), "1969-12-31 23:59:59.999 +0000 UTC");
    }

    #[test]
    fn durations_print_as_in_go() {
        let check = |nanos, expected: &str| assert_eq!(format_go_duration(nanos), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(-250_000_000, "-250ms");
        check(90_000_000_000, "1m30s");
        check(3_600_000_000_000, "1h0m0s");
        check(3_723_500_000_000, "1h2m3.5s");
    }
}
