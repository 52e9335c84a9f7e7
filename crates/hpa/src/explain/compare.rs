//! What the autoscaler itself says about the sync, next to what was computed.
//!
//! - [`Reported`]: what it says. [`Difference`]: where it says something else.
//!
//! Rule: what this sync did not compute is not compared: a condition that an earlier sync left is no difference.

use datamodel::Quantity;
use serde::{Deserialize, Serialize};

use super::metric::MetricExplanation;
use super::short;
use crate::controller::Decision;
use crate::status::{ConditionRecord, DecisionRecord, EventRecord, MetricStatus};

/// What the autoscaler itself says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// The replicas that it counted.
    pub current: Option<i32>,
    /// The replicas that it wants.
    pub desired: Option<i32>,
    /// Its conditions.
    pub conditions: Vec<ConditionRecord>,
    /// The value of each metric of the manifest, in its order; none where it says none.
    pub values: Vec<Option<String>>,
    /// Events beside it, the newest last.
    #[serde(default)]
    pub events: Vec<EventRecord>,
    /// When it last changed the number, in Unix seconds.
    pub last_scale_time: Option<f64>,
    /// Whether it speaks of this very sync, not of one some seconds ago.
    pub same_sync: bool,
}

impl Reported {
    /// What a recorded decision says, with the metrics of the same sync.
    #[must_use]
    pub fn of_record(record: &DecisionRecord, metrics: &[MetricStatus]) -> Self {
        let value = |metric: &MetricStatus| {
            let percent = if metric.target_type == "Utilization" { "%" } else { "" };
            metric.value.map(|value| format!("{}{percent}", short(value)))
        };
        Self {
            current: record.from,
            desired: record.to,
            conditions: record.conditions.clone(),
            values: metrics.iter().map(value).collect(),
            events: record.events.clone(),
            last_scale_time: None,
            same_sync: true,
        }
    }

    /// Whether the last sync asked the metrics and got a number out of them.
    #[must_use]
    pub fn last_sync_had_a_number(&self) -> bool {
        self.conditions.iter().any(|condition| condition.kind == "ScalingActive" && condition.status == "True")
    }
}

/// Something that is reported otherwise than it is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What: `desired replicas`, `condition AbleToScale`, `value of asr_active_requests`.
    pub what: String,
    /// As it was computed.
    pub computed: String,
    /// As it is reported.
    pub reported: String,
    /// What may have led to it.
    pub hint: String,
}

const EARLIER: &str = "the report is of the last sync, and values have changed since; ask again";

pub(super) fn differences(
    decision: &Decision,
    conditions: &[ConditionRecord],
    metrics: &[MetricExplanation],
    reported: &Reported,
) -> Vec<Difference> {
    let hint = if reported.same_sync { "" } else { EARLIER };
    let mut found = Vec::new();
    let computed = decision.desired_replicas();
    if let (Some(computed), Some(desired)) = (computed, reported.desired)
        && computed != desired
    {
        found.push(Difference {
            what: "desired replicas".to_owned(),
            computed: computed.to_string(),
            reported: desired.to_string(),
            hint: hint.to_owned(),
        });
    }
    let values = metrics.iter().zip(&reported.values).filter_map(|(metric, value)| {
        let (computed, reported) = (metric.value.as_ref()?, value.as_ref()?);
        (!is_same_value(computed, reported)).then(|| Difference {
            what: format!("value of {}", metric.name),
            computed: computed.clone(),
            reported: reported.clone(),
            hint: hint.to_owned(),
        })
    });
    found.extend(values);
    for computed in conditions {
        let same_kind = reported.conditions.iter().find(|condition| condition.kind == computed.kind);
        let text =
            |condition: &ConditionRecord| format!("{} {}: {}", condition.status, condition.reason, condition.message);
        match same_kind {
            Some(condition) if is_same_condition(computed, condition, reported.same_sync) => {}
            Some(condition) => found.push(Difference {
                what: format!("condition {}", computed.kind),
                computed: text(computed),
                reported: text(condition),
                hint: hint.to_owned(),
            }),
            None => found.push(Difference {
                what: format!("condition {}", computed.kind),
                computed: text(computed),
                reported: "none".to_owned(),
                hint: "no sync of the controller has come so far".to_owned(),
            }),
        }
    }
    found
}

/// Percent as they are, numbers and quantities by their value: `2.5` is `2500m`.
fn is_same_value(computed: &str, reported: &str) -> bool {
    let milli = |text: &str| text.parse::<Quantity>().ok().map(Quantity::milli_value);
    computed == reported || milli(computed).is_some_and(|computed| milli(reported) == Some(computed))
}

/// Of another sync the message may name other values, and a number that was set then is not set again.
fn is_same_condition(computed: &ConditionRecord, reported: &ConditionRecord, same_sync: bool) -> bool {
    if same_sync {
        return computed == reported;
    }
    let rescaled = |reason: &str| matches!(reason, "SucceededRescale" | "ReadyForNewScale");
    computed.status == reported.status
        && (computed.reason == reported.reason || (rescaled(&computed.reason) && rescaled(&reported.reason)))
}
