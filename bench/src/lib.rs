//! Speech recognition pods that do not exist, for measuring a Prometheus-compatible engine.
//!
//! - [`shape`]: the 100 series of a pod, and how their values move from one scrape to the next.
//! - [`serve`]: all pods behind one port, a page each.
//! - [`push`]: the same pods as history, by remote write 1.0.
//!
//! Rule: cheap next to what is measured, and the same for every engine: the same seed gives the same values.
#![forbid(unsafe_code)]

pub mod push;
pub mod serve;
pub mod shape;

/// The labels by which an engine tells the pods apart, sorted by name.
#[must_use]
pub fn identity(pod: usize) -> [(&'static str, String); 3] {
    [("instance", format!("asr-{pod}")), ("namespace", "asr".to_owned()), ("pod", format!("asr-worker-{pod}"))]
}
