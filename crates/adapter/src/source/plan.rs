//! What is asked beside a query: how old its inputs are, and which of them do not answer.
//!
//! - [`Plan::of`]: from the text of a query to the texts of the others.
//!
//! ```text
//! sum by (pod) (load)              the query
//! sum by (pod) ((load or …))       the same, with the last samples of targets that do not answer
//! max by (pod) (timestamp(load))   ages: for each selector, grouped as its results are
//! max by (pod) (… unless load)     lapsed: series of targets that do not answer, with the time of their last sample
//! ```
//!
//! An engine tells with `up == 0` which targets it still knows and cannot reach; `up` of a target that is gone ends
//! with it. Series belong to a target by `job` and `instance`.
//!
//! Pure: text in, texts out.
//!
//! Rule: a query that is not understood is asked as it stands, and the plan says that ages are unknown.

use std::time::Duration;

use datamodel::labels::{Quoted, is_legacy_label_name};
use promql::Expr;
use promql::ast::{Aggregate, Binary, BinaryOp, Call, DurationValue, ExprKind, VectorSelector};

/// Targets that are known and do not answer.
pub(crate) const DOWN_TARGETS: &str = "count(up == 0)";
/// What ties a series to its target.
const OF_DOWN_TARGET: &str = "and on (job, instance) (up == 0)";
/// How far back it is looked for series that ended: the lookback of queries.
const LAPSED_WINDOW: Duration = Duration::from_mins(5);
/// Selectors of a query that are dated; one with more is asked without.
pub(crate) const MAX_SELECTORS: usize = 8;

/// What to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The query as it is asked while targets do not answer.
    pub(crate) held_query: String,
    /// For each selector: the time of the newest sample of each of its series, in seconds.
    pub(crate) ages: Vec<String>,
    /// For each selector: the series that ended because their target does not answer, with the time of their last
    /// sample in seconds.
    pub(crate) lapsed: Vec<String>,
    /// Why ages are unknown.
    pub(crate) undated: Option<String>,
}

impl Plan {
    /// The plan for a query; samples count for `hold` after their target stopped to answer.
    pub(crate) fn of(query: &str, hold: Duration) -> Self {
        let expr = match promql::parse(query) {
            Ok(expr) => expr,
            Err(error) => return Self::undated(query, &format!("the query is not understood here: {error}")),
        };
        let mut walk = Walk { hold, ..Walk::default() };
        walk.expr(&expr, Place::default());
        if walk.ages.len().max(walk.lapsed.len()) > MAX_SELECTORS {
            return Self::undated(query, &format!("the query has more than {MAX_SELECTORS} selectors"));
        }
        Self { held_query: walk.replaced(query), ages: walk.ages, lapsed: walk.lapsed, undated: walk.undated }
    }

    fn undated(query: &str, reason: &str) -> Self {
        Self { held_query: query.to_owned(), undated: Some(reason.to_owned()), ..Self::default() }
    }
}

/// Where an expression stands.
#[derive(Clone, Debug, Default)]
struct Place {
    /// What is done to the labels of its results, the outermost first.
    wraps: Vec<Wrap>,
    /// How far back of it is read; nothing for the newest sample alone.
    range: Duration,
    /// Whether results are numbers without labels, which have no age of their own.
    is_scalar: bool,
}

/// What is done to labels.
#[derive(Clone, Debug)]
enum Wrap {
    /// `by (…)` or `without (…)`
    Grouped(String),
    /// A function of labels: its name, and what stands behind its first argument.
    Relabelled(&'static str, String),
}

impl Place {
    fn with(&self, wrap: Wrap) -> Self {
        let mut place = self.clone();
        place.wraps.push(wrap);
        place
    }

