//! Axes: which values and instants get a tick.
//!
//! - [`ValueAxis`]: a range that holds all values, and round steps in it.
//! - [`time_ticks`]: round instants, each with its label.
//!
//! Rule: there are always between one and [`MAX_TICKS`] ticks, whatever the numbers are.

use datamodel::Timestamp;
use datamodel::time::{TimeRange, format_duration};

use crate::format::format_tick;
use crate::{TimeLabels, Unit};

/// Far more than fit; ends the loop for the sake of which it stands.
const MAX_TICKS: usize = 100;

/// Sums and differences of two such values are still finite.
const LARGEST: f64 = 1e300;

/// Bottom and top of a panel, and where its ticks are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueAxis {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl ValueAxis {
    /// An axis for these values, from zero on unless they are on both sides of it, with about `count`
    /// ticks.
    pub(crate) fn of(values: impl Iterator<Item = f64>, unit: Unit, count: f64) -> Self {
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        for value in values.filter(|value| value.is_finite()) {
            let value = value.clamp(-LARGEST, LARGEST);
            low = low.min(value);
            high = high.max(value);
        }
        if low >= high {
            // Nothing but zeros, or nothing at all.
            high = 1.0;
        }
        let step = value_step((high - low) / count.max(1.0), unit);
        let (min, max) = ((low / step).floor() * step, (high / step).ceil() * step);
        let first = (min / step).round();
        let tick = |index: usize| {
            let value = (first + index as f64) * step;
            (value, format_tick(value, step, unit))
        };
        let ticks = (0..MAX_TICKS).map(tick).take_while(|(value, _)| *value <= max + step / 2.0).collect();
        Self { min, max, ticks }
    }

    /// From 0 at the bottom to 1 at the top.
    pub(crate) fn fraction(&self, value: f64) -> f64 {
        ((value.clamp(-LARGEST, LARGEST) - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// Round lengths of time above a second.
const TIME_STEPS: [f64; 20] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    24.0 * HOUR,
    48.0 * HOUR,
    168.0 * HOUR,
];

/// The smallest round step that is at least `least`.
fn value_step(least: f64, unit: Unit) -> f64 {
    match unit {
        Unit::Seconds if least > 0.5 => time_step(least),
        Unit::Bytes if least > 512.0 => {
            let factor = 1024f64.powf((least.log2() / 10.0).floor());
            let count = least / factor;
            // Powers of two up to 512, then the next prefix.
            factor * 2f64.powf(count.log2().ceil())
        }
        _ => decimal_step(least),
    }
}

fn decimal_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0];
    // A little slack, so that 0.1 computed as 0.1000…01 stays 0.1.
    let fitting = rounds.into_iter().find(|round| round * power >= least * (1.0 - 1e-9));
    (fitting.unwrap_or(10.0) * power).max(f64::MIN_POSITIVE)
}

fn time_step(least: f64) -> f64 {
    let fitting = TIME_STEPS.into_iter().find(|step| *step >= least * (1.0 - 1e-9));
    fitting.unwrap_or_else(|| decimal_step(least / (168.0 * HOUR)).max(1.0) * 168.0 * HOUR)
}

/// Round instants of the range, about `count` of them, with labels.
pub(crate) fn time_ticks(range: TimeRange, count: f64, labels: TimeLabels) -> Vec<(Timestamp, String)> {
    let length_seconds = range.end.since(range.start).as_secs_f64();
    let least = length_seconds / count.max(1.0);
    let step_seconds = if least > 0.5 { time_step(least) } else { decimal_step(least.max(0.001)) };
    // At least 1 ms and at most what a range of i64 milliseconds allows; both fit.
    let step_ms = ((step_seconds * 1000.0).round() as i64).max(1);
    let (start, end) = (range.start.unix_ms(), range.end.unix_ms());
    let first = match labels {
        TimeLabels::Utc => start.saturating_add((-start).rem_euclid(step_ms)),
        TimeLabels::Elapsed => start,
    };
    let mut ticks = Vec::new();
    let mut at = first;
    while at <= end && ticks.len() < MAX_TICKS {
        let label = match labels {
            TimeLabels::Elapsed => format_duration(Timestamp::from_unix_ms(at).since(range.start)),
            TimeLabels::Utc => utc_label(at, step_ms),
        };
        ticks.push((Timestamp::from_unix_ms(at), label));
        let Some(next) = at.checked_add(step_ms) else { break };
        at = next;
    }
    ticks
}

