//! Quantiles of what was observed last.
//!
//! Rule: memory is fixed: the window holds the newest [`WINDOW`] observations, however old they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Emit, Instrument};
use crate::exposition::Part;
use crate::metadata::MetricType;

/// Observations from which quantiles are computed: the 0.99 of it still rests on five of them.
pub const WINDOW: usize = 512;

/// Counts observations, and tells quantiles of the newest ones. A clone is the same summary.
#[derive(Clone, Debug)]
pub struct Summary(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    quantiles: Vec<f64>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The newest observations, the oldest overwritten first.
    window: Vec<f64>,
    next: usize,
    count: u64,
    sum: f64,
}

impl Summary {
    /// A summary outside any registry; `None` unless the quantiles are in `[0, 1]` and ascending.
    #[must_use]
    pub fn new(quantiles: &[f64]) -> Option<Self> {
        let in_range = quantiles.iter().all(|quantile| (0.0..=1.0).contains(quantile));
        let ascending = quantiles.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
        (in_range && ascending)
            .then(|| Self(Arc::new(Shared { quantiles: quantiles.to_vec(), state: Mutex::default() })))
    }

    /// Counts one observation; NaN is ignored.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        state.sum += value;
        let next = state.next;
        match state.window.get_mut(next) {
            Some(oldest) => *oldest = value,
            None => state.window.push(value),
        }
        state.next = (next + 1) % WINDOW;
    }

    /// Counts one observation in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// All observations so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Each quantile with its value over the window, by nearest rank; NaN before the first observation.
    #[must_use]
    pub fn quantiles(&self) -> Vec<(f64, f64)> {
        let mut window = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).window.clone();
        window.sort_by(f64::total_cmp);
        let value = |quantile: f64| {
            let rank = (1..window.len()).find(|rank| *rank as f64 >= quantile * window.len() as f64);
            let index = rank.unwrap_or(window.len()).saturating_sub(1);
            window.get(index).copied().unwrap_or(f64::NAN)
        };
        self.0.quantiles.iter().map(|quantile| (*quantile, value(*quantile))).collect()
    }
}

impl Instrument for Summary {
    const METRIC_TYPE: MetricType = MetricType::Summary;

    fn fresh(&self) -> Self {
        Self(Arc::new(Shared { quantiles: self.0.quantiles.clone(), state: Mutex::default() }))
    }

    fn emit(&self, emit: &mut Emit, labels: &[(&'static str, &str)]) {
        for (quantile, value) in self.quantiles() {
            emit.part(0, Part::Quantile(quantile), labels, value);
        }
        let (count, sum) = {
            let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.count, state.sum)
        };
        emit.part(0, Part::Sum, labels, sum);
        emit.part(0, Part::Count, labels, count as f64);
    }
}
