//! Speech recognition: audio, the Whisper model, the queue, the HTTP API and its metrics.
//!
//! - [`backend`]: the seam between the two halves: [`Backend`] turns encoded audio into a
//!   [`Transcript`], blocking, on a compute thread.
//!
//! Rule: the engine half (audio, model, decoding) knows no HTTP and no async; the server half
//! (queue, HTTP, metrics) knows no tensors.

pub mod backend;

pub use backend::{
    AudioInput, Backend, CancelFlag, ErrorClass, Languages, ModelInfo, Segment, TranscribeError, TranscribeOptions,
    Transcript, Word,
};
