//! Laptop mode: what a cluster does for the workers, in one process.
//!
//! - [`fleet`]: the workers as everybody here sees them; who may get a request.
//! - [`launcher`]: how a worker comes to life: [`WorkerLauncher`], and processes of our own binary.
//! - [`supervisor`]: as many workers as are wanted, restarted when they end, drained before they leave.
//! - [`front`]: the public address; each request to the ready worker with the fewest.
//! - [`metrics`]: what all of them say about themselves.
//! - [`autoscaler`]: reads metrics, asks `hpa`, tells the supervisor, publishes what it did.
//!
//! ```text
//!  clients ─▶ Front ─▶ worker      Supervisor ◀── wanted ── Autoscaler ◀── metrics API
//!               └─▶ worker            │ starts, probes, drains   │
//!                     ▲───────────────┘                          └─▶ AutoscalingStatus
//!  Fleet: phase, readiness, active requests; as target groups for discovery
//! ```
//!
//! Rule: a request is never sent to a worker that is leaving, and a worker never leaves while a request that
//! it was given runs, unless that takes longer than the grace period.
#![forbid(unsafe_code)]

pub mod autoscaler;
pub mod fleet;
pub mod front;
pub mod launcher;
pub mod metrics;
pub mod probe;
pub mod supervisor;

pub use autoscaler::{Autoscaler, AutoscalerConfig, MetricReading, MetricsSource, ReadError, ReadSample};
pub use fleet::{Fleet, WorkerPhase, WorkerSnapshot};
pub use front::{BindError, Front};
pub use launcher::{ProcessLauncher, WorkerLauncher, WorkerProcess, announcement};
pub use probe::{HttpProbe, Probe};
pub use supervisor::{Supervisor, SupervisorConfig};

/// A future on the heap, so that traits with asynchronous methods can be objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[cfg(test)]
mod tests;
