//! Functions that change sample by sample, and the dropping of metric names.
//!
//! Rule: with delayed name removal a name is only marked; without it, it goes at once and what then has
//! the same labels is joined, or refused where two samples meet.

use datamodel::Histogram;
use datamodel::labels::Labels;

use crate::error::EvalError;
use crate::eval::series::{Column, EvalSeries, Grid, Merger, NO_INPUT, Point, without_metadata};
use crate::eval::{Evaluator, ScalarColumn, Sink};
use crate::numbers::{civil, days_in_month};
use crate::plan::{DateFunction, HistogramFunction, MapFunction, MathFunction, ScalarPlan, VectorPlan, go_max, go_min};

/// What becomes of series that are equal without their names and have no step in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Equals {
    /// They are one: operators look at one step after the other.
    Join,
    /// They are an error: functions of ranges look at one series after the other.
    Refuse,
}

/// An operator that pushes series marked for losing their names.
type Body<'b> = dyn FnMut(&mut Sink<'_>) -> Result<(), EvalError> + 'b;

impl Evaluator<'_> {
    /// Runs an operator whose series lose their names. `has_one_name` says that dropping them cannot make
    /// two equal, so that nothing need be held (types and units go with the names and may differ).
    pub(super) fn dropping_names(
        &self,
        has_one_name: bool,
        equals: Equals,
        sink: &mut Sink<'_>,
        body: &mut Body<'_>,
    ) -> Result<(), EvalError> {
        if self.features.delayed_name_removal {
            return body(sink);
        }
        let strip = |series: EvalSeries| EvalSeries {
            labels: if series.drop_name { without_metadata(&series.labels) } else { series.labels },
            drop_name: false,
            ..series
        };
        if has_one_name && !self.features.type_and_unit_labels {
            return body(&mut |series| sink(strip(series)));
        }
        let mut merger = Merger::default();
        let mut memory = self.budget.reservation();
        body(&mut |series| {
            memory.grow(series.byte_len())?;
            let series = strip(series);
            if equals == Equals::Refuse && merger.contains(&series.labels) {
                return Err(EvalError::DuplicateLabels);
            }
            merger.add(series)
        })?;
        merger.into_series().into_iter().try_for_each(sink)
    }

    pub(super) fn map(
        &self,
        function: &MapFunction,
        input: &VectorPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let scalars = self.map_scalars(function, grid)?;
        self.dropping_names(input.has_one_name(), Equals::Join, sink, &mut |sink| {
            self.vector(input, grid, &mut |mut series| {
                map_column(function, &mut series.column, &scalars, grid);
                if series.column.is_empty() {
                    return Ok(());
                }
                sink(EvalSeries { drop_name: true, ..series })
            })
        })
    }

    fn map_scalars(&self, function: &MapFunction, grid: Grid) -> Result<Vec<ScalarColumn>, EvalError> {
        let plans: Vec<&ScalarPlan> = match function {
            MapFunction::Clamp { min, max } => vec![min, max],
            MapFunction::Round { to_nearest } => vec![to_nearest],
            _ => Vec::new(),
        };
        plans.into_iter().map(|plan| self.scalar(plan, grid)).collect()
    }

    pub(super) fn negate(&self, input: &VectorPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        self.dropping_names(input.has_one_name(), Equals::Join, sink, &mut |sink| {
            self.vector(input, grid, &mut |mut series| {
                for index in 0..grid.steps {
                    match series.column.get(index) {
                        Some(Point::Float(value)) => series.column.set(index, -value),
                        Some(Point::Histogram(histogram)) => {
                            let negated = histogram.scaled(-1.0);
                            series.column.set_histogram(index, std::sync::Arc::new(negated));
                        }
                        None => {}
                    }
                }
                sink(EvalSeries { drop_name: true, ..series })
            })
        })
    }

    pub(super) fn vector_from_scalar(
        &self,
        plan: &ScalarPlan,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EvalError> {
        let scalar = self.scalar(plan, grid)?;
        let mut column = Column::new(grid.steps);
        (0..grid.steps).for_each(|index| column.set(index, scalar.at(index)));
        sink(EvalSeries { labels: Labels::empty(), drop_name: false, column, newest: scalar.newest })
    }

    pub(super) fn date_now(function: DateFunction, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let mut column = Column::new(grid.steps);
        for index in 0..grid.steps {
            column.set(index, date_part(function, grid.at(index) / 1000));
        }
        sink(EvalSeries { labels: Labels::empty(), drop_name: false, column, newest: NO_INPUT })
    }
}

