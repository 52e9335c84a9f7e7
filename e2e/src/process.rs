//! A running `crescendo` command that ends with the test, whatever happens.
//!
//! Rule: addresses are read from what the command prints, as a person reads them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Lines of output that are kept for error messages.
const KEPT_LINES: usize = 400;

/// How long a command may take to print an address.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The binary under test: `CRESCENDO_BINARY`.
///
/// # Errors
///
/// The variable is not set, or names no file.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("CRESCENDO_BINARY").context("CRESCENDO_BINARY is not set; use `make e2e`")?;
    let path = PathBuf::from(path);
    if !path.is_file() {
        bail!("CRESCENDO_BINARY names no file: {}", path.display());
    }
    Ok(path)
}

/// A running command.
#[derive(Debug)]
pub struct Crescendo {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    changed: watch::Receiver<usize>,
    readers: JoinSet<()>,
}

impl Crescendo {
    /// Starts the binary with the given words.
    ///
    /// # Errors
    ///
    /// The binary cannot be started.
    pub fn start(words: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the binary")?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (count, changed) = watch::channel(0);
        let mut readers = JoinSet::new();
        let count = Arc::new(count);
        let stdout = child.stdout.take().context("stdout is not piped")?;
        let stderr = child.stderr.take().context("stderr is not piped")?;
        readers.spawn(read_lines(stdout, Arc::clone(&lines), Arc::clone(&count)));
        readers.spawn(read_lines(stderr, Arc::clone(&lines), count));
        Ok(Self { child, lines, changed, readers })
    }

    /// The process id.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// What was printed of late, for error messages.
    #[must_use]
    pub fn output(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Everything that an ended command printed.
    pub async fn drained(&mut self) -> String {
        while self.readers.join_next().await.is_some() {}
        self.output()
    }

    /// Waits for a line that contains `marker` and gives the line.
    ///
    /// # Errors
    ///
    /// The command ended or the time ran out before the line came; its output is in the error.
    pub async fn line_with(&mut self, marker: &str) -> Result<String> {
        let deadline = tokio::time::sleep(START_TIMEOUT);
        tokio::pin!(deadline);
        loop {
            self.changed.borrow_and_update();
            let found = {
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.iter().find(|line| line.contains(marker)).cloned()
            };
            if let Some(line) = found {
                return Ok(line);
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() {
                    return Err(anyhow!("ended without printing `{marker}`:\n{}", self.output()));
                },
                () = &mut deadline => bail!("did not print `{marker}` in time:\n{}", self.output()),
            }
        }
    }

    /// Sends a signal by name (`TERM`, `INT`, `KILL`).
    ///
    /// # Errors
    ///
    /// The process has ended, or `kill` fails.
    pub async fn signal(&self, name: &str) -> Result<()> {
        signal(self.id()?, name).await
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// The process does not end in time; its output is in the error.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(timeout, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_elapsed) => bail!("did not end within {timeout:?}:\n{}", self.output()),
        }
    }
}

/// Sends a signal to any process.
///
/// # Errors
///
/// `kill` cannot be run or fails.
pub async fn signal(id: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await?;
    if !status.success() {
        bail!("kill -{name} {id} failed");
    }
    Ok(())
}

/// Whether a process exists and is not a zombie.
#[must_use]
pub fn is_alive(id: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z'))
}

/// The children of a process.
#[must_use]
pub fn children(id: u32) -> Vec<u32> {
    // A child stands under the thread that started it.
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    found
}

/// A variable of a process' environment, as it was at its start.
///
/// # Errors
///
/// The process is gone or does not have the variable.
pub fn environment(id: u32, name: &str) -> Result<String> {
    let all = std::fs::read(format!("/proc/{id}/environ")).with_context(|| format!("the environment of {id}"))?;
    let prefix = format!("{name}=");
    let text = String::from_utf8_lossy(&all);
    let value = text.split('\0').find_map(|variable| variable.strip_prefix(&prefix));
    Ok(value.with_context(|| format!("process {id} has no {name}"))?.to_owned())
}

async fn read_lines(
    stream: impl AsyncRead + Unpin,
    lines: Arc<Mutex<VecDeque<String>>>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        count.send_modify(|count| *count += 1);
    }
}
