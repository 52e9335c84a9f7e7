//! Tokens of the windows to a text with times.
//!
//! - [`WindowText`]: what was said in one window. [`transcript`] joins them.
//!
//! Rule: pure; times are clamped to the window, so segments never overlap.

use super::decode::Decoded;
use crate::audio::SAMPLE_RATE;
use crate::backend::{Segment, Transcript, Word};
use crate::whisper::Tokenizer;
use crate::whisper::tokenizer::TIMESTAMP_STEP_SECONDS;

/// What was said in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowText {
    /// Stretches of text, in order.
    pub parts: Vec<Part>,
    /// Times of the words, if they were asked for.
    pub words: Vec<Word>,
    /// The window's begin in the recording.
    pub begin_seconds: f64,
    /// How it was decoded.
    decoded: Decoded,
}

/// A stretch of text between two timestamps, or the whole of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// From the recording's begin.
    pub start_seconds: f64,
    /// From the recording's begin.
    pub end_seconds: f64,
    /// Without timestamps.
    pub tokens: Vec<u32>,
    /// As the model writes it, with a leading space.
    pub text: String,
}

impl WindowText {
    /// Splits the decoded tokens at their timestamps. `samples` is the window's length.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer, decoded: Decoded, begin_seconds: f64, samples: usize) -> Self {
        let length_seconds = samples as f64 / f64::from(SAMPLE_RATE);
        let first_timestamp = tokenizer.special().timestamp_begin;
        let mut parts = Vec::new();
        let mut start = 0.0_f64;
        let mut tokens: Vec<u32> = Vec::new();
        let mut close = |start: f64, end: f64, tokens: Vec<u32>| {
            let text = tokenizer.decode(&tokens);
            if !text.trim().is_empty() {
                parts.push(Part {
                    start_seconds: begin_seconds + start,
                    end_seconds: begin_seconds + end.max(start),
                    tokens,
                    text,
                });
            }
        };
        for token in &decoded.tokens {
            let Some(step) = token.checked_sub(first_timestamp) else {
                tokens.push(*token);
                continue;
            };
            let at = (f64::from(step) * TIMESTAMP_STEP_SECONDS).min(length_seconds);
            if !tokens.is_empty() {
                close(start, at, std::mem::take(&mut tokens));
            }
            start = at;
        }
        if !tokens.is_empty() {
            close(start, length_seconds, tokens);
        }
        Self { parts, words: Vec::new(), begin_seconds, decoded }
    }

    /// All text tokens of the window.
    #[must_use]
    pub fn tokens(&self) -> Vec<u32> {
        self.parts.iter().flat_map(|part| part.tokens.iter().copied()).collect()
    }
}

/// Joins the windows of a recording.
#[must_use]
pub fn transcript(windows: Vec<WindowText>, language: String, duration_seconds: f64) -> Transcript {
    let mut transcript =
        Transcript { text: String::new(), language, duration_seconds, segments: Vec::new(), words: Vec::new() };
    for window in windows {
        for part in window.parts {
            transcript.text.push_str(&part.text);
            transcript.segments.push(Segment {
                id: transcript.segments.len(),
                start_seconds: part.start_seconds,
                end_seconds: part.end_seconds,
                text: part.text,
                tokens: part.tokens,
                avg_logprob: window.decoded.avg_logprob,
                compression_ratio: window.decoded.compression_ratio,
                no_speech_prob: window.decoded.no_speech_prob,
                temperature: window.decoded.temperature,
            });
        }
        transcript.words.extend(window.words);
    }
    transcript.text = transcript.text.trim().to_owned();
    transcript
}
