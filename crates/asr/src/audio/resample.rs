//! Any sample rate to 16 kHz, a block at a time: a windowed-sinc low-pass filter in polyphase form.
//!
//! - [`Resampler`]: mono samples in, mono samples at [`SAMPLE_RATE`] out.
//!
//! The filter is tabulated at `PHASES` positions between two input samples and interpolated
//! linearly between them, so one table serves every rate and its size has a bound. The position of
//! an output sample is an exact fraction: the clock does not drift over hours.
//!
//! Rule: what comes out depends on the samples alone, not on how they were cut into blocks.

use super::SAMPLE_RATE;

/// Zero crossings of the sinc on each side. With the Kaiser window below, the pass band ends at
/// 7.2 kHz and what lies above 8.8 kHz is 80 dB down: speech models see nothing of the rest.
const ZERO_CROSSINGS: f64 = 16.0;
/// Tabulated filter positions between two input samples; interpolation errors stay below -90 dB.
const PHASES: usize = 256;
/// Shape of the Kaiser window: side lobes at -80 dB.
const KAISER_BETA: f64 = 8.0;

/// A streaming sample-rate converter.
#[derive(Debug)]
pub struct Resampler {
    input_rate: u64,
    /// Half the filter's length in input samples.
    reach: usize,
    /// `PHASES + 1` rows of `2 * reach` coefficients.
    table: Vec<f32>,
    /// Input samples that are still needed, `reach` zeros before the first one.
    pending: Vec<f32>,
    /// Index, in the input (with the leading zeros), of `pending[0]`.
    pending_begin: u64,
    /// Output samples made so far.
    produced: u64,
    /// Input samples taken so far.
    consumed: u64,
}

impl Resampler {
    /// From `input_rate` hertz. The caller keeps the rate within the bounds of its format
    /// ([`super::MIN_SAMPLE_RATE`] and [`super::MAX_SAMPLE_RATE`]), which bounds the table too.
    #[must_use]
    pub fn new(input_rate: u32) -> Self {
        let input_rate = input_rate.max(1);
        // Cut off at 0.9 of the lower Nyquist frequency, in cycles per input sample.
        let cutoff = 0.5 * 0.9 * f64::min(1.0, f64::from(SAMPLE_RATE) / f64::from(input_rate));
        let half_width = ZERO_CROSSINGS / (2.0 * cutoff);
        #[expect(clippy::cast_sign_loss, reason = "a small positive number")]
        let reach = half_width.ceil() as usize;
        Self {
            input_rate: u64::from(input_rate),
            reach,
            table: filter_table(cutoff, half_width, reach),
            pending: vec![0.0; reach],
            pending_begin: 0,
            produced: 0,
            consumed: 0,
        }
    }

    /// Takes the next samples and appends to `output` what they complete.
    pub fn push(&mut self, input: &[f32], output: &mut Vec<f32>) {
        if self.input_rate == u64::from(SAMPLE_RATE) {
            output.extend_from_slice(input);
            return;
        }
        self.consumed += input.len() as u64;
        self.pending.extend_from_slice(input);
        self.drain(u64::MAX, output);
    }

    /// Appends the last samples, whose filter reaches beyond the end of the input.
    pub fn finish(&mut self, output: &mut Vec<f32>) {
        if self.input_rate == u64::from(SAMPLE_RATE) {
            return;
        }
        let total = (self.consumed * u64::from(SAMPLE_RATE)).div_ceil(self.input_rate);
        self.pending.resize(self.pending.len() + 2 * self.reach, 0.0);
        self.drain(total, output);
    }

    /// Makes output samples up to number `limit`, or as long as the input reaches.
    fn drain(&mut self, limit: u64, output: &mut Vec<f32>) {
        let taps = 2 * self.reach;
        while self.produced < limit {
            let position = self.produced * self.input_rate;
            let whole = position / u64::from(SAMPLE_RATE);
            let fraction = (position % u64::from(SAMPLE_RATE)) as f32 / SAMPLE_RATE as f32 * PHASES as f32;
            // The window of sample `whole` begins `reach - 1` before it; the leading zeros shift
            // it by `reach`.
            let begin = usize::try_from(whole + 1 - self.pending_begin).unwrap_or(usize::MAX);
            let Some(window) = self.pending.get(begin..begin.saturating_add(taps)) else { break };
            #[expect(clippy::cast_sign_loss, reason = "a fraction of PHASES, never negative")]
            let phase = (fraction as usize).min(PHASES - 1);
            let weight = fraction - phase as f32;
            let row = self.table.get(phase * taps..(phase + 2) * taps).unwrap_or_default();
            let (low, high) = row.split_at(taps);
            let mut at_low = 0.0_f32;
            let mut at_high = 0.0_f32;
            for ((sample, l), h) in window.iter().zip(low).zip(high) {
                at_low += sample * l;
                at_high += sample * h;
            }
            output.push(at_low + weight * (at_high - at_low));
            self.produced += 1;
        }
        // Forget what no later output needs.
        let next = self.produced * self.input_rate / u64::from(SAMPLE_RATE) + 1;
        let done = usize::try_from(next.saturating_sub(self.pending_begin)).unwrap_or(usize::MAX);
        let done = done.min(self.pending.len());
        self.pending.drain(..done);
        self.pending_begin += done as u64;
    }
}

