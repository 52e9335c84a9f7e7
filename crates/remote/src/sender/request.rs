//! From samples to a message.
//!
//! Rule: what is left out is counted with its reason.

use datamodel::relabel::{self, RelabelRule, Verdict};
use datamodel::{Labels, LabelsBuilder, Timestamp};

use super::queue::{Item, Payload};
use crate::wire::{Exemplar, TimeSeries, WireHistogram, WireSample, WriteRequest};

/// How many samples of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, value: &Payload) {
        match value {
            Payload::Float(_) => self.samples += 1,
            Payload::Histogram(_) => self.histograms += 1,
            Payload::Exemplar(_) => self.exemplars += 1,
        }
    }

    pub(super) fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut counts = Self::default();
        items.into_iter().for_each(|item| counts.add(&item.value));
        counts
    }

    pub(super) const fn total(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }
}

/// A message with what it holds.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) request: WriteRequest,
    pub(super) sent: Counts,
    /// Left out by relabelling.
    pub(super) unwanted: Counts,
    /// The newest sample in it.
    pub(super) newest: Option<Timestamp>,
}

/// What happens to labels on their way.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) external_labels: Labels,
    pub(super) rules: Vec<RelabelRule>,
}

impl Shape {
    /// The labels as they are sent; none where relabelling drops the series.
    fn labels(&self, labels: &Labels) -> Option<Labels> {
        if self.external_labels.is_empty() && self.rules.is_empty() {
            return Some(labels.clone());
        }
        let mut builder = LabelsBuilder::new(labels);
        for (name, value) in &self.external_labels {
            if labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        let verdict = relabel::apply(&mut builder, &self.rules);
        let labels = builder.build();
        (verdict == Verdict::Keep && !labels.is_empty()).then_some(labels)
    }

    /// The message.
    pub(super) fn build(&self, items: &[Item]) -> Built {
        let mut built = Built::default();
        for Item { labels, at, value } in items {
            let Some(labels) = self.labels(labels) else {
                built.unwanted.add(value);
                continue;
            };
            built.sent.add(value);
            built.newest = built.newest.max(Some(*at));
            let mut series = TimeSeries { labels, ..TimeSeries::default() };
            match value {
                Payload::Float(value) => series.samples.push(WireSample { at: *at, value: *value, start: None }),
                Payload::Histogram(histogram) => {
                    let histogram = histogram.as_ref().clone();
                    series.histograms.push(WireHistogram { at: *at, histogram, start: None });
                }
                Payload::Exemplar(exemplar) => {
                    let (labels, value) = (exemplar.labels.clone(), exemplar.value);
                    series.exemplars.push(Exemplar { labels, value, at: *at });
                }
            }
            match built.request.series.last_mut() {
                Some(last) if last.labels == series.labels => {
                    last.samples.append(&mut series.samples);
                    last.histograms.append(&mut series.histograms);
                    last.exemplars.append(&mut series.exemplars);
                }
                _ => built.request.series.push(series),
            }
        }
        built
    }
}
