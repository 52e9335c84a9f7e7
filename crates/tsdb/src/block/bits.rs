//! Bits from the highest to the lowest of each byte, and the numbers of chunks in them.
//!
//! | number | written as |
//! |---|---|
//! | varbit | as many ones as the class of width, a zero, then 3, 6, 9, 12, 18, 25, 56 or 64 bits |
//! | instant | 0; 10 and 14 bits; 110 and 17; 1110 and 20; 1111 and 64 |
//! | xor | 0 for no change; 10 and the bits in the last window; 11, 5 bits of leading zeros, 6 of width, the bits |
//!
//! Rule: a [`BitReader`] never reads behind its end and never panics.

use crate::bytes::Corrupt;

/// Widths of varbit numbers, by the number of ones before them.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Widths of differences of instants, by the number of ones before them.
const INSTANT_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];

/// Whether a signed number fits the width: one more above zero than below.
const fn fits(value: i64, width: u32) -> bool {
    let half = 1_i64 << (width - 1);
    -(half - 1) <= value && value <= half
}

/// Appends bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl BitWriter {
    /// Goes on behind whole bytes.
    pub(super) const fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The lowest `count` bits of a number.
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = left.min(self.free);
            let part = (bits >> (left - now)) & ((1 << now) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - now)) as u8;
            }
            self.free -= now;
            left -= now;
        }
    }

    /// So many ones, and a zero unless the last class is meant.
    fn put_class(&mut self, ones: usize, last: usize) {
        (0..ones).for_each(|_| self.put(1, 1));
        if ones < last {
            self.put(0, 1);
        }
    }

    #[expect(clippy::cast_sign_loss, reason = "the reader knows the width, and so the sign")]
    fn put_signed(&mut self, value: i64, widths: &[u32]) {
        let last = widths.len() - 1;
        let class = if value == 0 { 0 } else { (1..last).find(|class| fits(value, widths[*class])).unwrap_or(last) };
        self.put_class(class, last);
        self.put(value as u64, widths[class]);
    }

    /// A signed varbit number.
    pub(super) fn put_varbit(&mut self, value: i64) {
        self.put_signed(value, &WIDTHS);
    }

    /// An unsigned varbit number.
    pub(super) fn put_varbit_unsigned(&mut self, value: u64) {
        let last = WIDTHS.len() - 1;
        let class = if value == 0 { 0 } else { (1..last).find(|at| value >> WIDTHS[*at] == 0).unwrap_or(last) };
        self.put_class(class, last);
        self.put(value, WIDTHS[class]);
    }

    /// The difference of two differences of instants.
    pub(super) fn put_instant(&mut self, value: i64) {
        self.put_signed(value, &INSTANT_WIDTHS);
    }

    /// Whole bytes, at any bit.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.put(u64::from(*byte), 8));
    }
}

/// Reads bits.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits that were read.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn take(&mut self, count: u32) -> Result<u64, Corrupt> {
        if self.at + count as usize > self.bytes.len() * 8 {
            return Err(Corrupt("ends early"));
        }
        let mut bits = 0;
        let mut left = count;
        while left > 0 {
            let free = 8 - (self.at % 8) as u32;
            let now = left.min(free);
            let byte = u64::from(self.bytes.get(self.at / 8).copied().unwrap_or(0));
            bits = bits << now | (byte >> (free - now)) & ((1 << now) - 1);
            self.at += now as usize;
            left -= now;
        }
        Ok(bits)
    }

    fn class(&mut self, last: usize) -> Result<usize, Corrupt> {
        let mut ones = 0;
        while ones < last && self.take(1)? == 1 {
            ones += 1;
        }
        Ok(ones)
    }

    #[expect(clippy::cast_possible_wrap, reason = "the width decides the sign")]
    fn signed(&mut self, widths: &[u32]) -> Result<i64, Corrupt> {
        let class = self.class(widths.len() - 1)?;
        let width = widths.get(class).copied().unwrap_or(0);
        let bits = self.take(width)?;
        // From the middle on a number is negative.
        let is_negative = width > 0 && width < 64 && bits > 1 << (width - 1);
        Ok(if is_negative { bits as i64 - (1 << width) } else { bits as i64 })
    }

    pub(super) fn varbit(&mut self) -> Result<i64, Corrupt> {
        self.signed(&WIDTHS)
    }

    pub(super) fn varbit_unsigned(&mut self) -> Result<u64, Corrupt> {
        let class = self.class(WIDTHS.len() - 1)?;
        self.take(WIDTHS.get(class).copied().unwrap_or(0))
    }

    pub(super) fn instant(&mut self) -> Result<i64, Corrupt> {
        self.signed(&INSTANT_WIDTHS)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Corrupt> {
        self.take(8).map(|byte| byte as u8)
    }

    /// A LEB128 number.
    pub(super) fn varint_unsigned(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt("number is too long"))
    }

    /// Bits that are left.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }
}

