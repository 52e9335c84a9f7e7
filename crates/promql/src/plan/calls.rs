//! Function calls to plan nodes.
//!
//! Rule: a function of the table that is not built here is refused by its name.

use datamodel::labels::METRIC_NAME;
use datamodel::{Labels, LabelsBuilder, MatchOp, Matcher};

use crate::ast::{Call, Expr, ExprKind, RangeMode};
use crate::error::EvalError;
use crate::functions::depends_on_step;
use crate::plan::build::{Builder, Built, mistyped, scalar, vector};
use crate::plan::{
    DateFunction, HistogramFunction, HistogramQuantilePlan, InfoPlan, LabelReplacePlan, MapFunction, MathFunction,
    Plan, RangeFunction, RangePlan, ScalarArg, ScalarPlan, SortBy, VectorPlan,
};
use crate::span::Span;

/// The arguments of a call, each with its place, taken one after the other.
struct Args {
    plans: std::vec::IntoIter<(Plan, Span)>,
    call: Span,
}

impl Args {
    fn next(&mut self) -> Result<(Plan, Span), EvalError> {
        self.plans.next().ok_or(mistyped(self.call))
    }

    fn vector(&mut self) -> Result<Box<VectorPlan>, EvalError> {
        let (plan, span) = self.next()?;
        vector(plan, span)
    }

    fn scalar(&mut self) -> Result<ScalarPlan, EvalError> {
        let (plan, span) = self.next()?;
        scalar(plan, span)
    }

    fn scalar_arg(&mut self) -> Result<ScalarArg, EvalError> {
        let (plan, span) = self.next()?;
        Ok(ScalarArg { plan: scalar(plan, span)?, span })
    }

    fn range(&mut self) -> Result<RangePlan, EvalError> {
        match self.next()? {
            (Plan::Range(plan), _) => Ok(plan),
            (_, span) => Err(mistyped(span)),
        }
    }

    fn string(&mut self) -> Result<String, EvalError> {
        match self.next()? {
            (Plan::String(text), _) => Ok(text.to_text()),
            (_, span) => Err(mistyped(span)),
        }
    }

    /// A text that must be a label name.
    fn label(&mut self, role: &str, function: &str) -> Result<String, EvalError> {
        let (plan, span) = self.next()?;
        let Plan::String(text) = plan else { return Err(mistyped(span)) };
        match text.as_str() {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => {
                let message = format!("invalid {role} label name in {function}(): {}", text.to_text());
                Err(EvalError::InvalidArgument { message, span })
            }
        }
    }

    fn strings(&mut self) -> Result<Vec<String>, EvalError> {
        let mut texts = Vec::new();
        while self.plans.len() > 0 {
            texts.push(self.string()?);
        }
        Ok(texts)
    }
}

impl Builder {
    pub(super) fn call(self, call: &Call, span: Span) -> Result<Built, EvalError> {
        let name = call.function.name;
        if let Some(value) = self.query_constant(name) {
            return Ok(Built::constant(value));
        }
        let inner = Self { function: name, statistics: self.statistics.within(name), ..self };
        let exprs: Vec<&Expr> = call.args.iter().map(Expr::unwrapped).collect();
        let mut args = Vec::with_capacity(exprs.len());
        for expr in &exprs {
            args.push((inner.expr(expr)?, expr.span));
        }
        let all_invariant = args.iter().all(|(arg, _)| arg.is_invariant);
        // Each selector's own time does not change with the step if all of them are fixed.
        let is_fixed_timestamp =
            name == "timestamp" && exprs.iter().all(|expr| matches!(expr.kind, ExprKind::Selector(_)));
        let is_invariant = all_invariant && (!depends_on_step(name) || is_fixed_timestamp);
        let plans: Vec<_> =
            args.into_iter().map(|(arg, span)| (if is_invariant { arg.plan } else { arg.hoisted() }, span)).collect();
        let args = Args { plans: plans.into_iter(), call: span };
        let plan = inner.call_plan(call, &exprs, args, span)?;
        Ok(Built { plan, is_invariant, is_worth_hoisting: is_invariant })
    }

    /// `start()`, `end()`, `range()` and `step()` are constants of a query.
    fn query_constant(self, name: &str) -> Option<f64> {
        match name {
            "start" => Some(self.query.start as f64 / 1000.0),
            "end" => Some(self.query.end as f64 / 1000.0),
            "range" => Some(self.query.range_seconds()),
            "step" if self.query.start == self.query.end => Some(0.0),
            "step" => Some(self.query.step_seconds()),
            "pi" => Some(std::f64::consts::PI),
            _ => None,
        }
    }

