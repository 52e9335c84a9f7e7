//! Samples to log-mel frames, as Whisper was trained on them.
//!
//! - [`MelFrontend`]: the tables; [`MelFrontend::log_mel`]: one window of audio.
//!
//! Windows of 25 ms every 10 ms, power spectrum, triangular filters on Slaney's mel scale with
//! equal area, logarithm to base 10, clipped 8 below the loudest, shifted and scaled to about -1…1.
//!
//! Rule: pure; the same samples give the same frames.

use std::fmt;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::audio::SAMPLE_RATE;

/// Samples under one analysis window (25 ms).
const FFT_SIZE: usize = 400;
/// Samples from one frame to the next (10 ms).
pub const HOP: usize = 160;
/// Bins of the power spectrum.
const SPECTRUM: usize = FFT_SIZE / 2 + 1;
/// Frames in a second.
pub const FRAMES_PER_SECOND: usize = SAMPLE_RATE as usize / HOP;

/// Tables for one number of mel bins.
pub struct MelFrontend {
    filters: Vec<Filter>,
    window: Vec<f32>,
    fft: Arc<dyn Fft<f32>>,
}

impl fmt::Debug for MelFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MelFrontend").field("bins", &self.bins()).finish_non_exhaustive()
    }
}

/// A triangle over the spectrum: weights from bin `begin` on.
struct Filter {
    begin: usize,
    weights: Vec<f32>,
}

impl MelFrontend {
    /// For `bins` mel bins: 80, or 128 for the large models.
    #[must_use]
    pub fn new(bins: usize) -> Self {
        let window = (0..FFT_SIZE)
            .map(|i| {
                let angle = std::f64::consts::TAU * i as f64 / FFT_SIZE as f64;
                (0.5 - 0.5 * angle.cos()) as f32
            })
            .collect();
        let fft = FftPlanner::new().plan_fft_forward(FFT_SIZE);
        Self { filters: filters(bins), window, fft }
    }

    /// Mel bins in a frame.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.filters.len()
    }

    /// The first `frames` frames of the samples, silence behind their end. Row-major: one row of
    /// `frames` values for each bin.
    #[must_use]
    pub fn log_mel(&self, samples: &[f32], frames: usize) -> Vec<f32> {
        const FLOOR: f32 = 1e-10;
        let mut mel = vec![FLOOR.log10(); self.bins() * frames];
        let mut spectrum = vec![Complex::new(0.0_f32, 0.0); FFT_SIZE];
        let mut scratch = vec![Complex::new(0.0_f32, 0.0); self.fft.get_inplace_scratch_len()];
        let mut power = [0.0_f32; SPECTRUM];
        let mut loudest = FLOOR.log10();
        for frame in 0..frames {
            // Frames are centred on their time; the signal is mirrored at its begin.
            let begin = frame * HOP;
            if begin >= samples.len() + FFT_SIZE / 2 {
                break;
            }
            for (i, (bin, weight)) in spectrum.iter_mut().zip(&self.window).enumerate() {
                let position = (begin + i).abs_diff(FFT_SIZE / 2);
                let sample = samples.get(position).copied().unwrap_or(0.0);
                *bin = Complex::new(sample * weight, 0.0);
            }
            self.fft.process_with_scratch(&mut spectrum, &mut scratch);
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.norm_sqr();
            }
            for (filter, row) in self.filters.iter().zip(mel.chunks_exact_mut(frames)) {
                let bins = power.iter().skip(filter.begin);
                let energy: f32 = filter.weights.iter().zip(bins).map(|(w, p)| w * p).sum();
                let level = energy.max(FLOOR).log10();
                loudest = loudest.max(level);
                if let Some(cell) = row.get_mut(frame) {
                    *cell = level;
                }
            }
        }
        for value in &mut mel {
            *value = (value.max(loudest - 8.0) + 4.0) / 4.0;
        }
        mel
    }
}

/// Triangles between neighbouring points on the mel scale, each of area one in hertz.
fn filters(bins: usize) -> Vec<Filter> {
    let nyquist = f64::from(SAMPLE_RATE) / 2.0;
    let top = hertz_to_mel(nyquist);
    let edge = |i: usize| mel_to_hertz(top * i as f64 / (bins + 1) as f64);
    (0..bins)
        .map(|bin| {
            let (low, center, high) = (edge(bin), edge(bin + 1), edge(bin + 2));
            let weights: Vec<f32> = (0..SPECTRUM)
                .map(|k| {
                    let hertz = k as f64 * f64::from(SAMPLE_RATE) / FFT_SIZE as f64;
                    let rising = (hertz - low) / (center - low);
                    let falling = (high - hertz) / (high - center);
                    (rising.min(falling).max(0.0) * 2.0 / (high - low)) as f32
                })
                .collect();
            let begin = weights.iter().position(|w| *w > 0.0).unwrap_or(0);
            let end = weights.iter().rposition(|w| *w > 0.0).map_or(begin, |last| last + 1);
            Filter { begin, weights: weights.get(begin..end).unwrap_or_default().to_vec() }
        })
        .collect()
}

/// Slaney's scale: linear up to 1 kHz, then 27 steps for each factor of 6.4.
fn hertz_to_mel(hertz: f64) -> f64 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4_f64.ln() }
}

fn mel_to_hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4_f64.ln() / 27.0).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mel_scale_and_its_inverse_agree() {
        for hertz in [0.0, 440.0, 999.0, 1000.0, 1001.0, 4000.0, 8000.0] {
            assert!((mel_to_hertz(hertz_to_mel(hertz)) - hertz).abs() < 1e-9);
        }
        // 27 steps above 1 kHz lie 6.4 kHz.
        assert!((mel_to_hertz(42.0) - 6400.0).abs() < 1e-9);
    }

    #[test]
    fn every_filter_covers_a_part_of_the_spectrum() {
        for bins in [80, 128] {
            let filters = filters(bins);
            assert_eq!(filters.len(), bins);
            assert!(filters.iter().all(|f| f.weights.iter().sum::<f32>() > 0.0));
        }
    }

    #[test]
    fn a_tone_is_loudest_in_the_filter_at_its_pitch() {
        let frontend = MelFrontend::new(80);
        for hertz in [300.0_f32, 1_000.0, 3_000.0] {
            let tone: Vec<f32> =
                (0..16_000).map(|i| (std::f32::consts::TAU * hertz * i as f32 / 16_000.0).sin()).collect();
            let mel = frontend.log_mel(&tone, 100);
            let loudest = (0..80).max_by(|a, b| mel[a * 100 + 50].total_cmp(&mel[b * 100 + 50])).unwrap_or_default();
            let expected = hertz_to_mel(f64::from(hertz)) / hertz_to_mel(8_000.0) * 81.0 - 1.0;
            assert!((loudest as f64 - expected).abs() <= 1.0, "{hertz}: {loudest} {expected}");
        }
    }

    #[test]
    fn silence_is_the_floor() {
        let mel = MelFrontend::new(80).log_mel(&[0.0; 1600], 20);
        assert!(mel.iter().all(|value| (value - -1.5).abs() < 1e-6));
    }
}
