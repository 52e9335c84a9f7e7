//! Time: instants in milliseconds, durations as Prometheus spells them, and the clock as a parameter.
//!
//! - [`Timestamp`]: Unix milliseconds, the only time that samples carry.
//! - [`TimeRange`]: from and to, both inclusive.
//! - [`Clock`]: who needs the time takes one; [`ManualClock`] for tests.
//! - [`parse_duration`], [`format_duration`]: `1h30m`, `15s`, `250ms`.
//!
//! Rule: [`SystemClock`] is the only place that reads the ambient clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every sample.
    pub const MIN: Self = Self(i64::MIN);
    /// After every sample.
    pub const MAX: Self = Self(i64::MAX);

    /// Takes Unix milliseconds; negative before 1970.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Unix seconds, with the milliseconds behind the point.
    #[must_use]
    pub fn unix_seconds(self) -> f64 {
        // Exact to the millisecond for some 285,000 years around 1970.
        self.0 as f64 / 1000.0
    }

    /// How long `earlier` is before `self`; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let ms = self.0.saturating_sub(earlier.0);
        if ms <= 0 { Duration::ZERO } else { Duration::from_millis(ms.unsigned_abs()) }
    }

    /// Later by `duration`, to the whole millisecond; stops at the ends of time.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_ms(duration)))
    }

    /// Earlier by `duration`, to the whole millisecond; stops at the ends of time.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ms(duration)))
    }
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// From `start` to `end`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First instant of the range.
    pub start: Timestamp,
    /// Last instant of the range.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// Whether the instant lies in the range.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// Whether the two ranges share an instant.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present instant. May go backwards when the machine's clock is set.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one reader of the ambient clock")]
        let now = std::time::SystemTime::now();
        let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(duration_ms(since_epoch))
    }
}

/// A clock that stands until it is moved, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at the given instant.
    #[must_use]
    pub const fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves to the given instant.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(duration_ms(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was given.
    #[error("empty duration")]
    Empty,
    /// The text does not follow the grammar.
    #[error("not a valid duration: `{0}` (expected something like `15s` or `1h30m`)")]
    Invalid(String),
    /// The value does not fit.
    #[error("duration out of range: `{0}`")]
    OutOfRange(String),
}

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses a duration of configuration files and flags: units from large to small, each at most once,
/// whole numbers; `0` needs no unit.
///
/// # Errors
///
/// The text is empty, breaks the grammar, or exceeds the range of `i64` milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let out_of_range = || DurationError::OutOfRange(text.to_owned());
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if digits == 0 || at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        let count: i64 = number.parse().map_err(|_overflow| out_of_range())?;
        let ms = UNITS.get(at).and_then(|(_, ms)| count.checked_mul(*ms)).ok_or_else(out_of_range)?;
        total_ms = total_ms.checked_add(ms).ok_or_else(out_of_range)?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms.unsigned_abs()))
}

/// Writes a duration as Prometheus does: `1h30m`, `1d`, `1500ms` as `1s500ms`, zero as `0s`.
///
/// Weeks and years are used only for exact multiples, so that `90d` stays readable.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration_ms(duration);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (index, (unit, ms)) in UNITS.iter().enumerate() {
        let exact_only = index < 2;
        if rest == 0 || (exact_only && rest % ms != 0) {
            continue;
        }
        let count = rest / ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print_as_prometheus_spells_them() {
        for (text, ms, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("15s", 15_000, "15s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1500ms", 1_500, "1s500ms"),
            ("1y", 31_536_000_000, "1y"),
            ("14d", 1_209_600_000, "2w"),
            ("10d", 864_000_000, "10d"),
            ("324ms", 324, "324ms"),
        ] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(duration_ms(parsed), ms, "{text}");
            assert_eq!(format_duration(parsed), printed, "{text}");
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        for text in ["", "1", "s", "1.5s", "-1s", "1s1h", "1s2s", "1 s", "1S", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let big = "99999999999y";
        assert_eq!(parse_duration(big), Err(DurationError::OutOfRange(big.to_owned())));
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(Timestamp::from_unix_ms(5));
        assert_eq!(clock.now().unix_ms(), 5);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().unix_ms(), 1005);
        assert_eq!(clock.now().since(Timestamp::from_unix_ms(5)), Duration::from_secs(1));
        assert_eq!(Timestamp::from_unix_ms(5).since(clock.now()), Duration::ZERO);
    }
}
