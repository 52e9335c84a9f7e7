//! One metric: its values, what became of each pod, the ratio, the proposal.
//!
//! - [`MetricExplanation`]; [`PodExplanation`], [`PodGroup`].
//!
//! Rule: which pods count is said by [`group_pods`], which ratio by the [`Proposal`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, milli, short};
use crate::config::Tolerances;
use crate::controller::{Decision, MetricOutcome, Scale};
use crate::manifest::{MetricSpec, MetricTarget};
use crate::metrics::{Reading, pod_samples_of};
use crate::origin::{FailureRecord, MetricOrigin};
use crate::pods::{PodGroups, group_pods};
use crate::replica_calculator::{Proposal, ceil_to_i32};
use crate::status::{InputRecord, PodRecord, SampleState, target_text};

/// One metric of the manifest, from its values to its proposal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricExplanation {
    /// Its type: `Pods`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What the target is: `AverageValue`.
    pub target_type: String,
    /// What the value is compared with.
    pub target: String,
    /// Rule, queries and series.
    pub origin: MetricOrigin,
    /// The pods with their values, for metrics of pods.
    pub pods: Vec<PodExplanation>,
    /// The values of an object, or of an external metric.
    pub values: Vec<String>,
    /// The value that was compared: an average, percent, or the value of an object.
    pub value: Option<String>,
    /// The value divided by its target; none where it is no number.
    pub ratio: Option<f64>,
    /// The same after pods without a usable sample were given one that works against the change.
    pub rebalanced: Option<f64>,
    /// The lowest ratio that changes nothing.
    pub tolerance_from: f64,
    /// The highest ratio that changes nothing.
    pub tolerance_to: f64,
    /// The replicas that it asks for.
    pub proposal: Option<i32>,
    /// How they come out of the ratio.
    pub arithmetic: String,
    /// Why it asks for nothing.
    pub error: Option<String>,
}

/// A pod of the scale target, as one metric sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodExplanation {
    /// Its name.
    pub pod: String,
    /// `Pending`, `Running`, …
    pub phase: String,
    /// Whether it takes requests; none before that is known.
    pub ready: Option<bool>,
    /// Its value; none where there is no sample.
    pub value: Option<String>,
    /// Age of the value, in seconds.
    pub age_seconds: Option<f64>,
    /// How good the value is.
    pub state: Option<SampleState>,
    /// What it counts as.
    pub group: PodGroup,
}

/// What a pod counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodGroup {
    /// Its value counts.
    Counted,
    /// It is not of use yet; its value does not count.
    Unready,
    /// It should have a value and has none.
    Missing,
    /// It goes away or failed; it counts for nothing.
    Ignored,
}

impl PodGroup {
    /// The name in documents and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Unready => "unready",
            Self::Missing => "missing",
            Self::Ignored => "ignored",
        }
    }
}

/// All metrics of the manifest.
pub(super) fn explain(evidence: &Evidence<'_>, decision: &Decision) -> Vec<MetricExplanation> {
    let specs = evidence.hpa.spec.metrics.iter().enumerate();
    specs.map(|(index, spec)| one(evidence, spec, index, decision.metrics.get(index))).collect()
}

