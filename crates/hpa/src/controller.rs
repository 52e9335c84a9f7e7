//! One HPA between its syncs: what was observed becomes what is done.
//!
//! - [`Observation`]: scale, pods, and what was read for each metric, or why not. Plain data.
//! - [`Controller`]: recommendations, scale events and conditions of one HPA.
//! - [`Decision`]: the number of replicas, how it came about, conditions and events.
//!
//! Rule: a number is only ever changed by [`Controller::reconcile`], and only to what it returns.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::Timestamp;

use crate::behavior::{
    Recommendation, RecommendationLog, ScaleEvent, ScaleEventLog, ScaleHistory, limit_with_behavior,
    limit_without_behavior,
};
use crate::condition::{ConditionReason as Reason, ConditionType, Conditions, Event};
use crate::config::ControllerConfig;
use crate::manifest::{HorizontalPodAutoscaler, HpaBehavior};
use crate::metrics::{InvalidMetric, Reading, metric_name, propose};
use crate::pods::Pod;
use crate::replica_calculator::{Proposal, ReplicaCalculator};

/// The scale subresource of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// How many replicas are wanted.
    pub spec_replicas: i32,
    /// How many exist.
    pub status_replicas: i32,
}

/// Why the pods of the target cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorProblem {
    /// The scale has no selector.
    Missing,
    /// It does not parse, with the reason.
    Invalid(String),
    /// Its pods belong to more than one HPA.
    Ambiguous {
        /// The selector.
        selector: String,
        /// Some of the HPAs.
        hpas: String,
    },
}

/// What one sync sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The scale, or why it could not be read.
    pub scale: Result<Scale, String>,
    /// What is wrong with the selector of the scale.
    pub selector_problem: Option<SelectorProblem>,
    /// The pods that it finds.
    pub pods: Vec<Pod>,
    /// What was read for each metric of the manifest, in its order, or the error of the metrics API.
    pub metrics: Vec<Result<Reading, String>>,
    /// The recommendation does not go below this. Ours, not upstream's, which is as with `None`: whoever
    /// observes sets it to the current replicas while a value is held in place of one that did not come, so
    /// that absence may keep or raise the number but never lower it.
    pub floor: Option<i32>,
}

/// What a controller remembers of earlier syncs, as far as it bears on the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Of each number that was recommended, the newest time: older ones bear on nothing.
    pub recommendations: Vec<Recommendation>,
    /// Replicas that were added.
    pub scale_up_events: Vec<ScaleEvent>,
    /// Replicas that were taken away.
    pub scale_down_events: Vec<ScaleEvent>,
    /// Whether the controller itself set the number to zero.
    pub scaled_to_zero: bool,
}

/// What came of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricOutcome {
    /// The name under which reasons speak of it.
    pub name: String,
    /// The proposal, or why there is none.
    pub proposal: Result<Proposal, String>,
}

/// What one sync decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// The number that was wanted before; none where the scale could not be read.
    pub current_replicas: Option<i32>,
    /// The number to set; none where nothing changes.
    pub rescale: Option<i32>,
    /// What the metrics asked for, before stabilisation and limits; none where they were not asked, or gave
    /// no number.
    pub recommendation: Option<i32>,
    /// Whether the metrics asked for less than [`Observation::floor`].
    pub is_held: bool,
    /// The recommendation after stabilisation.
    pub stabilized: Option<i32>,
    /// Why the number changes, in upstream's words; empty where nothing asks for a change.
    pub reason: String,
    /// What came of each metric; empty where they were not asked.
    pub metrics: Vec<MetricOutcome>,
    /// The conditions after this sync.
    pub conditions: Conditions,
    /// The events of this sync.
    pub events: Vec<Event>,
    /// What upstream would log and retry for.
    pub error: Option<String>,
}

impl Decision {
    /// The number that is wanted after this sync; none where the scale could not be read.
    #[must_use]
    pub fn desired_replicas(&self) -> Option<i32> {
        self.rescale.or(self.current_replicas)
    }
}

/// One HPA between its syncs.
#[derive(Clone, Debug)]
pub struct Controller {
    hpa: HorizontalPodAutoscaler,
    config: ControllerConfig,
    recommendations: Option<RecommendationLog>,
    history: ScaleHistory,
    conditions: Conditions,
    last_scale_time: Option<Timestamp>,
}

/// What the metrics together ask for.
struct Asked {
    replicas: i32,
    metric: String,
    error: Option<String>,
}

impl Controller {
    /// Starts without history, as a controller that has just started does.
    #[must_use]
    pub fn new(hpa: HorizontalPodAutoscaler, config: ControllerConfig) -> Self {
        Self {
            hpa,
            config,
            recommendations: None,
            history: ScaleHistory::default(),
            conditions: Conditions::default(),
            last_scale_time: None,
        }
    }

