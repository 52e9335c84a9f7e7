//! Remote write 1.0: `prometheus.WriteRequest`, and the series that remote read answers with.

use std::sync::Arc;

use datamodel::protobuf::{Field, Message, Writer};
use datamodel::{Labels, Metadata, MetricType, Timestamp};

use super::elements::Elements;
use super::{
    Exemplar, FamilyMetadata, LabelPairs, SeriesReader, TimeSeries, WireError, WireSample, WritePart, WriteRequest,
    WriteVisitor, histogram,
};

pub(super) fn read<V: WriteVisitor>(message: &[u8], visitor: &mut V) -> Result<(), V::Error> {
    let mut elements = Elements::new();
    let mut reader = SeriesReader { needs_name: true, ..SeriesReader::default() };
    for field in Message::new(message) {
        let field = field.map_err(WireError::from)?;
        match field.number {
            1 => {
                time_series(&field, &mut elements, &mut |bytes| visitor.knows(bytes), &mut reader)?;
                reader.visit(None, visitor)?;
            }
            3 => visitor.part(WritePart::Metadata(family_metadata(&field, &mut elements)?))?,
            _ => {}
        }
    }
    Ok(())
}

/// Reads a series. Its labels are left out if `knows` says so of the bytes that encode them.
pub(super) fn time_series<'m>(
    field: &Field<'m>,
    elements: &mut Elements,
    knows: &mut dyn FnMut(&[u8]) -> bool,
    into: &mut SeriesReader<'m>,
) -> Result<(), WireError> {
    elements.take()?;
    into.clear();
    let mut message = field.message()?;
    let front = labels_in_front(field.bytes()?);
    into.label_bytes = Some(front).filter(|front| !front.is_empty());
    if into.label_bytes.is_some_and(&mut *knows) {
        into.is_known = true;
        message = message.skipped(front.len());
    }
    let mut behind = false;
    for field in message {
        let field = field?;
        match field.number {
            1 => {
                if behind {
                    into.distrust_front(elements)?;
                }
                let (name, value) = label(&field, elements)?;
                into.pairs.push(name, value);
                continue;
            }
            2 => into.samples.push(sample(&field, elements)?),
            3 => into.exemplars.push(exemplar(&field, elements)?),
            4 => {
                elements.take()?;
                match histogram::decode(field.message()?, elements)? {
                    Ok(histogram) => into.histograms.push(histogram),
                    Err(error) => into.bad_histograms.push(error),
                }
            }
            _ => {}
        }
        behind = true;
    }
    Ok(())
}

impl SeriesReader<'_> {
    /// There are labels behind other fields: those in front are not all.
    fn distrust_front(&mut self, elements: &mut Elements) -> Result<(), WireError> {
        let Some(front) = self.label_bytes.take() else { return Ok(()) };
        if std::mem::take(&mut self.is_known) {
            for field in Message::new(front) {
                let (name, value) = label(&field?, elements)?;
                self.pairs.push(name, value);
            }
        }
        Ok(())
    }
}

/// The bytes of the label fields that a series begins with; what is broken there ends them.
fn labels_in_front(series: &[u8]) -> &[u8] {
    let mut end = 0;
    while let Some([key, len, ..]) = series.get(end..)
        && *key == 1 << 3 | 2
    {
        // The usual label is short, and its length one byte; a longer one has two.
        let after = match (len, series.get(end + 2)) {
            (0..0x80, _) => end + 2 + usize::from(*len),
            (_, Some(high @ 0..0x80)) => end + 3 + (usize::from(len & 0x7f) | usize::from(*high) << 7),
            _ => break,
        };
        if after > series.len() {
            break;
        }
        end = after;
    }
    series.get(..end).unwrap_or_default()
}

/// The set that these bytes encode, which were read once without an error.
pub(super) fn label_set(bytes: &[u8]) -> Labels {
    let (mut pairs, mut elements) = (LabelPairs::default(), Elements::new());
    for field in Message::new(bytes).flatten() {
        if let Ok((name, value)) = label(&field, &mut elements) {
            pairs.push(name, value);
        }
    }
    pairs.build()
}

