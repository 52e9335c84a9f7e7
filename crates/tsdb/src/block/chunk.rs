//! Chunks of blocks: floats, histograms with whole counts (read only), histograms with float counts.
//!
//! - [`Cutter`]: samples of a series in, chunks out. - [`decode`]: a chunk in, samples out.
//!
//! Rule: a histogram goes into a chunk with others only if a reader may take it for one without a reset; whatever
//! differs in its buckets begins a chunk of its own.

use std::sync::Arc;

use datamodel::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use datamodel::sample::is_stale_nan;
use datamodel::{Histogram, STALE_NAN};
use storage::Samples;

use crate::bytes::{Corrupt, put_varint, unzigzag, zigzag};

use super::bits::{BitReader, BitWriter, Xor};

/// Samples of a chunk, as upstream cuts them.
const MAX_SAMPLES: u16 = 120;

/// Buckets of a histogram that are read: bounds what a hostile chunk allocates.
const MAX_BUCKETS: usize = 100_000;

const XOR: u8 = 1;
const HISTOGRAM: u8 = 2;
const FLOAT_HISTOGRAM: u8 = 3;

const HAS_RESET: u8 = 0b1000_0000;
const NO_RESET: u8 = 0b0100_0000;
const GAUGE: u8 = 0b1100_0000;

/// A chunk as it lies in a file, without its length and checksum.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) encoding: u8,
    pub(super) data: Vec<u8>,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) samples: u16,
}

/// What is being written.
#[derive(Debug)]
enum Open {
    Floats(Xor),
    Histograms { previous: Arc<Histogram>, values: Vec<Xor> },
}

#[derive(Debug)]
struct Writing {
    bits: BitWriter,
    open: Open,
    first: i64,
    last: i64,
    step: i64,
    samples: u16,
}

/// Cuts the samples of a series into chunks.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    writing: Option<Writing>,
    pub(super) done: Vec<Chunk>,
}

impl Cutter {
    /// Ends the chunk that is being written.
    pub(super) fn end(&mut self) {
        let Some(Writing { bits, open, first, last, samples, .. }) = self.writing.take() else { return };
        let encoding = if matches!(open, Open::Floats(_)) { XOR } else { FLOAT_HISTOGRAM };
        let mut data = bits.into_bytes();
        if let Some(count) = data.first_chunk_mut::<2>() {
            *count = samples.to_be_bytes();
        }
        self.done.push(Chunk { encoding, data, first, last, samples });
    }

    /// Adds a float.
    pub(super) fn push(&mut self, at: i64, value: f64) {
        let goes_on = |writing: &Writing| writing.samples < MAX_SAMPLES && matches!(writing.open, Open::Floats(_));
        if !self.writing.as_ref().is_some_and(goes_on) {
            self.end();
            let mut start = vec![0, 0];
            put_varint(&mut start, zigzag(at));
            let mut bits = BitWriter::behind(start);
            bits.put(value.to_bits(), 64);
            let open = Open::Floats(Xor::new(value));
            self.writing = Some(Writing { bits, open, first: at, last: at, step: 0, samples: 1 });
            return;
        }
        let Some(Writing { bits, open: Open::Floats(xor), last, step, samples, .. }) = &mut self.writing else {
            return;
        };
        let now = at.wrapping_sub(*last);
        if *samples == 1 {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, now.cast_unsigned());
            bits.put_bytes(&bytes);
        } else {
            bits.put_instant(now.wrapping_sub(*step));
        }
        xor.write(value, bits);
        (*last, *step) = (at, now);
        *samples += 1;
    }

    /// Adds a histogram. One that only says that the series has ended is written as the marker that floats have.
    pub(super) fn push_histogram(&mut self, at: i64, histogram: &Arc<Histogram>) {
        if is_stale_nan(histogram.sum) {
            self.push(at, STALE_NAN);
            return;
        }
        let goes_on = |writing: &Writing| match &writing.open {
            Open::Histograms { previous, .. } => writing.samples < MAX_SAMPLES && follows(previous, histogram),
            Open::Floats(_) => false,
        };
        if !self.writing.as_ref().is_some_and(goes_on) {
            self.end();
            self.writing = Some(begin_histograms(at, histogram));
            return;
        }
        let Some(Writing { bits, open: Open::Histograms { previous, values }, last, step, samples, .. }) =
            &mut self.writing
        else {
            return;
        };
        let now = at.wrapping_sub(*last);
        bits.put_varbit(if *samples == 1 { now } else { now.wrapping_sub(*step) });
        for (xor, value) in values.iter_mut().zip(numbers(histogram)) {
            xor.write(value, bits);
        }
        *previous = Arc::clone(histogram);
        (*last, *step) = (at, now);
        *samples += 1;
    }
}

