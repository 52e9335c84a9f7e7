//! What the API answers with, and how samples become it.
//!
//! - [`MetricValue`], [`ExternalMetricValue`]: values with their true time and their state.
//! - `match_to_objects`: samples of an answer to the objects that were asked for.
//!
//! Rule: NaN and infinities are no sample; an expired sample is none either.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use datamodel::quantity::Quantity;
use datamodel::selector::Selector;
use datamodel::{Labels, Timestamp};

use crate::hold::{Ages, SampleState};
use crate::names::ObjectName;
use crate::source::{InstantAnswer, SourceSample};

/// The object that a value describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReference {
    /// `Pod`
    pub kind: String,
    /// Namespace and name.
    pub object: ObjectName,
    /// Group and version with a slash between them, so `/v1` for pods, as prometheus-adapter writes it.
    pub api_version: String,
}

/// The value of a metric of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricValue {
    /// The object.
    pub described_object: ObjectReference,
    /// The metric.
    pub metric: String,
    /// The selector of the metric's labels that was asked with; everything where none was.
    pub metric_selector: Selector,
    /// The value, in whole thousandths, cut off towards zero.
    pub value: Quantity,
    /// When the newest input was taken.
    pub timestamp: Timestamp,
    /// How far back the query looks, where it does.
    pub window: Option<Duration>,
    /// Fresh or held.
    pub state: SampleState,
}

/// One value of an external metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalMetricValue {
    /// The metric.
    pub metric: String,
    /// The labels of the series; `None` for a scalar.
    pub labels: Option<BTreeMap<String, String>>,
    /// The value, in whole thousandths, cut off towards zero.
    pub value: Quantity,
    /// When the newest input was taken.
    pub timestamp: Timestamp,
    /// How far back the query looks, where it does.
    pub window: Option<Duration>,
    /// Fresh or held.
    pub state: SampleState,
}

/// A usable value before it becomes a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) timestamp: Timestamp,
    pub(crate) state: SampleState,
}

/// A value in whole thousandths; one that was added up or raised beyond what these can hold stops at their
/// end. `None` for NaN only.
pub(crate) fn saturated(value: f64) -> Option<Quantity> {
    // 2^63 thousandths, less what a float there cannot tell apart.
    let largest = 9.2e15;
    Quantity::from_f64_truncated(value.clamp(-largest, largest))
}

/// What was wrong with the samples that were not used, for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unused {
    /// Series that the answer has.
    pub(crate) series: usize,
    /// Not a number, infinite, or beyond what a quantity holds.
    pub(crate) not_finite: usize,
    /// Older than the hold.
    pub(crate) expired: usize,
    /// The newest of the expired.
    pub(crate) newest_expired: Option<Timestamp>,
    /// Without the label that names the object.
    pub(crate) unlabelled: usize,
    /// Of objects that were not asked for.
    pub(crate) foreign: usize,
    /// Further series of an object that has one already; they are added up.
    pub(crate) duplicates: usize,
}

impl Unused {
    /// Why there is no value, from the samples that there are.
    pub(crate) fn reason(&self, label: Option<&str>, ages: Ages, now: Timestamp) -> String {
        let mut reasons = Vec::new();
        if self.series == 0 {
            reasons.push("the query finds no series".to_owned());
        }
        if self.not_finite > 0 {
            reasons.push(format!("{} samples are not a finite number", self.not_finite));
        }
        if let Some(newest) = self.newest_expired {
            let age = now.since(newest).as_secs();
            let hold = ages.hold().as_secs();
            let count = self.expired;
            reasons.push(format!("{count} samples are expired: the newest is {age} s old, held are {hold} s"));
        }
        if let (Some(label), true) = (label, self.unlabelled > 0) {
            let count = self.unlabelled;
            reasons.push(format!("{count} series lack the label `{label}` (group by it: `by (<<.GroupBy>>)`)"));
        }
        if self.foreign > 0 {
            reasons.push(format!("{} series belong to other objects", self.foreign));
        }
        reasons.join("; ")
    }
}

/// Judges one sample; counts it in `unused` when it is not usable.
pub(crate) fn measure(
    value: f64,
    timestamp: Timestamp,
    held: bool,
    ages: Ages,
    now: Timestamp,
    unused: &mut Unused,
) -> Option<Measured> {
    if Quantity::from_f64_truncated(value).is_none() {
        unused.not_finite += 1;
        return None;
    }
    let Some(state) = ages.state(timestamp, now) else {
        unused.expired += 1;
        unused.newest_expired = unused.newest_expired.max(Some(timestamp));
        return None;
    };
    let state = if held { SampleState::Held } else { state };
    Some(Measured { value, timestamp, state })
}

/// The values of the named objects; several series of one object are added up, the worst of their states
/// and the newest of their times count.
pub(crate) fn match_to_objects<'a>(
    samples: &[SourceSample],
    held: &Held<'_>,
    label: &str,
    names: &[&'a str],
    ages: Ages,
    now: Timestamp,
    unused: &mut Unused,
) -> HashMap<&'a str, Measured> {
    let wanted: HashMap<&str, &'a str> = names.iter().map(|&name| (name, name)).collect();
    let mut values: HashMap<&'a str, Measured> = HashMap::new();
    unused.series += samples.len();
    for sample in samples {
        let Some(object) = sample.labels.get(label) else {
            unused.unlabelled += 1;
            continue;
        };
        let Some(&name) = wanted.get(object) else {
            unused.foreign += 1;
            continue;
        };
        let Some(measured) = measure(sample.value, sample.timestamp, held.concerns(&sample.labels), ages, now, unused)
        else {
            continue;
        };
        match values.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(measured);
            }
            Entry::Occupied(mut entry) => {
                unused.duplicates += 1;
                let total = entry.get_mut();
                total.value += measured.value;
                total.timestamp = total.timestamp.max(measured.timestamp);
                total.state = total.state.max(measured.state);
            }
        }
    }
    values
}

/// Held series that are compared with each element. With more of them half a cluster does not answer, and
/// then all elements count as held.
const MAX_HELD_EXAMINED: usize = 100;

/// The held and the missing series behind an answer.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    series: &'a [Labels],
    /// These are in no element, so that they concern only those which aggregate over them.
    missing: &'a [Labels],
    /// Some held series matches no element, so that it cannot be told which elements it went into.
    concerns_all: bool,
}

impl<'a> Held<'a> {
    /// Takes an answer and its elements.
    pub(crate) fn new(answer: &'a InstantAnswer, elements: &[SourceSample]) -> Self {
        let (series, missing) = (answer.held.as_slice(), answer.missing.as_slice());
        let astray = |held: &Labels| !elements.iter().any(|element| may_come_from(&element.labels, held));
        let too_many = series.len() + missing.len() > MAX_HELD_EXAMINED;
        Self { series, missing, concerns_all: too_many || series.iter().any(astray) }
    }

    /// Whether a held series may be an input of this element, or a missing one should be.
    pub(crate) fn concerns(&self, element: &Labels) -> bool {
        let mut series = self.series.iter().chain(self.missing);
        self.concerns_all || series.any(|held| may_come_from(element, held))
    }
}

/// Whether no label contradicts: an aggregation keeps some labels of its inputs and changes none.
fn may_come_from(element: &Labels, held: &Labels) -> bool {
    let mut labels = element.iter().filter(|(name, _)| *name != datamodel::METRIC_NAME);
    labels.all(|(name, value)| held.get(name).is_none_or(|own| own == value))
}
