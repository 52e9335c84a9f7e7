//! An open-loop load generator for speech recognition, and its report.
//!
//! - [`run()`]: sends recordings to OpenAI's transcription API as [`LoadConfig`] says; gives a [`Report`].
//! - [`Rate`], [`Spacing`]: when requests are due: constant, steps, ramps; evenly or by chance.
//! - [`Clips`]: what is sent. [`Progress`]: told once a second. [`Failure`]: how requests fail.
//! - [`observe`]: what an engine saw meanwhile, as [`ObservedPanel`]s under the run's own.
//! - [`wer`]: how far a transcript is from the text that was read.
//!
//! Rule: a request's latency counts from when it was due, not from when it could be sent.
#![forbid(unsafe_code)]

mod arrivals;
mod clips;
mod config;
mod histogram;
mod observed;
mod rate;
mod recorder;
mod report;
mod run;
mod transport;
pub mod wer;

#[cfg(test)]
mod tests;

pub use arrivals::Spacing;
pub use clips::{Clip, Clips, ClipsError, MAX_CLIP_BYTES, MAX_CLIPS, MAX_TOTAL_BYTES};
pub use config::{LoadConfig, LoadError, MAX_CONCURRENCY, MAX_DURATION, Mode};
pub use histogram::Latencies;
pub use observed::{ObservedPanel, observe};
pub use rate::{MAX_RATE, MAX_SEGMENTS, Rate, RateError};
pub use recorder::Progress;
pub use report::{FactorQuantiles, Moment, Quantiles, Report};
pub use run::run;
pub use transport::Failure;
