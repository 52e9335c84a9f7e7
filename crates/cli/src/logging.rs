//! The log: to stderr, in text or JSON, at one level.
//!
//! Rule: levels are chosen by what the reader must do. ERROR: act now. WARN: look into it. INFO: a state
//! changed. DEBUG: for us.

use std::io;

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// The lowest level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// For us.
    Debug,
    /// A state changed.
    #[default]
    Info,
    /// Look into it.
    Warn,
    /// Act now.
    Error,
}

impl LogLevel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    #[value(alias = "logfmt")]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. Libraries below us stay at WARN unless `RUST_LOG` says otherwise.
///
/// # Errors
///
/// `RUST_LOG` cannot be read, or a log was started before.
pub fn start(level: LogLevel, format: LogFormat, color: bool) -> Result<()> {
    let ours = [
        "adapter",
        "asr",
        "cli",
        "discovery",
        "hpa",
        "load",
        "local",
        "metrics_api",
        "promql",
        "rules",
        "scrape",
        "tsdb",
        "web",
    ];
    let mut directives = String::from("warn");
    for target in ours {
        directives.push_str(&format!(",{target}={}", level.as_str()));
    }
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text)?,
        _ => EnvFilter::try_new(directives)?,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow!("cannot start the log: {error}"))
}
