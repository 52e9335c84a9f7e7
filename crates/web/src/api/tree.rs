//! The syntax tree of an expression as `/api/v1/parse_query` shows it.
//!
//! Rule: keys and words are upstream's; nothing is resolved that was not written.

use datamodel::Matcher;
use datamodel::float::format_f;
use promql::Expr;
use promql::ast::{
    At, Binary, Call, Cardinality, DurationExpr, DurationKind, DurationValue, ExprKind, NumberLiteral, RangeMode,
    Subquery, VectorSelector,
};
use promql::functions::Variadic;
use serde_json::{Map, Value, json};

/// The tree below an expression.
pub(crate) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({"type": "numberLiteral", "val": format_f(number.value)}),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": text.to_text()}),
        ExprKind::Selector(selector) => {
            let mut node = selector_node(selector);
            node.insert("type".to_owned(), "vectorSelector".into());
            node.into()
        }
        ExprKind::Range(range) => {
            let mut node = selector_node(&range.selector);
            node.insert("type".to_owned(), "matrixSelector".into());
            put_duration(&mut node, "range", &range.range);
            node.into()
        }
        ExprKind::Subquery(subquery) => subquery_node(subquery),
        ExprKind::Call(call) => call_node(call),
        ExprKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": tree(&aggregate.expr),
            "param": aggregate.param.as_ref().map(tree),
            "grouping": texts(&aggregate.grouping),
            "without": aggregate.is_without,
        }),
        ExprKind::Binary(binary) => binary_node(binary),
        ExprKind::Unary(unary) => {
            json!({"type": "unaryExpr", "op": if unary.is_negative { "-" } else { "+" }, "expr": tree(&unary.expr)})
        }
        ExprKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
    }
}

fn texts(list: &[std::sync::Arc<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}

fn matchers(matchers: &[Matcher]) -> Vec<Value> {
    let one =
        |matcher: &Matcher| json!({"name": matcher.name(), "value": matcher.value(), "type": matcher.op().as_str()});
    matchers.iter().map(one).collect()
}

fn selector_node(selector: &VectorSelector) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("name".to_owned(), (*selector.name).into());
    put_duration(&mut node, "offset", &selector.offset);
    node.insert("matchers".to_owned(), matchers(&selector.matchers).into());
    put_at(&mut node, selector.at);
    node.insert("anchored".to_owned(), (selector.mode == RangeMode::Anchored).into());
    node.insert("smoothed".to_owned(), (selector.mode == RangeMode::Smoothed).into());
    node
}

/// `range` in milliseconds, and `rangeExpr` where an expression was written.
fn put_duration(node: &mut Map<String, Value>, key: &str, duration: &DurationValue) {
    let (ms, expr) = match duration {
        DurationValue::Millis(ms) => (*ms, Value::Null),
        DurationValue::Expr(expr) => (0, duration_node(expr)),
    };
    node.insert(key.to_owned(), ms.into());
    node.insert(format!("{key}Expr"), expr);
}

fn put_at(node: &mut Map<String, Value>, at: Option<At>) {
    let (timestamp, word) = match at {
        None => (Value::Null, Value::Null),
        Some(At::Time(at)) => (at.unix_ms().into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
    };
    node.insert("timestamp".to_owned(), timestamp);
    node.insert("startOrEnd".to_owned(), word);
}

fn subquery_node(subquery: &Subquery) -> Value {
    let mut node = Map::new();
    node.insert("type".to_owned(), "subquery".into());
    node.insert("expr".to_owned(), tree(&subquery.expr));
    put_duration(&mut node, "range", &subquery.range);
    put_duration(&mut node, "offset", &subquery.offset);
    put_duration(&mut node, "step", subquery.step.as_ref().unwrap_or(&DurationValue::Millis(0)));
    put_at(&mut node, subquery.at);
    node.into()
}

fn call_node(call: &Call) -> Value {
    let function = call.function;
    let types: Vec<&str> = function.args.iter().map(|arg| arg.api_name()).collect();
    let variadic = match function.variadic {
        Variadic::Fixed => 0,
        Variadic::UpTo(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Variadic::Any => -1,
    };
    let args: Vec<Value> = call.args.iter().map(tree).collect();
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": types,
            "variadic": variadic,
            "returnType": function.returns.api_name(),
        },
        "args": args,
    })
}

fn binary_node(binary: &Binary) -> Value {
    let matching = binary.matching.as_ref().map(|matching| {
        let cardinality = match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        json!({
            "card": cardinality,
            "labels": texts(&matching.labels),
            "on": matching.is_on,
            "include": texts(&matching.include),
            "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
        })
    });
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": tree(&binary.left),
        "rhs": tree(&binary.right),
        "matching": matching,
        "bool": binary.is_bool,
    })
}

fn number_node(number: NumberLiteral) -> Value {
    json!({"type": "numberLiteral", "val": format_f(number.value), "duration": number.is_duration})
}

fn duration_node(expr: &DurationExpr) -> Value {
    let (op, left, right) = match &expr.kind {
        DurationKind::Number(number) => return number_node(*number),
        DurationKind::Step => ("step", None, None),
        DurationKind::Range => ("range", None, None),
        DurationKind::MinOf(left, right) => ("min_of", Some(left), Some(right)),
        DurationKind::MaxOf(left, right) => ("max_of", Some(left), Some(right)),
        DurationKind::Negative(inner) => ("-", None, Some(inner)),
        DurationKind::Positive(inner) => ("+", None, Some(inner)),
        DurationKind::Binary(op, left, right) => (op.as_str(), Some(left), Some(right)),
    };
    json!({
        "type": "durationExpr",
        "op": op,
        "lhs": left.map(|expr| duration_node(expr)),
        "rhs": right.map(|expr| duration_node(expr)),
        "wrapped": expr.is_wrapped,
    })
}
