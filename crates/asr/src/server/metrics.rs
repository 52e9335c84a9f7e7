//! The server's metrics: the seven of the documented contract, and what stands beside them.
//!
//! - [`Metrics`]: one method for each thing that happens to a request; [`Metrics::page`] writes all.
//!
//! Accepted requests are counted once when they enter and once when they end, so that at rest
//! `asr_requests_enqueued_total` = `asr_total_requests` + `asr_active_requests`. Requests that were
//! never accepted and clients that hung up are in counters of their own, so that
//! `asr_failed_requests` / `asr_total_requests` is a ratio of ours.
//!
//! Rule: names, types and help texts of the first seven are a contract; the page is text format 0.0.4,
//! whatever a scraper asks for, because `OpenMetrics` would rename two of the counters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::MetricType;
use datamodel::registry::{Counter, Descriptor, Emit, Family, Gauge, Histogram, RegisterError, Registry};

use super::error::RejectReason;
use super::process::register_process_metrics;
use crate::gpu::GpuSample;

/// Content type of the page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From a word on a fast machine to the longest that a client waits. Under 5 s the steps are small,
/// because that is where users feel a difference.
const DURATION_BUCKETS: [f64; 18] =
    [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];

/// From a large GPU (1/200) over the default model on one core (1/25) to slower than speech.
const RTF_BUCKETS: [f64; 12] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0];

/// When a client went away: the closed set of values of the label `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUpPhase {
    /// While it sent its request, which so was never accepted.
    Upload,
    /// While the request waited.
    Queued,
    /// While the model worked, or while the answer was sent.
    Running,
}

impl HangUpPhase {
    const ALL: [Self; 3] = [Self::Upload, Self::Queued, Self::Running];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Queued => "queued",
            Self::Running => "running",
        }
    }
}

/// All instruments of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    asr: Registry,
    process: Registry,
    active: Gauge,
    total: Counter,
    failed: Counter,
    request_duration: Histogram,
    observed: Arc<Mutex<Observed>>,
    queued: Gauge,
    max_concurrent: Gauge,
    ready: Gauge,
    enqueued: Counter,
    dequeued: Counter,
    queue_wait: Histogram,
    processing: Histogram,
    audio_seconds: Counter,
    real_time_factor: Histogram,
    rejected: Family<Counter, 1>,
    hung_up: Family<Counter, 1>,
}

/// Values that may be absent.
#[derive(Debug, Default)]
struct Observed {
    model_load_seconds: Option<f64>,
    gpu: GpuSample,
}

impl Metrics {
    /// Declares everything. The pod's name, where there is one, is a label of every `asr_` sample.
    ///
    /// # Errors
    /// A mistake in this file, which a test finds.
    pub(crate) fn new(pod_name: Option<&str>) -> Result<Self, RegisterError> {
        let asr = Registry::with_constant_labels(pod_name.map(|name| ("pod", name)))?;
        let process = Registry::new();
        // The contract, in the order of its document.
        let active = asr.gauge("asr_active_requests", "Current active requests")?;
        let total = asr.counter("asr_total_requests", "Total requests processed")?;
        let failed = asr.counter("asr_failed_requests", "Total failed requests")?;
        let request_duration =
            asr.histogram("asr_request_duration_seconds", "Request processing time", &DURATION_BUCKETS)?;
        let observed = declare_observed(&asr)?;
        // Ours.
        let queued = asr.gauge("asr_queued_requests", "Accepted requests that wait for a compute thread")?;
        let max_concurrent = asr.gauge("asr_max_concurrent_requests", "Requests that can compute at once")?;
        let ready = asr.gauge("asr_ready", "Whether the server takes requests: loaded and not shutting down")?;
        let enqueued = asr.counter("asr_requests_enqueued_total", "Requests accepted into the queue")?;
        let dequeued =
            asr.counter("asr_requests_dequeued_total", "Requests that left the queue: to compute, or given up")?;
        let queue_wait =
            asr.histogram("asr_queue_wait_seconds", "Time that requests spent in the queue", &DURATION_BUCKETS)?;
        let processing =
            asr.histogram("asr_processing_seconds", "Time of computing alone, without the queue", &DURATION_BUCKETS)?;
        let audio_seconds = asr.counter("asr_audio_seconds_total", "Duration of the audio transcribed")?;
        let real_time_factor =
            asr.histogram("asr_real_time_factor", "Computing time over the audio's duration", &RTF_BUCKETS)?;
        let rejected =
            asr.counter_family("asr_rejected_requests_total", "Requests that were not accepted", ["reason"])?;
        let hung_up =
            asr.counter_family("asr_client_hangups_total", "Requests whose client went away first", ["phase"])?;
        // Present from the first scrape, so that the first of them is an increase.
        for reason in RejectReason::ALL {
            rejected.with([reason.as_str()]).inc_by(0);
        }
        for phase in HangUpPhase::ALL {
            hung_up.with([phase.as_str()]).inc_by(0);
        }
        register_process_metrics(&process)?;
        Ok(Self {
            asr,
            process,
            active,
            total,
            failed,
            request_duration,
            observed,
            queued,
            max_concurrent,
            ready,
            enqueued,
            dequeued,
            queue_wait,
            processing,
            audio_seconds,
            real_time_factor,
            rejected,
            hung_up,
        })
    }

