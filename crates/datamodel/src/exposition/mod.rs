//! Exposition formats: the text that a target answers to a scrape.
//!
//! - [`PageFormat`]: what a content type names: one of the texts, each a [`Format`] (Prometheus text format 0.0.4,
//!   OpenMetrics 1.0), or protobuf, which [`read_protobuf`] walks.
//! - [`Parser`]: pulls one [`Entry`] after the other from a page; nothing is allocated for a sample line.
//! - [`SampleLine`]: the raw text of a series is the key for caches; [`SampleLine::labels`] reads the labels
//!   out of it and is only needed when the cache does not know the text.
//! - [`PageWriter`]: the same formats, written; [`write`](mod@write): lines of the text format 0.0.4.
//!
//! ```text
//! page ──▶ Parser ──▶ Type │ Help │ Unit │ Comment │ Sample { series, value, timestamp, exemplar }
//!                                                             └─ cache miss only ─▶ labels()
//! ```
//!
//! Rule: a page is hostile input. Every error names line, column and reason; no text is too long or too odd
//! to be refused in bounded memory.

mod page;
mod parser;
mod protobuf;
mod rules;
mod scan;
pub mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use page::{Line, NoSuchHistogram, PageWriter, Part};
pub use parser::Parser;
pub use protobuf::{
    HistogramForm, MAX_BUCKETS, PageError, PageExemplar, PageFamily, PageReason, PageSample, PageVisitor, read_protobuf,
};
pub use rules::{MAX_EXEMPLAR_CHARS, RuleBroken};

use crate::float::FloatError;
use crate::labels::{Labels, LabelsBuilder};
use crate::metadata::MetricType;
use crate::time::Timestamp;

/// The longest line that is read, in bytes. Help texts and label values of real exporters stay below a
/// hundredth of it.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

/// The most labels that one line may have, the metric name not counted. Some thirty times what real
/// exporters use; `label_limit` of a scrape configuration sets a lower bound.
pub const MAX_LABELS: usize = 1024;

/// The media type of OpenMetrics.
const OPENMETRICS: &str = "application/openmetrics-text";

/// The media type of the protobuf format.
const PROTOBUF: &str = "application/vnd.google.protobuf";

/// A text format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    PrometheusText004,
    /// OpenMetrics text format, version 1.0.
    OpenMetrics100,
}

/// Why a content type names no format that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The answer has no content type, or a blank one.
    #[error("no content type: set `fallback_scrape_protocol` if the target cannot send one")]
    Missing,
    /// Protobuf, but not delimited messages `io.prometheus.client.MetricFamily`.
    #[error("unsupported encoding of protobuf: `{0}`")]
    Protobuf(String),
    /// Another media type.
    #[error("unsupported content type: `{0}`")]
    Unsupported(String),
}

/// A format of whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageFormat {
    /// One of the text formats.
    Text(Format),
    /// Delimited messages `io.prometheus.client.MetricFamily`.
    Protobuf,
}

impl PageFormat {
    /// The format that a `Content-Type` header names. Versions of the text formats are not looked at, as in
    /// Prometheus.
    ///
    /// # Errors
    ///
    /// The header is blank, or names another format.
    pub fn from_content_type(content_type: &str) -> Result<Self, FormatError> {
        let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
        match parts.next().unwrap_or_default().as_str() {
            "text/plain" => Ok(Self::Text(Format::PrometheusText004)),
            OPENMETRICS => Ok(Self::Text(Format::OpenMetrics100)),
            "" => Err(FormatError::Missing),
            PROTOBUF => {
                let is_ours = |part: String| match part.split_once('=') {
                    Some(("encoding", encoding)) => encoding == "delimited",
                    Some(("proto", message)) => message == "io.prometheus.client.metricfamily",
                    _ => true,
                };
                let is_read = parts.all(is_ours);
                is_read.then_some(Self::Protobuf).ok_or_else(|| FormatError::Protobuf(content_type.to_owned()))
            }
            _ => Err(FormatError::Unsupported(content_type.to_owned())),
        }
    }
}

impl Format {
    /// The text format of a page that came without a content type: OpenMetrics where it ends with `# EOF`.
    #[must_use]
    pub fn of_page(page: &[u8]) -> Self {
        if page.trim_ascii_end().ends_with(b"# EOF") { Self::OpenMetrics100 } else { Self::PrometheusText004 }
    }

