//! How far back a query looks.
//!
//! Rule: offsets do not count: the window is the span of samples, not their distance.

use std::time::Duration;

use promql::Expr;
use promql::ast::{DurationValue, ExprKind};

/// The longest range in the query; `None` where it looks at instants only, or is no PromQL.
pub(crate) fn window_of(query: &str) -> Option<Duration> {
    longest_range(&promql::parse(query).ok()?)
}

/// The longest range in an expression; `None` where it looks at instants only.
pub(crate) fn longest_range(expr: &Expr) -> Option<Duration> {
    let range_ms = longest_range_ms(expr);
    if range_ms == 0 { None } else { Some(Duration::from_millis(range_ms)) }
}

fn longest_range_ms(expr: &Expr) -> u64 {
    let millis = |value: &DurationValue| match value {
        DurationValue::Millis(ms) => u64::try_from(*ms).unwrap_or(0),
        DurationValue::Expr(_) => 0,
    };
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) => 0,
        ExprKind::Range(range) => millis(&range.range),
        ExprKind::Subquery(subquery) => millis(&subquery.range).saturating_add(longest_range_ms(&subquery.expr)),
        ExprKind::Call(call) => call.args.iter().map(longest_range_ms).max().unwrap_or(0),
        ExprKind::Aggregate(aggregate) => longest_range_ms(&aggregate.expr),
        ExprKind::Binary(binary) => longest_range_ms(&binary.left).max(longest_range_ms(&binary.right)),
        ExprKind::Unary(unary) => longest_range_ms(&unary.expr),
        ExprKind::Paren(inner) => longest_range_ms(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_the_longest_range() {
        check("asr_active_requests{pod=\"a\"}", None);
        check("avg_over_time(asr_gpu_utilization{pod=\"a\"}[2m])", Some(120));
        check("sum by (pod) (rate(a[5m])) / sum by (pod) (rate(b[1m] offset 1h))", Some(300));
        check("max_over_time(rate(a[1m])[10m:30s])", Some(660));
        check("no PromQL at all", None);
    }

    #[track_caller]
    fn check(query: &str, seconds: Option<u64>) {
        assert_eq!(window_of(query), seconds.map(Duration::from_secs));
    }
}