/// Whether a reader may take the second for one that no reset separates from the first, with the same buckets.
fn follows(first: &Histogram, second: &Histogram) -> bool {
    let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    let same = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    let same_layout = first.schema == second.schema
        && same(&[first.zero_threshold], &[second.zero_threshold])
        && first.positive_spans == second.positive_spans
        && first.negative_spans == second.negative_spans
        && same(&first.custom_values, &second.custom_values);
    // The sum may fall; the others are counts.
    let grows = || numbers(first).zip(numbers(second)).enumerate().all(|(at, (a, b))| at == 2 || b >= a);
    let resets = second.counter_reset_hint == CounterResetHint::CounterReset;
    same_layout && is_gauge(first) == is_gauge(second) && (is_gauge(first) || (!resets && grows()))
}

/// The numbers of a histogram in the order of a chunk: count, zero count, sum, buckets.
fn numbers(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let heads = [histogram.count, histogram.zero_count, histogram.sum];
    heads.into_iter().chain(histogram.positive_buckets.iter().chain(&histogram.negative_buckets).copied())
}

fn begin_histograms(at: i64, histogram: &Arc<Histogram>) -> Writing {
    let flags = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => HAS_RESET,
        CounterResetHint::NotCounterReset => NO_RESET,
        CounterResetHint::Gauge => GAUGE,
    };
    let mut bits = BitWriter::behind(vec![0, 0, flags]);
    put_threshold(&mut bits, histogram.zero_threshold);
    bits.put_varbit(i64::from(histogram.schema));
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        bits.put_varbit_unsigned(spans.len() as u64);
        for span in spans {
            bits.put_varbit_unsigned(u64::from(span.length));
            bits.put_varbit(i64::from(span.offset));
        }
    }
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        bits.put_varbit_unsigned(histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|value| put_bound(&mut bits, *value));
    }
    bits.put_varbit(at);
    let values = numbers(histogram).map(|value| {
        bits.put(value.to_bits(), 64);
        Xor::new(value)
    });
    let values = values.collect();
    let open = Open::Histograms { previous: Arc::clone(histogram), values };
    Writing { bits, open, first: at, last: at, step: 0, samples: 1 }
}

/// Zero, a power of two from 2^-243 to 2^10 in one byte, or all bits.
fn put_threshold(bits: &mut BitWriter, threshold: f64) {
    let exponent = (threshold.to_bits() >> 52) as u32;
    let is_power = threshold > 0.0 && threshold.to_bits().trailing_zeros() >= 52;
    let code = exponent.checked_sub(1023 - 243 - 1).filter(|code| is_power && (1..255).contains(code));
    match code {
        _ if threshold.to_bits() == 0 => bits.put(0, 8),
        Some(code) => bits.put(u64::from(code), 8),
        None => {
            bits.put(255, 8);
            bits.put(threshold.to_bits(), 64);
        }
    }
}

fn threshold(reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
    match reader.byte()? {
        0 => Ok(0.0),
        255 => reader.take(64).map(f64::from_bits),
        code => Ok(2.0_f64.powi(i32::from(code) - 244)),
    }
}

/// The largest bound in thousandths that is written as a whole number.
const MAX_THOUSANDTHS: f64 = 33_554_430.0;

