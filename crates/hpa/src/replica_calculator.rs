//! From samples to a number of replicas, one metric at a time.
//!
//! - [`ReplicaCalculator`]: the pods of a target, the tolerances, the instant.
//! - [`Proposal`]: the number that one metric asks for, and the value and the [ratio](UsageRatio) behind it.
//!
//! Rule: values are thousandths in `i64` and divide as upstream's do, towards zero; a ratio is an `f64`.
//!
//! Numbers that leave the range of `i32` saturate here. Upstream converts them as the processor happens to
//! (`int32(float64)`, undefined by Go), except where it caps them itself.

use std::collections::{BTreeMap, BTreeSet};

use datamodel::Timestamp;

use crate::config::{ControllerConfig, Tolerances};
use crate::error::MetricError;
use crate::pods::{Pod, PodGroups, PodSample, PodSamples, group_pods, requests_milli};

/// What one metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Number of replicas. Not yet bounded by anything; below 0 only where values are.
    pub replicas: i32,
    /// The value that the target is compared with, in thousandths: an average, or the value of an object.
    pub usage_milli: i64,
    /// The value in percent of the requests, for targets in percent.
    pub utilization_percent: Option<i32>,
    /// The value divided by its target.
    pub ratio: UsageRatio,
    /// The same after pods without a usable sample were given one that works against the change; none where there
    /// was no such pod.
    pub rebalanced: Option<UsageRatio>,
}

/// A usage divided by its target. Equal where the bits are, so that the NaN of 0 / 0 equals itself.
#[derive(Clone, Copy, Debug)]
pub struct UsageRatio(pub f64);

impl PartialEq for UsageRatio {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for UsageRatio {}

/// Computes proposals for one target at one instant.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaCalculator<'a> {
    /// The pods that the target's selector finds.
    pub pods: &'a [Pod],
    /// How near to 1 a ratio changes nothing.
    pub tolerances: Tolerances,
    /// Flags of the controller.
    pub config: &'a ControllerConfig,
    /// The present instant.
    pub now: Timestamp,
}

/// A usage next to its target.
#[derive(Clone, Copy)]
struct Usage {
    ratio: f64,
    milli: i64,
    percent: Option<i32>,
}

