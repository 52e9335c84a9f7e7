//! Canonical PromQL.
//!
//! Rule: what is printed parses to the same tree (spans aside), and prints as upstream prints it.

use std::fmt::{self, Display as _};

use datamodel::MatchOp;
use datamodel::float::format_f;
use datamodel::labels::{METRIC_NAME, Quoted, is_legacy_label_name};
use datamodel::time::format_duration;

use crate::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, DurationKind, DurationValue, Expr, ExprKind, NumberLiteral,
    RangeMode, RangeSelector, StringLiteral, Subquery, VectorSelector,
};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => text.fmt(f),
            ExprKind::Selector(selector) => selector.fmt(f),
            ExprKind::Range(range) => range.fmt(f),
            ExprKind::Subquery(subquery) => subquery.fmt(f),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (index, arg) in call.args.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    arg.fmt(f)?;
                }
                f.write_str(")")
            }
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Unary(unary) => {
                f.write_str(if unary.is_negative { "-" } else { "+" })?;
                unary.expr.fmt(f)
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A number without exponent, as few digits as it needs.
pub(crate) struct PlainNumber(pub(crate) f64);

impl fmt::Display for PlainNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_f(self.0))
    }
}

/// Milliseconds as a duration, with a sign.
struct Millis(i64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        f.write_str(&format_duration(std::time::Duration::from_millis(self.0.unsigned_abs())))
    }
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            // Durations were parsed from milliseconds.
            return Millis((self.value * 1000.0).round() as i64).fmt(f);
        }
        PlainNumber(self.value).fmt(f)
    }
}

impl fmt::Display for StringLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            let quoted = Quoted(chunk.valid()).to_string();
            f.write_str(quoted.get(1..quoted.len() - 1).unwrap_or_default())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for DurationValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(ms) => Millis(*ms).fmt(f),
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_wrapped {
            f.write_str("(")?;
        }
        match &self.kind {
            DurationKind::Number(number) => number.fmt(f)?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::MinOf(left, right) => write!(f, "min_of({left}, {right})")?,
            DurationKind::MaxOf(left, right) => write!(f, "max_of({left}, {right})")?,
            DurationKind::Negative(inner) => write!(f, "-{inner}")?,
            DurationKind::Positive(inner) => inner.fmt(f)?,
            DurationKind::Binary(op, left, right) => write!(f, "{left} {} {right}", op.as_str())?,
        }
        if self.is_wrapped {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(at) => write!(f, "{:.3}", at.unix_seconds()),
            Self::Start => f.write_str("start()"),
            Self::End => f.write_str("end()"),
        }
    }
}

/// The parts behind a selector, in upstream's order.
fn write_at(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    at.map_or(Ok(()), |at| write!(f, " @ {at}"))
}

fn write_offset(f: &mut fmt::Formatter<'_>, offset: &DurationValue) -> fmt::Result {
    if *offset == DurationValue::Millis(0) { Ok(()) } else { write!(f, " offset {offset}") }
}

fn write_mode(f: &mut fmt::Formatter<'_>, mode: RangeMode) -> fmt::Result {
    f.write_str(match mode {
        RangeMode::Plain => "",
        RangeMode::Anchored => " anchored",
        RangeMode::Smoothed => " smoothed",
    })
}

impl VectorSelector {
    /// Name and matchers, without modifiers.
    fn write_matchers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let is_name = |matcher: &&datamodel::Matcher| {
            matcher.name() == METRIC_NAME
                && matcher.op() == MatchOp::Equal
                && matcher.value() == &*self.name
                && !matcher.value().is_empty()
        };
        let mut texts: Vec<String> =
            self.matchers.iter().filter(|matcher| !is_name(matcher)).map(ToString::to_string).collect();
        if texts.is_empty() {
            return Ok(());
        }
        texts.sort_unstable();
        write!(f, "{{{}}}", texts.join(","))
    }
}

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_matchers(f)?;
        write_at(f, self.at)?;
        write_mode(f, self.mode)?;
        write_offset(f, &self.offset)
    }
}

impl fmt::Display for RangeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector.write_matchers(f)?;
        write!(f, "[{}]", self.range)?;
        write_mode(f, self.selector.mode)?;
        write_at(f, self.selector.at)?;
        write_offset(f, &self.selector.offset)
    }
}

impl fmt::Display for Subquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}:", self.expr, self.range)?;
        if let Some(step) = &self.step {
            step.fmt(f)?;
        }
        f.write_str("]")?;
        write_at(f, self.at)?;
        write_offset(f, &self.offset)
    }
}

/// Labels, quoted where they need it.
fn write_labels(f: &mut fmt::Formatter<'_>, labels: &[std::sync::Arc<str>]) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        if is_legacy_label_name(label) {
            f.write_str(label)?;
        } else {
            Quoted(label).fmt(f)?;
        }
    }
    Ok(())
}

impl Aggregate {
    /// What stands before the opening parenthesis.
    pub(crate) fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.is_without || !self.grouping.is_empty() {
            f.write_str(if self.is_without { " without (" } else { " by (" })?;
            write_labels(f, &self.grouping)?;
            f.write_str(") ")?;
        }
        Ok(())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

impl Binary {
    /// The operator with its modifiers.
    pub(crate) fn write_operator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.is_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            let group = match matching.cardinality {
                Cardinality::ManyToOne => Some("group_left"),
                Cardinality::OneToMany => Some("group_right"),
                Cardinality::OneToOne | Cardinality::ManyToMany => None,
            };
            if !matching.labels.is_empty() || matching.is_on || group.is_some() {
                f.write_str(if matching.is_on { " on (" } else { " ignoring (" })?;
                write_labels(f, &matching.labels)?;
                f.write_str(")")?;
            }
            if let Some(group) = group {
                write!(f, " {group} (")?;
                write_labels(f, &matching.include)?;
                f.write_str(")")?;
            }
            match (matching.fill_left, matching.fill_right) {
                (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                    write!(f, " fill ({})", PlainNumber(left))?;
                }
                (left, right) => {
                    for (word, value) in [("fill_left", left), ("fill_right", right)] {
                        if let Some(value) = value {
                            write!(f, " {word} ({})", PlainNumber(value))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.left)?;
        self.write_operator(f)?;
        write!(f, " {}", self.right)
    }
}
