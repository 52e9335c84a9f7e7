//! The same expression with every selector pinned to one time by `@`.
//!
//! Rule: what is pinned gives the same answer at any evaluation time.

use datamodel::Timestamp;

use crate::ast::{At, Expr, ExprKind};
use crate::functions::depends_on_step;

/// The expression pinned to a time, and the times to evaluate it at; `None` where a function may change
/// with the evaluation time all the same.
pub(super) fn pinned(expr: &Expr, at: i64) -> Option<(String, Vec<i64>)> {
    let mut pinned = expr.clone();
    let mut depends = false;
    pin(&mut pinned, Timestamp::from_unix_ms(at), false, &mut depends);
    if depends {
        return None;
    }
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    Some((pinned.to_string(), times))
}

fn pin(expr: &mut Expr, at: Timestamp, is_inside_pinned: bool, depends: &mut bool) {
    let mut is_inside = is_inside_pinned;
    if !is_inside_pinned {
        let place = match &mut expr.kind {
            ExprKind::Selector(selector) => Some(&mut selector.at),
            ExprKind::Range(range) => Some(&mut range.selector.at),
            ExprKind::Subquery(subquery) => Some(&mut subquery.at),
            ExprKind::Call(call) => {
                *depends |= depends_on_step(call.function.name);
                None
            }
            _ => None,
        };
        if let Some(place) = place
            && !matches!(place, Some(At::Time(_)))
        {
            *place = Some(At::Time(at));
        }
        is_inside = matches!(&expr.kind, ExprKind::Subquery(_));
    }
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => {}
        ExprKind::Subquery(subquery) => pin(&mut subquery.expr, at, is_inside, depends),
        ExprKind::Call(call) => call.args.iter_mut().for_each(|arg| pin(arg, at, is_inside, depends)),
        ExprKind::Aggregate(aggregate) => {
            pin(&mut aggregate.expr, at, is_inside, depends);
            if let Some(param) = &mut aggregate.param {
                pin(param, at, is_inside, depends);
            }
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.left, at, is_inside, depends);
            pin(&mut binary.right, at, is_inside, depends);
        }
        ExprKind::Unary(unary) => pin(&mut unary.expr, at, is_inside, depends),
        ExprKind::Paren(inner) => pin(inner, at, is_inside, depends),
    }
}
