//! Expressions over several lines, for people.
//!
//! Rule: what fits into a line of [`MAX_LINE`] bytes stays on one; deeper parts stand two spaces further in.

use std::fmt;

use crate::ast::{Aggregate, Binary, Expr, ExprKind};

/// The longest line that is not broken, as upstream.
const MAX_LINE: usize = 100;

/// The expression as `promtool promql format` and `/api/v1/format_query` print it.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    print(expr, 0)
}

/// Prints an expression that stands so many levels deep; level 0 goes on behind what stands before it.
fn print(expr: &Expr, level: usize) -> String {
    let indent = "  ".repeat(level);
    match &expr.kind {
        ExprKind::Unary(unary) => {
            let sign = if unary.is_negative { "-" } else { "+" };
            return format!("{indent}{sign}{}", print(&unary.expr, level).trim());
        }
        // Upstream neither indents a subquery nor what stands in front of its range.
        ExprKind::Subquery(subquery) => {
            if !is_long(expr) {
                return expr.to_string();
            }
            let (whole, inner) = (subquery.to_string(), subquery.expr.to_string());
            let range = whole.strip_prefix(inner.as_str()).unwrap_or_default().to_owned();
            return format!("{}{range}", print(&subquery.expr, level));
        }
        _ if !is_long(expr) => return format!("{indent}{expr}"),
        _ => {}
    }
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => format!("{indent}{}", print_aggregate(aggregate, level, &indent)),
        ExprKind::Binary(binary) => print_binary(binary, level, &indent),
        ExprKind::Call(call) => {
            let args: Vec<String> = call.args.iter().map(|arg| print(arg, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", call.function.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", print(inner, level + 1)),
        _ => format!("{indent}{expr}"),
    }
}

fn print_aggregate(aggregate: &Aggregate, level: usize, indent: &str) -> String {
    let param = aggregate.param.as_ref().map(|param| format!("{},\n", print(param, level + 1))).unwrap_or_default();
    format!("{}(\n{param}{}\n{indent})", fmt::from_fn(|f| aggregate.write_head(f)), print(&aggregate.expr, level + 1))
}

fn print_binary(binary: &Binary, level: usize, indent: &str) -> String {
    let (left, right) = (print(&binary.left, level + 1), print(&binary.right, level + 1));
    format!("{left}\n{indent}{}\n{right}", fmt::from_fn(|f| binary.write_operator(f)))
}

fn is_long(expr: &Expr) -> bool {
    expr.to_string().len() > MAX_LINE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expr = parse(text).unwrap();
        assert_eq!(pretty(&expr), expected);
        // Lines are only for people: the expression is the same.
        assert_eq!(parse(&pretty(&expr)).unwrap().to_string(), expr.to_string());
    }

    #[test]
    fn short_expressions_stay_on_one_line() {
        check("sum  by(pod)(rate(asr_total_requests[5m]))", "sum by (pod) (rate(asr_total_requests[5m]))");
        check("-foo", "-foo");
    }

    #[test]
    fn long_expressions_are_broken_where_they_nest() {
        let name = "asr_request_duration_seconds_bucket";
        check(
            &format!("histogram_quantile(0.95, sum by (le) (rate({name}{{namespace=\"smallest\",pod=~\"a.*\"}}[5m])))"),
            &format!(
                "histogram_quantile(\n  0.95,\n  sum by (le) (rate({name}{{namespace=\"smallest\",pod=~\"a.*\"}}[5m]))\n)"
            ),
        );
        check(
            &format!("{name}{{namespace=\"smallest\"}} / on (namespace) group_left () {name}{{namespace=\"other\"}}"),
            &format!(
                "  {name}{{namespace=\"smallest\"}}\n/ on (namespace) group_left ()\n  {name}{{namespace=\"other\"}}"
            ),
        );
    }
}
