//! Figures about what is stored, for metrics and for the status page.

use std::sync::atomic::{AtomicU64, Ordering};

use storage::AppendError;

use crate::db::Inner;
use crate::head::Head;

/// A label, or a label name, and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The metric name, label name, or `name=value`.
    pub name: String,
    /// Series, values, or bytes.
    pub value: u64,
}

/// What happened since the start, counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) histograms: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) seals: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) failed_upkeep: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) oversize: AtomicU64,
}

impl Counters {
    /// Counts a sample that was left out of a batch.
    pub(crate) fn note_refused(&self, error: &AppendError) {
        let counter = match error {
            AppendError::OutOfOrder { .. } => &self.out_of_order,
            AppendError::TooOld { .. } => &self.too_old,
            AppendError::Duplicate(_) => &self.duplicate,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
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
    /// Series that were created since the start, by the replay as well.
    pub created_series: u64,
    /// Series that were forgotten since the start, because they had no sample for a while.
    pub forgotten_series: u64,
    /// New series that were refused, because the head was full.
    pub shed_series: u64,
    /// Packed chunks in the head.
    pub head_chunks: u64,
    /// Samples that were committed since the start.
    pub appended_samples: u64,
    /// Native histograms among them.
    pub appended_histograms: u64,
    /// Samples among them that lay behind newer ones, inside the out-of-order window.
    pub late_samples: u64,
    /// Samples that were refused because the series has newer ones.
    pub out_of_order_samples: u64,
    /// Samples that were refused because they are older than what is kept.
    pub too_old_samples: u64,
    /// Samples that were refused because the series has another value for the instant.
    pub duplicate_samples: u64,
    /// Exemplars that are held.
    pub exemplars: u64,
    /// Bytes of memory that they hold, nearly.
    pub exemplar_bytes: u64,
    /// Series that have exemplars.
    pub exemplar_series: u64,
    /// The most exemplars that are kept.
    pub max_exemplars: u64,
    /// When the oldest exemplar was observed, in Unix milliseconds.
    pub oldest_exemplar_ms: Option<i64>,
    /// Exemplars that were taken since the start, the replay included.
    pub appended_exemplars: u64,
    /// Exemplars that were older than the newest of their series, or repeated it.
    pub left_out_exemplars: u64,
    /// Seals of the head since the start.
    pub seals: u64,
    /// Merges of segments since the start.
    pub merges: u64,
    /// Steps of upkeep that failed since the start.
    pub failed_upkeep: u64,
    /// Segments that were deleted since the start because they were too old.
    pub expired_segments: u64,
    /// Segments that were deleted since the start because the folder was too large.
    pub oversize_segments: u64,
    /// The number of the log that is written.
    pub wal_number: u64,
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
    pub(crate) fn collect(inner: &Inner) -> Self {
        let writer = inner.writer();
        let (appended_samples, wal_number) = (writer.appended_samples, writer.wal.number());
        drop(writer);
        let (wal_bytes, all_bytes) = (inner.disk.byte_len(&inner.wal_dir()), inner.disk.byte_len(&inner.options.path));
        let stats = Self { appended_samples, wal_number, wal_bytes, disk_bytes: all_bytes, ..Self::default() };
        stats.of_exemplars(inner).of_counters(&inner.counters).of_head(&inner.head())
    }

    fn of_exemplars(self, inner: &Inner) -> Self {
        let held = inner.exemplars();
        Self {
            exemplars: held.len() as u64,
            exemplar_bytes: held.byte_len() as u64,
            exemplar_series: held.series_len() as u64,
            max_exemplars: held.max() as u64,
            oldest_exemplar_ms: held.oldest().map(datamodel::Timestamp::unix_ms),
            appended_exemplars: held.appended(),
            left_out_exemplars: held.left_out(),
            ..self
        }
    }

    fn of_counters(self, counters: &Counters) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            appended_histograms: read(&counters.histograms),
            late_samples: read(&counters.late),
            out_of_order_samples: read(&counters.out_of_order),
            too_old_samples: read(&counters.too_old),
            duplicate_samples: read(&counters.duplicate),
            shed_series: read(&counters.shed),
            seals: read(&counters.seals),
            merges: read(&counters.merges),
            failed_upkeep: read(&counters.failed_upkeep),
            expired_segments: read(&counters.expired),
            oversize_segments: read(&counters.oversize),
            ..self
        }
    }

    fn of_head(self, head: &Head) -> Self {
        let segments = head.segments();
        let (created_series, forgotten_series) = head.turnover();
        Self {
            created_series,
            forgotten_series,
            head_chunks: head.chunks_len() as u64,
            head_series: head.series_len() as u64,
            head_samples: head.samples_len(),
            head_bytes: head.byte_len() as u64,
            head_bounds_ms: head.bounds(),
            symbols: head.index.symbols_len() as u64,
            label_pairs: head.index.pairs_len() as u64,
            segments: segments.len() as u64,
            sealed_samples: segments.iter().map(|segment| segment.samples).sum(),
            sealed_bytes: segments.iter().map(|segment| segment.byte_len()).sum(),
            sealed_bounds_ms: segments
                .iter()
                .map(|segment| segment.min_ms)
                .min()
                .zip(segments.iter().map(|segment| segment.max_ms).max()),
            ..self
        }
    }
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, which is the name of its file.
    pub number: u64,
    /// Merges that led to it.
    pub level: u8,
    /// First instant, in Unix milliseconds.
    pub min_ms: i64,
    /// Last instant, in Unix milliseconds.
    pub max_ms: i64,
    /// Samples in it.
    pub samples: u64,
    /// Series in it.
    pub series: u64,
    /// Bytes of its file.
    pub bytes: u64,
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
