//! From series to the answer: names that were only marked go away, range results are sorted.
//!
//! Rule: this is the only place where a column becomes samples with times.

use std::sync::Arc;

use datamodel::Labels;
use storage::Samples;

use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::Evaluator;
use crate::eval::kernels::extended_samples;
use crate::eval::range::Window;
use crate::eval::series::{EvalSeries, Grid, Merger, NO_INPUT, Point, without_metadata};
use crate::plan::{Plan, RangePlan, VectorPlan};

/// What a plan evaluates to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// One number for each step.
    Scalar(Vec<f64>),
    String(String),
    /// Series in order, over the grid.
    Vector(Vec<EvalSeries>),
    /// Series with raw samples.
    Range(Vec<(Labels, Samples)>),
}

impl EvalSeries {
    /// The float or histogram of an instant evaluation.
    pub(crate) fn instant(&self) -> Option<Point<'_>> {
        self.column.get(0)
    }

    /// The samples at the steps of a grid.
    pub(crate) fn samples(&self, grid: Grid) -> Samples {
        let mut samples = Samples::default();
        for (index, point) in self.column.iter() {
            match point {
                Point::Float(value) => samples.push(grid.at(index), value),
                Point::Histogram(histogram) => samples.push_histogram(grid.at(index), Arc::clone(histogram)),
            }
        }
        samples
    }

    /// Time of the newest sample behind the series.
    pub(crate) fn newest_input(&self) -> Option<i64> {
        Some(self.newest).filter(|newest| *newest != NO_INPUT)
    }
}

impl Evaluator<'_> {
    pub(crate) fn answer(&self, plan: &Plan, grid: Grid) -> Result<Answer, EvalError> {
        match plan {
            Plan::String(text) => Ok(Answer::String(text.to_text())),
            Plan::Scalar(plan) => {
                let column = self.scalar(plan, grid)?;
                Ok(Answer::Scalar((0..grid.steps).map(|index| column.at(index)).collect()))
            }
            Plan::Vector(plan) => self.vector_answer(plan, grid).map(Answer::Vector),
            Plan::Range(plan) => self.range_answer(plan, grid).map(Answer::Range),
        }
    }

    fn vector_answer(&self, plan: &VectorPlan, grid: Grid) -> Result<Vec<EvalSeries>, EvalError> {
        let collected = self.collect(plan, grid)?;
        let mut merger = Merger::default();
        for mut series in collected.series {
            if series.drop_name {
                series.labels = without_metadata(&series.labels);
            }
            merger.add(series)?;
        }
        Ok(merger.into_series())
    }

    fn range_answer(&self, plan: &RangePlan, grid: Grid) -> Result<Vec<(Labels, Samples)>, EvalError> {
        let end = plan.data_time(grid.start);
        let start = end.saturating_sub(plan.range);
        let mut memory = self.budget.reservation();
        let mut all: Vec<(Labels, Samples)> = Vec::new();
        let (before, after) = self.reach(plan);
        self.runs(plan, grid, &mut |series| {
            let window = series.run.window(start.saturating_sub(before), end.saturating_add(after));
            if window.is_empty() || plan.range == 0 {
                return Ok(());
            }
            let samples = match plan.mode() {
                RangeMode::Plain => window_samples(&window),
                mode if window.histograms.is_empty() => extended_samples(&window, start, end, mode),
                mode => {
                    let modifier = if mode == RangeMode::Anchored { "anchored" } else { "smoothed" };
                    let message = format!("{modifier} modifier is not supported with histograms");
                    return Err(EvalError::InvalidArgument { message, span: plan.span });
                }
            };
            if samples.is_empty() {
                return Ok(());
            }
            memory.grow(samples.len().saturating_mul(16) + series.labels.byte_len())?;
            let labels = if series.drop_name { without_metadata(series.labels) } else { series.labels.clone() };
            all.push((labels, samples));
            Ok(())
        })?;
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        if all.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(EvalError::DuplicateLabels);
        }
        Ok(all)
    }
}

/// Floats and histograms of a window in the order of their times.
fn window_samples(window: &Window<'_>) -> Samples {
    let mut samples = Samples::default();
    let mut histograms = window.histograms.iter().peekable();
    for (&at, &value) in window.times.iter().zip(window.values) {
        while let Some((time, histogram)) = histograms.next_if(|(time, _)| *time < at) {
            samples.push_histogram(*time, Arc::clone(histogram));
        }
        samples.push(at, value);
    }
    for (time, histogram) in histograms {
        samples.push_histogram(*time, Arc::clone(histogram));
    }
    samples
}
