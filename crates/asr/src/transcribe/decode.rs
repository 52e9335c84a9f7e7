//! One window of audio to one text.
//!
//! - [`WindowDecoder`]: encodes, decodes, judges the result and tries again if it is bad.
//! - [`Decoded`]: the text, and how sure the model is of it.
//!
//! ```text
//! short window ─unsure▶ full window ─bad▶ full window at 0.2, 0.5, 0.8 ─▶ the best
//! └── greedy; in noise with a beam ──┘
//! ```
//!
//! The encoder's cost grows with the window, so it gets what the audio needs. Below ten seconds
//! small models fall into loops; in the rare case that they do above, the window they were trained
//! on helps.
//!
//! Rule: the number of attempts and the number of tokens of each are bounded by the audio's length.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::beam::{Beam, Text};
use super::rules::{Timestamps, TokenRules, log_sum_exp};
use crate::audio::SAMPLE_RATE;
use crate::backend::{CancelFlag, TranscribeError};
use crate::whisper::mel::{FRAMES_PER_SECOND, HOP};
use crate::whisper::model::{MAX_AUDIO_POSITIONS, MAX_TEXT_POSITIONS};
use crate::whisper::{AudioFeatures, DecoderState, Model};

/// Frames of the full window of 30 s.
const FULL_FRAMES: usize = 2 * MAX_AUDIO_POSITIONS;
/// The shortest window encoded: tiny.en makes 5 % errors at 10 s, 14 % at 7 s, 22 % at 5 s.
const MIN_FRAMES: usize = 10 * FRAMES_PER_SECOND;
/// Silence encoded behind the audio; with 1 s tiny.en loops.
const PADDING_FRAMES: usize = 3 * FRAMES_PER_SECOND;
/// Temperatures tried after greedy decoding failed on the full window.
const FALLBACK_TEMPERATURES: [f32; 3] = [0.2, 0.5, 0.8];
/// Below this mean log probability a text is guesswork.
const MIN_AVG_LOGPROB: f64 = -1.0;
/// The model says that nobody speaks.
const MAX_NO_SPEECH_PROB: f64 = 0.6;
/// And below this mean log probability it is believed: speech has -0.6 and above.
const MAX_SILENCE_LOGPROB: f64 = -0.7;
/// The most that quiet audio is amplified: 60 dB, ten times the last bit of 16.
const MAX_GAIN: f32 = 1000.0;
/// Above this mean log probability a short window is kept: clean speech has -0.1 to -0.4. Asking for
/// more would cost three times the processor time on average.
const SURE_AVG_LOGPROB: f64 = -0.5;
/// Noise less than 14 dB below the speech. There the likeliest token is often the wrong one, and a beam
/// saves a fifth of the errors of tiny.en for twice the decoder's time; clean speech does without.
const NOISY_FLOOR: f32 = 0.04;
/// Above this ratio a text repeats itself.
const MAX_COMPRESSION_RATIO: f64 = 2.4;
/// Nobody talks faster than 5 words, some 8 tokens, a second.
const TOKENS_PER_SECOND: usize = 8;
/// Beside them the marks at begin and end, and timestamps.
const EXTRA_TOKENS: usize = 12;

/// A text, and how sure the model is of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Text tokens and, if asked for, timestamps.
    pub tokens: Vec<u32>,
    /// Mean of the tokens' natural log probabilities.
    pub avg_logprob: f64,
    /// Size of the text over its compressed size.
    pub compression_ratio: f64,
    /// The model's probability that nobody speaks.
    pub no_speech_prob: f64,
    /// At which the text was decoded.
    pub temperature: f32,
    /// Whether a repetition was cut off.
    pub looped: bool,
    /// The language's token, as asked for or as heard; none for English-only models.
    pub language: Option<u32>,
}

impl Decoded {
    /// Good enough not to try the full window, on which tiny.en makes 2 to 3 points fewer errors.
    fn is_sure(&self) -> bool {
        self.is_good() && self.avg_logprob >= SURE_AVG_LOGPROB
    }

    fn is_good(&self) -> bool {
        !self.looped && self.avg_logprob >= MIN_AVG_LOGPROB && self.compression_ratio <= MAX_COMPRESSION_RATIO
    }
}

/// What is asked of the decoder for each window of a recording.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Tokens of the text before, as context.
    pub prompt: &'a [u32],
    /// The language's token; none to hear which it is, and for English-only models.
    pub language: Option<u32>,
    /// Whether to write timestamps.
    pub timestamps: bool,
    /// The first temperature.
    pub temperature: f32,
    /// Of the sampling.
    pub seed: u64,
}

/// Decodes the windows of one recording.
#[derive(Debug)]
pub struct WindowDecoder<'a> {
    model: &'a Model,
    rules: &'a TokenRules,
    cancel: &'a CancelFlag,
}

