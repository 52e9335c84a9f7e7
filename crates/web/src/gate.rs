//! How many queries run, and how many wait.
//!
//! Rule: a query that cannot get its turn within its deadline is refused, and its work ends when its caller
//! is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datamodel::registry::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{ApiError, ErrorType};

/// Lets a bounded number of queries through.
#[derive(Debug)]
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    /// Those that run and those that wait.
    admitted: Arc<Semaphore>,
    active: Gauge,
}

/// The turn of a query; it lasts until the work has ended, even if the caller is gone.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
    active: Gauge,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.active.dec();
    }
}

/// Raises a flag when the one who waits for the work is gone.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(concurrency: usize, queued: usize, active: Gauge) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            running: Arc::new(Semaphore::new(concurrency)),
            admitted: Arc::new(Semaphore::new(concurrency.saturating_add(queued))),
            active,
        }
    }

    /// Waits for a turn, at most so long.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<Turn, ApiError> {
        let busy = || ApiError::new(ErrorType::Unavailable, "too many queries are waiting");
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_full| busy())?;
        let late = || ApiError::new(ErrorType::Timeout, "query timed out in query queue");
        let running = timeout(patience, Arc::clone(&self.running).acquire_owned()).await.map_err(|_late| late())?;
        let running = running.map_err(|_closed| ApiError::new(ErrorType::Unavailable, "server is shutting down"))?;
        self.active.inc();
        Ok(Turn { _running: running, _admitted: admitted, active: self.active.clone() })
    }

    /// Runs work that blocks, in a turn of its own. `cancel` is raised when the caller is gone; the work
    /// must look at it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        cancel: Arc<AtomicBool>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.turn(patience).await?;
        let _cancel = CancelOnDrop(cancel);
        let worked = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        worked.await.map_err(|_panicked| ApiError::new(ErrorType::Internal, "query failed unexpectedly"))
    }
}
