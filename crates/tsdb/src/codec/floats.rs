//! A column of floats in the shortest of its forms.
//!
//! - decimals: constant, offsets to a base, differences, differences of differences;
//! - others: constant, or [`xor`];
//! - decimals with a few others among them (staleness markers): the others are listed;
//! - decimals that go with the column before, as buckets of a histogram do: the differences to it.
//!
//! Rule: the form is chosen by the bytes that it takes, never by what the metric is called.

use crate::bytes::{Corrupt, Reader, put_signed, put_varint, unzigzag, varint_len, zigzag};
use crate::decimal::{MAX_SCALE, find_scale, from_decimal, nearest, to_decimal};

use super::{packed, xor};

pub(super) const FORM: u8 = 0x0f;
/// Values that are no decimals are listed in front.
pub(super) const LISTED: u8 = 0x10;

/// The integers are differences to the column before, which is complete as well.
pub(super) const RELATED: u8 = 0x80;

const NONE: u8 = 0;
const CONSTANT: u8 = 1;
const CONSTANT_RAW: u8 = 2;
const OFFSETS: u8 = 3;
const DELTAS: u8 = 4;
const DELTAS_SIGNED: u8 = 5;
const DELTAS_OF_DELTAS: u8 = 6;
const XOR: u8 = 7;

/// Columns in a row that build on the one before: a reader of one column reads at most so many others.
/// Buckets lose little by it: three in four are still differences.
pub(super) const MAX_RELATED: u8 = 3;

/// Integers that the column is, at a scale, with the places of those that are no decimals.
pub(super) struct Decimals {
    scale: u8,
    integers: Vec<i64>,
    listed: Vec<usize>,
}

/// The column at the smallest scale at which all but a few are integers.
fn decimals(values: &[u64]) -> Option<Decimals> {
    let allowed = values.len() / 16 + 1;
    let mut found = Decimals { scale: 0, integers: Vec::with_capacity(values.len()), listed: Vec::new() };
    while found.integers.len() < values.len() {
        let place = found.integers.len();
        let value = f64::from_bits(values[place]);
        if let Some(integer) = to_decimal(value, found.scale) {
            found.integers.push(integer);
        } else if let Some((larger, _)) = find_scale(value, found.scale + 1) {
            // At a larger scale large values may be no integers any more: all are looked at again.
            found = Decimals { scale: larger, integers: found.integers, listed: Vec::new() };
            found.integers.clear();
        } else {
            // In the place of one that is listed the last integer goes on, which costs least.
            found.listed.push(place);
            found.integers.push(found.integers.last().copied().unwrap_or(0));
            if found.listed.len() > allowed {
                return None;
            }
        }
    }
    (found.listed.len() < values.len()).then_some(found)
}

/// Appends a column. Returns the form for the flags of the column, and the column as integers if the next
/// one may build on it. `before` is the column before, if this one may build on it.
pub(super) fn put(out: &mut Vec<u8>, values: &[u64], before: Option<&Decimals>) -> (u8, Option<Decimals>) {
    let Some(first) = values.first() else { return (NONE, None) };
    let Some(found) = decimals(values) else {
        if values.iter().all(|value| value == first) {
            out.extend_from_slice(&first.to_le_bytes());
            return (CONSTANT_RAW, None);
        }
        xor::put(out, values);
        return (XOR, None);
    };
    let start = out.len();
    let form = put_decimals(out, values, &found);
    if form == XOR || form & LISTED != 0 {
        return (form, None);
    }
    // What takes next to nothing cannot be bettered.
    let own_len = out.len() - start;
    let related = before.filter(|_| own_len > 8 + values.len() / 32).and_then(|before| put_related(before, &found));
    match related {
        Some((related_form, bytes)) if bytes.len() < own_len => {
            out.truncate(start);
            out.extend_from_slice(&bytes);
            (related_form | RELATED, Some(found))
        }
        _ => (form, Some(found)),
    }
}

