//! When each word was said: the attention of chosen heads to the audio, followed by dynamic time
//! warping.
//!
//! - [`words`]: the words of a window with their times.
//!
//! ```text
//!            20 ms of audio ─▶
//! token  │ ▓▒
//!   │    │  ▓▓▒          the path of the strongest attention, which
//!   ▼    │    ▒▓▓        never goes back, says when a token begins
//!        │       ▓▒
//! ```
//!
//! Rule: the path is found in a table of tokens times positions, both bounded by the window.

use candle_core::Result;

use super::segments::WindowText;
use crate::backend::Word;
use crate::whisper::mel::HOP;
use crate::whisper::tokenizer::TIMESTAMP_STEP_SECONDS;
use crate::whisper::{AudioFeatures, HeadAttention, Model, Tokenizer};

/// Positions (20 ms) over which the attention is smoothed by its median.
const MEDIAN_WIDTH: usize = 7;
/// Positions (20 ms) of quiet that make a pause: longer than the closure of a plosive.
const SHORTEST_PAUSE: usize = 5;
/// Languages that write no spaces; each character is a word there.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];

/// The words of a window, in order. `samples` is the window.
///
/// # Errors
/// As the device fails.
pub fn words(
    model: &Model,
    features: &AudioFeatures,
    text: &WindowText,
    language: Option<u32>,
    samples: &[f32],
) -> Result<Vec<Word>> {
    let special = model.tokenizer.special();
    let text_tokens = text.tokens();
    let mut tokens = vec![special.start];
    if let Some(language) = language {
        tokens.extend([language, special.transcribe]);
    }
    // The row of a token shows where the model looks for the next one.
    let first_row = tokens.len();
    tokens.push(special.no_timestamps);
    tokens.extend_from_slice(&text_tokens);
    tokens.push(special.end);
    let heads = model.network.attention(features, &tokens, &model.generation.alignment_heads)?;
    let positions = samples.len().div_ceil(2 * HOP).max(1);
    let attention = average(&heads, first_row..first_row + text_tokens.len() + 1, positions);
    let starts = token_starts(&attention, text_tokens.len() + 1, positions);
    let code = special.languages.iter().find(|(_, token)| Some(*token) == language);
    let by_character = code.is_some_and(|(code, _)| WITHOUT_SPACES.contains(&code.as_str()));
    let loudness = Loudness::of(samples);
    let position = |token: usize| starts.get(token).copied().unwrap_or(positions);
    let seconds = |position: usize| text.begin_seconds + position as f64 * TIMESTAMP_STEP_SECONDS;
    Ok(split(&model.tokenizer, &text_tokens, by_character)
        .into_iter()
        .map(|(word, begin, end)| {
            let (begin, end) = loudness.trim(position(begin), position(end));
            Word { word, start_seconds: seconds(begin), end_seconds: seconds(end) }
        })
        .collect())
}

/// Where there is sound. The path knows no pauses: the time between two words belongs to one of
/// them, until it is taken away here.
struct Loudness {
    /// Whether each position is quiet.
    quiet: Vec<bool>,
}

impl Loudness {
    /// Quiet is what lies in the lower third between the quietest and the loudest parts, in
    /// decibels.
    fn of(samples: &[f32]) -> Self {
        let levels: Vec<f32> = samples
            .chunks(2 * HOP)
            .map(|part| part.iter().map(|sample| sample * sample).sum::<f32>().max(1e-9).log10())
            .collect();
        let mut sorted = levels.clone();
        sorted.sort_by(f32::total_cmp);
        let level_at = |share: usize| sorted.get(sorted.len() * share / 100).copied();
        let (low, high) = (level_at(5).unwrap_or(0.0), level_at(95).unwrap_or(0.0));
        let threshold = low + (high - low) / 3.0;
        Self { quiet: levels.iter().map(|level| *level < threshold).collect() }
    }

