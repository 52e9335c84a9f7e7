//! Remote write 2.0: `io.prometheus.write.v2.Request`, in which every text stands once, in a table of symbols.

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::protobuf::{Field, Message, Writer};
use datamodel::{Labels, Metadata, Timestamp};

use super::elements::Elements;
use super::v1::{metric_type, metric_type_number};
use super::{
    Exemplar, LabelPairs, RefusedReason, SeriesReader, TimeSeries, WireError, WireSample, WriteRequest, WriteVisitor,
    histogram, optional_instant,
};

pub(super) fn read<V: WriteVisitor>(message: &[u8], visitor: &mut V) -> Result<(), V::Error> {
    let mut elements = Elements::new();
    let symbols = symbols(message, &mut elements)?;
    let mut reader = SeriesReader { needs_name: true, ..SeriesReader::default() };
    let mut references = Vec::new();
    for field in Message::new(message) {
        let field = field.map_err(WireError::from)?;
        if field.number == 5 {
            let broken = time_series(&field, &symbols, &mut references, &mut elements, &mut reader)?;
            reader.visit(broken, visitor)?;
        }
    }
    Ok(())
}

/// The table of symbols, which may stand behind what refers to it.
fn symbols<'m>(message: &'m [u8], elements: &mut Elements) -> Result<Vec<&'m str>, WireError> {
    let mut symbols = Vec::new();
    for field in Message::new(message) {
        let field = field?;
        if field.number == 4 {
            elements.take()?;
            symbols.push(field.text()?);
        }
    }
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err(WireError::FirstSymbol);
    }
    Ok(symbols)
}

/// Reads a series; what is wrong with it besides its labels is given back.
fn time_series<'m>(
    field: &Field<'m>,
    symbols: &[&'m str],
    references: &mut Vec<u32>,
    elements: &mut Elements,
    into: &mut SeriesReader<'m>,
) -> Result<Option<RefusedReason>, WireError> {
    elements.take()?;
    into.clear();
    references.clear();
    let (mut reason, mut created) = (None, 0);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => push_references(&field, references, elements)?,
            2 => into.samples.push(sample(&field, elements)?),
            3 => {
                elements.take()?;
                match histogram::decode(field.message()?, elements)? {
                    Ok(histogram) => into.histograms.push(histogram),
                    Err(error) => into.bad_histograms.push(error),
                }
            }
            4 => {
                let (exemplar, broken) = exemplar(&field, symbols, elements)?;
                reason = reason.or(broken);
                into.exemplars.push(exemplar);
            }
            5 => match metadata(&field, symbols)? {
                Ok(metadata) => into.metadata = metadata,
                Err(broken) => reason = reason.or(Some(broken)),
            },
            // What drafts of the specification had instead of a start for each sample.
            6 => created = field.i64()?,
            _ => {}
        }
    }
    let broken = labels(references, symbols, &mut into.pairs);
    for start in into.samples.iter_mut().map(|sample| &mut sample.start) {
        *start = start.or(optional_instant(created));
    }
    for start in into.histograms.iter_mut().map(|histogram| &mut histogram.start) {
        *start = start.or(optional_instant(created));
    }
    Ok(broken.or(reason))
}

fn push_references(field: &Field<'_>, into: &mut Vec<u32>, elements: &mut Elements) -> Result<(), WireError> {
    field.each_u64(|reference| {
        elements.take()?;
        // As protobuf readers do with a longer number.
        into.push(reference as u32);
        Ok(())
    })
}

fn symbol<'a>(symbols: &[&'a str], reference: u32) -> Result<&'a str, RefusedReason> {
    usize::try_from(reference)
        .ok()
        .and_then(|reference| symbols.get(reference))
        .copied()
        .ok_or(RefusedReason::Symbol(reference))
}

/// Looks the pairs up, as far as they can be told, and says what is wrong.
fn labels<'m>(references: &[u32], symbols: &[&'m str], into: &mut LabelPairs<'m>) -> Option<RefusedReason> {
    for pair in references.chunks(2) {
        let [name, value] = *pair else {
            return Some(RefusedReason::OddReferences(references.len()));
        };
        match (symbol(symbols, name), symbol(symbols, value)) {
            (Ok(name), Ok(value)) => into.push(name, value),
            (Err(reason), _) | (_, Err(reason)) => return Some(reason),
        }
    }
    None
}

