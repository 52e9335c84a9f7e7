//! Writing whole pages, in each of the formats that are read.
//!
//! - [`PageWriter`]: families and their lines, in the order in which they come.
//! - [`Line`], [`Part`]: one number of a metric, as the text formats have it; protobuf gathers those of one label set.
//! - [`PageFormat::negotiate`]: the format that a client asks for.
//!
//! ```text
//! family ─▶ line, line, … ┬─ text: a line each, with the suffixes and spellings of the format
//!                         └─ protobuf: one message for neighbours of one label set
//! ```
//!
//! Source: the text format 0.0.4, OpenMetrics 1.0, and `metrics.proto` of Prometheus' client model.
//!
//! Rule: no series changes its name with the format. A counter without `_total` is `unknown` in OpenMetrics, which
//! would rename it.

use std::fmt::Write as _;

use super::protobuf::{PageExemplar, PageFamily};
use super::{Format, OPENMETRICS, PROTOBUF, PageFormat, write};
use crate::float::write_g;
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};
use crate::metadata::MetricType;
use crate::protobuf::Writer;
use crate::time::Timestamp;

/// Which number of a metric a line has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// That of a counter, a gauge, or what has no type.
    Value,
    /// Observations up to this bound.
    Bucket(f64),
    /// This quantile of a summary.
    Quantile(f64),
    /// The sum of a histogram or summary.
    Sum,
    /// The count of a histogram or summary.
    Count,
}

/// One number of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Which one.
    pub part: Part,
    /// The labels, without the name, `le` and `quantile`.
    pub labels: &'a [(&'a str, &'a str)],
    /// The number.
    pub value: f64,
    /// Its time; none is the time of the scrape.
    pub timestamp: Option<Timestamp>,
    /// The observation behind it; the text format 0.0.4 has none.
    pub exemplar: Option<&'a PageExemplar>,
}

/// A native histogram that the page's format cannot hold: the text formats have none, protobuf has none with custom
/// buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the format has no such histogram")]
pub struct NoSuchHistogram;

/// Writes a page.
#[derive(Debug)]
pub struct PageWriter {
    format: PageFormat,
    text: String,
    wire: Writer,
    family: Option<Family>,
}

/// The family whose lines come now.
#[derive(Debug)]
struct Family {
    name: String,
    metric_type: MetricType,
    help: String,
    unit: String,
    /// The messages of its metrics so far.
    metrics: Writer,
    open: Option<Metric>,
}

/// The metric whose lines come now.
#[derive(Debug, Default)]
struct Metric {
    labels: Vec<(String, String)>,
    timestamp: Option<Timestamp>,
    value: Option<f64>,
    sum: Option<f64>,
    count: Option<f64>,
    buckets: Vec<(f64, f64, Option<PageExemplar>)>,
    quantiles: Vec<(f64, f64)>,
    exemplar: Option<PageExemplar>,
    native: Option<Histogram>,
}

impl PageWriter {
    /// An empty page.
    #[must_use]
    pub const fn new(format: PageFormat) -> Self {
        Self { format, text: String::new(), wire: Writer::new(), family: None }
    }

    /// Begins a family; the last one has ended.
    pub fn family(&mut self, family: PageFamily<'_>) {
        self.end_family();
        match self.format {
            PageFormat::Text(Format::PrometheusText004) => {
                write::metadata(&mut self.text, family.name, family.metric_type, family.help);
            }
            PageFormat::Text(Format::OpenMetrics100) => openmetrics_metadata(&mut self.text, &family),
            PageFormat::Protobuf => {}
        }
        self.family = Some(Family {
            name: family.name.to_owned(),
            metric_type: family.metric_type,
            help: family.help.to_owned(),
            unit: family.unit.to_owned(),
            metrics: Writer::new(),
            open: None,
        });
    }

    /// Adds a line of the family that began last; without one, nothing.
    pub fn line(&mut self, line: Line<'_>) {
        let Some(family) = &mut self.family else { return };
        match self.format {
            PageFormat::Text(format) => text_line(&mut self.text, format, family, line),
            PageFormat::Protobuf => {
                family.metric(line.labels, line.timestamp, |metric| metric.takes(line.part)).add(line);
            }
        }
    }

