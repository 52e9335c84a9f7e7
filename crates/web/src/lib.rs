//! The HTTP API of the engine, as Prometheus' API v1 has it.
//!
//! - [`Api`]: what the API is made of; [`Api::router`] serves it.
//! - `api`: one module for each group of endpoints; `params`: parameters, `json`: answers, `error`: refusals.
//! - `pages`: what people see, rendered here.
//! - `gate`: how many queries run and wait.
//! - [`serve`]: a listener with its shutdown.
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
mod json;
mod metrics;
mod pages;
mod params;
mod server;

#[cfg(test)]
mod tests;

pub use api::{
    Api, ApiOptions, BuildInfo, DEFAULT_MAX_CONCURRENCY, MAX_BODY_BYTES, MAX_QUEUED_QUERIES, Parts, Readiness,
    StatusReceiver,
};
pub use error::{ApiError, ErrorType};
pub use server::serve;
