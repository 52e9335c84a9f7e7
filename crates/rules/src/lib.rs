//! Rules: queries that are evaluated again and again, and what is recorded or alerted from them.
//!
//! - [`parse_rule_file`]: Prometheus' rule files, strict, into [`RuleGroup`]s.
//! - [`RuleManager`], [`RuleHandle`]: evaluates groups on their schedule; shows what they are doing.
//! - `group`: one group: each rule's query, its samples, its staleness markers.
//! - [`Alert`], `alert`: from a query's result to pending, firing and resolved; `restore` after a restart.
//! - [`template`]: the Go templates of alert labels and annotations.
//! - [`lint`]: what is valid and yet breaks scaling.
//! - [`unit_test`]: unit tests of rules, in upstream's files.
//! - [`AlertSink`]: where alerts go. [`notifier`]: to Alertmanagers.
//!
//! ```text
//! rule file ─▶ RuleGroup ─▶ loop (group) ─▶ Engine ─▶ recording: samples ─────────────▶ Appender
//!                                                  └▶ alerting: states ─▶ ALERTS, ALERTS_FOR_STATE
//!                                                                     └─▶ AlertSink ─▶ Notifier ─▶ Alertmanagers
//! ```
//!
//! Rule: rules of a group are evaluated in order at one instant, each sees what those before it wrote.
#![forbid(unsafe_code)]

mod alert;
mod error;
mod file;
mod group;
pub mod lint;
mod manager;
mod metrics;
pub mod notifier;
mod restore;
mod rule;
mod schedule;
mod status;
pub mod template;
pub mod unit_test;

pub use alert::{Alert, AlertSink, AlertState, AlertTimes, RESEND_DELAY, RESOLVED_RETENTION};
pub use error::RuleError;
pub use file::parse_rule_file;
pub use group::MAX_RULE_SERIES;
pub use manager::{RuleHandle, RuleManager, RuleOptions, RulesEnded};
pub use restore::{FOR_GRACE_PERIOD, OUTAGE_TOLERANCE};
pub use rule::{AlertingRule, Query, RecordingRule, Rule, RuleGroup};
pub use status::{GroupStatus, RuleHealth, RuleKind, RuleStatus};

#[cfg(test)]
mod tests;
