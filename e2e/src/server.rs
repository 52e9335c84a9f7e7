//! A running `crescendo server` with its configuration, its data and a client.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::process::Crescendo;
use crate::wait;

/// A state that comes with the next scrape or evaluation, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// A running server on a free port, in a folder of its own.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Crescendo,
    /// Pages and API.
    pub web: Client,
    /// Configuration and data, removed at the end.
    pub folder: TempDir,
}

impl Server {
    /// Starts it with this configuration and further flags.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start(config: &str, words: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("prometheus.yml"), config)?;
        Self::start_in(folder, words).await
    }

    /// Starts it on the configuration and the data of an earlier one.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start_in(folder: TempDir, words: &[&str]) -> Result<Self> {
        let mut process =
            Crescendo::start(&Self::words(&folder, words)?.iter().map(String::as_str).collect::<Vec<_>>())?;
        let line = process.line_with("Crescendo is ready: ").await?;
        let address = line.split_once("ready: ").map(|(_, address)| address.trim().trim_end_matches('/'));
        let web = Client::new(address.context("no address in the line")?);
        Ok(Self { process, web, folder })
    }

    /// The words of the command line for the configuration and data of a folder.
    ///
    /// # Errors
    ///
    /// The folder's path is not UTF-8.
    pub fn words(folder: &TempDir, more: &[&str]) -> Result<Vec<String>> {
        let path = folder.path().to_str().context("the temporary folder's path is not UTF-8")?;
        let mut words = vec!["server".to_owned(), "--web.listen-address=127.0.0.1:0".to_owned()];
        words.extend([format!("--config.file={path}/prometheus.yml"), format!("--storage.tsdb.path={path}/data")]);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        Ok(words)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("prometheus.yml")
    }

    /// Waits until an instant query gives what `done` accepts.
    ///
    /// # Errors
    ///
    /// It does not in time; the last answer and the output are in the error.
    pub async fn until(&self, expr: &str, done: impl FnMut(&Value) -> bool) -> Result<Value> {
        let found = wait::until(expr, SOON, || self.web.query(expr, None), done).await;
        found.with_context(|| self.process.output())
    }
}

/// The value of the first sample of an instant query's result.
#[must_use]
pub fn first_value(result: &Value) -> Option<f64> {
    result[0]["value"][1].as_str()?.parse().ok()
}
