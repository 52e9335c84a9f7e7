//! Speech recognition: audio, the Whisper model, the queue, the HTTP API and its metrics.
//!
//! - [`backend`]: the seam between the two halves: [`Backend`] turns encoded audio into a
//!   [`Transcript`], blocking, on a compute thread.
//! - [`audio`]: files in every supported format to mono samples at 16 kHz.
//! - [`vad`]: where somebody speaks. [`whisper`]: the network. [`transcribe`]: the backend on them.
//! - [`store`]: model files: where they are kept, and how they come there.
//! - [`server`]: OpenAI's transcription API over HTTP, with the queue and the metrics.
//!
//! Rule: the engine half (audio, model, decoding) knows no HTTP and no async; the server half
//! (queue, HTTP, metrics) knows no tensors.

pub mod audio;
pub mod backend;
mod gpu;
pub mod server;
pub mod store;
pub mod transcribe;
pub mod vad;
pub mod whisper;

pub use backend::{
    AudioInput, Backend, CancelFlag, ErrorClass, Languages, ModelInfo, Segment, TranscribeError, TranscribeOptions,
    Transcript, Word,
};
