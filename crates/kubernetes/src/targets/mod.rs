//! `kubernetes_sd_configs`: the objects of a cluster as targets.
//!
//! - [`kubernetes_sd`]: reads one item of the list; [`KEY`] is its key.
//! - `config`: what it says. `discoverer`: watches, and reports groups that changed.
//! - `pod`, `service`, `endpoints`, `endpointslice`, `node`, `ingress`: an object of a role as a group of targets:
//!   pure functions. `objects`: the objects, as far as they concern that. `meta`: the meta labels of all.
//!
//! ```text
//! reflectors ─▶ stores ─┐ something changed: all groups are made anew,
//!                       └▶ role ─▶ groups ─▶ those that differ are reported
//! ```
//!
//! Rule: meta labels are Prometheus', to the letter; what has no value has no label.

mod config;
mod discoverer;
mod endpoints;
mod endpointslice;
mod ingress;
mod meta;
mod node;
mod objects;
mod pod;
mod role;
mod service;
#[cfg(test)]
mod tests;

pub use config::{KEY, KubernetesSdConfig, kubernetes_sd};
pub use discoverer::KubernetesDiscoverer;
pub use objects::{Endpoints, Ingress, Node, Pod, Service, Slice};
pub use role::Role;
