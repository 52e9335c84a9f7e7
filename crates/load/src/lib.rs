//! An open-loop load generator for speech recognition, and its report.
//!
//! - [`wer`]: how far a transcript is from the text that was read.
//!
//! Rule: a request's latency counts from when it was due, not from when it could be sent.
#![forbid(unsafe_code)]

pub mod wer;
