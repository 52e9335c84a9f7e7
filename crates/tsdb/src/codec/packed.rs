//! Unsigned integers in blocks of 64: a common width, and exceptions for what is wider.
//!
//! ```text
//! block:  width (7 bits) + more │ n × width bits, low bits first │ [count, (index, high bits)…]
//! ```
//!
//! Rule: a width is chosen so that the block is shortest, exceptions counted.

use crate::bytes::{Corrupt, Reader, put_varint};

const BLOCK: usize = 64;
const EXCEPTIONS: u8 = 0x80;

/// More exceptions than a quarter of a block never pay: each takes two bytes at least.
const MAX_EXCEPTIONS: usize = BLOCK / 4;

/// The width for a block and the bytes that it takes.
fn best_width(block: &[u64]) -> (u32, usize) {
    let mut counts = [0_u8; 65];
    for value in block {
        counts[64 - value.leading_zeros() as usize] += 1;
    }
    let mut widths = (0..=64_u32).rev().filter(|width| counts[*width as usize] > 0);
    let packed_len = |width: u32| (block.len() * width as usize).div_ceil(8);
    let Some(widest) = widths.next() else { return (0, 1) };
    let mut best = (widest, 1 + packed_len(widest));
    let mut wider = [0_u32; MAX_EXCEPTIONS];
    let mut exceptions = 0;
    let mut above = widest;
    // Between two widths that occur, the lower one is better: nothing more becomes an exception.
    for width in widths.chain((counts[0] == 0).then_some(0)) {
        let more = usize::from(counts[above as usize]);
        let Some(room) = wider.get_mut(exceptions..exceptions + more) else { break };
        room.fill(above);
        exceptions += more;
        above = width;
        let listed: usize = wider[..exceptions].iter().map(|wide| 1 + ((wide - width) as usize).div_ceil(7)).sum();
        let len = 2 + packed_len(width) + listed;
        if len < best.1 {
            best = (width, len);
        }
    }
    best
}

/// Goes through `count` integers by blocks.
fn blocks(count: usize, value: impl Fn(usize) -> u64, mut each: impl FnMut(&[u64])) {
    let mut block = [0; BLOCK];
    let mut at = 0;
    while at < count {
        let len = BLOCK.min(count - at);
        for (place, room) in block[..len].iter_mut().enumerate() {
            *room = value(at + place);
        }
        each(&block[..len]);
        at += len;
    }
}

/// Bytes that [`put`] would write.
pub(super) fn len(count: usize, value: impl Fn(usize) -> u64) -> usize {
    let mut sum = 0;
    blocks(count, value, |block| sum += best_width(block).1);
    sum
}

/// Appends `count` integers; their number is not written.
pub(super) fn put(out: &mut Vec<u8>, count: usize, value: impl Fn(usize) -> u64) {
    blocks(count, value, |block| put_block(out, block));
}

const fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

fn put_block(out: &mut Vec<u8>, block: &[u64]) {
    let (width, _) = best_width(block);
    let fits = |value: u64| value & !mask(width) == 0;
    let exceptions = block.iter().filter(|value| !fits(**value)).count();
    // A width is at most 64, so that the upper bit is free.
    out.push(width as u8 | if exceptions > 0 { EXCEPTIONS } else { 0 });
    let (mut word, mut used) = (0_u64, 0_u32);
    for value in block {
        let value = value & mask(width);
        word |= value.unbounded_shl(used);
        used += width;
        if used >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            used -= 64;
            word = value.unbounded_shr(width - used);
        }
    }
    out.extend(word.to_le_bytes().iter().take((used as usize).div_ceil(8)));
    if exceptions > 0 {
        out.push(exceptions as u8);
        for (index, value) in block.iter().enumerate().filter(|(_, value)| !fits(**value)) {
            out.push(index as u8);
            put_varint(out, value.unbounded_shr(width));
        }
    }
}

/// Reads `count` integers onto the end of `into`.
pub(super) fn read(reader: &mut Reader<'_>, count: usize, into: &mut Vec<u64>) -> Result<(), Corrupt> {
    let mut left = count;
    while left > 0 {
        let in_block = left.min(BLOCK);
        read_block(reader, in_block, into)?;
        left -= in_block;
    }
    Ok(())
}

/// The widths of counters and gauges: for each there is a loop of its own, without a branch.
const NARROW: u32 = 16;

/// Bytes of a block of the widest narrow integers, and as many behind it as a load may reach.
const NARROW_LEN: usize = BLOCK * NARROW as usize / 8 + 8;

