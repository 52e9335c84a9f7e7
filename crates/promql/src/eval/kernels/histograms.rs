//! Rates, sums and means of native histograms.
//!
//! Rule: what does not fit together gives no sample and a warning, as upstream words it.

use std::sync::Arc;

use datamodel::Histogram;
use datamodel::histogram::{CounterResetHint, HistogramSum, Reconciled};

use crate::annotations::{HistogramOperation, Note};
use crate::eval::Evaluator;
use crate::eval::kernels::Call;
use crate::eval::kernels::rate::{Ends, has_overlap, start_within};
use crate::eval::range::is_restart;
use crate::eval::series::Made;
use crate::span::Span;

/// Notes of one kernel; only what is still true at its end is told.
#[derive(Default)]
pub(super) struct Pending(Vec<Note>);

impl Pending {
    pub(super) fn add(&mut self, note: Note) {
        self.0.push(note);
    }

    pub(super) fn reconciled(&mut self, reconciled: Reconciled, operation: HistogramOperation) {
        if reconciled.mismatched_bounds {
            self.add(Note::MismatchedCustomBuckets(operation));
        }
    }

    pub(super) fn tell(self, evaluator: &Evaluator<'_>, span: Span) {
        self.0.into_iter().for_each(|note| evaluator.note(note, span));
    }
}

/// Whether counter resets were told and denied within one sum.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::eval) struct ResetHints {
    reset: bool,
    not_reset: bool,
}

impl ResetHints {
    pub(in crate::eval) fn see(&mut self, histogram: &Histogram) {
        match histogram.counter_reset_hint {
            CounterResetHint::CounterReset => self.reset = true,
            CounterResetHint::NotCounterReset => self.not_reset = true,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
    }

    pub(in crate::eval) const fn conflict(self) -> bool {
        self.reset && self.not_reset
    }
}

/// A mean of histograms that goes on incrementally when the sum would overflow.
#[derive(Clone, Debug)]
pub(in crate::eval) struct HistogramMean {
    sum: HistogramSum,
    is_incremental: bool,
    count: f64,
}

impl HistogramMean {
    pub(in crate::eval) fn new(first: &Histogram) -> Self {
        Self { sum: HistogramSum::new(first), is_incremental: false, count: 1.0 }
    }

    pub(in crate::eval) fn add(
        &mut self,
        histogram: &Histogram,
    ) -> Result<Reconciled, datamodel::histogram::IncompatibleBuckets> {
        self.count += 1.0;
        if !self.is_incremental {
            let mut sum = self.sum.clone();
            let reconciled = sum.add(histogram)?;
            if !sum.has_overflow() {
                self.sum = sum;
                return Ok(reconciled);
            }
            self.is_incremental = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.scale((self.count - 1.0) / self.count);
        self.sum.add(&histogram.divided(self.count))
    }

    pub(in crate::eval) fn total(mut self) -> Histogram {
        if !self.is_incremental {
            self.sum.divide(self.count);
        }
        self.sum.total()
    }
}

fn is_gauge(histogram: &Histogram) -> bool {
    histogram.counter_reset_hint == CounterResetHint::Gauge
}

impl Evaluator<'_> {
    /// `rate`, `increase` and `delta` of histograms.
    pub(super) fn histogram_rate(&self, call: &Call<'_>, is_counter: bool, is_rate: bool) -> Option<Made> {
        let points = call.window.histograms;
        let ((first_time, first), (last_time, _)) = (points.first()?, points.last()?);
        let mut change = if points.len() > 1 { Some(self.histogram_change(call, is_counter)?) } else { None };
        let ends = Ends::new((call.start, call.end), (*first_time, *last_time), points.len() - 1);
        let start = start_within(call, call.window.histogram_starts, *first_time).filter(|_| is_counter);
        let mut factor = match (start, &change) {
            (Some(start), _) => {
                change = Some(self.with_first(call, change, first)?);
                ends.factor_from_start(start, *last_time)
            }
            (None, None) => return None,
            (None, Some(change)) => {
                let share = || first.count / change.count;
                ends.factor((is_counter && change.count > 0.0 && first.count >= 0.0).then(share))
            }
        };
        if is_rate {
            factor /= call.range_seconds();
        }
        Some(Made::from(change?.scaled(factor)))
    }