fn label<'a>(field: &Field<'a>, elements: &mut Elements) -> Result<(&'a str, &'a str), WireError> {
    elements.take()?;
    let (mut name, mut value) = ("", "");
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn sample(field: &Field<'_>, elements: &mut Elements) -> Result<WireSample, WireError> {
    elements.take()?;
    if let Some(sample) = usual_sample(field.bytes()?) {
        return Ok(sample);
    }
    let mut sample = WireSample { at: Timestamp::from_unix_ms(0), value: 0.0, start: None };
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.at = Timestamp::from_unix_ms(field.i64()?),
            _ => {}
        }
    }
    Ok(sample)
}

/// A sample as every sender writes it: the value, then a positive timestamp, each once.
fn usual_sample(message: &[u8]) -> Option<WireSample> {
    let (value, rest) = message.strip_prefix(&[1 << 3 | 1])?.split_first_chunk()?;
    let varint = rest.strip_prefix(&[2 << 3])?;
    // Positive timestamps have at most nine bytes.
    let (last, others) = varint.split_last().filter(|(last, others)| **last < 0x80 && others.len() < 9)?;
    let mut at = i64::from(*last);
    for byte in others.iter().rev() {
        if *byte < 0x80 {
            return None;
        }
        at = at << 7 | i64::from(byte & 0x7f);
    }
    Some(WireSample { at: Timestamp::from_unix_ms(at), value: f64::from_le_bytes(*value), start: None })
}

fn exemplar(field: &Field<'_>, elements: &mut Elements) -> Result<Exemplar, WireError> {
    elements.take()?;
    let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp::from_unix_ms(0) };
    let mut pairs = LabelPairs::default();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => {
                let (name, value) = label(&field, elements)?;
                pairs.push(name, value);
            }
            2 => exemplar.value = field.double()?,
            3 => exemplar.at = Timestamp::from_unix_ms(field.i64()?),
            _ => {}
        }
    }
    exemplar.labels = pairs.build();
    Ok(exemplar)
}

fn family_metadata(field: &Field<'_>, elements: &mut Elements) -> Result<FamilyMetadata, WireError> {
    elements.take()?;
    let mut family = FamilyMetadata::default();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => family.metadata.metric_type = metric_type(field.i32()?),
            2 => family.family = field.text()?.to_owned(),
            4 => family.metadata.help = Arc::from(field.text()?),
            5 => family.metadata.unit = Arc::from(field.text()?),
            _ => {}
        }
    }
    Ok(family)
}

/// The types by their number in both versions.
const TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

pub(super) fn metric_type(number: i32) -> MetricType {
    usize::try_from(number).ok().and_then(|number| TYPES.get(number)).copied().unwrap_or_default()
}

pub(super) fn metric_type_number(metric_type: MetricType) -> u64 {
    TYPES.iter().position(|other| *other == metric_type).unwrap_or(0) as u64
}

pub(super) fn encode(request: &WriteRequest) -> Vec<u8> {
    let mut writer = Writer::new();
    for series in &request.series {
        writer.message(1, |message| put_series(message, series));
    }
    for FamilyMetadata { family, metadata: Metadata { metric_type, unit, help } } in &request.metadata {
        writer.message(3, |message| {
            message.uint(1, metric_type_number(*metric_type));
            message.text(2, family);
            message.text(4, help);
            message.text(5, unit);
        });
    }
    writer.into_bytes()
}

fn put_series(writer: &mut Writer, series: &TimeSeries) {
    put_labels(writer, &series.labels);
    for sample in &series.samples {
        put_sample(writer, sample.at.unix_ms(), sample.value);
    }
    for exemplar in &series.exemplars {
        writer.message(3, |message| {
            put_labels(message, &exemplar.labels);
            message.double(2, exemplar.value);
            message.int(3, exemplar.at.unix_ms());
        });
    }
    for histogram in &series.histograms {
        writer.message(4, |message| histogram::encode(message, histogram.at, &histogram.histogram, None));
    }
}

pub(super) fn put_labels(writer: &mut Writer, labels: &Labels) {
    for (name, value) in labels {
        writer.message(1, |message| {
            message.text(1, name);
            message.text(2, value);
        });
    }
}

pub(super) fn put_sample(writer: &mut Writer, at_ms: i64, value: f64) {
    writer.message(2, |message| {
        message.double(1, value);
        message.int(2, at_ms);
    });
}
