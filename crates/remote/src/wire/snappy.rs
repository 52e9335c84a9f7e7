//! Snappy's block format: the length first, so that a bound can be checked before anything is unpacked.

use super::WireError;

/// The largest message, uncompressed. Senders pack some 2,000 to 10,000 samples, a few megabytes at most.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// Unpacks a body of at most `limit` bytes.
///
/// # Errors
///
/// The body is damaged, or says that it unpacks to more.
pub fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let bytes = snap::raw::decompress_len(body).map_err(WireError::Snappy)?;
    if bytes > limit {
        return Err(WireError::TooLarge { bytes, limit });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(WireError::Snappy)
}

/// Packs a message.
///
/// # Errors
///
/// The message has more than 4 GiB.
pub fn compress(message: &[u8]) -> Result<Vec<u8>, WireError> {
    snap::raw::Encoder::new().compress_vec(message).map_err(WireError::Snappy)
}
