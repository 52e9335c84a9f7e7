//! What groups and rules are doing, for the API and the pages.
//!
//! Rule: a copy; who looks holds up nothing.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Timestamp;

use crate::alert::{Alert, AlertState};

/// How the last evaluation of a rule ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleHealth {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It succeeded.
    Ok,
    /// It failed.
    Err,
}

impl RuleHealth {
    /// The word of the HTTP API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

/// What only one kind of rule has.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Records.
    Recording,
    /// Alerts.
    Alerting {
        /// How long a series must be there before the alert fires.
        for_duration: Duration,
        /// How long an alert goes on firing without its series.
        keep_firing_for: Duration,
        /// Annotations, unexpanded.
        annotations: Vec<(String, String)>,
        /// The alerts that are pending or firing.
        alerts: Vec<Alert>,
        /// The highest state of its alerts.
        state: AlertState,
    },
}

/// What a rule is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleStatus {
    /// Name of the recorded metric or of the alert.
    pub name: String,
    /// The query, printed canonically.
    pub query: String,
    /// Labels, unexpanded.
    pub labels: Vec<(String, String)>,
    /// What only its kind has.
    pub kind: RuleKind,
    /// How the last evaluation ended.
    pub health: RuleHealth,
    /// Why the last evaluation failed; empty if it did not.
    pub last_error: String,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// The instant of the last evaluation.
    pub last_evaluation: Option<Timestamp>,
}

/// What a group is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The file it was read from.
    pub file: Arc<str>,
    /// Time between two evaluations.
    pub interval: Duration,
    /// How far in the past rules are evaluated.
    pub query_offset: Duration,
    /// The limit of the group; zero for none of its own.
    pub limit: usize,
    /// How long the last evaluation of all rules took.
    pub evaluation_time: Duration,
    /// The instant of the last evaluation.
    pub last_evaluation: Option<Timestamp>,
    /// The rules, in order.
    pub rules: Vec<RuleStatus>,
}
