//! A stream of samples cut into windows that the model can hear at once.
//!
//! - [`Cutter`]: takes samples, gives [`Window`]s of at most [`MAX_WINDOW`] samples.
//!
//! Rule: a recording is cut where it is quietest, so that no word is cut in two; and it never holds
//! more than one window and what was pushed at once.

use std::ops::Range;

use crate::audio::SAMPLE_RATE;

/// The model's window: 30 s.
pub const MAX_WINDOW: usize = 30 * SAMPLE_RATE as usize;
/// The cut lies in the last 8 s of the window: in reading or talk that is two or three sentences,
/// so one of their ends is there.
const SEARCH: usize = 8 * SAMPLE_RATE as usize;
/// Length of the stretch whose loudness is compared (0.2 s, a short pause).
const QUIET: usize = SAMPLE_RATE as usize / 5;
/// From one compared stretch to the next (0.02 s).
const STEP: usize = SAMPLE_RATE as usize / 50;

/// Consecutive samples of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Samples before this window.
    pub offset: u64,
    /// At most [`MAX_WINDOW`].
    pub samples: Vec<f32>,
}

/// Cuts a recording that arrives in pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    pending: Vec<f32>,
    offset: u64,
}

impl Cutter {
    /// Where to append the next samples.
    pub fn input(&mut self) -> &mut Vec<f32> {
        &mut self.pending
    }

    /// Samples taken so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    /// The next whole window, once more samples are there than fit into one.
    pub fn next_window(&mut self) -> Option<Window> {
        if self.pending.len() <= MAX_WINDOW {
            return None;
        }
        let cut = quietest(&self.pending, MAX_WINDOW - SEARCH..MAX_WINDOW);
        let rest = self.pending.split_off(cut);
        Some(self.take(rest))
    }

    /// The last window; `None` if nothing is left.
    pub fn last_window(&mut self) -> Option<Window> {
        if self.pending.is_empty() { None } else { Some(self.take(Vec::new())) }
    }

    fn take(&mut self, rest: Vec<f32>) -> Window {
        let samples = std::mem::replace(&mut self.pending, rest);
        let offset = self.offset;
        self.offset += samples.len() as u64;
        Window { offset, samples }
    }
}

/// The middle of the quietest stretch within the range; of equally quiet ones the last, so that
/// digital silence makes long windows.
fn quietest(samples: &[f32], range: Range<usize>) -> usize {
    let mut best = (f32::INFINITY, range.end);
    for begin in range.clone().step_by(STEP) {
        let Some(stretch) = samples.get(begin..begin + QUIET).filter(|_| begin + QUIET <= range.end) else {
            break;
        };
        let energy: f32 = stretch.iter().map(|sample| sample * sample).sum();
        if energy <= best.0 {
            best = (energy, begin + QUIET / 2);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: usize = SAMPLE_RATE as usize;

    #[test]
    fn a_short_recording_is_one_window() {
        assert_eq!(lengths(&vec![0.5; 30 * SECOND], 4_000), [30 * SECOND]);
        assert_eq!(lengths(&[], 1), [0; 0]);
    }

    #[test]
    fn a_long_recording_is_cut_in_its_pause() {
        let mut samples = vec![0.5; 40 * SECOND];
        samples[24 * SECOND..24 * SECOND + QUIET].fill(0.01);
        assert_eq!(lengths(&samples, 4_000), [24 * SECOND + QUIET / 2, 16 * SECOND - QUIET / 2]);
    }

    #[test]
    fn a_recording_without_a_pause_is_cut_late() {
        let lengths = lengths(&vec![0.0; 61 * SECOND], 160_000);
        assert!(lengths[0] > 29 * SECOND && lengths[1] > 29 * SECOND, "{lengths:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_sample_is_lost(seconds in 0_usize..130, piece in 100_usize..500_000) {
            let samples: Vec<f32> = (0..seconds * SECOND).map(|i| (i % 997) as f32).collect();
            let windows = cut(&samples, piece);
            let joined: Vec<f32> = windows.iter().flat_map(|w| w.samples.clone()).collect();
            prop_assert_eq!(joined, samples);
            let mut offset = 0;
            for window in windows {
                prop_assert_eq!(window.offset, offset);
                prop_assert!(window.samples.len() <= MAX_WINDOW);
                offset += window.samples.len() as u64;
            }
        }
    }

    fn lengths(samples: &[f32], piece: usize) -> Vec<usize> {
        cut(samples, piece).iter().map(|window| window.samples.len()).collect()
    }

    fn cut(samples: &[f32], piece: usize) -> Vec<Window> {
        let mut cutter = Cutter::default();
        let mut windows = Vec::new();
        for piece in samples.chunks(piece) {
            cutter.input().extend_from_slice(piece);
            while let Some(window) = cutter.next_window() {
                windows.push(window);
            }
        }
        windows.extend(cutter.last_window());
        windows
    }
}
