//! Recorded metrics on fresh rows: a name that one of our recording rules writes is evaluated from its
//! expression.
//!
//! - [`Recorded`]: knows the recording rules.
//! - `RowsView`: a storage in which the series of recorded names end with what their rules give now.
//!
//! ```text
//! asr:requests:rate5m{pod="a"} ─▶ rule: rate(asr_total_requests[5m]) ─▶ rows ─▶ RowsView ─▶ the query
//!                                 (evaluated on the fresh rows; its own recorded names first, 3 deep)
//! ```
//!
//! Rule: a row has the time of its newest input, and is shown only where that is newer than what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datamodel::time::TimeRange;
use datamodel::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Timestamp};
use promql::{Engine, EvalError, Expr, QueryContext, QueryValue, Value};
use storage::{Querier, QueryError, Queryable, Samples, SelectHints, Series, SeriesSet};

use crate::window::longest_range;

/// How many recording rules may build on one another; a deeper one counts with its stored samples.
pub const MAX_RECORDED_DEPTH: usize = 3;

/// A recording rule.
#[derive(Clone, Debug)]
pub struct RecordedRule {
    /// What it evaluates.
    pub expr: Arc<Expr>,
    /// The labels that it sets on every series.
    pub labels: Labels,
}

/// Knows the recording rules of this process.
pub trait Recorded: Send + Sync {
    /// The rule that writes the series of this name; `None` where none does, or several do.
    fn rule(&self, metric: &str) -> Option<RecordedRule>;
}

/// The recording rules that an expression builds on, itself not included.
pub(crate) fn rules_in(expr: &Expr, recorded: &dyn Recorded) -> BTreeMap<String, RecordedRule> {
    let names: BTreeSet<&str> = expr.selectors().filter_map(|selector| name_of(&selector.matchers)).collect();
    names.into_iter().filter_map(|name| Some((name.to_owned(), recorded.rule(name)?))).collect()
}

/// The longest look back of an expression and of the rules that it builds on.
pub(crate) fn longest_look_back(expr: &Expr, recorded: &dyn Recorded, depth: usize) -> Option<Duration> {
    let own = longest_range(expr);
    let rules = if depth == 0 { BTreeMap::new() } else { rules_in(expr, recorded) };
    let below = rules.values().filter_map(|rule| longest_look_back(&rule.expr, recorded, depth - 1)).max();
    own.max(below)
}

/// The metric name that matchers demand.
fn name_of(matchers: &[Matcher]) -> Option<&str> {
    let name = matchers.iter().find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
    name.map(Matcher::value)
}

/// Time and value of the newest sample of a series.
type Row = (Timestamp, f64);

/// Newest samples by metric name and labels.
pub(crate) type Rows = BTreeMap<String, BTreeMap<Labels, Row>>;

/// What evaluating recording rules needs.
pub(crate) struct Evaluation<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) storage: &'a dyn Queryable,
    pub(crate) recorded: &'a dyn Recorded,
    pub(crate) at: Timestamp,
    pub(crate) context: &'a QueryContext,
    /// What the evaluations say against their answers.
    pub(crate) warnings: Vec<String>,
}

impl Evaluation<'_> {
    /// The rows of the recorded names in an expression.
    pub(crate) fn rows(&mut self, expr: &Expr, depth: usize) -> Result<Rows, EvalError> {
        let mut rows = Rows::new();
        if depth == 0 {
            return Ok(rows);
        }
        for (name, rule) in rules_in(expr, self.recorded) {
            let below = self.rows(&rule.expr, depth - 1)?;
            let view = RowsView { inner: self.storage, rows: &below };
            let result = self.engine.instant(&view, &*rule.expr, self.at, self.context)?;
            self.warnings.extend(result.annotations.warnings);
            let QueryValue::InstantVector(elements) = result.value else {
                continue;
            };
            let mut of_name = BTreeMap::new();
            for element in elements {
                if let (Value::Float(value), Some(newest)) = (element.value, element.newest_input) {
                    of_name.insert(recorded_labels(&element.labels, &name, &rule.labels), (newest, value));
                }
            }
            rows.insert(name, of_name);
        }
        Ok(rows)
    }
}

/// The labels under which a rule writes an element.
fn recorded_labels(element: &Labels, name: &str, added: &Labels) -> Labels {
    let mut labels = LabelsBuilder::new(element);
    labels.set(METRIC_NAME, name);
    for (name, value) in added {
        labels.set(name, value);
    }
    labels.build()
}

/// A storage with rows over the series of recorded names; all others pass through.
pub(crate) struct RowsView<'a> {
    pub(crate) inner: &'a dyn Queryable,
    pub(crate) rows: &'a Rows,
}

impl Queryable for RowsView<'_> {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier + '_>, QueryError> {
        Ok(Box::new(RowsQuerier { inner: self.inner.querier(range)?, rows: self.rows, range }))
    }
}

struct RowsQuerier<'a> {
    inner: Box<dyn Querier + 'a>,
    rows: &'a Rows,
    range: TimeRange,
}

impl Querier for RowsQuerier<'_> {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        let mut inner = self.inner.select(matchers, hints)?;
        let Some(rows) = name_of(matchers).and_then(|name| self.rows.get(name)) else {
            return Ok(inner);
        };
        // One series for each object, and few samples of each: they are read at once.
        let mut merged: BTreeMap<Labels, Samples> = BTreeMap::new();
        while let Some(series) = inner.next() {
            let series = series?;
            let mut samples = Samples::default();
            series.read(self.range, &mut samples)?;
            merged.insert(series.labels().clone(), samples);
        }
        for (labels, (at, value)) in rows {
            if self.range.contains(*at) && matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                let samples = merged.entry(labels.clone()).or_default();
                if samples.timestamps.last().is_none_or(|last| *last < at.unix_ms()) {
                    samples.push(at.unix_ms(), *value);
                }
            }
        }
        Ok(Box::new(OwnedSet(merged.into_iter())))
    }

    fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_names(matchers, limit)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<str>>, QueryError> {
        self.inner.label_values(name, matchers, limit)
    }
}

struct OwnedSet(std::collections::btree_map::IntoIter<Labels, Samples>);

impl SeriesSet for OwnedSet {
    fn next(&mut self) -> Option<Result<Box<dyn Series + '_>, QueryError>> {
        let (labels, samples) = self.0.next()?;
        Some(Ok(Box::new(OwnedSeries { labels, samples })))
    }
}

struct OwnedSeries {
    labels: Labels,
    samples: Samples,
}

impl Series for OwnedSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, into: &mut Samples) -> Result<(), QueryError> {
        let mut histograms = self.samples.histograms.iter().peekable();
        for (index, (at, value)) in self.samples.timestamps.iter().zip(&self.samples.values).enumerate() {
            let histogram = histograms.next_if(|(of, _)| *of == index);
            if range.contains(Timestamp::from_unix_ms(*at)) {
                match histogram {
                    Some((_, histogram)) => into.push_histogram(*at, Arc::clone(histogram)),
                    None => into.push(*at, *value),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
