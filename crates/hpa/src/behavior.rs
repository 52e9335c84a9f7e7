//! How fast the number of replicas may change: limits, policies, stabilisation, and the history they need.
//!
//! - [`limit_without_behavior`]: minimum, maximum, and at most double (or 4).
//! - [`limit_with_behavior`]: the policies of `spec.behavior`, on the history of scale events.
//! - [`RecommendationLog`]: what was recommended lately; stabilises both ways.
//! - [`ScaleEventLog`]: what was changed lately in one direction.
//!
//! Rule: first stabilise, then limit; and a limit never lies on the wrong side of the current number.

use std::time::Duration;

use datamodel::Timestamp;

use crate::condition::ConditionReason;
use crate::manifest::{HpaBehavior, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy};

/// Without `spec.behavior` a step at most doubles the replicas.
const SCALE_UP_LIMIT_FACTOR: i32 = 2;
/// … or brings them to this number, where doubling gives less.
const SCALE_UP_LIMIT_MINIMUM: i32 = 4;
/// Entries that a log keeps. Upstream's logs hold one window: at most 1 h of syncs, 240 by default; here a
/// sync may come every 2 s (1,800 in an hour). Beyond the bound the oldest entry goes.
const MAX_LOG_ENTRIES: usize = 8_192;

/// A number of replicas within its limits, and which limit it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// The number.
    pub replicas: i32,
    /// The limit, or [`ConditionReason::DesiredWithinRange`].
    pub reason: ConditionReason,
}

/// The most that a step may reach without `spec.behavior`.
pub(crate) fn scale_up_limit_without_behavior(current: i32) -> i32 {
    current.saturating_mul(SCALE_UP_LIMIT_FACTOR).max(SCALE_UP_LIMIT_MINIMUM)
}

/// Limits without `spec.behavior`.
#[must_use]
pub fn limit_without_behavior(current: i32, desired: i32, min: i32, max: i32) -> Limited {
    let scale_up_limit = scale_up_limit_without_behavior(current);
    if desired < min {
        return Limited { replicas: min, reason: ConditionReason::TooFewReplicas };
    }
    let (highest, reason) = if max > scale_up_limit {
        (scale_up_limit, ConditionReason::ScaleUpLimit)
    } else {
        (max, ConditionReason::TooManyReplicas)
    };
    if desired > highest {
        return Limited { replicas: highest, reason };
    }
    Limited { replicas: desired, reason: ConditionReason::DesiredWithinRange }
}

/// Limits by the policies of `spec.behavior`, after stabilisation. The history is that of both directions:
/// what the other one did in a policy's period is credited back.
#[must_use]
pub fn limit_with_behavior(
    behavior: &HpaBehavior,
    history: &ScaleHistory,
    current: i32,
    desired: i32,
    bounds: (i32, i32),
    now: Timestamp,
) -> Limited {
    let (min, max) = bounds;
    if desired > current {
        // Policies that are used up forbid more, but do not take back.
        let limit = history.scale_up_limit(&behavior.scale_up, current, now).max(current);
        let (highest, reason) =
            if max > limit { (limit, ConditionReason::ScaleUpLimit) } else { (max, ConditionReason::TooManyReplicas) };
        if desired > highest {
            return Limited { replicas: highest, reason };
        }
    } else if desired < current {
        let limit = history.scale_down_limit(&behavior.scale_down, current, now).min(current);
        let (lowest, reason) =
            if min < limit { (limit, ConditionReason::ScaleDownLimit) } else { (min, ConditionReason::TooFewReplicas) };
        if desired < lowest {
            return Limited { replicas: lowest, reason };
        }
    }
    Limited { replicas: desired, reason: ConditionReason::DesiredWithinRange }
}

/// One number that metrics asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// The number, before stabilisation.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

impl Recommendation {
    /// Whether it counts in a window of `spec.behavior`: its begin does not.
    pub(crate) fn is_in_window(&self, begin: Timestamp) -> bool {
        self.at > begin
    }

    /// Whether it counts in the window without `spec.behavior`: its begin does.
    pub(crate) fn is_in_plain_window(&self, begin: Timestamp) -> bool {
        self.at >= begin
    }
}

/// What metrics asked for lately. An entry that is too old to count is replaced by the newest one, so the
/// order is not that of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecommendationLog(Vec<Recommendation>);

impl RecommendationLog {
    /// Starts with the given entries.
    #[must_use]
    pub fn new(entries: Vec<Recommendation>) -> Self {
        Self(entries)
    }

    /// The entries in their places.
    #[must_use]
    pub fn entries(&self) -> &[Recommendation] {
        &self.0
    }

    /// Without `spec.behavior`: the highest number of the window, the newest among them.
    pub fn stabilize_without_behavior(&mut self, window: Duration, desired: i32, now: Timestamp) -> i32 {
        let cutoff = now.saturating_sub(window);
        let counting = self.0.iter().filter(|entry| entry.is_in_plain_window(cutoff));
        let highest = counting.map(|entry| entry.replicas).fold(desired, i32::max);
        self.record(desired, now, |entry| entry.at < cutoff);
        highest
    }

    /// With `spec.behavior`: not above the lowest number of the window for scaling up, not below the highest
    /// of the window for scaling down, and between the two the current number.
    pub fn stabilize_with_behavior(
        &mut self,
        (up_window, down_window): (Duration, Duration),
        current: i32,
        desired: i32,
        now: Timestamp,
    ) -> i32 {
        let up_cutoff = now.saturating_sub(up_window);
        let down_cutoff = now.saturating_sub(down_window);
        let mut lowest = desired;
        let mut highest = desired;
        for entry in &self.0 {
            if entry.is_in_window(up_cutoff) {
                lowest = lowest.min(entry.replicas);
            }
            if entry.is_in_window(down_cutoff) {
                highest = highest.max(entry.replicas);
            }
        }
        self.record(desired, now, |entry| entry.at < up_cutoff && entry.at < down_cutoff);
        // `lowest <= desired <= highest`, so the band is never empty.
        current.clamp(lowest, highest)
    }

