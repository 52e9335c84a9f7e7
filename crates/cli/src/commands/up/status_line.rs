//! One line in the terminal: load, replicas, the last decision; written over itself.
//!
//! Rule: only where stderr is a terminal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hpa::status::AutoscalingStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::printer::Printer;

/// Not more often, so that a terminal over a slow line follows.
const EVERY: Duration = Duration::from_millis(500);

/// Values of the sparkline: one for each half second, so half a minute.
const HISTORY: usize = 60;

/// Width of the sparkline.
const WIDTH: usize = 20;

/// Writes the line until shutdown.
///
/// # Errors
///
/// Never; a terminal that is gone is no error.
pub(super) async fn run(
    status: watch::Receiver<Arc<AutoscalingStatus>>,
    printer: Printer,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut loads = Vec::new();
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _instant = ticks.tick() => {}
        }
        let now = Arc::clone(&status.borrow());
        loads.push(now.workers.iter().map(|worker| worker.active as f64).sum());
        if loads.len() > HISTORY {
            loads.remove(0);
        }
        printer.status(&line(&now, &loads));
    }
    printer.say("");
    Ok(())
}

/// At most some 100 characters.
fn line(status: &AutoscalingStatus, loads: &[f64]) -> String {
    let replicas = status.replicas;
    let active = loads.last().copied().unwrap_or_default();
    let mut line = format!(
        "active {active:>3} {}  replicas {}/{}",
        plot::sparkline(loads, WIDTH),
        replicas.ready,
        replicas.desired
    );
    if let Some(decision) = &status.decision {
        let message: String = decision.message.chars().take(60).collect();
        line.push_str(&format!("  {}: {message}", decision.reason));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_shows_load_and_replicas() {
        let mut status = AutoscalingStatus::default();
        status.replicas.ready = 2;
        status.replicas.desired = 3;
        let line = line(&status, &[0.0, 12.0]);
        assert!(line.starts_with("active  12 ") && line.ends_with("replicas 2/3"), "{line}");
    }
}