    /// Adds a native histogram of the family that began last; without one, nothing.
    ///
    /// # Errors
    ///
    /// The format has no such histogram; nothing is written then.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        histogram: &Histogram,
        timestamp: Option<Timestamp>,
    ) -> Result<(), NoSuchHistogram> {
        if self.format != PageFormat::Protobuf || histogram.schema == CUSTOM_BUCKETS_SCHEMA {
            return Err(NoSuchHistogram);
        }
        if let Some(family) = &mut self.family {
            family.metric(labels, timestamp, |metric| metric.native.is_none()).native = Some(histogram.clone());
        }
        Ok(())
    }

    /// How long the page is by now; what is gathered for protobuf is not in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.text.len() + self.wire.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The page with its end.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.end_family();
        match self.format {
            PageFormat::Protobuf => self.wire.into_bytes(),
            PageFormat::Text(format) => {
                if format == Format::OpenMetrics100 {
                    self.text.push_str("# EOF\n");
                }
                self.text.into_bytes()
            }
        }
    }

    fn end_family(&mut self) {
        let Some(mut family) = self.family.take() else { return };
        if self.format != PageFormat::Protobuf {
            return;
        }
        family.end_metric();
        let number = match family.metric_type {
            MetricType::Counter => 0,
            MetricType::Gauge | MetricType::Info | MetricType::StateSet => 1,
            MetricType::Summary => 2,
            MetricType::Unknown => 3,
            MetricType::Histogram => 4,
            MetricType::GaugeHistogram => 5,
        };
        self.wire.delimited(|wire| {
            wire.text(1, &family.name);
            wire.text(2, &family.help);
            wire.oneof_uint(3, number);
            wire.fields(&family.metrics);
            wire.text(5, &family.unit);
        });
    }
}

impl Family {
    /// The metric with these labels if it is open and still takes what comes, else a new one.
    fn metric(
        &mut self,
        labels: &[(&str, &str)],
        timestamp: Option<Timestamp>,
        takes: impl FnOnce(&Metric) -> bool,
    ) -> &mut Metric {
        let same = |metric: &Metric| {
            metric.timestamp == timestamp
                && metric.labels.len() == labels.len()
                && metric.labels.iter().zip(labels).all(|(own, other)| (own.0.as_str(), own.1.as_str()) == *other)
        };
        if !self.open.as_ref().is_some_and(|metric| same(metric) && takes(metric)) {
            self.end_metric();
        }
        self.open.get_or_insert_with(|| Metric {
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            timestamp,
            ..Metric::default()
        })
    }

    fn end_metric(&mut self) {
        if let Some(metric) = self.open.take() {
            self.metrics.message(4, |into| metric.write(into, self.metric_type));
        }
    }
}

impl Metric {
    /// Whether a line of this kind is not there yet.
    fn takes(&self, part: Part) -> bool {
        match part {
            Part::Value => self.value.is_none(),
            Part::Sum => self.sum.is_none(),
            Part::Count => self.count.is_none(),
            Part::Bucket(bound) => !self.buckets.iter().any(|bucket| bucket.0.to_bits() == bound.to_bits()),
            Part::Quantile(of) => !self.quantiles.iter().any(|quantile| quantile.0.to_bits() == of.to_bits()),
        }
    }

    fn add(&mut self, line: Line<'_>) {
        match line.part {
            Part::Value => {
                self.value = Some(line.value);
                self.exemplar = line.exemplar.cloned();
            }
            Part::Sum => self.sum = Some(line.value),
            Part::Count => self.count = Some(line.value),
            Part::Bucket(bound) => self.buckets.push((bound, line.value, line.exemplar.cloned())),
            Part::Quantile(of) => self.quantiles.push((of, line.value)),
        }
    }

