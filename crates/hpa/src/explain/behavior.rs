//! Windows and policies: how far the number may go, and what holds it.
//!
//! - [`BehaviorExplanation`]: both directions. [`DirectionExplanation`], [`PolicyExplanation`].
//!
//! Rule: the limits are those of [`crate::behavior`].

use std::time::Duration;

use datamodel::Timestamp;
use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::behavior::{Recommendation, ScaleEventLog, ScaleHistory, scale_up_limit_without_behavior};
use crate::controller::{Decision, windows};
use crate::manifest::{PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy};

/// How far the number may go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BehaviorExplanation {
    /// Whether the manifest has a `behavior`. Without one simpler rules count than with its defaults.
    pub declared: bool,
    /// Upwards.
    pub up: DirectionExplanation,
    /// Downwards.
    pub down: DirectionExplanation,
}

/// How far the number may go in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionExplanation {
    /// How long recommendations hold a change back.
    pub window_seconds: u64,
    /// The recommendation of the window that counts: upwards the lowest, downwards the highest; none where there is
    /// none.
    pub recommendation: Option<i32>,
    /// How old it is, in seconds; none where only the controller itself knows.
    pub age_seconds: Option<f64>,
    /// Which policy counts: `Max`, `Min`, `Disabled`.
    pub select_policy: String,
    /// The policies.
    pub policies: Vec<PolicyExplanation>,
    /// The number that the policies allow; none where nothing limits.
    pub limit: Option<i32>,
}

/// One policy with what it allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyExplanation {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many, or how much.
    pub value: i32,
    /// In which time.
    pub period_seconds: i32,
    /// By how many replicas the number grew in that time, less what was taken away.
    pub changed: i64,
    /// The number that it allows.
    pub allows: i32,
}

impl PolicyExplanation {
    /// As one reads it: `4 pods in 15 s`.
    #[must_use]
    pub fn text(&self) -> String {
        let what = if self.kind == "Pods" { " pods" } else { " %" };
        format!("{}{what} in {} s", self.value, self.period_seconds)
    }
}

pub(super) fn explain(evidence: &Evidence<'_>, decision: &Decision) -> BehaviorExplanation {
    let (current, now) = (decision.current_replicas.unwrap_or_default(), evidence.now);
    let mut earlier = evidence.before.recommendations.clone();
    if earlier.is_empty() && decision.current_replicas.is_some() {
        // A controller without memory begins with the present number.
        earlier.push(Recommendation { replicas: current, at: now });
    }
    let memory = Memory {
        earlier,
        asked: decision.recommendation.map(|replicas| Recommendation { replicas, at: now }),
        // Known from the controller's own record, and assumed where somebody else looks at it.
        knows_ages: evidence.reported.as_ref().is_none_or(|reported| reported.same_sync),
        now,
    };
    let Some(behavior) = &evidence.hpa.spec.behavior else {
        let down = evidence.config.downscale_stabilization;
        return BehaviorExplanation {
            declared: false,
            up: DirectionExplanation {
                limit: Some(scale_up_limit_without_behavior(current)),
                ..DirectionExplanation::default()
            },
            down: memory.window(down, Recommendation::is_in_plain_window, i32::max),
        };
    };
    let history = ScaleHistory {
        up: ScaleEventLog::new(evidence.before.scale_up_events.clone()),
        down: ScaleEventLog::new(evidence.before.scale_down_events.clone()),
    };
    let (up, down) = windows(behavior, &evidence.config);
    let policies = |rules: &ScalingRules, allows: fn(&ScaleHistory, &ScalingPolicy, i32, Timestamp) -> i32| {
        let one = |policy: &ScalingPolicy| PolicyExplanation {
            kind: match policy.kind {
                PolicyKind::Pods => "Pods",
                PolicyKind::Percent => "Percent",
            }
            .to_owned(),
            value: policy.value,
            period_seconds: policy.period_seconds,
            changed: history.change_in_period(policy, now),
            allows: allows(&history, policy, current, now),
        };
        rules.policies.iter().map(one).collect::<Vec<_>>()
    };
    BehaviorExplanation {
        declared: true,
        up: DirectionExplanation {
            select_policy: selected(&behavior.scale_up),
            policies: policies(&behavior.scale_up, ScaleHistory::allowed_up_to),
            limit: Some(history.scale_up_limit(&behavior.scale_up, current, now).max(current)),
            ..memory.window(up, Recommendation::is_in_window, i32::min)
        },
        down: DirectionExplanation {
            select_policy: selected(&behavior.scale_down),
            policies: policies(&behavior.scale_down, ScaleHistory::allowed_down_to),
            limit: Some(history.scale_down_limit(&behavior.scale_down, current, now).min(current)),
            ..memory.window(down, Recommendation::is_in_window, i32::max)
        },
    }
}

fn selected(rules: &ScalingRules) -> String {
    match rules.select_policy {
        SelectPolicy::Max => "Max",
        SelectPolicy::Min => "Min",
        SelectPolicy::Disabled => "Disabled",
    }
    .to_owned()
}

/// What the windows look at.
struct Memory {
    earlier: Vec<Recommendation>,
    /// What the metrics ask for now; it counts in every window.
    asked: Option<Recommendation>,
    knows_ages: bool,
    now: Timestamp,
}

impl Memory {
    /// The recommendation of a window that counts: the newest of those that `better` leaves.
    fn window(
        &self,
        length: Duration,
        counts: fn(&Recommendation, Timestamp) -> bool,
        better: fn(i32, i32) -> i32,
    ) -> DirectionExplanation {
        let begin = self.now.saturating_sub(length);
        let counting = || self.earlier.iter().filter(move |entry| counts(entry, begin)).chain(&self.asked);
        let number = counting().map(|entry| entry.replicas).reduce(better);
        let at = counting().filter(|entry| Some(entry.replicas) == number).map(|entry| entry.at).max();
        let known = at.filter(|at| self.knows_ages || *at == self.now);
        DirectionExplanation {
            window_seconds: length.as_secs(),
            recommendation: number,
            age_seconds: known.map(|at| self.now.since(at).as_secs_f64()),
            ..DirectionExplanation::default()
        }
    }
}
