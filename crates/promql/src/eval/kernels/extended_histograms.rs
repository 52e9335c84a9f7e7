//! `anchored` and `smoothed` for native histograms.
//!
//! Rule: between two histograms every count is interpolated; after a reset counting starts from nothing.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::histogram::{CounterResetHint, IncompatibleBuckets};

use crate::annotations::{HistogramOperation, Note};
use crate::ast::RangeMode;
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::kernels::extended::extended_places;
use crate::eval::kernels::histograms::Pending;
use crate::eval::range::Window;
use crate::eval::series::Made;
use crate::span::Span;

type Timed = (i64, Arc<Histogram>);

/// The histogram between two others.
fn interpolate(
    before: &Timed,
    after: &Timed,
    at: i64,
    is_counter: bool,
    notes: &mut Pending,
) -> Result<Histogram, IncompatibleBuckets> {
    if at == before.0 {
        return Ok(Histogram::clone(&before.1));
    }
    if at == after.0 {
        return Ok(Histogram::clone(&after.1));
    }
    let fraction = (at - before.0) as f64 / (after.0 - before.0) as f64;
    if is_counter && after.1.is_reset_from(&before.1) {
        return Ok(after.1.scaled(fraction));
    }
    let (difference, reconciled) = after.1.minus(&before.1)?;
    notes.reconciled(reconciled, HistogramOperation::Subtraction);
    let (sum, reconciled) = difference.scaled(fraction).plus(&before.1)?;
    notes.reconciled(reconciled, HistogramOperation::Addition);
    Ok(sum)
}

/// An extended range: its histograms and the places of the first and last that count.
struct Extended<'a> {
    points: &'a [Timed],
    first: usize,
    last: usize,
    is_smoothed: bool,
    start: i64,
    end: i64,
}

impl<'a> Extended<'a> {
    fn new(call: &Call<'a>) -> Option<Self> {
        let points = call.window.histograms;
        let times: Vec<i64> = points.iter().map(|(at, _)| *at).collect();
        let (first, last) = extended_places(&times, call.start, call.end, call.mode)?;
        let is_smoothed = call.mode == RangeMode::Smoothed;
        Some(Self { points, first, last, is_smoothed, start: call.start, end: call.end })
    }

    fn left(&self, is_counter: bool, notes: &mut Pending) -> Option<Result<Histogram, IncompatibleBuckets>> {
        let first = self.points.get(self.first)?;
        if self.is_smoothed && first.0 < self.start {
            return Some(interpolate(first, self.points.get(self.first + 1)?, self.start, is_counter, notes));
        }
        Some(Ok(Histogram::clone(&first.1)))
    }

    fn right(&self, is_counter: bool, notes: &mut Pending) -> Option<Result<Histogram, IncompatibleBuckets>> {
        let last = self.points.get(self.last)?;
        if self.is_smoothed && self.last > 0 && last.0 > self.end {
            return Some(interpolate(self.points.get(self.last - 1)?, last, self.end, is_counter, notes));
        }
        Some(Ok(Histogram::clone(&last.1)))
    }