    /// Takes pauses off both ends of a word; what is shorter than a pause may be the silence
    /// within a `t` or a `p`.
    fn trim(&self, begin: usize, end: usize) -> (usize, usize) {
        let word = self.quiet.get(begin..end.min(self.quiet.len())).unwrap_or_default();
        let before = word.iter().take_while(|quiet| **quiet).count();
        if before == word.len() {
            return (begin, end);
        }
        let after = word.iter().rev().take_while(|quiet| **quiet).count();
        let pause = |length: usize| if length < SHORTEST_PAUSE { 0 } else { length };
        (begin + pause(before), begin + word.len() - pause(after))
    }
}

/// The mean of the heads over these rows and the first `positions` columns: each row sums to one,
/// each column is standardised over the rows, each row is smoothed.
fn average(heads: &[HeadAttention], rows: std::ops::Range<usize>, positions: usize) -> Vec<f32> {
    let count = rows.len();
    let mut mean = vec![0.0_f32; count * positions];
    for head in heads {
        let mut table = Vec::with_capacity(count * positions);
        for row in rows.clone() {
            let begin = row * head.positions;
            let kept = head.weights.get(begin..begin + head.positions.min(positions));
            let kept = kept.unwrap_or_default();
            let sum: f32 = kept.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            table.extend(kept.iter().map(|weight| weight / sum));
            table.resize(table.len().next_multiple_of(positions), 0.0);
        }
        standardise_columns(&mut table, positions);
        for (row, mean) in table.chunks_exact(positions).zip(mean.chunks_exact_mut(positions)) {
            for (position, mean) in mean.iter_mut().enumerate() {
                *mean += median_around(row, position) / heads.len() as f32;
            }
        }
    }
    mean
}

fn standardise_columns(table: &mut [f32], columns: usize) {
    let rows = table.len() / columns;
    for column in 0..columns {
        let values = || table.iter().skip(column).step_by(columns);
        let mean = values().sum::<f32>() / rows as f32;
        let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f32>() / rows as f32;
        let deviation = variance.sqrt().max(1e-9);
        for value in table.iter_mut().skip(column).step_by(columns) {
            *value = (*value - mean) / deviation;
        }
    }
}

/// The median of the row around a position; the row is mirrored at its ends.
fn median_around(row: &[f32], position: usize) -> f32 {
    let reach = MEDIAN_WIDTH / 2;
    let last = row.len().saturating_sub(1);
    let mut around = [0.0_f32; MEDIAN_WIDTH];
    for (i, value) in around.iter_mut().enumerate() {
        let at = (position + i).abs_diff(reach);
        let at = if at > last { last.saturating_sub(at - last) } else { at };
        *value = row.get(at).copied().unwrap_or(0.0);
    }
    around.sort_by(f32::total_cmp);
    around.get(reach).copied().unwrap_or(0.0)
}

/// Dynamic time warping: the position at which the best path enters each row. Diagonal, down and
/// right steps cost the same; the path runs from the first cell to the last.
fn token_starts(attention: &[f32], rows: usize, positions: usize) -> Vec<usize> {
    #[derive(Clone, Copy)]
    enum Step {
        Diagonal,
        Down,
        Right,
    }
    let mut steps = vec![Step::Diagonal; rows * positions];
    let mut above = vec![f32::INFINITY; positions + 1];
    if let Some(begin) = above.first_mut() {
        *begin = 0.0;
    }
    for (row, steps) in attention.chunks_exact(positions).zip(steps.chunks_exact_mut(positions)) {
        let mut left = f32::INFINITY;
        let mut diagonal = above.first().copied().unwrap_or(f32::INFINITY);
        if let Some(edge) = above.first_mut() {
            *edge = f32::INFINITY;
        }
        for ((weight, step), up) in row.iter().zip(steps).zip(above.iter_mut().skip(1)) {
            let (cost, taken) = if diagonal <= *up && diagonal <= left {
                (diagonal, Step::Diagonal)
            } else if *up <= left {
                (*up, Step::Down)
            } else {
                (left, Step::Right)
            };
            *step = taken;
            diagonal = *up;
            left = cost - weight;
            *up = left;
        }
    }
    let mut starts = vec![0; rows];
    let (mut row, mut position) = (rows.saturating_sub(1), positions.saturating_sub(1));
    loop {
        if let Some(start) = starts.get_mut(row) {
            *start = position;
        }
        let step = steps.get(row * positions + position).copied().unwrap_or(Step::Diagonal);
        match step {
            _ if row == 0 && position == 0 => break,
            Step::Right if position > 0 => position -= 1,
            Step::Down if row > 0 => row -= 1,
            Step::Diagonal if row > 0 && position > 0 => {
                row -= 1;
                position -= 1;
            }
            // At the edge there is one way only.
            _ if row == 0 => position -= 1,
            _ => row -= 1,
        }
    }
    starts
}

