//! The HTTP API of the engine, as Prometheus' API v1 has it.
//!
//! - [`Api`]: the API; [`Parts`]: what it is made of; [`Api::router`] serves it.
//! - [`ServerStatus`], [`StorageStatus`], [`StorageAdmin`], [`Alertmanagers`], [`Lifecycle`]: what the owner of
//!   the process connects. [`HostGuard`]: refuses foreign names on a loopback listener.
//! - `api`: one module for each group of endpoints; `params`: parameters, `json`: answers, `error`: refusals.
//! - `pages`: what people see, rendered here.
//! - `gate`: how many queries run and wait.
//! - [`kube_state_router`]: a page about a cluster, by itself; [`serve_streams`] serves it in memory.
//! - [`serve`]: a listener with its shutdown. [`Protection`]: TLS and users, as `web.config.file` says.
//!
//! ```text
//! request ─▶ params ─▶ gate (a bound) ─▶ spawn_blocking ─▶ engine, storage ─▶ json
//!                └─────────── every refusal: {"status":"error","errorType":…,"error":…}
//! ```
//!
//! Rule: paths, parameters, answers, status codes and texts are upstream's; an endpoint that is not served
//! says so by name.
#![forbid(unsafe_code)]

mod api;
mod error;
mod gate;
mod guard;
mod json;
mod kube_state;
mod metrics;
mod notifications;
mod pages;
mod params;
mod parts;
mod protection;
mod seams;
mod server;

#[cfg(test)]
mod tests;

pub use api::{Api, MAX_BODY_BYTES, StatusReceiver};
pub use error::{ApiError, ErrorType};
pub use guard::HostGuard;
pub use kube_state::{KUBE_STATE_PATH, kube_state_router};
pub use notifications::{MAX_NOTIFICATIONS, Notification, Notifications};
pub use parts::{
    ApiOptions, BuildInfo, DEFAULT_MAX_CONCURRENCY, DEFAULT_READ_SAMPLE_LIMIT, MAX_QUEUED_QUERIES, Parts, Readiness,
};
pub use protection::{ClientAuth, Protection, TlsServerConfig, WebConfig, WebConfigError};
pub use seams::{
    ActionError, Alertmanagers, BoxFuture, Cardinality, Count, DiskStatus, HeadStatus, Lifecycle, MetricsPage,
    ReplayStatus, RuntimeInfo, ServerStatus, StorageAdmin, StorageStatus,
};
pub use server::{MAX_WAITING_STREAMS, ServeOptions, serve, serve_streams};
