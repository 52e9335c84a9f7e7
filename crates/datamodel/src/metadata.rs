//! What a metric family says about itself: type, unit, help.

use std::fmt;
use std::sync::Arc;

/// The type of a metric family, in the spelling of the exposition formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricType {
    /// Rises, or restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// A histogram of current values (OpenMetrics).
    GaugeHistogram,
    /// Precomputed quantiles, sum and count.
    Summary,
    /// Labels that describe the process (OpenMetrics).
    Info,
    /// One of several states is set (OpenMetrics).
    StateSet,
    /// Not declared; `untyped` in text format 0.0.4.
    #[default]
    Unknown,
}

impl MetricType {
    /// The lower-case word of OpenMetrics and of the HTTP API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Type, unit and help of a metric family; absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Type as declared, [`MetricType::Unknown`] otherwise.
    pub metric_type: MetricType,
    /// Unit as declared by OpenMetrics (`seconds`), or empty.
    pub unit: Arc<str>,
    /// Help text, unescaped, or empty.
    pub help: Arc<str>,
}
