//! One decision from end to end: what was seen, what each step made of it, and why the number is what it is.
//!
//! - [`Evidence`]: what is known of one sync. [`Explanation`]: the same decision computed again, step by step.
//! - [`metric`]: from the values of a metric to its proposal. [`behavior`]: windows, policies, limits.
//! - [`verdict`]: why the number changes, or does not. [`compare`]: what somebody else says about the same sync.
//!
//! ```text
//!             ┌─ origins (rule, query, series) ─┐
//! Evidence ───┼─▶ Controller ─▶ Decision ───────┼─▶ Explanation ─▶ command line, page, JSON
//!             └─ reported by the HPA ─▶ compare ┘
//! ```
//!
//! Rule: every number comes from [`Controller`] or the functions that it uses; nothing is decided here.

pub mod behavior;
pub mod compare;
pub mod metric;
pub mod verdict;

use serde::{Deserialize, Serialize};

use datamodel::Timestamp;

use self::behavior::BehaviorExplanation;
use self::compare::{Difference, Reported};
use self::metric::MetricExplanation;
use self::verdict::Verdict;
use crate::config::ControllerConfig;
use crate::controller::{Controller, Observation, SelectorProblem, Snapshot};
use crate::manifest::HorizontalPodAutoscaler;
use crate::origin::{FailureRecord, MetricOrigin};
use crate::status::{AutoscalingStatus, ConditionRecord, EventRecord, InputRecord};

/// What is known of one sync of an autoscaler.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What it should do.
    pub hpa: &'a HorizontalPodAutoscaler,
    /// Flags and gates of its controller.
    pub config: ControllerConfig,
    /// When.
    pub now: Timestamp,
    /// What the controller remembered.
    pub before: Snapshot,
    /// What it saw.
    pub observation: Observation,
    /// The values of each metric of the manifest, in its order, those that do not count included.
    pub inputs: Vec<Vec<InputRecord>>,
    /// Where they came from, in the same order.
    pub origins: Vec<MetricOrigin>,
    /// Stages that failed beside the metrics.
    pub failures: Vec<FailureRecord>,
    /// What the autoscaler itself says about the sync.
    pub reported: Option<Reported>,
    /// What could not be known and was taken to be so.
    pub assumptions: Vec<String>,
}

/// Why a status cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Nothing was decided yet: each known worker must have been scraped once. Ask again.
    #[error("nothing was decided yet")]
    Undecided,
    /// The status has no manifest: it comes from an older version.
    #[error("the status has no manifest: it comes from an older version")]
    NoManifest,
    /// The manifest in the status is wrong.
    #[error("the manifest in the status cannot be read: {0}")]
    Manifest(yaml::Errors),
}

/// One decision from end to end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Namespace of the HPA.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is scaled: `Deployment/lightning-asr`.
    pub scale_target: String,
    /// When, in Unix seconds.
    pub time: f64,
    /// The replicas that were wanted before; none where they could not be read.
    pub current: Option<i32>,
    /// The replicas that existed.
    pub existing: Option<i32>,
    /// The pods that ran and took requests.
    pub ready: usize,
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
    /// The metrics, in the order of the manifest.
    pub metrics: Vec<MetricExplanation>,
    /// What they asked for together; none where they were not asked or gave no number.
    pub recommendation: Option<i32>,
    /// Whether a value that was held kept the recommendation up.
    pub held: bool,
    /// Windows and policies.
    pub behavior: BehaviorExplanation,
    /// The recommendation after the windows.
    pub stabilized: Option<i32>,
    /// The replicas that are wanted now.
    pub desired: Option<i32>,
    /// Why.
    pub verdict: Verdict,
    /// The conditions.
    pub conditions: Vec<ConditionRecord>,
    /// The events.
    pub events: Vec<EventRecord>,
    /// What the autoscaler itself says.
    pub reported: Option<Reported>,
    /// Where it says something else.
    pub differences: Vec<Difference>,
    /// The stages that failed.
    pub failures: Vec<FailureRecord>,
    /// What could not be known and was taken to be so.
    pub assumptions: Vec<String>,
}

