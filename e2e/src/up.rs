//! A running `crescendo up` with its addresses, and speech at it.
//!
//! - [`Up`]: the process, a client for each of its two addresses, its state.
//! - [`Speakers`]: concurrent keep-alive clients that check every transcript.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::process::Crescendo;
use crate::wait;

/// From start to the first ready worker: process, model load and warm-up on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The recording of our own that `crescendo load` sends, and what is said in it.
///
/// # Errors
///
/// The files cannot be read.
pub fn sample() -> Result<(Vec<u8>, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/load/assets"));
    let audio = std::fs::read(folder.join("sample.wav")).context("the sample recording")?;
    let text = std::fs::read_to_string(folder.join("sample.txt")).context("the sample's text")?;
    Ok((audio, text))
}

/// Lower case, letters and digits only, single spaces.
#[must_use]
pub fn normalized(text: &str) -> String {
    let letters = text.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c.to_ascii_lowercase() } else { ' ' });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A running `crescendo up` on free ports, with a storage folder of its own.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub process: Crescendo,
    /// Pages and API.
    pub web: Client,
    /// Speech.
    pub asr: Client,
    /// Its storage, removed at the end.
    pub folder: TempDir,
}

impl Up {
    /// Starts it and waits until a worker is ready.
    ///
    /// # Errors
    ///
    /// It does not start, or no worker becomes ready.
    pub async fn start(words: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, words).await
    }

    /// Starts it on the storage that an earlier one left.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_in(folder: TempDir, words: &[&str]) -> Result<Self> {
        let data = folder.path().join("data");
        let data = data.to_str().context("the temporary folder's path is not UTF-8")?;
        let mut all = vec!["up", "--web.listen-address", "127.0.0.1:0", "--asr.listen-address", "127.0.0.1:0"];
        all.extend(["--storage.path", data]);
        all.extend(words);
        let mut process = Crescendo::start(&all)?;
        let asr = Client::new(&address(&process.line_with("  speech  ").await?)?);
        let web = Client::new(&address(&process.line_with("  page  ").await?)?);
        let up = Self { process, web, asr, folder };
        let ready = wait::until(
            "a worker is ready",
            READY_TIMEOUT,
            || async { Ok(up.asr.get("/ready").await?.status.as_u16()) },
            |status| *status == 200,
        );
        ready.await.with_context(|| up.process.output())?;
        Ok(up)
    }

    /// The document of `/api/v1/autoscaling`.
    ///
    /// # Errors
    ///
    /// The API does not answer.
    pub async fn autoscaling(&self) -> Result<Value> {
        self.web.json("/api/v1/autoscaling").await
    }

    /// Waits for a state of the autoscaler.
    ///
    /// # Errors
    ///
    /// The state does not come in time; state and output are in the error.
    pub async fn until(&self, what: &str, timeout: Duration, done: impl FnMut(&Value) -> bool) -> Result<Value> {
        let found = wait::until(what, timeout, || self.autoscaling(), done).await;
        found.with_context(|| self.process.output())
    }
}

/// The first `http://HOST:PORT` in a line.
fn address(line: &str) -> Result<String> {
    let rest = line.split_once("http://").with_context(|| format!("no address in: {line}"))?.1;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:-[]".contains(c))).unwrap_or(rest.len());
    Ok(format!("http://{}", rest.split_at(end).0))
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Heard {
    /// Requests that were answered with the right text.
    pub right: AtomicUsize,
    /// Requests that failed, where that is tolerated.
    pub failed: AtomicUsize,
}

/// Concurrent clients, each with a connection of its own, each sending its next request when the last one is
/// answered. The first wrong or failed answer ends its client and is the result of [`Speakers::stop`].
#[derive(Debug)]
pub struct Speakers {
    wanted: watch::Sender<usize>,
    heard: Arc<Heard>,
    clients: JoinSet<Result<()>>,
}

impl Speakers {
    /// Starts `count` clients that send the sample to `address`.
    ///
    /// # Errors
    ///
    /// The sample cannot be read.
    pub fn start(address: &str, count: usize) -> Result<Self> {
        Self::start_clients(address, count, false)
    }

    /// Starts clients that count a failed request and go on; wrong transcripts are still an error.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_tolerant(address: &str, count: usize) -> Result<Self> {
        Self::start_clients(address, count, true)
    }

    fn start_clients(address: &str, count: usize, tolerant: bool) -> Result<Self> {
        let (audio, text) = sample()?;
        let (audio, text) = (Arc::new(audio), Arc::new(normalized(&text)));
        let (wanted, seen) = watch::channel(count);
        let heard = Arc::new(Heard::default());
        let mut clients = JoinSet::new();
        for number in 0..count {
            let client = Client::new(address);
            let (audio, text, heard) = (Arc::clone(&audio), Arc::clone(&text), Arc::clone(&heard));
            let seen = seen.clone();
            clients.spawn(async move {
                while number < *seen.borrow() {
                    let answer = client.transcribe("sample.wav", &audio, &[("model", "whisper-1")]).await;
                    let answer = answer.with_context(|| format!("client {number}"))?;
                    if tolerant && answer.status.is_server_error() {
                        heard.failed.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                    if answer.status != 200 {
                        bail!("client {number}: {}: {}", answer.status, answer.text());
                    }
                    let said = answer.json()?["text"].as_str().map(normalized).unwrap_or_default();
                    if said != *text {
                        bail!("client {number}: wrong transcript: {said}");
                    }
                    heard.right.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            });
        }
        Ok(Self { wanted, heard, clients })
    }

    /// Lets all but the first `count` clients end after their present request.
    pub fn reduce_to(&self, count: usize) {
        self.wanted.send_replace(count);
    }

    /// Ends all clients after their present request; gives the number of right answers.
    ///
    /// # Errors
    ///
    /// A request failed, was cut, or had a wrong transcript.
    pub async fn stop(self) -> Result<usize> {
        Ok(self.end().await?.right.load(Ordering::SeqCst))
    }

    /// Ends all clients; gives the number of failed requests.
    ///
    /// # Errors
    ///
    /// A transcript was wrong, or an answer was cut.
    pub async fn stop_tolerant(self) -> Result<usize> {
        Ok(self.end().await?.failed.load(Ordering::SeqCst))
    }

    async fn end(mut self) -> Result<Arc<Heard>> {
        self.reduce_to(0);
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(self.heard)
    }
}
