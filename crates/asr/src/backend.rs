//! The seam between the engine and the server: encoded audio in, a transcript out.
//!
//! - [`Backend`]: what a loaded model can do; [`ModelInfo`] says which one it is.
//! - [`AudioInput`], [`TranscribeOptions`]: one request. [`CancelFlag`]: how to end it early.
//! - [`Transcript`] with its [`Segment`]s and [`Word`]s: the answer.
//! - [`TranscribeError`]: why there is none, and whose fault it is ([`ErrorClass`]).
//!
//! Rule: plain data and one trait; neither HTTP nor tensors appear here.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// A loaded speech model.
///
/// Calls block for about the audio's duration times the real-time factor, and may run at the same
/// time on any number of threads: the weights are shared, everything else belongs to the call.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Which model this is and how it was loaded.
    fn model(&self) -> &ModelInfo;

    /// Transcribes one recording from its first to its last sample.
    ///
    /// Looks at `cancel` between two decoded tokens, so a cancelled call returns within some
    /// 100 ms of compute time.
    ///
    /// # Errors
    /// See [`TranscribeError`]; [`TranscribeError::class`] says who has to do something about it.
    fn transcribe(
        &self,
        audio: AudioInput,
        options: &TranscribeOptions,
        cancel: &CancelFlag,
    ) -> Result<Transcript, TranscribeError>;
}

/// What is known about a loaded model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name under which clients see it, as `tiny.en`.
    pub id: String,
    /// Where it computes: `cpu` or `cuda:N`.
    pub device: String,
    /// Read, convert and warm-up, without download.
    pub load_seconds: f64,
    /// What it understands.
    pub languages: Languages,
}

/// The languages that a model understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Languages {
    /// English alone.
    English,
    /// Several; two- or three-letter codes as in ISO 639 (`en`, `de`, `haw`).
    Many(Vec<String>),
}

impl Languages {
    /// Whether the model understands the language with this code.
    #[must_use]
    pub fn contains(&self, code: &str) -> bool {
        match self {
            Self::English => code == "en",
            Self::Many(codes) => codes.iter().any(|known| known == code),
        }
    }
}

/// One recording as the client sent it: a whole file, still encoded.
#[derive(Clone, Debug)]
pub struct AudioInput {
    /// The file's bytes.
    pub encoded: Bytes,
    /// The file's name, if the client gave one; its extension is a hint about the format.
    pub file_name: Option<String>,
}

/// How to transcribe.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscribeOptions {
    /// The spoken language's code; `None` detects it (multilingual models only).
    pub language: Option<String>,
    /// Text before the recording's begin, as context and as a hint about spelling. The model sees
    /// its last 223 tokens.
    pub prompt: Option<String>,
    /// 0 to 1. Zero is greedy, with rising temperatures only where greedy decoding fails.
    pub temperature: f32,
    /// Fill [`Transcript::words`]; costs a second decoder pass.
    pub word_timestamps: bool,
    /// Split the text into segments at the model's own timestamps; else there is one segment for
    /// each stretch of audio that was decoded at once.
    pub segment_timestamps: bool,
    /// Seed of the sampling above temperature zero: the same call gives the same answer.
    pub seed: u64,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            prompt: None,
            temperature: 0.0,
            word_timestamps: false,
            segment_timestamps: false,
            seed: 0,
        }
    }
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The whole text, trimmed; empty when nobody spoke.
    pub text: String,
    /// The code of the language spoken (or given, or the model's only one).
    pub language: String,
    /// The recording's duration.
    pub duration_seconds: f64,
    /// In order, not overlapping.
    pub segments: Vec<Segment>,
    /// In order; empty unless asked for.
    pub words: Vec<Word>,
}

/// A stretch of speech with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Position in the transcript, from 0.
    pub id: usize,
    /// From the recording's begin.
    pub start_seconds: f64,
    /// From the recording's begin; not before `start_seconds`.
    pub end_seconds: f64,
    /// With the leading space that the model writes.
    pub text: String,
    /// The model's text tokens.
    pub tokens: Vec<u32>,
    /// Mean of the tokens' natural log probabilities; 0 is certain.
    pub avg_logprob: f64,
    /// Size of the text over its compressed size; above 2.4 it repeats itself.
    pub compression_ratio: f64,
    /// The model's own probability that nobody speaks in the window.
    pub no_speech_prob: f64,
    /// The temperature at which the text was decoded.
    pub temperature: f32,
}