    /// The manifest.
    #[must_use]
    pub const fn hpa(&self) -> &HorizontalPodAutoscaler {
        &self.hpa
    }

    /// Takes an edited manifest; the history stays, as upstream's does.
    pub fn set_hpa(&mut self, hpa: HorizontalPodAutoscaler) {
        self.hpa = hpa;
    }

    /// Goes on where another controller of the same HPA was.
    #[must_use]
    pub fn restore(hpa: HorizontalPodAutoscaler, config: ControllerConfig, snapshot: Snapshot, now: Timestamp) -> Self {
        let mut controller = Self::new(hpa, config);
        if !snapshot.recommendations.is_empty() {
            controller.recommendations = Some(RecommendationLog::new(snapshot.recommendations));
        }
        controller.history = ScaleHistory {
            up: ScaleEventLog::new(snapshot.scale_up_events),
            down: ScaleEventLog::new(snapshot.scale_down_events),
        };
        if snapshot.scaled_to_zero {
            controller.set(ConditionType::ScaledToZero, true, Reason::ScaledToZero, now);
        }
        controller
    }

    /// What bears on the next sync.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut newest: BTreeMap<i32, Timestamp> = BTreeMap::new();
        for entry in self.recommendations.iter().flat_map(RecommendationLog::entries) {
            let at = newest.entry(entry.replicas).or_insert(entry.at);
            *at = entry.at.max(*at);
        }
        Snapshot {
            recommendations: newest.into_iter().map(|(replicas, at)| Recommendation { replicas, at }).collect(),
            scale_up_events: self.history.up.entries().to_vec(),
            scale_down_events: self.history.down.entries().to_vec(),
            scaled_to_zero: self.went_to_zero(),
        }
    }

    /// When the number was last changed.
    #[must_use]
    pub const fn last_scale_time(&self) -> Option<Timestamp> {
        self.last_scale_time
    }

    /// The conditions after the last sync.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Decides, and takes it that the new number is set.
    pub fn reconcile(&mut self, observation: &Observation, now: Timestamp) -> Decision {
        self.reconcile_with(observation, now, |_| Ok(()))
    }

    /// Decides; `update_scale` sets the new number, where there is one, or says why it could not.
    pub fn reconcile_with(
        &mut self,
        observation: &Observation,
        now: Timestamp,
        update_scale: impl FnOnce(i32) -> Result<(), String>,
    ) -> Decision {
        let mut decision = self.decide(observation, now);
        if let (Some(replicas), Some(current)) = (decision.rescale, decision.current_replicas) {
            match update_scale(replicas) {
                Ok(()) => self.rescaled(&mut decision, current, replicas, now),
                Err(cause) => {
                    let message = format!("New size: {replicas}; reason: {}; error: {cause}", decision.reason);
                    decision.warn(Reason::FailedRescale, message);
                    let message = format!("the HPA controller was unable to update the target scale: {cause}");
                    self.conditions.set(ConditionType::AbleToScale, false, Reason::FailedUpdateScale, message, now);
                    decision.rescale = None;
                    decision.error = Some(format!("failed to rescale {}: {cause}", self.reference()));
                }
            }
        }
        decision.conditions = self.conditions.clone();
        decision
    }

    fn rescaled(&mut self, decision: &mut Decision, current: i32, replicas: i32, now: Timestamp) {
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        self.conditions.set(ConditionType::AbleToScale, true, Reason::SucceededRescale, message, now);
        let message = format!("New size: {replicas}; reason: {}", decision.reason);
        decision.events.push(Event { is_warning: false, reason: Reason::SuccessfulRescale, message });
        self.history.store(self.hpa.spec.behavior.as_ref(), current, replicas, now);
        self.last_scale_time = Some(now);
        if self.config.scale_to_zero {
            let spec = &self.hpa.spec;
            let to_zero =
                current > 0 && replicas == 0 && spec.min_replicas == 0 && spec.has_object_or_external_metric();
            let reason = if to_zero { Reason::ScaledToZero } else { Reason::NotScaledToZero };
            self.conditions.set(ConditionType::ScaledToZero, to_zero, reason, reason.message(), now);
        }
    }

    /// Everything up to the change itself.
    fn decide(&mut self, observation: &Observation, now: Timestamp) -> Decision {
        let mut decision = Decision {
            at: now,
            current_replicas: None,
            rescale: None,
            recommendation: None,
            is_held: false,
            stabilized: None,
            reason: String::new(),
            metrics: Vec::new(),
            conditions: Conditions::default(),
            events: Vec::new(),
            error: None,
        };
        let scale = match &observation.scale {
            Ok(scale) => *scale,
            Err(cause) => {
                decision.warn(Reason::FailedGetScale, cause.clone());
                let message = format!("the HPA controller was unable to get the target's current scale: {cause}");
                self.conditions.set(ConditionType::AbleToScale, false, Reason::FailedGetScale, message, now);
                let reference = self.reference();
                decision.error = Some(format!("failed to query scale subresource for {reference}: {cause}"));
                return decision;
            }
        };
        self.set(ConditionType::AbleToScale, true, Reason::SucceededGetScale, now);
        let current = scale.spec_replicas;
        decision.current_replicas = Some(current);
        self.recommendations
            .get_or_insert_with(|| RecommendationLog::new(vec![Recommendation { replicas: current, at: now }]));
        let (min, max) = (self.hpa.spec.min_replicas, self.hpa.spec.max_replicas);
        // These three go past metrics, behavior and stabilisation: upstream's reconcileAutoscaler.
        if current == 0 && !self.may_leave_zero() {
            self.set(ConditionType::ScalingActive, false, Reason::ScalingDisabled, now);
        } else if current > max {
            "Current number of replicas above Spec.MaxReplicas".clone_into(&mut decision.reason);
            decision.rescale = Some(max);
        } else if current < min && current != 0 {
            "Current number of replicas below Spec.MinReplicas".clone_into(&mut decision.reason);
            decision.rescale = Some(min);
        } else {
            self.decide_by_metrics(&mut decision, observation, scale, now);
        }
        decision
    }

    /// Whether metrics are asked while there are no replicas. With the gate open: if the controller itself
    /// went to zero. Without it zero is somebody's wish, unless the manifest allows it.
    fn may_leave_zero(&self) -> bool {
        let spec = &self.hpa.spec;
        if !self.config.scale_to_zero {
            return spec.min_replicas == 0;
        }
        self.went_to_zero() && (spec.min_replicas != 0 || spec.has_object_or_external_metric())
    }

    fn went_to_zero(&self) -> bool {
        self.conditions.get(ConditionType::ScaledToZero).is_some_and(|condition| condition.is_true)
    }

    fn decide_by_metrics(&mut self, decision: &mut Decision, observation: &Observation, scale: Scale, now: Timestamp) {
        let current = scale.spec_replicas;
        let asked = match self.ask_metrics(decision, observation, scale, now) {
            Ok(asked) => asked,
            Err(error) => {
                let reference = self.reference();
                decision.warn(Reason::FailedComputeMetricsReplicas, error.clone());
                decision.error = Some(format!(
                    "failed to compute desired number of replicas based on listed metrics for {reference}: {error}"
                ));
                return;
            }
        };
        decision.error = asked.error;
        // Below zero only where values are.
        let mut desired = asked.replicas.max(0);
        let metric = if asked.replicas > 0 { asked.metric } else { String::new() };
        if let Some(floor) = observation.floor.filter(|floor| *floor > desired) {
            desired = floor;
            decision.is_held = true;
        }
        if desired > current {
            decision.reason = format!("{metric} above target");
        } else if desired < current {
            "All metrics below target".clone_into(&mut decision.reason);
        }
        decision.recommendation = Some(desired);
        let mut replicas = self.normalize(decision, current, desired, now);
        // After a scale to zero, a minimum that was raised since then counts: upstream's reconcileAutoscaler.
        let min = self.hpa.spec.min_replicas;
        if current == 0 && self.config.scale_to_zero && replicas < min {
            replicas = min;
            if decision.reason.is_empty() {
                "Current number of replicas below Spec.MinReplicas".clone_into(&mut decision.reason);
            }
        }
        decision.rescale = (replicas != current).then_some(replicas);
    }

    /// The highest proposal of all metrics; an error where none counts, or where one without proposal could
    /// have asked for more than the others, which ask for less than there is.
    fn ask_metrics(
        &mut self,
        decision: &mut Decision,
        observation: &Observation,
        scale: Scale,
        now: Timestamp,
    ) -> Result<Asked, String> {
        if let Some(problem) = &observation.selector_problem {
            return Err(self.refuse_selector(decision, problem, now));
        }
        let calculator = ReplicaCalculator {
            pods: &observation.pods,
            tolerances: self.hpa.spec.tolerances(&self.config),
            config: &self.config,
            now,
        };
        let mut asked = Asked { replicas: 0, metric: String::new(), error: None };
        let mut first_invalid: Option<Box<InvalidMetric>> = None;
        let mut invalid_count = 0;
        let unread = Err("metric was not read".to_owned());
        for (index, spec) in self.hpa.spec.metrics.iter().enumerate() {
            let reading = observation.metrics.get(index).unwrap_or(&unread);
            let name = metric_name(spec);
            let proposal = propose(spec, reading, &calculator, scale, &self.hpa.namespace);
            let outcome = proposal.as_ref().map_err(|invalid| invalid.error.to_string()).copied();
            decision.metrics.push(MetricOutcome { name: name.clone(), proposal: outcome });
            match proposal {
                Ok(proposal) if asked.replicas == 0 || proposal.replicas > asked.replicas => {
                    asked.replicas = proposal.replicas;
                    asked.metric = name;
                }
                Ok(_) => {}
                Err(invalid) => {
                    decision.warn(invalid.reason, invalid.error.to_string());
                    invalid_count += 1;
                    first_invalid.get_or_insert(invalid);
                }
            }
        }
        let count = self.hpa.spec.metrics.len();
        if let Some(invalid) = first_invalid {
            let error =
                format!("invalid metrics ({invalid_count} invalid out of {count}), first error is: {}", invalid.chain);
            if invalid_count >= count || asked.replicas < scale.spec_replicas {
                let message = format!("the HPA was unable to compute the replica count: {}", invalid.error);
                self.conditions.set(ConditionType::ScalingActive, false, invalid.reason, message, now);
                return Err(error);
            }
            asked.error = Some(error);
        }
        let message = format!("the HPA was able to successfully calculate a replica count from {}", asked.metric);
        self.conditions.set(ConditionType::ScalingActive, true, Reason::ValidMetricFound, message, now);
        Ok(asked)
    }

    fn refuse_selector(&mut self, decision: &mut Decision, problem: &SelectorProblem, now: Timestamp) -> String {
        let (event, condition, error, message) = match problem {
            SelectorProblem::Missing => (
                Reason::SelectorRequired,
                Reason::InvalidSelector,
                "selector is required".to_owned(),
                "the HPA target's scale is missing a selector".to_owned(),
            ),
            SelectorProblem::Invalid(cause) => {
                let text = format!("couldn't convert selector into a corresponding internal selector object: {cause}");
                (Reason::InvalidSelector, Reason::InvalidSelector, text.clone(), text)
            }
            SelectorProblem::Ambiguous { selector, hpas } => {
                let text = format!("pods by selector {selector} are controlled by more than one HPA (e.g. {hpas})");
                (Reason::AmbiguousSelector, Reason::AmbiguousSelector, text.clone(), text)
            }
        };
        decision.warn(event, error.clone());
        self.conditions.set(ConditionType::ScalingActive, false, condition, message, now);
        error
    }

    /// Stabilises a recommendation and brings it into its limits.
    fn normalize(&mut self, decision: &mut Decision, current: i32, desired: i32, now: Timestamp) -> i32 {
        let (min, max) = (self.hpa.spec.min_replicas, self.hpa.spec.max_replicas);
        let log = self.recommendations.get_or_insert_with(RecommendationLog::default);
        let (stabilized, limited) = match &self.hpa.spec.behavior {
            None => {
                let window = self.config.downscale_stabilization;
                let stabilized = log.stabilize_without_behavior(window, desired, now);
                (stabilized, limit_without_behavior(current, stabilized, min, max))
            }
            Some(behavior) => {
                let windows = windows(behavior, &self.config);
                let stabilized = log.stabilize_with_behavior(windows, current, desired, now);
                let limited = limit_with_behavior(behavior, &self.history, current, stabilized, (min, max), now);
                (stabilized, limited)
            }
        };
        let reason = if stabilized == desired {
            Reason::ReadyForNewScale
        } else if self.hpa.spec.behavior.is_some() && desired >= current {
            Reason::ScaleUpStabilized
        } else {
            Reason::ScaleDownStabilized
        };
        self.set(ConditionType::AbleToScale, true, reason, now);
        self.set(ConditionType::ScalingLimited, limited.replicas != stabilized, limited.reason, now);
        decision.stabilized = Some(stabilized);
        limited.replicas
    }

    /// Sets a condition whose message goes with its reason.
    fn set(&mut self, kind: ConditionType, is_true: bool, reason: Reason, now: Timestamp) {
        self.conditions.set(kind, is_true, reason, reason.message(), now);
    }

    fn reference(&self) -> String {
        let target = &self.hpa.spec.scale_target_ref;
        format!("{}/{}/{}", target.kind, self.hpa.namespace, target.name)
    }
}

impl Decision {
    fn warn(&mut self, reason: Reason, message: String) {
        self.events.push(Event { is_warning: true, reason, message });
    }
}

/// The windows of both directions; that for scaling down may come from the controller's flag.
pub(crate) fn windows(behavior: &HpaBehavior, config: &ControllerConfig) -> (Duration, Duration) {
    let seconds = |window: i32| Duration::from_secs(u64::try_from(window).unwrap_or(0));
    let up = behavior.scale_up.stabilization_window_seconds.map_or(Duration::ZERO, seconds);
    let down = behavior.scale_down.stabilization_window_seconds.map_or(config.downscale_stabilization, seconds);
    (up, down)
}
