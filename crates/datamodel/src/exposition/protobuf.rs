//! The protobuf format: delimited messages `io.prometheus.client.MetricFamily`.
//!
//! - [`read_protobuf`] walks a page and hands out each family and each of its samples.
//! - [`PageSample`]: a [`SampleLine`] as the text format would spell it, so that caches know no formats, with what
//!   only this format has: a native histogram in place of the value, several exemplars.
//!
//! ```text
//! MetricFamily ─▶ family │ Metric ─▶ labels ─▶ counter │ gauge │ untyped       ─▶ name
//!                                              summary                         ─▶ name{quantile}, _sum, _count
//!                                              histogram: classic              ─▶ _bucket{le}, _sum, _count
//!                                              histogram: native               ─▶ name (and classic, if asked for)
//! ```
//!
//! Source: `metrics.proto` of Prometheus' client model; which samples a message yields is what Prometheus does.
//!
//! Rule: a page is hostile input. What it expands to is bounded by its own size, a histogram by [`MAX_BUCKETS`].

use std::cell::Cell;

use super::{MAX_LABELS, MAX_LINE_BYTES, Reason, SampleLine, write};
use crate::float::write_g;
use crate::histogram::{CounterResetHint, Histogram, HistogramError, HistogramParts, Span};
use crate::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::metadata::MetricType;
use crate::protobuf::{Message, ProtobufError};
use crate::sample::NORMAL_NAN_BITS;
use crate::time::Timestamp;

/// The most buckets, and the most spans, of one histogram. Clients bound theirs to some hundreds.
pub const MAX_BUCKETS: usize = 65_536;

/// How often over the size of the page the texts of its series may be: labels stand once in a histogram, and in
/// each of its classic series.
const MAX_EXPANSION: usize = 16;

/// Texts that any page may have.
const ALLOWANCE_BYTES: usize = 1024 * 1024;

/// Which samples of a histogram are wanted that has native buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramForm {
    /// The classic series only.
    #[default]
    Classic,
    /// The native histogram only.
    Native,
    /// The native histogram, and the classic series too if there are classic buckets.
    Both,
}

/// What a page says about a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageFamily<'p> {
    /// Its name.
    pub name: &'p str,
    /// Its type.
    pub metric_type: MetricType,
    /// Its help; may be empty.
    pub help: &'p str,
    /// Its unit; may be empty.
    pub unit: &'p str,
}

/// One sample of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageSample<'s> {
    /// Series, value and timestamp. Its `line` counts samples from 1; it has no exemplar.
    pub line: SampleLine<'s>,
    /// The native histogram; the value of the line means nothing then.
    pub histogram: Option<Box<Histogram>>,
    /// Observations behind the value.
    pub exemplars: Vec<PageExemplar>,
}

/// An observation behind a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct PageExemplar {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Its time, if the page says it.
    pub timestamp: Option<Timestamp>,
}

