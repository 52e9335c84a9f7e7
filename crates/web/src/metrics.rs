//! What the API says about itself.
//!
//! Rule: the names are Prometheus' own, so that its dashboards work.

use std::time::Duration;

use datamodel::registry::{Counter, Family, Gauge, Histogram, RegisterError, Registry, Summary};

use crate::parts::Readiness;

/// Upstream's buckets for requests, in seconds.
const REQUEST_BUCKETS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Upstream's quantiles of query times.
const QUERY_QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

#[derive(Debug)]
pub(crate) struct WebMetrics {
    pub(crate) active_queries: Gauge,
    pub(crate) federation_errors: Counter,
    requests: Family<Counter, 2>,
    request_seconds: Family<Histogram, 1>,
    query_waited: Summary,
    query_ran: Summary,
}

impl WebMetrics {
    pub(crate) fn new(
        registry: &Registry,
        max_concurrency: usize,
        readiness: &Readiness,
    ) -> Result<Self, RegisterError> {
        let ready = readiness.clone();
        registry.gauge_fn(
            "prometheus_ready",
            "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
            move || f64::from(u8::from(ready.is_ready())),
        )?;
        let active_queries =
            registry.gauge("prometheus_engine_queries", "The current number of queries being executed or waiting.")?;
        registry
            .gauge("prometheus_engine_queries_concurrent_max", "The max number of concurrent queries.")?
            .set(max_concurrency as f64);
        let query_duration = registry.summary_family(
            "prometheus_engine_query_duration_seconds",
            "Query timings.",
            ["slice"],
            &QUERY_QUANTILES,
        )?;
        Ok(Self {
            active_queries,
            federation_errors: registry.counter(
                "prometheus_web_federation_errors_total",
                "Total number of errors that occurred while sending federation responses.",
            )?,
            requests: registry.counter_family(
                "prometheus_http_requests_total",
                "Counter of HTTP requests.",
                ["handler", "code"],
            )?,
            request_seconds: registry.histogram_family(
                "prometheus_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests.",
                ["handler"],
                &REQUEST_BUCKETS,
            )?,
            query_waited: query_duration.with(["queue_time"]),
            query_ran: query_duration.with(["inner_eval"]),
        })
    }

    pub(crate) fn observe(&self, handler: &str, code: u16, took: Duration) {
        self.requests.with([handler, &code.to_string()]).inc();
        self.request_seconds.with([handler]).observe_duration(took);
    }

    pub(crate) fn query_waited(&self, time: Duration) {
        self.query_waited.observe_duration(time);
    }

    pub(crate) fn query_ran(&self, time: Duration) {
        self.query_ran.observe_duration(time);
    }
}
