//! Programs of others that run beside ours: Debian's Prometheus and Alertmanager.
//!
//! - [`find`]: a program, or the line that says what did not run.
//! - [`Peer::start`], [`Peer::start_prometheus`]: a running one, and a client for it.
//!
//! Rule: without the programs (`make tools`) nothing is compared, which is said in one line and fails in CI.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::server::SOON;
use crate::wait;

/// A program in `PATH`, if it is there; what does not run without it is told by the caller's `None`.
///
/// # Errors
///
/// It is not there, and this is CI.
pub fn find(name: &str) -> Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let is_required = std::env::var_os("CI").is_some();
    ensure!(found.is_some() || !is_required, "no {name} in PATH; `make tools` gets it");
    Ok(found)
}

/// An address that is free now; the peers cannot tell which one they took.
///
/// # Errors
///
/// No port can be bound.
pub fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A running peer that ends with the test.
#[derive(Debug)]
pub struct Peer {
    /// Its pages and its API.
    pub web: Client,
    process: Child,
}

impl Peer {
    /// Starts a program that listens on `address` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It cannot be started, or is not ready in time.
    pub async fn start(program: &Path, words: Vec<String>, address: SocketAddr) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let web = Client::new(&format!("http://{address}"));
        let ready = || async { Ok(web.get("/-/ready").await?.status.as_u16()) };
        wait::until(&format!("{} is ready", program.display()), SOON, ready, |status| *status == 200).await?;
        Ok(Self { web, process })
    }

    /// Starts a Prometheus with this configuration and further flags; its data lie in `folder`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_prometheus(program: &Path, folder: &Path, config: &str, flags: &[&str]) -> Result<Self> {
        Self::start_prometheus_at(program, folder, config, flags, free_address()?).await
    }

    /// As [`start_prometheus`](Self::start_prometheus), on a given address.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_prometheus_at(
        program: &Path,
        folder: &Path,
        config: &str,
        flags: &[&str],
        address: SocketAddr,
    ) -> Result<Self> {
        let file = folder.join("peer.yml");
        std::fs::write(&file, config)?;
        let mut words = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("peer").display()),
            format!("--web.listen-address={address}"),
        ];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self::start(program, words, address).await
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// It has ended already and cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("cannot end the peer")
    }
}
