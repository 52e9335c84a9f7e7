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
        })
    }
}
