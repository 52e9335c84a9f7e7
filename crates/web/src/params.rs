//! Parameters of requests: from the query string, and from the form of a POST.
//!
//! Rule: what upstream's parser of a parameter takes or refuses, this one takes or refuses, in its words.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request};
use datamodel::float::parse_float;
use datamodel::rfc3339::parse_rfc3339;
use datamodel::time::{TimeRange, parse_duration};
use datamodel::{Matcher, Timestamp};

use crate::api::MAX_BODY_BYTES;
use crate::error::ApiError;

/// The most sets of matchers of one request.
const MAX_SELECTORS: usize = 1_000;

/// The earliest instant, as upstream prints it; clients send it back.
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
/// The latest instant, as upstream prints it.
const MAX_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";

/// The parameters of a request, those of the form first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes the parameters out of a request.
    pub(crate) async fn of(request: Request<Body>) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let mut pairs = Vec::new();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if matches!(head.method, Method::POST | Method::PUT)
            && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            let form = to_bytes(body, MAX_BODY_BYTES).await;
            let form = form.map_err(|_broken_or_large| {
                ApiError::bad_data(format!(
                    "error parsing form values: body is broken, or larger than {MAX_BODY_BYTES} bytes"
                ))
            })?;
            pairs.extend(decode(&form));
        }
        pairs.extend(decode(head.uri.query().unwrap_or_default().as_bytes()));
        Ok(Self(pairs))
    }

    /// The first value of a parameter; absent is empty.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// The first value of a parameter, if the request has it.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// An instant that must be there.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name)).map_err(|problem| ApiError::parameter(name, problem))
    }

    /// An instant that may be absent.
    pub(crate) fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(default);
        }
        let wrong = |problem| ApiError::parameter(name, format!("invalid time value for '{name}': {problem}"));
        parse_time(text).map_err(wrong)
    }

    /// `start` and `end`; all of time where absent.
    pub(crate) fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.time_or("start", Timestamp::MIN)?;
        Ok(TimeRange { start, end: self.time_or("end", Timestamp::MAX)? })
    }

    /// A duration in milliseconds, which may be negative.
    pub(crate) fn duration_ms(&self, name: &str) -> Result<i64, String> {
        parse_duration_ms(self.get(name))
    }

    /// `limit`; 0 or absent is none.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(None);
        }
        let limit = parse_int(text).map_err(|problem| ApiError::parameter("limit", problem))?;
        let limit =
            usize::try_from(limit).map_err(|_negative| ApiError::parameter("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }

    /// The `match[]` selectors; each has a matcher that refuses the empty value.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.parsed_selectors().map_err(|problem| ApiError::parameter("match[]", problem))
    }

    /// As [`selectors`](Self::selectors), for endpoints where upstream's error does not name the parameter.
    pub(crate) fn plain_selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.parsed_selectors().map_err(ApiError::bad_data)
    }

    fn parsed_selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let mut selectors = Vec::new();
        for text in self.all("match[]") {
            if selectors.len() >= MAX_SELECTORS {
                return Err(format!("more than {MAX_SELECTORS} selectors"));
            }
            selectors.push(promql::parse_selector(text).map_err(|error| error.to_string())?);
        }
        Ok(selectors)
    }
}

/// A text in quotes, as Go prints it with `%q`.
struct Go<'a>(&'a str);

impl std::fmt::Display for Go<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        datamodel::labels::Quoted(self.0).fmt(f)
    }
}

fn decode(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(form).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// A whole number; refused in the words of Go's `strconv.Atoi`.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| {
        let reason = match error.kind() {
            NegOverflow | PosOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {}: {reason}", Go(text))
    })
}

/// `1`, `true` and the like; refused in the words of Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", Go(text))),
    }
}

/// Unix seconds, or RFC 3339.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    // Milliseconds that an `i64` holds; the comparison is false for NaN.
    let limit = 9.2e18;
    if let Ok(seconds) = parse_float(text) {
        // As upstream: the fraction is rounded to milliseconds.
        let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        if ms.abs() < limit {
            return Ok(Timestamp::from_unix_ms(ms as i64));
        }
    }
    match text {
        MIN_TIME => Ok(Timestamp::MIN),
        MAX_TIME => Ok(Timestamp::MAX),
        _ => parse_rfc3339(text).ok_or_else(|| format!("cannot parse {} to a valid timestamp", Go(text))),
    }
}

/// Seconds, or a duration such as `5m`.
fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = parse_float(text) {
        // Upstream holds nanoseconds in 64 bits.
        let limit = 9.223_372_036e9;
        if seconds.abs() <= limit {
            return Ok((seconds * 1000.0) as i64);
        }
        return Err(format!("cannot parse {} to a valid duration. It overflows int64", Go(text)));
    }
    let duration: Option<Duration> = parse_duration(text).ok();
    duration
        .and_then(|duration| i64::try_from(duration.as_millis()).ok())
        .ok_or_else(|| format!("cannot parse {} to a valid duration", Go(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, unix_ms) in [
            ("1435781430.781", Some(1_435_781_430_781)),
            ("1e3", Some(1_000_000)),
            ("-1.5", Some(-1_500)),
            ("0.0005", Some(1)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            (MIN_TIME, Some(i64::MIN)),
            (MAX_TIME, Some(i64::MAX)),
            ("", None),
            ("now", None),
            ("NaN", None),
            ("Inf", None),
            ("1e30", None),
        ] {
            assert_eq!(parse_time(text).ok().map(Timestamp::unix_ms), unix_ms, "{text}");
        }
        assert_eq!(parse_time("a\"b").unwrap_err(), "cannot parse \"a\\\"b\" to a valid timestamp");
    }

    #[test]
    fn durations_are_seconds_or_units() {
        for (text, ms) in [
            ("5", Some(5_000)),
            ("0.0015", Some(1)),
            ("-1", Some(-1_000)),
            ("1h30m", Some(5_400_000)),
            ("", None),
            ("x", None),
            ("1e30", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_duration_ms(text).ok(), ms, "{text}");
        }
        assert_eq!(
            parse_duration_ms("1e30").unwrap_err(),
            "cannot parse \"1e30\" to a valid duration. It overflows int64"
        );
    }
}
