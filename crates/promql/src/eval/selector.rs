//! Instant selectors: the newest sample of the lookback before each step.
//!
//! Rule: the lookback is open on its left; a staleness marker ends a series at once.

use std::sync::Arc;

use datamodel::histogram::CounterResetHint;
use datamodel::time::TimeRange;
use datamodel::{Histogram, Labels, Timestamp, is_stale_nan};
use storage::{Samples, SelectHints};

use crate::annotations::Note;
use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::map::Equals;
use crate::eval::series::{Column, EvalSeries, Grid, Made, NO_INPUT};
use crate::eval::{Evaluator, Sink};
use crate::plan::SelectorPlan;

/// Takes the labels and samples of each series of a selector.
type ReadSink<'s> = dyn FnMut(&Labels, &mut Samples) -> Result<(), EvalError> + 's;

impl Evaluator<'_> {
    /// Reads the series of a selector one after the other, from `before` ms before the first step's data
    /// time (exclusive) to `after` ms behind the last one's.
    pub(super) fn read_series(
        &self,
        selector: &SelectorPlan,
        grid: Grid,
        before: i64,
        after: i64,
        sink: &mut ReadSink<'_>,
    ) -> Result<(), EvalError> {
        let start = selector.data_time(grid.start).saturating_sub(before).saturating_add(1);
        let end = selector.data_time(grid.end()).saturating_add(after);
        let range = TimeRange { start: Timestamp::from_unix_ms(start), end: Timestamp::from_unix_ms(end) };
        let hints = SelectHints {
            range: Some(range),
            step: u64::try_from(grid.step).ok().filter(|_| grid.steps > 1).map(std::time::Duration::from_millis),
            function: selector.function,
            labels_only: false,
            memory: self.budget.pool(),
        };
        let mut set = self.querier.select(&selector.matchers, &hints)?;
        let mut samples = Samples::default();
        let mut memory = self.budget.reservation();
        while let Some(series) = set.next() {
            let series = series?;
            self.check_alive()?;
            samples.clear();
            series.read(range, &mut samples)?;
            memory.resize(samples.timestamps.capacity().saturating_mul(16))?;
            if selector.is_statistics {
                keep_statistics(&mut samples);
            }
            if !samples.is_empty() {
                sink(series.labels(), &mut samples)?;
            }
        }
        Ok(())
    }

    pub(super) fn selector(&self, selector: &SelectorPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        if selector.mode == RangeMode::Smoothed {
            return self.smoothed_selector(selector, grid, sink);
        }
        self.read_series(selector, grid, self.lookback, 0, &mut |labels, samples| {
            let mut column = Column::new(grid.steps);
            let mut newest = NO_INPUT;
            self.each_step(selector, grid, samples, |index, _, sample_time, made| {
                newest = newest.max(sample_time);
                column.set_made(index, made);
            });
            push_unless_empty(labels, false, column, newest, sink)
        })
    }

    /// Finds the sample that counts at each step: its step, its place, its time, its value.
    fn each_step(
        &self,
        selector: &SelectorPlan,
        grid: Grid,
        samples: &Samples,
        mut found: impl FnMut(usize, usize, i64, Made),
    ) {
        let mut next = 0;
        for index in 0..grid.steps {
            let data_time = selector.data_time(grid.at(index));
            while samples.timestamps.get(next).is_some_and(|at| *at <= data_time) {
                next += 1;
            }
            let Some(at) = next.checked_sub(1) else { continue };
            let (Some(&sample_time), Some(&value)) = (samples.timestamps.get(at), samples.values.get(at)) else {
                continue;
            };
            if sample_time <= data_time.saturating_sub(self.lookback) {
                continue;
            }
            let made = match samples.histograms.binary_search_by_key(&at, |(at, _)| *at) {
                Ok(place) => match samples.histograms.get(place) {
                    Some((_, histogram)) if !is_stale_nan(histogram.sum) => Made::Histogram(Arc::clone(histogram)),
                    _ => continue,
                },
                Err(_) if is_stale_nan(value) => continue,
                Err(_) => Made::Float(value),
            };
            found(index, at, sample_time, made);
        }
    }

    /// `timestamp(selector)` and `start_timestamp(selector)`.
    pub(super) fn sample_time(
        &self,
        selector: &SelectorPlan,
        is_start: bool,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        self.dropping_names(selector.has_fixed_name(), Equals::Join, sink, &mut |sink| {
            self.read_series(selector, grid, self.lookback, 0, &mut |labels, samples| {
                let mut column = Column::new(grid.steps);
                let mut newest = NO_INPUT;
                self.each_step(selector, grid, samples, |index, place, sample_time, _| {
                    newest = newest.max(sample_time);
                    let time = if is_start { samples.starts.get(place).copied().unwrap_or(0) } else { sample_time };
                    column.set(index, time as f64 / 1000.0);
                });
                push_unless_empty(labels, true, column, newest, sink)
            })
        })
    }

    /// The times (Unix milliseconds) of the samples that count at each step; histograms stay histograms.
    pub(super) fn sample_times(
        &self,
        selector: &SelectorPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        self.read_series(selector, grid, self.lookback, 0, &mut |labels, samples| {
            let mut column = Column::new(grid.steps);
            let mut newest = NO_INPUT;
            self.each_step(selector, grid, samples, |index, _, sample_time, made| {
                newest = newest.max(sample_time);
                match made {
                    Made::Float(_) => column.set(index, sample_time as f64),
                    made @ Made::Histogram(_) => column.set_made(index, made),
                }
            });
            push_unless_empty(labels, false, column, newest, sink)
        })
    }

    /// A selector with `smoothed`: between two samples the value is interpolated.
    fn smoothed_selector(&self, selector: &SelectorPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.read_series(selector, grid, self.lookback, self.lookback, &mut |labels, samples| {
            let run = crate::eval::range::Run::from_samples(samples);
            let metric = labels.metric_name().unwrap_or_default();
            let mut column = Column::new(grid.steps);
            let mut newest = NO_INPUT;
            for index in 0..grid.steps {
                let at = selector.data_time(grid.at(index));
                let window = run.window(at.saturating_sub(self.lookback), at.saturating_add(self.lookback));
                if !window.histograms.is_empty() && !window.times.is_empty() {
                    self.note(Note::MixedFloatsHistograms { metric: metric.to_owned() }, selector.span);
                    continue;
                }
                let made = if window.histograms.is_empty() {
                    window.smoothed_at(at).map(Made::Float)
                } else {
                    self.smoothed_histogram_at(&window, at, metric, selector.span).map(Made::from)
                };
                if let Some(made) = made {
                    column.set_made(index, made);
                    newest = newest.max(window.newest());
                }
            }
            push_unless_empty(labels, false, column, newest, sink)
        })
    }
}

fn push_unless_empty(
    labels: &Labels,
    drop_name: bool,
    column: Column,
    newest: i64,
    sink: &mut Sink<'_>,
) -> Result<(), EvalError> {
    if column.is_empty() {
        return Ok(());
    }
    sink(EvalSeries { labels: labels.clone(), drop_name, column, newest })
}

/// Leaves count and sum of native histograms, and what their buckets say about counter resets.
fn keep_statistics(samples: &mut Samples) {
    let mut last: Option<Arc<Histogram>> = None;
    for (_, histogram) in &mut samples.histograms {
        let mut kept = Histogram {
            counter_reset_hint: histogram.counter_reset_hint,
            schema: histogram.schema,
            count: histogram.count,
            sum: histogram.sum,
            ..Histogram::default()
        };
        if !is_stale_nan(histogram.sum) {
            if let (CounterResetHint::Unknown, Some(last)) = (histogram.counter_reset_hint, &last) {
                kept.counter_reset_hint = if histogram.is_reset_from(last) {
                    CounterResetHint::CounterReset
                } else {
                    CounterResetHint::NotCounterReset
                };
            }
            last = Some(Arc::clone(histogram));
        }
        *histogram = Arc::new(kept);
    }
}