fn one(evidence: &Evidence<'_>, spec: &MetricSpec, index: usize, outcome: Option<&MetricOutcome>) -> MetricExplanation {
    let (target_type, target) = spec.target().map_or(("", String::new()), target_text);
    let tolerances = evidence.hpa.spec.tolerances(&evidence.config);
    let reading = evidence.observation.metrics.get(index).and_then(|reading| reading.as_ref().ok());
    let inputs = evidence.inputs.get(index).map_or(&[] as &[InputRecord], Vec::as_slice);
    let groups = groups(evidence, spec, reading);
    let proposal = outcome.and_then(|outcome| outcome.proposal.as_ref().ok());
    let error = outcome.and_then(|outcome| outcome.proposal.as_ref().err().cloned());
    let mut origin = evidence.origins.get(index).cloned().unwrap_or_default();
    if let (Some(error), None) = (&error, &origin.failure) {
        origin.failure = failure(evidence, error, groups.as_ref().filter(|_| reading.is_some()));
    }
    let values = match reading {
        Some(Reading::Values(values)) => values.iter().map(|value| milli(*value)).collect(),
        _ => Vec::new(),
    };
    MetricExplanation {
        kind: spec.kind().to_owned(),
        name: spec.name().to_owned(),
        target_type: target_type.to_owned(),
        target,
        origin,
        pods: groups.as_ref().map_or_else(Vec::new, |groups| pods(evidence, inputs, groups)),
        values,
        value: proposal.map(value_text),
        ratio: proposal.map(|proposal| proposal.ratio.0).filter(|ratio| ratio.is_finite()),
        rebalanced: proposal.and_then(|proposal| proposal.rebalanced).map(|ratio| ratio.0).filter(|r| r.is_finite()),
        tolerance_from: 1.0 - tolerances.scale_down,
        tolerance_to: 1.0 + tolerances.scale_up,
        proposal: proposal.map(|proposal| proposal.replicas),
        arithmetic: proposal.map_or_else(String::new, |proposal| arithmetic(evidence, spec, proposal, groups.as_ref())),
        error,
    }
}

fn value_text(proposal: &Proposal) -> String {
    proposal.utilization_percent.map_or_else(|| milli(proposal.usage_milli), |percent| format!("{percent}%"))
}

/// The pods by what they count as; none for metrics of no pods.
fn groups(evidence: &Evidence<'_>, spec: &MetricSpec, reading: Option<&Reading>) -> Option<PodGroups> {
    let resource = match spec {
        MetricSpec::Pods { .. } => None,
        MetricSpec::Resource { name, .. } | MetricSpec::ContainerResource { name, .. } => Some(name.as_str()),
        _ => return None,
    };
    let pods = &evidence.observation.pods;
    let samples = reading.map(|reading| pod_samples_of(spec, reading, pods)).unwrap_or_default();
    Some(group_pods(pods, &samples, resource, &evidence.config, evidence.now))
}

fn pods(evidence: &Evidence<'_>, inputs: &[InputRecord], groups: &PodGroups) -> Vec<PodExplanation> {
    let by_pod: BTreeMap<&str, &InputRecord> =
        inputs.iter().filter_map(|input| Some((input.pod.as_deref()?, input))).collect();
    let explain = |pod: &crate::pods::Pod| {
        let record = PodRecord::from(pod);
        let input = by_pod.get(record.name.as_str());
        let age = |input: &&InputRecord| (evidence.now.unix_ms() - input.timestamp_ms) as f64 / 1000.0;
        let group = if groups.ignored.contains(&record.name) {
            PodGroup::Ignored
        } else if groups.unready.contains(&record.name) {
            PodGroup::Unready
        } else if groups.missing.contains(&record.name) {
            PodGroup::Missing
        } else {
            PodGroup::Counted
        };
        PodExplanation {
            pod: record.name,
            phase: if record.deleting { "Terminating".to_owned() } else { record.phase },
            ready: record.ready,
            value: input.map(|input| milli(input.value_milli)),
            age_seconds: input.map(age),
            state: input.map(|input| input.state),
            group,
        }
    };
    evidence.observation.pods.iter().map(explain).collect()
}

