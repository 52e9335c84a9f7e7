//! How a worker's process comes to life and ends.
//!
//! - [`WorkerLauncher`], [`WorkerProcess`]: the seam; tests put their own behind it.
//! - [`ProcessLauncher`]: our own binary as a child process.
//! - [`announcement`]: the line that a worker writes when it listens.
//!
//! Rule: a child holds the read end of a pipe whose write end only we hold, as its standard input. When this
//! process ends, however it ends, the child reads the end of its input and ends itself.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::BoxFuture;

/// What a worker's line says before its address.
const ANNOUNCEMENT: &str = "listening on ";
/// Longest line that is looked at for an announcement.
const MAX_LINE_BYTES: u64 = 1_024;
/// Lines before the announcement that are skipped.
const MAX_SKIPPED_LINES: usize = 100;

/// The line that a worker writes to its standard output when it listens.
#[must_use]
pub fn announcement(address: SocketAddr) -> String {
    format!("{ANNOUNCEMENT}{address}")
}

/// Starts workers.
pub trait WorkerLauncher: Send + Sync + fmt::Debug {
    /// Starts the process of the worker with this name.
    ///
    /// # Errors
    ///
    /// It could not be started; the supervisor tries again later.
    fn launch(&self, name: &str) -> io::Result<Box<dyn WorkerProcess>>;
}

/// A process that was started. Dropping it kills it.
pub trait WorkerProcess: Send {
    /// Waits until the process says where it listens. Called once.
    ///
    /// # Errors
    ///
    /// It ended before, or said something else.
    fn announced(&mut self) -> BoxFuture<'_, io::Result<SocketAddr>>;

    /// Waits for its end; the result tells how it ended. May be dropped and called again.
    fn wait(&mut self) -> BoxFuture<'_, String>;

    /// Asks it to end (SIGTERM).
    fn terminate(&mut self);

    /// Ends it (SIGKILL).
    fn kill(&mut self);
}

/// Starts the same program again and again: ours, as a worker.
#[derive(Clone, Debug)]
pub struct ProcessLauncher {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
}

impl ProcessLauncher {
    /// `program` is usually `std::env::current_exe()`, `arguments` begin with `asr`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, environment: Vec::new() }
    }

    /// Adds a variable to the environment of the workers.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

impl WorkerLauncher for ProcessLauncher {
    fn launch(&self, name: &str) -> io::Result<Box<dyn WorkerProcess>> {
        Ok(Box::new(self.spawn(name)?))
    }
}

impl ProcessLauncher {
    fn spawn(&self, name: &str) -> io::Result<ChildProcess> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("POD_NAME", name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // A signal from the terminal goes to us alone: we drain the workers first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(ChildProcess { child, stdin, stdout })
    }
}

struct ChildProcess {
    child: Child,
    /// The write end of its standard input. Not left in `child`, whose `wait` would close it.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl ChildProcess {
    async fn read_announcement(&mut self) -> io::Result<SocketAddr> {
        let stdout = self.stdout.as_mut().ok_or_else(|| io::Error::other("its output was read already"))?;
        for _ in 0..MAX_SKIPPED_LINES {
            let mut line = Vec::new();
            if stdout.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it listened"));
            }
            let line = String::from_utf8_lossy(&line);
            if let Some(address) = line.trim_end().strip_prefix(ANNOUNCEMENT) {
                return address.parse().map_err(|_not_one| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("it announced no address: `{address}`"))
                });
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "it wrote no announcement"))
    }

    /// Reads and drops what the child writes, so that it never waits for us.
    async fn drain(stdout: &mut Option<BufReader<ChildStdout>>) -> Infallible {
        let mut buffer = [0; 1024];
        while let Some(open) = stdout {
            if !matches!(open.read(&mut buffer).await, Ok(1..)) {
                *stdout = None;
            }
        }
        std::future::pending().await
    }
}

impl WorkerProcess for ChildProcess {
    fn announced(&mut self) -> BoxFuture<'_, io::Result<SocketAddr>> {
        Box::pin(self.read_announcement())
    }

    fn wait(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let ended = tokio::select! {
                ended = self.child.wait() => ended,
                never = Self::drain(&mut self.stdout) => match never {},
            };
            ended.map_or_else(|error| error.to_string(), |status| status.to_string())
        })
    }

    fn terminate(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It is our child and not waited for yet, so the number is still its own.
            if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
                tracing::debug!(%error, "worker is gone already");
            }
        }
    }

    fn kill(&mut self) {
        self.stdin = None;
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "worker is gone already");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn process_announces_itself_under_its_name_and_ends_by_sigterm() {
        let script = "echo starting; echo listening on 127.0.0.1:4$(printf %s \"$POD_NAME\"); exec cat";
        let mut process = shell(script).spawn("22").unwrap();
        assert_eq!(process.announced().await.unwrap(), "127.0.0.1:422".parse().unwrap());
        process.terminate();
        assert_eq!(process.wait().await, "signal: 15 (SIGTERM)");
        // Nothing is left to be told; neither call fails.
        process.terminate();
        process.kill();
    }

    #[tokio::test]
    async fn process_reads_the_end_of_its_input_when_our_end_is_gone() {
        let mut process = shell("cat > /dev/null; exit 7").spawn("a").unwrap();
        process.stdin = None;
        assert_eq!(process.wait().await, "exit status: 7");
    }

    #[tokio::test]
    async fn process_that_writes_much_is_not_held_up() {
        let mut process =
            shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done").spawn("a").unwrap();
        assert_eq!(process.wait().await, "exit status: 0");
    }

    #[tokio::test]
    async fn process_without_announcement_is_told_apart() {
        for (script, error) in [
            ("exit 3", "it ended before it listened"),
            ("echo listening on somewhere", "it announced no address: `somewhere`"),
            ("yes | head -n 1000; exec cat", "it wrote no announcement"),
        ] {
            let mut process = shell(script).launch("a").unwrap();
            assert_eq!(process.announced().await.unwrap_err().to_string(), error);
        }
        assert!(ProcessLauncher::new("/nowhere", ["asr"]).launch("a").is_err());
        let address = "127.0.0.1:5".parse().unwrap();
        assert_eq!(announcement(address), "listening on 127.0.0.1:5");
    }

    fn shell(script: &str) -> ProcessLauncher {
        ProcessLauncher::new("/bin/sh", ["-c", script]).with_variable("LC_ALL", "C")
    }
}
