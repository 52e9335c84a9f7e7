//! From values to pixels, with ticks at round numbers.

/// A linear map from a range of values to a range of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Maps `from.0` to `to.0` and `from.1` to `to.1`; a range without width is widened by one.
    pub(crate) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        let from = if from.1 > from.0 { from } else { (from.0, from.0 + 1.0) };
        Self { from, to }
    }

    pub(crate) fn pixel(self, value: f64) -> f64 {
        let share = (value - self.from.0) / (self.from.1 - self.from.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// Round numbers that cover a range.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) step: f64,
    pub(crate) values: Vec<f64>,
}

/// Steps of 1, 2, 2.5 or 5 times a power of ten, at most `most` intervals.
pub(crate) fn value_ticks(low: f64, high: f64, most: usize) -> Ticks {
    let span = if high > low { high - low } else { 1.0 };
    let rough = span / most.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| *step >= rough * (1.0 - 1e-9));
    ticks(low, high, step.unwrap_or(10.0 * power))
}

/// Steps that a clock has: seconds, minutes, hours, days.
pub(crate) fn time_ticks(low: f64, high: f64, most: usize) -> Ticks {
    const STEPS: [f64; 21] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 3600.0, 7200.0,
        10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
    ];
    let rough = (high - low) / most.max(1) as f64;
    if rough < 0.5 {
        return value_ticks(low, high, most);
    }
    match STEPS.iter().find(|step| **step >= rough) {
        Some(step) => ticks(low, high, *step),
        None => ticks(low, high, 86_400.0 * (rough / 86_400.0).ceil()),
    }
}

/// More labels than this fit no axis; a bound against steps that vanish beside huge values.
const MAX_TICKS: usize = 100;

fn ticks(low: f64, high: f64, step: f64) -> Ticks {
    let first = (low / step - 1e-9).ceil();
    let values = (0..MAX_TICKS).map(|index| (first + index as f64) * step);
    Ticks { step, values: values.take_while(|value| *value <= high + step * 1e-9).collect() }
}

/// The nearest whole number; zero for what is negative or no number.
#[expect(clippy::cast_sign_loss, reason = "a cast from float saturates, and zero is what negative sizes mean here")]
pub(crate) fn whole(value: f64) -> usize {
    value.round() as usize
}
