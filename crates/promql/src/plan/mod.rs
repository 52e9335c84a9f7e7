//! The typed plan: what the evaluation walks.
//!
//! - [`Plan`] and the nodes by type: [`ScalarPlan`], [`VectorPlan`], [`RangePlan`].
//! - `build`: from the tree; `durations`: durations and `@` to milliseconds; [`time_range()`]: what is read.
//!
//! Rule: a plan is made for one range of time. Nothing in it depends on the data.

mod build;
mod calls;
mod durations;
mod time_range;

use std::sync::Arc;

use datamodel::{Labels, Matcher};

use crate::ast::{AggregateOp, BinaryOp, Matching, RangeMode, StringLiteral};
use crate::span::Span;

pub(crate) use build::BuildOptions;
pub(crate) use build::build;
pub(crate) use durations::{go_max, go_min};
pub(crate) use time_range::time_range;

/// The range of a query, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// 0 for instant queries.
    pub(crate) step: i64,
}

/// A whole expression.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Scalar(ScalarPlan),
    Vector(VectorPlan),
    Range(RangePlan),
    String(StringLiteral),
}

/// Yields one number at each step.
#[derive(Clone, Debug)]
pub(crate) enum ScalarPlan {
    Const(f64),
    /// `time()`
    Time,
    /// `scalar(v)`
    FromVector(Box<VectorPlan>),
    Negate(Box<Self>),
    Binary(BinaryOp, Box<Self>, Box<Self>),
    MinOf(Box<Self>, Box<Self>),
    MaxOf(Box<Self>, Box<Self>),
    /// The same at all steps: evaluated once.
    StepInvariant(Box<Self>),
}

/// A selector with its times resolved.
#[derive(Clone, Debug)]
pub(crate) struct SelectorPlan {
    pub(crate) matchers: Vec<Matcher>,
    /// Milliseconds that the data lie before the evaluation.
    pub(crate) offset: i64,
    /// The fixed evaluation time of `@`.
    pub(crate) at: Option<i64>,
    pub(crate) mode: RangeMode,
    /// Only count and sum of native histograms are needed.
    pub(crate) is_statistics: bool,
    pub(crate) span: Span,
    /// The function around the selector, for the storage.
    pub(crate) function: &'static str,
}

impl SelectorPlan {
    /// Time of the data for an evaluation at `step_time`.
    pub(crate) fn data_time(&self, step_time: i64) -> i64 {
        self.at.unwrap_or(step_time).saturating_sub(self.offset)
    }

    /// Whether all series have one metric name.
    pub(crate) fn has_fixed_name(&self) -> bool {
        self.matchers
            .iter()
            .any(|matcher| matcher.name() == datamodel::METRIC_NAME && matcher.op() == datamodel::MatchOp::Equal)
    }
}

/// Yields a run of samples for each series and step.
#[derive(Clone, Debug)]
pub(crate) struct RangePlan {
    pub(crate) input: RangeInput,
    /// Milliseconds.
    pub(crate) range: i64,
    pub(crate) span: Span,
}

/// Where the samples of a range come from.
#[derive(Clone, Debug)]
pub(crate) enum RangeInput {
    Selector(SelectorPlan),
    Subquery(SubqueryPlan),
}

/// An expression evaluated over a range.
#[derive(Clone, Debug)]
pub(crate) struct SubqueryPlan {
    pub(crate) inner: Box<VectorPlan>,
    /// Milliseconds, positive.
    pub(crate) step: i64,
    pub(crate) offset: i64,
    pub(crate) at: Option<i64>,
}

impl RangePlan {
    /// End of the range for an evaluation at `step_time`.
    pub(crate) fn data_time(&self, step_time: i64) -> i64 {
        match &self.input {
            RangeInput::Selector(selector) => selector.data_time(step_time),
            RangeInput::Subquery(subquery) => subquery.at.unwrap_or(step_time).saturating_sub(subquery.offset),
        }
    }

    pub(crate) const fn mode(&self) -> RangeMode {
        match &self.input {
            RangeInput::Selector(selector) => selector.mode,
            RangeInput::Subquery(_) => RangeMode::Plain,
        }
    }
}

/// Functions over a range of samples, one series at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    AvgOverTime,
    SumOverTime,
    CountOverTime,
    MinOverTime,
    MaxOverTime,
    FirstOverTime,
    LastOverTime,
    PresentOverTime,
    StddevOverTime,
    StdvarOverTime,
    QuantileOverTime,
    MadOverTime,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Changes,
    Resets,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
    /// Only presence counts; the caller turns it round.
    AbsentOverTime,
}

/// Functions of one float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MathFunction {
    Abs,
    Ceil,
    Floor,
    Exp,
    Sqrt,
    Ln,
    Log2,
    Log10,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Rad,
    Deg,
    Sgn,
}

/// Functions of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateFunction {
    DaysInMonth,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Month,
    Year,
}

/// Functions of one native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramFunction {
    Count,
    Sum,
    Avg,
    Stddev,
    Stdvar,
}

/// Functions that change floats sample by sample and drop the name.
#[derive(Clone, Debug)]
pub(crate) enum MapFunction {
    Math(MathFunction),
    Date(DateFunction),
    Histogram(HistogramFunction),
    Clamp {
        min: ScalarPlan,
        max: ScalarPlan,
    },
    Round {
        to_nearest: ScalarPlan,
    },
    /// `timestamp` of something that is no selector: the time of the step.
    StepTime,
}

