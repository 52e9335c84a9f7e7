//! What discovery says about itself.
//!
//! Rule: the names are Prometheus' own.

use datamodel::registry::{Counter, Family, Gauge, RegisterError, Registry};

/// The metrics of all discoverers of a process. A clone counts on in the same ones.
#[derive(Clone, Debug)]
pub struct DiscoveryMetrics {
    pub(crate) file_read_errors: Counter,
    pub(crate) file_mtime: Family<Gauge, 1>,
    pub(crate) http_failures: Counter,
    pub(crate) dns_lookups: Counter,
    pub(crate) dns_failures: Counter,
    kubernetes_events: Family<Counter, 2>,
    kubernetes_failures: Counter,
}

impl DiscoveryMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    ///
    /// A name is taken.
    pub fn new(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            file_read_errors: registry
                .counter("prometheus_sd_file_read_errors_total", "The number of file discovery read errors.")?,
            file_mtime: registry.gauge_family(
                "prometheus_sd_file_mtime_seconds",
                "When a file of file discovery was last changed, in Unix seconds.",
                ["filename"],
            )?,
            http_failures: registry
                .counter("prometheus_sd_http_failures_total", "Number of HTTP discovery refresh failures.")?,
            dns_lookups: registry.counter("prometheus_sd_dns_lookups_total", "The number of DNS discovery lookups.")?,
            dns_failures: registry
                .counter("prometheus_sd_dns_lookup_failures_total", "The number of DNS discovery lookup failures.")?,
            kubernetes_events: registry.counter_family(
                "prometheus_sd_kubernetes_events_total",
                "The number of Kubernetes events handled.",
                ["role", "event"],
            )?,
            kubernetes_failures: registry.counter(
                "prometheus_sd_kubernetes_failures_total",
                "The number of failed list and watch requests to the Kubernetes API.",
            )?,
        })
    }

    /// Counts what happened to objects of a role: `add`, `update`, `delete`.
    pub fn kubernetes_events(&self, role: &'static str, event: &'static str, times: usize) {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.kubernetes_events.with([role, event]).add(f64::from(times));
    }

    /// Counts a request to the Kubernetes API that failed.
    pub fn kubernetes_failure(&self) {
        self.kubernetes_failures.inc();
    }
}