const DAY_MS: i64 = 86_400_000;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Time of day; the date at midnight.
fn utc_label(at_ms: i64, step_ms: i64) -> String {
    let in_day = at_ms.rem_euclid(DAY_MS);
    let (hours, minutes) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (seconds, ms) = (in_day / 1000 % 60, in_day % 1000);
    if step_ms >= DAY_MS || in_day == 0 {
        let (month, day) = month_and_day(at_ms.div_euclid(DAY_MS));
        return format!("{} {day}", MONTHS.get(month).copied().unwrap_or_default());
    }
    match step_ms {
        60_000.. => format!("{hours:02}:{minutes:02}"),
        1000.. => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{minutes:02}:{seconds:02}.{ms:03}"),
    }
}

/// Month from 0 and day from 1, of a number of days since 1970-01-01 in the Gregorian calendar.
fn month_and_day(days: i64) -> (usize, i64) {
    // Years that begin on the first of March, so that the leap day is the last; 400 of them are an era.
    const ERA_DAYS: i64 = 146_097;
    let since_march = days.saturating_add(719_468);
    let day_of_era = since_march.rem_euclid(ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    (usize::try_from(month).unwrap_or_default(), day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn value_axes_are_round_and_hold_all_values() {
        for (values, unit, expected) in [
            (vec![], Unit::Number, "0 0.2 0.4 0.6 0.8 1"),
            (vec![0.0, 3.0], Unit::Number, "0 1 2 3"),
            (vec![97.0], Unit::Number, "0 20 40 60 80 100"),
            (vec![-3.0, 4.0], Unit::Number, "-4 -2 0 2 4"),
            (vec![1900.0], Unit::Number, "0 500 1k 1.5k 2k"),
            (vec![0.18], Unit::Seconds, "0s 50ms 100ms 150ms 200ms"),
            (vec![75.0], Unit::Seconds, "0s 15s 30s 45s 1m 1m15s"),
            (vec![3e9], Unit::Bytes, "0B 1GiB 2GiB 3GiB"),
            (vec![0.85], Unit::Ratio, "0% 20% 40% 60% 80% 100%"),
            (vec![f64::NAN, f64::INFINITY, 2.0], Unit::Number, "0 0.5 1 1.5 2"),
        ] {
            let axis = ValueAxis::of(values.iter().copied(), unit, 5.0);
            let labels: Vec<&str> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
            assert_eq!(labels.join(" "), expected, "{values:?}");
        }
    }

    #[test]
    fn time_ticks_are_round_and_name_the_day() {
        let minute = 60_000;
        // 2023-11-14 22:13:20 UTC
        let at = 1_700_000_000_000;
        for (start, length_ms, labels, expected) in [
            (at, 10 * minute, TimeLabels::Utc, "22:15 22:20"),
            (at, 30_000, TimeLabels::Utc, "22:13:20 22:13:30 22:13:40 22:13:50"),
            (at, 6 * 60 * minute, TimeLabels::Utc, "Nov 15 02:00 04:00"),
            (at, 4 * 24 * 60 * minute, TimeLabels::Utc, "Nov 15 Nov 16 Nov 17 Nov 18"),
            (at, 40_000, TimeLabels::Elapsed, "0s 10s 20s 30s 40s"),
            (at, 150, TimeLabels::Utc, "13:20.000 13:20.050 13:20.100 13:20.150"),
            (at, 0, TimeLabels::Elapsed, "0s"),
        ] {
            let range =
                TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(start + length_ms) };
            let ticks = time_ticks(range, 4.0, labels);
            let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
            assert_eq!(labels.join(" "), expected, "{length_ms}");
        }
    }

    #[test]
    fn days_of_the_calendar() {
        for (days, expected) in
            [(0, (0, 1)), (58, (1, 28)), (59, (2, 1)), (11_016, (1, 29)), (19_675, (10, 14)), (-1, (11, 31))]
        {
            assert_eq!(month_and_day(days), expected, "{days}");
        }
    }

    proptest! {
        #[test]
        fn any_values_get_an_axis(
            values in proptest::collection::vec(proptest::num::f64::ANY, 0..6),
            count in 1.0..20.0,
            unit in proptest::sample::select(vec![Unit::Number, Unit::Seconds, Unit::Bytes, Unit::Ratio]),
        ) {
            let axis = ValueAxis::of(values.iter().copied(), unit, count);
            prop_assert!(axis.min.is_finite() && axis.max.is_finite() && axis.min < axis.max);
            prop_assert!((1..=MAX_TICKS).contains(&axis.ticks.len()));
            for value in values.into_iter().filter(|value| value.is_finite()) {
                prop_assert!((0.0..=1.0).contains(&axis.fraction(value)));
            }
        }

        #[test]
        fn any_range_gets_time_ticks(start in any::<i64>(), end in any::<i64>(), count in 1.0..20.0) {
            let range = TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) };
            for labels in [TimeLabels::Utc, TimeLabels::Elapsed] {
                let ticks = time_ticks(range, count, labels);
                prop_assert!(ticks.len() <= MAX_TICKS);
                prop_assert!(ticks.iter().all(|(at, _)| range.contains(*at)));
            }
        }
    }
}