    /// The change with what the first histogram holds: its counter started within the range.
    fn with_first(&self, call: &Call<'_>, change: Option<Histogram>, first: &Histogram) -> Option<Histogram> {
        let Some(change) = change else { return Some(first.clone()) };
        let Ok((sum, reconciled)) = change.plus(first) else {
            self.note(Note::MixedExponentialCustom { metric: call.metric.to_owned() }, call.span);
            return None;
        };
        if reconciled.mismatched_bounds {
            self.note(Note::MismatchedCustomBuckets(HistogramOperation::Addition), call.span);
        }
        Some(sum)
    }

    fn histogram_change(&self, call: &Call<'_>, is_counter: bool) -> Option<Histogram> {
        let mixed = Note::MixedExponentialCustom { metric: call.metric.to_owned() };
        let mut notes = Pending::default();
        let result = counted_change(call, is_counter, &mut notes);
        match result {
            Change::Done(histogram) => {
                notes.tell(self, call.span);
                Some(histogram)
            }
            Change::MixedEnds => {
                notes.add(mixed);
                notes.tell(self, call.span);
                None
            }
            // What was noted before no longer counts.
            Change::Mixed => {
                self.note(mixed, call.span);
                None
            }
        }
    }

    /// `irate` and `idelta`: of the last two samples, of whichever kind.
    pub(super) fn instant_change(&self, call: &Call<'_>, is_rate: bool) -> Option<Made> {
        let window = &call.window;
        let start = |starts: &[i64], place: usize| starts.get(place).copied().unwrap_or(0);
        let floats = window.times.iter().zip(window.values).enumerate().rev().take(2);
        let floats = floats.map(|(at, (time, value))| (*time, start(window.starts, at), Made::Float(*value)));
        let histograms =
            window.histograms.iter().enumerate().rev().take(2).map(|(at, (time, value))| {
                (*time, start(window.histogram_starts, at), Made::Histogram(Arc::clone(value)))
            });
        let mut newest: Vec<(i64, i64, Made)> = floats.chain(histograms).collect();
        newest.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let [(last_time, last_start, last), (before_time, before_start, before), ..] = newest.as_slice() else {
            return None;
        };
        let restarted = is_restart((*before_time, *before_start), (*last_time, *last_start));
        let interval = last_time - before_time;
        if interval == 0 {
            return None;
        }
        let seconds = interval as f64 / 1000.0;
        match (before, last) {
            (Made::Float(before), Made::Float(last)) => {
                let change = if is_rate && (last < before || restarted) { *last } else { last - before };
                Some(Made::Float(if is_rate { change / seconds } else { change }))
            }
            (Made::Histogram(before), Made::Histogram(last)) => {
                let change = self.instant_histogram_change(call, before, last, (is_rate, restarted))?;
                Some(Made::from(if is_rate { change.divided(seconds) } else { change }))
            }
            _ => {
                self.note_mixed(call, call.args_span);
                None
            }
        }
    }

    fn instant_histogram_change(
        &self,
        call: &Call<'_>,
        before: &Histogram,
        last: &Histogram,
        (is_rate, restarted): (bool, bool),
    ) -> Option<Histogram> {
        let metric = || call.metric.to_owned();
        if is_rate && (is_gauge(before) || is_gauge(last)) {
            self.note(Note::NotCounter { metric: metric() }, call.args_span);
        }
        if !(is_rate || is_gauge(before) && is_gauge(last)) {
            self.note(Note::NotGauge { metric: metric() }, call.args_span);
        }
        let mut change = last.clone();
        if !is_rate || !(restarted || last.is_reset_from(before)) {
            let Ok((difference, reconciled)) = last.minus(before) else {
                self.note(Note::MixedExponentialCustom { metric: metric() }, call.args_span);
                return None;
            };
            if reconciled.mismatched_bounds {
                self.note(Note::MismatchedCustomBuckets(HistogramOperation::Subtraction), call.args_span);
            }
            change = difference;
        }
        change.counter_reset_hint = CounterResetHint::Gauge;
        Some(change.compacted())
    }

