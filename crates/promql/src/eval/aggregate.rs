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
    /// Whether series with different values of a label belong to different groups.
    fn groups_by(&self, name: &str) -> bool {
        let is_listed = self.grouping.binary_search_by(|label| (**label).cmp(name)).is_ok();
        if self.is_without { name != METRIC_NAME && !is_listed } else { is_listed }
    }

    /// The labels of the group to which a series belongs.
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        if self.grouping.is_empty() && !self.is_without {
            return Labels::empty();
        }
        labels.filter(|name| self.groups_by(name))
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

/// Sums of a group at each step: totals and what rounding took from them, side by side.
struct Sums {
    sums: Vec<f64>,
    compensations: Vec<f64>,
    present: Vec<u64>,
}

impl Sums {
    fn new(steps: usize) -> Self {
        Self { sums: vec![0.0; steps], compensations: vec![0.0; steps], present: vec![0; steps.div_ceil(64)] }
    }

    fn is_present(&self, index: usize) -> bool {
        self.present.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn add(&mut self, index: usize, value: f64) {
        let is_new = !self.is_present(index);
        let (Some(sum), Some(compensation)) = (self.sums.get_mut(index), self.compensations.get_mut(index)) else {
            return;
        };
        let mut state = KahanSum { sum: *sum, compensation: *compensation };
        if is_new {
            state = KahanSum::new(value);
            if let Some(word) = self.present.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        } else {
            state.add(value);
        }
        (*sum, *compensation) = (state.sum, state.compensation);
    }

    /// Adds a column without histograms. Its last step that has a value.
    fn add_column(&mut self, column: &Column) -> Option<usize> {
        let mut last = None;
        for (at, (values, present)) in column.words().enumerate() {
            let Some(highest) = present.checked_ilog2() else { continue };
            let base = at * 64;
            last = Some(base + highest as usize);
            let is_whole = present.count_ones() as usize == values.len();
            if is_whole && self.present.get(at) == Some(&present) {
                let range = base..base + values.len();
                let (Some(sums), Some(compensations)) =
                    (self.sums.get_mut(range.clone()), self.compensations.get_mut(range))
                else {
                    continue;
                };
                for ((sum, compensation), value) in sums.iter_mut().zip(compensations).zip(values) {
                    let mut state = KahanSum { sum: *sum, compensation: *compensation };
                    state.add(*value);
                    (*sum, *compensation) = (state.sum, state.compensation);
                }
                continue;
            }
            for (index, value) in values.iter().enumerate().filter(|(index, _)| present >> index & 1 == 1) {
                self.add(base + index, *value);
            }
        }
        last
    }

    fn total(&self, index: usize) -> Option<f64> {
        let (sum, compensation) = (*self.sums.get(index)?, *self.compensations.get(index)?);
        self.is_present(index).then(|| KahanSum { sum, compensation }.total())
    }
}

/// What a group holds at each step; `None` as long as it has seen nothing there.
enum Accumulator {
    Sum(Sums),
    Avg(Vec<Option<Mean>>),
    Count(Vec<u64>),
    Extreme { best: Column, is_max: bool },
    Variance(Vec<Option<Variance>>),
    Quantile(Vec<Vec<f64>>),
}

impl Accumulator {
    fn new(op: AggregateOp, steps: usize) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(Sums::new(steps)),
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
            AggregateOp::Sum => size_of::<KahanSum>() + 1,
            AggregateOp::Avg => size_of::<Option<Mean>>(),
            AggregateOp::Stddev | AggregateOp::Stdvar => size_of::<Option<Variance>>(),
            AggregateOp::Quantile => size_of::<Vec<f64>>(),
            _ => 9,
        }
    }

    fn add_float(&mut self, index: usize, value: f64) {
        match self {
            Self::Sum(sums) => sums.add(index, value),
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
        if let Self::Sum(sums) = self {
            return sums.add_column(column);
        }
        let mut last = None;
        for (index, value) in column.floats() {
            self.add_float(index, value);
            last = Some(index);
        }
        last
    }

    fn finish(&mut self, op: AggregateOp, index: usize, q: &ScalarColumn) -> Option<f64> {
        match self {
            Self::Sum(sums) => sums.total(index),
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
pub(super) struct Groups {
    numbers: HashMap<Box<[u8]>, usize>,
    /// The labels of the group that is looked for, each text after its length.
    key: Vec<u8>,
}

impl Groups {
    /// The number of the group to which a series belongs, and its labels where it is new.
    pub(super) fn find(&mut self, plan: &AggregatePlan, labels: &Labels) -> (usize, Option<Labels>) {
        self.key.clear();
        for text in labels.iter().filter(|(name, _)| plan.groups_by(name)).flat_map(|(name, value)| [name, value]) {
            self.key.extend_from_slice(&text.len().to_le_bytes());
            self.key.extend_from_slice(text.as_bytes());
        }
        if let Some(number) = self.numbers.get(self.key.as_slice()) {
            return (*number, None);
        }
        let number = self.numbers.len();
        self.numbers.insert(self.key.as_slice().into(), number);
        (number, Some(plan.group_labels(labels)))
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
        let mut fold = |series: EvalSeries| {
            let (number, labels) = groups.find(plan, &series.labels);
            if let Some(labels) = labels {
                memory.grow(Accumulator::step_bytes(plan.op).saturating_mul(grid.steps) + 2 * labels.byte_len())?;
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
        };
        if plan.groups_by(METRIC_NAME) {
            self.vector(&plan.input, grid, &mut fold)?;
        } else {
            self.vector_without_names(&plan.input, grid, &mut fold)?;
        }
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
        let plan = AggregatePlan {
            op: AggregateOp::Sum,
            input: Box::new(crate::plan::VectorPlan::Empty),
            input_span: crate::Span::default(),
            span: crate::Span::default(),
            param: None,
            value_label: None,
            grouping: vec!["a".into(), "b".into()],
            is_without: false,
        };
        let mut groups = Groups::default();
        let mut find = |pairs: &[(&str, &str)]| groups.find(&plan, &Labels::from_pairs(pairs.iter().copied()));
        assert_eq!(find(&[("a", "x"), ("c", "1")]), (0, Some(Labels::from_pairs([("a", "x")]))));
        assert_eq!(find(&[("b", "x")]), (1, Some(Labels::from_pairs([("b", "x")]))));
        assert_eq!(find(&[("a", "x"), ("c", "2")]), (0, None));
    }

    #[test]
    fn columns_add_up_as_single_values_do() {
        let values = [1e100, -0.0, 1.0, f64::NAN, f64::INFINITY, -1e100, 0.1];
        let (mut columns, mut single) = (Sums::new(70), Sums::new(70));
        for round in 0..9_usize {
            let mut column = Column::new(70);
            for index in (0..70).filter(|index| round % 3 != 0 || index % 5 != round) {
                let value = values[(index * 3 + round) % values.len()];
                column.set(index, value);
                single.add(index, value);
            }
            columns.add_column(&column);
        }
        // The bits of NaN depend on the order of its operands.
        let bits = |total: f64| if total.is_nan() { u64::MAX } else { total.to_bits() };
        let bits = |sums: &Sums| (0..70).map(|index| sums.total(index).map(bits)).collect::<Vec<_>>();
        assert_eq!(bits(&columns), bits(&single));
    }
}
