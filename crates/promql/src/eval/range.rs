//! Functions of a run of samples: the windows of each step over one series.
//!
//! - [`Run`]: one series' samples, floats and native histograms apart, without staleness markers.
//! - [`Window`]: the part of a run that one step sees.
//!
//! Rule: windows are open on the left: a sample exactly `range` old is out.

use std::sync::Arc;

use datamodel::{Histogram, Labels, is_stale_nan};
use storage::Samples;

use crate::annotations::Note;
use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::kernels::{Call, RateWindows};
use crate::eval::map::Equals;
use crate::eval::series::{Column, EvalSeries, Grid, NO_INPUT, Point};
use crate::eval::{Evaluator, ScalarColumn, Sink};
use crate::plan::{RangeFunction, RangeInput, RangePlan, ScalarArg, VectorPlan};
use crate::span::Span;

/// The samples of one series.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) histograms: Vec<(i64, Arc<Histogram>)>,
    /// Places where a float is smaller than the one before it, or its counter started anew.
    pub(super) drops: Vec<usize>,
    /// Start of each float and of each histogram (0 where unknown); empty where none is known.
    pub(super) starts: Vec<i64>,
    pub(super) histogram_starts: Vec<i64>,
}

/// What one step sees of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    pub(super) histograms: &'a [(i64, Arc<Histogram>)],
    /// Places in `times` where a float is smaller than the one before it.
    pub(super) drops: &'a [usize],
    /// Place of the first float in the run; `drops` counts from the run's start.
    pub(super) first: usize,
    /// Starts beside the floats and histograms; empty where none is known.
    pub(super) starts: &'a [i64],
    pub(super) histogram_starts: &'a [i64],
}

impl Window<'_> {
    pub(super) const fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    /// Time of the newest sample.
    pub(super) fn newest(&self) -> i64 {
        let float = self.times.last().copied().unwrap_or(NO_INPUT);
        let histogram = self.histograms.last().map_or(NO_INPUT, |(at, _)| *at);
        float.max(histogram)
    }
}

impl Run {
    /// Takes the samples out; [`return_to`](Self::return_to) gives the memory back.
    pub(super) fn from_samples(samples: &mut Samples) -> Self {
        let mut run = Self::default();
        let is_plain = samples.histograms.is_empty() && !samples.values.iter().any(|value| is_stale_nan(*value));
        if is_plain {
            run.times = std::mem::take(&mut samples.timestamps);
            run.values = std::mem::take(&mut samples.values);
            run.starts = std::mem::take(&mut samples.starts);
            return run;
        }
        let mut histograms = samples.histograms.iter().peekable();
        for (index, (&at, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
            if let Some((_, histogram)) = histograms.next_if(|(place, _)| *place == index) {
                if !is_stale_nan(histogram.sum) {
                    run.histograms.push((at, Arc::clone(histogram)));
                    run.histogram_starts.extend(samples.starts.get(index));
                }
            } else if !is_stale_nan(value) {
                run.times.push(at);
                run.values.push(value);
                run.starts.extend(samples.starts.get(index));
            }
        }
        run
    }

    /// The steps of a subquery's series.
    fn from_column(column: &Column, grid: Grid) -> Self {
        let mut run = Self::default();
        for (index, point) in column.iter() {
            match point {
                Point::Float(value) => {
                    run.times.push(grid.at(index));
                    run.values.push(value);
                }
                Point::Histogram(histogram) => run.histograms.push((grid.at(index), without_reset_hint(histogram))),
            }
        }
        run
    }

    fn return_to(self, samples: &mut Samples) {
        if samples.timestamps.capacity() == 0 {
            samples.timestamps = self.times;
            samples.values = self.values;
        }
    }

    fn find_drops(&mut self) {
        let later = self.values.get(1..).unwrap_or_default();
        // Most runs have none: all pairs are looked at without a branch.
        let falls = self.values.iter().zip(later).fold(false, |falls, (before, next)| falls | (next < before));
        self.drops.clear();
        if !falls && self.starts.is_empty() {
            return;
        }
        let pairs = self.values.windows(2).enumerate();
        let is_drop = |(at, pair): &(usize, &[f64])| {
            matches!(pair, [a, b] if b < a) || is_restart_between(&self.times, &self.starts, *at)
        };
        self.drops = pairs.filter(is_drop).map(|(at, _)| at + 1).collect();
    }

    fn forget_starts(&mut self) {
        self.starts.clear();
        self.histogram_starts.clear();
    }

    /// The samples after `start` up to and with `end`.
    pub(super) fn window(&self, start: i64, end: i64) -> Window<'_> {
        let after = |times: &[i64], at: i64| times.partition_point(|time| *time <= at);
        let (first, last) = (after(&self.times, start), after(&self.times, end));
        let histogram_after = |at: i64| self.histograms.partition_point(|(time, _)| *time <= at);
        self.slice(first, last, histogram_after(start), histogram_after(end))
    }

