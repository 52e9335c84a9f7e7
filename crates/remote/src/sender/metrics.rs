//! What the sender says about itself, under Prometheus' names.
//!
//! Rule: the labels are the name and the URL of a configured storage; one that is gone takes its series along.

use datamodel::registry::{Counter, Family, Gauge, Histogram, RegisterError, Registry};

use super::config::RemoteWriteConfig;
use super::request::Counts;

const LABELS: [&str; 2] = ["remote_name", "url"];
const REASON_LABELS: [&str; 3] = ["remote_name", "url", "reason"];
/// From a request within a machine to one that nearly times out.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Why samples are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Relabelling dropped the series.
    Relabelling,
    /// Older than the configuration allows.
    TooOld,
    /// The oldest of a full queue.
    QueueFull,
}

impl Reason {
    const ALL: [Self; 3] = [Self::Relabelling, Self::TooOld, Self::QueueFull];

    /// Upstream's words; it has no bound of its own that could be full.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Relabelling => "dropped_series",
            Self::TooOld => "too_old",
            Self::QueueFull => "queue_full",
        }
    }
}

/// One counter for each kind of sample.
#[derive(Clone, Debug)]
struct Kinds<T> {
    samples: T,
    histograms: T,
    exemplars: T,
}

impl Kinds<Counter> {
    fn add(&self, counts: Counts) {
        self.samples.inc_by(counts.samples);
        self.histograms.inc_by(counts.histograms);
        self.exemplars.inc_by(counts.exemplars);
    }
}

impl<const N: usize> Kinds<Family<Counter, N>> {
    fn with(&self, labels: [&str; N]) -> Kinds<Counter> {
        Kinds {
            samples: self.samples.with(labels),
            histograms: self.histograms.with(labels),
            exemplars: self.exemplars.with(labels),
        }
    }

    fn remove(&self, labels: [&str; N]) {
        self.samples.remove(labels);
        self.histograms.remove(labels);
        self.exemplars.remove(labels);
    }
}

/// The instruments of the sender.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    sent: Kinds<Family<Counter, 2>>,
    failed: Kinds<Family<Counter, 2>>,
    retried: Kinds<Family<Counter, 2>>,
    dropped: Kinds<Family<Counter, 3>>,
    metadata: Family<Counter, 2>,
    metadata_failed: Family<Counter, 2>,
    bytes: Family<Counter, 2>,
    metadata_bytes: Family<Counter, 2>,
    duration: Family<Histogram, 2>,
    pending: Family<Gauge, 2>,
    capacity: Family<Gauge, 2>,
    per_send: Family<Gauge, 2>,
    newest: Family<Gauge, 2>,
    newest_sent: Family<Gauge, 2>,
}

/// The instruments of one storage.
#[derive(Clone, Debug)]
pub(super) struct RemoteMetrics {
    all: Metrics,
    name: String,
    url: String,
    sent: Kinds<Counter>,
    failed: Kinds<Counter>,
    retried: Kinds<Counter>,
    dropped: [Kinds<Counter>; 3],
    pub(super) metadata: Counter,
    pub(super) metadata_failed: Counter,
    pub(super) bytes: Counter,
    pub(super) metadata_bytes: Counter,
    pub(super) duration: Histogram,
    pub(super) pending: Gauge,
    pub(super) newest: Gauge,
    pub(super) newest_sent: Gauge,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, RegisterError> {
        let counter = |name, help| registry.counter_family(name, help, LABELS);
        let gauge = |name, help| registry.gauge_family(name, help, LABELS);
        Ok(Self {
            sent: sent(registry)?,
            failed: failed(registry)?,
            retried: retried(registry)?,
            dropped: dropped(registry)?,
            metadata: counter(
                "prometheus_remote_storage_metadata_total",
                "Total number of metadata entries sent to remote storage.",
            )?,
            metadata_failed: counter(
                "prometheus_remote_storage_metadata_failed_total",
                "Total number of metadata entries which failed on send to remote storage.",
            )?,
            bytes: counter(
                "prometheus_remote_storage_bytes_total",
                "The total number of bytes of data (not metadata) sent by the queue after compression.",
            )?,
            metadata_bytes: counter(
                "prometheus_remote_storage_metadata_bytes_total",
                "The total number of bytes of metadata sent by the queue after compression.",
            )?,
            duration: registry.histogram_family(
                "prometheus_remote_storage_sent_batch_duration_seconds",
                "Duration of send calls to the remote storage.",
                LABELS,
                &BUCKETS,
            )?,
            pending: gauge(
                "prometheus_remote_storage_samples_pending",
                "The number of samples pending in the queue to be sent to the remote storage.",
            )?,
            capacity: gauge(
                "prometheus_remote_storage_shard_capacity",
                "The number of samples that may wait; the oldest of more are dropped.",
            )?,
            per_send: gauge(
                "prometheus_remote_storage_max_samples_per_send",
                "The maximum number of samples to be sent, in a single request, to the remote storage.",
            )?,
            newest: gauge(
                "prometheus_remote_storage_queue_highest_timestamp_seconds",
                "Highest timestamp that was enqueued, in seconds since epoch.",
            )?,
            newest_sent: gauge(
                "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
                "Highest timestamp successfully sent by this queue, in seconds since epoch.",
            )?,
        })
    }

