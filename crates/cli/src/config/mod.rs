//! The configuration of `crescendo server`: a prometheus.yml with everything that it names.
//!
//! - [`ConfigSource`]: where it is; [`ConfigSource::load`] to a [`ServerConfig`], whose every part was checked.
//! - [`ConfigErrors`]: everything that is wrong, in all files. [`ConfigMetrics`]: how loads went.
//! - `root`: the sections; `global`, `storage`: one each; those of scraping, alerting and remote storages are
//!   read by their crates. [`FoundConfig`]: what objects of a cluster add; [`kube_state_job`]: what the
//!   server adds itself. `files`: paths and patterns. `shown`: the text without secrets.
//!
//! ```text
//! prometheus.yml ─┬─▶ scrape_config_files ─▶ jobs
//!                 └─▶ rule_files ──────────▶ groups
//! ```
//!
//! Rule: nothing here starts, binds or applies anything; a configuration is right as a whole or refused as a
//! whole.

mod files;
mod found;
mod global;
mod metrics;
mod own;
mod root;
mod shown;
mod storage;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use http_client::AuthConfig;
use promql::Features;
use remote::sender::RemoteWriteConfig;
use rules::RuleGroup;
use rules::notifier::AlertingConfig;
use scrape::JobConfig;

pub use self::files::Patterns;
pub use self::found::{FoundConfig, FoundContext, FoundObject};
pub use self::global::Global;
pub use self::metrics::ConfigMetrics;
pub use self::own::{KUBE_STATE_JOB, kube_state_job};
#[cfg(test)]
pub(crate) use self::root::known_keys;
pub use self::storage::StorageConfig;

/// Where a configuration is, and how its expressions are read.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// The configuration file.
    pub path: PathBuf,
    /// Switches of the query language.
    pub features: Features,
    /// Whether jobs store `scrape_body_size_bytes` and the like unless told otherwise.
    pub extra_scrape_metrics: bool,
}

impl ConfigSource {
    /// A file that is read with the defaults.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, features: Features::DEFAULT, extra_scrape_metrics: false }
    }
}

/// A configuration whose every part was checked.
#[derive(Debug, Default)]
pub struct ServerConfig {
    /// The configuration file as YAML, without its secrets.
    pub shown: String,
    /// What holds for all.
    pub global: Global,
    /// What is scraped, and how its targets are found.
    pub jobs: Vec<JobConfig>,
    /// Rules, in the order of their files.
    pub rule_groups: Vec<RuleGroup>,
    /// Who is told of alerts.
    pub alerting: AlertingConfig,
    /// To whom samples are sent.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// How long and how much is stored.
    pub storage: StorageConfig,
    /// Keys that are right and have no effect here, and files that are named and not there.
    pub notes: Vec<Note>,
    /// All files that belong to it.
    pub patterns: Patterns,
    /// The files of scrape jobs that were found.
    pub scrape_paths: Vec<PathBuf>,
    /// The rule files that were found.
    pub rule_paths: Vec<PathBuf>,
    /// What [`ConfigSource::fingerprint`] gives as long as no file changes.
    pub fingerprint: u64,
}

impl ServerConfig {
    /// A note for each file of a certificate, a key, a token or a password that is not there. A server reads them
    /// for each request, so they may come later; a check fails, but for those of `basic_auth`, as upstream's.
    fn note_missing_credentials(&mut self) {
        let jobs = self.jobs.iter().map(|job| (format!("job `{}`", job.config.job_name), &job.config.http));
        let alertmanagers = self.alerting.alertmanagers.iter();
        let alertmanagers = alertmanagers.map(|found| ("alerting".to_owned(), &found.client));
        let writers = self.remote_write.iter();
        let writers = writers.map(|far| (format!("remote_write `{}`", far.name), &far.client));
        let mut notes = Vec::new();
        for (user, client) in jobs.chain(alertmanagers).chain(writers) {
            for path in client.files().into_iter().filter(|path| !path.exists()) {
                let subject = path.display().to_string();
                let text = format!("file does not exist; {user} needs it");
                let is_of_basic_auth = matches!(client.auth, Some(AuthConfig::Basic(_)));
                let fails_check = !is_of_basic_auth || client.tls.files().contains(&path);
                notes.push(Note { subject, text, fails_check });
            }
        }
        self.notes.extend(notes);
    }
}