    fn slice(&self, first: usize, last: usize, first_histogram: usize, last_histogram: usize) -> Window<'_> {
        let first_drop = self.drops.partition_point(|at| *at <= first);
        let last_drop = self.drops.partition_point(|at| *at < last);
        Window {
            times: self.times.get(first..last).unwrap_or_default(),
            values: self.values.get(first..last).unwrap_or_default(),
            histograms: self.histograms.get(first_histogram..last_histogram).unwrap_or_default(),
            drops: self.drops.get(first_drop..last_drop).unwrap_or_default(),
            first,
            starts: self.starts.get(first..last).unwrap_or_default(),
            histogram_starts: self.histogram_starts.get(first_histogram..last_histogram).unwrap_or_default(),
        }
    }
}

/// Whether the sample behind place `at` belongs to a counter that started after the sample at `at`.
///
/// A start at the very time of the sample before is a restart only if that sample's own start is known:
/// deltas look like that, but so does a counter whose start is not known.
pub(super) fn is_restart(before: (i64, i64), next: (i64, i64)) -> bool {
    let ((before_time, before_start), (next_time, next_start)) = (before, next);
    if next_start == 0 || next_start >= next_time || next_start < before_time {
        return false;
    }
    next_start > before_time || (before_start != 0 && before_start < before_time)
}

fn is_restart_between(times: &[i64], starts: &[i64], at: usize) -> bool {
    let sample = |at: usize| Some((*times.get(at)?, *starts.get(at)?));
    matches!((sample(at), sample(at + 1)), (Some(before), Some(next)) if is_restart(before, next))
}

/// A subquery may skip samples or see one twice, so that hints about resets no longer hold.
fn without_reset_hint(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    use datamodel::histogram::CounterResetHint::{CounterReset, NotCounterReset, Unknown};
    if !matches!(histogram.counter_reset_hint, NotCounterReset | CounterReset) {
        return Arc::clone(histogram);
    }
    let mut changed = Histogram::clone(histogram);
    changed.counter_reset_hint = Unknown;
    Arc::new(changed)
}

/// What is the same for all windows of a series.
#[derive(Clone, Copy)]
struct Context<'a> {
    grid: Grid,
    scalars: &'a [ScalarColumn],
    args_span: Span,
    metric: &'a str,
}

/// Takes each series of a range.
pub(super) type RunSink<'s> = dyn FnMut(RunSeries<'_>) -> Result<(), EvalError> + 's;

/// A series of a range with its samples.
pub(super) struct RunSeries<'a> {
    pub(super) labels: &'a Labels,
    pub(super) drop_name: bool,
    pub(super) run: &'a mut Run,
    /// Newest input behind the run where it is not the run itself (subqueries).
    pub(super) newest: Option<i64>,
}

impl RangeFunction {
    const fn keeps_name(self) -> bool {
        matches!(self, Self::FirstOverTime | Self::LastOverTime)
    }
}

