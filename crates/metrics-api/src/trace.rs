//! How an answer came about, for those who explain it.
//!
//! - [`Trace`]: the rule, the queries, the series behind the values. [`TracedRule`], [`TracedSeries`].
//!
//! Rule: it is filled as far as a question came, so that a question without answer has one too; nothing is traced
//! that nobody asked to see.

use datamodel::quantity::Quantity;
use datamodel::{Labels, Timestamp};

use crate::hold::{Ages, SampleState};
use crate::naming::Rule;
use crate::registry::{Entry, RuleId};
use crate::source::{InstantAnswer, InstantValue, SourceSample};
use crate::values::Held;

/// Series of a trace; a table of more is read by nobody.
const MAX_TRACED: usize = 200;

/// How an answer came about, as far as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The rule that answers for the metric.
    pub rule: Option<TracedRule>,
    /// What was asked.
    pub queries: Vec<String>,
    /// For when.
    pub at: Option<Timestamp>,
    /// What the source gave, and what was missing in it; at most 200.
    pub series: Vec<TracedSeries>,
    /// Series beyond those.
    pub more_series: usize,
}

/// The rule that answers for a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedRule {
    /// Which one.
    pub id: RuleId,
    /// Its `seriesQuery`.
    pub series_query: String,
    /// Its `metricsQuery`, as it is written.
    pub metrics_query: String,
    /// The series that it found.
    pub series: String,
    /// The label that names the objects; none for external metrics.
    pub label: Option<String>,
}

/// A series behind an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedSeries {
    /// Its labels; none for a scalar.
    pub labels: Labels,
    /// Its value; none where the target has not answered for so long that there is none.
    pub value: Option<f64>,
    /// When its newest input was taken.
    pub timestamp: Option<Timestamp>,
    /// How it stands.
    pub state: TracedState,
    /// The object that it belongs to, by the label of the rule.
    pub object: Option<String>,
}

/// How a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracedState {
    /// It is a value.
    Counts(SampleState),
    /// It is too old to count.
    Expired,
    /// It is not a finite number.
    NotFinite,
    /// It is not in the answer, although its target is known.
    Missing,
}

impl Trace {
    pub(crate) fn found(&mut self, id: RuleId, rule: &Rule, entry: &Entry) {
        self.rule = Some(TracedRule {
            id,
            series_query: rule.series_query.clone(),
            metrics_query: rule.query.source().to_owned(),
            series: entry.series.clone(),
            label: None,
        });
    }

    pub(crate) fn asks(&mut self, queries: &[String], label: Option<&str>, at: Timestamp) {
        self.queries = queries.to_vec();
        self.at = Some(at);
        if let Some(rule) = &mut self.rule {
            rule.label = label.map(str::to_owned);
        }
    }

    pub(crate) fn answered(&mut self, answer: &InstantAnswer, ages: Ages, now: Timestamp) {
        let label = self.rule.as_ref().and_then(|rule| rule.label.clone());
        let object = |labels: &Labels| label.as_deref().and_then(|label| labels.get(label)).map(str::to_owned);
        let samples: &[SourceSample] = if let InstantValue::Vector(samples) = &answer.value { samples } else { &[] };
        let held = Held::new(answer, samples);
        for sample in samples {
            self.add(|| TracedSeries {
                labels: sample.labels.clone(),
                value: Some(sample.value),
                timestamp: Some(sample.timestamp),
                state: state(sample.value, sample.timestamp, held.concerns(&sample.labels), ages, now),
                object: object(&sample.labels),
            });
        }
        if let InstantValue::Scalar(value) = answer.value {
            let is_held = !(answer.held.is_empty() && answer.missing.is_empty());
            let state = state(value, now, is_held, ages, now);
            let labels = Labels::empty();
            self.add(|| TracedSeries { labels, value: Some(value), timestamp: Some(now), state, object: None });
        }
        for labels in &answer.missing {
            self.add(|| TracedSeries {
                labels: labels.clone(),
                value: None,
                timestamp: None,
                state: TracedState::Missing,
                object: object(labels),
            });
        }
    }

    fn add(&mut self, series: impl FnOnce() -> TracedSeries) {
        if self.series.len() < MAX_TRACED {
            self.series.push(series());
        } else {
            self.more_series += 1;
        }
    }
}

/// As [`measure`](crate::values::measure) judges.
fn state(value: f64, timestamp: Timestamp, is_held: bool, ages: Ages, now: Timestamp) -> TracedState {
    if Quantity::from_f64_truncated(value).is_none() {
        return TracedState::NotFinite;
    }
    match ages.state(timestamp, now) {
        None => TracedState::Expired,
        Some(_) if is_held => TracedState::Counts(SampleState::Held),
        Some(state) => TracedState::Counts(state),
    }
}

#[cfg(test)]
mod tests;