fn put_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let is_whole = bound.is_sign_positive()
        && (0.0..=MAX_THOUSANDTHS).contains(&thousandths)
        && thousandths.fract().to_bits() == 0
        && (thousandths / 1000.0).to_bits() == bound.to_bits();
    if is_whole {
        #[expect(clippy::cast_sign_loss, reason = "it is in the range")]
        bits.put_varbit_unsigned(thousandths as u64 + 1);
    } else {
        bits.put(0, 1);
        bits.put(bound.to_bits(), 64);
    }
}

fn bound(reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
    match reader.varbit_unsigned()?.checked_sub(1) {
        Some(thousandths) => Ok(thousandths as f64 / 1000.0),
        None => reader.take(64).map(f64::from_bits),
    }
}

/// Why a chunk cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkError {
    Corrupt(Corrupt),
    /// An encoding that this version does not know.
    Unknown(u8),
}

impl From<Corrupt> for ChunkError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// Appends the samples of a chunk.
pub(super) fn decode(encoding: u8, data: &[u8], into: &mut Samples) -> Result<(), ChunkError> {
    let mut reader = BitReader::new(data);
    let count = reader.take(16)? as u16;
    // Each sample has at least two bits.
    if usize::from(count) > data.len() * 4 {
        return Err(Corrupt("count exceeds what follows").into());
    }
    match encoding {
        _ if count == 0 => Ok(()),
        XOR => Ok(floats(&mut reader, count, into)?),
        HISTOGRAM => Ok(histograms(&mut reader, count, WholeCounts::default(), into)?),
        FLOAT_HISTOGRAM => Ok(histograms(&mut reader, count, FloatCounts::default(), into)?),
        other => Err(ChunkError::Unknown(other)),
    }
}

fn floats(reader: &mut BitReader<'_>, count: u16, into: &mut Samples) -> Result<(), Corrupt> {
    let mut at = unzigzag(reader.varint_unsigned()?);
    let mut xor = Xor::new(f64::from_bits(reader.take(64)?));
    into.push(at, xor.value());
    let mut step: i64 = 0;
    for index in 1..count {
        step = if index == 1 { reader.varint_unsigned()?.cast_signed() } else { step.wrapping_add(reader.instant()?) };
        at = at.wrapping_add(step);
        into.push(at, xor.read(reader)?);
    }
    Ok(())
}

/// The counts of a histogram as a chunk writes them.
trait Counts {
    /// Reads count, zero count and sum; `first` of the chunk.
    fn heads(&mut self, reader: &mut BitReader<'_>, first: bool) -> Result<[f64; 3], Corrupt>;

    /// Reads the buckets of one side; `side` is 0 for the positive ones.
    fn buckets(
        &mut self,
        reader: &mut BitReader<'_>,
        first: bool,
        side: usize,
        len: usize,
    ) -> Result<Vec<f64>, Corrupt>;
}

/// A whole number that is written as the difference of two differences.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    value: i64,
    step: i64,
}

impl Second {
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<i64, Corrupt> {
        self.step = self.step.wrapping_add(reader.varbit()?);
        self.value = self.value.wrapping_add(self.step);
        Ok(self.value)
    }
}

#[derive(Debug, Default)]
struct WholeCounts {
    heads: [Second; 2],
    sum: Option<Xor>,
    sides: [Vec<Second>; 2],
}

fn read_sum(sum: &mut Option<Xor>, reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
    if let Some(sum) = sum {
        return sum.read(reader);
    }
    let first = f64::from_bits(reader.take(64)?);
    *sum = Some(Xor::new(first));
    Ok(first)
}

impl Counts for WholeCounts {
    fn heads(&mut self, reader: &mut BitReader<'_>, first: bool) -> Result<[f64; 3], Corrupt> {
        let mut heads = [0.0; 3];
        for (head, state) in heads.iter_mut().zip(&mut self.heads) {
            *head = if first {
                state.value = reader.varbit_unsigned()?.cast_signed();
                state.value as f64
            } else {
                state.read(reader)? as f64
            };
        }
        heads[2] = read_sum(&mut self.sum, reader)?;
        Ok(heads)
    }