/// A window that was encoded, with the text's begin already decoded.
#[derive(Debug)]
struct Encoded {
    features: AudioFeatures,
    /// Behind `<|startoftranscript|>`.
    state: DecoderState,
    no_speech_prob: f64,
    frames: usize,
    /// Logits at that point: the likelihood of each language.
    logits: Vec<f32>,
}

impl<'a> WindowDecoder<'a> {
    /// For one call.
    #[must_use]
    pub const fn new(model: &'a Model, rules: &'a TokenRules, cancel: &'a CancelFlag) -> Self {
        Self { model, rules, cancel }
    }

    /// Runs the encoder and the begin of a text once, so that the first call finds everything paged in.
    ///
    /// # Errors
    /// [`TranscribeError::Cancelled`], [`TranscribeError::Internal`].
    pub fn warm_up(&self, samples: &[f32]) -> Result<(), TranscribeError> {
        self.encode(samples, window_frames(samples), &[]).map(drop)
    }

    /// The text of a window, and the audio features it was decoded from.
    ///
    /// # Errors
    /// [`TranscribeError::Cancelled`], [`TranscribeError::Internal`].
    pub fn decode(&self, samples: &[f32], request: &Request<'_>) -> Result<(Decoded, AudioFeatures), TranscribeError> {
        let mut encoded = self.encode(samples, window_frames(samples), request.prompt)?;
        let language = self.language(&encoded, request)?;
        let request = &Request { language, ..request.clone() };
        let search = if request.temperature > 0.0 {
            Search::Sample(request.temperature)
        } else if is_noisy(samples) {
            Search::Beam
        } else {
            Search::Sample(0.0)
        };
        let mut best = self.attempt(&encoded, samples, request, search)?;
        if !best.is_sure() && encoded.frames < FULL_FRAMES {
            let full = self.encode(samples, FULL_FRAMES, request.prompt)?;
            let again = self.attempt(&full, samples, request, search)?;
            if better(&again, &best) {
                (best, encoded) = (again, full);
            }
        }
        for temperature in FALLBACK_TEMPERATURES {
            if best.is_good() || is_silence(&best) || request.temperature >= temperature {
                break;
            }
            let again = self.attempt(&encoded, samples, request, Search::Sample(temperature))?;
            if better(&again, &best) {
                best = again;
            }
        }
        if is_silence(&best) {
            best.tokens.clear();
        }
        Ok((best, encoded.features))
    }

