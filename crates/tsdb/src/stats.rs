//! Figures about what is stored, for metrics and for the status page.

use std::path::Path;

use crate::head::Head;

/// A label, or a label name, and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The metric name, label name, or `name=value`.
    pub name: String,
    /// Series, values, or bytes.
    pub value: u64,
}

/// What is stored.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Series in the head.
    pub head_series: u64,
    /// Samples in the head, that is not sealed yet.
    pub head_samples: u64,
    /// Bytes of memory that the head holds, nearly.
    pub head_bytes: u64,
    /// Oldest and newest sample in the head, in Unix milliseconds.
    pub head_bounds_ms: Option<(i64, i64)>,
    /// Distinct label names and values that the head knows.
    pub symbols: u64,
    /// Distinct labels that the head knows.
    pub label_pairs: u64,
    /// Samples that were committed since the start.
    pub appended_samples: u64,
    /// Bytes of the write-ahead logs.
    pub wal_bytes: u64,
    /// Sealed segments, and what they hold together.
    pub segments: u64,
    /// Samples in sealed segments.
    pub sealed_samples: u64,
    /// Bytes of sealed segments.
    pub sealed_bytes: u64,
    /// Oldest and newest sample in sealed segments, in Unix milliseconds.
    pub sealed_bounds_ms: Option<(i64, i64)>,
    /// Bytes of all files in the folder.
    pub disk_bytes: u64,
}

impl Stats {
    pub(crate) fn collect(head: &Head, path: &Path, wal_bytes: u64, appended_samples: u64) -> Self {
        let segments = head.segments();
        Self {
            head_series: head.series_len() as u64,
            head_samples: head.samples_len(),
            head_bytes: head.byte_len() as u64,
            head_bounds_ms: head.bounds(),
            symbols: head.index.symbols_len() as u64,
            label_pairs: head.index.pairs_len() as u64,
            appended_samples,
            wal_bytes,
            segments: segments.len() as u64,
            sealed_samples: segments.iter().map(|segment| segment.samples).sum(),
            sealed_bytes: segments.iter().map(|segment| segment.byte_len()).sum(),
            sealed_bounds_ms: segments
                .iter()
                .map(|segment| segment.min_ms)
                .min()
                .zip(segments.iter().map(|segment| segment.max_ms).max()),
            disk_bytes: disk_bytes(path),
        }
    }
}

/// Where series come from: the tables of the TSDB status page, each descending.
#[derive(Clone, Debug, Default)]
pub struct Cardinality {
    /// Series by metric name.
    pub series_by_metric: Vec<Count>,
    /// Distinct values by label name.
    pub values_by_label: Vec<Count>,
    /// Bytes of all values, counted once for each series, by label name.
    pub bytes_by_label: Vec<Count>,
    /// Series by `name=value`.
    pub series_by_pair: Vec<Count>,
}

impl Cardinality {
    pub(crate) fn collect(head: &Head, limit: usize) -> Self {
        let mut tables = Self::default();
        for (name, values) in head.index.cardinality() {
            let (mut distinct, mut bytes) = (0, 0);
            for (value, series) in values {
                let series = series as u64;
                distinct += 1;
                bytes += value.len() as u64 * series;
                if name == datamodel::METRIC_NAME {
                    tables.series_by_metric.push(Count { name: value.to_owned(), value: series });
                }
                let pair = Count { name: format!("{name}={value}"), value: series };
                push_top(&mut tables.series_by_pair, pair, limit);
            }
            if distinct > 0 {
                tables.values_by_label.push(Count { name: name.to_owned(), value: distinct });
                tables.bytes_by_label.push(Count { name: name.to_owned(), value: bytes });
            }
        }
        let all = [
            &mut tables.series_by_metric,
            &mut tables.values_by_label,
            &mut tables.bytes_by_label,
            &mut tables.series_by_pair,
        ];
        for table in all {
            sort(table);
            table.truncate(limit);
        }
        tables
    }
}

fn sort(table: &mut [Count]) {
    table.sort_unstable_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
}

/// Keeps a table of candidates short, so that a million pairs take no million texts.
fn push_top(table: &mut Vec<Count>, count: Count, limit: usize) {
    table.push(count);
    if table.len() >= limit.saturating_mul(4).max(1024) {
        sort(table);
        table.truncate(limit);
    }
}

/// Bytes of all files below a folder; what vanishes meanwhile counts nothing.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_gone) => 0,
        })
        .sum()
}
