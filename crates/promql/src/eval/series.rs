//! What flows between operators: one series at a time, a column of steps each.
//!
//! - [`Grid`]: the instants of an evaluation.
//! - [`Column`]: values with a presence bitmap; native histograms beside them only where there are any.
//! - [`EvalSeries`]: labels first, then a column.
//! - [`Merger`]: joins series that have the same labels at different steps.
//!
//! Rule: a column has as many places as its grid has steps.

use std::collections::HashMap;
use std::sync::Arc;

use datamodel::{Histogram, Labels};

use crate::error::EvalError;

/// The instants of an evaluation: `start`, `start + step`, … (Unix milliseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) steps: usize,
}

impl Grid {
    pub(crate) const fn instant(at: i64) -> Self {
        Self { start: at, step: 1, steps: 1 }
    }

    /// From `start` to at most `end`; empty if `end` is earlier.
    pub(crate) fn new(start: i64, end: i64, step: i64) -> Self {
        let span = end.saturating_sub(start);
        let steps = if span < 0 { 0 } else { usize::try_from(span / step.max(1)).unwrap_or(usize::MAX - 1) + 1 };
        Self { start, step: step.max(1), steps }
    }

    pub(crate) fn at(self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// The last instant; the start for an empty grid.
    pub(crate) fn end(self) -> i64 {
        self.at(self.steps.saturating_sub(1))
    }

    pub(crate) const fn is_instant(self) -> bool {
        self.steps == 1
    }
}

/// A sample without its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// A sample that an operator makes.
#[derive(Clone, Debug)]
pub(crate) enum Made {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Histogram> for Made {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// One value for each step, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    values: Vec<f64>,
    present: Vec<u64>,
    /// Empty, or one place for each step.
    histograms: Vec<Option<Arc<Histogram>>>,
}

impl Column {
    pub(crate) fn new(steps: usize) -> Self {
        Self { values: vec![0.0; steps], present: vec![0; steps.div_ceil(64)], histograms: Vec::new() }
    }

    /// A column of floats: a value for each step, and a bit for each that counts.
    pub(crate) const fn from_parts(values: Vec<f64>, present: Vec<u64>) -> Self {
        Self { values, present, histograms: Vec::new() }
    }

    /// The floats of 64 steps (fewer at the end), with a bit for each that is present.
    pub(crate) fn words(&self) -> impl Iterator<Item = (&[f64], u64)> {
        self.values.chunks(64).zip(self.present.iter().copied())
    }

    pub(crate) const fn steps(&self) -> usize {
        self.values.len()
    }

    /// Bytes that a column of so many steps takes without histograms.
    pub(crate) const fn byte_len_for(steps: usize) -> usize {
        steps.saturating_mul(8).saturating_add(steps / 8 + 8)
    }

    /// Bytes that the column takes; a histogram counts by its buckets.
    pub(crate) fn byte_len(&self) -> usize {
        let histograms: usize = self.histograms.iter().flatten().map(|histogram| histogram.byte_len()).sum();
        Self::byte_len_for(self.values.len()) + self.histograms.len() * 8 + histograms
    }

