//! A PrometheusRule: one rule file.
//!
//! Rule: with an enforced label an expression sees, and a rule writes, the object's own namespace only.

use std::collections::BTreeMap;

use datamodel::Matcher;
use promql::ast::ExprKind;
use promql::{Expr, VectorSelector};
use serde_json::{Value, json};

use super::error::{Problem, Rejection};
use super::generate::{Context, Origin, RuleFile};
use super::objects::PrometheusRule;

/// Fields of a group that only Thanos knows.
const OF_THANOS: &str = "partial_response_strategy";

/// The kind of the objects.
pub(super) const KIND: &str = "PrometheusRule";

/// The rule file of an object.
pub(super) fn file(context: &Context<'_>, object: &PrometheusRule) -> Result<RuleFile, Rejection> {
    let of = &object.metadata;
    let enforced = context.enforced_label("prometheusrules", of);
    let mut groups = Vec::with_capacity(object.spec.groups.len());
    for (index, group) in object.spec.groups.iter().enumerate() {
        let mut group = group.clone();
        group.remove(OF_THANOS);
        if let Some(label) = enforced {
            enforce(&mut group, label, &of.namespace, &format!("spec.groups[{index}]"))?;
        }
        groups.push(json!(group));
    }
    let name = format!("{}-{}-{}.yaml", of.namespace, of.name, of.uid);
    Ok(RuleFile { origin: Origin::new(KIND, of), name, content: json!({"groups": groups}) })
}

fn enforce(group: &mut BTreeMap<String, Value>, label: &str, value: &str, path: &str) -> Result<(), Rejection> {
    let Some(Value::Array(rules)) = group.get_mut("rules") else { return Ok(()) };
    for (index, rule) in rules.iter_mut().enumerate() {
        let path = format!("{path}.rules[{index}]");
        let Value::Object(rule) = rule else {
            return Err(Rejection::new(path, Problem::Form("expected an object".to_owned())));
        };
        if let Some(Value::String(text)) = rule.get("expr") {
            let wrong = |error: promql::ParseError| {
                Rejection::new(format!("{path}.expr"), Problem::Expression(error.to_string()))
            };
            let mut expr = promql::parse(text).map_err(wrong)?;
            enforce_in(&mut expr, &Matcher::equal(label, value));
            rule.insert("expr".to_owned(), json!(expr.to_string()));
        }
        let labels = rule.entry("labels").or_insert_with(|| json!({}));
        if let Value::Object(labels) = labels {
            labels.insert(label.to_owned(), json!(value));
        }
    }
    Ok(())
}

/// Adds a matcher to each selector, in place of those of the same label.
fn enforce_in(expr: &mut Expr, matcher: &Matcher) {
    let in_selector = |selector: &mut VectorSelector| {
        selector.matchers.retain(|other| other.name() != matcher.name());
        // The test of the name is the last.
        selector.matchers.insert(0, matcher.clone());
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => in_selector(selector),
        ExprKind::Range(range) => in_selector(&mut range.selector),
        ExprKind::Subquery(subquery) => enforce_in(&mut subquery.expr, matcher),
        ExprKind::Call(call) => call.args.iter_mut().for_each(|argument| enforce_in(argument, matcher)),
        ExprKind::Aggregate(aggregate) => {
            enforce_in(&mut aggregate.expr, matcher);
            aggregate.param.iter_mut().for_each(|param| enforce_in(param, matcher));
        }
        ExprKind::Binary(binary) => {
            enforce_in(&mut binary.left, matcher);
            enforce_in(&mut binary.right, matcher);
        }
        ExprKind::Unary(unary) => enforce_in(&mut unary.expr, matcher),
        ExprKind::Paren(inner) => enforce_in(inner, matcher),
    }
}