/// How the proposal comes out of the ratio, in one line.
fn arithmetic(evidence: &Evidence<'_>, spec: &MetricSpec, proposal: &Proposal, groups: Option<&PodGroups>) -> String {
    let Ok(scale) = evidence.observation.scale else { return String::new() };
    let tolerances = evidence.hpa.spec.tolerances(&evidence.config);
    let (ratio, replicas) = (proposal.ratio.0, proposal.replicas);
    let kept = |count: i32| format!("the ratio {} is within the tolerance: it keeps {count}", short(ratio));
    match (groups, spec.target()) {
        (Some(groups), _) => of_pods(scale, proposal, groups, tolerances),
        (None, Some(MetricTarget::AverageValue(target))) => {
            if tolerances.is_within(ratio) {
                return kept(scale.status_replicas);
            }
            format!("ceil(value / {target}) = {replicas}")
        }
        (None, _) if scale.spec_replicas == 0 => format!("from zero: ceil({}) = {replicas}", short(ratio)),
        (None, _) if tolerances.is_within(ratio) => kept(scale.spec_replicas),
        (None, _) => {
            let ready = evidence.observation.pods.iter().filter(|pod| pod.is_running_and_ready()).count();
            format!("ceil({} × {}) = {replicas}", short(ratio), count(ready, "ready pod"))
        }
    }
}

fn of_pods(scale: Scale, proposal: &Proposal, groups: &PodGroups, tolerances: Tolerances) -> String {
    let (ratio, replicas) = (proposal.ratio.0, proposal.replicas);
    let Some(second) = proposal.rebalanced else {
        if tolerances.is_within(ratio) {
            return format!("the ratio {} is within the tolerance: it keeps {}", short(ratio), scale.spec_replicas);
        }
        return format!("ceil({} × {}) = {replicas}", short(ratio), count(groups.ready_count, "pod"));
    };
    let (missing, unready) = (groups.missing.len(), groups.unready.len());
    let mut added = Vec::new();
    if missing > 0 {
        let counts_as = match ratio.total_cmp(&1.0) {
            std::cmp::Ordering::Less => "taken to be at the target",
            std::cmp::Ordering::Greater => "taken to do nothing",
            std::cmp::Ordering::Equal => "left out",
        };
        added.push(format!("{} without sample, {counts_as}", count(missing, "pod")));
    }
    if unready > 0 && ratio > 1.0 {
        added.push(format!("{}, taken to do nothing", count(unready, "unready pod")));
    }
    let added = added.join(", ");
    let becomes = format!("{added}: the ratio becomes {}", short(second.0));
    if tolerances.is_within(second.0) {
        return format!("{becomes}, within the tolerance: it keeps {replicas}");
    }
    if (ratio < 1.0) != (second.0 < 1.0) {
        return format!("{becomes}, which would turn the direction: it keeps {replicas}");
    }
    let counted = groups.ready_count + missing + if ratio > 1.0 { unready } else { 0 };
    let product = ceil_to_i32(second.0 * counted as f64);
    let product_text = format!("{added}: ceil({} × {}) = {product}", short(second.0), count(counted, "pod"));
    if product == replicas {
        return product_text;
    }
    format!("{product_text} would turn the direction: it keeps {replicas}")
}

/// `1 pod`, `2 pods`.
fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The stage of a metric without proposal, where whoever read it knows none. The pods are given where it was read.
/// None where pods could not be listed: that stage failed already.
fn failure(evidence: &Evidence<'_>, error: &str, pods: Option<&PodGroups>) -> Option<FailureRecord> {
    let target = &evidence.hpa.spec.scale_target_ref;
    let (stage, remedy) = match pods {
        Some(_) if evidence.observation.pods.is_empty() => {
            if evidence.failures.iter().any(|failure| failure.stage == "Pods") {
                return None;
            }
            ("Pods", format!("compare the selector of {}/{} with the labels of its pods", target.kind, target.name))
        }
        Some(groups) if groups.ready_count == 0 => {
            ("Samples", "see which pods run, and whether their targets are scraped (`/targets`)".to_owned())
        }
        _ => ("Metric", "see what the metrics API answers, and whether the manifest names the right metric".to_owned()),
    };
    Some(FailureRecord { stage: stage.to_owned(), cause: error.to_owned(), remedy })
}
