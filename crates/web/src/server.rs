//! A listener with its shutdown.
//!
//! Rule: after shutdown no request is accepted, and those that run are finished.

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
#[error("HTTP server failed on {address}")]
pub struct ServeError {
    /// Where it listened.
    pub address: String,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// Serves until shutdown, and returns when the last request has ended. The caller limits how long that may
/// take.
///
/// # Errors
///
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr().map_or_else(|_unknown| "an unknown address".to_owned(), |at| at.to_string());
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(|source| ServeError { address, source })
}