/// The column as differences to the one before.
fn put_related(before: &Decimals, found: &Decimals) -> Option<(u8, Vec<u8>)> {
    if before.scale != found.scale || before.integers.len() != found.integers.len() {
        return None;
    }
    let differences: Vec<i64> = found.integers.iter().zip(&before.integers).map(|(now, other)| now - other).collect();
    // They come back as floats.
    if differences.iter().any(|difference| to_decimal(*difference as f64, 0) != Some(*difference)) {
        return None;
    }
    let mut bytes = Vec::new();
    let form = put_integers(&mut bytes, &differences, found.scale);
    Some((form, bytes))
}

fn put_decimals(out: &mut Vec<u8>, values: &[u64], found: &Decimals) -> u8 {
    let start = out.len();
    if !found.listed.is_empty() {
        put_varint(out, found.listed.len() as u64);
        let mut next = 0;
        for place in &found.listed {
            put_varint(out, (place - next) as u64);
            out.extend_from_slice(&values[*place].to_le_bytes());
            next = place + 1;
        }
    }
    let form = put_integers(out, &found.integers, found.scale);
    // Few values with many digits each: bits may still be shorter.
    let len = out.len() - start;
    if len > values.len() * 2 {
        let mut bits = Vec::with_capacity(len);
        xor::put(&mut bits, values);
        if bits.len() < len {
            out.truncate(start);
            out.extend_from_slice(&bits);
            return XOR;
        }
    }
    form | if found.listed.is_empty() { 0 } else { LISTED }
}

fn put_integers(out: &mut Vec<u8>, integers: &[i64], scale: u8) -> u8 {
    let first = integers.first().copied().unwrap_or(0);
    out.push(scale);
    let low = integers.iter().copied().min().unwrap_or(0);
    let high = integers.iter().copied().max().unwrap_or(0);
    if low == high {
        put_signed(out, first);
        return CONSTANT;
    }
    // Decimals lie within 2^53, so that no difference overflows.
    let count = integers.len();
    let delta = |at: usize| integers[at + 1] - integers[at];
    let deltas = || (0..count - 1).map(delta);
    // A counter falls only when it restarts: such a delta wraps around and becomes an exception.
    let step = deltas().filter(|delta| *delta >= 0).min().unwrap_or(0);
    let first_delta = delta(0);
    let falls = deltas().any(|delta| delta < 0);
    let offset = |at: usize| (integers[at] - low).cast_unsigned();
    let rising = |at: usize| delta(at).wrapping_sub(step).cast_unsigned();
    let signed = |at: usize| zigzag(delta(at));
    let second = |at: usize| zigzag(delta(at + 1) - delta(at));
    let signed_len = |value: i64| varint_len(zigzag(value));
    let choices = [
        (OFFSETS, signed_len(low) + packed::len(count, offset)),
        (DELTAS, signed_len(first) + signed_len(step) + packed::len(count - 1, rising)),
        // Without a fall the differences above their least are never longer.
        (DELTAS_SIGNED, if falls { signed_len(first) + packed::len(count - 1, signed) } else { usize::MAX }),
        (DELTAS_OF_DELTAS, signed_len(first) + signed_len(first_delta) + packed::len(count - 2, second)),
    ];
    let form = choices.iter().min_by_key(|(_, len)| *len).map_or(OFFSETS, |(form, _)| *form);
    put_signed(out, if form == OFFSETS { low } else { first });
    match form {
        OFFSETS => packed::put(out, count, offset),
        DELTAS => {
            put_signed(out, step);
            packed::put(out, count - 1, rising);
        }
        DELTAS_SIGNED => packed::put(out, count - 1, signed),
        _ => {
            put_signed(out, first_delta);
            packed::put(out, count - 2, second);
        }
    }
    form
}

