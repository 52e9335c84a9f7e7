//! What the API says about itself.
//!
//! Rule: the names are Prometheus' own, so that its dashboards work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datamodel::MetricType;
use datamodel::registry::{Counter, Descriptor, Emit, Family, Gauge, Histogram, RegisterError, Registry};

/// Upstream's buckets for requests, in seconds.
const REQUEST_BUCKETS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Sum and count of times.
#[derive(Debug, Default)]
struct Times {
    sum_ms: AtomicU64,
    count: AtomicU64,
}

impl Times {
    fn add(&self, time: Duration) {
        self.sum_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn emit(&self, emit: &mut Emit, slice: &str) {
        let labels = [("slice", slice)];
        emit.suffixed(0, "_sum", &labels, self.sum_ms.load(Ordering::Relaxed) as f64 / 1000.0);
        emit.suffixed(0, "_count", &labels, self.count.load(Ordering::Relaxed) as f64);
    }
}

#[derive(Debug)]
pub(crate) struct WebMetrics {
    pub(crate) active_queries: Gauge,
    requests: Family<Counter, 2>,
    request_seconds: Family<Histogram, 1>,
    waited: Arc<Times>,
    ran: Arc<Times>,
}

impl WebMetrics {
    pub(crate) fn new(registry: &Registry, max_concurrency: usize) -> Result<Self, RegisterError> {
        let active_queries =
            registry.gauge("prometheus_engine_queries", "The current number of queries being executed or waiting.")?;
        registry
            .gauge("prometheus_engine_queries_concurrent_max", "The max number of concurrent queries.")?
            .set(max_concurrency as f64);
        let (waited, ran) = (Arc::new(Times::default()), Arc::new(Times::default()));
        let duration = Descriptor {
            name: "prometheus_engine_query_duration_seconds",
            metric_type: MetricType::Summary,
            help: "Query timings.",
        };
        let (read_waited, read_ran) = (Arc::clone(&waited), Arc::clone(&ran));
        registry.collector(&[duration], move |emit| {
            read_ran.emit(emit, "inner_eval");
            read_waited.emit(emit, "queue_time");
        })?;
        Ok(Self {
            active_queries,
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
            waited,
            ran,
        })
    }

    pub(crate) fn observe(&self, handler: &str, code: u16, took: Duration) {
        self.requests.with([handler, &code.to_string()]).inc();
        self.request_seconds.with([handler]).observe_duration(took);
    }

    pub(crate) fn query_waited(&self, time: Duration) {
        self.waited.add(time);
    }

    pub(crate) fn query_ran(&self, time: Duration) {
        self.ran.add(time);
    }
}