    fn write(&self, into: &mut Writer, metric_type: MetricType) {
        for (name, value) in &self.labels {
            into.message(1, |pair| {
                pair.text(1, name);
                pair.text(2, value);
            });
        }
        let value = self.value.unwrap_or_default();
        match metric_type {
            MetricType::Gauge | MetricType::Info | MetricType::StateSet => {
                into.message(2, |gauge| gauge.double(1, value));
            }
            MetricType::Counter => into.message(3, |counter| {
                counter.double(1, value);
                if let Some(exemplar) = &self.exemplar {
                    counter.message(2, |into| write_exemplar(into, exemplar));
                }
            }),
            MetricType::Unknown => into.message(5, |untyped| untyped.double(1, value)),
            MetricType::Summary => into.message(4, |summary| {
                // The message has whole counts only, and none below zero.
                summary.uint(1, (self.count.unwrap_or_default() as i64).unsigned_abs());
                summary.double(2, self.sum.unwrap_or_default());
                for (of, value) in &self.quantiles {
                    summary.message(3, |quantile| {
                        quantile.double(1, *of);
                        quantile.double(2, *value);
                    });
                }
            }),
            MetricType::Histogram | MetricType::GaugeHistogram => into.message(7, |wire| self.write_histogram(wire)),
        }
        into.int(6, self.timestamp.map_or(0, Timestamp::unix_ms));
    }

    fn write_histogram(&self, wire: &mut Writer) {
        if let Some(native) = &self.native {
            write_native(wire, native);
        } else {
            write_count(wire, (1, 4), self.count.unwrap_or_default());
            wire.double(2, self.sum.unwrap_or_default());
        }
        for (bound, count, exemplar) in &self.buckets {
            wire.message(3, |bucket| {
                write_count(bucket, (1, 4), *count);
                bucket.double(2, *bound);
                if let Some(exemplar) = exemplar {
                    bucket.message(3, |into| write_exemplar(into, exemplar));
                }
            });
        }
    }
}

/// A count as a whole number, or, where it is none, in the field of floats.
fn write_count(wire: &mut Writer, (whole, float): (u32, u32), count: f64) {
    // Up to 2^53 every whole number is exact.
    if count.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&count) {
        wire.uint(whole, (count as i64).unsigned_abs());
    } else {
        wire.double(float, count);
    }
}

fn write_exemplar(wire: &mut Writer, exemplar: &PageExemplar) {
    for (name, value) in &exemplar.labels {
        wire.message(1, |pair| {
            pair.text(1, name);
            pair.text(2, value);
        });
    }
    wire.double(2, exemplar.value);
    if let Some(at) = exemplar.timestamp {
        let (seconds, ms) = (at.unix_ms().div_euclid(1000), at.unix_ms().rem_euclid(1000));
        wire.message(3, |wire| {
            wire.int(1, seconds);
            wire.int(2, ms * 1_000_000);
        });
    }
}

fn write_native(wire: &mut Writer, native: &Histogram) {
    let integers = native.integers();
    match &integers {
        Some(counts) => {
            wire.uint(1, counts.count);
            wire.uint(7, counts.zero_count);
            wire.packed_sint(10, counts.negative_deltas.iter().copied());
            wire.packed_sint(13, counts.positive_deltas.iter().copied());
        }
        None => {
            wire.double(4, native.count);
            wire.double(8, native.zero_count);
            wire.packed_double(11, &native.negative_buckets);
            wire.packed_double(14, &native.positive_buckets);
        }
    }
    wire.double(2, native.sum);
    wire.sint(5, i64::from(native.schema));
    wire.double(6, native.zero_threshold);
    write_spans(wire, 9, &native.negative_spans);
    // Without buckets, a span of no length says that it is a native one.
    let has_spans = !native.positive_spans.is_empty() || !native.negative_spans.is_empty();
    let none = [Span { offset: 0, length: 0 }];
    write_spans(wire, 12, if has_spans { &native.positive_spans } else { &none });
}

fn write_spans(wire: &mut Writer, number: u32, spans: &[Span]) {
    for span in spans {
        wire.message(number, |wire| {
            wire.sint(1, i64::from(span.offset));
            wire.uint(2, u64::from(span.length));
        });
    }
}

/// The family's name in OpenMetrics, which is without the suffix that its samples have, and its type there.
fn openmetrics_family(name: &str, metric_type: MetricType) -> (&str, MetricType) {
    let suffix = match metric_type {
        MetricType::Counter => "_total",
        MetricType::Info => "_info",
        _ => return (name, metric_type),
    };
    name.strip_suffix(suffix)
        .filter(|base| !base.is_empty())
        .map_or((name, MetricType::Unknown), |base| (base, metric_type))
}