    fn record(&mut self, replicas: i32, at: Timestamp, is_obsolete: impl Fn(&Recommendation) -> bool) {
        let place = match self.0.iter().rposition(is_obsolete) {
            None if self.0.len() >= MAX_LOG_ENTRIES => {
                let oldest = self.0.iter().enumerate().min_by_key(|(_, entry)| entry.at);
                oldest.map(|(index, _)| index)
            }
            place => place,
        };
        put(&mut self.0, place, Recommendation { replicas, at });
    }
}

/// One change of the number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// By how many; positive in either direction.
    pub replica_change: i32,
    /// When.
    pub at: Timestamp,
}

/// Changes in one direction. An entry that no policy looks at any more is replaced by the newest one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleEventLog(Vec<ScaleEvent>);

impl ScaleEventLog {
    /// Starts with the given entries.
    #[must_use]
    pub fn new(entries: Vec<ScaleEvent>) -> Self {
        Self(entries)
    }

    /// The entries in their places.
    #[must_use]
    pub fn entries(&self) -> &[ScaleEvent] {
        &self.0
    }

    /// Sum of the changes that are younger than the period.
    #[must_use]
    pub fn change_in(&self, period_seconds: i32, now: Timestamp) -> i64 {
        let cutoff = now.saturating_sub(seconds(period_seconds));
        self.0.iter().filter(|event| event.at > cutoff).map(|event| i64::from(event.replica_change)).sum()
    }

    /// Adds a change.
    pub fn store(&mut self, replica_change: i32, rules: &ScalingRules, now: Timestamp) {
        let longest = rules.policies.iter().map(|policy| policy.period_seconds).max().unwrap_or(0);
        let cutoff = now.saturating_sub(seconds(longest));
        let place = match self.0.iter().rposition(|event| event.at < cutoff) {
            None if self.0.len() >= MAX_LOG_ENTRIES => {
                let oldest = self.0.iter().enumerate().min_by_key(|(_, event)| event.at);
                oldest.map(|(index, _)| index)
            }
            place => place,
        };
        put(&mut self.0, place, ScaleEvent { replica_change, at: now });
    }
}

/// Changes in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleHistory {
    /// Replicas that were added.
    pub up: ScaleEventLog,
    /// Replicas that were taken away.
    pub down: ScaleEventLog,
}

impl ScaleHistory {
    /// Notes a change from one number to another; without `spec.behavior` nothing would read it.
    pub fn store(&mut self, behavior: Option<&HpaBehavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        if to > from {
            self.up.store(to.saturating_sub(from), &behavior.scale_up, now);
        } else {
            self.down.store(from.saturating_sub(to), &behavior.scale_down, now);
        }
    }

    /// By how many replicas the number grew in a policy's period, less what was taken away.
    pub(crate) fn change_in_period(&self, policy: &ScalingPolicy, now: Timestamp) -> i64 {
        self.up.change_in(policy.period_seconds, now) - self.down.change_in(policy.period_seconds, now)
    }

    /// The number of replicas at the begin of a policy's period.
    fn period_start(&self, policy: &ScalingPolicy, current: i32, now: Timestamp) -> i64 {
        i64::from(current) - self.change_in_period(policy, now)
    }

    /// The most that one policy allows.
    pub(crate) fn allowed_up_to(&self, policy: &ScalingPolicy, current: i32, now: Timestamp) -> i32 {
        let start = self.period_start(policy, current, now);
        match policy.kind {
            PolicyKind::Pods => saturate(start + i64::from(policy.value)),
            // Rounded up, or a small percentage would never scale up.
            PolicyKind::Percent => (start as f64 * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    }

    /// The least that one policy allows.
    pub(crate) fn allowed_down_to(&self, policy: &ScalingPolicy, current: i32, now: Timestamp) -> i32 {
        let start = self.period_start(policy, current, now);
        match policy.kind {
            PolicyKind::Pods => saturate(start - i64::from(policy.value)),
            // The product in binary floating point, cut off: 10 at 90 % leaves 0.9999999999999998, so 0.
            PolicyKind::Percent => (start as f64 * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    }

    pub(crate) fn scale_up_limit(&self, rules: &ScalingRules, current: i32, now: Timestamp) -> i32 {
        let limits = rules.policies.iter().map(|policy| self.allowed_up_to(policy, current, now));
        match rules.select_policy {
            SelectPolicy::Disabled => current,
            SelectPolicy::Min => limits.min().unwrap_or(i32::MAX),
            SelectPolicy::Max => limits.max().unwrap_or(i32::MIN),
        }
    }

    pub(crate) fn scale_down_limit(&self, rules: &ScalingRules, current: i32, now: Timestamp) -> i32 {
        let limits = rules.policies.iter().map(|policy| self.allowed_down_to(policy, current, now));
        match rules.select_policy {
            SelectPolicy::Disabled => current,
            // The smallest change leaves the most replicas.
            SelectPolicy::Min => limits.max().unwrap_or(i32::MIN),
            SelectPolicy::Max => limits.min().unwrap_or(i32::MAX),
        }
    }
}

fn put<T>(log: &mut Vec<T>, place: Option<usize>, entry: T) {
    match place.and_then(|index| log.get_mut(index)) {
        Some(old) => *old = entry,
        None => log.push(entry),
    }
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

fn saturate(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}
