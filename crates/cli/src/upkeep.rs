//! The storage's owner: calls its upkeep, and closes it at the end.
//!
//! Rule: the storage never spawns; this task is the one that gives it time.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tsdb::Tsdb;

/// How often upkeep is called: twice in the sync interval of one second.
const EVERY: Duration = Duration::from_millis(500);

/// Keeps the storage until shutdown, then makes everything durable.
///
/// # Errors
///
/// The disk failed; nothing more can be written.
pub async fn run(tsdb: Tsdb, shutdown: CancellationToken) -> Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _instant = ticks.tick() => {}
        }
        let tsdb = tsdb.clone();
        tokio::task::spawn_blocking(move || tsdb.maintain()).await?.context("upkeep of the storage failed")?;
    }
    tokio::task::spawn_blocking(move || tsdb.close()).await?.context("cannot close the storage")
}