    /// The language's token: as asked for, else the likeliest one; none for English-only models. The
    /// prompt has no say in it: its language need not be the speaker's.
    fn language(&self, encoded: &Encoded, request: &Request<'_>) -> Result<Option<u32>, TranscribeError> {
        if request.language.is_some() || !self.model.is_multilingual() {
            return Ok(request.language);
        }
        let special = self.model.tokenizer.special();
        let network = &self.model.network;
        let without_prompt;
        let logits = if request.prompt.is_empty() {
            &encoded.logits
        } else {
            let step = network.step(&mut network.begin(&encoded.features), &[special.start]);
            without_prompt = step.map_err(TranscribeError::internal)?;
            &without_prompt
        };
        let logit = |id: u32| usize::try_from(id).ok().and_then(|i| logits.get(i)).copied();
        let languages = special.languages.iter().filter_map(|(_, id)| Some((*id, logit(*id)?)));
        Ok(languages.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id))
    }

    fn encode(&self, samples: &[f32], frames: usize, prompt: &[u32]) -> Result<Encoded, TranscribeError> {
        self.cancel.check()?;
        let mel = self.model.mel.log_mel(&at_full_loudness(samples), frames);
        let network = &self.model.network;
        let features = network.encode(mel).map_err(TranscribeError::internal)?;
        self.cancel.check()?;
        let special = self.model.tokenizer.special();
        let mut state = network.begin(&features);
        let mut begin = Vec::new();
        if !prompt.is_empty() {
            begin.push(special.previous);
            begin.extend_from_slice(prompt);
        }
        begin.push(special.start);
        let logits = network.step(&mut state, &begin).map_err(TranscribeError::internal)?;
        let no_speech = usize::try_from(special.no_speech).ok().and_then(|i| logits.get(i));
        let no_speech = no_speech.copied().unwrap_or(f32::NEG_INFINITY);
        let no_speech_prob = f64::from((no_speech - log_sum_exp(&logits)).exp());
        Ok(Encoded { features, state, no_speech_prob, frames, logits })
    }

    /// Decodes once.
    fn attempt(
        &self,
        encoded: &Encoded,
        samples: &[f32],
        request: &Request<'_>,
        search: Search,
    ) -> Result<Decoded, TranscribeError> {
        let special = self.model.tokenizer.special();
        let mut state = encoded.state.clone();
        let mut begin: Vec<u32> = Vec::new();
        if let Some(language) = request.language {
            begin.extend([language, special.transcribe]);
        }
        let timestamps = if request.timestamps {
            // One step of the timestamps is two frames.
            Timestamps::UpTo(u32::try_from(samples.len().div_ceil(2 * HOP)).unwrap_or(u32::MAX))
        } else {
            begin.push(special.no_timestamps);
            Timestamps::Without
        };
        let logits = if begin.is_empty() { encoded.logits.clone() } else { self.step(&mut state, &begin)? };
        let budget = EXTRA_TOKENS + samples.len() * TOKENS_PER_SECOND / SAMPLE_RATE as usize;
        let budget = budget.min(MAX_TEXT_POSITIONS.saturating_sub(state.position() + 1));
        let text = match search {
            Search::Sample(temperature) => {
                let sampler = Sampler::new(temperature, request.seed);
                self.sample(logits, state, timestamps, budget, sampler)?
            }
            Search::Beam => {
                Beam { rules: self.rules, end: special.end, timestamps, budget }.search(logits, |parents, tokens| {
                    self.cancel.check()?;
                    self.model.network.step_each(&mut state, parents, tokens).map_err(TranscribeError::internal)
                })?
            }
        };
        Ok(Decoded {
            avg_logprob: text.avg_logprob(),
            compression_ratio: compression_ratio(&self.model.tokenizer.decode(&text.tokens)),
            tokens: text.tokens,
            no_speech_prob: encoded.no_speech_prob,
            temperature: match search {
                Search::Sample(temperature) => temperature,
                Search::Beam => 0.0,
            },
            looped: text.looped,
            language: request.language,
        })
    }

    /// Takes one token after another.
    fn sample(
        &self,
        mut logits: Vec<f32>,
        mut state: DecoderState,
        timestamps: Timestamps,
        budget: usize,
        mut sampler: Sampler,
    ) -> Result<Text, TranscribeError> {
        let mut text = Text::default();
        loop {
            self.rules.apply(&mut logits, &text.tokens, timestamps);
            let (token, logprob) = sampler.pick(&logits);
            text.sum_logprob += logprob;
            if token == self.model.tokenizer.special().end {
                return Ok(text);
            }
            text.push(token);
            if text.looped || text.tokens.len() >= budget {
                return Ok(text);
            }
            logits = self.step(&mut state, &[token])?;
        }
    }

    fn step(&self, state: &mut DecoderState, tokens: &[u32]) -> Result<Vec<f32>, TranscribeError> {
        self.cancel.check()?;
        self.model.network.step(state, tokens).map_err(TranscribeError::internal)
    }
}

/// How the text of a window is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Search {
    /// One token after another, drawn at this temperature; at zero the likeliest.
    Sample(f32),
    /// Several texts side by side, the likeliest tokens of each.
    Beam,
}

/// Picks tokens.
struct Sampler {
    temperature: f32,
    rng: StdRng,
}

impl Sampler {
    fn new(temperature: f32, seed: u64) -> Self {
        Self { temperature, rng: StdRng::seed_from_u64(seed) }
    }

    /// A token, and its natural log probability at temperature one.
    fn pick(&mut self, logits: &[f32]) -> (u32, f64) {
        let sum = log_sum_exp(logits);
        let likeliest = (0_u32..)
            .zip(logits)
            .fold((0, f32::NEG_INFINITY), |best, (id, logit)| if *logit > best.1 { (id, *logit) } else { best });
        let picked = if self.temperature > 0.0 { self.sample(logits, likeliest) } else { likeliest };
        (picked.0, f64::from(picked.1 - sum))
    }

    /// Draws from the distribution at this temperature.
    fn sample(&mut self, logits: &[f32], likeliest: (u32, f32)) -> (u32, f32) {
        let weight = |logit: f32| ((logit - likeliest.1) / self.temperature).exp();
        let total: f32 = logits.iter().map(|logit| weight(*logit)).sum();
        let mut rest = self.rng.random::<f32>() * total;
        for (id, logit) in (0_u32..).zip(logits) {
            rest -= weight(*logit);
            if rest <= 0.0 && logit.is_finite() {
                return (id, *logit);
            }
        }
        likeliest
    }
}

/// Scales the loudest sample to one. The model hears absolute levels: without this, tiny.en makes
/// 3 points more errors at -30 dB, and 2 more in noise.
fn at_full_loudness(samples: &[f32]) -> Vec<f32> {
    let loudest = samples.iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
    let gain = if loudest > 0.0 { loudest.recip().min(MAX_GAIN) } else { 1.0 };
    samples.iter().map(|sample| sample * gain).collect()
}

