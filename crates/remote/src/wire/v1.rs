//! Remote write 1.0: `prometheus.WriteRequest`, and the series that remote read answers with.

use std::sync::Arc;

use datamodel::protobuf::{Field, Message, Writer};
use datamodel::{Labels, Metadata, MetricType, Timestamp};

use super::elements::Elements;
use super::{
    Exemplar, FamilyMetadata, LabelPairs, Refused, RefusedReason, TimeSeries, WireError, WireSample, WriteRequest,
    histogram,
};

pub(super) fn decode(message: &[u8]) -> Result<WriteRequest, WireError> {
    let mut elements = Elements::new();
    let mut request = WriteRequest::default();
    for field in Message::new(message) {
        let field = field?;
        match field.number {
            1 => {
                let (series, reason) = time_series(&field, &mut elements, &mut request.refused)?;
                let has_name = series.labels.metric_name().is_some();
                match reason.or_else(|| (!has_name).then_some(RefusedReason::NoName)) {
                    None => request.series.push(series),
                    Some(reason) => request.refused.push(Refused::series(&series, reason)),
                }
            }
            3 => request.metadata.push(family_metadata(&field, &mut elements)?),
            _ => {}
        }
    }
    Ok(request)
}

/// Reads a series, and says what is wrong with its labels; histograms that are none go to `refused`.
pub(super) fn time_series(
    field: &Field<'_>,
    elements: &mut Elements,
    refused: &mut Vec<Refused>,
) -> Result<(TimeSeries, Option<RefusedReason>), WireError> {
    elements.take()?;
    let mut series = TimeSeries::default();
    let mut pairs = LabelPairs::default();
    let mut bad_histograms = Vec::new();
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => {
                let (name, value) = label(&field, elements)?;
                pairs.push(name, value);
            }
            2 => series.samples.push(sample(&field, elements)?),
            3 => series.exemplars.push(exemplar(&field, elements)?),
            4 => {
                elements.take()?;
                match histogram::decode(field.message()?, elements)? {
                    Ok(histogram) => series.histograms.push(histogram),
                    Err(error) => bad_histograms.push(error),
                }
            }
            _ => {}
        }
    }
    let (labels, reason) = pairs.build();
    for error in bad_histograms {
        let reason = RefusedReason::Histogram(error);
        refused.push(Refused { labels: labels.clone(), reason, samples: 0, histograms: 1, exemplars: 0 });
    }
    series.labels = labels;
    Ok((series, reason))
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
    exemplar.labels = pairs.build().0;
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
