//! The commands: one file each, its arguments beside what it does.
//!
//! Rule: a command returns an [`Outcome`] or an error; it prints through the printer only.

pub mod adapter;
mod api_service;
pub mod asr;
pub mod check;
pub mod check_config;
pub mod check_metrics;
pub mod check_rules;
pub mod check_server;
mod cluster_flags;
pub mod completion;
pub mod explain;
mod hpa_metric;
mod kube_state;
pub mod lint;
pub mod load;
pub mod model;
mod other_flags;
pub mod query;
pub mod rule_files;
mod secured_api;
pub mod server;
pub mod test;
pub mod tsdb;
pub mod up;
pub mod verify;

#[cfg(test)]
mod tests;

/// What came of a command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// The thing that was checked is not.
    NotFine,
    /// It is valid, and something was found that the user wants to know of as a failure.
    Findings,
}
