//! Recordings to transcripts: the engine behind the seam.
//!
//! - [`WhisperBackend`]: a loaded model with its compute threads.
//! - [`cut`]: windows of at most 30 s. [`decode`]: a window to tokens, with [`beam`] in noise.
//!   [`rules`]: which token may follow. [`segments`]: tokens to text with times. [`align`]: times of words.
//!
//! ```text
//! AudioReader ─▶ Cutter ─▶ speech? ─▶ WindowDecoder ─▶ segments ─▶ words ─▶ Transcript
//!                            └─ nobody speaks: nothing is decoded
//! ```
//!
//! Rule: one window is in work at a time; what is kept of the past is its text.

pub mod align;
pub mod beam;
pub mod cut;
pub mod decode;
pub mod rules;
pub mod segments;

use std::path::PathBuf;

use candle_core::Device;
use datamodel::Clock;

use self::cut::{Cutter, Window};
use self::decode::{Request, WindowDecoder};
use self::rules::TokenRules;
use self::segments::WindowText;
use crate::audio::{AudioLimits, AudioReader, SAMPLE_RATE};
use crate::backend::{
    AudioInput, Backend, CancelFlag, Languages, ModelInfo, TranscribeError, TranscribeOptions, Transcript,
};
use crate::vad;
use crate::whisper::model::MAX_TEXT_POSITIONS;
use crate::whisper::{LoadError, Model};

/// As many tokens of the prompt are shown to the model; one less than half of what it holds.
const MAX_PROMPT_TOKENS: usize = MAX_TEXT_POSITIONS / 2 - 1;
/// Longest prompt that is looked at, in bytes; tokens have four on average.
const MAX_PROMPT_BYTES: usize = 16 * MAX_PROMPT_TOKENS;

/// Where the model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeDevice {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this ordinal; needs a build with the feature `cuda`.
    Cuda(usize),
}

impl std::fmt::Display for ComputeDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// How to load a model.
#[derive(Clone, Debug)]
pub struct WhisperConfig {
    /// The folder with the model's files.
    pub folder: PathBuf,
    /// The name under which clients see it.
    pub id: String,
    /// Where it computes.
    pub device: ComputeDevice,
    /// Threads that compute, for all calls together. One for each call that runs at the same time
    /// gives the best throughput; more make a single call faster. Zero counts as one.
    pub threads: usize,
    /// The largest recordings accepted.
    pub limits: AudioLimits,
}

/// A loaded Whisper model.
#[derive(Debug)]
pub struct WhisperBackend {
    model: Model,
    rules: TokenRules,
    info: ModelInfo,
    limits: AudioLimits,
    threads: rayon::ThreadPool,
}

impl WhisperBackend {
    /// Reads, converts and warms up a model: some 0.3 s for tiny.en, then a second of silence is
    /// transcribed, so that the first request finds everything paged in.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(config: &WhisperConfig, clock: &dyn Clock) -> Result<Self, LoadError> {
        let started = clock.now();
        let device = open_device(config.device)?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads.max(1))
            .thread_name(|i| format!("asr-compute-{i}"))
            .build()
            .map_err(|error| LoadError::Prepare { source: error.into() })?;
        let model = threads.install(|| Model::load(&config.folder, &device))?;
        let rules = TokenRules::new(model.tokenizer.special(), &model.generation);
        let languages = languages_of(&model);
        let mut backend = Self {
            rules,
            info: ModelInfo { id: config.id.clone(), device: config.device.to_string(), load_seconds: 0.0, languages },
            model,
            limits: config.limits,
            threads,
        };
        backend.warm_up()?;
        backend.info.load_seconds = clock.now().since(started).as_secs_f64();
        tracing::debug!(model = %backend.info.id, seconds = backend.info.load_seconds, "model loaded");
        Ok(backend)
    }

    fn warm_up(&self) -> Result<(), LoadError> {
        let silence = vec![0.0; SAMPLE_RATE as usize];
        let cancel = CancelFlag::new();
        let decoder = WindowDecoder::new(&self.model, &self.rules, &cancel);
        let warmed = self.threads.install(|| decoder.warm_up(&silence));
        warmed.map_err(|error| LoadError::Prepare { source: error.into() })
    }

    fn run(
        &self,
        audio: AudioInput,
        options: &TranscribeOptions,
        cancel: &CancelFlag,
    ) -> Result<Transcript, TranscribeError> {
        let language = self.language_token(options.language.as_deref())?;
        if !(0.0..=1.0).contains(&options.temperature) {
            return Err(TranscribeError::InvalidOption {
                option: "temperature",
                reason: format!("{} is not between 0 and 1", options.temperature),
            });
        }
        let mut reader = AudioReader::open(audio, self.limits)?;
        let mut cutter = Cutter::default();
        let mut recording = Recording {
            backend: self,
            options,
            decoder: WindowDecoder::new(&self.model, &self.rules, cancel),
            prompt: self.prompt_tokens(options.prompt.as_deref()),
            language,
            texts: Vec::new(),
        };
        while reader.read(cutter.input())? {
            cancel.check()?;
            while let Some(window) = cutter.next_window() {
                recording.add(&window)?;
            }
        }
        let total = cutter.total();
        while let Some(window) = cutter.next_window().or_else(|| cutter.last_window()) {
            recording.add(&window)?;
        }
        Ok(recording.finish(total as f64 / f64::from(SAMPLE_RATE)))
    }

    /// The language's token; `None` to detect it, or if the model has only one.
    fn language_token(&self, code: Option<&str>) -> Result<Option<u32>, TranscribeError> {
        let Some(code) = code else { return Ok(None) };
        if !self.info.languages.contains(code) {
            return Err(TranscribeError::UnsupportedLanguage { language: code.to_owned() });
        }
        if !self.model.is_multilingual() {
            return Ok(None);
        }
        let languages = &self.model.tokenizer.special().languages;
        Ok(languages.iter().find(|(known, _)| known == code).map(|(_, token)| *token))
    }

    /// The last tokens of the prompt.
    fn prompt_tokens(&self, prompt: Option<&str>) -> Vec<u32> {
        let prompt = prompt.map(str::trim).unwrap_or_default();
        if prompt.is_empty() {
            return Vec::new();
        }
        let mut begin = prompt.len().saturating_sub(MAX_PROMPT_BYTES);
        while !prompt.is_char_boundary(begin) {
            begin += 1;
        }
        let text = format!(" {}", prompt.get(begin..).unwrap_or_default());
        let mut tokens = self.model.tokenizer.encode(&text);
        tokens.drain(..tokens.len().saturating_sub(MAX_PROMPT_TOKENS));
        tokens
    }
}

