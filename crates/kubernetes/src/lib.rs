//! The Kubernetes API, and what is found out with it.
//!
//! - [`client`]: asks and watches an API server; [`client::Store`] holds what is watched.
//! - [`targets`]: `kubernetes_sd_configs`: objects as scrape targets.
//! - [`operator`]: `ServiceMonitors` and their like as scrape jobs and rule files, as Prometheus Operator makes them.
//! - [`monitors`]: watches those objects, and says what they become each time that it changes.
//! - [`state`]: what objects say of themselves as series, as kube-state-metrics tells it.
//! - [`objects`]: which objects and resources there are, for the metrics API.
//! - [`json`]: YAML documents in the form in which the API gives objects. [`testing`]: an API server for tests.
//! - `tasks`: what becomes of a watch that panics.
//!
//! Rule: what comes from the API is hostile: every size has a bound, and an object that is wrong costs itself only.
#![forbid(unsafe_code)]

pub mod client;
pub mod json;
pub mod monitors;
pub mod objects;
pub mod operator;
pub mod state;
pub mod targets;
mod tasks;
pub mod testing;
