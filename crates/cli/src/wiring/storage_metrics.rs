//! What the storage says about itself.
//!
//! Rule: Prometheus' names where its words are true of our storage; `crescendo_` where only we have it.

use anyhow::Result;
use datamodel::MetricType;
use datamodel::registry::{Descriptor, Registry};
use tsdb::{Stats, Tsdb, TsdbOptions};

/// Milliseconds to seconds, as upstream's newer names have it.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

const fn gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Gauge, help }
}

/// A value, or none where the storage has nothing to say.
type Read = fn(&Stats) -> Option<f64>;

const METRICS: [(Descriptor, Read); 18] = [
    (
        Descriptor {
            name: "prometheus_tsdb_head_samples_appended_total",
            metric_type: MetricType::Counter,
            help: "Total number of appended samples.",
        },
        |stats| Some(stats.appended_samples as f64),
    ),
    (gauge("prometheus_tsdb_head_series", "Total number of series in the head block."), |stats| {
        Some(stats.head_series as f64)
    }),
    (gauge("prometheus_tsdb_head_min_time", "Minimum time bound of the head block, in milliseconds."), |stats| {
        stats.head_bounds_ms.map(|(min, _)| min as f64)
    }),
    (gauge("prometheus_tsdb_head_max_time", "Maximum timestamp of the head block, in milliseconds."), |stats| {
        stats.head_bounds_ms.map(|(_, max)| max as f64)
    }),
    (gauge("prometheus_tsdb_head_min_time_seconds", "Minimum time bound of the head block."), |stats| {
        stats.head_bounds_ms.map(|(min, _)| seconds(min))
    }),
    (gauge("prometheus_tsdb_head_max_time_seconds", "Maximum timestamp of the head block."), |stats| {
        stats.head_bounds_ms.map(|(_, max)| seconds(max))
    }),
    (gauge("prometheus_tsdb_lowest_timestamp", "Lowest timestamp value stored in the database."), |stats| {
        lowest(stats).map(|min| min as f64)
    }),
    (
        gauge("prometheus_tsdb_lowest_timestamp_seconds", "Lowest timestamp value stored in the database, in seconds."),
        |stats| lowest(stats).map(seconds),
    ),
    (
        gauge(
            "prometheus_tsdb_storage_blocks_bytes",
            "The number of bytes that are currently used for local storage by all blocks.",
        ),
        |stats| Some(stats.sealed_bytes as f64),
    ),
    (gauge("prometheus_tsdb_blocks_loaded", "Number of currently loaded data blocks."), |stats| {
        Some(stats.segments as f64)
    }),
    (gauge("prometheus_tsdb_wal_storage_size_bytes", "Size of the write-ahead log directory."), |stats| {
        Some(stats.wal_bytes as f64)
    }),
    (gauge("crescendo_tsdb_head_samples", "Samples in the head, that are not sealed yet."), |stats| {
        Some(stats.head_samples as f64)
    }),
    (gauge("crescendo_tsdb_head_bytes", "Bytes of memory that the head holds, nearly."), |stats| {
        Some(stats.head_bytes as f64)
    }),
    (gauge("crescendo_tsdb_sealed_samples", "Samples in sealed segments."), |stats| Some(stats.sealed_samples as f64)),
    (gauge("crescendo_tsdb_disk_bytes", "Bytes of all files of the storage."), |stats| Some(stats.disk_bytes as f64)),
    (gauge("crescendo_tsdb_head_symbols", "Distinct label names and values that the head knows."), |stats| {
        Some(stats.symbols as f64)
    }),
    (gauge("crescendo_tsdb_head_label_pairs", "Distinct labels that the head knows."), |stats| {
        Some(stats.label_pairs as f64)
    }),
    (gauge("crescendo_tsdb_sealed_max_time_seconds", "Maximum timestamp of the sealed segments."), |stats| {
        stats.sealed_bounds_ms.map(|(_, max)| seconds(max))
    }),
];

/// The oldest sample, wherever it lies.
fn lowest(stats: &Stats) -> Option<i64> {
    let bounds = [stats.head_bounds_ms, stats.sealed_bounds_ms];
    bounds.into_iter().flatten().map(|(min, _)| min).min()
}

/// What the storage deletes by; zero where it does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) seconds: f64,
    pub(super) bytes: f64,
}

impl Limits {
    pub(super) fn of(options: &TsdbOptions) -> Self {
        let seconds = options.retention_time.map_or(0.0, |time| time.as_secs_f64());
        Self { seconds, bytes: options.retention_size.unwrap_or(0) as f64 }
    }
}

/// Declares the metrics; they are read when they are scraped.
pub(super) fn register(registry: &Registry, tsdb: Tsdb, limits: Limits) -> Result<()> {
    let help = "Max age of the samples that are kept, 0 if there is no such limit.";
    registry.gauge("prometheus_tsdb_retention_limit_seconds", help)?.set(limits.seconds);
    let help = "Max number of bytes that are kept on disk, 0 if there is no such limit.";
    registry.gauge("prometheus_tsdb_retention_limit_bytes", help)?.set(limits.bytes);
    let descriptors: Vec<Descriptor> = METRICS.iter().map(|(descriptor, _)| *descriptor).collect();
    registry.collector(&descriptors, move |emit| {
        let stats = tsdb.stats();
        for (index, (_, read)) in METRICS.iter().enumerate() {
            if let Some(value) = read(&stats) {
                emit.sample(index, &[], value);
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_absent() {
        let stats = Stats { appended_samples: 7, head_bounds_ms: Some((1_500, 2_000)), ..Stats::default() };
        let value =
            |name: &str| METRICS.iter().find(|(metric, _)| metric.name == name).and_then(|(_, read)| read(&stats));
        assert_eq!(value("prometheus_tsdb_head_samples_appended_total"), Some(7.0));
        assert_eq!(value("prometheus_tsdb_lowest_timestamp_seconds"), Some(1.5));
        assert_eq!(value("crescendo_tsdb_sealed_max_time_seconds"), None);
    }
}