/// Reads `count` values onto the end of `into`; `scratch` is room to work in. A related column builds on
/// the values of the one `before`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    flags: u8,
    count: usize,
    before: &[f64],
    into: &mut Vec<f64>,
    scratch: &mut Vec<u64>,
) -> Result<(), Corrupt> {
    let base = into.len();
    if count == 0 {
        return Ok(());
    }
    let listed = if flags & LISTED == 0 { Vec::new() } else { read_listed(reader, count)? };
    scratch.clear();
    match flags & FORM {
        CONSTANT_RAW => {
            let value = f64::from_bits(reader.u64()?);
            into.resize(base + count, value);
        }
        XOR => {
            xor::read(reader.0, count, scratch)?;
            into.extend(scratch.iter().map(|bits| f64::from_bits(*bits)));
        }
        form => {
            let scale = reader.byte()?;
            if scale > MAX_SCALE {
                return Err(Corrupt("unknown scale"));
            }
            if flags & RELATED == 0 {
                read_integers(reader, form, scale, count, into, scratch)?;
            } else {
                read_integers(reader, form, 0, count, into, scratch)?;
                add(into.get_mut(base..).unwrap_or(&mut []), before, scale)?;
            }
        }
    }
    for (place, bits) in listed {
        *into.get_mut(base + place).ok_or(Corrupt("listed value is out of range"))? = f64::from_bits(bits);
    }
    Ok(())
}

/// Adds differences to the column before.
fn add(differences: &mut [f64], before: &[f64], scale: u8) -> Result<(), Corrupt> {
    if differences.len() != before.len() {
        return Err(Corrupt("column before has other rows"));
    }
    if scale == 0 {
        // Integers that are exact as floats add up exactly.
        for (difference, before) in differences.iter_mut().zip(before) {
            *difference += before;
        }
        return Ok(());
    }
    for (difference, before) in differences.iter_mut().zip(before) {
        *difference = from_decimal(nearest(*before, scale).wrapping_add(*difference as i64), scale);
    }
    Ok(())
}