    /// What a selector's series become here.
    fn wrapped(&self, inner: String) -> String {
        self.wraps.iter().rev().fold(inner, |inner, wrap| match wrap {
            Wrap::Grouped(grouping) => format!("max {grouping} ({inner})"),
            Wrap::Relabelled(function, rest) => format!("{function}({inner}{rest})"),
        })
    }
}

/// Walks an expression and collects what is to be asked.
#[derive(Debug, Default)]
struct Walk {
    hold: Duration,
    ages: Vec<String>,
    lapsed: Vec<String>,
    /// Places in the text, from left to right, with what stands there instead.
    replacements: Vec<(usize, usize, String)>,
    undated: Option<String>,
}

impl Walk {
    fn expr(&mut self, expr: &Expr, place: Place) {
        match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Selector(selector) => self.selector(expr, selector, &place),
            ExprKind::Range(range) => {
                let within = place.range + duration(&range.range);
                self.range_selector(&range.selector, &Place { range: within, ..place });
            }
            ExprKind::Subquery(subquery) => {
                if subquery.at.is_some() || !is_zero(&subquery.offset) {
                    self.undated = Some("a subquery is moved in time".to_owned());
                }
                let within = place.range + duration(&subquery.range);
                self.expr(&subquery.expr, Place { range: within, ..place });
            }
            ExprKind::Call(call) => self.call(call, place),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, &place),
            ExprKind::Binary(binary) => self.binary(binary, place),
            ExprKind::Unary(unary) => self.expr(&unary.expr, place),
            ExprKind::Paren(inner) => self.expr(inner, place),
        }
    }

    fn call(&mut self, call: &Call, place: Place) {
        match call.function.name {
            // Without an input.
            "time" | "pi" => {}
            "scalar" | "vector" => {
                for argument in &call.args {
                    self.expr(argument, Place { is_scalar: true, ..place.clone() });
                }
            }
            "absent" | "absent_over_time" => self.undated = Some("what is absent has no age".to_owned()),
            "label_replace" | "label_join" => {
                let Some((vector, rest)) = call.args.split_first() else { return };
                let rest = rest.iter().map(|argument| format!(", {argument}")).collect();
                self.expr(vector, place.with(Wrap::Relabelled(call.function.name, rest)));
            }
            name => {
                let place = if name.starts_with("histogram_quantile") || name == "histogram_fraction" {
                    place.with(Wrap::Grouped("without (le)".to_owned()))
                } else {
                    place
                };
                // The second argument of `info` only adds labels.
                let count = if name == "info" { 1 } else { call.args.len() };
                for argument in call.args.iter().take(count) {
                    self.expr(argument, place.clone());
                }
            }
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate, place: &Place) {
        let keeps_series = matches!(aggregate.op.as_str(), "topk" | "bottomk" | "limitk" | "limit_ratio");
        let grouping: Vec<String> = aggregate.grouping.iter().map(|label| label_name(label)).collect();
        let grouping = format!("{} ({})", if aggregate.is_without { "without" } else { "by" }, grouping.join(", "));
        let place = if keeps_series { place.clone() } else { place.with(Wrap::Grouped(grouping)) };
        self.expr(&aggregate.expr, place);
    }

    fn binary(&mut self, binary: &Binary, place: Place) {
        self.expr(&binary.left, place.clone());
        // The right side of these takes elements away and adds none.
        if !matches!(binary.op, BinaryOp::And | BinaryOp::Unless) {
            self.expr(&binary.right, place);
        }
    }

    /// An instant selector.
    fn selector(&mut self, expr: &Expr, selector: &VectorSelector, place: &Place) {
        if !place.range.is_zero() {
            return self.range_selector(selector, place);
        }
        let bare = bare(selector);
        let offset = self.offset(selector);
        self.date(place, format!("timestamp({bare}{})", offset.as_deref().unwrap_or_default()));
        if offset.is_some() {
            return;
        }
        let hold = self.hold.as_millis();
        let held = format!("({bare} or (last_over_time({bare}[{hold}ms]) {OF_DOWN_TARGET}))");
        self.replacements.push((expr.span.start, expr.span.end, held));
        self.lapse(&bare, LAPSED_WINDOW.max(self.hold), place);
    }

    /// A selector of a run of samples.
    fn range_selector(&mut self, selector: &VectorSelector, place: &Place) {
        let bare = bare(selector);
        let offset = self.offset(selector);
        let behind = offset.as_deref().unwrap_or_default();
        let step = (place.range / 60).max(Duration::from_secs(1));
        let newest = newest(&bare, behind, place.range, step);
        let oldest = oldest(&bare, behind, place.range);
        self.date(place, format!("(timestamp({bare}{behind}) or {newest} or {oldest})"));
        if offset.is_none() {
            self.lapse(&bare, LAPSED_WINDOW.max(place.range), place);
        }
    }

    fn date(&mut self, place: &Place, inner: String) {
        if !place.is_scalar {
            self.ages.push(place.wrapped(inner));
        }
    }

    fn lapse(&mut self, bare: &str, window: Duration, place: &Place) {
        // Exact where the last sample still counts; beyond that only that there was one matters.
        let exact = newest(bare, "", self.hold, self.hold / 90);
        let coarse = newest(bare, "", window, window / 60);
        let oldest = oldest(bare, "", self.hold);
        self.lapsed.push(place.wrapped(format!("(({exact} or {coarse} or {oldest}) {OF_DOWN_TARGET} unless {bare})")));
    }

    /// What moves the selector in time, if anything does; an `@` makes ages unknown.
    fn offset(&mut self, selector: &VectorSelector) -> Option<String> {
        if selector.at.is_some() {
            self.undated = Some("`@` fixes the time".to_owned());
            return Some(String::new());
        }
        (!is_zero(&selector.offset)).then(|| format!(" offset {}", selector.offset))
    }

    /// The text with all replacements.
    fn replaced(&self, query: &str) -> String {
        let mut text = String::new();
        let mut done = 0;
        for (start, end, instead) in &self.replacements {
            text.push_str(query.get(done..*start).unwrap_or_default());
            text.push_str(instead);
            done = *end;
        }
        text.push_str(query.get(done..).unwrap_or_default());
        text
    }
}

