//! Numbers as Go prints them, means, quantiles, dates.
//!
//! Rule: comparisons of floats with `==` happen here, on purpose, and nowhere else.

use std::fmt;

use datamodel::float::format_g;
use datamodel::sum::KahanSum;

/// Whether two floats are equal as PromQL's `==` has it: NaN is equal to nothing, 0 equals -0.
#[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
pub(crate) fn equal(a: f64, b: f64) -> bool {
    a == b
}

/// A float as Go's `%.2g` prints it.
pub(crate) struct GoFloat2(pub(crate) f64);

impl fmt::Display for GoFloat2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if !value.is_finite() {
            return f.write_str(&format_g(value));
        }
        let scientific = format!("{value:.1e}");
        let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
        if (-4..2).contains(&exponent) {
            let rounded: f64 = scientific.parse().unwrap_or(value);
            return write!(f, "{rounded}");
        }
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let digits = digits.strip_suffix(".0").unwrap_or(digits);
        f.write_str(&go_exponent(&format!("{digits}e{exponent}")))
    }
}

/// `1e-5` to `1e-05`: a sign and at least two digits.
fn go_exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, number) = match exponent.strip_prefix('-') {
        Some(number) => ('-', number),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{number:0>2}")
}

/// A float as a label value of OpenMetrics: always with a point or an exponent (`1.0`, `1e+06`).
pub(crate) fn open_metrics_float(value: f64) -> String {
    let text = format_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// A mean that stays exact as long as the sum fits, and goes on incrementally when it would overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: KahanSum,
    mean: KahanSum,
    is_incremental: bool,
    count: f64,
}

impl Mean {
    pub(crate) const fn new(first: f64) -> Self {
        Self { sum: KahanSum::new(first), mean: KahanSum::new(first), is_incremental: false, count: 1.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_incremental {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.is_incremental = true;
            let before = self.count - 1.0;
            self.mean = self.sum.divided(before);
        }
        let q = (self.count - 1.0) / self.count;
        self.mean = self.mean.scaled(q);
        self.mean.add(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.is_incremental {
            self.mean.total()
        } else {
            self.sum.sum / self.count + self.sum.compensation / self.count
        }
    }
}

/// The quantile of values, interpolated between ranks; sorts them, NaN first.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0);
    let weight = rank - rank.floor();
    // `rank` lies in 0..=last.
    #[expect(clippy::cast_sign_loss, reason = "not negative")]
    let lower = (lower as usize).min(last);
    let upper = (lower + 1).min(last);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    at(lower) * (1.0 - weight) + at(upper) * weight
}

/// The parts of a calendar day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    /// From 1.
    pub(crate) day_of_year: i64,
    /// Sunday is 0.
    pub(crate) weekday: i64,
    pub(crate) seconds_of_day: i64,
}

/// The proleptic Gregorian date of a Unix time (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(unix_seconds: i64) -> Civil {
    let days = unix_seconds.div_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_march_year + 2) / 153;
    let day = day_of_march_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let before: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    Civil {
        year,
        month,
        day,
        day_of_year: before + day,
        weekday: (days + 4).rem_euclid(7),
        seconds_of_day: unix_seconds.rem_euclid(86_400),
    }
}

/// Days of a month (from 1).
pub(crate) const fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2006-01-02T15:04:05Z`
pub(crate) fn rfc3339_seconds(unix_ms: i64) -> String {
    let date = civil(unix_ms / 1000);
    let seconds = date.seconds_of_day;
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year,
        date.month,
        date.day,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        for (value, expected) in
            [(123.456, "1.2e+02"), (0.000_012, "1.2e-05"), (9.99, "10"), (2.0, "2"), (100.0, "1e+02")]
        {
            assert_eq!(GoFloat2(value).to_string(), expected);
        }
        assert_eq!(open_metrics_float(1.0), "1.0");
        assert_eq!(open_metrics_float(0.99), "0.99");
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(rfc3339_seconds(951_782_400_000), "2000-02-29T00:00:00Z");
        let date = civil(-1);
        assert_eq!((date.year, date.month, date.day, date.weekday, date.day_of_year), (1969, 12, 31, 3, 365));
    }
}
