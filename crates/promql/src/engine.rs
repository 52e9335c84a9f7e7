//! The engine: expressions and a storage in, answers out.
//!
//! - [`Engine`] with its [`EngineOptions`]; [`QueryContext`] for each query; [`QueryResult`].
//!
//! Rule: the engine never spawns, never waits and holds no state between queries.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use datamodel::time::{SystemClock, duration_ms};
use datamodel::{Clock, Histogram, Labels, Sample, Timestamp};
use storage::{MemoryPool, Queryable, Samples};

use crate::annotations::Annotations;
use crate::ast::{Expr, ValueType};
use crate::error::EvalError;
use crate::eval::{Answer, Evaluator, Grid};
use crate::features::Features;
use crate::parser::{ParseError, parse_with};
use crate::plan::{BuildOptions, Plan, QueryRange, build, time_range};

/// How far back an instant selector looks, unless told otherwise.
pub const DEFAULT_LOOKBACK: Duration = Duration::from_secs(300);

/// Step of a subquery that names none: upstream takes the global evaluation interval.
pub const DEFAULT_SUBQUERY_STEP: Duration = Duration::from_secs(60);

/// Longest evaluation, as upstream's `--query.timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Memory that one query may hold: upstream's 50 million samples of 16 bytes would be 800 MB; a quarter
/// of that serves every dashboard and leaves a small machine alive.
pub const DEFAULT_BUDGET_BYTES: usize = 200 << 20;

/// How much of an expression its pool of memory shows.
const MAX_SHOWN_BYTES: usize = 200;

/// How an engine evaluates.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far back an instant selector looks; open on the left.
    pub lookback_delta: Duration,
    /// Step of subqueries that name none.
    pub default_subquery_step: Duration,
    /// Longest evaluation.
    pub timeout: Duration,
    /// Bytes that one query may hold.
    pub budget_bytes: usize,
    /// What all queries hold together is reserved here.
    pub memory: MemoryPool,
    /// Switches of the language.
    pub features: Features,
    /// For the timeout.
    pub clock: Arc<dyn Clock>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_delta: DEFAULT_LOOKBACK,
            default_subquery_step: DEFAULT_SUBQUERY_STEP,
            timeout: DEFAULT_TIMEOUT,
            budget_bytes: DEFAULT_BUDGET_BYTES,
            memory: MemoryPool::unlimited(),
            features: Features::DEFAULT,
            clock: Arc::new(SystemClock),
        }
    }
}

/// What one query is bound to.
#[derive(Clone, Debug, Default)]
pub struct QueryContext {
    /// Raised by the caller to stop the query; looked at once for each series.
    pub cancel: Arc<AtomicBool>,
    /// When the caller stops waiting, beside the engine's timeout.
    pub deadline: Option<Timestamp>,
    /// Another lookback than the engine's.
    pub lookback_delta: Option<Duration>,
    /// Another budget than the engine's.
    pub budget_bytes: Option<usize>,
}

/// An instant of a clock that must not pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline<'a> {
    clock: &'a dyn Clock,
    at: Timestamp,
}

impl Deadline<'_> {
    pub(crate) fn has_passed(&self) -> bool {
        self.clock.now() > self.at
    }
}

/// A float or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// Labels of the series.
    pub labels: Labels,
    /// The evaluation time.
    pub timestamp: Timestamp,
    /// The value.
    pub value: Value,
    /// Time of the newest stored sample that went into the value, through all operators; `None` for
    /// constants.
    pub newest_input: Option<Timestamp>,
}

/// One series of a range vector.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Labels of the series.
    pub labels: Labels,
    /// Its samples, ascending by time.
    pub samples: Samples,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number.
    Scalar(Sample),
    /// A text.
    String {
        /// The evaluation time.
        timestamp: Timestamp,
        /// The text.
        value: String,
    },
    /// Series with one sample each; in the order of `sort` and `topk` where these are outermost.
    InstantVector(Vec<InstantSample>),
    /// Series with a run of samples each, ascending by labels.
    RangeVector(Vec<RangeSeries>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The value.
    pub value: QueryValue,
    /// What the evaluation says about it.
    pub annotations: Annotations,
}

/// An expression as text, or already parsed.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// To be parsed with the engine's features.
    Text(&'a str),
    /// Parsed; `text` is what it was parsed from, for the places in annotations. Without it the places
    /// are those of a single line.
    Parsed {
        /// The expression.
        expr: &'a Expr,
        /// Its text.
        text: Option<&'a str>,
    },
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Source<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Expr> for Source<'a> {
    fn from(expr: &'a Expr) -> Self {
        Self::Parsed { expr, text: None }
    }
}

impl<'a> From<(&'a Expr, &'a str)> for Source<'a> {
    fn from((expr, text): (&'a Expr, &'a str)) -> Self {
        Self::Parsed { expr, text: Some(text) }
    }
}

/// Evaluates expressions. Cheap to clone, shared by all.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: Arc<EngineOptions>,
}

impl Engine {
    /// An engine with the given options.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self { options: Arc::new(options) }
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Parses an expression with the engine's features.
    ///
    /// # Errors
    ///
    /// The text is no well-typed PromQL.
    pub fn parse(&self, text: &str) -> Result<Expr, ParseError> {
        parse_with(text, &self.options.features)
    }

