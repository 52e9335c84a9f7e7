//! Addresses that are written into a scrape configuration.
//!
//! Rule: only what a name says is used; nothing is looked up.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Check, Finding};

/// A static target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredTarget {
    /// The file that names it.
    pub file: Arc<str>,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The job.
    pub job: String,
    /// `host:port`.
    pub address: String,
}

/// Looks at static targets.
#[must_use]
pub fn lint_targets(targets: &[ConfiguredTarget]) -> Vec<Finding> {
    let services = targets.iter().filter(|target| is_service(&target.address));
    services
        .map(|target| Finding {
            check: Check::ServiceTarget,
            file: Arc::clone(&target.file),
            line: target.line,
            subject: format!("job `{}`, target `{}`", target.job, target.address),
            message: "looks like a Kubernetes Service: each scrape reaches another of its pods, so counters jump, \
                      and what the pods count is counted twice if they are scraped too"
                .to_owned(),
        })
        .collect()
}

/// Whether an address reads as a load-balanced Service: `name`, `name.namespace.svc`, with any cluster domain.
/// A pod of a `StatefulSet` (`web-0.nginx.default.svc`) is not one.
fn is_service(address: &str) -> bool {
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { address });
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok() {
        return false;
    }
    let labels: Vec<&str> = host.split('.').collect();
    match labels.iter().position(|label| *label == "svc") {
        Some(at) => at == 2,
        None => labels.len() == 1,
    }
}
