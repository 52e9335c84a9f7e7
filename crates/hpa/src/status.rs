//! The state of an autoscaler as plain data, for `/api/v1/autoscaling` and the live page.
//!
//! - [`AutoscalingStatus`]: everything at one instant.
//! - [`MetricStatus`]: one metric with its values, and the [origin](MetricOrigin) of these.
//! - [`DecisionRecord`]: one decision with everything that it came from, so that it can be computed again:
//!   [`DecisionRecord::replay`].
//!
//! Rule: times are Unix seconds with milliseconds behind the point, ready for a query's `time` parameter;
//! nothing here is computed that the controller did not compute.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::behavior::{Recommendation, ScaleEvent};
use crate::condition::{Condition, Event};
use crate::config::ControllerConfig;
use crate::controller::{Controller, Decision, Observation, Scale, Snapshot};
use crate::manifest::{HorizontalPodAutoscaler, MetricSpec, MetricTarget};
use crate::metrics::Reading;
use crate::origin::MetricOrigin;
use crate::pods::{Pod, PodPhase, PodSample, ReadyCondition};

/// Everything about one autoscaler at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AutoscalingStatus {
    /// Name of the manifest.
    pub name: String,
    /// Namespace of the manifest.
    pub namespace: String,
    /// The manifest as it was read.
    #[serde(default)]
    pub manifest: Arc<str>,
    /// The numbers.
    pub replicas: ReplicaStatus,
    /// The metrics of the manifest, in its order.
    pub metrics: Vec<MetricStatus>,
    /// The last decision.
    pub decision: Option<DecisionRecord>,
    /// Decisions that changed something or gave another reason, oldest first.
    pub history: Vec<DecisionRecord>,
    /// The pods.
    pub workers: Vec<WorkerStatus>,
}

/// The numbers of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// How many exist and are not leaving.
    pub current: i32,
    /// How many are wanted.
    pub desired: i32,
    /// How many take requests.
    pub ready: i32,
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

/// How good a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleState {
    /// It is as new as it can be.
    Fresh,
    /// Its source does not answer; the last value stands in. It may keep or raise the replicas, not lower them.
    Held,
    /// It is too old to count.
    Expired,
}

/// One metric of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricStatus {
    /// Its name.
    pub name: String,
    /// Its type: `Pods`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is compared with: `4` for an average value, `80%` for a utilization.
    pub target: String,
    /// What the target is: `AverageValue`.
    pub target_type: String,
    /// The value that was compared; none where there is none.
    pub value: Option<f64>,
    /// Age of the oldest value that counts, in seconds.
    pub age_seconds: Option<f64>,
    /// The worst state of the values that count.
    pub state: Option<SampleState>,
    /// Why there is no value.
    pub error: Option<String>,
    /// The values, by pod where they are of pods.
    pub values: Vec<ValueStatus>,
    /// Where they came from.
    #[serde(default)]
    pub origin: MetricOrigin,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueStatus {
    /// The pod; none for a value of an object or an external one.
    pub pod: Option<String>,
    /// The value.
    pub value: f64,
    /// Its age, in seconds.
    pub age_seconds: f64,
    /// How good it is.
    pub state: SampleState,
}

/// A pod that is a process here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens; none before it said so.
    pub address: Option<String>,
    /// Where it is in its life: `Pending`, `Running`, `Terminating`.
    pub phase: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// Requests that it is working on.
    pub active: u64,
    /// How often a process of this place ended by itself.
    pub restarts: u64,
}

/// One decision, with everything that it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// When.
    pub time: f64,
    /// The number before; none where it could not be read.
    pub from: Option<i32>,
    /// The number after.
    pub to: Option<i32>,
    /// What the metrics asked for.
    pub recommendation: Option<i32>,
    /// … after stabilisation.
    pub stabilized: Option<i32>,
    /// Whether a value that was held kept the number up.
    pub held: bool,
    /// The reason in one word: of the event of a change, else of the condition that explains best why there
    /// is none.
    pub reason: String,
    /// The reason for people.
    pub message: String,
    /// The conditions.
    pub conditions: Vec<ConditionRecord>,
    /// The events.
    pub events: Vec<EventRecord>,
    /// The metrics with the samples that were used.
    pub metrics: Vec<MetricRecord>,
    /// The replicas that existed.
    pub status_replicas: i32,
    /// The pods as they were.
    pub pods: Vec<PodRecord>,
    /// What the controller remembered.
    pub before: SnapshotRecord,
}

/// One metric of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Its name as reasons have it.
    pub name: String,
    /// The replicas that it asked for.
    pub proposal: Option<i32>,
    /// The value that was compared, in thousandths.
    pub value_milli: Option<i64>,
    /// Why there is no proposal.
    pub error: Option<String>,
    /// Why nothing was read: the part of `error` that the metrics API said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_error: Option<String>,
    /// The expression that was evaluated, where one was.
    pub query: Option<String>,
    /// When it was evaluated for.
    pub query_time: Option<f64>,
    /// The samples that it gave.
    pub inputs: Vec<InputRecord>,
}

