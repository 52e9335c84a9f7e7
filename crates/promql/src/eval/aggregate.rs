//! Aggregations that answer one series for each group.
//!
//! - [`Groups`]: from labels to groups; [`Accumulator`]: what a group holds at each step.
//!
//! Rule: input series are folded in as they come and dropped; a group holds one state for each step.

use std::collections::HashMap;

use datamodel::histogram::HistogramSum;
use datamodel::labels::Labels;
use datamodel::sum::KahanSum;
use datamodel::{Histogram, LabelsBuilder, METRIC_NAME};

use crate::annotations::{HistogramOperation, Note};
use crate::ast::AggregateOp;
use crate::error::EvalError;
use crate::eval::kernels::{HistogramMean, ResetHints};
use crate::eval::series::{Column, EvalSeries, Grid, Made, Merger, NO_INPUT, Point, PointKey};
use crate::eval::{Evaluator, ScalarColumn, Sink};
use crate::numbers::{Mean, quantile};
use crate::plan::AggregatePlan;
use crate::printer::PlainNumber;

impl AggregatePlan {
    /// The labels of the group to which a series belongs.
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        let is_listed = |name: &str| self.grouping.binary_search_by(|label| (**label).cmp(name)).is_ok();
        if self.is_without {
            labels.filter(|name| name != METRIC_NAME && !is_listed(name))
        } else if self.grouping.is_empty() {
            Labels::empty()
        } else {
            labels.filter(is_listed)
        }
    }
}

/// A group with its states.
struct Group {
    labels: Labels,
    accumulator: Accumulator,
    /// Native histograms at each step; empty as long as there are none.
    histograms: Vec<Option<Box<HistogramState>>>,
    newest: i64,
    /// The last step at which the group has a sample, and whether one of that step loses its name.
    last: usize,
    drop_name: bool,
}

/// Count, mean and sum of squared deviations (Welford).
#[derive(Clone, Copy)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Variance {
    fn new(first: f64) -> Self {
        Self { count: 1.0, mean: first, squares: if first.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
}

/// What `sum` and `avg` keep of native histograms.
#[derive(Clone)]
enum HistogramTotal {
    Sum(HistogramSum),
    Mean(HistogramMean),
}

/// Native histograms of a sum or mean at one step.
#[derive(Clone)]
struct HistogramState {
    total: HistogramTotal,
    hints: ResetHints,
    /// Exponential and custom buckets met: nothing more counts.
    is_incompatible: bool,
}

/// What a group holds at each step; `None` as long as it has seen nothing there.
enum Accumulator {
    Sum(Vec<Option<KahanSum>>),
    Avg(Vec<Option<Mean>>),
    Count(Vec<u64>),
    Extreme { best: Column, is_max: bool },
    Variance(Vec<Option<Variance>>),
    Quantile(Vec<Vec<f64>>),
}

impl Accumulator {
    fn new(op: AggregateOp, steps: usize) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(vec![None; steps]),
            AggregateOp::Avg => Self::Avg(vec![None; steps]),
            AggregateOp::Min | AggregateOp::Max => {
                Self::Extreme { best: Column::new(steps), is_max: op == AggregateOp::Max }
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => Self::Variance(vec![None; steps]),
            AggregateOp::Quantile => Self::Quantile(vec![Vec::new(); steps]),
            _ => Self::Count(vec![0; steps]),
        }
    }

    /// Bytes for each step.
    const fn step_bytes(op: AggregateOp) -> usize {
        match op {
            AggregateOp::Sum => size_of::<Option<KahanSum>>(),
            AggregateOp::Avg => size_of::<Option<Mean>>(),
            AggregateOp::Stddev | AggregateOp::Stdvar => size_of::<Option<Variance>>(),
            AggregateOp::Quantile => size_of::<Vec<f64>>(),
            _ => 9,
        }
    }

    fn add_float(&mut self, index: usize, value: f64) {
        match self {
            Self::Sum(states) => {
                let Some(state) = states.get_mut(index) else { return };
                match state {
                    Some(sum) => sum.add(value),
                    None => *state = Some(KahanSum::new(value)),
                }
            }
            Self::Avg(states) => {
                let Some(state) = states.get_mut(index) else { return };
                match state {
                    Some(mean) => mean.add(value),
                    None => *state = Some(Mean::new(value)),
                }
            }
            Self::Count(counts) => {
                if let Some(count) = counts.get_mut(index) {
                    *count += 1;
                }
            }
            Self::Extreme { best, is_max } => {
                let is_better = match best.float(index) {
                    None => true,
                    Some(best) => best.is_nan() || if *is_max { best < value } else { best > value },
                };
                if is_better {
                    best.set(index, value);
                }
            }
            Self::Variance(states) => {
                let Some(state) = states.get_mut(index) else { return };
                match state {
                    Some(variance) => variance.add(value),
                    None => *state = Some(Variance::new(value)),
                }
            }
            Self::Quantile(values) => {
                if let Some(values) = values.get_mut(index) {
                    values.push(value);
                }
            }
        }
    }

    /// Adds a column without histograms. Its last step that has a value.
    fn add_floats(&mut self, column: &Column) -> Option<usize> {
        let mut last = None;
        if let Self::Sum(states) = self {
            for (index, value) in column.floats() {
                match states.get_mut(index) {
                    Some(Some(sum)) => sum.add(value),
                    Some(state) => *state = Some(KahanSum::new(value)),
                    None => {}
                }
                last = Some(index);
            }
            return last;
        }
        for (index, value) in column.floats() {
            self.add_float(index, value);
            last = Some(index);
        }
        last
    }

    fn finish(&mut self, op: AggregateOp, index: usize, q: &ScalarColumn) -> Option<f64> {
        match self {
            Self::Sum(states) => states.get(index).copied().flatten().map(KahanSum::total),
            Self::Avg(states) => states.get(index).copied().flatten().map(Mean::value),
            Self::Count(counts) => {
                let count = *counts.get(index)?;
                if count == 0 {
                    return None;
                }
                Some(if op == AggregateOp::Group { 1.0 } else { count as f64 })
            }
            Self::Extreme { best, .. } => best.float(index),
            Self::Variance(states) => {
                let state = states.get(index).copied().flatten()?;
                let variance = state.squares / state.count;
                Some(if op == AggregateOp::Stddev { variance.sqrt() } else { variance })
            }
            Self::Quantile(values) => {
                let values = values.get_mut(index)?;
                if values.is_empty() { None } else { Some(quantile(q.at(index), values)) }
            }
        }
    }
}