    /// The page that scrapers read.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        self.asr.encode_text(&mut page);
        self.process.encode_text(&mut page);
        page
    }

    /// Names, types and help texts of all metrics, for the catalogue.
    pub(crate) fn catalogue(&self) -> Vec<Descriptor> {
        let mut all = self.asr.families();
        all.extend(self.process.families());
        all
    }

    pub(crate) fn set_max_concurrent(&self, count: usize) {
        self.max_concurrent.set(count as f64);
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.ready.set(f64::from(u8::from(is_ready)));
    }

    pub(crate) fn set_model_load_seconds(&self, seconds: f64) {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).model_load_seconds = Some(seconds);
    }

    pub(crate) fn set_gpu(&self, sample: GpuSample) {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).gpu = sample;
    }

    /// A request was not accepted.
    pub(crate) fn rejected(&self, reason: RejectReason) {
        self.rejected.with([reason.as_str()]).inc();
    }

    /// A request was accepted: it is active, and it waits.
    pub(crate) fn enqueued(&self) {
        self.active.inc();
        self.queued.inc();
        self.enqueued.inc();
    }

    /// A request no longer waits.
    pub(crate) fn dequeued(&self, wait: Duration) {
        self.queued.dec();
        self.dequeued.inc();
        self.queue_wait.observe_duration(wait);
    }

    /// The model made a transcript.
    pub(crate) fn processed(&self, elapsed: Duration, audio_seconds: f64) {
        self.processing.observe_duration(elapsed);
        if audio_seconds > 0.0 {
            self.audio_seconds.add(audio_seconds);
            self.real_time_factor.observe(elapsed.as_secs_f64() / audio_seconds);
        }
    }

    /// An accepted request was answered.
    pub(crate) fn ended(&self, duration: Duration, failed: bool) {
        self.request_duration.observe_duration(duration);
        if failed {
            self.failed.inc();
        }
        self.total.inc();
        self.active.dec();
    }

    /// An accepted request ended because its client went away.
    pub(crate) fn hung_up(&self, phase: HangUpPhase) {
        self.hung_up.with([phase.as_str()]).inc();
        self.total.inc();
        self.active.dec();
    }

    /// A client went away while it sent a request.
    pub(crate) fn hung_up_while_sending(&self) {
        self.hung_up.with([HangUpPhase::Upload.as_str()]).inc();
    }
}

fn gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Gauge, help }
}

fn emit_all(emit: &mut Emit, values: &[Option<f64>]) {
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = value {
            emit.sample(index, &[], *value);
        }
    }
}

fn declare_observed(registry: &Registry) -> Result<Arc<Mutex<Observed>>, RegisterError> {
    let observed = Arc::new(Mutex::new(Observed::default()));
    let seen = Arc::clone(&observed);
    let descriptors = [
        gauge("asr_model_load_time_seconds", "Time to load model on startup"),
        gauge("asr_gpu_utilization", "GPU utilization percentage"),
        gauge("asr_gpu_memory_used_bytes", "GPU memory used"),
        gauge("asr_gpu_memory_total_bytes", "GPU memory of the device"),
    ];
    registry.collector(&descriptors, move |emit| {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let GpuSample { utilization_percent, memory_used_bytes, memory_total_bytes } = seen.gpu;
        emit_all(emit, &[seen.model_load_seconds, utilization_percent, memory_used_bytes, memory_total_bytes]);
    })?;
    Ok(observed)
}
