//! The Kubernetes API, and what is found out with it.
//!
//! - [`operator`]: `ServiceMonitors` and their like as scrape jobs and rule files, as Prometheus Operator makes them.
//! - [`json`]: YAML documents in the form in which the API gives objects.
//!
//! Rule: what comes from the API is hostile: every size has a bound, and an object that is wrong costs itself only.
#![forbid(unsafe_code)]

pub mod json;
pub mod operator;