impl ReplicaCalculator<'_> {
    /// For a resource with a target in percent of the requests.
    ///
    /// # Errors
    ///
    /// There is no pod, no sample that counts, or a pod without request.
    pub fn resource_replicas(
        &self,
        current: i32,
        target_percent: i32,
        resource: &str,
        container: Option<&str>,
        samples: PodSamples,
    ) -> Result<Proposal, MetricError> {
        let (groups, samples) = self.grouped(samples, Some(resource))?;
        let requests = requests_milli(self.pods, container, resource, self.config)?;
        let usage_of = |samples: &PodSamples| resource_usage(samples, &requests, target_percent);
        // A missing pod is taken to use all that it asks for, or the target where that is more.
        let fallback = |pod: &str| {
            let request = requests.get(pod).copied().unwrap_or_default();
            let milli = i128::from(request) * i128::from(target_percent.max(100)) / 100;
            saturate(milli)
        };
        self.rebalanced(current, &groups, samples, usage_of, fallback)
    }

    /// For a resource with a target in absolute numbers per pod.
    ///
    /// # Errors
    ///
    /// There is no pod, or no sample that counts.
    pub fn raw_resource_replicas(
        &self,
        current: i32,
        target_milli: i64,
        resource: &str,
        samples: PodSamples,
    ) -> Result<Proposal, MetricError> {
        self.plain_metric_replicas(current, target_milli, Some(resource), samples)
    }

    /// For a metric of the pods with a target per pod.
    ///
    /// # Errors
    ///
    /// There is no pod, or no sample that counts.
    pub fn metric_replicas(
        &self,
        current: i32,
        target_milli: i64,
        samples: PodSamples,
    ) -> Result<Proposal, MetricError> {
        self.plain_metric_replicas(current, target_milli, None, samples)
    }

    /// For a value of an object, or the sum of an external metric, with a target for the whole.
    ///
    /// From zero replicas the ratio itself is the answer. Otherwise it multiplies the pods that are *ready*,
    /// not those that are wanted: while none is ready, the answer is 0 (upstream's
    /// `getUsageRatioReplicaCount`).
    ///
    /// # Errors
    ///
    /// There is no pod.
    pub fn value_replicas(&self, current: i32, target_milli: i64, usage_milli: i64) -> Result<Proposal, MetricError> {
        let ratio = usage_milli as f64 / target_milli as f64;
        let replicas = if current == 0 {
            ceil_to_i32(ratio)
        } else if self.tolerances.is_within(ratio) {
            current
        } else if self.pods.is_empty() {
            return Err(MetricError::ReadyPods(Box::new(MetricError::NoPods)));
        } else {
            let ready = self.pods.iter().filter(|pod| pod.is_running_and_ready()).count();
            ceil_to_i32(ratio * ready as f64)
        };
        Ok(Proposal { replicas, usage_milli, utilization_percent: None, ratio: UsageRatio(ratio), rebalanced: None })
    }

    /// For a value of an object, or the sum of an external metric, with a target per pod.
    ///
    /// Within the tolerance the answer is the number of replicas that *exist* (`status.replicas`), not the one
    /// that is wanted (upstream's `GetExternalPerPodMetricReplicas`).
    #[must_use]
    pub fn average_value_replicas(&self, status_replicas: i32, target_milli: i64, usage_milli: i64) -> Proposal {
        let (usage, target) = (usage_milli as f64, target_milli as f64);
        let ratio = usage / (target * f64::from(status_replicas));
        let replicas = if self.tolerances.is_within(ratio) { status_replicas } else { ceil_to_i32(usage / target) };
        let per_pod = if usage_milli == i64::MAX { usage } else { (usage / f64::from(status_replicas)).ceil() };
        // `as` saturates, and makes 0 of the NaN of 0 / 0.
        Proposal {
            replicas,
            usage_milli: per_pod as i64,
            utilization_percent: None,
            ratio: UsageRatio(ratio),
            rebalanced: None,
        }
    }

    fn plain_metric_replicas(
        &self,
        current: i32,
        target_milli: i64,
        resource: Option<&str>,
        samples: PodSamples,
    ) -> Result<Proposal, MetricError> {
        let (groups, samples) = self.grouped(samples, resource)?;
        let usage_of = |samples: &PodSamples| Ok(plain_usage(samples, target_milli));
        self.rebalanced(current, &groups, samples, usage_of, |_| target_milli)
    }

    /// Groups the pods, and leaves the samples of those that count.
    fn grouped(&self, mut samples: PodSamples, resource: Option<&str>) -> Result<(PodGroups, PodSamples), MetricError> {
        if self.pods.is_empty() {
            return Err(MetricError::NoPods);
        }
        let groups = group_pods(self.pods, &samples, resource, self.config, self.now);
        samples.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
        if samples.is_empty() {
            return Err(MetricError::NoSamples);
        }
        Ok((groups, samples))
    }

    /// The number of replicas after pods without sample were given one that works against the change:
    /// `fallback` on the way down, nothing on the way up.
    fn rebalanced(
        &self,
        current: i32,
        groups: &PodGroups,
        mut samples: PodSamples,
        usage_of: impl Fn(&PodSamples) -> Result<Usage, MetricError>,
        fallback: impl Fn(&str) -> i64,
    ) -> Result<Proposal, MetricError> {
        let first = usage_of(&samples)?;
        let proposal = |replicas, rebalanced: Option<Usage>| Proposal {
            replicas,
            usage_milli: first.milli,
            utilization_percent: first.percent,
            ratio: UsageRatio(first.ratio),
            rebalanced: rebalanced.map(|usage| UsageRatio(usage.ratio)),
        };
        let up_with_unready = !groups.unready.is_empty() && first.ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            let keep = self.tolerances.is_within(first.ratio);
            let replicas = if keep { current } else { ceil_to_i32(first.ratio * groups.ready_count as f64) };
            return Ok(proposal(replicas, None));
        }
        if first.ratio < 1.0 {
            self.fill(&mut samples, &groups.missing, fallback);
        } else if first.ratio > 1.0 {
            self.fill(&mut samples, &groups.missing, |_| 0);
        }
        if up_with_unready {
            self.fill(&mut samples, &groups.unready, |_| 0);
        }
        let second = usage_of(&samples)?;
        let turns = (first.ratio < 1.0 && second.ratio > 1.0) || (first.ratio > 1.0 && second.ratio < 1.0);
        if turns || self.tolerances.is_within(second.ratio) {
            return Ok(proposal(current, Some(second)));
        }
        let replicas = ceil_to_i32(second.ratio * samples.len() as f64);
        // The number of samples is not the number of replicas: it must not turn the direction either.
        let turns = (second.ratio < 1.0 && replicas > current) || (second.ratio > 1.0 && replicas < current);
        Ok(proposal(if turns { current } else { replicas }, Some(second)))
    }

    fn fill(&self, samples: &mut PodSamples, pods: &BTreeSet<String>, value_milli: impl Fn(&str) -> i64) {
        for pod in pods {
            let sample = PodSample { value_milli: value_milli(pod), timestamp: self.now, window: Default::default() };
            samples.insert(pod.clone(), sample);
        }
    }
}

/// Sum of the values of an external metric in thousandths; stops at the end of the range, as upstream's does.
#[must_use]
pub fn sum_milli(values: &[i64]) -> i64 {
    let mut sum: i64 = 0;
    for value in values {
        match sum.checked_add(*value) {
            Some(next) => sum = next,
            None if *value > 0 => return i64::MAX,
            None => sum = i64::MIN,
        }
    }
    sum
}

fn plain_usage(samples: &PodSamples, target_milli: i64) -> Usage {
    let total: i128 = samples.values().map(|sample| i128::from(sample.value_milli)).sum();
    let milli = saturate(total / (samples.len().max(1) as i128));
    Usage { ratio: milli as f64 / target_milli as f64, milli, percent: None }
}

/// Percent of the requests; a whole number, so that the ratio moves in steps of 1 / target.
fn resource_usage(
    samples: &PodSamples,
    requests: &BTreeMap<String, i64>,
    target_percent: i32,
) -> Result<Usage, MetricError> {
    let mut total: i128 = 0;
    let mut requested: i128 = 0;
    let mut count: i128 = 0;
    for (pod, sample) in samples {
        // A sample of a pod that the selector does not find does not count.
        let Some(request) = requests.get(pod) else { continue };
        total += i128::from(sample.value_milli);
        requested += i128::from(*request);
        count += 1;
    }
    if requested == 0 {
        return Err(MetricError::NoKnownPods);
    }
    let percent = i32::try_from(total * 100 / requested).unwrap_or(if total < 0 { i32::MIN } else { i32::MAX });
    Ok(Usage {
        ratio: f64::from(percent) / f64::from(target_percent),
        milli: saturate(total / count),
        percent: Some(percent),
    })
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// `as` saturates, and makes 0 of NaN.
pub(crate) fn ceil_to_i32(value: f64) -> i32 {
    value.ceil() as i32
}
