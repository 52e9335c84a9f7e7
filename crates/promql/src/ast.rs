//! The tree that the parser builds: every node with its place in the text.
//!
//! - [`Expr`] with its [`ExprKind`]; [`VectorSelector`], [`RangeSelector`], [`Subquery`] and the parts
//!   that they share ([`At`], [`DurationValue`]).
//! - [`Expr::selectors`] walks all selectors.
//!
//! Rule: the tree holds what was written. Durations and `@` are resolved by the plan.

use std::sync::Arc;

use datamodel::{Matcher, Timestamp};

use crate::functions::Function;
use crate::span::Span;

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number at each step.
    Scalar,
    /// A text.
    String,
    /// A set of series with one sample each.
    InstantVector,
    /// A set of series with a run of samples each.
    RangeVector,
}

impl ValueType {
    /// The words of error messages: `instant vector`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::InstantVector => "instant vector",
            Self::RangeVector => "range vector",
        }
    }

    /// The words of the HTTP API: `vector`.
    #[must_use]
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::InstantVector => "vector",
            Self::RangeVector => "matrix",
        }
    }
}

/// An expression with its place in the text. `Display` prints canonical PromQL.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1.5`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `foo{a="b"} offset 5m`
    Selector(VectorSelector),
    /// `foo[5m]`
    Range(RangeSelector),
    /// `expr[5m:1m]`
    Subquery(Box<Subquery>),
    /// `rate(…)`
    Call(Call),
    /// `sum by (a) (…)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Expr>),
}

/// A number; a duration literal counts in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The value.
    pub value: f64,
    /// Whether it was written as a duration (`5m`).
    pub is_duration: bool,
}

/// A text. Escapes may make it something that is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral(pub(crate) Vec<u8>);

impl StringLiteral {
    /// The text, if it is valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text, with replacement characters where it is not valid UTF-8.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// `@ …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A duration in the text: a plain one, or an expression that the query's range and step resolve.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationValue {
    /// Milliseconds; negative only for offsets.
    Millis(i64),
    /// `5m * 2`, `step()`
    Expr(DurationExpr),
}

impl Default for DurationValue {
    fn default() -> Self {
        Self::Millis(0)
    }
}

/// An expression in the place of a duration.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
    /// Whether it stood in parentheses.
    pub is_wrapped: bool,
}

/// The kinds of duration expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A number of seconds or a duration.
    Number(NumberLiteral),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `-a`
    Negative(Box<DurationExpr>),
    /// `(a)` around a number
    Positive(Box<DurationExpr>),
    /// `a + b`
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
}

/// `anchored`, `smoothed` behind a range selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeMode {
    /// The samples in the range, with extrapolation where the function does so.
    #[default]
    Plain,
    /// The range is extended to the sample before its start.
    Anchored,
    /// Values at both ends are interpolated.
    Smoothed,
}

/// Selects series by matchers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorSelector {
    /// The metric name in front of the braces, or empty.
    pub name: Arc<str>,
    /// All tests, the one for the name last.
    pub matchers: Vec<Matcher>,
    /// `offset`
    pub offset: DurationValue,
    /// `@`
    pub at: Option<At>,
    /// `anchored`, `smoothed`
    pub mode: RangeMode,
    /// Whether the matchers may all accept the empty value (second argument of `info`).
    pub(crate) may_be_empty: bool,
}

/// Selects a run of samples of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSelector {
    /// The series, with offset, `@` and mode.
    pub selector: VectorSelector,
    /// Where the selector without its range stands.
    pub selector_span: Span,
    /// Length of the range.
    pub range: DurationValue,
}

/// Evaluates an expression over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// Length of the range.
    pub range: DurationValue,
    /// Step, `None` for the default.
    pub step: Option<DurationValue>,
    /// `offset`
    pub offset: DurationValue,
    /// `@`
    pub at: Option<At>,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// The arguments as written.
    pub args: Vec<Expr>,
}

impl Call {
    /// From the first argument to the last; empty at 0 without arguments.
    #[must_use]
    pub fn args_span(&self) -> Span {
        match (self.args.first(), self.args.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        }
    }
}

/// The aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `count`
    Count,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `count_values`
    CountValues,
    /// `quantile`
    Quantile,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    /// All operators.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// The operator as PromQL spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether a parameter stands before the vector.
    #[must_use]
    pub const fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }

    /// Whether the operator needs `promql-experimental-functions`.
    #[must_use]
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// `k`, `q`, the ratio or the label.
    pub param: Option<Expr>,
    /// The labels behind `by` or `without`, as written.
    pub grouping: Vec<Arc<str>>,
    /// Whether `without` was written.
    pub is_without: bool,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// The operator as PromQL spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares (`==`, `<`, …).
    #[must_use]
    pub const fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    /// Whether it works on sets of series (`and`, `or`, `unless`).
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether the result is another metric, so that the name is dropped.
    #[must_use]
    pub const fn changes_meaning(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2)
    }

    /// How strongly it binds; more binds first.
    pub(crate) const fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

/// Precedence of unary `+` and `-`: that of `*`, so that `-2 ^ 2` is `-(2 ^ 2)`.
pub(crate) const UNARY_PRECEDENCE: u8 = 5;

/// Which side of a match may have several series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One on each side.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of both sides find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// Which side may have several.
    pub cardinality: Cardinality,
    /// The labels behind `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Whether `on` was written.
    pub is_on: bool,
    /// The labels behind `group_left` or `group_right`.
    pub include: Vec<Arc<str>>,
    /// Value for a missing series on the left.
    pub fill_left: Option<f64>,
    /// Value for a missing series on the right.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
    /// Whether `bool` was written.
    pub is_bool: bool,
    /// The matching; `None` unless both sides are vectors.
    pub matching: Option<Matching>,
}

/// Unary `+` or `-`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether it is `-`.
    pub is_negative: bool,
    /// The operand.
    pub expr: Expr,
}

impl Expr {
    /// What the expression evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::InstantVector,
            ExprKind::Range(_) | ExprKind::Subquery(_) => ValueType::RangeVector,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Paren(inner) => inner.value_type(),
            ExprKind::Unary(unary) => unary.expr.value_type(),
            ExprKind::Binary(binary) => {
                let scalar = |expr: &Self| expr.value_type() == ValueType::Scalar;
                if scalar(&binary.left) && scalar(&binary.right) { ValueType::Scalar } else { ValueType::InstantVector }
            }
        }
    }

    /// The direct children, in the order of the text as evaluated (parameter before vector).
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Unary(unary) => vec![&unary.expr],
            ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// The expression and all in it, parents first, from left to right.
    pub fn nodes(&self) -> impl Iterator<Item = &Self> {
        Nodes { stack: vec![self] }
    }

    /// All vector selectors, those of range selectors included, from left to right.
    pub fn selectors(&self) -> impl Iterator<Item = &VectorSelector> {
        self.nodes().filter_map(|expr| match &expr.kind {
            ExprKind::Selector(selector) => Some(selector),
            ExprKind::Range(range) => Some(&range.selector),
            _ => None,
        })
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}

/// All nodes, parents first.
struct Nodes<'a> {
    stack: Vec<&'a Expr>,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = &'a Expr;

    fn next(&mut self) -> Option<&'a Expr> {
        let expr = self.stack.pop()?;
        self.stack.extend(expr.children().into_iter().rev());
        Some(expr)
    }
}
