//! The configuration file, read again when it changes.
//!
//! A mounted `ConfigMap` changes by a symbolic link that points elsewhere, and an editor by a new file under
//! the old name; both are seen by reading the text, which is small.
//!
//! Rule: a file that is wrong changes nothing; the last good rules go on, and the reason is said once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::MetricsApi;
use crate::config::{Config, ConfigError};

/// How often the file is looked at. A `ConfigMap` takes up to a minute to arrive in a pod anyway.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Why a changed file was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read.
    #[error("unable to load metrics discovery config file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A configuration file whose last text is remembered.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// The text that was last looked at, good or not; `None` when it could not be read.
    seen: Option<String>,
}

impl ConfigFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its text is wrong.
    pub fn load(path: &Path) -> Result<(Self, Config), ReloadError> {
        let text = read(path)?;
        let config = Config::parse(&path.display().to_string(), &text)?;
        Ok((Self { path: path.to_owned(), seen: Some(text) }, config))
    }

    /// The configuration, if the file has changed since it was last looked at. An error is told once.
    pub fn changed(&mut self) -> Option<Result<Config, ReloadError>> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => return self.seen.take().map(|_text| Err(error)),
        };
        if self.seen.as_ref() == Some(&text) {
            return None;
        }
        let config = Config::parse(&self.path.display().to_string(), &text).map_err(ReloadError::from);
        self.seen = Some(text);
        Some(config)
    }

    /// Looks at the file until `shutdown`, and gives changed rules to the API.
    pub async fn watch(mut self, api: &MetricsApi, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            let look = move || {
                let outcome = self.changed();
                (self, outcome)
            };
            let Ok((file, outcome)) = tokio::task::spawn_blocking(look).await else {
                tracing::error!("mapping rules are no longer watched: reading them ended early");
                return;
            };
            self = file;
            match outcome {
                None => {}
                Some(Ok(config)) => {
                    tracing::info!(path = %self.path.display(), "mapping rules have changed");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        _complete = api.reload(config) => {}
                    }
                }
                Some(Err(error)) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(cause, "the last good mapping rules go on: {error}");
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<String, ReloadError> {
    use std::io::Read;
    let failed = |source| ReloadError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    // One byte more than is parsed, so that a file that is too long is refused and not cut.
    file.take(yaml::MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SEED_RULES;

    #[test]
    fn changed_file_is_read_again_and_an_error_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(SEED_RULES);
        let (mut file, config) = ConfigFile::load(&path).unwrap();
        assert!(config.serves_external());
        assert!(file.changed().is_none());
        write("rules: []\n");
        assert!(!file.changed().unwrap().unwrap().serves_custom());
        write("rule: []\n");
        let error = file.changed().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("config.yaml:1:1: rule: unknown key (did you mean `rules`?)"), "{error}");
        assert!(file.changed().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(file.changed(), Some(Err(ReloadError::Read { .. }))));
        assert!(file.changed().is_none());
        write(SEED_RULES);
        assert!(file.changed().unwrap().unwrap().serves_custom());
    }

    #[test]
    fn missing_file_is_named() {
        let error = ConfigFile::load(Path::new("/no/such/file.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "unable to load metrics discovery config file /no/such/file.yaml");
    }
}