    /// `sum_over_time` and `avg_over_time` of histograms.
    pub(super) fn histograms_over_time(&self, call: &Call<'_>, is_mean: bool) -> Option<Made> {
        let ((_, first), rest) = call.window.histograms.split_first()?;
        let mut hints = ResetHints::default();
        hints.see(first);
        let mut notes = Pending::default();
        let mut mean = HistogramMean::new(first);
        let mut sum = HistogramSum::new(first);
        for (_, histogram) in rest {
            hints.see(histogram);
            let added = if is_mean { mean.add(histogram) } else { sum.add(histogram) };
            let Ok(reconciled) = added else {
                self.note(Note::MixedExponentialCustom { metric: call.metric.to_owned() }, call.span);
                return None;
            };
            notes.reconciled(reconciled, HistogramOperation::Aggregation);
        }
        if hints.conflict() {
            notes.add(Note::CounterResetCollision(HistogramOperation::Aggregation));
        }
        notes.tell(self, call.span);
        Some(Made::from(if is_mean { mean.total() } else { sum.total() }))
    }
}

enum Change {
    Done(Histogram),
    /// The ends of the range are of different kinds.
    MixedEnds,
    /// Something between them is.
    Mixed,
}

/// Places of histograms whose counter started after the one before them.
fn restarts(call: &Call<'_>) -> Vec<usize> {
    let window = &call.window;
    let samples = || window.histograms.iter().map(|(at, _)| *at).zip(window.histogram_starts.iter().copied());
    let pairs = samples().zip(samples().skip(1)).enumerate();
    pairs.filter(|(_, (before, next))| is_restart(*before, *next)).map(|(at, _)| at + 1).collect()
}

/// What was counted between the first and the last histogram.
fn counted_change(call: &Call<'_>, is_counter: bool, notes: &mut Pending) -> Change {
    let points = call.window.histograms;
    let (Some((_, first)), Some((_, last)), Some((_, second))) = (points.first(), points.last(), points.get(1)) else {
        return Change::Mixed;
    };
    let not_counter = || Note::NotCounter { metric: call.metric.to_owned() };
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        notes.add(not_counter());
    }
    let mut before = Arc::clone(first);
    let restarts = restarts(call);
    if is_counter && (restarts.contains(&1) || second.is_reset_from(first)) {
        // What the first one looked like no longer matters.
        before = Arc::new(Histogram {
            schema: second.schema,
            custom_values: Arc::clone(&second.custom_values),
            ..Histogram::default()
        });
    }
    let is_custom = before.has_custom_buckets();
    if last.has_custom_buckets() != is_custom {
        return Change::MixedEnds;
    }
    let mut schema = last.schema.min(before.schema);
    if is_counter {
        for (_, point) in points.get(1..points.len() - 1).unwrap_or_default() {
            if is_gauge(point) {
                notes.add(not_counter());
            }
            schema = schema.min(point.schema);
            if point.has_custom_buckets() != is_custom {
                return Change::Mixed;
            }
        }
    }
    let mut change = HistogramSum::new(&last.in_schema(schema));
    let Ok(reconciled) = change.subtract(&before) else { return Change::Mixed };
    notes.reconciled(reconciled, HistogramOperation::Subtraction);
    if is_counter {
        let times = points.iter().map(|(at, _)| *at);
        if has_overlap(times, call.window.histogram_starts) {
            notes.add(Note::StartTimeOverlap { metric: call.metric.to_owned() });
        }
        for (place, (_, point)) in points.iter().enumerate().skip(1) {
            if restarts.contains(&place) || point.is_reset_from(&before) {
                let Ok(reconciled) = change.add(&before) else { return Change::Mixed };
                notes.reconciled(reconciled, HistogramOperation::Addition);
            }
            before = Arc::clone(point);
        }
    } else if !(is_gauge(first) && is_gauge(last)) {
        notes.add(Note::NotGauge { metric: call.metric.to_owned() });
    }
    let mut change = change.total();
    change.counter_reset_hint = CounterResetHint::Gauge;
    Change::Done(change.compacted())
}