impl Explanation {
    /// Computes the decision again, with every step.
    #[must_use]
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let Evidence { hpa, config, now, before, observation, .. } = evidence;
        let mut controller = Controller::restore((*hpa).clone(), *config, before.clone(), *now);
        let decision = controller.reconcile(observation, *now);
        let metrics = metric::explain(evidence, &decision);
        let behavior = behavior::explain(evidence, &decision);
        let verdict = verdict::of(evidence, &decision, &metrics, &behavior);
        let conditions: Vec<_> = decision.conditions.as_slice().iter().map(ConditionRecord::from).collect();
        let differences = evidence
            .reported
            .as_ref()
            .map_or_else(Vec::new, |reported| compare::differences(&decision, &conditions, &metrics, reported));
        let of_metrics = metrics.iter().filter_map(|metric| metric.origin.failure.clone());
        let mut failures = evidence.failures.clone();
        failures.extend(of_metrics);
        failures.dedup();
        if let (Some(error), true) = (&decision.error, failures.is_empty()) {
            failures.push(sync_failure(observation, error));
        }
        let scale = observation.scale.as_ref().ok();
        let target = &hpa.spec.scale_target_ref;
        Self {
            namespace: hpa.namespace.clone(),
            name: hpa.name.clone(),
            scale_target: format!("{}/{}", target.kind, target.name),
            time: now.unix_seconds(),
            current: decision.current_replicas,
            existing: scale.map(|scale| scale.status_replicas),
            ready: observation.pods.iter().filter(|pod| pod.is_running_and_ready()).count(),
            min: hpa.spec.min_replicas,
            max: hpa.spec.max_replicas,
            metrics,
            recommendation: decision.recommendation,
            held: decision.is_held,
            behavior,
            stabilized: decision.stabilized,
            desired: decision.desired_replicas(),
            verdict,
            conditions,
            events: decision.events.iter().map(EventRecord::from).collect(),
            reported: evidence.reported.clone(),
            differences,
            failures,
            assumptions: evidence.assumptions.clone(),
        }
    }

    /// The present decision of an autoscaler that publishes its status.
    ///
    /// # Errors
    ///
    /// Nothing was decided yet, or the status has no manifest that can be read.
    pub fn of_status(status: &AutoscalingStatus) -> Result<Self, ExplainError> {
        if status.manifest.is_empty() {
            return Err(ExplainError::NoManifest);
        }
        let decision = status.decision.as_ref().ok_or(ExplainError::Undecided)?;
        let mut hpa =
            HorizontalPodAutoscaler::parse("the manifest", &status.manifest).map_err(ExplainError::Manifest)?;
        // The bounds in force: `up` adapts the most of its default manifest to the machine.
        (hpa.spec.min_replicas, hpa.spec.max_replicas) = (status.replicas.min, status.replicas.max);
        let evidence = Evidence {
            hpa: &hpa,
            config: ControllerConfig::default(),
            now: decision.at(),
            before: Snapshot::from(&decision.before),
            observation: decision.observation(decision.readings(&hpa)),
            inputs: decision.metrics.iter().map(|metric| metric.inputs.clone()).collect(),
            origins: status.metrics.iter().map(|metric| metric.origin.clone()).collect(),
            failures: Vec::new(),
            assumptions: Vec::new(),
            reported: Some(Reported::of_record(decision, &status.metrics)),
        };
        Ok(Self::of(&evidence))
    }

    /// Whether every stage worked and nobody says otherwise.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.failures.is_empty()
            && self.differences.is_empty()
            && self.metrics.iter().all(|metric| metric.error.is_none())
    }
}

/// The stage of a sync that failed before it asked the metrics.
fn sync_failure(observation: &Observation, error: &str) -> FailureRecord {
    let (stage, remedy) = match (&observation.scale, &observation.selector_problem) {
        (Err(_), _) => ("Scale", "see whether the scale target exists and has a scale"),
        (_, Some(SelectorProblem::Ambiguous { .. })) => ("Pods", "let one HPA have these pods"),
        (_, Some(_)) => ("Pods", "give the scale target a selector that finds its pods"),
        _ => ("Metric", "see why the metrics give no number"),
    };
    FailureRecord { stage: stage.to_owned(), cause: error.to_owned(), remedy: remedy.to_owned() }
}

/// A number with at most three digits behind the point.
#[must_use]
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Thousandths as a number.
pub(crate) fn milli(value: i64) -> String {
    short(value as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