/// One sample of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// The pod; none for a value of an object or an external one.
    pub pod: Option<String>,
    /// Unix milliseconds of the sample.
    pub timestamp_ms: i64,
    /// The value in thousandths, as the metrics API gave it.
    pub value_milli: i64,
    /// How good it was.
    pub state: SampleState,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionRecord {
    /// `AbleToScale`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A pod as a decision saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Its name.
    pub name: String,
    /// `Pending`, `Running`, …
    pub phase: String,
    /// Whether it took requests; none before that was known.
    pub ready: Option<bool>,
    /// Unix milliseconds of the last change of `ready`.
    pub ready_since_ms: Option<i64>,
    /// Whether it was leaving.
    pub deleting: bool,
    /// Unix milliseconds of its start.
    pub start_ms: Option<i64>,
}

/// What a controller remembered: numbers with Unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Recommendations: of each number the newest.
    pub recommendations: Vec<(i32, i64)>,
    /// Replicas that were added.
    pub scale_up_events: Vec<(i32, i64)>,
    /// Replicas that were taken away.
    pub scale_down_events: Vec<(i32, i64)>,
    /// Whether the controller itself set the number to zero.
    pub scaled_to_zero: bool,
}

impl DecisionRecord {
    /// Records a decision. `inputs` and `queries` belong to the metrics of the manifest, in its order.
    #[must_use]
    pub fn new(
        decision: &Decision,
        observation: &Observation,
        before: &Snapshot,
        inputs: &[Vec<InputRecord>],
        queries: &[Option<(String, Timestamp)>],
    ) -> Self {
        let metrics = decision.metrics.iter().enumerate().map(|(index, outcome)| {
            let query = queries.get(index).and_then(Option::as_ref);
            let proposal = outcome.proposal.as_ref().ok();
            MetricRecord {
                name: outcome.name.clone(),
                proposal: proposal.map(|proposal| proposal.replicas),
                value_milli: proposal.map(|proposal| proposal.usage_milli),
                error: outcome.proposal.as_ref().err().cloned(),
                source_error: observation.metrics.get(index).and_then(|reading| reading.as_ref().err().cloned()),
                query: query.map(|(text, _)| text.clone()),
                query_time: query.map(|(_, time)| time.unix_seconds()),
                inputs: inputs.get(index).cloned().unwrap_or_default(),
            }
        });
        let (reason, message) = explanation(decision);
        Self {
            time: decision.at.unix_seconds(),
            from: decision.current_replicas,
            to: decision.desired_replicas(),
            recommendation: decision.recommendation,
            stabilized: decision.stabilized,
            held: decision.is_held,
            reason,
            message,
            conditions: decision.conditions.as_slice().iter().map(ConditionRecord::from).collect(),
            events: decision.events.iter().map(EventRecord::from).collect(),
            metrics: metrics.collect(),
            status_replicas: observation.scale.as_ref().map_or(0, |scale| scale.status_replicas),
            pods: observation.pods.iter().map(PodRecord::from).collect(),
            before: SnapshotRecord::from(before),
        }
    }

    /// When, to the millisecond.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        // Milliseconds of this century are exact in a double.
        Timestamp::from_unix_ms((self.time * 1000.0).round() as i64)
    }

    /// Computes the decision again, from the recorded samples or from others in their place.
    #[must_use]
    pub fn replay(
        &self,
        hpa: &HorizontalPodAutoscaler,
        config: ControllerConfig,
        metrics: Vec<Result<Reading, String>>,
    ) -> Decision {
        let now = self.at();
        let mut controller = Controller::restore(hpa.clone(), config, Snapshot::from(&self.before), now);
        controller.reconcile(&self.observation(metrics), now)
    }

    /// What the decision saw, with these readings.
    #[must_use]
    pub fn observation(&self, metrics: Vec<Result<Reading, String>>) -> Observation {
        Observation {
            scale: self
                .from
                .map(|spec_replicas| Scale { spec_replicas, status_replicas: self.status_replicas })
                .ok_or_else(|| "not recorded".to_owned()),
            selector_problem: None,
            pods: self.pods.iter().map(Pod::from).collect(),
            metrics,
            floor: if self.held { self.recommendation } else { None },
        }
    }

    /// The recorded samples as readings of the manifest's metrics.
    #[must_use]
    pub fn readings(&self, hpa: &HorizontalPodAutoscaler) -> Vec<Result<Reading, String>> {
        let of = |(spec, record): (&MetricSpec, &MetricRecord)| match (&record.source_error, spec) {
            (Some(error), _) => Err(error.clone()),
            (_, MetricSpec::Pods { .. }) => {
                let sample = |input: &InputRecord| {
                    let sample = PodSample {
                        value_milli: input.value_milli,
                        timestamp: Timestamp::from_unix_ms(input.timestamp_ms),
                        window: Duration::ZERO,
                    };
                    Some((input.pod.clone()?, sample))
                };
                Ok(Reading::Pods(counting(&record.inputs).filter_map(sample).collect()))
            }
            _ => Ok(Reading::Values(counting(&record.inputs).map(|input| input.value_milli).collect())),
        };
        hpa.spec.metrics.iter().zip(&self.metrics).map(of).collect()
    }
}

