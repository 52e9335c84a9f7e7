//! Which token may come next.
//!
//! - [`TokenRules`]: what holds for every text of a model.
//! - [`TokenRules::apply`]: strikes out what may not follow the tokens so far.
//! - [`repeated_suffix`]: whether a text has begun to go round in circles.
//!
//! Rule: pure arithmetic on logits; nothing here knows the network.

use std::ops::Range;

use crate::whisper::{Generation, SpecialTokens};

/// The first timestamp lies within the first second: leading silence is cut off before.
const MAX_FIRST_TIMESTAMP: u32 = 50;
/// So often in a row a group of tokens must repeat to count as a loop.
const REPEATS: usize = 4;
/// The longest group of tokens whose repetition is looked for.
const MAX_REPEATED: usize = 16;

/// What holds for every text of a model.
#[derive(Clone, Debug)]
pub struct TokenRules {
    special: SpecialTokens,
    suppressed: Vec<u32>,
    suppressed_at_begin: Vec<u32>,
}

/// The timestamps that a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// None.
    Without,
    /// In pairs around each segment, not after this many steps of 20 ms.
    UpTo(u32),
}

impl TokenRules {
    /// The rules of a model.
    #[must_use]
    pub fn new(special: &SpecialTokens, generation: &Generation) -> Self {
        let mut suppressed = generation.suppressed.clone();
        suppressed.extend([
            special.start,
            special.previous,
            special.transcribe,
            special.no_speech,
            special.no_timestamps,
        ]);
        suppressed.extend(special.languages.iter().map(|(_, id)| *id));
        suppressed.sort_unstable();
        suppressed.dedup();
        suppressed.retain(|id| *id != special.end);
        Self { special: special.clone(), suppressed, suppressed_at_begin: generation.suppressed_at_begin.clone() }
    }

    /// Whether the token is a timestamp.
    #[must_use]
    pub const fn is_timestamp(&self, token: u32) -> bool {
        token >= self.special.timestamp_begin
    }

    /// Sets to minus infinity the logits of all tokens that may not follow `text`.
    pub fn apply(&self, logits: &mut [f32], text: &[u32], timestamps: Timestamps) {
        strike_each(logits, &self.suppressed);
        let first_timestamp = self.special.timestamp_begin;
        let Timestamps::UpTo(last_step) = timestamps else {
            if text.is_empty() {
                strike_each(logits, &self.suppressed_at_begin);
            }
            return strike(logits, first_timestamp..u32::MAX);
        };
        strike(logits, first_timestamp.saturating_add(last_step).saturating_add(1)..u32::MAX);
        if text.is_empty() {
            strike(logits, 0..first_timestamp);
            strike(logits, first_timestamp + MAX_FIRST_TIMESTAMP + 1..u32::MAX);
            return;
        }
        let was_timestamp =
            |back: usize| text.len().checked_sub(back).and_then(|i| text.get(i)).map(|t| self.is_timestamp(*t));
        let (last, before_last) = (was_timestamp(1), was_timestamp(2).unwrap_or(true));
        if last == Some(true) {
            if before_last {
                // A segment was opened: text follows.
                strike(logits, first_timestamp..u32::MAX);
            } else {
                // A segment was closed: the next one opens, or the text ends.
                strike(logits, 0..self.special.end);
            }
        }
        if let Some(newest) = text.iter().rev().find(|token| self.is_timestamp(**token)) {
            // Time does not go back; a segment is not empty, but may follow at once.
            let lowest = if last == Some(true) && !before_last { *newest } else { newest + 1 };
            strike(logits, first_timestamp..lowest);
        }
        self.prefer_timestamps(logits);
    }

    /// If all timestamps together are likelier than any other token, one of them comes.
    fn prefer_timestamps(&self, logits: &mut [f32]) {
        let begin = usize::try_from(self.special.timestamp_begin).unwrap_or(usize::MAX);
        let Some((text, timestamps)) = logits.split_at_mut_checked(begin) else { return };
        let likeliest = text.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if log_sum_exp(timestamps) > likeliest {
            text.fill(f32::NEG_INFINITY);
        }
    }
}

/// The logarithm of the sum of the exponentials.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return max;
    }
    max + logits.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln()
}

