//! Floats that are decimal numbers with few digits, as integers and a scale.
//!
//! Rule: a float is written as an integer only if the division gives back every bit.

/// The largest scale: ten to this power is exact as a float, and gauges rarely have more decimals.
pub(crate) const MAX_SCALE: u8 = 12;

const POWERS: [f64; MAX_SCALE as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// Integers up to here are exact as floats.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// The float that an integer stands for at a scale; scales above [`MAX_SCALE`] count as that.
pub(crate) fn from_decimal(integer: i64, scale: u8) -> f64 {
    if scale == 0 {
        return integer as f64;
    }
    integer as f64 / POWERS[usize::from(scale.min(MAX_SCALE))]
}

/// The integer that is nearest to a float at a scale, for floats that are known to be decimals of it.
pub(crate) fn nearest(value: f64, scale: u8) -> i64 {
    let scaled = value * POWERS[usize::from(scale.min(MAX_SCALE))];
    (scaled + 0.5_f64.copysign(scaled)) as i64
}

/// The integer that stands for a float at a scale, if it gives back every bit.
pub(crate) fn to_decimal(value: f64, scale: u8) -> Option<i64> {
    let scaled = value * POWERS[usize::from(scale.min(MAX_SCALE))];
    // Not a number is in no range.
    let in_range = scaled.abs() <= MAX_INTEGER;
    if !in_range {
        return None;
    }
    // Half away from zero, without a call; where it is wrong in the last place the check below fails.
    let integer = nearest(value, scale);
    (from_decimal(integer, scale).to_bits() == value.to_bits()).then_some(integer)
}

/// The smallest scale from `from` on at which the float is an integer, and that integer.
pub(crate) fn find_scale(value: f64, from: u8) -> Option<(u8, i64)> {
    (from..=MAX_SCALE).find_map(|scale| to_decimal(value, scale).map(|integer| (scale, integer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_decimals_are_integers() {
        assert_eq!(find_scale(1523.0, 0), Some((0, 1523)));
        assert_eq!(find_scale(0.25, 0), Some((2, 25)));
        assert_eq!(find_scale(-0.1, 0), Some((1, -1)));
        for raw in [-0.0, f64::NAN, f64::INFINITY, 1.0 / 3.0, 1e300, 5e-324] {
            assert_eq!(find_scale(raw, 0), None, "{raw}");
        }
    }
}
