//! Alerts of one rule: pending, firing, resolved.
//!
//! ```text
//!            in the result            for `for`                     gone, and `keep_firing_for` over
//! inactive ───────────────▶ pending ───────────▶ firing ─────────────────────────▶ inactive (resolved)
//!     ▲                        │ gone                                                 │ kept 15 min
//!     └────────────────────────┴──────────────────────────────────────────────────────┘
//! ```
//!
//! - [`Alert`], [`AlertState`]; [`ActiveAlerts`]: all alerts of a rule, and one step of their states.
//! - [`AlertSink`]: who is told.
//!
//! Rule: a pure state machine: results and a time in, states and samples out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use datamodel::{Labels, LabelsBuilder, METRIC_NAME, Timestamp};

use crate::error::RuleError;
use crate::restore::{FOR_GRACE_PERIOD, OUTAGE_TOLERANCE};
use crate::rule::AlertingRule;

/// How long a resolved alert is kept, so that its end is told even if the first messages are lost.
pub const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// Time after which a firing alert is told again, unless the owner says otherwise.
pub const RESEND_DELAY: Duration = Duration::from_secs(60);

/// The label with the name of the alert.
pub(crate) const ALERT_NAME: &str = "alertname";

/// The series that says when an alert became active, in Unix seconds.
pub(crate) const FOR_STATE: &str = "ALERTS_FOR_STATE";

/// Times of alerts that do not stand in their rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertTimes {
    /// Time after which a firing alert is told again.
    pub resend_delay: Duration,
    /// How long the server may have been down for states to be restored.
    pub outage_tolerance: Duration,
    /// The least time that a restored alert stays pending; a rule whose `for` is shorter is not restored.
    pub grace_period: Duration,
}

impl Default for AlertTimes {
    fn default() -> Self {
        Self { resend_delay: RESEND_DELAY, outage_tolerance: OUTAGE_TOLERANCE, grace_period: FOR_GRACE_PERIOD }
    }
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Neither pending nor firing.
    Inactive,
    /// In the result, but not for long enough.
    Pending,
    /// In the result for long enough.
    Firing,
}

impl AlertState {
    /// The word of the HTTP API and of the label `alertstate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The labels that identify it, `alertname` among them.
    pub labels: Labels,
    /// Texts for those who read it.
    pub annotations: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// The value of its series at the last evaluation that had it.
    pub value: f64,
    /// When it became pending.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it ceased.
    pub resolved_at: Option<Timestamp>,
    /// When it was last told to the sink.
    pub last_sent_at: Option<Timestamp>,
    /// Until when the sink may take it for firing without hearing of it again.
    pub valid_until: Option<Timestamp>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
}

/// Takes alerts that fire or have ceased to fire.
pub trait AlertSink: Send + Sync + fmt::Debug {
    /// Takes alerts of the rule with this expression; must not wait. Resolved ones have `resolved_at`.
    fn send(&self, expression: &str, alerts: Vec<Alert>);
}

/// A result of an alerting rule's query, its labels and annotations expanded.
#[derive(Clone, Debug)]
pub(crate) struct AlertResult {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) value: f64,
}

/// The alerts of a rule, resolved ones for a while too.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveAlerts(BTreeMap<Labels, Alert>);

impl ActiveAlerts {
    /// Takes the results of an evaluation.
    pub(crate) fn step(
        &mut self,
        rule: &AlertingRule,
        results: Vec<AlertResult>,
        at: Timestamp,
        limit: usize,
    ) -> Result<(), RuleError> {
        let mut found: BTreeMap<Labels, AlertResult> = BTreeMap::new();
        for result in results {
            if found.insert(result.labels.clone(), result).is_some() {
                return Err(RuleError::SameLabels("alert"));
            }
        }
        for alert in self.0.values_mut() {
            if !found.contains_key(&alert.labels) {
                alert.without_result(rule, at);
            }
        }
        self.0.retain(|labels, alert| found.contains_key(labels) || alert.is_kept(at));
        for result in found.into_values() {
            self.with_result(result, rule, at);
        }
        let active = self.active().count();
        if active > limit {
            self.0.clear();
            return Err(RuleError::Limit { limit, found: active, what: "alerts" });
        }
        Ok(())
    }