    /// Evaluates an expression at one instant.
    ///
    /// # Errors
    ///
    /// See [`EvalError`].
    pub fn instant<'a>(
        &self,
        queryable: &dyn Queryable,
        source: impl Into<Source<'a>>,
        at: Timestamp,
        context: &QueryContext,
    ) -> Result<QueryResult, EvalError> {
        let at = at.unix_ms();
        let query = QueryRange { start: at, end: at, step: 0 };
        let grid = Grid::instant(at);
        let (answer, annotations) = self.evaluate(queryable, source.into(), query, grid, context)?;
        Ok(QueryResult { value: instant_value(answer, at), annotations })
    }

    /// Evaluates an expression from `start` to `end` (both inclusive), every `step`.
    ///
    /// # Errors
    ///
    /// See [`EvalError`]. The step must be at least a millisecond, the end not before the start.
    pub fn range<'a>(
        &self,
        queryable: &dyn Queryable,
        source: impl Into<Source<'a>>,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        context: &QueryContext,
    ) -> Result<QueryResult, EvalError> {
        let step = duration_ms(step);
        if step <= 0 {
            return Err(EvalError::InvalidRange("zero or sub-millisecond step"));
        }
        if end < start {
            return Err(EvalError::InvalidRange("end is before start"));
        }
        let query = QueryRange { start: start.unix_ms(), end: end.unix_ms(), step };
        let grid = Grid::new(query.start, query.end, step);
        let (answer, annotations) = self.evaluate(queryable, source.into(), query, grid, context)?;
        Ok(QueryResult { value: range_value(answer, grid)?, annotations })
    }

    fn evaluate(
        &self,
        queryable: &dyn Queryable,
        source: Source<'_>,
        query: QueryRange,
        grid: Grid,
        context: &QueryContext,
    ) -> Result<(Answer, Annotations), EvalError> {
        let options = &self.options;
        let parsed;
        let (expr, text) = match source {
            Source::Parsed { expr, text } => (expr, text),
            Source::Text(text) => {
                parsed = self.parse(text)?;
                (&parsed, Some(text))
            }
        };
        let found = expr.value_type();
        if query.step > 0 && !matches!(found, ValueType::Scalar | ValueType::InstantVector) {
            return Err(EvalError::InvalidRangeType(found));
        }
        let build_options = BuildOptions {
            features: options.features,
            default_subquery_step: duration_ms(options.default_subquery_step),
        };
        let plan: Plan = build(expr, query, build_options)?;
        let lookback = duration_ms(context.lookback_delta.unwrap_or(options.lookback_delta));
        let querier = queryable.querier(time_range(&plan, grid, lookback))?;
        let timeout = options.clock.now().saturating_add(options.timeout);
        let at = context.deadline.map_or(timeout, |deadline| deadline.min(timeout));
        let deadline = Some(Deadline { clock: &*options.clock, at });
        let memory = self.query_memory(expr, text, context);
        let evaluator = Evaluator::new(&*querier, options.features, lookback, context, deadline, &memory);
        let answer = evaluator.answer(&plan, grid)?;
        Ok((answer, evaluator.into_annotations(text)))
    }
}

impl Engine {
    /// The part of the common pool for one query, with the expression as its name.
    fn query_memory(&self, expr: &Expr, text: Option<&str>, context: &QueryContext) -> MemoryPool {
        let shown = |text: &str| {
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("query `{}`", line.get(..line.floor_char_boundary(MAX_SHOWN_BYTES)).unwrap_or_default())
        };
        let name = text.map_or_else(|| shown(&expr.to_string()), shown);
        self.options.memory.child(&name, context.budget_bytes.unwrap_or(self.options.budget_bytes))
    }
}

fn instant_value(answer: Answer, at: i64) -> QueryValue {
    let timestamp = Timestamp::from_unix_ms(at);
    match answer {
        Answer::String(value) => QueryValue::String { timestamp, value },
        Answer::Scalar(values) => {
            QueryValue::Scalar(Sample { timestamp, value: values.first().copied().unwrap_or(f64::NAN) })
        }
        Answer::Vector(series) => QueryValue::InstantVector(
            series
                .into_iter()
                .filter_map(|series| {
                    use crate::eval::Point;
                    let value = match series.instant()? {
                        Point::Float(value) => Value::Float(value),
                        Point::Histogram(histogram) => Value::Histogram(Arc::clone(histogram)),
                    };
                    let newest_input = series.newest_input().map(Timestamp::from_unix_ms);
                    Some(InstantSample { labels: series.labels, timestamp, value, newest_input })
                })
                .collect(),
        ),
        Answer::Range(series) => QueryValue::RangeVector(
            series.into_iter().map(|(labels, samples)| RangeSeries { labels, samples }).collect(),
        ),
    }
}

fn range_value(answer: Answer, grid: Grid) -> Result<QueryValue, EvalError> {
    let mut series: Vec<RangeSeries> = match answer {
        Answer::Scalar(values) => {
            let mut samples = Samples::default();
            values.into_iter().enumerate().for_each(|(index, value)| samples.push(grid.at(index), value));
            vec![RangeSeries { labels: Labels::empty(), samples }]
        }
        Answer::Vector(series) => series
            .into_iter()
            .map(|series| RangeSeries { samples: series.samples(grid), labels: series.labels })
            .collect(),
        Answer::String(_) => return Err(EvalError::InvalidRangeType(ValueType::String)),
        Answer::Range(_) => return Err(EvalError::InvalidRangeType(ValueType::RangeVector)),
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(QueryValue::RangeVector(series))
}