/// Words with the range of their tokens. Marks belong to the word before them, because they carry
/// no space of their own.
fn split(tokenizer: &Tokenizer, tokens: &[u32], by_character: bool) -> Vec<(String, usize, usize)> {
    let mut words: Vec<(Vec<u8>, usize, usize)> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let bytes = tokenizer.token_bytes(*token);
        let begins_word = match words.last() {
            None => true,
            // A character that is spread over tokens stays together.
            Some((word, ..)) if std::str::from_utf8(word).is_err() => false,
            Some(_) if by_character => starts_with_letter(bytes),
            Some(_) => bytes.first() == Some(&b' '),
        };
        match words.last_mut() {
            Some((word, _, end)) if !begins_word => {
                word.extend_from_slice(bytes);
                *end = index + 1;
            }
            _ => words.push((bytes.to_vec(), index, index + 1)),
        }
    }
    words
        .into_iter()
        .map(|(bytes, begin, end)| (String::from_utf8_lossy(&bytes).trim().to_owned(), begin, end))
        .filter(|(word, ..)| !word.is_empty())
        .collect()
}

/// Not a mark; a part of a character counts as a letter.
fn starts_with_letter(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or(true, |text| text.trim_start().chars().next().is_some_and(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_the_strongest_attention() {
        // Token 0 from position 0, token 1 from 2, token 2 from 5.
        let attention = [
            9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, //
            0.0, 0.0, 9.0, 9.0, 9.0, 0.0, 0.0, //
            0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0,
        ];
        assert_eq!(token_starts(&attention, 3, 7), [0, 2, 5]);
    }

    #[test]
    fn more_tokens_than_positions_still_have_times() {
        assert_eq!(token_starts(&[1.0; 10], 5, 2).len(), 5);
        assert_eq!(token_starts(&[1.0; 4], 1, 4), [0]);
        assert_eq!(token_starts(&[1.0], 1, 1), [0]);
    }

    #[test]
    fn the_median_ignores_a_single_peak() {
        let row = [0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0];
        assert!(median_around(&row, 3).abs() < f32::EPSILON);
        let row = [5.0; 3];
        assert!((median_around(&row, 2) - 5.0).abs() < f32::EPSILON);
    }

    #[test]
    fn pauses_belong_to_no_word() {
        // A second of quiet, half a second of sound, 60 ms of quiet, sound, quiet.
        let sound = |milliseconds: usize, level: f32| vec![level; milliseconds * 16];
        let samples = [sound(1000, 0.001), sound(500, 0.5), sound(60, 0.001), sound(500, 0.5), sound(1000, 0.001)];
        let loudness = Loudness::of(&samples.concat());
        let check = |begin, end, expected| assert_eq!(loudness.trim(begin, end), expected);
        check(0, 75, (50, 75));
        check(60, 120, (60, 103));
        check(20, 140, (50, 103));
        // Closures stay; a word that is all quiet stays too.
        check(75, 100, (75, 100));
        check(0, 30, (0, 30));
        check(140, 400, (140, 400));
        check(50, 50, (50, 50));
    }

    #[test]
    fn columns_get_mean_zero_and_deviation_one() {
        let mut table = vec![1.0, 5.0, 3.0, 5.0];
        standardise_columns(&mut table, 2);
        assert_eq!(table, [-1.0, 0.0, 1.0, 0.0]);
    }
}