fn sample(field: &Field<'_>, elements: &mut Elements) -> Result<WireSample, WireError> {
    elements.take()?;
    let mut sample = WireSample { at: Timestamp::from_unix_ms(0), value: 0.0, start: None };
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.at = Timestamp::from_unix_ms(field.i64()?),
            3 => sample.start = optional_instant(field.i64()?),
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar(
    field: &Field<'_>,
    symbols: &[&str],
    elements: &mut Elements,
) -> Result<(Exemplar, Option<RefusedReason>), WireError> {
    elements.take()?;
    let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp::from_unix_ms(0) };
    let mut references = Vec::new();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => push_references(&field, &mut references, elements)?,
            2 => exemplar.value = field.double()?,
            3 => exemplar.at = Timestamp::from_unix_ms(field.i64()?),
            _ => {}
        }
    }
    let mut pairs = LabelPairs::default();
    let broken = labels(&references, symbols, &mut pairs);
    let reason = pairs.sort().or(broken);
    exemplar.labels = pairs.labels();
    Ok((exemplar, reason))
}

/// Metadata that says nothing is none.
fn metadata(field: &Field<'_>, symbols: &[&str]) -> Result<Result<Option<Metadata>, RefusedReason>, WireError> {
    let (mut type_number, mut help, mut unit) = (0, 0, 0);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => type_number = field.i32()?,
            3 => help = field.u32()?,
            4 => unit = field.u32()?,
            _ => {}
        }
    }
    if (type_number, help, unit) == (0, 0, 0) {
        return Ok(Ok(None));
    }
    Ok(symbol(symbols, help).and_then(|help| {
        let unit = symbol(symbols, unit)?;
        let metric_type = metric_type(type_number);
        Ok(Some(Metadata { metric_type, unit: Arc::from(unit), help: Arc::from(help) }))
    }))
}

/// The table while it grows: each text once, the empty one first.
#[derive(Debug)]
struct Symbols<'a> {
    references: HashMap<&'a str, u32>,
    texts: Vec<&'a str>,
}

impl<'a> Symbols<'a> {
    fn new() -> Self {
        Self { references: HashMap::from([("", 0)]), texts: vec![""] }
    }

    fn reference(&mut self, text: &'a str) -> u32 {
        let texts = &mut self.texts;
        *self.references.entry(text).or_insert_with(|| {
            texts.push(text);
            // A message has fewer texts than bytes, and far fewer than 2^32 bytes.
            u32::try_from(texts.len() - 1).unwrap_or(0)
        })
    }

    fn labels(&mut self, labels: &'a Labels) -> Vec<u64> {
        labels.iter().flat_map(|(name, value)| [name, value]).map(|text| u64::from(self.reference(text))).collect()
    }
}

pub(super) fn encode(request: &WriteRequest) -> Vec<u8> {
    let mut symbols = Symbols::new();
    let mut bodies = Writer::new();
    for series in &request.series {
        bodies.message(5, |message| put_series(message, series, &mut symbols));
    }
    let mut writer = Writer::new();
    for text in &symbols.texts {
        writer.element(4, text);
    }
    let mut message = writer.into_bytes();
    message.extend_from_slice(&bodies.into_bytes());
    message
}

fn put_series<'a>(writer: &mut Writer, series: &'a TimeSeries, symbols: &mut Symbols<'a>) {
    writer.packed_uint(1, symbols.labels(&series.labels).into_iter());
    for sample in &series.samples {
        writer.message(2, |message| {
            message.double(1, sample.value);
            message.int(2, sample.at.unix_ms());
            message.int(3, sample.start.map_or(0, Timestamp::unix_ms));
        });
    }
    for histogram in &series.histograms {
        writer.message(3, |message| histogram::encode(message, histogram.at, &histogram.histogram, histogram.start));
    }
    for exemplar in &series.exemplars {
        let references = symbols.labels(&exemplar.labels);
        writer.message(4, |message| {
            message.packed_uint(1, references.into_iter());
            message.double(2, exemplar.value);
            message.int(3, exemplar.at.unix_ms());
        });
    }
    if let Some(metadata) = &series.metadata {
        let (help, unit) = (symbols.reference(&metadata.help), symbols.reference(&metadata.unit));
        writer.message(5, |message| {
            message.uint(1, metric_type_number(metadata.metric_type));
            message.uint(3, u64::from(help));
            message.uint(4, u64::from(unit));
        });
    }
}
