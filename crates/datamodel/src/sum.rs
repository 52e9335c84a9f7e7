//! Sums that keep the bits which a plain sum loses.
//!
//! Rule: Neumaier's variant of Kahan's sum, as Prometheus computes it, so that results agree to the bit.

/// A running sum with its compensation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KahanSum {
    /// The plain sum.
    pub sum: f64,
    /// What rounding took from it.
    pub compensation: f64,
}

impl KahanSum {
    /// Starts from a first value.
    #[must_use]
    pub const fn new(first: f64) -> Self {
        Self { sum: first, compensation: 0.0 }
    }

    /// Adds a value. Once the sum is infinite there is nothing to compensate.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - total) + value;
        } else {
            self.compensation += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Both parts times a factor.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, compensation: self.compensation * factor }
    }

    /// Both parts divided.
    #[must_use]
    pub fn divided(self, divisor: f64) -> Self {
        Self { sum: self.sum / divisor, compensation: self.compensation / divisor }
    }

    /// The sum with its low bits.
    #[must_use]
    pub fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_large_ones() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total().to_bits(), 2.0_f64.to_bits());
    }
}
