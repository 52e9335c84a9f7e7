//! Writing messages.
//!
//! Rule: the defaults of the schema (zero, empty) are left out, as version 3 of the language asks; a member of
//! a `oneof` is written whatever its value.

/// Writes the fields of a message, in the order of the calls.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Starts an empty message.
    #[must_use]
    pub const fn new() -> Self {
        Self { out: Vec::new() }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn key(&mut self, number: u32, wire_type: u8) {
        put_varint(&mut self.out, u64::from(number) << 3 | u64::from(wire_type));
    }

    /// An unsigned number.
    pub fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.oneof_uint(number, value);
        }
    }

    /// An unsigned number that is a member of a `oneof`.
    pub fn oneof_uint(&mut self, number: u32, value: u64) {
        self.key(number, 0);
        put_varint(&mut self.out, value);
    }

    /// A signed number of type `int64`, `int32`, or an enumeration.
    pub fn int(&mut self, number: u32, value: i64) {
        self.uint(number, value.cast_unsigned());
    }

    /// A signed number of type `sint64` or `sint32`.
    pub fn sint(&mut self, number: u32, value: i64) {
        self.uint(number, zigzag(value));
    }

    /// A float; only the zero with a plus sign is left out.
    pub fn double(&mut self, number: u32, value: f64) {
        if value.to_bits() != 0 {
            self.oneof_double(number, value);
        }
    }

    /// A float that is a member of a `oneof`.
    pub fn oneof_double(&mut self, number: u32, value: f64) {
        self.key(number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A text.
    pub fn text(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.element(number, value);
        }
    }

    /// A text that is an element of a repeated field, where the empty one counts.
    pub fn element(&mut self, number: u32, value: &str) {
        self.key(number, 2);
        put_varint(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A message that is already written.
    pub fn written(&mut self, number: u32, message: &[u8]) {
        self.key(number, 2);
        put_varint(&mut self.out, message.len() as u64);
        self.out.extend_from_slice(message);
    }

    /// A message, written by `body`; an empty one is there nevertheless.
    pub fn message(&mut self, number: u32, body: impl FnOnce(&mut Self)) {
        self.key(number, 2);
        self.prefixed(body);
    }

    /// A message of a stream of delimited ones.
    pub fn delimited(&mut self, body: impl FnOnce(&mut Self)) {
        self.prefixed(body);
    }

    /// Fields that another writer has written.
    pub fn fields(&mut self, written: &Self) {
        self.out.extend_from_slice(&written.out);
    }

    /// Packed unsigned numbers.
    pub fn packed_uint(&mut self, number: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() > 0 {
            self.message(number, |packed| values.for_each(|value| put_varint(&mut packed.out, value)));
        }
    }

    /// Packed numbers of type `sint64`.
    pub fn packed_sint(&mut self, number: u32, values: impl ExactSizeIterator<Item = i64>) {
        self.packed_uint(number, values.map(zigzag));
    }

    /// Packed floats.
    pub fn packed_double(&mut self, number: u32, values: &[f64]) {
        if !values.is_empty() {
            self.message(number, |packed| {
                for value in values {
                    packed.out.extend_from_slice(&value.to_le_bytes());
                }
            });
        }
    }

    /// The body moves up by the length's bytes: most bodies are a few dozen bytes, and none of ours nests deeper
    /// than four.
    fn prefixed(&mut self, body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        body(self);
        let mut length = Vec::with_capacity(10);
        put_varint(&mut length, (self.out.len() - start) as u64);
        self.out.splice(start..start, length);
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // The low seven bits fit a byte.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
