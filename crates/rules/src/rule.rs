//! Rules and groups as they were read: checked, and without any state.
//!
//! Rule: two rules are equal if their texts are; then nothing about them needs to be restarted.

use std::sync::Arc;
use std::time::Duration;

use promql::Expr;

use crate::template::Template;

/// The query of a rule.
#[derive(Clone, Debug)]
pub struct Query {
    /// The expression as it was given.
    pub text: String,
    /// The expression, parsed.
    pub expr: Expr,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Records the result of a query as a series of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingRule {
    /// The name of the recorded metric.
    pub record: String,
    /// The query.
    pub query: Query,
    /// Labels that are set on each result.
    pub labels: Vec<(String, String)>,
}

/// Alerts for each series that a query gives.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertingRule {
    /// The name of the alert.
    pub alert: String,
    /// The query.
    pub query: Query,
    /// How long a series must be there before the alert fires.
    pub for_duration: Duration,
    /// How long an alert goes on firing without its series.
    pub keep_firing_for: Duration,
    /// Labels that are set on each alert; they identify it.
    pub labels: Vec<(String, Template)>,
    /// Texts for those who read the alert.
    pub annotations: Vec<(String, Template)>,
}

/// A rule of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Records.
    Recording(RecordingRule),
    /// Alerts.
    Alerting(AlertingRule),
}

impl Rule {
    /// The name of the recorded metric or of the alert.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Recording(rule) => &rule.record,
            Self::Alerting(rule) => &rule.alert,
        }
    }

    /// The query.
    #[must_use]
    pub const fn query(&self) -> &Query {
        match self {
            Self::Recording(rule) => &rule.query,
            Self::Alerting(rule) => &rule.query,
        }
    }

    /// Whether the other rule writes the same series, so that it may take over its state.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Recording(a), Self::Recording(b)) => a.record == b.record && a.labels == b.labels,
            (Self::Alerting(a), Self::Alerting(b)) => a.alert == b.alert && a.labels == b.labels,
            _ => false,
        }
    }
}

/// Rules that are evaluated one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleGroup {
    /// The file it was read from.
    pub file: Arc<str>,
    /// Its name, unique in the file.
    pub name: Arc<str>,
    /// Time between two evaluations; none for the default.
    pub interval: Option<Duration>,
    /// How far in the past rules are evaluated; none for the default.
    pub query_offset: Option<Duration>,
    /// Series that a rule may give, or alerts that may be active; zero for no limit of the group's own.
    pub limit: usize,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

impl RuleGroup {
    /// The value of the label `rule_group` of our own metrics: `file;name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}
