//! What a run is told, and the check of it.
//!
//! - [`LoadConfig`]: target, recordings, [`Mode`], limits. [`LoadError`]: why a run cannot begin.
//!
//! Rule: all that is wrong is found before the first request.

use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;

use crate::arrivals::Spacing;
use crate::clips::Clips;
use crate::rate::Rate;

/// A day: longer runs have a report that nobody can read.
pub const MAX_DURATION: Duration = Duration::from_secs(86_400);

/// More than a process has file descriptors for by default.
pub const MAX_CONCURRENCY: usize = 10_000;

/// Where the transcription API is, when the URL names only a server.
const DEFAULT_PATH: &str = "/v1/audio/transcriptions";

/// Who decides when a request is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// The clock: requests are due whether or not earlier ones are answered, as with independent users.
    OpenLoop {
        /// How many a second.
        rate: Rate,
        /// Evenly or by chance.
        spacing: Spacing,
        /// Decides the chance.
        seed: u64,
        /// The most that may be under way; a request that is due beyond that is shed: counted, not sent.
        max_in_flight: usize,
    },
    /// The server: so many clients, each with a connection of its own, send one request after the other.
    ClosedLoop {
        /// How many clients.
        clients: usize,
    },
}

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// `http://HOST[:PORT][/PATH]`; without a path, OpenAI's.
    pub url: String,
    /// What is sent, one after the other.
    pub clips: Clips,
    /// When it is sent.
    pub mode: Mode,
    /// How long requests are begun.
    pub duration: Duration,
    /// From when a request is due to the end of its answer.
    pub timeout: Duration,
    /// The form's `model`. Default `whisper-1`.
    pub model: String,
    /// The form's `language`.
    pub language: Option<String>,
    /// Sent as `Authorization: Bearer KEY`.
    pub api_key: Option<String>,
}

impl LoadConfig {
    /// One client that sends the built-in recording for twenty seconds.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            url,
            clips: Clips::sample(),
            mode: Mode::ClosedLoop { clients: 1 },
            duration: Duration::from_secs(20),
            timeout: Duration::from_secs(60),
            model: "whisper-1".to_owned(),
            language: None,
            api_key: None,
        }
    }
}

/// Why a run cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The URL is none.
    #[error("not a URL like http://127.0.0.1:2269: `{0}`")]
    Url(String),
    /// Only plain HTTP is spoken.
    #[error("`{0}` is not supported, only http: `{1}`")]
    Scheme(String, String),
    /// A key that no header can carry.
    #[error("the API key has characters that no HTTP header can carry")]
    ApiKey,
    /// A number outside its range.
    #[error("{what} must be {range}: {value}")]
    Range {
        /// What.
        what: &'static str,
        /// From and to.
        range: String,
        /// What was given.
        value: String,
    },
    /// An engine does not tell what it saw.
    #[error("engine {engine}: {reason}")]
    Observe {
        /// Its URL.
        engine: String,
        /// What it said, or what went wrong.
        reason: String,
    },
}

/// A configuration that can be run.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) authorization: Option<HeaderValue>,
}

impl LoadConfig {
    /// Checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn check(&self) -> Result<Target, LoadError> {
        for (what, value, most) in [("duration", self.duration, MAX_DURATION), ("timeout", self.timeout, MAX_DURATION)]
        {
            if value.is_zero() || value > most {
                return Err(out_of_range(what, format!("above 0 and at most {most:?}"), format!("{value:?}")));
            }
        }
        let (what, count) = match &self.mode {
            Mode::OpenLoop { max_in_flight, .. } => ("requests in flight", *max_in_flight),
            Mode::ClosedLoop { clients } => ("concurrency", *clients),
        };
        if !(1..=MAX_CONCURRENCY).contains(&count) {
            return Err(out_of_range(what, format!("1 to {MAX_CONCURRENCY}"), count.to_string()));
        }
        let bearer = |key: &String| HeaderValue::try_from(format!("Bearer {key}"));
        let authorization = self.api_key.as_ref().map(bearer).transpose().map_err(|_invalid| LoadError::ApiKey)?;
        Ok(Target { uri: self.uri()?, authorization })
    }

    fn uri(&self) -> Result<Uri, LoadError> {
        let invalid = || LoadError::Url(self.url.clone());
        let given: Uri = self.url.parse().map_err(|_invalid| invalid())?;
        let mut parts = given.into_parts();
        match parts.scheme.as_ref().map(|scheme| scheme.as_str()) {
            Some("http") => {}
            Some(other) => return Err(LoadError::Scheme(other.to_owned(), self.url.clone())),
            None => return Err(invalid()),
        }
        let is_server_only = parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/");
        if is_server_only {
            parts.path_and_query = Some(hyper::http::uri::PathAndQuery::from_static(DEFAULT_PATH));
        }
        Uri::from_parts(parts).map_err(|_invalid| invalid())
    }
}

fn out_of_range(what: &'static str, range: String, value: String) -> LoadError {
    LoadError::Range { what, range, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_a_server_gets_the_usual_path() {
        for (url, expected) in [
            ("http://127.0.0.1:2269", "http://127.0.0.1:2269/v1/audio/transcriptions"),
            ("http://asr/", "http://asr/v1/audio/transcriptions"),
            ("http://asr/other?x=1", "http://asr/other?x=1"),
        ] {
            assert_eq!(LoadConfig::new(url.to_owned()).check().unwrap().uri.to_string(), expected);
        }
    }

    #[test]
    fn bad_settings_are_named() {
        let good = || LoadConfig::new("http://x".to_owned());
        for (config, expected) in [
            (
                LoadConfig { url: "127.0.0.1:2269".to_owned(), ..good() },
                "not a URL like http://127.0.0.1:2269: `127.0.0.1:2269`",
            ),
            (
                LoadConfig { url: "https://x/".to_owned(), ..good() },
                "`https` is not supported, only http: `https://x/`",
            ),
            (LoadConfig { url: String::new(), ..good() }, "not a URL like http://127.0.0.1:2269: ``"),
            (LoadConfig { duration: Duration::ZERO, ..good() }, "duration must be above 0 and at most 86400s: 0ns"),
            (LoadConfig { mode: Mode::ClosedLoop { clients: 0 }, ..good() }, "concurrency must be 1 to 10000: 0"),
            (
                LoadConfig { api_key: Some("a\nb".to_owned()), ..good() },
                "the API key has characters that no HTTP header can carry",
            ),
        ] {
            assert_eq!(config.check().unwrap_err().to_string(), expected);
        }
    }
}
