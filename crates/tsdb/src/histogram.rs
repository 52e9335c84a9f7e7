//! Native histograms as bytes, each complete in itself, and what equality to the bit means for them.
//!
//! Layout and meaning of the bytes stand in `docs/format/segment.md`.
//!
//! Rule: every float comes back to the bit; counts that are whole numbers take varints.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::histogram::{CounterResetHint, Span};

use crate::bytes::{Corrupt, Reader, put_signed, put_varint};
use crate::decimal::{from_decimal, to_decimal};

/// Whether two histograms are the same to the bit, so that NaN equals itself.
pub(crate) fn same(a: &Histogram, b: &Histogram) -> bool {
    encode(a) == encode(b)
}

/// The bytes of one histogram.
pub(crate) fn encode(histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(hint_byte(histogram.counter_reset_hint));
    put_signed(&mut out, i64::from(histogram.schema));
    put_floats(&mut out, &[histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum]);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        put_varint(&mut out, spans.len() as u64);
        for span in spans {
            put_signed(&mut out, i64::from(span.offset));
            put_varint(&mut out, u64::from(span.length));
        }
    }
    for values in [&histogram.positive_buckets[..], &histogram.negative_buckets, &histogram.custom_values] {
        put_varint(&mut out, values.len() as u64);
        put_floats(&mut out, values);
    }
    out
}

/// Whether the two differ in nothing but the hint, the counts and the sum.
fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let floats_same =
        |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.positive_buckets.len() == b.positive_buckets.len()
        && a.negative_buckets.len() == b.negative_buckets.len()
        && floats_same(&a.custom_values, &b.custom_values)
}

/// The numbers that change from one histogram to the next.
fn counts(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let heads = [histogram.zero_count, histogram.count, histogram.sum];
    heads.into_iter().chain(histogram.positive_buckets.iter().chain(&histogram.negative_buckets).copied())
}

/// The bytes of one histogram that follows another: only what differs, where the layout is the same.
pub(crate) fn encode_after(previous: Option<&Histogram>, histogram: &Histogram) -> Vec<u8> {
    let Some(previous) = previous.filter(|previous| same_layout(previous, histogram)) else {
        let mut out = vec![FULL];
        out.extend_from_slice(&encode(histogram));
        return out;
    };
    let mut out = vec![FOLLOWS, hint_byte(histogram.counter_reset_hint)];
    for (before, now) in counts(previous).zip(counts(histogram)) {
        if let Some((before, now)) = to_decimal(before, 0).or(Some(0)).zip(to_decimal(now, 0)) {
            put_varint(&mut out, crate::bytes::zigzag(now - before) << 1);
        } else {
            // What changes in a float that is no whole number lies mostly in its upper bits.
            let differs = (before.to_bits() ^ now.to_bits()).reverse_bits();
            out.push(1);
            put_varint(&mut out, differs);
        }
    }
    out
}

/// Reads what [`encode_after`] wrote behind the same histogram.
pub(crate) fn decode_after(previous: Option<&Histogram>, bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let mut reader = Reader(bytes);
    if reader.byte()? == FULL {
        return decode(reader.0);
    }
    let mut histogram = previous.ok_or(Corrupt("histogram follows none"))?.clone();
    histogram.counter_reset_hint = hint(reader.byte()?)?;
    let mut next = |value: &mut f64| -> Result<(), Corrupt> {
        let code = reader.varint()?;
        *value = if code & 1 == 0 {
            let before = to_decimal(*value, 0).unwrap_or(0);
            from_decimal(before.wrapping_add(crate::bytes::unzigzag(code >> 1)), 0)
        } else {
            f64::from_bits(value.to_bits() ^ reader.varint()?.reverse_bits())
        };
        Ok(())
    };
    for value in [&mut histogram.zero_count, &mut histogram.count, &mut histogram.sum] {
        next(value)?;
    }
    for value in histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets) {
        next(value)?;
    }
    if reader.is_empty() { Ok(histogram) } else { Err(Corrupt("bytes behind a histogram")) }
}

const FULL: u8 = 0;
const FOLLOWS: u8 = 1;

