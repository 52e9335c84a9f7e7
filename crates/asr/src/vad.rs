//! Where somebody speaks.
//!
//! - [`speech_span`]: the part of a window of audio from its first to its last voice.
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
/// Score above which a frame counts as voice.
const VOICE_SCORE: f32 = 0.5;
/// Voice must last this many frames in a row (80 ms) somewhere in the window: a click is no word.
const SHORTEST_VOICE: usize = 5;
/// What is kept before the first and after the last voice: consonants are quiet.
const MARGIN: usize = SAMPLE_RATE as usize * 3 / 10;

/// From the first to the last voice in the samples, with a margin; `None` if nobody speaks.
#[must_use]
pub fn speech_span(samples: &[f32]) -> Option<Range<usize>> {
    let mut detector = Detector::default();
    let mut run = 0;
    let mut longest = 0;
    let mut first = None;
    let mut last = 0;
    for (index, frame) in samples.chunks_exact(FRAME).enumerate() {
        if detector.predict_f32(frame) < VOICE_SCORE {
            run = 0;
            continue;
        }
        run += 1;
        longest = longest.max(run);
        first.get_or_insert(index);
        last = index + 1;
    }
    let first = first.filter(|_| longest >= SHORTEST_VOICE)?;
    let begin = (first * FRAME).saturating_sub(MARGIN);
    Some(begin..(last * FRAME + MARGIN).min(samples.len()))
}