/// The filter at each phase: row `p` weighs the `2 * reach` samples around a point that lies
/// `p / PHASES` behind the `reach`-th of them. Each row sums to one, so that silence stays silent
/// and a constant stays constant.
fn filter_table(cutoff: f64, half_width: f64, reach: usize) -> Vec<f32> {
    let taps = 2 * reach;
    let mut table = Vec::with_capacity((PHASES + 1) * taps);
    let mut row = vec![0.0_f64; taps];
    for phase in 0..=PHASES {
        let center = (reach - 1) as f64 + phase as f64 / PHASES as f64;
        for (tap, value) in row.iter_mut().enumerate() {
            let distance = tap as f64 - center;
            *value = sinc(2.0 * cutoff * distance) * kaiser(distance / half_width);
        }
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|value| (value / sum) as f32));
    }
    table
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

/// The Kaiser window at `x` from -1 to 1, zero outside.
fn kaiser(x: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside <= 0.0 { 0.0 } else { bessel_i0(KAISER_BETA * inside.sqrt()) / bessel_i0(KAISER_BETA) }
}

/// The modified Bessel function of order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tone_in_the_pass_band_keeps_its_shape() {
        for rate in [8_000, 11_025, 22_050, 44_100, 48_000, 96_000] {
            check_tone(rate, 1_000.0, |error| assert!(error < 2e-3, "{rate} Hz: {error}"));
        }
    }

    #[test]
    fn a_tone_above_8_khz_vanishes() {
        for rate in [32_000_u32, 44_100, 48_000, 192_000] {
            let output = convert(rate, &tone(rate, 9_500.0, 0.5), 1_000);
            let loudest = middle(&output).iter().fold(0.0_f32, |max, s| max.max(s.abs()));
            assert!(loudest < 1e-3, "{rate} Hz: {loudest}");
        }
    }

    #[test]
    fn the_duration_is_kept_to_the_sample() {
        for rate in [4_000, 8_000, 44_100, 48_000, 44_101, 384_000] {
            let output = convert(rate, &tone(rate, 440.0, 2.0), 4_096);
            assert_eq!(output.len(), 32_000, "{rate} Hz");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn block_sizes_do_not_matter(
            rate in 4_000_u32..200_000,
            block in 1_usize..3_000,
            samples in proptest::collection::vec(-1.0_f32..1.0, 0..2_000),
        ) {
            prop_assert_eq!(convert(rate, &samples, block), convert(rate, &samples, usize::MAX));
        }
    }

    fn check_tone(rate: u32, hertz: f64, check: impl Fn(f64)) {
        let output = convert(rate, &tone(rate, hertz, 0.5), 777);
        let expected = tone(SAMPLE_RATE, hertz, 0.5);
        let error = middle(&output)
            .iter()
            .zip(middle(&expected))
            .fold(0.0_f64, |max, (a, b)| max.max(f64::from((a - b).abs())));
        check(error);
    }

    /// Without the first and last 20 ms, where the filter reaches outside.
    fn middle(samples: &[f32]) -> &[f32] {
        &samples[320..samples.len() - 320]
    }

    fn tone(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        (0_u32..)
            .map(|i| f64::from(i) / f64::from(rate))
            .take_while(|at| *at < seconds - 1e-9)
            .map(|at| (std::f64::consts::TAU * hertz * at).sin() as f32)
            .collect()
    }

    fn convert(rate: u32, input: &[f32], block: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(rate);
        let mut output = Vec::new();
        for part in input.chunks(block.min(input.len().max(1))) {
            resampler.push(part, &mut output);
        }
        resampler.finish(&mut output);
        output
    }
}