fn read_listed(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(usize, u64)>, Corrupt> {
    let len = reader.count(9)?;
    let mut listed = Vec::with_capacity(len);
    let mut next: usize = 0;
    for _ in 0..len {
        let place = next.saturating_add(reader.size()?);
        if place >= count {
            return Err(Corrupt("listed value is out of range"));
        }
        listed.push((place, reader.u64()?));
        next = place + 1;
    }
    Ok(listed)
}

fn read_integers(
    reader: &mut Reader<'_>,
    form: u8,
    scale: u8,
    count: usize,
    into: &mut Vec<f64>,
    scratch: &mut Vec<u64>,
) -> Result<(), Corrupt> {
    let mut integer = reader.signed()?;
    match form {
        CONSTANT => into.extend(std::iter::repeat_n(from_decimal(integer, scale), count)),
        OFFSETS => {
            packed::read(reader, count, scratch)?;
            into.extend(scratch.iter().map(|off| from_decimal(integer.wrapping_add_unsigned(*off), scale)));
        }
        DELTAS | DELTAS_SIGNED => {
            let step = if form == DELTAS { reader.signed()? } else { 0 };
            packed::read(reader, count - 1, scratch)?;
            into.push(from_decimal(integer, scale));
            into.extend(scratch.iter().map(|delta| {
                let delta = if form == DELTAS { step.wrapping_add_unsigned(*delta) } else { unzigzag(*delta) };
                integer = integer.wrapping_add(delta);
                from_decimal(integer, scale)
            }));
        }
        DELTAS_OF_DELTAS => {
            let mut delta = reader.signed()?;
            packed::read(reader, count.saturating_sub(2), scratch)?;
            into.push(from_decimal(integer, scale));
            if count > 1 {
                integer = integer.wrapping_add(delta);
                into.push(from_decimal(integer, scale));
            }
            into.extend(scratch.iter().map(|change| {
                delta = delta.wrapping_add(unzigzag(*change));
                integer = integer.wrapping_add(delta);
                from_decimal(integer, scale)
            }));
        }
        _ => return Err(Corrupt("unknown form of floats")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datamodel::sample::STALE_NAN_BITS;
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(values: &[f64]) -> (u8, usize) {
        let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
        let mut out = Vec::new();
        let (flags, _) = put(&mut out, &bits, None);
        let mut back = Vec::new();
        read(&mut Reader(&out), flags, bits.len(), &[], &mut back, &mut Vec::new()).unwrap();
        assert_eq!(back.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
        (flags, out.len())
    }

    #[test]
    fn each_kind_of_column_finds_its_form() {
        assert_eq!(check(&[]), (NONE, 0));
        assert_eq!(check(&[42.5; 100]), (CONSTANT, 3));
        assert_eq!(check(&[f64::NAN; 100]), (CONSTANT_RAW, 8));
        let noisy: Vec<f64> = (0..128).map(|n| f64::from(n * 7919 % 97) / 10.0).collect();
        assert_eq!(check(&noisy).0, OFFSETS);
        let counter: Vec<f64> = (0..128).map(|n| f64::from(1_000_000 + n * 40 + n * 7919 % 31)).collect();
        assert_eq!(check(&counter).0, DELTAS);
        let mut restarted = counter.clone();
        restarted.iter_mut().skip(70).for_each(|value| *value -= 1_000_000.0);
        let (form, len) = check(&restarted);
        assert!(form == DELTAS && len < check(&counter).1 + 16);
        let clock: Vec<f64> = (0..128).map(|n| f64::from(n * n * 3 + 17)).collect();
        assert_eq!(check(&clock).0, DELTAS_OF_DELTAS);
        let full: Vec<f64> = (1..128).map(|n| f64::from(n).sqrt().sin()).collect();
        assert_eq!(check(&full).0, XOR);
        let mut ended = counter;
        ended.push(f64::from_bits(STALE_NAN_BITS));
        assert_eq!(check(&ended).0, DELTAS | LISTED);
    }

    fn any_column() -> impl Strategy<Value = Vec<f64>> {
        let value = |kind: u8| {
            let small = (any::<i32>(), 0u32..32).prop_map(|(value, shift)| f64::from(value >> shift));
            let decimal = (any::<i32>(), 0i32..6).prop_map(|(value, scale)| f64::from(value) / 10f64.powi(scale));
            let any_bits = any::<u64>().prop_map(f64::from_bits);
            let odd = prop_oneof![Just(-0.0), Just(f64::from_bits(STALE_NAN_BITS)), Just(9.007_199_254_740_993e15)];
            match kind {
                0 => small.boxed(),
                1 => decimal.boxed(),
                2 => any_bits.boxed(),
                _ => prop_oneof![20 => decimal, 1 => odd, 1 => any_bits].boxed(),
            }
        };
        (0u8..4).prop_flat_map(move |kind| proptest::collection::vec(value(kind), 0..200))
    }

    #[test]
    fn column_that_goes_with_the_one_before_takes_less() {
        let before: Vec<u64> = (0..120).map(|n| f64::from(n * 7919 % 5000).to_bits()).collect();
        let now: Vec<u64> = (0..120).map(|n| f64::from(n * 7919 % 5000 + n / 40).to_bits()).collect();
        let (_, known) = put(&mut Vec::new(), &before, None);
        let mut out = Vec::new();
        let (flags, _) = put(&mut out, &now, known.as_ref());
        assert_eq!(flags & RELATED, RELATED);
        assert!(out.len() < 30, "{}", out.len());
        let floats: Vec<f64> = before.iter().map(|bits| f64::from_bits(*bits)).collect();
        let mut back = Vec::new();
        read(&mut Reader(&out), flags, 120, &floats, &mut back, &mut Vec::new()).unwrap();
        assert_eq!(back.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), now);
    }

    proptest! {
        #[test]
        fn any_column_comes_back_to_the_bit(values in any_column()) {
            check(&values);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), flags in any::<u8>(),
                                  count in 0usize..300) {
            read(&mut Reader(&bytes), flags, count, &vec![1.5; count], &mut Vec::new(), &mut Vec::new()).ok();
        }
    }
}