    fn buckets(
        &mut self,
        reader: &mut BitReader<'_>,
        first: bool,
        side: usize,
        len: usize,
    ) -> Result<Vec<f64>, Corrupt> {
        let states = &mut self.sides[side];
        if first {
            states.clear();
            for _ in 0..len {
                states.push(Second { value: reader.varbit()?, step: 0 });
            }
        } else {
            for state in states.iter_mut() {
                state.read(reader)?;
            }
        }
        // Each is written as its difference to the bucket before.
        let absolute = states.iter().scan(0_i64, |sum, state| {
            *sum = sum.wrapping_add(state.value);
            Some(*sum as f64)
        });
        Ok(absolute.collect())
    }
}

#[derive(Debug, Default)]
struct FloatCounts {
    heads: [Option<Xor>; 3],
    sides: [Vec<Xor>; 2],
}

impl Counts for FloatCounts {
    fn heads(&mut self, reader: &mut BitReader<'_>, _first: bool) -> Result<[f64; 3], Corrupt> {
        let mut heads = [0.0; 3];
        for (head, state) in heads.iter_mut().zip(&mut self.heads) {
            *head = read_sum(state, reader)?;
        }
        Ok(heads)
    }

    fn buckets(
        &mut self,
        reader: &mut BitReader<'_>,
        first: bool,
        side: usize,
        len: usize,
    ) -> Result<Vec<f64>, Corrupt> {
        let states = &mut self.sides[side];
        if first {
            states.clear();
            for _ in 0..len {
                states.push(Xor::new(f64::from_bits(reader.take(64)?)));
            }
            return Ok(states.iter().map(Xor::value).collect());
        }
        states.iter_mut().map(|state| state.read(reader)).collect()
    }
}

fn spans(reader: &mut BitReader<'_>) -> Result<(Vec<Span>, usize), Corrupt> {
    let count = reader.varbit_unsigned()?;
    if count > reader.left() as u64 {
        return Err(Corrupt("count exceeds what follows"));
    }
    let mut spans = Vec::new();
    let mut buckets: usize = 0;
    for _ in 0..count {
        let length = u32::try_from(reader.varbit_unsigned()?).map_err(|_too_big| Corrupt("span is too long"))?;
        let offset = i32::try_from(reader.varbit()?).map_err(|_too_big| Corrupt("span is too far"))?;
        buckets = buckets.saturating_add(length as usize);
        spans.push(Span { offset, length });
    }
    if buckets > MAX_BUCKETS { Err(Corrupt("too many buckets")) } else { Ok((spans, buckets)) }
}

fn histograms(
    reader: &mut BitReader<'_>,
    count: u16,
    mut counts: impl Counts,
    into: &mut Samples,
) -> Result<(), Corrupt> {
    let flags = reader.byte()? & GAUGE;
    let zero_threshold = threshold(reader)?;
    let schema = i32::try_from(reader.varbit()?).map_err(|_too_big| Corrupt("schema is out of range"))?;
    let (positive_spans, positive) = spans(reader)?;
    let (negative_spans, negative) = spans(reader)?;
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        let count = reader.varbit_unsigned()?;
        if count > reader.left() as u64 {
            return Err(Corrupt("count exceeds what follows"));
        }
        for _ in 0..count {
            custom_values.push(bound(reader)?);
        }
    }
    let custom_values: Arc<[f64]> = custom_values.into();
    let (mut at, mut step) = (0_i64, 0_i64);
    for index in 0..count {
        let first = index == 0;
        if first {
            at = reader.varbit()?;
        } else {
            step = step.wrapping_add(reader.varbit()?);
            at = at.wrapping_add(step);
        }
        let [count, zero_count, sum] = counts.heads(reader, first)?;
        if is_stale_nan(sum) {
            into.push(at, STALE_NAN);
            continue;
        }
        let histogram = Histogram {
            counter_reset_hint: hint(flags, first),
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_buckets: counts.buckets(reader, first, 0, positive)?,
            negative_buckets: counts.buckets(reader, first, 1, negative)?,
            positive_spans: positive_spans.clone(),
            negative_spans: negative_spans.clone(),
            custom_values: Arc::clone(&custom_values),
        };
        into.push_histogram(at, Arc::new(histogram));
    }
    Ok(())
}