impl Backend for WhisperBackend {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn transcribe(
        &self,
        audio: AudioInput,
        options: &TranscribeOptions,
        cancel: &CancelFlag,
    ) -> Result<Transcript, TranscribeError> {
        self.threads.install(|| self.run(audio, options, cancel))
    }
}

/// A recording in work.
struct Recording<'a> {
    backend: &'a WhisperBackend,
    options: &'a TranscribeOptions,
    decoder: WindowDecoder<'a>,
    prompt: Vec<u32>,
    /// Given, or detected in the first window with speech.
    language: Option<u32>,
    texts: Vec<WindowText>,
}

impl Recording<'_> {
    /// Transcribes the next window.
    fn add(&mut self, window: &Window) -> Result<(), TranscribeError> {
        for speech in vad::speech_spans(&window.samples) {
            let begin = window.offset + speech.start as u64;
            let samples = window.samples.get(speech).unwrap_or_default();
            self.add_speech(samples, begin as f64 / f64::from(SAMPLE_RATE))?;
        }
        Ok(())
    }

    fn add_speech(&mut self, samples: &[f32], begin_seconds: f64) -> Result<(), TranscribeError> {
        let model = &self.backend.model;
        let request = Request {
            prompt: &self.prompt,
            language: self.language,
            timestamps: self.options.segment_timestamps,
            temperature: self.options.temperature,
            seed: self.options.seed,
        };
        let (decoded, features) = self.decoder.decode(samples, &request)?;
        self.language = decoded.language;
        if decoded.tokens.is_empty() {
            return Ok(());
        }
        let mut text = WindowText::new(&model.tokenizer, decoded, begin_seconds, samples.len());
        if self.options.word_timestamps {
            text.words =
                align::words(model, &features, &text, self.language, samples).map_err(TranscribeError::internal)?;
        }
        self.texts.push(text);
        Ok(())
    }

    fn finish(self, duration_seconds: f64) -> Transcript {
        let languages = &self.backend.model.tokenizer.special().languages;
        let language = languages.iter().find(|(_, token)| Some(*token) == self.language);
        let language = language.map_or("en", |(code, _)| code.as_str()).to_owned();
        segments::transcript(self.texts, language, duration_seconds)
    }
}

fn languages_of(model: &Model) -> Languages {
    if !model.is_multilingual() {
        return Languages::English;
    }
    let codes = model.tokenizer.special().languages.iter().map(|(code, _)| code.clone());
    Languages::Many(codes.collect())
}

fn open_device(device: ComputeDevice) -> Result<Device, LoadError> {
    match device {
        ComputeDevice::Cpu => Ok(Device::Cpu),
        ComputeDevice::Cuda(ordinal) => Device::new_cuda(ordinal)
            .map_err(|error| LoadError::Device { device: device.to_string(), reason: error.to_string() }),
    }
}
