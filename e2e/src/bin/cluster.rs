//! What runs in a test's cluster and is no part of `crescendo`: workers whose load is a number in a file, and the
//! cluster itself where a person wants it.
//!
//! - `cluster up`: runs a control plane with its node, in namespaces of its own, until it is interrupted.
//! - `cluster worker ADDRESS FILE`: says of itself that it has as many active requests as the file says.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use e2e::cluster::control_plane::{ControlPlane, program};
use e2e::cluster::namespace;
use e2e::cluster::node::Node;
use e2e::process::binary;
use e2e::target::Target;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["up"] => up().await,
        ["worker", address, file] => worker(address, file.into()).await,
        _ => bail!("usage: cluster {{up | worker ADDRESS FILE}}"),
    }
}

async fn up() -> Result<()> {
    if !namespace::is_inside() {
        let own = std::env::current_exe()?;
        let status = namespace::command(own.to_str().context("our own path is not UTF-8")?, &["up"])?.status().await?;
        anyhow::ensure!(status.success(), "the cluster has ended: {status}");
        return Ok(());
    }
    let program = program()?.context("CRESCENDO_CONTROLPLANE names no file; `make controlplane` builds it")?;
    let plane = Arc::new(ControlPlane::start(&program).await?);
    let _node = Node::start(&plane, folders()?).await?;
    println!("KUBECONFIG={}", plane.kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn folders() -> Result<Vec<PathBuf>> {
    let folder = |path: PathBuf| path.parent().map(PathBuf::from).context("a program without a folder");
    Ok(vec![folder(binary()?)?, folder(std::env::current_exe()?)?])
}

async fn worker(address: &str, file: PathBuf) -> Result<()> {
    let page = move || {
        let active = std::fs::read_to_string(&file).unwrap_or_default();
        format!("# TYPE asr_active_requests gauge\nasr_active_requests {}\n", active.trim())
    };
    let _target = Target::start_at(address.parse()?, page).await?;
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    end.recv().await;
    Ok(())
}