fn unpack<const WIDTH: usize>(bytes: &[u8; NARROW_LEN], block: &mut [u64; BLOCK]) {
    let mask = (1_u64 << WIDTH) - 1;
    for (at, value) in block.iter_mut().enumerate() {
        let bit = at * WIDTH;
        let word = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word));
        *value = word >> (bit % 8) & mask;
    }
}

/// Unpacks a block; what is behind the end of `bytes` is zero.
fn unpack_narrow(bytes: &[u8], width: u32, block: &mut [u64; BLOCK]) {
    let mut padded = [0; NARROW_LEN];
    if let Some(room) = padded.get_mut(..bytes.len()) {
        room.copy_from_slice(bytes);
    }
    match width {
        1 => unpack::<1>(&padded, block),
        2 => unpack::<2>(&padded, block),
        3 => unpack::<3>(&padded, block),
        4 => unpack::<4>(&padded, block),
        5 => unpack::<5>(&padded, block),
        6 => unpack::<6>(&padded, block),
        7 => unpack::<7>(&padded, block),
        8 => unpack::<8>(&padded, block),
        9 => unpack::<9>(&padded, block),
        10 => unpack::<10>(&padded, block),
        11 => unpack::<11>(&padded, block),
        12 => unpack::<12>(&padded, block),
        13 => unpack::<13>(&padded, block),
        14 => unpack::<14>(&padded, block),
        15 => unpack::<15>(&padded, block),
        _ => unpack::<16>(&padded, block),
    }
}

fn unpack_wide(bytes: &[u8], width: u32, count: usize, into: &mut Vec<u64>) {
    // Eight bytes behind the longest block, so that each load is whole.
    let mut padded = [0_u8; BLOCK * 8 + 16];
    if let Some(room) = padded.get_mut(..bytes.len()) {
        room.copy_from_slice(bytes);
    }
    let load = |at: usize| {
        padded.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes: &[u8; 8]| u64::from_le_bytes(*bytes))
    };
    let mask = mask(width);
    let mut bit = 0_usize;
    for _ in 0..count {
        let (at, shift) = (bit / 8, (bit % 8) as u32);
        let mut value = load(at) >> shift;
        if width + shift > 64 {
            value |= load(at + 8).unbounded_shl(64 - shift);
        }
        into.push(value & mask);
        bit += width as usize;
    }
}

fn read_block(reader: &mut Reader<'_>, count: usize, into: &mut Vec<u64>) -> Result<(), Corrupt> {
    let header = reader.byte()?;
    let width = u32::from(header & !EXCEPTIONS);
    if width > 64 {
        return Err(Corrupt("width is above 64"));
    }
    let bytes = reader.take((count * width as usize).div_ceil(8))?;
    let base = into.len();
    if width == 0 {
        into.resize(base + count, 0);
    } else if width <= NARROW {
        let mut block = [0; BLOCK];
        unpack_narrow(bytes, width, &mut block);
        into.extend_from_slice(block.get(..count).unwrap_or_default());
    } else {
        unpack_wide(bytes, width, count, into);
    }
    if header & EXCEPTIONS != 0 {
        for _ in 0..reader.byte()? {
            let index = usize::from(reader.byte()?);
            let high = reader.varint()?;
            let value =
                into.get_mut(base + index).filter(|_| index < count).ok_or(Corrupt("exception is out of range"))?;
            *value |= high.unbounded_shl(width);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(values: &[u64]) -> usize {
        let mut out = Vec::new();
        put(&mut out, values.len(), |at| values[at]);
        assert_eq!(out.len(), len(values.len(), |at| values[at]));
        let mut reader = Reader(&out);
        let mut back = Vec::new();
        read(&mut reader, values.len(), &mut back).unwrap();
        assert!(reader.is_empty());
        assert_eq!(back, values);
        out.len()
    }

    #[test]
    fn zeros_take_a_byte_a_block_and_an_outlier_only_its_own_bits() {
        assert_eq!(check(&[0; 130]), 3);
        let mut values = vec![5; 64];
        assert_eq!(check(&values), 1 + 24);
        values[7] = u64::MAX;
        assert_eq!(check(&values), 2 + 24 + 1 + 9);
    }

    proptest! {
        #[test]
        fn any_integers_come_back(values in proptest::collection::vec((any::<u64>(), 0u32..64), 0..200)) {
            let values: Vec<u64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
            check(&values);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..300) {
            read(&mut Reader(&bytes), count, &mut Vec::new()).ok();
        }
    }
}