/// The time of the newest sample that each series has in a window, looked for step by step.
fn newest(bare: &str, offset: &str, window: Duration, step: Duration) -> String {
    format!("max_over_time(timestamp({bare}{offset})[{}ms:{}ms])", window.as_millis(), step.as_millis())
}

/// The start of a window for each series that has a sample in it: for those that lived between two steps.
fn oldest(bare: &str, offset: &str, window: Duration) -> String {
    let (ms, seconds) = (window.as_millis(), window.as_secs_f64());
    format!("present_over_time({bare}[{ms}ms]{offset}) * (time() - {seconds})")
}

/// A selector without offset, by its matchers alone.
fn bare(selector: &VectorSelector) -> String {
    let matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

/// A label name as it stands in a list.
fn label_name(name: &str) -> String {
    if is_legacy_label_name(name) { name.to_owned() } else { Quoted(name).to_string() }
}

fn is_zero(offset: &DurationValue) -> bool {
    matches!(offset, DurationValue::Millis(0))
}

/// A duration of the text; one that is computed counts as the lookback.
fn duration(value: &DurationValue) -> Duration {
    match value {
        DurationValue::Millis(ms) => Duration::from_millis(ms.unsigned_abs()),
        DurationValue::Expr(_) => LAPSED_WINDOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_grouped_as_the_results_are() {
        let ages = |query: &str, expected: &[&str]| {
            let plan = Plan::of(query, Duration::from_secs(90));
            assert_eq!(plan.ages, expected, "{query}");
            assert_eq!(plan.undated, None, "{query}");
            for text in plan.ages.iter().chain(&plan.lapsed).chain([&plan.held_query]) {
                promql::parse(text).unwrap_or_else(|error| panic!("{query}: {text}: {error}"));
            }
        };
        ages("load", &["timestamp({__name__=\"load\"})"]);
        ages("sum by (pod) (load) * 2", &["max by (pod) (timestamp({__name__=\"load\"}))"]);
        ages("sum(load) without (pod)", &["max without (pod) (timestamp({__name__=\"load\"}))"]);
        ages("topk(3, load offset 5m)", &["timestamp({__name__=\"load\"} offset 5m)"]);
        let rate = "(timestamp({__name__=\"n\"}) or max_over_time(timestamp({__name__=\"n\"})[120000ms:2000ms]) \
                    or present_over_time({__name__=\"n\"}[120000ms]) * (time() - 120))";
        ages("rate(n[2m])", &[rate]);
        ages("max_over_time(rate(n[1m])[1m:10s])", &[rate]);
        let quantile = "max without (le) (max by (le) ((timestamp({__name__=\"n\"}) or \
                        max_over_time(timestamp({__name__=\"n\"})[60000ms:1000ms]) or \
                        present_over_time({__name__=\"n\"}[60000ms]) * (time() - 60))))";
        ages("histogram_quantile(0.9, sum by (le) (rate(n[1m])))", &[quantile]);
        let renamed = "max by (x) (label_replace(timestamp({__name__=\"a\"}), \"x\", \"$1\", \"y\", \"(.*)\"))";
        ages("sum by (x) (label_replace(a, \"x\", \"$1\", \"y\", \"(.*)\"))", &[renamed]);
        ages("a / on (pod) b", &["timestamp({__name__=\"a\"})", "timestamp({__name__=\"b\"})"]);
        ages("a and on (pod) b", &["timestamp({__name__=\"a\"})"]);
        ages("a{\"x.y\"=\"z\"} / scalar(sum(b))", &["timestamp({\"x.y\"=\"z\",__name__=\"a\"})"]);
        ages("sum by (\"x.y\") (a)", &["max by (\"x.y\") (timestamp({__name__=\"a\"}))"]);
        ages("1 + 1", &[]);
    }

    #[test]
    fn unknown_ages_have_their_reason() {
        let undated = |query: &str, expected: &str| {
            let reason = Plan::of(query, Duration::from_secs(90)).undated.unwrap();
            assert!(reason.starts_with(expected), "{query}: {reason}");
        };
        undated("sum(load", "the query is not understood here: ");
        undated("load keep_metric_names", "the query is not understood here: ");
        undated("absent(load)", "what is absent has no age");
        undated("load @ 5", "`@` fixes the time");
        undated("sum_over_time(load[5m:1m] offset 1h)", "a subquery is moved in time");
        undated("a+a+a+a+a+a+a+a+a", "the query has more than 8 selectors");
    }

    #[test]
    fn what_lies_in_the_present_is_held() {
        let held = |query: &str, expected: &str| {
            assert_eq!(Plan::of(query, Duration::from_secs(90)).held_query, expected);
        };
        let a = "({__name__=\"a\"} or (last_over_time({__name__=\"a\"}[90000ms]) and on (job, instance) (up == 0)))";
        held("a", a);
        held("sum(a) + 1", &format!("sum({a}) + 1"));
        held("a / a", &format!("{a} / {a}"));
        held("scalar(sum(a))", &format!("scalar(sum({a}))"));
        for query in ["rate(a[5m])", "a offset 5m", "max_over_time(a[5m:1m])", "1", "nonsense("] {
            held(query, query);
        }
    }

    #[test]
    fn lapsed_series_are_those_of_known_targets() {
        let plan = Plan::of("sum by (pod) (a)", Duration::from_secs(90));
        let lapsed = "max by (pod) (((max_over_time(timestamp({__name__=\"a\"})[90000ms:1000ms]) \
                      or max_over_time(timestamp({__name__=\"a\"})[300000ms:5000ms]) \
                      or present_over_time({__name__=\"a\"}[90000ms]) * (time() - 90)) and on (job, instance) (up == 0) unless {__name__=\"a\"}))";
        assert_eq!(plan.lapsed, [lapsed]);
        assert!(Plan::of("a offset 5m", Duration::from_secs(90)).lapsed.is_empty());
    }

    proptest::proptest! {
        /// Whatever the text: no panic, and what is understood gives what is understood.
        #[test]
        fn any_text_has_a_plan(query in "[a-c(){}\\[\\]:, 0-9m+*/\"=~]{0,40}|(sum|max by \\(a\\)|rate|label_replace) ?\\(a(\\[1m(:1s)?\\])?( offset 1m)?\\)") {
            let plan = Plan::of(&query, Duration::from_secs(90));
            if promql::parse(&query).is_ok() {
                for text in plan.ages.iter().chain(&plan.lapsed).chain([&plan.held_query]) {
                    proptest::prop_assert!(promql::parse(text).is_ok(), "{} of {}", text, query);
                }
            } else {
                proptest::prop_assert_eq!(plan.held_query, query);
            }
        }
    }
}