/// Takes what a page has, in its order. An error ends the reading and is given back.
pub trait PageVisitor<'p> {
    /// What ends the reading.
    type Error: From<PageError>;

    /// A family begins.
    ///
    /// # Errors
    ///
    /// The visitor's own.
    fn family(&mut self, family: PageFamily<'p>) -> Result<(), Self::Error>;

    /// A sample of the family that began last.
    ///
    /// # Errors
    ///
    /// The visitor's own.
    fn sample(&mut self, sample: PageSample<'_>) -> Result<(), Self::Error>;
}

/// A page that breaks the format.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{reason}", if family.is_empty() { String::new() } else { format!("family `{family}`: ") })]
pub struct PageError {
    /// The family, at most 100 characters of its name; empty outside of one.
    pub family: String,
    /// What is wrong.
    pub reason: PageReason,
}

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PageReason {
    /// The wire format is broken.
    #[error(transparent)]
    Wire(#[from] ProtobufError),
    /// As in the text formats.
    #[error(transparent)]
    Text(#[from] Reason),
    /// The histogram contradicts itself.
    #[error("invalid native histogram: {0}")]
    Histogram(#[from] HistogramError),
    /// More buckets than [`MAX_BUCKETS`].
    #[error("histogram has more than {MAX_BUCKETS} buckets or spans")]
    ManyBuckets,
    /// The metric has no value of its family's type.
    #[error("metric without a value of type {0}")]
    NoValue(MetricType),
    /// A type that is none of the schema's.
    #[error("unknown metric type: {0}")]
    Type(i32),
    /// The names of the series are much longer than the page.
    #[error("series names exceed {MAX_EXPANSION} times the page")]
    Expansion,
}

impl PageError {
    fn new(family: &str, reason: PageReason) -> Self {
        Self { family: family.chars().take(100).collect(), reason }
    }
}

/// Walks a page.
///
/// # Errors
///
/// The page breaks the format, or the visitor wants no more. What was handed out before is good by itself.
pub fn read_protobuf<'p, V: PageVisitor<'p>>(page: &'p [u8], form: HistogramForm, to: &mut V) -> Result<(), V::Error> {
    let left = page.len().saturating_mul(MAX_EXPANSION).saturating_add(ALLOWANCE_BYTES);
    let mut reader = Reader { form, left, line: 0, text: String::new(), labels: Vec::new() };
    let mut stream = Message::new(page);
    while let Some(message) = stream.delimited().map_err(|error| PageError::new("", error.into()))? {
        reader.family(message, to)?;
    }
    Ok(())
}

/// The state of a walk.
struct Reader<'p> {
    form: HistogramForm,
    /// Bytes that the texts of series may still have.
    left: usize,
    /// Samples so far.
    line: u32,
    /// The text of the present series.
    text: String,
    /// The labels of the present metric.
    labels: Vec<(&'p str, &'p str)>,
}

/// The series of the present metric.
#[derive(Clone, Copy)]
struct Place<'p> {
    family: PageFamily<'p>,
    timestamp: Option<Timestamp>,
}

impl<'p> Reader<'p> {
    fn family<V: PageVisitor<'p>>(&mut self, message: Message<'p>, to: &mut V) -> Result<(), V::Error> {
        let family = family(message)?;
        let error = |reason| PageError::new(family.name, reason);
        to.family(family)?;
        for field in message {
            let field = field.map_err(|wire| error(wire.into()))?;
            if field.number == 4 {
                let metric = field.message().map_err(|wire| error(wire.into()))?;
                self.metric(family, metric, to)?;
            }
        }
        Ok(())
    }

    fn metric<V: PageVisitor<'p>>(
        &mut self,
        family: PageFamily<'p>,
        metric: Message<'p>,
        to: &mut V,
    ) -> Result<(), V::Error> {
        let error = |reason| PageError::new(family.name, reason);
        let (timestamp, value) = self.head(metric, family.metric_type).map_err(error)?;
        let place = Place { family, timestamp };
        let value = value.ok_or_else(|| error(PageReason::NoValue(family.metric_type)))?;
        match family.metric_type {
            MetricType::Summary => self.summary(place, value, to),
            MetricType::Histogram | MetricType::GaugeHistogram => self.histogram(place, value, to),
            _ => {
                let (value, exemplars) = simple(value).map_err(error)?;
                self.float(place, "", None, (value, exemplars), to)
            }
        }
    }

    /// Labels, timestamp and the message of the value.
    fn head(
        &mut self,
        metric: Message<'p>,
        metric_type: MetricType,
    ) -> Result<(Option<Timestamp>, Option<Message<'p>>), PageReason> {
        let wanted = match metric_type {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
            _ => 5,
        };
        self.labels.clear();
        let (mut timestamp, mut value) = (None, None);
        for field in metric {
            let field = field?;
            match field.number {
                1 => self.labels.push(pair(field.message()?)?),
                // Zero is absence, as upstream.
                6 => timestamp = Some(field.i64()?).filter(|at| *at != 0).map(Timestamp::from_unix_ms),
                number if number == wanted => value = Some(field.message()?),
                _ => {}
            }
            if self.labels.len() > MAX_LABELS {
                return Err(Reason::ManyLabels.into());
            }
        }
        self.labels.sort_unstable();
        if let Some(twin) = self.labels.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(Reason::DuplicateLabel(twin.first().map_or("", |pair| pair.0).to_owned()).into());
        }
        Ok((timestamp, value))
    }

    fn summary<V: PageVisitor<'p>>(
        &mut self,
        place: Place<'p>,
        message: Message<'p>,
        to: &mut V,
    ) -> Result<(), V::Error> {
        let error = |reason| PageError::new(place.family.name, reason);
        let (mut count, mut sum) = (0, 0.0);
        for field in message {
            let field = field.map_err(|wire| error(wire.into()))?;
            match field.number {
                1 => count = field.u64().map_err(|wire| error(wire.into()))?,
                2 => sum = field.double().map_err(|wire| error(wire.into()))?,
                3 => {
                    let quantile = field.message().and_then(|message| doubles(message, 1, 2));
                    let (quantile, value) = quantile.map_err(|wire| error(wire.into()))?;
                    self.float(place, "", Some(("quantile", quantile)), (value, Vec::new()), to)?;
                }
                _ => {}
            }
        }
        self.float(place, "_sum", None, (sum, Vec::new()), to)?;
        self.float(place, "_count", None, (count as f64, Vec::new()), to)
    }

    fn histogram<V: PageVisitor<'p>>(
        &mut self,
        place: Place<'p>,
        message: Message<'p>,
        to: &mut V,
    ) -> Result<(), V::Error> {
        let error = |reason| PageError::new(place.family.name, reason);
        let HistogramMessage { mut parts, exemplars, is_native, buckets } = histogram(message).map_err(error)?;
        let (count, sum) = (parts.count_float.unwrap_or(parts.count_int as f64), parts.sum);
        let native = is_native && self.form != HistogramForm::Classic;
        if native {
            if place.family.metric_type == MetricType::GaugeHistogram {
                parts.counter_reset_hint = CounterResetHint::Gauge;
            }
            let histogram = parts.build().map_err(|invalid| error(invalid.into()))?;
            self.sample(place, "", None, (f64::NAN, Some(Box::new(histogram)), exemplars), to)?;
        }
        if native && (self.form == HistogramForm::Native || buckets == 0) {
            return Ok(());
        }
        self.float(place, "_count", None, (count, Vec::new()), to)?;
        self.float(place, "_sum", None, (sum, Vec::new()), to)?;
        let mut has_infinity = false;
        for field in message {
            let field = field.map_err(|wire| error(wire.into()))?;
            if field.number == 3 {
                let bucket = field.message().map_err(PageReason::from).and_then(bucket).map_err(error)?;
                has_infinity |= bucket.upper_bound == f64::INFINITY;
                let exemplars = bucket.exemplar.into_iter().collect();
                self.float(place, "_bucket", Some(("le", bucket.upper_bound)), (bucket.count, exemplars), to)?;
            }
        }
        if has_infinity {
            return Ok(());
        }
        self.float(place, "_bucket", Some(("le", f64::INFINITY)), (count, Vec::new()), to)
    }

    fn float<V: PageVisitor<'p>>(
        &mut self,
        place: Place<'p>,
        suffix: &str,
        bound: Option<(&str, f64)>,
        (value, exemplars): (f64, Vec<PageExemplar>),
        to: &mut V,
    ) -> Result<(), V::Error> {
        self.sample(place, suffix, bound, (value, None, exemplars), to)
    }

    /// Spells the series and hands the sample out.
    fn sample<V: PageVisitor<'p>>(
        &mut self,
        place: Place<'p>,
        suffix: &str,
        bound: Option<(&str, f64)>,
        (value, histogram, exemplars): (f64, Option<Box<Histogram>>, Vec<PageExemplar>),
        to: &mut V,
    ) -> Result<(), V::Error> {
        let Place { family, timestamp } = place;
        let mut bound_text = String::new();
        if let Some((_, bound)) = bound {
            write_g(&mut bound_text, bound);
        }
        let bound = bound.map(|(name, _)| (name, bound_text.as_str()));
        if let Some((name, _)) = bound.filter(|(name, _)| self.labels.iter().any(|label| label.0 == *name)) {
            return Err(PageError::new(family.name, Reason::DuplicateLabel(name.to_owned()).into()).into());
        }
        self.text.clear();
        let suffixed;
        let name = if suffix.is_empty() {
            family.name
        } else {
            suffixed = [family.name, suffix].concat();
            &suffixed
        };
        write::series(&mut self.text, name, self.labels.iter().copied().chain(bound));
        if self.text.len() > MAX_LINE_BYTES {
            return Err(PageError::new(family.name, Reason::LongLine.into()).into());
        }
        let left = self.left.checked_sub(self.text.len());
        self.left = left.ok_or_else(|| PageError::new(family.name, PageReason::Expansion))?;
        self.line = self.line.saturating_add(1);
        let value = if value.is_nan() && histogram.is_none() && !crate::is_stale_nan(value) {
            f64::from_bits(NORMAL_NAN_BITS)
        } else {
            value
        };
        let line = SampleLine {
            series: &self.text,
            value,
            timestamp,
            exemplar: None,
            declared_type: family.metric_type,
            line: self.line,
        };
        to.sample(PageSample { line, histogram, exemplars })
    }
}

