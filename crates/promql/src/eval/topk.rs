//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.
//!
//! Rule: what is picked among equals is what upstream's heap picks, so the heap is the same.

use datamodel::Labels;

use crate::annotations::Note;
use crate::ast::AggregateOp;
use crate::error::EvalError;
use crate::eval::aggregate::Groups;
use crate::eval::series::{Column, EvalSeries, Grid, Made, Point};
use crate::eval::{Evaluator, ScalarColumn, Sink};
use crate::numbers::equal;
use crate::plan::AggregatePlan;

/// The largest float below 2^63, and -2^63: what fits 64 bits as a count.
const MAX_COUNT: f64 = (i64::MAX - 1023) as f64;
const MIN_COUNT: f64 = i64::MIN as f64;

/// The largest or smallest values so far; the one that goes next on top. NaN goes first.
struct Heap {
    /// Value and number of the series.
    items: Vec<(f64, usize)>,
    is_reversed: bool,
}

impl Heap {
    fn less(&self, a: usize, b: usize) -> bool {
        let value = |at: usize| self.items.get(at).map_or(f64::NAN, |(value, _)| *value);
        let (a, b) = (value(a), value(b));
        a.is_nan() || if self.is_reversed { a > b } else { a < b }
    }

    fn push(&mut self, value: f64, series: usize) {
        self.items.push((value, series));
        let mut child = self.items.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.less(child, parent) {
                break;
            }
            self.items.swap(child, parent);
            child = parent;
        }
    }

    fn replace_top(&mut self, value: f64, series: usize) {
        if let Some(top) = self.items.first_mut() {
            *top = (value, series);
        }
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= self.items.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.items.len() && self.less(right, left) { right } else { left };
            if !self.less(child, parent) {
                return;
            }
            self.items.swap(parent, child);
            parent = child;
        }
    }

    /// Offers a value to a heap of at most `k`.
    fn offer(&mut self, k: usize, value: f64, series: usize) {
        if self.items.len() < k {
            self.push(value, series);
            return;
        }
        let Some(&(top, _)) = self.items.first() else { return };
        let is_better = if self.is_reversed { top > value } else { top < value };
        if is_better || (top.is_nan() && !value.is_nan()) {
            self.replace_top(value, series);
        }
    }

    /// The series, best first.
    fn into_sorted(mut self) -> Vec<usize> {
        let is_reversed = self.is_reversed;
        self.items.sort_by(|(a, _), (b, _)| match (a.is_nan(), b.is_nan()) {
            (false, false) if is_reversed => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
            (false, false) => b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal),
            (a, b) => a.cmp(&b),
        });
        self.items.into_iter().map(|(_, series)| series).collect()
    }
}

/// A place in [0, 1) that depends on the labels only.
fn ratio_place(labels: &Labels) -> f64 {
    labels.hash64() as f64 / u64::MAX as f64
}