/// Something about a configuration that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about: a key with its place, or a path.
    pub subject: String,
    /// What should be known about it.
    pub text: String,
    /// Whether a check should fail for it, although a server starts.
    pub fails_check: bool,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

/// One file that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// What stands in it.
    #[error(transparent)]
    Wrong(#[from] yaml::Errors),
    /// A scrape job that cannot be served.
    #[error(transparent)]
    Job(#[from] scrape::ConfigErrors),
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Everything that is wrong with a configuration; never empty. Printed as `FILE:LINE:COL: key: message` lines.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors(Vec<FileError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl ConfigSource {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn load(&self) -> Result<ServerConfig, ConfigErrors> {
        let mut errors = Vec::new();
        let mut config = ServerConfig::default();
        config.global.scrape.extra_scrape_metrics = self.extra_scrape_metrics;
        let mut names = BTreeSet::new();
        let folder = folder_of(&self.path);
        let name = self.path.display().to_string();
        let mut hasher = DefaultHasher::new();
        match read_into(&self.path, &mut hasher) {
            Ok(text) => {
                let read = root::read(&name, &text, folder, &mut names, &mut config);
                errors.extend(read.err().map(FileError::Wrong));
                config.shown = shown::without_secrets(&name, &text);
            }
            Err(error) => errors.push(error),
        }
        config.scrape_paths = self.listed(&config.patterns.scrape_files.clone(), &mut config, &mut errors);
        for path in config.scrape_paths.clone() {
            let read = read_into(&path, &mut hasher).and_then(|text| {
                let name = path.display().to_string();
                Ok(root::read_scrape_file(&name, &text, folder_of(&path), &mut names, &mut config)?)
            });
            errors.extend(read.err());
        }
        // What the text alone shows was reported there, with its place.
        if errors.is_empty() {
            let problem = |job: &JobConfig| job.config.clone().check().err().map(FileError::Job);
            errors.extend(config.jobs.iter().filter_map(problem));
        }
        config.rule_paths = self.listed(&config.patterns.rule_files.clone(), &mut config, &mut errors);
        for path in config.rule_paths.clone() {
            let read = read_into(&path, &mut hasher)
                .and_then(|text| Ok(rules::parse_rule_file(&path.display().to_string(), &text, &self.features)?));
            match read {
                Ok(groups) => config.rule_groups.extend(groups),
                Err(error) => errors.push(error),
            }
        }
        config.note_missing_credentials();
        config.fingerprint = hasher.finish();
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// The files of patterns; a note for each path that is not there.
    fn listed(&self, patterns: &[String], config: &mut ServerConfig, errors: &mut Vec<FileError>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for pattern in patterns {
            match files::matching(pattern) {
                Ok(Some(paths)) => found.extend(paths),
                Ok(None) => {
                    let text = "file does not exist".to_owned();
                    config.notes.push(Note { subject: pattern.clone(), text, fails_check: true });
                }
                Err(source) => errors.push(FileError::Unreadable { path: pattern.into(), source }),
            }
        }
        found
    }

    /// A number that changes with the content of the files of a configuration, and with which there are.
    #[must_use]
    pub fn fingerprint(&self, patterns: &Patterns) -> u64 {
        let mut hasher = DefaultHasher::new();
        let named = patterns.scrape_files.iter().chain(&patterns.rule_files);
        let listed = named.flat_map(|pattern| files::matching(pattern).ok().flatten().unwrap_or_default());
        for path in std::iter::once(self.path.clone()).chain(listed) {
            drop(read_into(&path, &mut hasher));
        }
        hasher.finish()
    }
}

/// The text of a file, up to what the parser takes.
fn read(path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    let bound = yaml::MAX_BYTES as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(bound).read_to_string(&mut text));
    match read {
        Ok(_bytes) => Ok(text),
        Err(source) => Err(FileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// As [`read`], with the path and the text added to a fingerprint.
fn read_into(path: &Path, hasher: &mut DefaultHasher) -> Result<String, FileError> {
    let text = read(path);
    path.hash(hasher);
    text.as_ref().ok().hash(hasher);
    text
}

/// The folder that relative paths in a file lead from.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