    fn with_result(&mut self, result: AlertResult, rule: &AlertingRule, at: Timestamp) {
        let AlertResult { labels, annotations, value } = result;
        let alert = self
            .0
            .entry(labels.clone())
            .and_modify(|alert| {
                if alert.state == AlertState::Inactive {
                    *alert = Alert::pending(labels.clone(), at);
                }
            })
            .or_insert_with(|| Alert::pending(labels, at));
        alert.value = value;
        alert.annotations = annotations;
        alert.keep_firing_since = None;
        if alert.state == AlertState::Pending && at.since(alert.active_at) >= rule.for_duration {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(at);
        }
    }

    /// All alerts, resolved ones among them, by labels.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    /// The alerts that are pending or firing.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Alert> {
        self.all().filter(|alert| alert.state != AlertState::Inactive)
    }

    pub(crate) fn active_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.0.values_mut().filter(|alert| alert.state != AlertState::Inactive)
    }

    /// The series that are written for the active alerts.
    pub(crate) fn samples(&self) -> Vec<(Labels, f64)> {
        let mut samples = Vec::new();
        for alert in self.active() {
            let mut labels = LabelsBuilder::new(&alert.labels);
            labels.set(METRIC_NAME, FOR_STATE);
            samples.push((labels.build(), alert.active_at.unix_ms().div_euclid(1000) as f64));
            labels.set(METRIC_NAME, "ALERTS").set("alertstate", alert.state.as_str());
            samples.push((labels.build(), 1.0));
        }
        samples
    }

    /// The alerts that the sink must hear of now.
    pub(crate) fn due(&mut self, at: Timestamp, interval: Duration, resend_delay: Duration) -> Vec<Alert> {
        // Two evaluations or messages may be lost.
        let valid_until = at.saturating_add(interval.max(resend_delay).saturating_mul(4));
        let mut alerts = Vec::new();
        for alert in self.0.values_mut().filter(|alert| alert.needs_sending(at, resend_delay)) {
            alert.last_sent_at = Some(at);
            alert.valid_until = Some(valid_until);
            alerts.push(alert.clone());
        }
        alerts
    }
}

impl Alert {
    fn pending(labels: Labels, at: Timestamp) -> Self {
        Self {
            labels,
            annotations: Labels::empty(),
            state: AlertState::Pending,
            value: 0.0,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            last_sent_at: None,
            valid_until: None,
            keep_firing_since: None,
        }
    }

    /// The result no longer has it.
    fn without_result(&mut self, rule: &AlertingRule, at: Timestamp) {
        if self.state == AlertState::Firing && !rule.keep_firing_for.is_zero() {
            let since = *self.keep_firing_since.get_or_insert(at);
            if at.since(since) < rule.keep_firing_for {
                return;
            }
        }
        if self.state == AlertState::Firing {
            self.state = AlertState::Inactive;
            self.resolved_at = Some(at);
        }
    }

    /// Whether an alert that the result does not have is kept: while it fires, and a while after.
    fn is_kept(&self, at: Timestamp) -> bool {
        match self.state {
            AlertState::Firing => true,
            AlertState::Pending => false,
            AlertState::Inactive => self.resolved_at.is_some_and(|resolved| at.since(resolved) <= RESOLVED_RETENTION),
        }
    }

    fn needs_sending(&self, at: Timestamp, resend_delay: Duration) -> bool {
        let Some(sent) = self.last_sent_at else { return self.state != AlertState::Pending };
        match self.state {
            AlertState::Pending => false,
            _ if self.resolved_at.is_some_and(|resolved| resolved > sent) => true,
            _ => sent.saturating_add(resend_delay) < at,
        }
    }
}
