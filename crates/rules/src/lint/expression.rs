//! What a query says.
//!
//! Rule: a name is read as its author would read it (`…_bucket`, `…_bytes`, `…failed…`); nothing is asked of a
//! storage.

use std::time::Duration;

use datamodel::time::{duration_ms, format_duration};
use promql::Expr;
use promql::ast::{Aggregate, Binary, BinaryOp, DurationValue, ExprKind, RangeSelector};

use super::Check;

/// Scrapes that a window should hold: with four, a rate survives two that fail.
const SCRAPES: u32 = 4;

/// Functions that compare the samples of a window with one another.
const RATES: [&str; 6] = ["rate", "irate", "increase", "delta", "idelta", "deriv"];

/// Divisors from here on are sizes and not shares.
const SMALLEST_SIZE: f64 = 1_000_000.0;

/// Parts of names of metrics that count failures.
const FAILURES: [&str; 8] = ["fail", "error", "5xx", "timeout", "rejected", "dropped", "aborted", "exception"];

/// Looks at the query of any rule.
pub(super) fn lint(expr: &Expr, scrape_interval: Duration, found: &mut impl FnMut(Check, String)) {
    for node in expr.nodes() {
        if let Some((function, range)) = rate_of(node) {
            short_window(function, range, scrape_interval, found);
        }
        if let ExprKind::Call(call) = &node.kind
            && call.function.name == "histogram_quantile"
            && let Some(buckets) = call.args.get(1)
        {
            quantile(buckets, found);
        }
        if let ExprKind::Binary(binary) = &node.kind {
            size(binary, found);
        }
    }
}

/// A rate function over a range selector.
fn rate_of(node: &Expr) -> Option<(&'static str, &RangeSelector)> {
    let ExprKind::Call(call) = &node.kind else { return None };
    let name = call.function.name;
    let ExprKind::Range(range) = &call.args.first()?.unwrapped().kind else { return None };
    RATES.contains(&name).then_some((name, range))
}

fn short_window(
    function: &str,
    range: &RangeSelector,
    scrape_interval: Duration,
    found: &mut impl FnMut(Check, String),
) {
    let least = scrape_interval * SCRAPES;
    let DurationValue::Millis(window_ms) = range.range else { return };
    // What another rule records comes at the interval of that rule.
    let is_recorded = range.selector.name.contains(':');
    if window_ms < duration_ms(least) && !is_recorded {
        let window = format_duration(Duration::from_millis(window_ms.unsigned_abs()));
        let (least, every) = (format_duration(least), format_duration(scrape_interval));
        found(
            Check::ShortRateWindow,
            format!("`{function}` over {window} is shorter than four scrapes ({least}, with a scrape every {every})"),
        );
    }
}

fn quantile(buckets: &Expr, found: &mut impl FnMut(Check, String)) {
    let is_rated = buckets.nodes().any(|node| {
        matches!(&node.kind, ExprKind::Call(call) if call.function.name.ends_with("_over_time"))
            || rate_of(node).is_some()
    });
    let names: Vec<&str> = buckets.selectors().map(|selector| &*selector.name).collect();
    // A recorded rate has a colon in its name.
    if !is_rated && names.iter().any(|name| !name.contains(':')) {
        found(
            Check::QuantileWithoutRate,
            format!(
                "`histogram_quantile` of `{buckets}` covers all requests since the servers started, not the recent ones"
            ),
        );
    }
    let loses_le = |node: &Expr| matches!(&node.kind, ExprKind::Aggregate(aggregate) if !keeps_le(aggregate));
    if names.iter().any(|name| name.ends_with("_bucket")) && buckets.nodes().any(loses_le) {
        found(
            Check::QuantileWithoutLe,
            format!("`histogram_quantile` of `{buckets}`: the aggregation loses the label `le`"),
        );
    }
}

fn keeps_le(aggregate: &Aggregate) -> bool {
    aggregate.grouping.iter().any(|label| &**label == "le") != aggregate.is_without
}

/// Bytes over a number that is neither a unit nor a share.
fn size(binary: &Binary, found: &mut impl FnMut(Check, String)) {
    let of_bytes = |expr: &Expr| {
        let mut names = expr.selectors().map(|selector| &*selector.name);
        names.any(|name| name.contains("bytes") || name.contains("memory"))
    };
    let is_sized = binary.op == BinaryOp::Div || binary.op.is_comparison();
    let (left, right) = (constant(&binary.left), constant(&binary.right));
    let (bytes, number) = match (left, right) {
        (None, Some(number)) => (&binary.left, number),
        (Some(number), None) if binary.op.is_comparison() => (&binary.right, number),
        _ => return,
    };
    if is_sized && of_bytes(bytes) && number.abs() >= SMALLEST_SIZE && !(binary.op == BinaryOp::Div && is_unit(number))
    {
        let verb = if binary.op == BinaryOp::Div { "divided by" } else { "compared with" };
        found(
            Check::HardCodedSize,
            format!("`{bytes}` is {verb} {number}: right for one kind of device, wrong for every other"),
        );
    }
}

/// Whether a number turns bytes into a larger unit: a power of 1000 or 1024.
fn is_unit(number: f64) -> bool {
    [1000.0_f64, 1024.0].iter().any(|base| (1..=6).any(|power| (number - base.powi(power)).abs() < 0.5))
}

/// The value of an expression of numbers alone.
fn constant(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number(number) => Some(number.value),
        ExprKind::Paren(inner) => constant(inner),
        ExprKind::Unary(unary) => constant(&unary.expr).map(|value| if unary.is_negative { -value } else { value }),
        ExprKind::Binary(binary) => {
            let (left, right) = (constant(&binary.left)?, constant(&binary.right)?);
            match binary.op {
                BinaryOp::Add => Some(left + right),
                BinaryOp::Sub => Some(left - right),
                BinaryOp::Mul => Some(left * right),
                BinaryOp::Div => Some(left / right),
                BinaryOp::Pow => Some(left.powf(right)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Looks at the query of an alert.
pub(super) fn lint_alert(expr: &Expr, found: &mut impl FnMut(Check, String)) {
    for node in expr.nodes() {
        let ExprKind::Binary(binary) = &node.kind else { continue };
        if !matches!(binary.op, BinaryOp::Greater | BinaryOp::GreaterEqual) {
            continue;
        }
        let Some(limit) = constant(&binary.right) else { continue };
        // More than none is no matter of load.
        if limit > 0.0
            && let Some(name) = failures_per_second(&binary.left)
        {
            found(
                Check::AbsoluteRateAlert,
                format!(
                    "`{name}` per second is compared with {limit}: at ten times the load the same share of failures is ten times as many"
                ),
            );
        }
    }
}

/// The counter of failures whose rate an expression is, unless it is divided by something.
fn failures_per_second(expr: &Expr) -> Option<&str> {
    if expr.nodes().any(|node| matches!(&node.kind, ExprKind::Binary(binary) if binary.op == BinaryOp::Div)) {
        return None;
    }
    let mut rated = expr.nodes().filter_map(rate_of).map(|(_, range)| &*range.selector.name);
    rated.find(|name| FAILURES.iter().any(|part| name.to_ascii_lowercase().contains(part)))
}