    fn call_plan(self, call: &Call, exprs: &[&Expr], mut args: Args, span: Span) -> Result<Plan, EvalError> {
        let name = call.function.name;
        if let Some(function) = range_function(name) {
            return range_call(name, function, args, call.args_span());
        }
        if let Some(function) = map_function(name, &args, exprs)? {
            return Ok(Plan::Vector(match function {
                MapFunction::Date(date) if exprs.is_empty() => VectorPlan::DateNow(date),
                function => VectorPlan::Map { function, input: args.vector()? },
            }));
        }
        Ok(Plan::Vector(match name {
            "time" => return Ok(Plan::Scalar(ScalarPlan::Time)),
            "scalar" => return Ok(Plan::Scalar(ScalarPlan::FromVector(args.vector()?))),
            "min_of" | "max_of" => {
                let (left, right) = (Box::new(args.scalar()?), Box::new(args.scalar()?));
                let plan =
                    if name == "min_of" { ScalarPlan::MinOf(left, right) } else { ScalarPlan::MaxOf(left, right) };
                return Ok(Plan::Scalar(plan));
            }
            "vector" => VectorPlan::FromScalar(args.scalar()?),
            "absent" => VectorPlan::Absent { input: args.vector()?, labels: absent_labels(exprs) },
            "absent_over_time" => VectorPlan::AbsentOverTime { input: args.range()?, labels: absent_labels(exprs) },
            "timestamp" | "start_timestamp" => self.sample_time(name == "start_timestamp", &mut args)?,
            "sort" => VectorPlan::Sort { input: args.vector()?, by: SortBy::Value, span },
            "sort_desc" => VectorPlan::Sort { input: args.vector()?, by: SortBy::ValueDescending, span },
            "sort_by_label" | "sort_by_label_desc" => {
                let input = args.vector()?;
                let by = SortBy::Labels { labels: args.strings()?, is_descending: name == "sort_by_label_desc" };
                VectorPlan::Sort { input, by, span }
            }
            "label_replace" => label_replace(&mut args, span)?,
            "label_join" => label_join(&mut args)?,
            "histogram_quantile" => {
                let quantiles = vec![args.scalar_arg()?];
                let input = args.vector()?;
                let span = exprs.get(1).map_or(span, |expr| expr.span);
                VectorPlan::HistogramQuantile(HistogramQuantilePlan { quantiles, label: None, input, span })
            }
            "histogram_quantiles" => {
                let input = args.vector()?;
                let label = Some(args.string()?);
                let mut quantiles = Vec::new();
                while args.plans.len() > 0 {
                    quantiles.push(args.scalar_arg()?);
                }
                let span = exprs.first().map_or(span, |expr| expr.span);
                VectorPlan::HistogramQuantile(HistogramQuantilePlan { quantiles, label, input, span })
            }
            "histogram_fraction" => {
                let (lower, upper) = (args.scalar()?, args.scalar()?);
                let span = exprs.get(2).map_or(span, |expr| expr.span);
                VectorPlan::HistogramFraction { lower, upper, input: args.vector()?, span }
            }
            "info" => {
                let input = args.vector()?;
                let matchers = match exprs.get(1).map(|expr| &expr.kind) {
                    Some(ExprKind::Selector(selector)) => selector.matchers.clone(),
                    _ => Vec::new(),
                };
                let (at, offset) = match exprs.first() {
                    Some(expr) => self.first_selector_time(expr)?.unwrap_or_default(),
                    None => (None, 0),
                };
                VectorPlan::Info(InfoPlan { input, matchers, at, offset, span })
            }
            _ => return Err(EvalError::Unsupported { feature: call.function.name, span }),
        }))
    }