/// If the tokens end in a group that repeats `REPEATS` times: the length of all repeats but the
/// first.
#[must_use]
pub fn repeated_suffix(tokens: &[u32]) -> Option<usize> {
    (1..=MAX_REPEATED).find_map(|length| {
        // Longer groups that repeat three times are no accident either.
        let repeats = if length > 6 { REPEATS - 1 } else { REPEATS };
        let begin = tokens.len().checked_sub(length * repeats)?;
        let mut groups = tokens.get(begin..)?.chunks_exact(length);
        let first = groups.next()?;
        groups.all(|group| group == first).then_some(length * (repeats - 1))
    })
}

fn strike_each(logits: &mut [f32], tokens: &[u32]) {
    for token in tokens {
        if let Some(logit) = usize::try_from(*token).ok().and_then(|i| logits.get_mut(i)) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

fn strike(logits: &mut [f32], tokens: Range<u32>) {
    let end = usize::try_from(tokens.end).unwrap_or(usize::MAX).min(logits.len());
    let begin = usize::try_from(tokens.start).unwrap_or(usize::MAX).min(end);
    if let Some(struck) = logits.get_mut(begin..end) {
        struck.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A vocabulary of ten text tokens, then end (10), start, previous, transcribe, no speech, no
    // timestamps (15), and 60 timestamps (16..76).
    const END: u32 = 10;
    const FIRST: u32 = 16;

    #[test]
    fn without_timestamps_only_text_and_the_end_are_allowed() {
        check(&[], Timestamps::Without, &[0, 1, 2, 3, 4, 5, 6, 7]);
        check(&[3], Timestamps::Without, &[0, 1, 2, 3, 4, 5, 6, 7, 8, END]);
    }

    #[test]
    fn timestamps_come_in_pairs_and_do_not_go_back() {
        let up_to = Timestamps::UpTo(4);
        check(&[], up_to, &[16, 17, 18, 19, 20]);
        // Opened: text, or the end.
        check(&[17], up_to, &[0, 1, 2, 3, 4, 5, 6, 7, 8, END]);
        // Within the text; closing comes after the opening.
        check(&[17, 3], up_to, &[0, 1, 2, 3, 4, 5, 6, 7, 8, END, 18, 19, 20]);
        // Closed: the next one may open at the same instant.
        check(&[17, 3, 18], up_to, &[END, 18, 19, 20]);
        check(&[17, 3, 18, 18], up_to, &[0, 1, 2, 3, 4, 5, 6, 7, 8, END]);
    }

    #[test]
    fn likely_timestamps_exclude_text() {
        let mut logits = vec![0.0; 76];
        logits[18..21].fill(1.0);
        rules().apply(&mut logits, &[17, 3], Timestamps::UpTo(4));
        assert_eq!(allowed(&logits), [18, 19, 20]);
    }

    #[test]
    fn repetition_is_found_at_the_end_only() {
        assert_eq!(repeated_suffix(&[1, 2, 2, 2, 2]), Some(3));
        assert_eq!(repeated_suffix(&[2, 2, 2, 2, 1]), None);
        assert_eq!(repeated_suffix(&[9, 1, 2, 1, 2, 1, 2, 1, 2]), Some(6));
        let sentence: Vec<u32> = (0..10).collect();
        assert_eq!(repeated_suffix(&sentence.repeat(3)), Some(20));
        assert_eq!(repeated_suffix(&sentence.repeat(2)), None);
        assert_eq!(repeated_suffix(&[]), None);
    }

    #[test]
    fn log_sum_exp_of_nothing_is_minus_infinity() {
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]).to_bits(), f32::NEG_INFINITY.to_bits());
        assert!((log_sum_exp(&[1000.0, 1000.0]) - 1000.693).abs() < 1e-3);
    }

    fn check(text: &[u32], timestamps: Timestamps, expected: &[u32]) {
        let mut logits = vec![0.0; 76];
        // Text is likelier than all timestamps together.
        logits[..11].fill(9.0);
        rules().apply(&mut logits, text, timestamps);
        assert_eq!(allowed(&logits), expected);
    }

    fn allowed(logits: &[f32]) -> Vec<u32> {
        (0..).zip(logits).filter(|(_, logit)| logit.is_finite()).map(|(id, _)| id).collect()
    }

    fn rules() -> TokenRules {
        let special = SpecialTokens {
            end: END,
            start: 11,
            previous: 12,
            transcribe: 13,
            no_speech: 14,
            no_timestamps: 15,
            timestamp_begin: FIRST,
            languages: Vec::new(),
        };
        let generation =
            Generation { suppressed: vec![9], suppressed_at_begin: vec![8, END], alignment_heads: Vec::new() };
        TokenRules::new(&special, &generation)
    }
}
