//! What the adapter says about its source.
//!
//! Rule: labels are closed sets: paths of the API, the one server.

use std::time::Duration;

use datamodel::registry::{Counter, Family, Histogram, RegisterError, Registry};

/// Upper bounds in seconds, as prometheus-adapter's.
const DURATION_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The instruments of this crate.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    duration: Family<Histogram, 2>,
    recalled: Counter,
}

impl SourceMetrics {
    /// Declares the instruments.
    ///
    /// # Errors
    ///
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            duration: registry.histogram_family(
                "prometheus_adapter_prometheus_client_request_duration_seconds",
                "Time from a question to the source to its answer.",
                ["path", "server"],
                &DURATION_BUCKETS,
            )?,
            recalled: registry.counter(
                "crescendo_adapter_recalled_answers_total",
                "Questions that were answered with the last answer of a source that did not answer.",
            )?,
        })
    }

    pub(crate) fn asked(&self, path: &str, server: &str, took: Duration) {
        self.duration.with([path, server]).observe_duration(took);
    }

    pub(crate) fn recalled(&self) {
        self.recalled.inc();
    }
}