fn counting(inputs: &[InputRecord]) -> impl Iterator<Item = &InputRecord> {
    inputs.iter().filter(|input| input.state != SampleState::Expired)
}

/// The reason of a change, or the best explanation why there is none.
fn explanation(decision: &Decision) -> (String, String) {
    if let Some(event) = decision.events.iter().rev().find(|event| !event.is_warning || decision.error.is_some()) {
        return (event.reason.to_string(), event.message.clone());
    }
    if decision.is_held {
        let message = "a value is held in place of one that did not come, so the replicas do not fall";
        return ("Held".to_owned(), message.to_owned());
    }
    // A condition that is not the usual one says more than the others.
    let conditions = decision.conditions.as_slice();
    let limited = conditions.iter().find(|condition| condition.kind.as_str() == "ScalingLimited" && condition.is_true);
    let inactive = conditions.iter().find(|condition| condition.kind.as_str() == "ScalingActive" && !condition.is_true);
    let able = conditions.iter().find(|condition| condition.kind.as_str() == "AbleToScale");
    let best = inactive.or(limited).or(able);
    best.map(|condition| (condition.reason.to_string(), condition.message.clone())).unwrap_or_default()
}

impl From<&Condition> for ConditionRecord {
    fn from(condition: &Condition) -> Self {
        Self {
            kind: condition.kind.as_str().to_owned(),
            status: if condition.is_true { "True" } else { "False" }.to_owned(),
            reason: condition.reason.to_string(),
            message: condition.message.clone(),
        }
    }
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        Self {
            kind: if event.is_warning { "Warning" } else { "Normal" }.to_owned(),
            reason: event.reason.to_string(),
            message: event.message.clone(),
        }
    }
}

impl From<&Pod> for PodRecord {
    fn from(pod: &Pod) -> Self {
        let phase = match pod.phase {
            PodPhase::Pending => "Pending",
            PodPhase::Running => "Running",
            PodPhase::Succeeded => "Succeeded",
            PodPhase::Failed => "Failed",
            PodPhase::Unknown => "Unknown",
        };
        Self {
            name: pod.name.clone(),
            phase: phase.to_owned(),
            ready: pod.ready.and_then(|ready| ready.is_ready),
            ready_since_ms: pod.ready.map(|ready| ready.last_transition.unix_ms()),
            deleting: pod.is_deleting,
            start_ms: pod.start_time.map(Timestamp::unix_ms),
        }
    }
}

impl From<&PodRecord> for Pod {
    fn from(record: &PodRecord) -> Self {
        let phase = match record.phase.as_str() {
            "Pending" => PodPhase::Pending,
            "Running" => PodPhase::Running,
            "Succeeded" => PodPhase::Succeeded,
            "Failed" => PodPhase::Failed,
            _ => PodPhase::Unknown,
        };
        Self {
            name: record.name.clone(),
            phase,
            is_deleting: record.deleting,
            start_time: record.start_ms.map(Timestamp::from_unix_ms),
            ready: record.ready_since_ms.map(|since| ReadyCondition {
                is_ready: record.ready,
                last_transition: Timestamp::from_unix_ms(since),
            }),
            containers: Vec::new(),
            init_containers: Vec::new(),
            requests_milli: None,
        }
    }
}

impl From<&Snapshot> for SnapshotRecord {
    fn from(snapshot: &Snapshot) -> Self {
        let events =
            |events: &[ScaleEvent]| events.iter().map(|event| (event.replica_change, event.at.unix_ms())).collect();
        Self {
            recommendations: snapshot
                .recommendations
                .iter()
                .map(|entry| (entry.replicas, entry.at.unix_ms()))
                .collect(),
            scale_up_events: events(&snapshot.scale_up_events),
            scale_down_events: events(&snapshot.scale_down_events),
            scaled_to_zero: snapshot.scaled_to_zero,
        }
    }
}

impl From<&SnapshotRecord> for Snapshot {
    fn from(record: &SnapshotRecord) -> Self {
        let events = |events: &[(i32, i64)]| {
            let event =
                |&(replica_change, at): &(i32, i64)| ScaleEvent { replica_change, at: Timestamp::from_unix_ms(at) };
            events.iter().map(event).collect()
        };
        let recommendation =
            |&(replicas, at): &(i32, i64)| Recommendation { replicas, at: Timestamp::from_unix_ms(at) };
        Self {
            recommendations: record.recommendations.iter().map(recommendation).collect(),
            scale_up_events: events(&record.scale_up_events),
            scale_down_events: events(&record.scale_down_events),
            scaled_to_zero: record.scaled_to_zero,
        }
    }
}

/// Type and text of a target, as [`MetricStatus`] shows them.
#[must_use]
pub fn target_text(target: &MetricTarget) -> (&'static str, String) {
    match target {
        MetricTarget::Utilization(percent) => ("Utilization", format!("{percent}%")),
        MetricTarget::Value(value) => ("Value", value.to_string()),
        MetricTarget::AverageValue(value) => ("AverageValue", value.to_string()),
    }
}