    #[inline]
    pub(crate) fn is_present(&self, index: usize) -> bool {
        self.present.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    #[inline]
    pub(crate) fn set(&mut self, index: usize, value: f64) {
        if let (Some(place), Some(word)) = (self.values.get_mut(index), self.present.get_mut(index / 64)) {
            *place = value;
            *word |= 1 << (index % 64);
            if let Some(histogram) = self.histograms.get_mut(index) {
                *histogram = None;
            }
        }
    }

    pub(crate) fn set_histogram(&mut self, index: usize, histogram: Arc<Histogram>) {
        self.set(index, f64::NAN);
        if self.histograms.is_empty() {
            self.histograms = vec![None; self.values.len()];
        }
        if let Some(place) = self.histograms.get_mut(index) {
            *place = Some(histogram);
        }
    }

    pub(crate) fn set_made(&mut self, index: usize, made: Made) {
        match made {
            Made::Float(value) => self.set(index, value),
            Made::Histogram(histogram) => self.set_histogram(index, histogram),
        }
    }

    pub(crate) fn clear(&mut self, index: usize) {
        if let Some(word) = self.present.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
        if let Some(histogram) = self.histograms.get_mut(index) {
            *histogram = None;
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Point<'_>> {
        if !self.is_present(index) {
            return None;
        }
        if let Some(Some(histogram)) = self.histograms.get(index) {
            return Some(Point::Histogram(histogram));
        }
        self.values.get(index).map(|value| Point::Float(*value))
    }

    /// The float at a step; `None` for histograms too.
    #[inline]
    pub(crate) fn float(&self, index: usize) -> Option<f64> {
        match self.get(index) {
            Some(Point::Float(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.iter().all(|word| *word == 0)
    }

    /// The steps that have a sample.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, Point<'_>)> {
        (0..self.values.len()).filter_map(|index| self.get(index).map(|point| (index, point)))
    }

    /// The steps of a column without histograms that have a value.
    #[inline]
    pub(crate) fn floats(&self) -> impl Iterator<Item = (usize, f64)> {
        self.values.iter().copied().enumerate().filter(|(index, _)| self.is_present(*index))
    }

    /// Changes the floats in place; histograms are dropped where `keep_histograms` is false.
    pub(crate) fn map_floats(&mut self, keep_histograms: bool, mut change: impl FnMut(usize, f64) -> Option<f64>) {
        for index in 0..self.values.len() {
            match self.get(index) {
                None => {}
                Some(Point::Histogram(_)) if keep_histograms => {}
                Some(Point::Histogram(_)) => self.clear(index),
                Some(Point::Float(value)) => match change(index, value) {
                    Some(value) => self.set(index, value),
                    None => self.clear(index),
                },
            }
        }
        if !keep_histograms {
            self.histograms = Vec::new();
        }
    }

    /// Repeats the value of a one-step column.
    pub(crate) fn broadcast(&self, steps: usize) -> Self {
        let mut column = Self::new(steps);
        if let Some(point) = self.get(0) {
            for index in 0..steps {
                match point {
                    Point::Float(value) => column.set(index, value),
                    Point::Histogram(histogram) => column.set_histogram(index, Arc::clone(histogram)),
                }
            }
        }
        column
    }
}

/// No input behind a value (constants).
pub(crate) const NO_INPUT: i64 = i64::MIN;

/// A series on its way.
#[derive(Clone, Debug)]
pub(crate) struct EvalSeries {
    pub(crate) labels: Labels,
    /// Whether the metric name goes away at the end (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) column: Column,
    /// Time of the newest sample that went into the column, [`NO_INPUT`] if there is none.
    pub(crate) newest: i64,
}

impl EvalSeries {
    pub(crate) fn byte_len(&self) -> usize {
        self.column.byte_len() + self.labels.byte_len() + size_of::<Self>()
    }
}

/// Names of the labels that say what a metric is; they go away with its name.
pub(crate) const METADATA_LABELS: [&str; 3] = ["__name__", "__type__", "__unit__"];

/// The labels without name, type and unit.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    labels.filter(|name| !METADATA_LABELS.contains(&name))
}

/// Joins series by their labels; two samples at one step are an error.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    by_labels: HashMap<Labels, usize>,
    series: Vec<EvalSeries>,
}

impl Merger {
    /// Adds a whole series.
    pub(crate) fn add(&mut self, series: EvalSeries) -> Result<(), EvalError> {
        let Some(&at) = self.by_labels.get(&series.labels) else {
            self.by_labels.insert(series.labels.clone(), self.series.len());
            self.series.push(series);
            return Ok(());
        };
        let Some(base) = self.series.get_mut(at) else { return Ok(()) };
        // The series with the earlier sample decides whether the name goes.
        let first = |column: &Column| column.iter().next().map_or(usize::MAX, |(index, _)| index);
        if first(&series.column) < first(&base.column) {
            base.drop_name = series.drop_name;
        }
        for (index, point) in series.column.iter() {
            if base.column.is_present(index) {
                return Err(EvalError::DuplicateLabels);
            }
            match point {
                Point::Float(value) => base.column.set(index, value),
                Point::Histogram(histogram) => base.column.set_histogram(index, Arc::clone(histogram)),
            }
        }
        base.newest = base.newest.max(series.newest);
        Ok(())
    }

    pub(crate) fn contains(&self, labels: &Labels) -> bool {
        self.by_labels.contains_key(labels)
    }

    /// Adds one sample of a series. The first sample decides about `drop_name`.
    pub(crate) fn add_point(&mut self, key: &PointKey<'_>, made: Made) -> Result<(), EvalError> {
        let at = match self.by_labels.get(key.labels) {
            Some(&at) => at,
            None => {
                self.by_labels.insert(key.labels.clone(), self.series.len());
                self.series.push(EvalSeries {
                    labels: key.labels.clone(),
                    drop_name: key.drop_name,
                    column: Column::new(key.steps),
                    newest: NO_INPUT,
                });
                self.series.len() - 1
            }
        };
        let Some(series) = self.series.get_mut(at) else { return Ok(()) };
        if series.column.is_present(key.index) {
            return Err(EvalError::DuplicateLabels);
        }
        series.column.set_made(key.index, made);
        series.newest = series.newest.max(key.newest);
        Ok(())
    }

    pub(crate) fn into_series(self) -> Vec<EvalSeries> {
        self.series
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.series.iter().map(EvalSeries::byte_len).sum()
    }
}

/// Which series and step a sample of [`Merger::add_point`] belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointKey<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) drop_name: bool,
    pub(crate) steps: usize,
    pub(crate) index: usize,
    pub(crate) newest: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_tells_absent_from_zero() {
        let mut column = Column::new(70);
        column.set(69, 0.0);
        assert!(column.is_present(69));
        assert!(!column.is_present(0));
        assert_eq!(column.iter().count(), 1);
        column.clear(69);
        assert!(column.is_empty());
    }

    #[test]
    fn grid_includes_its_end_only_on_a_step() {
        assert_eq!(Grid::new(0, 10, 4).end(), 8);
        assert_eq!(Grid::new(0, 8, 4).steps, 3);
        assert_eq!(Grid::new(5, 4, 1).steps, 0);
    }

    #[test]
    fn merger_refuses_two_samples_at_one_step() {
        let series = |index: usize| {
            let mut column = Column::new(2);
            column.set(index, 1.0);
            EvalSeries { labels: Labels::empty(), drop_name: false, column, newest: NO_INPUT }
        };
        let mut merger = Merger::default();
        merger.add(series(0)).unwrap();
        merger.add(series(1)).unwrap();
        assert!(matches!(merger.add(series(1)), Err(EvalError::DuplicateLabels)));
        assert_eq!(merger.into_series().len(), 1);
    }
}
