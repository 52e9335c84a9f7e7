//! The wire format of Protocol Buffers, read and written field by field, without generated code.
//!
//! - [`Message`]: the fields of a message, one after the other, each with its offset in the input.
//! - [`Field`]: one of them; its methods read it as the type that the schema gives it.
//! - [`Writer`]: the reverse; texts, numbers and repeated fields that are empty or zero are left out.
//!
//! ```text
//! message = { key value }      key = varint(number << 3 | wire type)
//! value   = varint │ 8 bytes │ varint(length) bytes │ 4 bytes
//! ```
//!
//! Rule: a message is hostile input. Nothing is allocated for a length that the input merely claims; every
//! error names its offset. Unknown fields are the caller's to skip, groups (deprecated) are refused.

mod write;

#[cfg(test)]
mod tests;

pub use write::Writer;

/// Where and why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset}: {reason}")]
pub struct ProtobufError {
    /// Bytes of the input before the place of the error.
    pub offset: usize,
    /// What is wrong there.
    pub reason: ProtobufReason,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtobufReason {
    /// The input ends within a field.
    #[error("message ends within a field")]
    Truncated,
    /// A number that does not fit 64 bits.
    #[error("varint has more than 64 bits")]
    LongVarint,
    /// Zero, or beyond 29 bits.
    #[error("invalid field number: {0}")]
    FieldNumber(u64),
    /// A wire type that does not exist, or one of the two of groups.
    #[error("unsupported wire type: {0}")]
    WireType(u8),
    /// The field is encoded as another type than the schema's.
    #[error("field {number} is not {expected}")]
    Unexpected {
        /// Number of the field.
        number: u32,
        /// The type of the schema.
        expected: &'static str,
    },
    /// A text is no UTF-8.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
}

/// The value of a field as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// Whole numbers, booleans, enumerations.
    Varint(u64),
    /// Eight bytes: `double` and the fixed 64-bit numbers.
    Fixed64(u64),
    /// Texts, bytes, messages, packed repeated numbers.
    Bytes(&'a [u8]),
    /// Four bytes: `float` and the fixed 32-bit numbers.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u32,
    /// Its value.
    pub wire: Wire<'a>,
    /// Bytes of the input before the value.
    pub offset: usize,
}

/// The fields of a message, in their order. After an error it is at its end.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Message<'a> {
    /// Reads a whole message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// The message without so many of its first bytes, which the caller has read as fields.
    #[must_use]
    pub fn skipped(self, bytes: usize) -> Self {
        Self { rest: self.rest.get(bytes..).unwrap_or_default(), offset: self.offset + bytes.min(self.rest.len()) }
    }