fn openmetrics_metadata(into: &mut String, family: &PageFamily<'_>) {
    let (name, metric_type) = openmetrics_family(family.name, family.metric_type);
    let mut comment = |word: &str, text: &str| {
        into.push_str("# ");
        into.push_str(word);
        into.push(' ');
        write::family_name(into, name);
        into.push(' ');
        into.push_str(text);
        into.push('\n');
    };
    comment("TYPE", &metric_type.to_string());
    let has_unit = !matches!(metric_type, MetricType::Info | MetricType::StateSet)
        && !family.unit.is_empty()
        && name.strip_suffix(family.unit).is_some_and(|rest| rest.ends_with('_'));
    if has_unit {
        comment("UNIT", family.unit);
    }
    if !family.help.is_empty() {
        comment("HELP", &family.help.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""));
    }
}

fn text_line(into: &mut String, format: Format, family: &Family, line: Line<'_>) {
    let is_openmetrics = format == Format::OpenMetrics100;
    let is_gauge = is_openmetrics && family.metric_type == MetricType::GaugeHistogram;
    let (suffix, bound) = match line.part {
        Part::Value => ("", None),
        Part::Bucket(bound) => ("_bucket", Some(("le", bound))),
        Part::Quantile(of) => ("", Some(("quantile", of))),
        Part::Sum => (if is_gauge { "_gsum" } else { "_sum" }, None),
        Part::Count => (if is_gauge { "_gcount" } else { "_count" }, None),
    };
    let bound = bound.map(|(name, bound)| (name, bound_text(bound, is_openmetrics)));
    let bound = bound.as_ref().map(|(name, bound)| (*name, bound.as_str()));
    let name = [family.name.as_str(), suffix].concat();
    let labels = line.labels.iter().copied().chain(bound);
    if !is_openmetrics {
        write::sample(into, &name, labels, line.value, line.timestamp.map(Timestamp::unix_ms));
        return;
    }
    write::series(into, &name, labels);
    into.push(' ');
    write_g(into, line.value);
    seconds(into, line.timestamp);
    if let Some(exemplar) = line.exemplar {
        into.push_str(" # ");
        let has_labels = write::pairs(into, &exemplar.labels, false);
        into.push_str(if has_labels { "} " } else { "{} " });
        write_g(into, exemplar.value);
        seconds(into, exemplar.timestamp);
    }
    into.push('\n');
}

/// A bound as the format spells it: OpenMetrics has a point in every finite one.
fn bound_text(bound: f64, is_openmetrics: bool) -> String {
    let mut text = String::new();
    write_g(&mut text, bound);
    if is_openmetrics && bound.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

/// A time in seconds behind a blank.
fn seconds(into: &mut String, at: Option<Timestamp>) {
    let Some(ms) = at.map(Timestamp::unix_ms) else { return };
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    // Writing to a text cannot fail.
    write!(into, " {sign}{}.{:03}", ms / 1000, ms % 1000).unwrap_or_default();
}

impl PageFormat {
    /// The `Content-Type` of a page in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text(format) => format.content_type(),
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that an `Accept` header likes best among those that are offered; text 0.0.4 where it likes none.
    #[must_use]
    pub fn negotiate(accept: &str, offered: &[Self]) -> Self {
        let mut best: Option<(f64, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version, mut is_delimited) = (1.0, None, false);
            for part in parts {
                match part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value),
                    Some(("encoding", value)) => is_delimited = value == "delimited",
                    _ => {}
                }
            }
            let found = match (media.as_str(), version) {
                (PROTOBUF, _) if is_delimited => Self::Protobuf,
                (OPENMETRICS, None | Some("1.0.0" | "0.0.1")) => Self::Text(Format::OpenMetrics100),
                ("text/plain", None | Some("0.0.4")) | ("*/*" | "text/*", _) => Self::Text(Format::PrometheusText004),
                _ => continue,
            };
            if quality > best.map_or(0.0, |(least, _)| least) && offered.contains(&found) {
                best = Some((quality, found));
            }
        }
        best.map_or(Self::Text(Format::PrometheusText004), |(_, format)| format)
    }
}

#[cfg(test)]
mod tests;
