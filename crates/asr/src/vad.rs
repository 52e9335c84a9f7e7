//! Where somebody speaks.
//!
//! - [`speech_spans`]: the stretches of a window of audio in which there is voice.
//!
//! A small neural detector (40 kB) scores every 16 ms. It is told apart from the speech model on
//! purpose: that one invents words for noise, and costs a thousand times as much.
//!
//! Rule: pure; no state is kept from one window to the next.

use std::ops::Range;

use earshot::Detector;

use crate::audio::SAMPLE_RATE;

/// Samples that are scored at once (16 ms).
const FRAME: usize = 256;
/// Root mean square to which a window is scaled first. The detector's scores depend on loudness: at
/// this one, white, pink and brown noise and hum of any loudness score at most 0.41, while half of
/// the frames of speech, quiet or with noise 10 dB below it, score above 0.64.
const LOUDNESS: f32 = 0.03;
/// Score above which a frame counts as voice.
const VOICE_SCORE: f32 = 0.5;
/// Voice must last this many frames in a row (80 ms) somewhere in the window: a click is no word.
const SHORTEST_VOICE: usize = 5;
/// Samples that the detector hears before the first scored one (1 s, mirrored): it begins with a
/// guess that takes half a second to fade, in which noise passes for voice.
const WARM_UP: usize = SAMPLE_RATE as usize;
/// Frames of silence within a stretch (2 s). Behind a longer one the speech model takes the text
/// for finished, and what follows would be lost.
const LONGEST_PAUSE: usize = 2 * SAMPLE_RATE as usize / FRAME;
/// What is kept before the first and after the last voice: consonants are quiet.
const MARGIN: usize = SAMPLE_RATE as usize * 3 / 10;

/// The stretches of the samples in which somebody speaks, in order and with a margin around them.
/// Pauses up to two seconds belong to a stretch.
#[must_use]
pub fn speech_spans(samples: &[f32]) -> Vec<Range<usize>> {
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
    // Neither no samples (not a number) nor digital silence.
    if power.is_nan() || power <= 0.0 {
        return Vec::new();
    }
    let gain = LOUDNESS / power.sqrt();
    let scaled: Vec<f32> = samples.iter().map(|sample| (sample * gain).clamp(-1.0, 1.0)).collect();
    let mut detector = Detector::default();
    let before: Vec<f32> = scaled.iter().take(WARM_UP).rev().copied().collect();
    for frame in before.chunks_exact(FRAME) {
        detector.predict_f32(frame);
    }
    let scores = scaled.chunks_exact(FRAME).map(|frame| detector.predict_f32(frame));
    let is_voice: Vec<bool> = scores.map(|score| score >= VOICE_SCORE).collect();
    spans_of(&is_voice)
        .into_iter()
        .map(|frames| {
            let begin = (frames.start * FRAME).saturating_sub(MARGIN);
            begin..(frames.end * FRAME + MARGIN).min(samples.len())
        })
        .collect()
}

/// Groups frames with voice whose distance is no longer than a pause; a group counts if voice
/// lasts somewhere within it.
fn spans_of(is_voice: &[bool]) -> Vec<Range<usize>> {
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    let mut run = 0;
    for (frame, voice) in is_voice.iter().enumerate() {
        if !voice {
            run = 0;
            continue;
        }
        run += 1;
        match spans.last_mut() {
            Some((span, longest)) if frame - span.end <= LONGEST_PAUSE => {
                span.end = frame + 1;
                *longest = run.max(*longest);
            }
            _ => spans.push((frame..frame + 1, run)),
        }
    }
    spans.into_iter().filter(|(_, longest)| *longest >= SHORTEST_VOICE).map(|(s, _)| s).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const SECOND: usize = SAMPLE_RATE as usize;

    #[test]
    fn nobody_speaks_in_silence_hum_and_noise() {
        let time = |i: usize| i as f32 / SAMPLE_RATE as f32;
        for loudness in [0.3, 0.03, 0.003] {
            let mut rng = StdRng::seed_from_u64(1);
            let hum = |i| loudness * (std::f32::consts::TAU * 50.0 * time(i)).sin();
            check(&(0..10 * SECOND).map(hum).collect::<Vec<_>>(), "hum");
            let mut noise = || loudness * (rng.random::<f32>() * 2.0 - 1.0);
            check(&(0..10 * SECOND).map(|_| noise()).collect::<Vec<_>>(), "white noise");
            // One pole: falls by 6 dB for each octave above 80 Hz.
            let mut last = 0.0;
            let brown = (0..10 * SECOND).map(|_| {
                last = 0.97 * last + noise();
                last
            });
            check(&brown.collect::<Vec<_>>(), "brown noise");
        }
        check(&[0.0; 10 * SECOND], "silence");
        check(&[], "nothing");
    }

    #[test]
    fn long_pauses_part_the_speech_and_clicks_do_not_count() {
        let frames =
            |parts: &[(bool, usize)]| parts.iter().flat_map(|(voice, count)| vec![*voice; *count]).collect::<Vec<_>>();
        let spans = |parts: &[(bool, usize)], expected: &[(usize, usize)]| {
            let spans = spans_of(&frames(parts));
            let spans: Vec<_> = spans.iter().map(|span| (span.start, span.end)).collect();
            assert_eq!(spans, expected);
        };
        spans(&[(false, 9), (true, 20), (false, 9)], &[(9, 29)]);
        spans(&[(true, 20), (false, 125), (true, 1)], &[(0, 146)]);
        spans(&[(true, 20), (false, 126), (true, 5)], &[(0, 20), (146, 151)]);
        spans(&[(true, 20), (false, 126), (true, 4)], &[(0, 20)]);
        spans(&[], &[]);
    }

    fn check(samples: &[f32], what: &str) {
        let spans = speech_spans(samples);
        assert!(spans.is_empty(), "{what}: {spans:?}");
    }
}