    /// Takes the length and the bytes of one message off a stream of delimited messages; `None` at its end.
    ///
    /// # Errors
    ///
    /// The stream ends within the message.
    pub fn delimited(&mut self) -> Result<Option<Self>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let length = self.varint()?;
        let offset = self.offset;
        Ok(Some(Self { rest: self.take(length)?, offset }))
    }

    /// Bytes of the input that were read.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    fn error<T>(&self, reason: ProtobufReason) -> Result<T, ProtobufError> {
        Err(ProtobufError { offset: self.offset, reason })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = split else {
            return self.error(ProtobufReason::Truncated);
        };
        self.rest = rest;
        self.offset += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return self.error(ProtobufReason::Truncated);
        };
        self.rest = rest;
        self.offset += N;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = self.rest.split_at(at + 1).1;
                self.offset += at + 1;
                return Ok(value);
            }
        }
        self.error(if self.rest.len() < 10 { ProtobufReason::Truncated } else { ProtobufReason::LongVarint })
    }

    fn field(&mut self) -> Result<Field<'a>, ProtobufError> {
        let key_offset = self.offset;
        let key = self.varint()?;
        let number = match u32::try_from(key >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => number,
            _ => {
                return Err(ProtobufError { offset: key_offset, reason: ProtobufReason::FieldNumber(key >> 3) });
            }
        };
        let mut offset = self.offset;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                offset = self.offset;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            // Three bits fit a byte.
            other => {
                return Err(ProtobufError { offset: key_offset, reason: ProtobufReason::WireType(other as u8) });
            }
        };
        Ok(Field { number, wire, offset })
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<Field<'a>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    fn unexpected<T>(&self, expected: &'static str) -> Result<T, ProtobufError> {
        let reason = ProtobufReason::Unexpected { number: self.number, expected };
        Err(ProtobufError { offset: self.offset, reason })
    }

    /// As `uint64`.
    ///
    /// # Errors
    ///
    /// The field is no varint.
    pub fn u64(&self) -> Result<u64, ProtobufError> {
        match self.wire {
            Wire::Varint(value) => Ok(value),
            _ => self.unexpected("a varint"),
        }
    }

    /// As `uint32`: of a longer number the low 32 bits, as the specification asks.
    ///
    /// # Errors
    ///
    /// The field is no varint.
    pub fn u32(&self) -> Result<u32, ProtobufError> {
        self.u64().map(|value| value as u32)
    }

    /// As `int64`.
    ///
    /// # Errors
    ///
    /// The field is no varint.
    pub fn i64(&self) -> Result<i64, ProtobufError> {
        self.u64().map(u64::cast_signed)
    }

    /// As `int32`, or as an enumeration.
    ///
    /// # Errors
    ///
    /// The field is no varint.
    pub fn i32(&self) -> Result<i32, ProtobufError> {
        self.u32().map(u32::cast_signed)
    }

    /// As `sint32`.
    ///
    /// # Errors
    ///
    /// The field is no varint.
    pub fn sint32(&self) -> Result<i32, ProtobufError> {
        self.u32().map(|value| (value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// As `double`.
    ///
    /// # Errors
    ///
    /// The field is no 64-bit value.
    pub fn double(&self) -> Result<f64, ProtobufError> {
        match self.wire {
            Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => self.unexpected("a 64-bit value"),
        }
    }

    /// As `bytes`.
    ///
    /// # Errors
    ///
    /// The field has no length.
    pub fn bytes(&self) -> Result<&'a [u8], ProtobufError> {
        match self.wire {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => self.unexpected("of a length"),
        }
    }

    /// As `string`.
    ///
    /// # Errors
    ///
    /// The field has no length, or is no UTF-8.
    pub fn text(&self) -> Result<&'a str, ProtobufError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| ProtobufError {
            offset: self.offset + error.valid_up_to(),
            reason: ProtobufReason::Utf8(self.number),
        })
    }

    /// As a message.
    ///
    /// # Errors
    ///
    /// The field has no length.
    pub fn message(&self) -> Result<Message<'a>, ProtobufError> {
        Ok(Message { rest: self.bytes()?, offset: self.offset })
    }

    /// As one or (packed) several `uint64` of a repeated field; each is given to `take`.
    ///
    /// # Errors
    ///
    /// The field is neither a varint nor packed ones, or `take` refuses a value.
    pub fn each_u64<E: From<ProtobufError>>(&self, mut take: impl FnMut(u64) -> Result<(), E>) -> Result<(), E> {
        match self.wire {
            Wire::Varint(value) => take(value),
            Wire::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest.is_empty() {
                    take(packed.varint()?)?;
                }
                Ok(())
            }
            _ => Ok(self.unexpected("a varint")?),
        }
    }

    /// As one or several `sint64` of a repeated field; each is given to `take`.
    ///
    /// # Errors
    ///
    /// As [`each_u64`](Self::each_u64).
    pub fn each_sint64<E: From<ProtobufError>>(&self, mut take: impl FnMut(i64) -> Result<(), E>) -> Result<(), E> {
        self.each_u64(|value| take((value >> 1).cast_signed() ^ -(value & 1).cast_signed()))
    }

    /// As one or several `double` of a repeated field; each is given to `take`.
    ///
    /// # Errors
    ///
    /// The field is neither a 64-bit value nor packed ones, or `take` refuses a value.
    pub fn each_double<E: From<ProtobufError>>(&self, mut take: impl FnMut(f64) -> Result<(), E>) -> Result<(), E> {
        match self.wire {
            Wire::Fixed64(bits) => take(f64::from_bits(bits)),
            Wire::Bytes(_) => {
                let mut packed = self.message()?;
                while !packed.rest.is_empty() {
                    take(f64::from_le_bytes(packed.array()?))?;
                }
                Ok(())
            }
            _ => Ok(self.unexpected("a 64-bit value")?),
        }
    }
}
