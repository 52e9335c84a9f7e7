//! Arrival rates over time: constant, steps, ramps.
//!
//! - [`Rate`]: parsed from `5`, `2..20/30s` or `2/10s,20/30s,2`; how many requests are due by when.
//!
//! ```text
//! profile = segment { "," segment }
//! segment = rate [ ".." rate ] [ "/" duration ]        requests per second; Prometheus' durations
//! ```
//!
//! The last rate holds to the end. Only the last segment may go without a duration, and a ramp needs one.
//!
//! Rule: arithmetic only; when a request is due is found by inverting the integral of the rate, so that
//! neither steps nor rounding lose or repeat a request.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use datamodel::time::{DurationError, format_duration, parse_duration};

/// The highest rate, in requests per second: one machine opens no more connections.
pub const MAX_RATE: f64 = 100_000.0;

/// The most segments of a profile.
pub const MAX_SEGMENTS: usize = 100;

/// An arrival rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    segments: Vec<Segment>,
    /// After the last segment.
    last_per_second: f64,
}

/// Linear from one rate to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    from: f64,
    to: f64,
    seconds: f64,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// A number is missing, negative or too large.
    #[error("not a rate in requests per second, 0 to {MAX_RATE}: `{0}`")]
    Number(String),
    /// A duration is wrong.
    #[error("invalid duration in rate `{segment}`")]
    Duration {
        /// The segment.
        segment: String,
        /// What is wrong.
        source: DurationError,
    },
    /// A ramp without a duration, or a segment without one that is not the last.
    #[error("rate `{0}` needs a duration, as in `2..20/30s`")]
    NoDuration(String),
    /// More segments than anybody means.
    #[error("more than {MAX_SEGMENTS} segments in a rate")]
    TooMany,
    /// No request would ever be due.
    #[error("a rate of zero throughout sends nothing: `{0}`")]
    Zero(String),
}

impl Rate {
    /// Parses a profile; see the module.
    ///
    /// # Errors
    /// See [`RateError`]; the offending segment is named.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let texts: Vec<&str> = text.split(',').map(str::trim).collect();
        if texts.len() > MAX_SEGMENTS {
            return Err(RateError::TooMany);
        }
        let mut rate = Self { segments: Vec::new(), last_per_second: 0.0 };
        for (index, segment) in texts.iter().enumerate() {
            let is_last = index + 1 == texts.len();
            rate.push(segment, is_last)?;
        }
        let is_zero = rate.last_per_second <= 0.0 && rate.segments.iter().all(|s| s.from <= 0.0 && s.to <= 0.0);
        if is_zero { Err(RateError::Zero(text.to_owned())) } else { Ok(rate) }
    }

    fn push(&mut self, text: &str, is_last: bool) -> Result<(), RateError> {
        let (rates, duration) = text.split_once('/').map_or((text, None), |(rates, rest)| (rates, Some(rest)));
        let (from, to) = rates.split_once("..").unwrap_or((rates, rates));
        let is_ramp = rates.contains("..");
        let (from, to) = (number(from, text)?, number(to, text)?);
        self.last_per_second = to;
        // `5/s` is five a second, as people write it.
        let Some(duration) = duration.filter(|duration| *duration != "s") else {
            let complete = is_last && !is_ramp;
            return if complete { Ok(()) } else { Err(RateError::NoDuration(text.to_owned())) };
        };
        let duration =
            parse_duration(duration).map_err(|source| RateError::Duration { segment: text.to_owned(), source })?;
        self.segments.push(Segment { from, to, seconds: duration.as_secs_f64() });
        Ok(())
    }

    /// Requests per second at an instant after the start.
    #[must_use]
    pub fn at(&self, after: Duration) -> f64 {
        let mut seconds = after.as_secs_f64();
        for segment in &self.segments {
            if seconds < segment.seconds {
                return segment.from + (segment.to - segment.from) * seconds / segment.seconds;
            }
            seconds -= segment.seconds;
        }
        self.last_per_second
    }

    /// When so many requests are due, `count` being a sum of gaps of mean one; none if never.
    pub(crate) fn due(&self, count: f64) -> Option<Duration> {
        let mut left = count;
        let mut before_seconds = 0.0;
        for segment in &self.segments {
            let whole = (segment.from + segment.to) / 2.0 * segment.seconds;
            // At the edge it is due in this segment, except where nothing is due in it.
            if left <= whole && whole > 0.0 {
                return Duration::try_from_secs_f64(before_seconds + segment.when(left)).ok();
            }
            left -= whole;
            before_seconds += segment.seconds;
        }
        if self.last_per_second <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(before_seconds + left / self.last_per_second).ok()
    }
}