    /// What was counted before the resets within the range.
    fn correction(
        &self,
        left: &Histogram,
        right: &Histogram,
        notes: &mut Pending,
    ) -> Result<Option<Histogram>, IncompatibleBuckets> {
        let mut from = self.first + 1;
        let mut before = left;
        if let (Some(first), Some(next)) = (self.points.get(self.first), self.points.get(self.first + 1))
            && self.is_smoothed
            && first.0 < self.start
            && next.1.is_reset_from(&first.1)
        {
            // The interpolation at the start spans this reset already.
            before = &next.1;
            from += 1;
        }
        // `right` stands for the last one.
        if from > self.last {
            return Ok(None);
        }
        let mut correction: Option<Histogram> = None;
        let between = self.points.get(from..self.last).unwrap_or_default().iter().map(|(_, histogram)| &**histogram);
        for histogram in between.chain([right]) {
            if histogram.is_reset_from(before) {
                correction = Some(match correction {
                    None => before.clone(),
                    Some(sum) => {
                        let (sum, reconciled) = sum.plus(before)?;
                        notes.reconciled(reconciled, HistogramOperation::Addition);
                        sum
                    }
                });
            }
            before = histogram;
        }
        Ok(correction)
    }
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta` of an extended range of histograms.
    pub(super) fn extended_histogram_rate(&self, call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<Made> {
        let extended = Extended::new(call)?;
        let mut notes = Pending::default();
        let result = extended_change(call, &extended, is_counter, &mut notes);
        if matches!(result, Some(Err(IncompatibleBuckets))) {
            notes.add(Note::MixedExponentialCustom { metric: call.metric.to_owned() });
        }
        notes.tell(self, call.span);
        let mut change = result?.ok()?;
        if is_rate {
            change = change.divided(call.range_seconds());
        }
        change.counter_reset_hint = CounterResetHint::Gauge;
        Some(Made::from(change.compacted()))
    }

    /// The histogram of a smoothed instant selector.
    pub(in crate::eval) fn smoothed_histogram_at(
        &self,
        window: &Window<'_>,
        at: i64,
        metric: &str,
        span: Span,
    ) -> Option<Histogram> {
        let points = window.histograms;
        let next = points.partition_point(|(time, _)| *time < at);
        let before = next.checked_sub(1).and_then(|place| points.get(place));
        match (before, points.get(next)) {
            (_, Some((time, histogram))) if *time == at => Some(Histogram::clone(histogram)),
            (Some(before), Some(after)) => {
                let is_gauge = |point: &Timed| point.1.counter_reset_hint == CounterResetHint::Gauge;
                let is_counter = !(is_gauge(before) && is_gauge(after));
                let mut notes = Pending::default();
                let is_mixed = before.1.has_custom_buckets() != after.1.has_custom_buckets();
                let found = interpolate(before, after, at, is_counter, &mut notes);
                let found = if is_mixed { Err(IncompatibleBuckets) } else { found };
                if found.is_err() {
                    notes.add(Note::MixedExponentialCustom { metric: metric.to_owned() });
                }
                notes.tell(self, span);
                found.ok()
            }
            (Some((_, histogram)), None) => {
                let mut carried = Histogram::clone(histogram);
                carried.counter_reset_hint = CounterResetHint::Unknown;
                Some(carried)
            }
            (None, _) => None,
        }
    }
}

fn extended_change(
    call: &Call<'_>,
    extended: &Extended<'_>,
    is_counter: bool,
    notes: &mut Pending,
) -> Option<Result<Histogram, IncompatibleBuckets>> {
    let counted = extended.points.get(extended.first..=extended.last)?;
    let is_custom = counted.first()?.1.has_custom_buckets();
    for (_, histogram) in counted {
        if histogram.has_custom_buckets() != is_custom {
            return Some(Err(IncompatibleBuckets));
        }
        if is_counter && histogram.counter_reset_hint == CounterResetHint::Gauge {
            notes.add(Note::NotCounter { metric: call.metric.to_owned() });
        }
    }
    let left = match extended.left(is_counter, notes)? {
        Ok(left) => left,
        Err(error) => return Some(Err(error)),
    };
    let right = match extended.right(is_counter, notes)? {
        Ok(right) => right,
        Err(error) => return Some(Err(error)),
    };
    let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    if !(is_counter || is_gauge(&left) && is_gauge(&right)) {
        notes.add(Note::NotGauge { metric: call.metric.to_owned() });
    }
    Some(difference(extended, &left, &right, is_counter, notes))
}

fn difference(
    extended: &Extended<'_>,
    left: &Histogram,
    right: &Histogram,
    is_counter: bool,
    notes: &mut Pending,
) -> Result<Histogram, IncompatibleBuckets> {
    let (mut change, reconciled) = right.minus(left)?;
    notes.reconciled(reconciled, HistogramOperation::Subtraction);
    if is_counter && let Some(correction) = extended.correction(left, right, notes)? {
        let (sum, reconciled) = change.plus(&correction)?;
        notes.reconciled(reconciled, HistogramOperation::Addition);
        change = sum;
    }
    Ok(change)
}
