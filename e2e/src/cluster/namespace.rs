//! Namespaces of the kernel around a cluster: its own network, processes and mounts.
//!
//! Endpoints must not be loopback addresses, so the cluster has whole ranges of addresses that lead to itself:
//! `10.244.0.0/16` for pods and `10.96.0.0/16` for services. `/run` is empty, for what pods mount there.
//!
//! Rule: the namespaces end with the process that made them, and everything within ends with them.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Set within the namespaces.
const MARK: &str = "CRESCENDO_IN_NAMESPACE";

/// What is done before the program starts, as root of the namespaces.
const SETUP: &str = "ip link set lo up
ip route add local 10.244.0.0/16 dev lo
ip route add local 10.96.0.0/16 dev lo
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
exec \"$@\"";

/// Whether this process is within.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// A command within new namespaces; without root, by a user namespace.
///
/// # Errors
///
/// The user of this process cannot be told.
pub fn command(program: &str, words: &[&str]) -> Result<Command> {
    let mut command = Command::new("unshare");
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-euc", SETUP, "sh", program]).args(words).env(MARK, "1").kill_on_drop(true);
    Ok(command)
}

/// Why namespaces cannot be made here.
///
/// # Errors
///
/// As [`command`].
pub async fn refusal() -> Result<Option<String>> {
    match command("true", &[])?.stdin(Stdio::null()).output().await {
        Ok(output) if output.status.success() => Ok(None),
        Ok(output) => Ok(Some(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Ok(Some(format!("unshare: {error}"))),
    }
}

/// Runs one test of this test binary within namespaces.
///
/// # Errors
///
/// It fails there; what it printed is on this process' output.
pub async fn run_test(name: &str) -> Result<()> {
    let own = std::env::current_exe()?;
    let own = own.to_str().context("the path of the test is not UTF-8")?;
    let status = command(own, &[name, "--exact", "--nocapture"])?.stdin(Stdio::null()).status().await?;
    ensure!(status.success(), "{name} failed within its namespaces");
    Ok(())
}
