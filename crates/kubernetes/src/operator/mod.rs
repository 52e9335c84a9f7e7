//! `ServiceMonitors` and their like as scrape jobs and rule files: what Prometheus Operator writes for Prometheus.
//!
//! - [`objects`]: the objects; [`Selection`]: which of them a Prometheus object selects.
//! - [`Generator`]: objects to [`Generated`]: `global` and `scrape_configs` of a prometheus.yml, rule files, and
//!   what was rejected.
//! - `service_monitor`, `pod_monitor`, `probe`, `scrape_config`, `rules`: one kind each. `job`: what jobs have in
//!   common; `http`: credentials, TLS, proxies; `relabel`: rules on labels.
//! - [`Assets`]: the Secrets and `ConfigMaps` that objects name.
//!
//! ```text
//! Prometheus ─┐
//! monitors ───┼─▶ Generator ─▶ Generated ─▶ the reader of prometheus.yml ─▶ scrape jobs, rule groups
//! Assets ─────┘       └─▶ names of the assets that are needed
//! ```
//!
//! Rule: pure. An object with one wrong field is rejected as a whole, with the path of the field; the others go on.

mod assets;
#[cfg(test)]
mod conformance;
mod error;
mod generate;
mod http;
mod job;
pub mod objects;
mod pod_monitor;
mod probe;
mod relabel;
mod rules;
mod scrape_config;
mod select;
mod service_monitor;
#[cfg(test)]
mod tests;
mod version;

pub use assets::{AssetKind, AssetRef, Assets};
pub use error::{Problem, Rejection};
pub use generate::{Generated, Generator, Monitors, Origin, Rejected, RuleFile, ScrapeJob};
pub(crate) use relabel::meta_name;
pub use select::{Selection, read};
pub use version::Version;