/// Whether the ratio takes a series: from below for positive ratios, from above for negative ones.
fn ratio_takes(ratio: f64, place: f64) -> bool {
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

impl Evaluator<'_> {
    pub(super) fn select_k(&self, plan: &AggregatePlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let Some(param) = &plan.param else { return Ok(()) };
        let values = self.scalar(&param.plan, grid)?;
        let collected = self.collect(&plan.input, grid)?;
        if !self.check_param(plan, &values, grid)? {
            return Ok(());
        }
        let mut groups = Groups::default();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (place, series) in collected.series.iter().enumerate() {
            let (number, new) = groups.find(plan, &series.labels);
            if new.is_some() {
                members.push(Vec::new());
            }
            if let Some(group) = members.get_mut(number) {
                group.push(place);
            }
        }
        let mut columns: Vec<Option<Column>> = vec![None; collected.series.len()];
        let mut order = Vec::new();
        for group in &members {
            for index in 0..grid.steps {
                for place in self.pick(plan, &collected.series, group, index, values.at(index)) {
                    let Some(point) = collected.series.get(place).and_then(|series| series.column.get(index)) else {
                        continue;
                    };
                    let made = match point {
                        Point::Float(value) => Made::Float(value),
                        Point::Histogram(histogram) => Made::Histogram(histogram.clone()),
                    };
                    let Some(column) = columns.get_mut(place) else { continue };
                    if column.is_none() {
                        order.push(place);
                    }
                    column.get_or_insert_with(|| Column::new(grid.steps)).set_made(index, made);
                }
            }
        }
        let mut series: Vec<Option<EvalSeries>> = collected.series.into_iter().map(Some).collect();
        for place in order {
            let column = columns.get_mut(place).and_then(Option::take);
            let series = series.get_mut(place).and_then(Option::take);
            if let (Some(column), Some(series)) = (column, series) {
                sink(EvalSeries { column, ..series })?;
            }
        }
        Ok(())
    }

    /// Refuses impossible parameters. Returns false where nothing can be picked at any step.
    fn check_param(&self, plan: &AggregatePlan, values: &ScalarColumn, grid: Grid) -> Result<bool, EvalError> {
        let span = plan.param.as_ref().map_or(plan.span, |param| param.span);
        let all = || (0..grid.steps).map(|index| values.at(index));
        // NaN is neither the smallest nor the largest, as in upstream's first look at the parameters.
        let max = all().fold(f64::NEG_INFINITY, f64::max);
        let min = all().fold(f64::INFINITY, f64::min);
        let has_nan = all().any(f64::is_nan);
        let invalid = |message: String| Err(EvalError::InvalidArgument { message, span });
        if plan.op == AggregateOp::LimitRatio {
            if !has_nan && equal(max, 0.0) && equal(min, 0.0) {
                return Ok(false);
            }
            if has_nan {
                return invalid("Ratio value is NaN".to_owned());
            }
            for (given, used) in [(max, 1.0), (min, -1.0)] {
                if (used > 0.0 && given > used) || (used < 0.0 && given < used) {
                    self.note(Note::InvalidRatio { given: given.to_bits(), used: f64::to_bits(used) }, span);
                }
            }
            return Ok(true);
        }
        if !has_nan && max < 1.0 {
            return Ok(false);
        }
        if has_nan {
            return invalid("Parameter value is NaN".to_owned());
        }
        let shown = |value: f64| datamodel::float::format_g(value);
        if min <= MIN_COUNT {
            return invalid(format!("Scalar value {} underflows int64", shown(min)));
        }
        if max >= MAX_COUNT {
            return invalid(format!("Scalar value {} overflows int64", shown(max)));
        }
        Ok(true)
    }

    /// The places of the series that one group picks at one step, in order.
    fn pick(
        &self,
        plan: &AggregatePlan,
        series: &[EvalSeries],
        group: &[usize],
        index: usize,
        param: f64,
    ) -> Vec<usize> {
        let point = |place: usize| series.get(place).and_then(|series| series.column.get(index));
        if plan.op == AggregateOp::LimitRatio {
            let ratio = param.clamp(-1.0, 1.0);
            let takes = |place: &usize| {
                point(*place).is_some()
                    && series.get(*place).is_some_and(|series| ratio_takes(ratio, ratio_place(&series.labels)))
            };
            return if equal(param, 0.0) { Vec::new() } else { group.iter().copied().filter(takes).collect() };
        }
        if param < 1.0 {
            return Vec::new();
        }
        // At least 1, and no more than there are series.
        #[expect(clippy::cast_sign_loss, reason = "at least 1")]
        let k = (param as usize).min(series.len());
        if plan.op == AggregateOp::Limitk {
            return group.iter().copied().filter(|place| point(*place).is_some()).take(k).collect();
        }
        let mut heap = Heap { items: Vec::new(), is_reversed: plan.op == AggregateOp::Bottomk };
        for &place in group {
            match point(place) {
                Some(Point::Float(value)) => heap.offer(k, value, place),
                Some(Point::Histogram(_)) => {
                    self.note(Note::HistogramIgnoredInAggregation(plan.op.as_str()), plan.span);
                }
                None => {}
            }
        }
        heap.into_sorted()
    }
}
