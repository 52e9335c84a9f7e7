//! What the controller tells about itself: conditions of the object, events beside it.
//!
//! Rule: types, reasons and messages are upstream's to the letter; tools match on them.

use std::fmt;

use datamodel::Timestamp;

/// A condition of the HPA object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds.
    pub is_true: bool,
    /// When `is_true` last changed.
    pub last_transition: Timestamp,
    /// Why, in one word.
    pub reason: ConditionReason,
    /// Why, for people.
    pub message: String,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Whether the number of replicas can be read and set.
    AbleToScale,
    /// Whether metrics give a number of replicas.
    ScalingActive,
    /// Whether a limit keeps the number from what metrics ask for.
    ScalingLimited,
    /// Whether the controller itself set the number to zero.
    ScaledToZero,
}

impl ConditionType {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbleToScale => "AbleToScale",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
            Self::ScaledToZero => "ScaledToZero",
        }
    }
}

/// Declares the reasons with their names and the messages of those that have a fixed one.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $(=> $message:literal)?),* $(,)?) => {
        /// Why a condition holds or not; also the reasons of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ConditionReason {
            $($(#[$doc])* $name,)*
        }

        impl ConditionReason {
            /// Its name in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The message that always goes with it, or an empty one.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($message)?),)*
                }
            }
        }
    };
}

reasons! {
    /// The scale subresource was read.
    SucceededGetScale => "the HPA controller was able to get the target's current scale",
    /// The scale subresource could not be read.
    FailedGetScale,
    /// A new number was set.
    SucceededRescale,
    /// A new number was set (as an event).
    SuccessfulRescale,
    /// A new number could not be set.
    FailedUpdateScale,
    /// A new number could not be set (as an event).
    FailedRescale,
    /// Nothing holds a change back.
    ReadyForNewScale => "recommended size matches current size",
    /// A lower recommendation of the window holds a rise back.
    ScaleUpStabilized =>
        "recent recommendations were lower than current one, applying the lowest recent recommendation",
    /// A higher recommendation of the window holds a fall back.
    ScaleDownStabilized =>
        "recent recommendations were higher than current one, applying the highest recent recommendation",
    /// No limit was met.
    DesiredWithinRange => "the desired count is within the acceptable range",
    /// The rate of scaling up limits.
    ScaleUpLimit => "the desired replica count is increasing faster than the maximum scale rate",
    /// The rate of scaling down limits.
    ScaleDownLimit => "the desired replica count is decreasing faster than the maximum scale rate",
    /// `maxReplicas` limits.
    TooManyReplicas => "the desired replica count is more than the maximum replica count",
    /// `minReplicas` limits.
    TooFewReplicas => "the desired replica count is less than the minimum replica count",
    /// Somebody set the number to zero.
    ScalingDisabled => "scaling is disabled since the replica count of the target is zero",
    /// At least one metric gave a number.
    ValidMetricFound,
    /// The target's scale has no selector, or none that parses.
    InvalidSelector,
    /// The target's scale has no selector (as an event).
    SelectorRequired,
    /// The pods belong to more than one HPA.
    AmbiguousSelector,
    /// The metric is of no known type.
    InvalidMetricSourceType,
    /// A metric of an object gave no number.
    FailedGetObjectMetric,
    /// A metric of the pods gave no number.
    FailedGetPodsMetric,
    /// A resource gave no number.
    FailedGetResourceMetric,
    /// A resource of one container gave no number.
    FailedGetContainerResourceMetric,
    /// An external metric gave no number.
    FailedGetExternalMetric,
    /// No number came out of the metrics (as an event).
    FailedComputeMetricsReplicas,
    /// The controller set the number to zero.
    ScaledToZero => "the HPA controller scaled the workload to zero",
    /// The last change was not to zero.
    NotScaledToZero => "the HPA controller did not scale the workload to zero",
}

impl fmt::Display for ConditionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event beside the HPA object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Warning` rather than `Normal`.
    pub is_warning: bool,
    /// Why, in one word.
    pub reason: ConditionReason,
    /// What happened, for people.
    pub message: String,
}

/// The conditions of one object: at most one of each type, in the order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// Sets a condition; the time of its last transition moves only when its truth changes.
    pub fn set(
        &mut self,
        kind: ConditionType,
        is_true: bool,
        reason: ConditionReason,
        message: impl Into<String>,
        now: Timestamp,
    ) {
        let message = message.into();
        match self.0.iter_mut().find(|condition| condition.kind == kind) {
            Some(old) => {
                let last_transition = if old.is_true == is_true { old.last_transition } else { now };
                *old = Condition { kind, is_true, last_transition, reason, message };
            }
            None => self.0.push(Condition { kind, is_true, last_transition: now, reason, message }),
        }
    }

    /// Removes a condition.
    pub fn remove(&mut self, kind: ConditionType) {
        self.0.retain(|condition| condition.kind != kind);
    }

    /// The condition of a type.
    #[must_use]
    pub fn get(&self, kind: ConditionType) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.kind == kind)
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Condition] {
        &self.0
    }
}
