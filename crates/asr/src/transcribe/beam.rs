//! Several texts of one window side by side, of which the likeliest is taken.
//!
//! - [`Beam`]: what bounds a search; [`Beam::search`]: the search.
//! - [`Text`]: a text so far, and how likely it is.
//!
//! ```text
//!          ┌ unless ┬ to be rather ─ cold ─ …         each step: all ways to go on,
//!  begin ──┤        └ it is ─ ✗                       the WIDTH likeliest are kept
//!          └ unloved ─ ✗
//! ```
//!
//! Greedy decoding never takes a word back. In noise the first piece of a word is often heard wrong,
//! and the rest of the sentence is bent to fit; a text that begins less likely is then the likelier one
//! as a whole.
//!
//! Rule: pure; the network is a function that is handed in.

use super::rules::{Timestamps, TokenRules, log_sum_exp, repeated_suffix};

/// Texts that are followed at once, as many as Whisper's makers take.
const WIDTH: usize = 5;

/// A text so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// Text tokens and, if asked for, timestamps.
    pub tokens: Vec<u32>,
    /// Sum of the natural log probabilities of its tokens, the end included.
    pub sum_logprob: f64,
    /// Whether a repetition was cut off.
    pub looped: bool,
}

impl Text {
    /// Mean of the natural log probabilities of its tokens, the end included.
    #[must_use]
    pub fn avg_logprob(&self) -> f64 {
        self.sum_logprob / (self.tokens.len() + 1) as f64
    }

    /// Appends a token; what repeats itself is cut off.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
        if let Some(repeats) = repeated_suffix(&self.tokens) {
            self.tokens.truncate(self.tokens.len() - repeats);
            self.looped = true;
        }
    }
}

/// What bounds a search.
#[derive(Clone, Copy, Debug)]
pub struct Beam<'a> {
    /// Which token may follow.
    pub rules: &'a TokenRules,
    /// The token that ends a text.
    pub end: u32,
    /// The timestamps that a text may hold.
    pub timestamps: Timestamps,
    /// The most tokens of a text.
    pub budget: usize,
}

impl Beam<'_> {
    /// The likeliest text, by the mean of its tokens. `first` are the logits of the first token;
    /// `step(parents, tokens)` appends a token to each of several texts, which go on from those of the
    /// step before named by `parents`, and gives the logits behind each.
    ///
    /// # Errors
    /// As `step`.
    pub fn search<E>(
        &self,
        first: Vec<f32>,
        mut step: impl FnMut(&[u32], &[u32]) -> Result<Vec<Vec<f32>>, E>,
    ) -> Result<Text, E> {
        let mut live = vec![Text::default()];
        let mut ended: Vec<Text> = Vec::new();
        let mut logits = vec![first];
        loop {
            let mut parents = Vec::with_capacity(WIDTH);
            let mut tokens = Vec::with_capacity(WIDTH);
            let mut longer = Vec::with_capacity(WIDTH);
            for candidate in self.candidates(&live, &mut logits) {
                if longer.len() == WIDTH || ended.len() == WIDTH {
                    break;
                }
                let Some(parent) = live.get(candidate.parent as usize) else { continue };
                let mut text = Text { sum_logprob: candidate.sum_logprob, ..parent.clone() };
                if candidate.token == self.end {
                    ended.push(text);
                    continue;
                }
                text.push(candidate.token);
                if text.looped {
                    ended.push(text);
                    continue;
                }
                parents.push(candidate.parent);
                tokens.push(candidate.token);
                longer.push(text);
            }
            live = longer;
            let longest = live.first().map_or(self.budget, |text| text.tokens.len());
            if ended.len() == WIDTH || longest >= self.budget {
                break;
            }
            logits = step(&parents, &tokens)?;
        }
        // A text that did not end counts only where none did.
        let texts = if ended.is_empty() { live } else { ended };
        let key = |text: &Text| (!text.looped, text.avg_logprob());
        let likeliest = texts.into_iter().reduce(|best, text| if key(&text) > key(&best) { text } else { best });
        Ok(likeliest.unwrap_or_default())
    }

    /// The likeliest ways to go on, the likeliest first.
    fn candidates(&self, live: &[Text], logits: &mut [Vec<f32>]) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(live.len() * (WIDTH + 1));
        for ((parent, text), logits) in (0_u32..).zip(live).zip(logits) {
            self.rules.apply(logits, &text.tokens, self.timestamps);
            let sum = log_sum_exp(logits);
            // One more than can go on, because one of them may be the end.
            candidates.extend(likeliest(logits, WIDTH + 1).into_iter().map(|(token, logit)| Candidate {
                parent,
                token,
                sum_logprob: text.sum_logprob + f64::from(logit - sum),
            }));
        }
        candidates.sort_by(|a, b| b.sum_logprob.total_cmp(&a.sum_logprob));
        candidates
    }
}

