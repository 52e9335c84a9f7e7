//! The functions of the language: names and signatures.
//!
//! Rule: one table; the parser, the plan, completion and the documentation read it.

use crate::ast::ValueType;
use crate::ast::ValueType::{InstantVector as V, RangeVector as M, Scalar as S, String as T};

/// A function's name and signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// The name.
    pub name: &'static str,
    /// Types of the arguments; the last repeats where the function is variadic.
    pub args: &'static [ValueType],
    /// How many arguments may follow or be left out.
    pub variadic: Variadic,
    /// What it returns.
    pub returns: ValueType,
    /// Whether it needs `promql-experimental-functions`.
    pub is_experimental: bool,
}

/// How many arguments a function takes beside the fixed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// Exactly those of the table.
    Fixed,
    /// The last of the table zero to so many times.
    UpTo(usize),
    /// The last of the table any number of times.
    Any,
}

const fn fixed(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: Variadic::Fixed, returns, is_experimental: false }
}

const fn up_to(name: &'static str, args: &'static [ValueType], count: usize) -> Function {
    Function { name, args, variadic: Variadic::UpTo(count), returns: V, is_experimental: false }
}

const fn experimental(function: &Function) -> Function {
    Function { is_experimental: true, ..*function }
}

/// All functions, by name.
pub const FUNCTIONS: &[Function] = &[
    fixed("abs", &[V], V),
    fixed("absent", &[V], V),
    fixed("absent_over_time", &[M], V),
    fixed("acos", &[V], V),
    fixed("acosh", &[V], V),
    fixed("asin", &[V], V),
    fixed("asinh", &[V], V),
    fixed("atan", &[V], V),
    fixed("atanh", &[V], V),
    fixed("avg_over_time", &[M], V),
    fixed("ceil", &[V], V),
    fixed("changes", &[M], V),
    fixed("clamp", &[V, S, S], V),
    fixed("clamp_max", &[V, S], V),
    fixed("clamp_min", &[V, S], V),
    fixed("cos", &[V], V),
    fixed("cosh", &[V], V),
    fixed("count_over_time", &[M], V),
    up_to("day_of_month", &[V], 1),
    up_to("day_of_week", &[V], 1),
    up_to("day_of_year", &[V], 1),
    up_to("days_in_month", &[V], 1),
    fixed("deg", &[V], V),
    fixed("delta", &[M], V),
    fixed("deriv", &[M], V),
    experimental(&fixed("double_exponential_smoothing", &[M, S, S], V)),
    experimental(&fixed("end", &[], S)),
    fixed("exp", &[V], V),
    fixed("first_over_time", &[M], V),
    fixed("floor", &[V], V),
    fixed("histogram_avg", &[V], V),
    fixed("histogram_count", &[V], V),
    fixed("histogram_fraction", &[S, S, V], V),
    fixed("histogram_quantile", &[S, V], V),
    experimental(&up_to("histogram_quantiles", &[V, T, S, S], 9)),
    fixed("histogram_stddev", &[V], V),
    fixed("histogram_stdvar", &[V], V),
    fixed("histogram_sum", &[V], V),
    up_to("hour", &[V], 1),
    fixed("idelta", &[M], V),
    fixed("increase", &[M], V),
    experimental(&up_to("info", &[V, V], 1)),
    fixed("irate", &[M], V),
    Function { name: "label_join", args: &[V, T, T, T], variadic: Variadic::Any, returns: V, is_experimental: false },
    fixed("label_replace", &[V, T, T, T, T], V),
    fixed("last_over_time", &[M], V),
    fixed("ln", &[V], V),
    fixed("log10", &[V], V),
    fixed("log2", &[V], V),
    experimental(&fixed("mad_over_time", &[M], V)),
    experimental(&fixed("max_of", &[S, S], S)),
    fixed("max_over_time", &[M], V),
    experimental(&fixed("min_of", &[S, S], S)),
    fixed("min_over_time", &[M], V),
    up_to("minute", &[V], 1),
    up_to("month", &[V], 1),
    fixed("pi", &[], S),
    fixed("predict_linear", &[M, S], V),
    fixed("present_over_time", &[M], V),
    fixed("quantile_over_time", &[S, M], V),
    fixed("rad", &[V], V),
    experimental(&fixed("range", &[], S)),
    fixed("rate", &[M], V),
    fixed("resets", &[M], V),
    up_to("round", &[V, S], 1),
    fixed("scalar", &[V], S),
    fixed("sgn", &[V], V),
    fixed("sin", &[V], V),
    fixed("sinh", &[V], V),
    fixed("sort", &[V], V),
    Function { name: "sort_by_label", args: &[V, T], variadic: Variadic::Any, returns: V, is_experimental: true },
    Function { name: "sort_by_label_desc", args: &[V, T], variadic: Variadic::Any, returns: V, is_experimental: true },
    fixed("sort_desc", &[V], V),
    fixed("sqrt", &[V], V),
    experimental(&fixed("start", &[], S)),
    experimental(&fixed("start_timestamp", &[V], V)),
    fixed("stddev_over_time", &[M], V),
    fixed("stdvar_over_time", &[M], V),
    experimental(&fixed("step", &[], S)),
    fixed("sum_over_time", &[M], V),
    fixed("tan", &[V], V),
    fixed("tanh", &[V], V),
    fixed("time", &[], S),
    fixed("timestamp", &[V], V),
    experimental(&fixed("ts_of_first_over_time", &[M], V)),
    experimental(&fixed("ts_of_last_over_time", &[M], V)),
    experimental(&fixed("ts_of_max_over_time", &[M], V)),
    experimental(&fixed("ts_of_min_over_time", &[M], V)),
    fixed("vector", &[S], V),
    up_to("year", &[V], 1),
];

/// The function of that name (case counts).
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    FUNCTIONS.get(at)
}

/// Functions whose value may change with the evaluation time though their arguments do not.
pub(crate) fn depends_on_step(name: &str) -> bool {
    matches!(
        name,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "end"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "range"
            | "start"
            | "step"
            | "time"
            | "timestamp"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_every_name_is_found() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(FUNCTIONS.iter().all(|function| find(function.name) == Some(function)));
        assert_eq!(find("RATE"), None);
    }
}
