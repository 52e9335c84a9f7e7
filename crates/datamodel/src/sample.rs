//! One value at one time, and the marker that ends a series.
//!
//! Rule: NaN payloads are data. Compare staleness by bits, never by `is_nan`.

use crate::time::Timestamp;

/// A float value at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the value was taken.
    pub timestamp: Timestamp,
    /// The value; any `f64`, NaN and infinities included.
    pub value: f64,
}

/// Bits of the value that says "this series ends here" (Prometheus, `model/value`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Bits of the NaN that Prometheus writes for an ordinary not-a-number.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// An ordinary not-a-number, with the bits that Prometheus gives it.
pub const NORMAL_NAN: f64 = f64::from_bits(NORMAL_NAN_BITS);

/// Whether a value is the staleness marker (and not merely a NaN).
#[must_use]
pub const fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_marker_is_told_from_other_nans() {
        assert!(is_stale_nan(STALE_NAN));
        assert!(STALE_NAN.is_nan());
        assert!(!is_stale_nan(NORMAL_NAN));
        assert!(!is_stale_nan(f64::NAN));
        assert!(!is_stale_nan(1.0));
    }
}