/// A text and the token that may follow it.
struct Candidate {
    parent: u32,
    token: u32,
    sum_logprob: f64,
}

/// The `count` largest logits with their tokens, in descending order; no more than there are finite
/// ones.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut largest: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, logit) in (0_u32..).zip(logits) {
        let is_large = largest.len() < count || largest.last().is_some_and(|(_, least)| logit > least);
        if is_large && logit.is_finite() {
            let place = largest.partition_point(|(_, other)| other >= logit);
            largest.insert(place, (token, *logit));
            largest.truncate(count);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::whisper::{Generation, SpecialTokens};

    /// Text tokens 0 to 4, and the end.
    const END: u32 = 5;

    #[test]
    fn a_text_that_begins_less_likely_may_win() {
        // 0 is likelier than 1, but what follows it is guesswork.
        let text = search(8, |text| match text {
            [] => vec![(0, 0.6), (1, 0.4)],
            [0] => vec![(2, 0.3), (3, 0.3), (4, 0.3)],
            [1] => vec![(2, 0.9)],
            _ => vec![(END, 0.95)],
        });
        assert_eq!(text.tokens, [1, 2]);
        let expected = (0.4_f64.ln() + 0.9_f64.ln() + 0.95_f64.ln()) / 3.0;
        assert!((text.avg_logprob() - expected).abs() < 1e-3, "{text:?}");
    }

    #[test]
    fn texts_end_at_the_budget_and_loops_come_last() {
        let endless = search(4, |text| vec![(text.len() as u32 % 5, 0.9)]);
        assert_eq!(endless.tokens, [0, 1, 2, 3]);
        // The end is unlikely everywhere, but better than going round in circles.
        let circling = search(100, |_| vec![(0, 0.99)]);
        assert_eq!((circling.tokens.as_slice(), circling.looped), ([0, 0, 0].as_slice(), false));
        let mut text = Text::default();
        for token in [1, 2, 2, 2, 2] {
            text.push(token);
        }
        assert_eq!((text.tokens.as_slice(), text.looped), ([1, 2].as_slice(), true));
    }

    #[test]
    fn the_largest_logits_are_found_in_order() {
        assert_eq!(likeliest(&[0.0, 3.0, f32::NEG_INFINITY, 1.0, 2.0], 3), [(1, 3.0), (4, 2.0), (3, 1.0)]);
        assert_eq!(likeliest(&[f32::NEG_INFINITY, 1.0], 3), [(1, 1.0)]);
        assert_eq!(likeliest(&[], 3), []);
    }

    /// Searches where the network says how likely a token is behind a text; all others share the rest.
    fn search(budget: usize, network: impl Fn(&[u32]) -> Vec<(u32, f64)>) -> Text {
        let logits = |text: &[u32]| {
            let named = network(text);
            let rest = (1.0 - named.iter().map(|(_, p)| p).sum::<f64>()).max(1e-6) / (6 - named.len()) as f64;
            let of = |token: u32| named.iter().find(|(named, _)| *named == token).map_or(rest, |(_, p)| *p);
            (0..=END).map(|token| of(token).ln() as f32).collect::<Vec<f32>>()
        };
        let special = SpecialTokens {
            end: END,
            start: 6,
            previous: 7,
            transcribe: 8,
            no_speech: 9,
            no_timestamps: 10,
            timestamp_begin: 11,
            languages: Vec::new(),
        };
        let rules = TokenRules::new(&special, &Generation::default());
        let beam = Beam { rules: &rules, end: END, timestamps: Timestamps::Without, budget };
        let mut texts: Vec<Vec<u32>> = vec![Vec::new()];
        let step = |parents: &[u32], tokens: &[u32]| {
            let longer = parents.iter().zip(tokens).map(|(parent, token)| {
                let mut text = texts[*parent as usize].clone();
                text.push(*token);
                text
            });
            texts = longer.collect();
            Ok::<_, Infallible>(texts.iter().map(|text| logits(text)).collect())
        };
        match beam.search(logits(&[]), step) {
            Ok(text) => text,
        }
    }
}