const fn hint_byte(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

const fn hint(byte: u8) -> Result<CounterResetHint, Corrupt> {
    Ok(match byte {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => return Err(Corrupt("unknown counter reset hint")),
    })
}

/// Reads what [`encode`] wrote; the bytes must end where the histogram does.
pub(crate) fn decode(bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let mut reader = Reader(bytes);
    let counter_reset_hint = hint(reader.byte()?)?;
    let schema = narrow(reader.signed()?)?;
    let heads = floats(&mut reader, 4)?;
    let &[zero_threshold, zero_count, count, sum] = heads.as_slice() else {
        return Err(Corrupt("ends early"));
    };
    let positive_spans = spans(&mut reader)?;
    let negative_spans = spans(&mut reader)?;
    let mut list = || -> Result<Vec<f64>, Corrupt> {
        let len = reader.count(1)?;
        floats(&mut reader, len)
    };
    let (positive_buckets, negative_buckets, custom_values) = (list()?, list()?, Arc::from(list()?));
    if !reader.is_empty() {
        return Err(Corrupt("bytes behind a histogram"));
    }
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

fn narrow(value: i64) -> Result<i32, Corrupt> {
    i32::try_from(value).map_err(|_too_big| Corrupt("number is too big"))
}

fn spans(reader: &mut Reader<'_>) -> Result<Vec<Span>, Corrupt> {
    let len = reader.count(2)?;
    let mut spans = Vec::with_capacity(len);
    for _ in 0..len {
        spans.push(Span { offset: narrow(reader.signed()?)?, length: reader.id()? });
    }
    Ok(spans)
}

/// Whole numbers as their difference to the last whole number, doubled; others as a one and eight bytes.
fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    let mut last = 0;
    for value in values {
        if let Some(whole) = to_decimal(*value, 0) {
            // Both lie within 2^53, so that neither the difference nor its double overflows.
            put_varint(out, crate::bytes::zigzag(whole - last) << 1);
            last = whole;
        } else {
            out.push(1);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

fn floats(reader: &mut Reader<'_>, len: usize) -> Result<Vec<f64>, Corrupt> {
    let mut values = Vec::with_capacity(len);
    let mut last: i64 = 0;
    for _ in 0..len {
        let code = reader.varint()?;
        if code & 1 == 0 {
            last = last.wrapping_add(crate::bytes::unzigzag(code >> 1));
            values.push(from_decimal(last, 0));
        } else {
            values.push(f64::from_bits(reader.u64()?));
        }
    }
    Ok(values)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
        let float = prop_oneof![(0u32..1000).prop_map(f64::from), any::<u64>().prop_map(f64::from_bits)];
        let list = || proptest::collection::vec(float.clone(), 0..6);
        let spans = || {
            let span = (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length });
            proptest::collection::vec(span, 0..3)
        };
        let hint = prop_oneof![
            Just(CounterResetHint::Unknown),
            Just(CounterResetHint::CounterReset),
            Just(CounterResetHint::NotCounterReset),
            Just(CounterResetHint::Gauge)
        ];
        let heads = (float.clone(), float.clone(), float.clone(), float.clone());
        (hint, any::<i32>(), heads, spans(), spans(), list(), list(), list()).prop_map(
            |(counter_reset_hint, schema, heads, positive_spans, negative_spans, positive, negative, custom)| {
                Histogram {
                    counter_reset_hint,
                    schema,
                    zero_threshold: heads.0,
                    zero_count: heads.1,
                    count: heads.2,
                    sum: heads.3,
                    positive_spans,
                    negative_spans,
                    positive_buckets: positive,
                    negative_buckets: negative,
                    custom_values: custom.into(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn histograms_that_follow_come_back_to_the_bit(
            mut histogram in any_histogram(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u64>(), 0u32..64), 1..8),
        ) {
            for (at, bits, shift) in changes {
                let previous = histogram.clone();
                match histogram.positive_buckets.get_mut(at.index(8)) {
                    Some(bucket) => *bucket = (bits >> shift) as f64,
                    None => histogram.sum = f64::from_bits(bits),
                }
                let back = decode_after(Some(&previous), &encode_after(Some(&previous), &histogram)).unwrap();
                prop_assert_eq!(encode(&back), encode(&histogram));
            }
        }

        #[test]
        fn histograms_come_back_to_the_bit(histogram in any_histogram()) {
            let bytes = encode(&histogram);
            let back = decode(&bytes).unwrap();
            prop_assert_eq!(encode(&back), bytes);
            prop_assert_eq!(back.schema, histogram.schema);
            prop_assert_eq!(back.sum.to_bits(), histogram.sum.to_bits());
            prop_assert_eq!(back.positive_spans, histogram.positive_spans);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            decode(&bytes).ok();
        }
    }
}