/// What is said about a family; its metrics are only counted to.
fn family(message: Message<'_>) -> Result<PageFamily<'_>, PageError> {
    let mut family = PageFamily { name: "", metric_type: MetricType::Counter, help: "", unit: "" };
    let name = Cell::new("");
    let wire = |error: ProtobufError| PageError::new(name.get(), error.into());
    for field in message {
        let field = field.map_err(wire)?;
        match field.number {
            1 => family.name = field.text().map_err(wire)?,
            2 => family.help = field.text().map_err(wire)?,
            3 => {
                family.metric_type = match field.i32().map_err(wire)? {
                    0 => MetricType::Counter,
                    1 => MetricType::Gauge,
                    2 => MetricType::Summary,
                    3 => MetricType::Unknown,
                    4 => MetricType::Histogram,
                    5 => MetricType::GaugeHistogram,
                    other => return Err(PageError::new(family.name, PageReason::Type(other))),
                };
            }
            5 => family.unit = field.text().map_err(wire)?,
            _ => {}
        }
        name.set(family.name);
    }
    if family.name.is_empty() {
        return Err(PageError::new("", Reason::NoName.into()));
    }
    Ok(family)
}

/// A label pair of a metric.
fn pair(message: Message<'_>) -> Result<(&str, &str), PageReason> {
    let (name, value) = texts(message)?;
    match name {
        "" => Err(Reason::Expected("a label name").into()),
        METRIC_NAME => Err(Reason::SecondName.into()),
        _ => Ok((name, value)),
    }
}

fn texts(message: Message<'_>) -> Result<(&str, &str), ProtobufError> {
    let mut pair = ("", "");
    for field in message {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

/// Two `double` of a message.
fn doubles(message: Message<'_>, first: u32, second: u32) -> Result<(f64, f64), ProtobufError> {
    let mut pair = (0.0, 0.0);
    for field in message {
        let field = field?;
        if field.number == first {
            pair.0 = field.double()?;
        } else if field.number == second {
            pair.1 = field.double()?;
        }
    }
    Ok(pair)
}

/// A counter, gauge or untyped value, with the exemplar that only a counter has.
fn simple(message: Message<'_>) -> Result<(f64, Vec<PageExemplar>), PageReason> {
    let (mut value, mut exemplars) = (0.0, Vec::new());
    for field in message {
        let field = field?;
        match field.number {
            1 => value = field.double()?,
            2 => exemplars = vec![exemplar(field.message()?)?],
            _ => {}
        }
    }
    Ok((value, exemplars))
}

fn exemplar(message: Message<'_>) -> Result<PageExemplar, PageReason> {
    let (mut builder, mut value, mut timestamp) = (LabelsBuilder::default(), 0.0, None);
    for field in message {
        let field = field?;
        match field.number {
            1 => {
                let (name, text) = texts(field.message()?)?;
                builder.set(name, text);
            }
            2 => value = field.double()?,
            3 => timestamp = Some(instant(field.message()?)?),
            _ => {}
        }
    }
    Ok(PageExemplar { labels: builder.build(), value, timestamp })
}

/// A `google.protobuf.Timestamp`, to the millisecond.
fn instant(message: Message<'_>) -> Result<Timestamp, ProtobufError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in message {
        let field = field?;
        match field.number {
            1 => seconds = field.i64()?,
            2 => nanos = field.i32()?,
            _ => {}
        }
    }
    let ms = seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000));
    Ok(Timestamp::from_unix_ms(ms))
}

