//! Quantiles and fractions of classic histograms (series with `le`), and of native ones beside them.
//!
//! - [`Bucket`]: cumulative counts by upper bound, made monotonic.
//!
//! Rule: a group that has classic buckets and a native histogram at one step gives no answer there.

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::float::parse_float;
use datamodel::{Histogram, Labels, LabelsBuilder};

use crate::annotations::{Monotonicity, Note};
use crate::error::EvalError;
use crate::eval::map::Equals;
use crate::eval::series::{EvalSeries, Grid, Made, Merger, NO_INPUT, Point, PointKey};
use crate::eval::{Evaluator, Sink};
use crate::numbers::{equal, open_metrics_float};
use crate::plan::{HistogramQuantilePlan, ScalarPlan, VectorPlan};
use crate::span::Span;

/// Relative differences of neighbouring counts below this come from the precision of floats.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// A bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) upper: f64,
    /// Observations up to the bound.
    pub(super) count: f64,
}

/// What was done to make counts monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Forced {
    min_bucket: f64,
    max_bucket: f64,
    max_diff: f64,
}

/// Whether two counts differ by no more than a relative tolerance.
fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || equal(a, b) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if equal(a, 0.0) || equal(b, 0.0) || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DIFFERENCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DIFFERENCE
}

fn sort_and_join(buckets: &mut Vec<Bucket>) {
    buckets.sort_by(|a, b| a.upper.partial_cmp(&b.upper).unwrap_or(std::cmp::Ordering::Equal));
    buckets.dedup_by(|next, kept| {
        let is_same = equal(next.upper, kept.upper);
        if is_same {
            kept.count += next.count;
        }
        is_same
    });
}

/// Removes decreases of the counts; small differences are removed silently.
fn force_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let (first, rest) = buckets.split_first_mut()?;
    let mut before = first.count;
    for bucket in rest {
        let count = bucket.count;
        if equal(count, before) {
            continue;
        }
        if nearly_equal(before, count) {
            bucket.count = before;
        } else if count < before {
            bucket.count = before;
            let forced = forced.get_or_insert(Forced {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            forced.min_bucket = forced.min_bucket.min(bucket.upper);
            forced.max_bucket = forced.max_bucket.max(bucket.upper);
            forced.max_diff = forced.max_diff.max(before - count);
        } else {
            before = count;
        }
    }
    forced
}

/// The quantile of a classic histogram, linear within a bucket.
pub(super) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    sort_and_join(buckets);
    if !buckets.last().is_some_and(|last| equal(last.upper, f64::INFINITY)) {
        return (f64::NAN, None);
    }
    let forced = force_monotonic(buckets);
    (quantile_of_sorted(q, buckets), forced)
}

fn quantile_of_sorted(q: f64, buckets: &[Bucket]) -> f64 {
    let [.., before_last, last] = buckets else { return f64::NAN };
    if equal(last.count, 0.0) {
        return f64::NAN;
    }
    let mut rank = q * last.count;
    let finite = buckets.get(..buckets.len() - 1).unwrap_or_default();
    // Upstream's binary search finds the first bucket that reaches the rank; NaN reaches nothing.
    let at = finite.partition_point(|bucket| {
        !matches!(bucket.count.partial_cmp(&rank), Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal))
    });
    let Some(bucket) = finite.get(at) else { return before_last.upper };
    if at == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if let Some(below) = at.checked_sub(1).and_then(|at| finite.get(at)) {
        start = below.upper;
        count -= below.count;
        rank -= below.count;
    }
    start + (bucket.upper - start) * (rank / count)
}

/// The share of observations between two bounds.
pub(super) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    sort_and_join(buckets);
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return f64::NAN };
    if !equal(last.upper, f64::INFINITY) || equal(last.count, 0.0) || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let total = last.count;
    let mut bound = if first.upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    let (mut lower_rank, mut upper_rank) = (None, None);
    for bucket in buckets.iter() {
        let within = |value: f64| {
            if equal(bound, f64::NEG_INFINITY) {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - bound) / (bucket.upper - bound)
            }
        };
        for (place, value) in [(&mut lower_rank, lower), (&mut upper_rank, upper)] {
            if place.is_none() {
                if bound >= value {
                    *place = Some(rank);
                } else if bucket.upper > value {
                    *place = Some(within(value));
                }
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = bucket.count;
        bound = bucket.upper;
    }
    let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= total).unwrap_or(total);
    (capped(upper_rank) - capped(lower_rank)) / total
}