/// How a result is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Value,
    ValueDescending,
    Labels { labels: Vec<String>, is_descending: bool },
}

/// Yields a set of series with at most one sample at each step.
#[derive(Clone, Debug)]
pub(crate) enum VectorPlan {
    Selector(SelectorPlan),
    /// `timestamp(selector)`, `start_timestamp(selector)`
    SampleTime {
        selector: SelectorPlan,
        is_start: bool,
    },
    /// The same at all steps: evaluated once.
    StepInvariant(Box<Self>),
    Range {
        function: RangeFunction,
        input: RangePlan,
        args: Vec<ScalarArg>,
        args_span: Span,
    },
    AbsentOverTime {
        input: RangePlan,
        labels: Labels,
    },
    Absent {
        input: Box<Self>,
        labels: Labels,
    },
    Map {
        function: MapFunction,
        input: Box<Self>,
    },
    Negate(Box<Self>),
    /// `vector(s)`
    FromScalar(ScalarPlan),
    /// `hour()` and its kin without an argument.
    DateNow(DateFunction),
    /// No series: what a switched-off source of data answers.
    Empty,
    HistogramQuantile(HistogramQuantilePlan),
    HistogramFraction {
        lower: ScalarPlan,
        upper: ScalarPlan,
        input: Box<Self>,
        span: Span,
    },
    LabelReplace(LabelReplacePlan),
    LabelJoin {
        input: Box<Self>,
        target: String,
        separator: String,
        sources: Vec<String>,
    },
    Sort {
        input: Box<Self>,
        by: SortBy,
        span: Span,
    },
    Info(InfoPlan),
    Aggregate(AggregatePlan),
    VectorScalar(VectorScalarPlan),
    VectorVector(VectorVectorPlan),
    Set {
        op: BinaryOp,
        left: Box<Self>,
        right: Box<Self>,
        matching: Matching,
    },
}

/// A scalar argument with its place.
#[derive(Clone, Debug)]
pub(crate) struct ScalarArg {
    pub(crate) plan: ScalarPlan,
    pub(crate) span: Span,
}

/// `histogram_quantile` (one quantile, no label) and `histogram_quantiles`.
#[derive(Clone, Debug)]
pub(crate) struct HistogramQuantilePlan {
    pub(crate) quantiles: Vec<ScalarArg>,
    pub(crate) label: Option<String>,
    pub(crate) input: Box<VectorPlan>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct LabelReplacePlan {
    pub(crate) input: Box<VectorPlan>,
    pub(crate) target: String,
    pub(crate) replacement: String,
    pub(crate) source: String,
    pub(crate) pattern: String,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct InfoPlan {
    pub(crate) input: Box<VectorPlan>,
    /// The matchers of the second argument.
    pub(crate) matchers: Vec<Matcher>,
    /// Time and offset of the info series: those of the first selector in the first argument.
    pub(crate) at: Option<i64>,
    pub(crate) offset: i64,
    pub(crate) span: Span,
}

/// An aggregation.
#[derive(Clone, Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) op: AggregateOp,
    pub(crate) input: Box<VectorPlan>,
    pub(crate) input_span: Span,
    pub(crate) span: Span,
    /// `k`, `q` or the ratio.
    pub(crate) param: Option<ScalarArg>,
    /// The label of `count_values`.
    pub(crate) value_label: Option<Arc<str>>,
    /// Sorted, unique.
    pub(crate) grouping: Vec<Arc<str>>,
    pub(crate) is_without: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct VectorScalarPlan {
    pub(crate) op: BinaryOp,
    pub(crate) vector: Box<VectorPlan>,
    pub(crate) scalar: ScalarPlan,
    pub(crate) scalar_is_left: bool,
    pub(crate) is_bool: bool,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct VectorVectorPlan {
    pub(crate) op: BinaryOp,
    pub(crate) left: Box<VectorPlan>,
    pub(crate) right: Box<VectorPlan>,
    pub(crate) matching: Matching,
    pub(crate) is_bool: bool,
    pub(crate) span: Span,
}

impl VectorPlan {
    /// Whether dropping the metric name cannot make two series equal: all come from one name, and the
    /// operators between keep the other labels.
    pub(crate) fn has_one_name(&self) -> bool {
        match self {
            Self::Selector(selector) | Self::SampleTime { selector, .. } => selector.has_fixed_name(),
            Self::Range { input, .. } => match &input.input {
                RangeInput::Selector(selector) => selector.has_fixed_name(),
                RangeInput::Subquery(subquery) => subquery.inner.has_one_name(),
            },
            Self::StepInvariant(input) | Self::Negate(input) | Self::Map { input, .. } => input.has_one_name(),
            Self::VectorScalar(plan) => plan.vector.has_one_name(),
            Self::FromScalar(_)
            | Self::DateNow(_)
            | Self::Empty
            | Self::AbsentOverTime { .. }
            | Self::Absent { .. } => true,
            Self::Aggregate(plan) => {
                !plan.op.has_param() && !plan.is_without && !plan.grouping.iter().any(|label| &**label == "__name__")
            }
            _ => false,
        }
    }
}