/// A bucket of a classic histogram.
struct ClassicBucket {
    count: f64,
    upper_bound: f64,
    exemplar: Option<PageExemplar>,
}

fn bucket(message: Message<'_>) -> Result<ClassicBucket, PageReason> {
    let (mut count, mut count_float, mut upper_bound, mut found) = (0, 0.0, 0.0, None);
    for field in message {
        let field = field?;
        match field.number {
            1 => count = field.u64()?,
            2 => upper_bound = field.double()?,
            3 => found = Some(exemplar(field.message()?)?),
            4 => count_float = field.double()?,
            _ => {}
        }
    }
    let count = if count_float > 0.0 { count_float } else { count as f64 };
    Ok(ClassicBucket { count, upper_bound, exemplar: found })
}

/// A histogram, its classic buckets only counted.
struct HistogramMessage {
    parts: HistogramParts,
    /// Those of the native histogram.
    exemplars: Vec<PageExemplar>,
    is_native: bool,
    buckets: usize,
}

fn histogram(message: Message<'_>) -> Result<HistogramMessage, PageReason> {
    let mut parts = HistogramParts::default();
    let (mut exemplars, mut buckets) = (Vec::new(), 0);
    for field in message {
        let field = field?;
        match field.number {
            1 => parts.count_int = field.u64()?,
            2 => parts.sum = field.double()?,
            3 => buckets += 1,
            4 => parts.count_float = Some(field.double()?).filter(|count| *count > 0.0),
            5 => parts.schema = field.sint32()?,
            6 => parts.zero_threshold = field.double()?,
            7 => parts.zero_count_int = field.u64()?,
            8 => parts.zero_count_float = Some(field.double()?).filter(|count| *count > 0.0),
            9 => push(&mut parts.negative_spans, Span::read(field.message()?)?)?,
            10 => field.each_sint64(|delta| push(&mut parts.negative_deltas, delta))?,
            11 => field.each_double(|count| push(&mut parts.negative_counts, count))?,
            12 => push(&mut parts.positive_spans, Span::read(field.message()?)?)?,
            13 => field.each_sint64(|delta| push(&mut parts.positive_deltas, delta))?,
            14 => field.each_double(|count| push(&mut parts.positive_counts, count))?,
            16 => push(&mut exemplars, exemplar(field.message()?)?)?,
            _ => {}
        }
    }
    // A float histogram without observations says so by its buckets alone.
    if !parts.positive_counts.is_empty() || !parts.negative_counts.is_empty() {
        parts.count_float = parts.count_float.or(Some(parts.count_int as f64));
    }
    let is_native = !parts.positive_spans.is_empty()
        || !parts.negative_spans.is_empty()
        || parts.zero_threshold > 0.0
        || parts.zero_count_int > 0
        || parts.zero_count_float.is_some();
    exemplars.retain(|exemplar| exemplar.timestamp.is_some());
    // The span without buckets that marks a native histogram lays out nothing.
    let no_op = Span { offset: 0, length: 0 };
    parts.positive_spans.retain(|span| *span != no_op);
    Ok(HistogramMessage { parts, exemplars, is_native, buckets })
}

fn push<T>(into: &mut Vec<T>, value: T) -> Result<(), PageReason> {
    if into.len() >= MAX_BUCKETS {
        return Err(PageReason::ManyBuckets);
    }
    into.push(value);
    Ok(())
}

#[cfg(test)]
mod tests;
