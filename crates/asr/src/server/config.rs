//! What the server can be told, its defaults, and the check of it.
//!
//! - [`ServerConfig`]: every setting with its unit and default.
//! - [`ServerConfig::validate`]: all that is wrong at once, as [`ConfigErrors`].
//!
//! Rule: nothing here touches a file or the network; a checked config can still name a missing file.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port of the seed's product, and so of the chart, the monitors and the documents.
pub const DEFAULT_PORT: u16 = 2269;

/// What OpenAI accepts: clients written for it never send more.
pub const DEFAULT_MAX_UPLOAD_BYTES: u64 = 25 * 1024 * 1024;

/// The name that OpenAI's clients ask for; every server of this kind answers to it.
pub const WHISPER_ALIAS: &str = "whisper-1";

/// Settings of the ASR server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one (see `Server::announce`). Default 0.0.0.0:2269.
    pub listen_address: SocketAddr,
    /// Names besides the model's own under which clients may ask for it. Default `whisper-1`.
    pub model_aliases: Vec<String>,
    /// The largest file; above it 413. Default 25 MiB, at most 2 GiB.
    pub max_upload_bytes: u64,
    /// How many bytes of request bodies may be in memory at once, from the first byte of an upload
    /// to the end of its transcription; above it 429. Default 256 MiB.
    pub upload_memory_bytes: u64,
    /// How many accepted requests may wait; above it 429. Default 32: with a target of 4 active
    /// requests a worker, the signal can reach eight times the target.
    pub max_queued_requests: usize,
    /// How many requests compute at once, each on a thread of its own. Default 1: the model uses
    /// one core well, and two share it badly.
    pub max_concurrent_requests: usize,
    /// From acceptance to the answer; after it 504. Default 300 s.
    pub request_timeout: Duration,
    /// Open connections; further ones wait in the listener's backlog. Default 512.
    pub max_connections: usize,
    /// After it a connection's next answer carries `Connection: close`, so that kept-alive clients
    /// meet new workers. Spread by up to a tenth, so that not all reconnect at once. Default 60 s.
    pub max_connection_age: Duration,
    /// From the first wait for a request to the end of its headers; so also how long a connection
    /// may stand idle. Default 30 s.
    pub header_read_timeout: Duration,
    /// For a whole request body. Default 120 s: 25 MiB at 1.8 Mbit/s.
    pub body_read_timeout: Duration,
    /// After shutdown has begun, how long new requests are still accepted while `/ready` already
    /// says 503, because routers learn of that with a delay. Default 1 s.
    pub drain_delay: Duration,
    /// After shutdown has begun, how long accepted requests may take to end. Default 30 s.
    pub grace_period: Duration,
    /// File of API keys, one a line, `#` begins a comment; read again when it changes. Default none:
    /// everybody may ask.
    pub api_keys_file: Option<PathBuf>,
    /// PEM file with the certificate chain; with [`tls_key_file`](Self::tls_key_file) or not at all.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key_file: Option<PathBuf>,
    /// Value of the `pod` label on the `asr_` metrics, usually from `POD_NAME`. Default none.
    pub pod_name: Option<String>,
    /// NVIDIA's management library; looked up as the dynamic linker does where it is a bare name.
    /// Default `libnvidia-ml.so.1`.
    pub nvml_library: PathBuf,
    /// `CUDA_VISIBLE_DEVICES` as this process sees it: indices or UUIDs, by comma. Default none: all.
    pub visible_devices: Option<String>,
    /// Which of the visible devices the model computes on, from 0. Default 0.
    pub gpu_ordinal: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)),
            model_aliases: vec![WHISPER_ALIAS.to_owned()],
            max_upload_bytes: DEFAULT_MAX_UPLOAD_BYTES,
            upload_memory_bytes: 256 * 1024 * 1024,
            max_queued_requests: 32,
            max_concurrent_requests: 1,
            request_timeout: Duration::from_secs(300),
            max_connections: 512,
            max_connection_age: Duration::from_secs(60),
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(120),
            drain_delay: Duration::from_secs(1),
            grace_period: Duration::from_secs(30),
            api_keys_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            pod_name: None,
            nvml_library: PathBuf::from("libnvidia-ml.so.1"),
            visible_devices: None,
            gpu_ordinal: 0,
        }
    }
}