    /// The text format that an `Accept` header likes best of those that are written: OpenMetrics in version 1 where it
    /// is named with the greater weight, or the same and earlier; else text format 0.0.4.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::PrometheusText004, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let format = match parts.next().as_deref() {
                Some(OPENMETRICS) => Self::OpenMetrics100,
                Some("text/plain" | "text/*" | "*/*") => Self::PrometheusText004,
                _ => continue,
            };
            let (mut weight, mut is_written) = (1.0, true);
            for (key, value) in parts.filter_map(|part| part.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            {
                match key.as_str() {
                    "q" => weight = value.parse().unwrap_or(0.0),
                    "version" if format == Self::OpenMetrics100 => is_written = matches!(&*value, "0.0.1" | "1.0.0"),
                    _ => {}
                }
            }
            if is_written && weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The `Content-Type` of a page in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::PrometheusText004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics100 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One thing that a page says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// `# TYPE name type`
    Type {
        /// The family, unescaped.
        name: Cow<'a, str>,
        /// The declared type.
        metric_type: MetricType,
    },
    /// `# HELP name text`
    Help {
        /// The family, unescaped.
        name: Cow<'a, str>,
        /// The text, unescaped.
        text: Cow<'a, str>,
    },
    /// `# UNIT name unit` (OpenMetrics)
    Unit {
        /// The family, unescaped.
        name: Cow<'a, str>,
        /// The unit; may be empty.
        unit: &'a str,
    },
    /// Any other line that begins with `#` (text format 0.0.4).
    Comment,
    /// One value of one series.
    Sample(SampleLine<'a>),
}

/// One value of one series, as its line says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as they stand on the page: equal texts mean equal label sets (not the reverse).
    pub series: &'a str,
    /// The value; an ordinary NaN has the bits of [`NORMAL_NAN_BITS`](crate::sample::NORMAL_NAN_BITS).
    pub value: f64,
    /// The explicit timestamp, if the line has one.
    pub timestamp: Option<Timestamp>,
    /// The exemplar behind the value (OpenMetrics).
    pub exemplar: Option<Exemplar<'a>>,
    /// The type of the last `# TYPE` line before this one: it decides whether `le` and `quantile` are
    /// rewritten by [`labels`](Self::labels).
    pub declared_type: MetricType,
    /// The line of the page, from 1.
    pub line: u32,
}

/// A trace or the like that stands for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// The label set as it stands on the page, in braces.
    pub label_text: &'a str,
    /// The value.
    pub value: f64,
    /// The explicit timestamp, if there is one.
    pub timestamp: Option<Timestamp>,
}

impl SampleLine<'_> {
    /// The metric name, unescaped.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        scan::metric_name(self.series)
    }

    /// Reads the label set out of [`series`](Self::series), the metric name among it.
    ///
    /// Bounds of histogram buckets and quantiles of summaries are written as OpenMetrics spells them
    /// (`le="1.0"`), so that they are the same series in either format.
    ///
    /// # Errors
    ///
    /// Two labels have one name.
    pub fn labels(&self) -> Result<Labels, ParseError> {
        let mut builder = LabelsBuilder::default();
        self.labels_into(&mut builder)?;
        Ok(builder.build())
    }

    /// As [`labels`](Self::labels), into a builder that holds no label yet.
    ///
    /// # Errors
    ///
    /// Two labels have one name.
    pub fn labels_into(&self, builder: &mut LabelsBuilder) -> Result<(), ParseError> {
        for (name, value) in scan::pairs(self.series) {
            let value = scan::canonical_bound(self.declared_type, &name, value);
            if builder.get(&name).is_some() {
                let reason = Reason::DuplicateLabel(name.into_owned());
                return Err(ParseError { line: self.line, column: 1, reason });
            }
            builder.set(&name, &value);
        }
        Ok(())
    }
}

impl Exemplar<'_> {
    /// Reads the label set.
    ///
    /// # Errors
    ///
    /// Two labels have one name; the error has no position.
    pub fn labels(&self) -> Result<Labels, Reason> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in scan::pairs(self.label_text) {
            if builder.get(&name).is_some() {
                return Err(Reason::DuplicateLabel(name.into_owned()));
            }
            builder.set(&name, &value);
        }
        Ok(builder.build())
    }
}

/// A page that breaks its format. What was read before the error is good by itself; a scrape is all or
/// nothing and drops it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// Line of the page, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Something else stands where this was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A quoted text has no end on its line (or on the page).
    #[error("quoted text without an end")]
    OpenQuote,
    /// The text is no UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// Braces without a metric name in or before them.
    #[error("no metric name")]
    NoName,
    /// A second metric name in the braces.
    #[error("a second metric name")]
    SecondName,
    /// Two labels have one name.
    #[error("label name is not unique: `{0}`")]
    DuplicateLabel(String),
    /// The value is no number.
    #[error("invalid value: {0}")]
    Value(FloatError),
    /// The timestamp is no number, or out of range.
    #[error("invalid timestamp: `{0}`")]
    Timestamp(String),
    /// The type is none of the format's.
    #[error("unknown metric type: `{0}`")]
    Type(String),
    /// A unit that the family's name does not end with.
    #[error("unit `{unit}` is not the suffix of `{family}`")]
    Unit {
        /// The family.
        family: String,
        /// The declared unit.
        unit: String,
    },
    /// The page has no `# EOF` at its end.
    #[error("page does not end with `# EOF`")]
    NoEof,
    /// Something follows `# EOF`.
    #[error("unexpected text after `# EOF`")]
    AfterEof,
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("line is longer than {MAX_LINE_BYTES} bytes")]
    LongLine,
    /// The line has more labels than [`MAX_LABELS`].
    #[error("line has more than {MAX_LABELS} labels")]
    ManyLabels,
    /// A rule of OpenMetrics about families is broken; only [`Parser::strict`] looks at them.
    #[error("{0}")]
    Rule(RuleBroken),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrometheusText004 => "Prometheus text format 0.0.4",
            Self::OpenMetrics100 => "OpenMetrics 1.0",
        })
    }
}