    /// `@` and offset of the first selector, with those of the subqueries around it up to the first `@`.
    fn first_selector_time(self, expr: &Expr) -> Result<Option<(Option<i64>, i64)>, EvalError> {
        let own = match &expr.kind {
            ExprKind::Selector(selector) => Some(selector),
            ExprKind::Range(range) => Some(&range.selector),
            _ => None,
        };
        if let Some(selector) = own {
            return Ok(Some((self.query.at(selector.at), self.query.offset(&selector.offset)?)));
        }
        for child in expr.children() {
            let Some((at, offset)) = self.first_selector_time(child)? else { continue };
            return Ok(Some(match &expr.kind {
                ExprKind::Subquery(subquery) if at.is_none() => {
                    let outer = self.query.offset(&subquery.offset)?;
                    (self.query.at(subquery.at), offset.saturating_add(outer))
                }
                _ => (at, offset),
            }));
        }
        Ok(None)
    }

    /// `timestamp` and `start_timestamp`: of a selector's samples, else of the steps.
    fn sample_time(self, is_start: bool, args: &mut Args) -> Result<VectorPlan, EvalError> {
        let input = args.vector()?;
        if is_start && !self.options.features.start_timestamps {
            return Ok(VectorPlan::Empty);
        }
        Ok(match *input {
            VectorPlan::Selector(selector) => VectorPlan::SampleTime { selector, is_start },
            VectorPlan::StepInvariant(inner) if matches!(*inner, VectorPlan::Selector(_)) => match *inner {
                VectorPlan::Selector(selector) => VectorPlan::SampleTime { selector, is_start },
                other => other,
            },
            _ if is_start => VectorPlan::Empty,
            input => VectorPlan::Map { function: MapFunction::StepTime, input: Box::new(input) },
        })
    }
}

fn range_call(name: &str, function: RangeFunction, mut args: Args, args_span: Span) -> Result<Plan, EvalError> {
    let mut scalars = Vec::new();
    if function == RangeFunction::QuantileOverTime {
        scalars.push(args.scalar_arg()?);
    }
    let input = args.range()?;
    while args.plans.len() > 0 {
        scalars.push(args.scalar_arg()?);
    }
    check_mode(name, input.mode(), input.span)?;
    Ok(Plan::Vector(VectorPlan::Range { function, input, args: scalars, args_span }))
}

/// `anchored` and `smoothed` look outside of the range, which only some functions expect.
fn check_mode(name: &str, mode: RangeMode, span: Span) -> Result<(), EvalError> {
    let (word, allowed) = match mode {
        RangeMode::Plain => return Ok(()),
        RangeMode::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"][..]),
        RangeMode::Smoothed => ("smoothed", &["delta", "increase", "rate"][..]),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let message = format!("{word} modifier can only be used with: {} - not with {name}", allowed.join(", "));
    Err(EvalError::InvalidArgument { message, span })
}

fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => RangeFunction::Rate,
        "increase" => RangeFunction::Increase,
        "delta" => RangeFunction::Delta,
        "irate" => RangeFunction::Irate,
        "idelta" => RangeFunction::Idelta,
        "avg_over_time" => RangeFunction::AvgOverTime,
        "sum_over_time" => RangeFunction::SumOverTime,
        "count_over_time" => RangeFunction::CountOverTime,
        "min_over_time" => RangeFunction::MinOverTime,
        "max_over_time" => RangeFunction::MaxOverTime,
        "first_over_time" => RangeFunction::FirstOverTime,
        "last_over_time" => RangeFunction::LastOverTime,
        "present_over_time" => RangeFunction::PresentOverTime,
        "stddev_over_time" => RangeFunction::StddevOverTime,
        "stdvar_over_time" => RangeFunction::StdvarOverTime,
        "quantile_over_time" => RangeFunction::QuantileOverTime,
        "mad_over_time" => RangeFunction::MadOverTime,
        "ts_of_first_over_time" => RangeFunction::TsOfFirstOverTime,
        "ts_of_last_over_time" => RangeFunction::TsOfLastOverTime,
        "ts_of_max_over_time" => RangeFunction::TsOfMaxOverTime,
        "ts_of_min_over_time" => RangeFunction::TsOfMinOverTime,
        "changes" => RangeFunction::Changes,
        "resets" => RangeFunction::Resets,
        "deriv" => RangeFunction::Deriv,
        "predict_linear" => RangeFunction::PredictLinear,
        "double_exponential_smoothing" => RangeFunction::DoubleExponentialSmoothing,
        _ => return None,
    })
}