/// Finds groups by labels.
#[derive(Default)]
pub(super) struct Groups(HashMap<Labels, usize>);

impl Groups {
    /// The number of the group and whether it is new.
    pub(super) fn find(&mut self, labels: Labels) -> (usize, bool) {
        let next = self.0.len();
        let number = *self.0.entry(labels).or_insert(next);
        (number, number == next)
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, plan: &AggregatePlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        match plan.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.select_k(plan, grid, sink)
            }
            AggregateOp::CountValues => self.count_values(plan, grid, sink),
            _ => self.fold(plan, grid, sink),
        }
    }

    fn fold(&self, plan: &AggregatePlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let param = match &plan.param {
            Some(param) => self.scalar(&param.plan, grid)?,
            None => ScalarColumn::constant(0.0),
        };
        if plan.op == AggregateOp::Quantile {
            self.check_quantiles(plan, &param, grid);
        }
        let mut groups = Groups::default();
        let mut states: Vec<Group> = Vec::new();
        let mut memory = self.budget.reservation();
        self.vector(&plan.input, grid, &mut |series| {
            let labels = plan.group_labels(&series.labels);
            let (number, is_new) = groups.find(labels.clone());
            if is_new {
                memory.grow(Accumulator::step_bytes(plan.op).saturating_mul(grid.steps) + labels.byte_len())?;
                let accumulator = Accumulator::new(plan.op, grid.steps);
                states.push(Group {
                    labels,
                    accumulator,
                    histograms: Vec::new(),
                    newest: NO_INPUT,
                    last: 0,
                    drop_name: false,
                });
            }
            if plan.op == AggregateOp::Quantile || series.column.has_histograms() {
                memory.grow(series.byte_len())?;
            }
            let Some(group) = states.get_mut(number) else { return Ok(()) };
            self.fold_series(plan, group, &series);
            Ok(())
        })?;
        for mut group in states {
            let mut column = Column::new(grid.steps);
            for index in 0..grid.steps {
                let histogram = group.histograms.get_mut(index).and_then(Option::take);
                let float = group.accumulator.finish(plan.op, index, &param);
                if let Some(made) = self.finish_step(plan, float, histogram) {
                    column.set_made(index, made);
                }
            }
            if !column.is_empty() {
                let newest = group.newest;
                sink(EvalSeries { labels: group.labels, drop_name: group.drop_name, column, newest })?;
            }
        }
        Ok(())
    }

    fn fold_series(&self, plan: &AggregatePlan, group: &mut Group, series: &EvalSeries) {
        group.newest = group.newest.max(series.newest);
        let is_plain = !series.column.has_histograms() && group.histograms.is_empty();
        let last =
            if is_plain { group.accumulator.add_floats(&series.column) } else { self.fold_points(plan, group, series) };
        // Names go where a sample of the group's last step loses its name.
        if let Some(last) = last {
            if last > group.last {
                (group.last, group.drop_name) = (last, series.drop_name);
            } else if last == group.last {
                group.drop_name |= series.drop_name;
            }
        }
    }

    /// Adds floats and native histograms. The last step that counted.
    fn fold_points(&self, plan: &AggregatePlan, group: &mut Group, series: &EvalSeries) -> Option<usize> {
        let mut last = None;
        for (index, point) in series.column.iter() {
            let state = group.histograms.get(index).and_then(Option::as_ref);
            if state.is_some_and(|state| state.is_incompatible) {
                continue;
            }
            match (point, plan.op) {
                (Point::Float(value), _) => group.accumulator.add_float(index, value),
                (Point::Histogram(_), AggregateOp::Count | AggregateOp::Group) => {
                    group.accumulator.add_float(index, 0.0);
                }
                (Point::Histogram(histogram), AggregateOp::Sum | AggregateOp::Avg) => {
                    if group.histograms.is_empty() {
                        group.histograms = vec![None; series.column.steps()];
                    }
                    let metric = series.labels.metric_name().unwrap_or_default();
                    if let Some(state) = group.histograms.get_mut(index) {
                        self.fold_histogram(plan, state, histogram, metric);
                    }
                }
                (Point::Histogram(_), op) => {
                    self.note(Note::HistogramIgnoredInAggregation(op.as_str()), plan.input_span);
                    continue;
                }
            }
            last = Some(index);
        }
        last
    }

    fn fold_histogram(
        &self,
        plan: &AggregatePlan,
        state: &mut Option<Box<HistogramState>>,
        histogram: &Histogram,
        metric: &str,
    ) {
        let Some(state) = state else {
            let mut hints = ResetHints::default();
            hints.see(histogram);
            let total = if plan.op == AggregateOp::Avg {
                HistogramTotal::Mean(HistogramMean::new(histogram))
            } else {
                HistogramTotal::Sum(HistogramSum::new(histogram))
            };
            *state = Some(Box::new(HistogramState { total, hints, is_incompatible: false }));
            return;
        };
        state.hints.see(histogram);
        let added = match &mut state.total {
            HistogramTotal::Sum(sum) => sum.add(histogram),
            HistogramTotal::Mean(mean) => mean.add(histogram),
        };
        match added {
            Ok(reconciled) if reconciled.mismatched_bounds => {
                let note = Note::MismatchedCustomBuckets(HistogramOperation::Aggregation);
                self.note(note, plan.input_span);
            }
            Ok(_) => {}
            Err(_incompatible) => {
                state.is_incompatible = true;
                self.note(Note::MixedExponentialCustom { metric: metric.to_owned() }, plan.input_span);
            }
        }
    }

    /// The sample of a group at one step. Floats and histograms together have no sum.
    fn finish_step(
        &self,
        plan: &AggregatePlan,
        float: Option<f64>,
        histogram: Option<Box<HistogramState>>,
    ) -> Option<Made> {
        let Some(state) = histogram else { return float.map(Made::Float) };
        if float.is_some() {
            self.note(Note::MixedFloatsHistogramsInAggregation, plan.input_span);
            return None;
        }
        if state.is_incompatible {
            return None;
        }
        if state.hints.conflict() {
            self.note(Note::CounterResetCollision(HistogramOperation::Aggregation), plan.input_span);
        }
        let total = match state.total {
            HistogramTotal::Sum(sum) => sum.total(),
            HistogramTotal::Mean(mean) => mean.total(),
        };
        Some(Made::from(total.compacted()))
    }

    fn check_quantiles(&self, plan: &AggregatePlan, param: &ScalarColumn, grid: Grid) {
        let Some(span) = plan.param.as_ref().map(|param| param.span) else { return };
        let values = || (0..grid.steps).map(|index| param.at(index));
        if values().any(f64::is_nan) {
            self.note(Note::invalid_quantile(f64::NAN), span);
        }
        let max = values().fold(f64::NEG_INFINITY, f64::max);
        if max > 1.0 {
            self.note(Note::invalid_quantile(max), span);
        }
        let min = values().fold(f64::INFINITY, f64::min);
        if min < 0.0 {
            self.note(Note::invalid_quantile(min), span);
        }
    }

    /// One series for each value and group.
    fn count_values(&self, plan: &AggregatePlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let Some(value_label) = &plan.value_label else { return Ok(()) };
        let mut counts: HashMap<(Labels, usize), u64> = HashMap::new();
        let mut memory = self.budget.reservation();
        let mut newest = NO_INPUT;
        let mut order: Vec<(Labels, usize)> = Vec::new();
        self.vector(&plan.input, grid, &mut |series| {
            newest = newest.max(series.newest);
            for (index, point) in series.column.iter() {
                let value = match point {
                    Point::Float(value) => PlainNumber(value).to_string(),
                    Point::Histogram(histogram) => histogram.to_string(),
                };
                let mut builder = LabelsBuilder::new(&series.labels);
                builder.set(value_label, &value);
                let key = (plan.group_labels(&builder.build()), index);
                let count = counts.entry(key.clone()).or_insert(0);
                if *count == 0 {
                    memory.grow(2 * key.0.byte_len() + 64)?;
                    order.push(key);
                }
                *count += 1;
            }
            Ok(())
        })?;
        let mut merger = Merger::default();
        for key in order {
            let count = counts.get(&key).copied().unwrap_or_default();
            let (labels, index) = key;
            let key = PointKey { labels: &labels, drop_name: false, steps: grid.steps, index, newest };
            merger.add_point(&key, Made::Float(count as f64))?;
        }
        merger.into_series().into_iter().try_for_each(sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_numbered_in_the_order_of_their_first_series() {
        let mut groups = Groups::default();
        let labels = |value: &str| Labels::from_pairs([("a", value)]);
        assert_eq!(groups.find(labels("x")), (0, true));
        assert_eq!(groups.find(labels("y")), (1, true));
        assert_eq!(groups.find(labels("x")), (0, false));
    }
}
