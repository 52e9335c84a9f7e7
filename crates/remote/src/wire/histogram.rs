//! Native histograms; both versions of remote write number their fields alike.

use datamodel::histogram::{CounterResetHint, HistogramError, HistogramParts, Span};
use datamodel::protobuf::{Field, Message, Writer};
use datamodel::{Histogram, Timestamp};

use super::elements::Elements;
use super::{WireError, WireHistogram, optional_instant};

/// Reads a histogram. The outer error is the message's, the inner one the histogram's own.
pub(super) fn decode(
    message: Message<'_>,
    elements: &mut Elements,
) -> Result<Result<WireHistogram, HistogramError>, WireError> {
    let mut parts = HistogramParts::default();
    let (mut at, mut start) = (0, 0);
    for field in message {
        let field = field?;
        match field.number {
            1 => parts.count_int = field.u64()?,
            2 => parts.count_float = Some(field.double()?),
            3 => parts.sum = field.double()?,
            4 => parts.schema = field.sint32()?,
            5 => parts.zero_threshold = field.double()?,
            6 => parts.zero_count_int = field.u64()?,
            7 => parts.zero_count_float = Some(field.double()?),
            8 => parts.negative_spans.push(span(&field, elements)?),
            9 => deltas(&field, &mut parts.negative_deltas, elements)?,
            10 => doubles(&field, &mut parts.negative_counts, elements)?,
            11 => parts.positive_spans.push(span(&field, elements)?),
            12 => deltas(&field, &mut parts.positive_deltas, elements)?,
            13 => doubles(&field, &mut parts.positive_counts, elements)?,
            14 => {
                parts.counter_reset_hint = match field.i32()? {
                    1 => CounterResetHint::CounterReset,
                    2 => CounterResetHint::NotCounterReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                };
            }
            15 => at = field.i64()?,
            16 => doubles(&field, &mut parts.custom_values, elements)?,
            17 => start = field.i64()?,
            _ => {}
        }
    }
    let (at, start) = (Timestamp::from_unix_ms(at), optional_instant(start));
    Ok(parts.build().map(|histogram| WireHistogram { at, histogram, start }))
}

fn span(field: &Field<'_>, elements: &mut Elements) -> Result<Span, WireError> {
    elements.take()?;
    Ok(Span::read(field.message()?)?)
}

fn deltas(field: &Field<'_>, into: &mut Vec<i64>, elements: &mut Elements) -> Result<(), WireError> {
    field.each_sint64(|value| {
        elements.take()?;
        into.push(value);
        Ok(())
    })
}

fn doubles(field: &Field<'_>, into: &mut Vec<f64>, elements: &mut Elements) -> Result<(), WireError> {
    field.each_double(|value| {
        elements.take()?;
        into.push(value);
        Ok(())
    })
}

/// Writes a histogram: with integer counts where all are whole, else with floats.
pub(super) fn encode(writer: &mut Writer, at: Timestamp, histogram: &Histogram, start: Option<Timestamp>) {
    match histogram.integers() {
        Some(integers) => {
            writer.oneof_uint(1, integers.count);
            writer.double(3, histogram.sum);
            writer.sint(4, i64::from(histogram.schema));
            writer.double(5, histogram.zero_threshold);
            writer.oneof_uint(6, integers.zero_count);
            spans(writer, 8, &histogram.negative_spans);
            writer.packed_sint(9, integers.negative_deltas.into_iter());
            spans(writer, 11, &histogram.positive_spans);
            writer.packed_sint(12, integers.positive_deltas.into_iter());
        }
        None => {
            writer.oneof_double(2, histogram.count);
            writer.double(3, histogram.sum);
            writer.sint(4, i64::from(histogram.schema));
            writer.double(5, histogram.zero_threshold);
            writer.oneof_double(7, histogram.zero_count);
            spans(writer, 8, &histogram.negative_spans);
            writer.packed_double(10, &histogram.negative_buckets);
            spans(writer, 11, &histogram.positive_spans);
            writer.packed_double(13, &histogram.positive_buckets);
        }
    }
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    writer.uint(14, hint);
    writer.int(15, at.unix_ms());
    writer.packed_double(16, &histogram.custom_values);
    writer.int(17, start.map_or(0, Timestamp::unix_ms));
}

fn spans(writer: &mut Writer, number: u32, spans: &[Span]) {
    for span in spans {
        writer.message(number, |message| {
            message.sint(1, i64::from(span.offset));
            message.uint(2, u64::from(span.length));
        });
    }
}