/// A value that is written as its difference to the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Zeros on both sides of the last window, if there was one.
    window: Option<(u32, u32)>,
}

impl Xor {
    /// Begins with a value that was written in full.
    pub(super) const fn new(value: f64) -> Self {
        Self { bits: value.to_bits(), window: None }
    }

    pub(super) const fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let differs = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        if differs == 0 {
            out.put(0, 1);
            return;
        }
        out.put(1, 1);
        let (leading, trailing) = (differs.leading_zeros().min(31), differs.trailing_zeros());
        if let Some((before, behind)) = self.window.filter(|window| leading >= window.0 && trailing >= window.1) {
            out.put(0, 1);
            out.put(differs >> behind, 64 - before - behind);
            return;
        }
        self.window = Some((leading, trailing));
        let width = 64 - leading - trailing;
        out.put(1, 1);
        out.put(u64::from(leading), 5);
        // A width of 64 is written as zero.
        out.put(u64::from(width % 64), 6);
        out.put(differs >> trailing, width);
    }

    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Corrupt> {
        if reader.take(1)? == 1 {
            if reader.take(1)? == 1 {
                let leading = reader.take(5)? as u32;
                let width = match reader.take(6)? as u32 {
                    0 => 64,
                    width => width,
                };
                let trailing = 64_u32.checked_sub(leading + width).ok_or(Corrupt("window is too wide"))?;
                self.window = Some((leading, trailing));
            }
            let (leading, trailing) = self.window.ok_or(Corrupt("no window"))?;
            self.bits ^= reader.take(64 - leading - trailing)? << trailing;
        }
        Ok(self.value())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec((any::<i64>(), 0u32..64), 0..20), first in any::<u64>()) {
            let mut out = BitWriter::default();
            let mut xor = Xor::new(f64::from_bits(first));
            for (number, shift) in &numbers {
                let number = number >> shift;
                out.put_varbit(number);
                out.put_varbit_unsigned(number.unsigned_abs());
                out.put_instant(number);
                xor.write(number as f64, &mut out);
            }
            let bytes = out.into_bytes();
            let mut reader = BitReader::new(&bytes);
            let mut xor = Xor::new(f64::from_bits(first));
            for (number, shift) in numbers {
                let number = number >> shift;
                prop_assert_eq!(reader.varbit(), Ok(number));
                prop_assert_eq!(reader.varbit_unsigned(), Ok(number.unsigned_abs()));
                prop_assert_eq!(reader.instant(), Ok(number));
                prop_assert_eq!(xor.read(&mut reader).map(f64::to_bits), Ok((number as f64).to_bits()));
            }
            prop_assert!(reader.left() < 8);
        }
    }

    #[test]
    fn numbers_have_the_documented_bits() {
        let bits = |write: fn(&mut BitWriter)| {
            let mut out = BitWriter::default();
            write(&mut out);
            out.into_bytes()
        };
        assert_eq!(bits(|out| out.put_varbit(4)), [0b1010_0000]);
        assert_eq!(bits(|out| out.put_varbit(-3)), [0b1010_1000]);
        assert_eq!(bits(|out| out.put_varbit(5)), [0b1100_0010, 0b1000_0000]);
        assert_eq!(bits(|out| out.put_varbit_unsigned(7)), [0b1011_1000]);
        assert_eq!(bits(|out| out.put_instant(8192)), [0b1010_0000, 0]);
        assert_eq!(bits(|out| out.put_varbit(i64::MIN)), [0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }
}
