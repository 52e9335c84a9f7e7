//! Native histograms: exponential or custom buckets in one sample.
//!
//! - [`Histogram`] (always with float counts: integers are exact up to 2^53), [`Span`] (runs of adjacent
//!   buckets), [`CounterResetHint`].
//! - `buckets`: bounds, [`Bucket`], scaling, compacting; `text`: as upstream prints them.
//! - `arithmetic`: sums and differences ([`HistogramSum`]); `reset`: counter resets; `trim`: cutting at a
//!   value ([`Trim`]); `classic`: from classic buckets ([`ClassicHistogram`]).
//! - `check`: what a histogram from outside must pass ([`HistogramError`]); `parts`: as protobuf messages carry
//!   it ([`HistogramParts`]).
//!
//! Source: Prometheus native histograms specification.
//!
//! Rule: buckets are absolute counts here, whatever form they arrive in.

mod arithmetic;
mod buckets;
mod check;
mod classic;
mod parts;
mod reset;
mod text;
mod trim;

use std::sync::Arc;

pub use arithmetic::{HistogramSum, IncompatibleBuckets, Reconciled, same_bounds};
pub use buckets::Bucket;
pub use check::{HistogramError, MAX_SCHEMA, MIN_SCHEMA};
pub use classic::{ClassicError, ClassicHistogram};
pub use parts::{HistogramParts, IntegerCounts};
pub use trim::Trim;

/// The schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What is known of a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Nothing is known: compare the two.
    #[default]
    Unknown,
    /// A reset happened just before this histogram.
    CounterReset,
    /// No reset happened.
    NotCounterReset,
    /// The histogram is a gauge: resets do not apply.
    Gauge,
}

/// A run of adjacent buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the end of the previous span; for the first span the index of its first bucket.
    pub offset: i32,
    /// Number of buckets in the run.
    pub length: u32,
}

/// A native histogram at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Counter reset hint.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution: -4 to 8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket: values in `[-zero_threshold, zero_threshold]`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observed values.
    pub sum: f64,
    /// Layout of [`positive_buckets`](Self::positive_buckets).
    pub positive_spans: Vec<Span>,
    /// Layout of [`negative_buckets`](Self::negative_buckets).
    pub negative_spans: Vec<Span>,
    /// Absolute counts of the buckets above zero, in order of the spans.
    pub positive_buckets: Vec<f64>,
    /// Absolute counts of the buckets below zero, in order of the spans.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without `+Inf`; empty for exponential ones.
    pub custom_values: Arc<[f64]>,
}