/// What a reader knows of resets. What the flag of a chunk says of the one before it is taken only where it says
/// that there was a reset: another sample may come between the two chunks later.
const fn hint(flags: u8, first: bool) -> CounterResetHint {
    match flags {
        GAUGE => CounterResetHint::Gauge,
        _ if !first => CounterResetHint::NotCounterReset,
        HAS_RESET => CounterResetHint::CounterReset,
        _ => CounterResetHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(count: f64, hint: CounterResetHint) -> Arc<Histogram> {
        Arc::new(Histogram {
            counter_reset_hint: hint,
            schema: 3,
            zero_threshold: 2.0_f64.powi(-128),
            zero_count: 1.0,
            count,
            sum: count / 3.0,
            positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 3, length: 1 }],
            positive_buckets: vec![count / 2.0, count / 2.0 - 1.0],
            ..Histogram::default()
        })
    }

    fn decoded(cutter: &mut Cutter) -> Samples {
        cutter.end();
        let mut samples = Samples::default();
        for chunk in &cutter.done {
            decode(chunk.encoding, &chunk.data, &mut samples).unwrap();
        }
        samples
    }

    proptest! {
        #[test]
        fn floats_come_back(steps in proptest::collection::vec((1i64..100_000, any::<u64>(), 0u32..60), 1..300)) {
            let mut cutter = Cutter::default();
            let mut expected = Vec::new();
            let mut at = -50_000;
            for (step, bits, shift) in steps {
                at += step;
                let value = f64::from_bits(bits >> shift << shift);
                cutter.push(at, value);
                expected.push((at, value.to_bits()));
            }
            let samples = decoded(&mut cutter);
            let found: Vec<_> = samples.timestamps.iter().copied().zip(samples.values.iter().map(|v| v.to_bits())).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_no_panic(encoding in 0u8..5, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            decode(encoding, &bytes, &mut Samples::default()).ok();
        }

        #[test]
        fn thresholds_and_bounds_come_back(power in -300i32..40, bits in any::<u64>(), thousandths in 0u32..40_000_000) {
            for value in [2.0_f64.powi(power), f64::from_bits(bits), 0.0, -0.0, f64::from(thousandths) / 1000.0] {
                let mut out = BitWriter::default();
                put_threshold(&mut out, value);
                put_bound(&mut out, value);
                let bytes = out.into_bytes();
                let mut reader = BitReader::new(&bytes);
                prop_assert_eq!(threshold(&mut reader).unwrap().to_bits(), value.to_bits());
                prop_assert_eq!(bound(&mut reader).unwrap().to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn histograms_share_a_chunk_until_a_reset() {
        let mut cutter = Cutter::default();
        let unknown = CounterResetHint::Unknown;
        for (at, count) in [(1000, 4.0), (2000, 6.5), (3000, 8.0), (4000, 2.0), (5000, 3.0)] {
            cutter.push_histogram(at, &histogram(count, unknown));
        }
        cutter.push(6000, STALE_NAN);
        cutter.push_histogram(7000, &histogram(9.0, CounterResetHint::Gauge));
        cutter.push_histogram(8000, &histogram(1.0, CounterResetHint::Gauge));
        let samples = decoded(&mut cutter);
        let of_chunks: Vec<_> = cutter.done.iter().map(|chunk| (chunk.encoding, chunk.samples)).collect();
        assert_eq!(of_chunks, [(3, 3), (3, 2), (1, 1), (3, 2)]);
        assert_eq!(samples.timestamps, [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]);
        let hints: Vec<_> = samples.histograms.iter().map(|(_, histogram)| histogram.counter_reset_hint).collect();
        let (no, gauge) = (CounterResetHint::NotCounterReset, CounterResetHint::Gauge);
        assert_eq!(hints, [unknown, no, no, unknown, no, gauge, gauge]);
        let second = Histogram { counter_reset_hint: no, ..(*histogram(6.5, unknown)).clone() };
        assert_eq!(*samples.histograms[1].1, second);
    }
}