fn map_column(function: &MapFunction, column: &mut Column, scalars: &[ScalarColumn], grid: Grid) {
    let scalar = |place: usize, index: usize| scalars.get(place).map_or(f64::NAN, |column| column.at(index));
    match function {
        MapFunction::Math(function) => column.map_floats(false, |_, value| Some(math(*function, value))),
        // Towards zero, as Go converts; what does not fit saturates.
        MapFunction::Date(function) => column.map_floats(false, |_, value| Some(date_part(*function, value as i64))),
        MapFunction::Clamp { .. } => column.map_floats(false, |index, value| {
            let (min, max) = (scalar(0, index), scalar(1, index));
            if max < min { None } else { Some(go_max(min, go_min(max, value))) }
        }),
        MapFunction::Round { .. } => column.map_floats(false, |index, value| {
            // The inverse causes fewer inaccuracies.
            let inverse = 1.0 / scalar(0, index);
            Some((value * inverse + 0.5).floor() / inverse)
        }),
        MapFunction::StepTime => {
            for index in 0..grid.steps {
                if column.is_present(index) {
                    column.set(index, grid.at(index) as f64 / 1000.0);
                }
            }
        }
        MapFunction::Histogram(function) => {
            for index in 0..grid.steps {
                match column.get(index) {
                    Some(Point::Histogram(histogram)) => {
                        let value = histogram_value(*function, histogram);
                        column.set(index, value);
                    }
                    Some(Point::Float(_)) => column.clear(index),
                    None => {}
                }
            }
        }
    }
}

fn histogram_value(function: HistogramFunction, histogram: &Histogram) -> f64 {
    match function {
        HistogramFunction::Count => histogram.count,
        HistogramFunction::Sum => histogram.sum,
        HistogramFunction::Avg => histogram.sum / histogram.count,
        HistogramFunction::Stdvar => histogram.variance(),
        HistogramFunction::Stddev => histogram.variance().sqrt(),
    }
}

fn math(function: MathFunction, value: f64) -> f64 {
    match function {
        MathFunction::Abs => value.abs(),
        MathFunction::Ceil => value.ceil(),
        MathFunction::Floor => value.floor(),
        MathFunction::Exp => value.exp(),
        MathFunction::Sqrt => value.sqrt(),
        MathFunction::Ln => value.ln(),
        MathFunction::Log2 => value.log2(),
        MathFunction::Log10 => value.log10(),
        MathFunction::Sin => value.sin(),
        MathFunction::Cos => value.cos(),
        MathFunction::Tan => value.tan(),
        MathFunction::Asin => value.asin(),
        MathFunction::Acos => value.acos(),
        MathFunction::Atan => value.atan(),
        MathFunction::Sinh => value.sinh(),
        MathFunction::Cosh => value.cosh(),
        MathFunction::Tanh => value.tanh(),
        MathFunction::Asinh => value.asinh(),
        MathFunction::Acosh => value.acosh(),
        MathFunction::Atanh => value.atanh(),
        MathFunction::Rad => value * std::f64::consts::PI / 180.0,
        MathFunction::Deg => value * 180.0 / std::f64::consts::PI,
        MathFunction::Sgn if value < 0.0 => -1.0,
        MathFunction::Sgn if value > 0.0 => 1.0,
        MathFunction::Sgn => value,
    }
}

fn date_part(function: DateFunction, unix_seconds: i64) -> f64 {
    let date = civil(unix_seconds);
    let part = match function {
        DateFunction::DaysInMonth => days_in_month(date.year, date.month),
        DateFunction::DayOfMonth => date.day,
        DateFunction::DayOfWeek => date.weekday,
        DateFunction::DayOfYear => date.day_of_year,
        DateFunction::Hour => date.seconds_of_day / 3600,
        DateFunction::Minute => date.seconds_of_day / 60 % 60,
        DateFunction::Month => date.month,
        DateFunction::Year => date.year,
    };
    part as f64
}
