//! The autoscaling/v2 algorithm, computed as kube-controller-manager computes it.
//!
//! - [`manifest`]: the HPA manifest, read from YAML with upstream's validation and defaults.
//! - [`controller`]: [`Controller`] holds the state of one HPA and turns an [`Observation`] into a [`Decision`].
//! - [`replica_calculator`]: from samples to a number of replicas, one metric at a time.
//! - [`pods`]: pods, their samples, and which of them count.
//! - [`behavior`]: limits, policies, stabilisation, and the history that they need.
//! - [`condition`]: conditions and events with upstream's reasons and messages.
//! - [`explain`]: one decision from end to end, and why it is what it is; [`origin`]: where its values came from.
//! - [`status`]: the state as plain data for the HTTP API and the live page.
//!
//! ```text
//! manifest ─┐
//!           ├─▶ Controller::reconcile ─▶ metrics ─▶ replica_calculator ─▶ behavior ─▶ Decision
//! Observation ┘   (scale, pods, samples or errors)     a proposal each      one number
//! ```
//!
//! Rule: arithmetic only. No I/O, no clock of its own, no randomness: the same observations at the same
//! instants give the same decisions.
//!
//! The reference is upstream's 1.36. Where it breaks its own bounds, so does this crate; each such place is
//! named where it happens, and the property tests name it too.
#![forbid(unsafe_code)]

pub mod behavior;
pub mod condition;
pub mod config;
pub mod controller;
mod error;
pub mod explain;
pub mod manifest;
mod metrics;
pub mod origin;
pub mod pods;
pub mod replica_calculator;
pub mod status;

pub use condition::{Condition, ConditionReason, ConditionType, Event};
pub use config::{ControllerConfig, Tolerances};
pub use controller::{Controller, Decision, MetricOutcome, Observation, Scale, SelectorProblem, Snapshot};
pub use error::MetricError;
pub use manifest::{HorizontalPodAutoscaler, HpaSpec, MetricSpec, MetricTarget};
pub use metrics::{ContainerUsage, PodUsage, Reading};
pub use pods::{Pod, PodPhase, PodSample, PodSamples, ReadyCondition};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
