//! What the notifier says about itself, under Prometheus' names.
//!
//! Rule: the only label is the URL of an Alertmanager, and one that is gone takes its series along.

use datamodel::registry::{Counter, Family, Gauge, Histogram, RegisterError, Registry, Summary};

const LABEL: [&str; 1] = ["alertmanager"];
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// Upstream's buckets.
const LATENCY_BUCKETS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// The instruments of the notifier.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    latency: Family<Summary, 1>,
    latency_histogram: Family<Histogram, 1>,
    errors: Family<Counter, 1>,
    sent: Family<Counter, 1>,
    dropped: Family<Counter, 1>,
    queue_length: Family<Gauge, 1>,
    pub(super) queue_capacity: Gauge,
    pub(super) discovered: Gauge,
}

/// The instruments of one Alertmanager.
#[derive(Clone, Debug)]
pub(super) struct ReceiverMetrics {
    pub(super) latency: Summary,
    pub(super) latency_histogram: Histogram,
    pub(super) errors: Counter,
    pub(super) sent: Counter,
    pub(super) dropped: Counter,
    pub(super) queue_length: Gauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            latency: registry.summary_family(
                "prometheus_notifications_latency_seconds",
                "Latency quantiles for sending alert notifications.",
                LABEL,
                &QUANTILES,
            )?,
            latency_histogram: registry.histogram_family(
                "prometheus_notifications_latency_histogram_seconds",
                "Latency histogram for sending alert notifications.",
                LABEL,
                &LATENCY_BUCKETS,
            )?,
            errors: registry.counter_family(
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
                LABEL,
            )?,
            sent: registry.counter_family(
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
                LABEL,
            )?,
            dropped: registry.counter_family(
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
                LABEL,
            )?,
            queue_length: registry.gauge_family(
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
                LABEL,
            )?,
            queue_capacity: registry
                .gauge("prometheus_notifications_queue_capacity", "The capacity of the alert notifications queue.")?,
            discovered: registry.gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "The number of alertmanagers discovered and active.",
            )?,
        })
    }

    pub(super) fn receiver(&self, url: &str) -> ReceiverMetrics {
        ReceiverMetrics {
            latency: self.latency.with([url]),
            latency_histogram: self.latency_histogram.with([url]),
            errors: self.errors.with([url]),
            sent: self.sent.with([url]),
            dropped: self.dropped.with([url]),
            queue_length: self.queue_length.with([url]),
        }
    }

    pub(super) fn end_receiver(&self, url: &str) {
        self.latency.remove([url]);
        self.latency_histogram.remove([url]);
        for family in [&self.errors, &self.sent, &self.dropped] {
            family.remove([url]);
        }
        self.queue_length.remove([url]);
    }
}
