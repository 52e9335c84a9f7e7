//! How much a message may make its reader hold.
//!
//! Rule: an element is counted before it is stored.

use super::WireError;

/// Labels, samples, buckets, symbols and the like of one message. The largest senders are configured to some
/// 10,000 samples with 20 labels each; at 16 to 32 bytes an element, this many take 64 MB at most.
pub const MAX_ELEMENTS: usize = 2_000_000;

/// Counts down what may still come.
#[derive(Debug)]
pub(super) struct Elements(usize);

impl Elements {
    pub(super) const fn new() -> Self {
        Self(MAX_ELEMENTS)
    }

    /// Counts one more.
    pub(super) fn take(&mut self) -> Result<(), WireError> {
        self.0 = self.0.checked_sub(1).ok_or(WireError::TooManyElements)?;
        Ok(())
    }
}