fn math_function(name: &str) -> Option<MathFunction> {
    Some(match name {
        "abs" => MathFunction::Abs,
        "ceil" => MathFunction::Ceil,
        "floor" => MathFunction::Floor,
        "exp" => MathFunction::Exp,
        "sqrt" => MathFunction::Sqrt,
        "ln" => MathFunction::Ln,
        "log2" => MathFunction::Log2,
        "log10" => MathFunction::Log10,
        "sin" => MathFunction::Sin,
        "cos" => MathFunction::Cos,
        "tan" => MathFunction::Tan,
        "asin" => MathFunction::Asin,
        "acos" => MathFunction::Acos,
        "atan" => MathFunction::Atan,
        "sinh" => MathFunction::Sinh,
        "cosh" => MathFunction::Cosh,
        "tanh" => MathFunction::Tanh,
        "asinh" => MathFunction::Asinh,
        "acosh" => MathFunction::Acosh,
        "atanh" => MathFunction::Atanh,
        "rad" => MathFunction::Rad,
        "deg" => MathFunction::Deg,
        "sgn" => MathFunction::Sgn,
        _ => return None,
    })
}

/// The function with its scalar arguments; the vector stays in `args`.
fn map_function(name: &str, args: &Args, exprs: &[&Expr]) -> Result<Option<MapFunction>, EvalError> {
    if let Some(function) = math_function(name) {
        return Ok(Some(MapFunction::Math(function)));
    }
    let scalar_at = |index: usize| match args.plans.as_slice().get(index) {
        Some((Plan::Scalar(plan), _)) => Some(plan.clone()),
        _ => None,
    };
    let missing = || mistyped(exprs.first().map_or(Span::default(), |expr| expr.span));
    Ok(Some(match name {
        "clamp" => {
            let min = scalar_at(1).ok_or_else(missing)?;
            MapFunction::Clamp { min, max: scalar_at(2).ok_or_else(missing)? }
        }
        "clamp_min" => {
            MapFunction::Clamp { min: scalar_at(1).ok_or_else(missing)?, max: ScalarPlan::Const(f64::INFINITY) }
        }
        "clamp_max" => {
            MapFunction::Clamp { min: ScalarPlan::Const(f64::NEG_INFINITY), max: scalar_at(1).ok_or_else(missing)? }
        }
        "round" => MapFunction::Round { to_nearest: scalar_at(1).unwrap_or(ScalarPlan::Const(1.0)) },
        "histogram_count" => MapFunction::Histogram(HistogramFunction::Count),
        "histogram_sum" => MapFunction::Histogram(HistogramFunction::Sum),
        "histogram_avg" => MapFunction::Histogram(HistogramFunction::Avg),
        "histogram_stddev" => MapFunction::Histogram(HistogramFunction::Stddev),
        "histogram_stdvar" => MapFunction::Histogram(HistogramFunction::Stdvar),
        "days_in_month" => MapFunction::Date(DateFunction::DaysInMonth),
        "day_of_month" => MapFunction::Date(DateFunction::DayOfMonth),
        "day_of_week" => MapFunction::Date(DateFunction::DayOfWeek),
        "day_of_year" => MapFunction::Date(DateFunction::DayOfYear),
        "hour" => MapFunction::Date(DateFunction::Hour),
        "minute" => MapFunction::Date(DateFunction::Minute),
        "month" => MapFunction::Date(DateFunction::Month),
        "year" => MapFunction::Date(DateFunction::Year),
        _ => return Ok(None),
    }))
}

fn label_replace(args: &mut Args, span: Span) -> Result<VectorPlan, EvalError> {
    let input = args.vector()?;
    let (target, replacement) = (args.label("destination", "label_replace")?, args.string()?);
    let (source, pattern) = (args.string()?, args.string()?);
    Ok(VectorPlan::LabelReplace(LabelReplacePlan { input, target, replacement, source, pattern, span }))
}

fn label_join(args: &mut Args) -> Result<VectorPlan, EvalError> {
    let input = args.vector()?;
    let (target, separator) = (args.label("destination", "label_join")?, args.string()?);
    let mut sources = Vec::new();
    while args.plans.len() > 0 {
        sources.push(args.label("source", "label_join")?);
    }
    Ok(VectorPlan::LabelJoin { input, target, separator, sources })
}

/// The labels that a selector fixes: what `absent` answers with.
fn absent_labels(exprs: &[&Expr]) -> Labels {
    let matchers: &[Matcher] = match exprs.first().map(|expr| &expr.kind) {
        Some(ExprKind::Selector(selector)) => &selector.matchers,
        Some(ExprKind::Range(range)) => &range.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}
