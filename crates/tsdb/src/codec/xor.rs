//! Floats by the bits in which they differ from the one before.
//!
//! ```text
//! 0                      the same value
//! 10  bits               differs within the last window
//! 11  zeros:6 len-1:6 bits   differs within a new window
//! ```
//!
//! Rule: bits are written from the highest of a byte down.

use crate::bytes::Corrupt;

/// Writes single bits onto the end of a byte string.
struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    used: u32,
}

impl BitWriter<'_> {
    fn put(&mut self, bits: u64, count: u32) {
        let bits = if count == 64 { bits } else { bits & ((1 << count) - 1) };
        let free = 64 - self.used;
        if count < free {
            self.word |= bits.unbounded_shl(free - count);
            self.used += count;
        } else {
            self.word |= bits.unbounded_shr(count - free);
            self.out.extend_from_slice(&self.word.to_be_bytes());
            self.used = count - free;
            self.word = bits.unbounded_shl(64 - self.used);
        }
    }

    fn finish(self) {
        self.out.extend(self.word.to_be_bytes().iter().take((self.used as usize).div_ceil(8)));
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, count: u32) -> Result<u64, Corrupt> {
        let end = self.at + count as usize;
        if end > self.bytes.len() * 8 {
            return Err(Corrupt("ends early"));
        }
        let mut value: u128 = 0;
        for byte in self.at / 8..end.div_ceil(8) {
            value = value << 8 | u128::from(self.bytes[byte]);
        }
        value >>= end.div_ceil(8) * 8 - end;
        self.at = end;
        let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
        Ok(value as u64 & mask)
    }
}

/// Appends the bits of floats; their number is not written.
pub(super) fn put(out: &mut Vec<u8>, values: &[u64]) {
    let mut writer = BitWriter { out, word: 0, used: 0 };
    let mut previous = 0;
    let mut window: Option<(u32, u32)> = None;
    for value in values {
        let differs = value ^ previous;
        previous = *value;
        if differs == 0 {
            writer.put(0, 1);
            continue;
        }
        let (zeros, tail) = (differs.leading_zeros(), differs.trailing_zeros());
        // A new window costs twelve bits: the old one is kept while it wastes fewer.
        let reused =
            window.filter(|(lead, len)| zeros >= *lead && tail >= 64 - lead - len && *len <= (64 - zeros - tail) + 12);
        if let Some((lead, len)) = reused {
            writer.put(0b10, 2);
            writer.put(differs >> (64 - lead - len), len);
        } else {
            let len = 64 - zeros - tail;
            writer.put(0b11, 2);
            writer.put(u64::from(zeros), 6);
            writer.put(u64::from(len - 1), 6);
            writer.put(differs >> tail, len);
            window = Some((zeros, len));
        }
    }
    writer.finish();
}

/// Reads the bits of `count` floats onto the end of `into`.
pub(super) fn read(bytes: &[u8], count: usize, into: &mut Vec<u64>) -> Result<(), Corrupt> {
    let mut reader = BitReader { bytes, at: 0 };
    let mut previous = 0;
    let mut window: Option<(u32, u32)> = None;
    for _ in 0..count {
        if reader.take(1)? == 1 {
            if reader.take(1)? == 1 {
                let (lead, len) = (reader.take(6)? as u32, reader.take(6)? as u32 + 1);
                window = Some((lead, len));
            }
            let (lead, len) = window.ok_or(Corrupt("no window yet"))?;
            let tail = 64_u32.checked_sub(lead + len).ok_or(Corrupt("window is too wide"))?;
            previous ^= reader.take(len)? << tail;
        }
        into.push(previous);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bits_come_back(values in proptest::collection::vec((any::<u64>(), 0u32..64, 0u32..64), 0..100)) {
            let values: Vec<u64> = values.into_iter().map(|(value, left, right)| value << left >> right).collect();
            let mut out = Vec::new();
            put(&mut out, &values);
            let mut back = Vec::new();
            read(&out, values.len(), &mut back).unwrap();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0usize..200) {
            read(&bytes, count, &mut Vec::new()).ok();
        }
    }
}
