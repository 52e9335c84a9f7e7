//! Arrivals: when each request is due.
//!
//! - [`Arrivals`]: the instants of one run, in order. [`Spacing`]: evenly, or as by chance.
//!
//! Poisson arrivals are those of independent users: gaps of an exponential distribution in the integral
//! of the rate, so also under ramps and steps.
//!
//! Rule: the same rate, spacing and seed give the same instants.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::rate::Rate;

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// As by chance: a Poisson process.
    #[default]
    Poisson,
    /// At equal distances of the rate's integral.
    Even,
}

/// When each request is due, from the start.
#[derive(Debug)]
pub(crate) struct Arrivals {
    rate: Rate,
    spacing: Spacing,
    random: StdRng,
    count: f64,
    end: Duration,
}

impl Arrivals {
    pub(crate) fn new(rate: Rate, spacing: Spacing, seed: u64, end: Duration) -> Self {
        Self { rate, spacing, random: StdRng::seed_from_u64(seed), count: 0.0, end }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.spacing == Spacing::Poisson {
            // In [0, 1), so the logarithm is finite.
            let chance: f64 = self.random.random();
            self.count -= (1.0 - chance).ln();
        }
        let due = self.rate.due(self.count)?;
        if self.spacing == Spacing::Even {
            self.count += 1.0;
        }
        (due < self.end).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_begin_at_once_and_keep_their_distance() {
        let all: Vec<u128> = arrivals("4", Spacing::Even, 0).map(|due| due.as_millis()).take(5).collect();
        assert_eq!(all, [0, 250, 500, 750, 1000]);
        assert_eq!(arrivals("4", Spacing::Even, 0).count(), 400);
        assert_eq!(arrivals("0..4/100s", Spacing::Even, 0).count(), 200);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let all: Vec<f64> = arrivals("50", Spacing::Poisson, 7).map(|due| due.as_secs_f64()).collect();
        // 5000 with a standard deviation of 71.
        assert!((4700..5300).contains(&all.len()), "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!((0.9..1.1).contains(&spread), "{spread}");
    }

    #[test]
    fn seed_decides_the_arrivals() {
        let of = |seed| arrivals("5", Spacing::Poisson, seed).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    fn arrivals(rate: &str, spacing: Spacing, seed: u64) -> Arrivals {
        Arrivals::new(Rate::parse(rate).unwrap(), spacing, seed, Duration::from_secs(100))
    }
}
