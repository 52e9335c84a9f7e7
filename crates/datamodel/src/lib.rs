//! The nouns of the field: what a series is called, what a sample holds, how text becomes either.
//!
//! - [`labels`], [`matcher`], [`regex`]: identity of a series, and the tests on it.
//! - [`relabel`]: rules that rewrite label sets or drop them.
//! - [`sample`], [`histogram`], [`metadata`]: values, staleness, what a metric says about itself.
//! - [`exposition`], [`float`]: the text formats of a scrape, and numbers as Go reads and prints them.
//! - [`quantity`], [`selector`]: Kubernetes' numbers and label selectors.
//! - [`protobuf`]: the wire format of Protocol Buffers, field by field.
//! - [`registry`]: the instruments of our own metrics.
//! - [`sum`]: sums that keep their low bits.
//! - [`rfc3339`]: instants as text.
//! - [`time`]: timestamps, durations as Prometheus spells them, the [`Clock`].
//!
//! Rule: nothing here does I/O, spawns, or reads the clock on its own.
#![forbid(unsafe_code)]

pub mod exposition;
pub mod float;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod protobuf;
pub mod quantity;
pub mod regex;
pub mod registry;
pub mod relabel;
pub mod rfc3339;
pub mod sample;
pub mod selector;
pub mod sum;
pub mod time;

pub use histogram::Histogram;
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub use quantity::Quantity;
pub use sample::{STALE_NAN, Sample, is_stale_nan};
pub use selector::Selector;
pub use time::{Clock, Timestamp};