/// Frames to encode for this much audio; even, because the encoder halves them.
fn window_frames(samples: &[f32]) -> usize {
    let needed = samples.len().div_ceil(HOP) + PADDING_FRAMES;
    needed.next_multiple_of(2).clamp(MIN_FRAMES, FULL_FRAMES)
}

/// Whether there is noise between the words. Of clean speech the quietest tenth lies 18 to 24 dB below
/// the mean, in noise only about as far as the speech stands out of it.
fn is_noisy(samples: &[f32]) -> bool {
    let power = |part: &[f32]| part.iter().map(|sample| sample * sample).sum::<f32>();
    let mut powers: Vec<f32> = samples.chunks_exact(2 * HOP).map(power).collect();
    powers.sort_by(f32::total_cmp);
    let mean = powers.iter().sum::<f32>() / powers.len() as f32;
    powers.get(powers.len() / 10).is_some_and(|quiet| *quiet > mean * NOISY_FLOOR)
}

/// Whether the first result is to be preferred: no loop before a loop, then by likelihood.
fn better(candidate: &Decoded, than: &Decoded) -> bool {
    let key =
        |decoded: &Decoded| (!decoded.looped, decoded.compression_ratio <= MAX_COMPRESSION_RATIO, decoded.avg_logprob);
    key(candidate) > key(than)
}

/// Whether the model itself says that nobody speaks, and its text is guesswork.
fn is_silence(decoded: &Decoded) -> bool {
    decoded.no_speech_prob > MAX_NO_SPEECH_PROB && decoded.avg_logprob < MAX_SILENCE_LOGPROB
}

/// Size of the text over its size after compression; 1 for an empty text.
fn compression_ratio(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a vector does not fail.
    match encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(compressed) if !text.is_empty() => text.len() as f64 / compressed.len() as f64,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_audio_between_ten_and_thirty_seconds() {
        let seconds = |s: usize| vec![0.0; s * SAMPLE_RATE as usize];
        assert_eq!(window_frames(&seconds(1)), 1000);
        assert_eq!(window_frames(&seconds(11)), 1400);
        assert_eq!(window_frames(&seconds(30)), 3000);
        assert_eq!(window_frames(&vec![0.0; 160 * 900 + 1]) % 2, 0);
    }

    #[test]
    fn noise_between_the_words_is_noticed() {
        let mut rng = StdRng::seed_from_u64(1);
        // A second of tone and one of nothing, in turn, over noise this far below.
        let mut speech = |noise: f32| -> Vec<f32> {
            let sample = |i: usize| if (i / 16_000).is_multiple_of(2) { (i as f32 * 0.1).sin() } else { 0.0 };
            (0..96_000).map(|i| sample(i) + noise * (rng.random::<f32>() * 2.0 - 1.0)).collect()
        };
        assert!(is_noisy(&speech(0.3)));
        assert!(!is_noisy(&speech(0.05)));
        assert!(!is_noisy(&speech(0.0)));
        assert!(!is_noisy(&[]));
    }

    #[test]
    fn repetition_shows_in_the_compression_ratio() {
        assert!(compression_ratio(&"thank you. ".repeat(20)) > MAX_COMPRESSION_RATIO);
        assert!(compression_ratio("he was not an ill disposed young man") < 1.5);
        assert!((compression_ratio("") - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_text_without_a_loop_is_better() {
        let decoded = |looped, avg_logprob| Decoded {
            tokens: Vec::new(),
            avg_logprob,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
            temperature: 0.0,
            looped,
            language: None,
        };
        assert!(better(&decoded(false, -2.0), &decoded(true, -0.1)));
        assert!(better(&decoded(false, -0.1), &decoded(false, -0.2)));
        assert!(!better(&decoded(true, -0.1), &decoded(false, -2.0)));
    }

    #[test]
    fn sampling_is_repeatable_and_follows_the_likelihood() {
        let logits = [0.0, 3.0, f32::NEG_INFINITY, 1.0];
        let draw = |temperature, seed| {
            let mut sampler = Sampler::new(temperature, seed);
            (0..200).map(|_| sampler.pick(&logits).0).collect::<Vec<_>>()
        };
        assert_eq!(draw(1.0, 7), draw(1.0, 7));
        assert_ne!(draw(1.0, 7), draw(1.0, 8));
        assert!(draw(0.0, 7).iter().all(|token| *token == 1));
        let drawn = draw(1.0, 7);
        assert!(!drawn.contains(&2));
        let likeliest = drawn.iter().filter(|token| **token == 1).count();
        assert!((140..190).contains(&likeliest), "{likeliest}");
    }
}