impl RangePlan {
    /// Whether all series have the same metric name.
    fn has_one_name(&self) -> bool {
        match &self.input {
            RangeInput::Selector(selector) => selector.has_fixed_name(),
            RangeInput::Subquery(subquery) => subquery.inner.has_one_name(),
        }
    }
}

impl Evaluator<'_> {
    /// Reads the series of a range, with what `anchored` and `smoothed` see outside of it.
    pub(super) fn runs(&self, plan: &RangePlan, grid: Grid, sink: &mut RunSink<'_>) -> Result<(), EvalError> {
        match &plan.input {
            RangeInput::Selector(selector) => {
                let (before, after) = self.reach(plan);
                self.read_series(selector, grid, plan.range.saturating_add(before), after, &mut |labels, samples| {
                    let mut run = Run::from_samples(samples);
                    sink(RunSeries { labels, drop_name: false, run: &mut run, newest: None })?;
                    run.return_to(samples);
                    Ok(())
                })
            }
            RangeInput::Subquery(subquery) => {
                let inner_grid = plan.subquery_grid(subquery, grid);
                self.vector(&subquery.inner, inner_grid, &mut |series| {
                    let mut run = Run::from_column(&series.column, inner_grid);
                    sink(RunSeries {
                        labels: &series.labels,
                        drop_name: series.drop_name,
                        run: &mut run,
                        newest: Some(series.newest),
                    })
                })
            }
        }
    }

    /// Milliseconds before and after the range that its mode looks at.
    pub(super) fn reach(&self, plan: &RangePlan) -> (i64, i64) {
        match plan.mode() {
            RangeMode::Plain => (0, 0),
            RangeMode::Anchored => (self.lookback, 0),
            RangeMode::Smoothed => (self.lookback, self.lookback),
        }
    }

    pub(super) fn range_call(
        &self,
        function: RangeFunction,
        plan: &RangePlan,
        args: &[ScalarArg],
        args_span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let scalars = self.range_scalars(args, grid)?;
        if function.keeps_name() {
            return self.range_series(function, plan, &scalars, args_span, grid, sink);
        }
        self.dropping_names(plan.has_one_name(), Equals::Refuse, sink, &mut |sink| {
            self.range_series(function, plan, &scalars, args_span, grid, &mut |series| {
                sink(EvalSeries { drop_name: true, ..series })
            })
        })
    }

    fn range_scalars(&self, args: &[ScalarArg], grid: Grid) -> Result<Vec<ScalarColumn>, EvalError> {
        args.iter().map(|arg| self.scalar(&arg.plan, grid)).collect()
    }

    /// The series of a plan for a sink that does not look at metric names: where dropping them cannot make
    /// two series equal, they stay, which spares a label set for each series.
    pub(super) fn vector_without_names(
        &self,
        plan: &VectorPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        match plan {
            VectorPlan::Range { function, input, args, args_span }
                if !function.keeps_name()
                    && input.has_one_name()
                    && !self.features.delayed_name_removal
                    && !self.features.type_and_unit_labels
                    && grid.steps > 0 =>
            {
                self.check_alive()?;
                self.check_grid(grid)?;
                let scalars = self.range_scalars(args, grid)?;
                self.range_series(*function, input, &scalars, *args_span, grid, sink)
            }
            _ => self.vector(plan, grid, sink),
        }
    }

    pub(super) fn range_series(
        &self,
        function: RangeFunction,
        plan: &RangePlan,
        scalars: &[ScalarColumn],
        args_span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        use RangeFunction::{Delta, Increase, Irate, Rate, Resets};
        let mut windows = RateWindows::default();
        let mut memory = self.budget.reservation();
        let can_fuse = plan.mode() == RangeMode::Plain
            && matches!(function, Rate | Increase | Delta)
            && grid.steps <= RateWindows::MAX_STEPS;
        if can_fuse {
            memory.grow(RateWindows::byte_len_for(grid.steps))?;
        }
        self.runs(plan, grid, &mut |series| {
            if !(self.features.start_timestamps && matches!(function, Rate | Increase | Irate | Resets)) {
                series.run.forget_starts();
            }
            if matches!(function, Rate | Increase) {
                series.run.find_drops();
            }
            let is_fused = can_fuse && series.run.histograms.is_empty() && series.run.starts.is_empty();
            let (column, newest) = if is_fused {
                self.float_rates(series.run, plan, grid, (function != Delta, function == Rate), &mut windows)?
            } else {
                let metric = series.labels.metric_name().unwrap_or_default();
                self.step_by_step(function, plan, series.run, Context { grid, scalars, args_span, metric })?
            };
            if column.is_empty() {
                return Ok(());
            }
            if matches!(function, Rate | Increase) {
                self.check_counter(series.labels, &column, plan.span);
            }
            let newest = series.newest.unwrap_or(newest);
            sink(EvalSeries { labels: series.labels.clone(), drop_name: series.drop_name, column, newest })
        })
    }

    /// Asks the kernel for each window. Also the time of the newest sample that counted.
    fn step_by_step(
        &self,
        function: RangeFunction,
        plan: &RangePlan,
        run: &Run,
        context: Context<'_>,
    ) -> Result<(Column, i64), EvalError> {
        let Context { grid, scalars, args_span, metric } = context;
        let (before, after) = self.reach(plan);
        let mut cursor = Cursor::default();
        let mut work = 0;
        let mut column = Column::new(grid.steps);
        let mut newest = NO_INPUT;
        for index in 0..grid.steps {
            let step_time = grid.at(index);
            let end = plan.data_time(step_time);
            let start = end.saturating_sub(plan.range);
            let window = cursor.window(run, start.saturating_sub(before), end.saturating_add(after));
            self.check_alive_after(&mut work, window.times.len() + window.histograms.len())?;
            if window.is_empty() || plan.range == 0 {
                continue;
            }
            let call = Call {
                window,
                start,
                end,
                step_time,
                range: plan.range,
                mode: plan.mode(),
                index,
                scalars,
                metric,
                span: plan.span,
                args_span,
            };
            if let Some(made) = self.kernel(function, &call)? {
                column.set_made(index, made);
                newest = newest.max(window.newest());
            }
        }
        Ok((column, newest))
    }

    /// Notes when the metric does not look like a counter.
    fn check_counter(&self, labels: &Labels, column: &Column, span: Span) {
        let Some(metric) = labels.metric_name() else { return };
        if !column.iter().any(|(_, point)| matches!(point, Point::Float(_))) {
            return;
        }
        if self.features.type_and_unit_labels {
            let found = labels.get("__type__").unwrap_or_default();
            if found != "counter" && found != "histogram" {
                let note = Note::PossibleNonCounterType { metric: metric.to_owned(), found: found.to_owned() };
                self.note(note, span);
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix)) {
            self.note(Note::PossibleNonCounter { metric: metric.to_owned() }, span);
        }
    }
}

/// Walks the windows of ascending steps without searching.
#[derive(Debug, Default)]
struct Cursor {
    first: usize,
    last: usize,
    first_histogram: usize,
    last_histogram: usize,
}

impl Cursor {
    fn window<'a>(&mut self, run: &'a Run, start: i64, end: i64) -> Window<'a> {
        let advance = |place: &mut usize, at: i64| {
            while run.times.get(*place).is_some_and(|time| *time <= at) {
                *place += 1;
            }
        };
        advance(&mut self.first, start);
        advance(&mut self.last, end);
        let advance = |place: &mut usize, at: i64| {
            while run.histograms.get(*place).is_some_and(|(time, _)| *time <= at) {
                *place += 1;
            }
        };
        advance(&mut self.first_histogram, start);
        advance(&mut self.last_histogram, end);
        run.slice(self.first, self.last, self.first_histogram, self.last_histogram)
    }
}
