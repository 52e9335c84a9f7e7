//! What is told of loads of the configuration.
//!
//! Rule: the names are Prometheus' own, so that its alert on failed reloads works.

use datamodel::Timestamp;
use datamodel::registry::{Gauge, RegisterError, Registry};

/// Whether, and when, the last load succeeded.
#[derive(Clone, Debug)]
pub struct ConfigMetrics {
    successful: Gauge,
    success_time: Gauge,
}

impl ConfigMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    ///
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            )?,
            success_time: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            )?,
        })
    }

    /// A configuration was put in force.
    pub fn succeeded(&self, at: Timestamp) {
        self.successful.set(1.0);
        self.success_time.set(at.unix_seconds());
    }

    /// A configuration was refused.
    pub fn failed(&self) {
        self.successful.set(0.0);
    }
}