    pub(super) fn of(&self, config: &RemoteWriteConfig) -> RemoteMetrics {
        let (name, url) = (config.name.clone(), shown(config));
        let labels = [name.as_str(), url.as_str()];
        let dropped = Reason::ALL.map(|reason| self.dropped.with([&name, &url, reason.as_str()]));
        self.capacity.with(labels).set(config.queue.waiting() as f64);
        self.per_send.with(labels).set(config.queue.max_samples_per_send as f64);
        RemoteMetrics {
            all: self.clone(),
            sent: self.sent.with(labels),
            failed: self.failed.with(labels),
            retried: self.retried.with(labels),
            dropped,
            metadata: self.metadata.with(labels),
            metadata_failed: self.metadata_failed.with(labels),
            bytes: self.bytes.with(labels),
            metadata_bytes: self.metadata_bytes.with(labels),
            duration: self.duration.with(labels),
            pending: self.pending.with(labels),
            newest: self.newest.with(labels),
            newest_sent: self.newest_sent.with(labels),
            name,
            url,
        }
    }
}

/// The URL without what could be a secret.
pub(super) fn shown(config: &RemoteWriteConfig) -> String {
    let url = config.url.to_string();
    match (url.split_once("://"), config.url.authority().map(http::uri::Authority::as_str)) {
        (Some((scheme, rest)), Some(authority)) if authority.contains('@') => {
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://<secret>@{host}{}", rest.strip_prefix(authority).unwrap_or_default())
        }
        _ => url,
    }
}

impl RemoteMetrics {
    pub(super) fn sent(&self, counts: Counts) {
        self.sent.add(counts);
    }

    pub(super) fn failed(&self, counts: Counts) {
        self.failed.add(counts);
    }

    pub(super) fn retried(&self, counts: Counts) {
        self.retried.add(counts);
    }

    pub(super) fn dropped(&self, reason: Reason, counts: Counts) {
        if let Some(counters) =
            Reason::ALL.iter().position(|other| *other == reason).and_then(|at| self.dropped.get(at))
        {
            counters.add(counts);
        }
    }

    /// Takes the series out of the registry.
    pub(super) fn forget(&self) {
        let labels = [self.name.as_str(), self.url.as_str()];
        for kinds in [&self.all.sent, &self.all.failed, &self.all.retried] {
            kinds.remove(labels);
        }
        for reason in Reason::ALL {
            self.all.dropped.remove([&self.name, &self.url, reason.as_str()]);
        }
        for family in [&self.all.metadata, &self.all.metadata_failed, &self.all.bytes, &self.all.metadata_bytes] {
            family.remove(labels);
        }
        self.all.duration.remove(labels);
        let gauges =
            [&self.all.pending, &self.all.capacity, &self.all.per_send, &self.all.newest, &self.all.newest_sent];
        for family in gauges {
            family.remove(labels);
        }
    }
}

fn sent(registry: &Registry) -> Result<Kinds<Family<Counter, 2>>, RegisterError> {
    let counter = |name, help| registry.counter_family(name, help, LABELS);
    Ok(Kinds {
        samples: counter("prometheus_remote_storage_samples_total", "Total number of samples sent to remote storage.")?,
        histograms: counter(
            "prometheus_remote_storage_histograms_total",
            "Total number of histograms sent to remote storage.",
        )?,
        exemplars: counter(
            "prometheus_remote_storage_exemplars_total",
            "Total number of exemplars sent to remote storage.",
        )?,
    })
}

fn failed(registry: &Registry) -> Result<Kinds<Family<Counter, 2>>, RegisterError> {
    let counter = |name, help| registry.counter_family(name, help, LABELS);
    Ok(Kinds {
        samples: counter(
            "prometheus_remote_storage_samples_failed_total",
            "Total number of samples which failed on send to remote storage, non-recoverable errors.",
        )?,
        histograms: counter(
            "prometheus_remote_storage_histograms_failed_total",
            "Total number of histograms which failed on send to remote storage, non-recoverable errors.",
        )?,
        exemplars: counter(
            "prometheus_remote_storage_exemplars_failed_total",
            "Total number of exemplars which failed on send to remote storage, non-recoverable errors.",
        )?,
    })
}

fn retried(registry: &Registry) -> Result<Kinds<Family<Counter, 2>>, RegisterError> {
    let counter = |name, help| registry.counter_family(name, help, LABELS);
    Ok(Kinds {
        samples: counter(
            "prometheus_remote_storage_samples_retried_total",
            "Total number of samples which failed on send to remote storage but were retried.",
        )?,
        histograms: counter(
            "prometheus_remote_storage_histograms_retried_total",
            "Total number of histograms which failed on send to remote storage but were retried.",
        )?,
        exemplars: counter(
            "prometheus_remote_storage_exemplars_retried_total",
            "Total number of exemplars which failed on send to remote storage but were retried.",
        )?,
    })
}

fn dropped(registry: &Registry) -> Result<Kinds<Family<Counter, 3>>, RegisterError> {
    let counter = |name, help| registry.counter_family(name, help, REASON_LABELS);
    Ok(Kinds {
        samples: counter(
            "prometheus_remote_storage_samples_dropped_total",
            "Total number of samples which were dropped before being sent via remote write.",
        )?,
        histograms: counter(
            "prometheus_remote_storage_histograms_dropped_total",
            "Total number of histograms which were dropped before being sent via remote write.",
        )?,
        exemplars: counter(
            "prometheus_remote_storage_exemplars_dropped_total",
            "Total number of exemplars which were dropped before being sent via remote write.",
        )?,
    })
}
