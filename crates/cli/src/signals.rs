//! Signals that ask the process to end, or to load its configuration anew.

/// Ready when SIGTERM or SIGINT (Ctrl-C) comes. Where a handler cannot be set, that signal ends the process
/// as the system does by itself.
pub async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut stream) => drop(stream.recv().await),
            Err(error) => {
                tracing::warn!(%error, "cannot wait for a signal");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

/// SIGHUPs: requests to load the configuration anew.
#[derive(Debug)]
pub struct HangUps(Option<tokio::signal::unix::Signal>);

impl HangUps {
    /// Takes them from now on; until then the signal ends the process.
    #[must_use]
    pub fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let stream = signal(SignalKind::hangup());
        Self(stream.inspect_err(|error| tracing::warn!(%error, "cannot wait for SIGHUP")).ok())
    }

    /// Ready when one comes.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(stream) => drop(stream.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Default for HangUps {
    fn default() -> Self {
        Self::new()
    }
}
