//! The checks: each a function from facts to findings.
//!
//! - [`all`]: every check, in the order of the setup document: Prometheus, cluster, metrics API, autoscalers.
//! - `server`, `targets`, `metrics`, `rules`: the engine. `monitor`: ServiceMonitor, Service, pods. `metrics_api`,
//!   `api_services`: what autoscalers read. `autoscalers`: they themselves. `lag`: how late they know.
//!
//! Rule: a check asks nobody; the same facts give the same findings.

mod api_services;
mod autoscalers;
mod lag;
mod metrics;
mod metrics_api;
mod monitor;
mod rules;
mod server;
mod targets;

#[cfg(test)]
mod tests;

use super::facts::Facts;
use super::finding::Finding;

pub(super) use lag::lags;

/// Findings under a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) findings: Vec<Finding>,
}

type Check = fn(&Facts) -> Vec<Finding>;

/// Every check under its heading.
const CHECKS: [(&str, &[Check]); 4] = [
    (
        "Prometheus",
        &[
            server::ready,
            server::configuration,
            targets::discovery,
            targets::up,
            targets::intervals,
            metrics::samples,
            metrics::queries,
            rules::loaded,
            rules::healthy,
            rules::alerts,
        ],
    ),
    ("Cluster", &[monitor::api_server, monitor::monitor, monitor::selected, monitor::service, monitor::pods]),
    ("Metrics API", &[api_services::available, metrics_api::custom, metrics_api::pods, metrics_api::external]),
    ("Autoscalers", &[autoscalers::conditions, autoscalers::metrics, lag::budget]),
];

/// What all checks say.
pub(super) fn all(facts: &Facts) -> Vec<Section> {
    let section = |(title, checks): (&'static str, &[Check])| Section {
        title,
        findings: checks.iter().flat_map(|check| check(facts)).collect(),
    };
    CHECKS.map(section).into()
}