/// A group of series that make one histogram.
struct Group {
    /// Without `le`.
    labels: Labels,
    /// Upper bound and place of each classic bucket's series.
    buckets: Vec<(f64, usize)>,
    /// Places of series with all labels equal to the group's (native histograms).
    natives: Vec<usize>,
    newest: i64,
}

/// What a function answers for one group and step.
pub(super) enum Input<'a> {
    Classic(&'a mut Vec<Bucket>),
    Native(&'a Arc<Histogram>),
}

/// The group, the step and its time.
pub(super) struct Place<'a> {
    pub(super) labels: &'a Labels,
    pub(super) index: usize,
    pub(super) at: i64,
}

/// Answers the samples for one histogram: labels and value.
pub(super) type HistogramBody<'b> = dyn FnMut(&Place<'_>, Input<'_>, &mut dyn FnMut(&Labels, f64) -> Result<(), EvalError>) -> Result<(), EvalError>
    + 'b;

impl Evaluator<'_> {
    /// Sorts a vector's series into histograms and calls `body` for each of them at each step.
    fn each_histogram(
        &self,
        input: &VectorPlan,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
        body: &mut HistogramBody<'_>,
    ) -> Result<(), EvalError> {
        let collected = self.collect(input, grid)?;
        let groups = self.histogram_groups(&collected.series, span);
        self.dropping_names(false, Equals::Join, sink, &mut |sink| {
            let mut merger = Merger::default();
            let mut buckets = Vec::new();
            for group in &groups {
                self.check_alive()?;
                for index in 0..grid.steps {
                    let place = Place { labels: &group.labels, index, at: grid.at(index) };
                    let mut emit = |labels: &Labels, value: f64| {
                        let key = PointKey { labels, drop_name: true, steps: grid.steps, index, newest: group.newest };
                        merger.add_point(&key, Made::Float(value))
                    };
                    self.one_histogram(group, &collected.series, &place, span, &mut buckets, &mut emit, body)?;
                }
            }
            merger.into_series().into_iter().try_for_each(&mut *sink)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the loop above")]
    fn one_histogram(
        &self,
        group: &Group,
        series: &[EvalSeries],
        place: &Place<'_>,
        span: Span,
        buckets: &mut Vec<Bucket>,
        emit: &mut dyn FnMut(&Labels, f64) -> Result<(), EvalError>,
        body: &mut HistogramBody<'_>,
    ) -> Result<(), EvalError> {
        buckets.clear();
        let column = |at: usize| series.get(at).map(|series| &series.column);
        for &(upper, at) in &group.buckets {
            if let Some(count) = column(at).and_then(|column| column.float(place.index)) {
                buckets.push(Bucket { upper, count });
            }
        }
        let native = group.natives.iter().find_map(|at| match column(*at)?.get(place.index) {
            Some(Point::Histogram(histogram)) => Some(histogram),
            _ => None,
        });
        match (native, buckets.is_empty()) {
            (Some(_), false) => {
                let metric = self.shown_name(&group.labels).to_owned();
                self.note(Note::MixedClassicNative { metric }, span);
                Ok(())
            }
            (Some(histogram), true) => body(place, Input::Native(histogram), emit),
            (None, false) => body(place, Input::Classic(buckets), emit),
            (None, true) => Ok(()),
        }
    }

    /// The metric name for annotations; without delayed name removal it is gone already.
    fn shown_name<'l>(&self, labels: &'l Labels) -> &'l str {
        if self.features.delayed_name_removal { labels.metric_name().unwrap_or_default() } else { "" }
    }

    fn histogram_groups(&self, series: &[EvalSeries], span: Span) -> Vec<Group> {
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = |labels: Labels, newest: i64| {
            let at = *by_labels.entry(labels.clone()).or_insert_with(|| {
                groups.push(Group { labels, buckets: Vec::new(), natives: Vec::new(), newest: NO_INPUT });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(at) {
                group.newest = group.newest.max(newest);
            }
            at
        };
        let mut places = Vec::with_capacity(series.len());
        for (place, series) in series.iter().enumerate() {
            if series.column.has_histograms() {
                places.push((group_of(series.labels.clone(), series.newest), place, None));
            }
            if !series.column.iter().any(|(_, point)| matches!(point, Point::Float(_))) {
                continue;
            }
            let le = series.labels.get("le").unwrap_or_default();
            let Ok(upper) = parse_float(le) else {
                let metric = self.shown_name(&series.labels).to_owned();
                self.note(Note::BadBucketLabel { metric, value: le.to_owned() }, span);
                continue;
            };
            let labels = series.labels.filter(|name| name != "le");
            places.push((group_of(labels, series.newest), place, Some(upper)));
        }
        for (group, place, upper) in places {
            let Some(group) = groups.get_mut(group) else { continue };
            match upper {
                Some(upper) => group.buckets.push((upper, place)),
                None => group.natives.push(place),
            }
        }
        groups
    }

    pub(super) fn histogram_quantile(
        &self,
        plan: &HistogramQuantilePlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let mut quantiles = Vec::with_capacity(plan.quantiles.len());
        for arg in &plan.quantiles {
            let values = self.scalar(&arg.plan, grid)?;
            for index in 0..grid.steps {
                let q = values.at(index);
                if q.is_nan() || !(0.0..=1.0).contains(&q) {
                    self.note(Note::invalid_quantile(q), arg.span);
                }
            }
            quantiles.push(values);
        }
        self.each_histogram(&plan.input, plan.span, grid, sink, &mut |place, mut input, emit| {
            for values in &quantiles {
                let q = values.at(place.index);
                let value = match &mut input {
                    Input::Classic(buckets) => self.classic_quantile(q, buckets, place, plan.span),
                    Input::Native(histogram) => self.native_quantile(q, histogram, place.labels, plan.span),
                };
                match &plan.label {
                    None => emit(place.labels, value)?,
                    Some(label) => {
                        let mut builder = LabelsBuilder::new(place.labels);
                        builder.set(label, &open_metrics_float(q));
                        emit(&builder.build(), value)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn classic_quantile(&self, q: f64, buckets: &mut Vec<Bucket>, place: &Place<'_>, span: Span) -> f64 {
        let (value, forced) = bucket_quantile(q, buckets);
        if let Some(forced) = forced {
            let detail = Monotonicity {
                min_at: place.at,
                max_at: place.at,
                min_bucket: forced.min_bucket,
                max_bucket: forced.max_bucket,
                max_diff: forced.max_diff,
            };
            self.notes.borrow_mut().add_monotonicity(self.shown_name(place.labels), span, detail);
        }
        value
    }

    pub(super) fn histogram_fraction(
        &self,
        bounds: (&ScalarPlan, &ScalarPlan),
        input: &VectorPlan,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let (lower, upper) = (self.scalar(bounds.0, grid)?, self.scalar(bounds.1, grid)?);
        self.each_histogram(input, span, grid, sink, &mut |place, input, emit| {
            let (lower, upper) = (lower.at(place.index), upper.at(place.index));
            let value = match input {
                Input::Classic(buckets) => bucket_fraction(lower, upper, buckets),
                Input::Native(histogram) => self.native_fraction(lower, upper, histogram, place.labels, span),
            };
            emit(place.labels, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    #[test]
    fn quantile_is_linear_within_a_bucket() {
        let check = |q: f64, pairs: &[(f64, f64)], expected: f64| {
            let (found, _) = bucket_quantile(q, &mut buckets(pairs));
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{q}: {found}");
        };
        let usual = [(f64::INFINITY, 10.0), (1.0, 4.0), (2.0, 8.0)];
        check(0.2, &usual, 0.5);
        check(0.6, &usual, 1.5);
        check(0.9, &usual, 2.0);
        check(2.0, &usual, f64::INFINITY);
        check(0.5, &[(1.0, 4.0)], f64::NAN);
        check(0.5, &[(-1.0, 4.0), (f64::INFINITY, 4.0)], -1.0);
    }

    #[test]
    fn decreasing_counts_are_lifted_and_reported() {
        let (_, forced) = bucket_quantile(0.5, &mut buckets(&[(1.0, 5.0), (2.0, 3.0), (f64::INFINITY, 6.0)]));
        assert_eq!(forced, Some(Forced { min_bucket: 2.0, max_bucket: 2.0, max_diff: 2.0 }));
    }

    #[test]
    fn fraction_is_the_inverse_of_the_quantile() {
        let mut usual = buckets(&[(1.0, 4.0), (2.0, 8.0), (f64::INFINITY, 10.0)]);
        assert!((bucket_fraction(f64::NEG_INFINITY, 1.5, &mut usual) - 0.6).abs() < 1e-12);
    }
}
