//! Columns as bytes: lossless, each in the shortest of several forms.
//!
//! - [`packed`]: unsigned integers in blocks of 64 with exceptions.
//! - [`times`]: ascending timestamps.
//! - [`xor`]: floats that are no decimals.
//! - [`floats`]: a column of floats, in the best form.
//! - [`chunk`]: rows of several columns that share their timestamps.
//!
//! The layouts stand in `docs/format/segment.md`.
//!
//! Rule: every bit comes back, NaN payloads included, and no bytes make a decoder panic or allocate more
//! than its caller allows.

pub(crate) mod chunk;
pub(crate) mod floats;
mod packed;
mod times;
mod xor;