/// One setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: {problem}")]
pub struct ConfigError {
    /// The field of [`ServerConfig`].
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// All settings that cannot be; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid settings: ")?;
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// More threads than any machine of today has cores: a number above is a slip of the hand.
const MAX_CONCURRENT_REQUESTS: usize = 1024;

/// With a 5 s utterance each, an hour of work for one core; a longer queue helps nobody.
const MAX_QUEUED_REQUESTS: usize = 100_000;

/// A year; a longer wait is none.
const MAX_DURATION: Duration = Duration::from_secs(365 * 86_400);

impl ServerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// All that is wrong, in the order of the fields.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        let mut wrong = |setting, problem: String| errors.push(ConfigError { setting, problem });
        if let Some(alias) = self.model_aliases.iter().find(|alias| alias.trim().is_empty()) {
            wrong("model_aliases", format!("an empty name: `{alias}`"));
        }
        if !(1..=2 << 30).contains(&self.max_upload_bytes) {
            wrong("max_upload_bytes", format!("must be 1 to {}: {}", 2_u64 << 30, self.max_upload_bytes));
        }
        if self.upload_memory_bytes < self.max_upload_bytes {
            wrong(
                "upload_memory_bytes",
                format!("must hold one upload of {} bytes: {}", self.max_upload_bytes, self.upload_memory_bytes),
            );
        }
        let counts = [
            ("max_queued_requests", self.max_queued_requests, 0, MAX_QUEUED_REQUESTS),
            ("max_concurrent_requests", self.max_concurrent_requests, 1, MAX_CONCURRENT_REQUESTS),
            ("max_connections", self.max_connections, 1, 1 << 20),
        ];
        for (setting, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                wrong(setting, format!("must be {least} to {most}: {value}"));
            }
        }
        let durations = [
            ("request_timeout", self.request_timeout, Duration::from_millis(1)),
            ("max_connection_age", self.max_connection_age, Duration::from_millis(1)),
            ("header_read_timeout", self.header_read_timeout, Duration::from_millis(1)),
            ("body_read_timeout", self.body_read_timeout, Duration::from_millis(1)),
            ("drain_delay", self.drain_delay, Duration::ZERO),
            ("grace_period", self.grace_period, Duration::ZERO),
        ];
        for (setting, value, least) in durations {
            if !(least..=MAX_DURATION).contains(&value) {
                wrong(setting, format!("must be {least:?} to a year: {value:?}"));
            }
        }
        if self.drain_delay > self.grace_period {
            wrong(
                "drain_delay",
                format!("must not exceed the grace period of {:?}: {:?}", self.grace_period, self.drain_delay),
            );
        }
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(_), None) => wrong("tls_key_file", "missing beside `tls_cert_file`".to_owned()),
            (None, Some(_)) => wrong("tls_cert_file", "missing beside `tls_key_file`".to_owned()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ServerConfig::default().validate(), Ok(()));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        check(
            &ServerConfig {
                model_aliases: vec![" ".to_owned()],
                max_upload_bytes: 0,
                max_concurrent_requests: 0,
                request_timeout: Duration::ZERO,
                drain_delay: Duration::from_secs(31),
                tls_cert_file: Some(PathBuf::from("cert.pem")),
                ..ServerConfig::default()
            },
            &expect![[r#"
                `model_aliases`: an empty name: ` `
                `max_upload_bytes`: must be 1 to 2147483648: 0
                `max_concurrent_requests`: must be 1 to 1024: 0
                `request_timeout`: must be 1ms to a year: 0ns
                `drain_delay`: must not exceed the grace period of 30s: 31s
                `tls_key_file`: missing beside `tls_cert_file`"#]],
        );
    }

    #[test]
    fn uploads_must_fit_their_memory() {
        check(
            &ServerConfig { upload_memory_bytes: 1, ..ServerConfig::default() },
            &expect!["`upload_memory_bytes`: must hold one upload of 26214400 bytes: 1"],
        );
    }

    #[track_caller]
    fn check(config: &ServerConfig, expected: &Expect) {
        let errors = config.validate().unwrap_err();
        let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    }
}