/// A word with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// With its punctuation, without spaces.
    pub word: String,
    /// From the recording's begin.
    pub start_seconds: f64,
    /// From the recording's begin; not before `start_seconds`.
    pub end_seconds: f64,
}

/// Ends a call early: set by whoever no longer wants the answer, seen by the compute thread.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the call to end. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the call should end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// [`TranscribeError::Cancelled`] once the flag is set, for `?` inside loops.
    ///
    /// # Errors
    /// Only that one.
    pub fn check(&self) -> Result<(), TranscribeError> {
        if self.is_cancelled() { Err(TranscribeError::Cancelled) } else { Ok(()) }
    }
}

/// Who has to do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The client: another request would do.
    Client,
    /// Nobody: the client has gone, or the server ended the call.
    Cancelled,
    /// The operator: the server is at fault.
    Server,
}

/// Why there is no transcript.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// No known container or codec begins like this.
    #[error("the file is not audio in a supported format ({SUPPORTED_FORMATS})")]
    NotAudio,
    /// The container is known, but what is in it is not supported.
    #[error("unsupported codec: {codec} (supported: {SUPPORTED_FORMATS})")]
    UnsupportedCodec {
        /// The codec's name, as `opus`.
        codec: String,
    },
    /// The file has no bytes, or its audio no samples.
    #[error("the file holds no audio")]
    Empty,
    /// The file ends before its own headers say.
    #[error("the file is truncated{}", truncated_after(*decoded_seconds))]
    Truncated {
        /// How much could be decoded; zero if nothing was.
        decoded_seconds: f64,
    },
    /// The file has a known begin, but its content cannot be decoded.
    #[error("the file is damaged: {reason}")]
    Damaged {
        /// What the decoder says.
        reason: String,
    },
    /// The recording is longer than this server accepts.
    #[error("the recording is longer than {limit_seconds} s")]
    TooLong {
        /// The longest accepted.
        limit_seconds: u64,
    },
    /// The file has more bytes than this server accepts.
    #[error("the file is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The largest accepted.
        limit_bytes: u64,
    },
    /// The model does not know the language.
    #[error("the model does not understand language `{language}`")]
    UnsupportedLanguage {
        /// The code asked for.
        language: String,
    },
    /// An option is outside its range, or the model cannot do it.
    #[error("invalid option `{option}`: {reason}")]
    InvalidOption {
        /// The field of [`TranscribeOptions`].
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The [`CancelFlag`] was set.
    #[error("the transcription was cancelled")]
    Cancelled,
    /// The engine failed: a bug, or no memory.
    #[error("the speech model failed")]
    Internal {
        /// What failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What [`TranscribeError::NotAudio`] tells the client.
pub const SUPPORTED_FORMATS: &str = "wav, flac, mp3, ogg vorbis, m4a aac";

impl TranscribeError {
    /// Who has to do something about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NotAudio
            | Self::UnsupportedCodec { .. }
            | Self::Empty
            | Self::Truncated { .. }
            | Self::Damaged { .. }
            | Self::TooLong { .. }
            | Self::TooLarge { .. }
            | Self::UnsupportedLanguage { .. }
            | Self::InvalidOption { .. } => ErrorClass::Client,
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Internal { .. } => ErrorClass::Server,
        }
    }

    /// Wraps a failure of the engine.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal { source: source.into() }
    }
}

fn truncated_after(seconds: f64) -> String {
    if seconds > 0.0 { format!(" after {seconds:.1} s of audio") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_flag_is_seen_by_its_clones() {
        let flag = CancelFlag::new();
        let seen = flag.clone();
        assert!(seen.check().is_ok());
        flag.cancel();
        assert!(matches!(seen.check(), Err(TranscribeError::Cancelled)));
    }

    #[test]
    fn errors_are_classified_by_who_acts() {
        let check = |error: TranscribeError, class, text: &str| {
            assert_eq!(error.class(), class);
            assert_eq!(error.to_string(), text);
        };
        check(
            TranscribeError::UnsupportedCodec { codec: "opus".into() },
            ErrorClass::Client,
            "unsupported codec: opus (supported: wav, flac, mp3, ogg vorbis, m4a aac)",
        );
        check(
            TranscribeError::TooLong { limit_seconds: 7200 },
            ErrorClass::Client,
            "the recording is longer than 7200 s",
        );
        check(TranscribeError::Cancelled, ErrorClass::Cancelled, "the transcription was cancelled");
        check(TranscribeError::internal("no memory"), ErrorClass::Server, "the speech model failed");
    }
}