impl Segment {
    /// Seconds until so many are due: the root of slope/2 t² + from t = count.
    fn when(self, count: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // Stable also for a slope near zero and for a start from zero.
        let root = (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt();
        let sum = self.from + root;
        if sum > 0.0 { (2.0 * count / sum).min(self.seconds) } else { 0.0 }
    }
}

fn number(text: &str, segment: &str) -> Result<f64, RateError> {
    let text = text.trim();
    // So that `2...20` is no ramp to 0.20.
    let begins_well = text.starts_with(|first: char| first.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| begins_well).filter(|rate| (0.0..=MAX_RATE).contains(rate));
    parsed.ok_or_else(|| RateError::Number(segment.to_owned()))
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        Self::parse(text)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut held = None;
        for (index, segment) in self.segments.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let Segment { from, to, seconds } = segment;
            let ramp = if from.total_cmp(to).is_eq() { format!("{from}") } else { format!("{from}..{to}") };
            write!(f, "{separator}{ramp}/{}", format_duration(Duration::from_secs_f64(*seconds)))?;
            held = Some(*to);
        }
        match held {
            None => write!(f, "{}", self.last_per_second),
            Some(to) if to.total_cmp(&self.last_per_second).is_eq() => Ok(()),
            Some(_) => write!(f, ",{}", self.last_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn profiles_say_the_rate_at_any_time() {
        check("5", &[(0, 5.0), (100, 5.0)], "5");
        check("5/s", &[(0, 5.0)], "5");
        check("0.5", &[(7, 0.5)], "0.5");
        check("2..20/30s", &[(0, 2.0), (15, 11.0), (30, 20.0), (99, 20.0)], "2..20/30s");
        check("2/10s,20/20s,2", &[(0, 2.0), (10, 20.0), (29, 20.0), (30, 2.0)], "2/10s,20/20s,2");
        check("2/10s, 0..4/4s", &[(9, 2.0), (12, 2.0), (14, 4.0)], "2/10s,0..4/4s");
        check("0/5s,3", &[(0, 0.0), (5, 3.0)], "0/5s,3");
    }

    #[test]
    fn bad_rates_are_named() {
        for (text, expected) in [
            ("", "not a rate in requests per second, 0 to 100000: ``"),
            ("-1", "not a rate in requests per second, 0 to 100000: `-1`"),
            ("NaN", "not a rate in requests per second, 0 to 100000: `NaN`"),
            ("1e9", "not a rate in requests per second, 0 to 100000: `1e9`"),
            ("2...20/3s", "not a rate in requests per second, 0 to 100000: `2...20/3s`"),
            ("2..20", "rate `2..20` needs a duration, as in `2..20/30s`"),
            ("2,3", "rate `2` needs a duration, as in `2..20/30s`"),
            ("2/1x", "invalid duration in rate `2/1x`"),
            ("0", "a rate of zero throughout sends nothing: `0`"),
        ] {
            assert_eq!(Rate::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert_eq!(Rate::parse(&"1/1s,".repeat(200)), Err(RateError::TooMany));
    }

    #[test]
    fn requests_are_due_where_the_integral_says() {
        let rate = Rate::parse("2/10s,0/5s,0..10/10s,4").unwrap();
        for (count, seconds) in [(0.0, 0.0), (20.0, 10.0), (22.0, 17.0), (25.0, 18.162), (70.0, 25.0), (74.0, 26.0)] {
            let due = rate.due(count).unwrap().as_secs_f64();
            assert!((due - seconds).abs() < 0.01, "{count}: {due}");
        }
        assert_eq!(Rate::parse("3/10s,0").unwrap().due(30.5), None);
    }

    #[track_caller]
    fn check(text: &str, expected: &[(u64, f64)], printed: &str) {
        let rate = Rate::parse(text).unwrap();
        for (seconds, per_second) in expected {
            let at = rate.at(Duration::from_secs(*seconds));
            assert!((at - per_second).abs() < 1e-9, "{text} at {seconds}: {at}");
        }
        assert_eq!(rate.to_string(), printed);
        assert_eq!(Rate::parse(printed), Ok(rate));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in "[0-9./,smh ]{0,20}") {
            if let Ok(rate) = Rate::parse(&text) {
                let mut before = Duration::ZERO;
                for count in 0..50 {
                    let Some(due) = rate.due(f64::from(count)) else { break };
                    prop_assert!(due >= before, "{due:?} after {before:?}");
                    before = due;
                }
            }
        }
    }
}
