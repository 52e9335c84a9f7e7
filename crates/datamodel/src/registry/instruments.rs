//! Counters, gauges, histograms: handles to atomics.
//!
//! Rule: an update never blocks and never fails; what makes no sense (a negative increment, NaN) is ignored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Emit, MAX_BUCKETS};
use crate::exposition::Part;
use crate::metadata::MetricType;

/// What a registry can hold and a family can have children of.
pub trait Instrument: Clone + Send + Sync + 'static {
    /// The type that is declared for it.
    const METRIC_TYPE: MetricType;

    /// A new one of the same shape, at zero.
    #[must_use]
    fn fresh(&self) -> Self;

    /// Adds its samples, as those of the first descriptor.
    fn emit(&self, emit: &mut Emit, labels: &[(&'static str, &str)]);
}

/// A float that several threads change.
#[derive(Debug, Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn add(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        // The closure always gives a value, so that this cannot fail.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or_default();
    }
}

/// Rises only. A clone is the same counter.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<CounterValue>);

/// Whole increments are kept apart: they need no loop, and stay exact beyond 2^53.
#[derive(Debug, Default)]
struct CounterValue {
    whole: AtomicU64,
    rest: AtomicF64,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds a whole number.
    pub fn inc_by(&self, by: u64) {
        self.0.whole.fetch_add(by, Ordering::Relaxed);
    }

    /// Adds a number; a negative one and NaN are ignored.
    pub fn add(&self, by: f64) {
        if by > 0.0 {
            self.0.rest.add(by);
        }
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.whole.load(Ordering::Relaxed) as f64 + self.0.rest.get()
    }
}

impl Instrument for Counter {
    const METRIC_TYPE: MetricType = MetricType::Counter;

    fn fresh(&self) -> Self {
        Self::default()
    }

    fn emit(&self, emit: &mut Emit, labels: &[(&'static str, &str)]) {
        emit.sample(0, labels, self.get());
    }
}

/// Goes up and down. A clone is the same gauge.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicF64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts one.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// Adds a number, negative to subtract.
    pub fn add(&self, by: f64) {
        self.0.add(by);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Instrument for Gauge {
    const METRIC_TYPE: MetricType = MetricType::Gauge;

    fn fresh(&self) -> Self {
        Self::default()
    }

    fn emit(&self, emit: &mut Emit, labels: &[(&'static str, &str)]) {
        emit.sample(0, labels, self.get());
    }
}

/// Counts observations in buckets. A clone is the same histogram.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, inclusive, ascending.
    bounds: Vec<f64>,
    /// Observations in each bucket alone; one more than bounds.
    counts: Vec<AtomicU64>,
    sum: AtomicF64,
}

impl Histogram {
    /// A histogram outside any registry; `None` unless the bounds are finite, ascending and at most
    /// [`MAX_BUCKETS`].
    #[must_use]
    pub fn new(bounds: &[f64]) -> Option<Self> {
        let finite = bounds.iter().all(|bound| bound.is_finite());
        let ascending = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        if !finite || !ascending || bounds.len() > MAX_BUCKETS {
            return None;
        }
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Some(Self(Arc::new(Buckets { bounds: bounds.to_vec(), counts, sum: AtomicF64::default() })))
    }

    /// Counts one observation; NaN is ignored.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            self.0.sum.add(value);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one observation in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// All observations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Sum of all observed values so far.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.0.sum.get()
    }

    /// Upper bounds (`+Inf` last) and the observations up to each, as they are written.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut so_far = 0;
        let up_to = |(bound, count): (f64, &AtomicU64)| {
            so_far += count.load(Ordering::Relaxed);
            (bound, so_far)
        };
        bounds.zip(&self.0.counts).map(up_to).collect()
    }
}

impl Instrument for Histogram {
    const METRIC_TYPE: MetricType = MetricType::Histogram;

    fn fresh(&self) -> Self {
        let counts = self.0.counts.iter().map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds: self.0.bounds.clone(), counts, sum: AtomicF64::default() }))
    }

    fn emit(&self, emit: &mut Emit, labels: &[(&'static str, &str)]) {
        let buckets = self.cumulative();
        // Each bucket is read once, so that the count always equals the last bucket.
        let count = buckets.last().map_or(0, |(_, count)| *count);
        for (bound, count) in buckets {
            emit.part(0, Part::Bucket(bound), labels, count as f64);
        }
        emit.part(0, Part::Sum, labels, self.sum());
        emit.part(0, Part::Count, labels, count as f64);
    }
}
