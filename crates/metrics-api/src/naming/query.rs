//! The template that becomes a query.
//!
//! Rule: label matchers stand in this order: the terms of the metric selector, the namespace, the resource.
//! Values are quoted like Go's `%q` and not escaped for regular expressions, as prometheus-adapter does.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamodel::labels::{Quoted, is_legacy_label_name};
use datamodel::selector::{Selector, SelectorOp};

use crate::template::{Template, TemplateError, Value};

/// Why no query could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A term has no label.
    #[error("label not specified")]
    NoLabel,
    /// `>` and `<` have no counterpart.
    #[error("operator not supported by prometheus")]
    UnsupportedOperator,
    /// A term lacks its value.
    #[error("operator requires values")]
    NoValues,
    /// A term of existence has a value.
    #[error("operator does not support values")]
    UnexpectedValues,
    /// The selector is the one that nothing passes.
    #[error("metric selector selects nothing")]
    SelectsNothing,
    /// The template wrote nothing.
    #[error("empty query produced by metrics query template")]
    Empty,
    /// The template is none.
    #[error("unable to parse metrics query template {}: {cause}", Quoted(template))]
    Parse {
        /// The text as given.
        template: String,
        /// What is wrong with it.
        cause: TemplateError,
    },
    /// The template failed.
    #[error("unable to execute metrics query template: {0}")]
    Template(TemplateError),
}

/// The `metricsQuery` of a rule.
#[derive(Clone, Debug)]
pub(crate) struct MetricsQuery(Template);

/// A condition on one label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a> {
    /// The label.
    pub(crate) key: &'a str,
    /// The test.
    pub(crate) op: SelectorOp,
    /// What it is tested against.
    pub(crate) values: &'a [String],
}

/// The terms of a selector, in the order of their keys.
pub(crate) fn terms(selector: &Selector) -> Result<Vec<Term<'_>>, BuildError> {
    let requirements = selector.requirements().ok_or(BuildError::SelectsNothing)?;
    let terms = requirements.iter().map(|term| Term { key: term.key(), op: term.op(), values: term.values() });
    Ok(terms.collect())
}

/// What a query for objects is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectQuery<'a> {
    /// The name of the series.
    pub(crate) series: &'a str,
    /// Label and value of the namespace, for objects in one.
    pub(crate) namespace: Option<(&'a str, &'a str)>,
    /// The label that names the objects.
    pub(crate) resource_label: &'a str,
    /// The objects.
    pub(crate) names: &'a [&'a str],
    /// Further labels to group by.
    pub(crate) extra_group_by: &'a [&'a str],
    /// The terms for the metric's own labels.
    pub(crate) terms: &'a [Term<'a>],
}

/// What a query for an external metric is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExternalQuery<'a> {
    /// The name of the series.
    pub(crate) series: &'a str,
    /// Label and value of the namespace, where the rule is confined to one.
    pub(crate) namespace: Option<(&'a str, &'a str)>,
    /// Labels to group by: prometheus-adapter always gives none.
    pub(crate) group_by: &'a [&'a str],
    /// The terms for the metric's labels.
    pub(crate) terms: &'a [Term<'a>],
}

impl MetricsQuery {
    /// Compiles a template with the delimiters `<<` and `>>`.
    pub(crate) fn new(template: &str) -> Result<Self, BuildError> {
        let failed = |cause| BuildError::Parse { template: template.to_owned(), cause };
        Template::parse(template, "<<", ">>").map(Self).map_err(failed)
    }

    /// The template as given.
    pub(crate) fn source(&self) -> &str {
        self.0.source()
    }

    /// The query for the metric of some objects.
    pub(crate) fn build(&self, query: &ObjectQuery<'_>) -> Result<String, BuildError> {
        let mut matchers = Matchers::default();
        matchers.add_terms(query.terms)?;
        matchers.add_namespace(query.namespace);
        let names = query.names.join("|");
        let operator = if query.names.len() > 1 { "=~" } else { "=" };
        matchers.add(query.resource_label, operator, &names);
        let mut group_by = vec![query.resource_label];
        group_by.extend(query.extra_group_by);
        self.execute(query.series, matchers, &group_by)
    }

    /// The queries for the metric of some objects, each with names of at most `max_bytes` together. The
    /// answers belong together: objects are told apart by their label.
    pub(crate) fn build_chunks(&self, query: &ObjectQuery<'_>, max_bytes: usize) -> Result<Vec<String>, BuildError> {
        let mut queries = Vec::new();
        let mut rest = query.names;
        loop {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|name| {
                bytes += name.len() + 1;
                bytes <= max_bytes
            });
            let (names, behind) = rest.split_at(fitting.count().max(1).min(rest.len()));
            queries.push(self.build(&ObjectQuery { names, ..*query })?);
            if behind.is_empty() {
                return Ok(queries);
            }
            rest = behind;
        }
    }

    /// The query for an external metric.
    pub(crate) fn build_external(&self, query: &ExternalQuery<'_>) -> Result<String, BuildError> {
        let mut matchers = Matchers::default();
        matchers.add_terms(query.terms)?;
        matchers.add_namespace(query.namespace);
        self.execute(query.series, matchers, query.group_by)
    }

    fn execute(&self, series: &str, matchers: Matchers, group_by: &[&str]) -> Result<String, BuildError> {
        let group_by_slice = group_by.iter().map(|&label| label.to_owned()).collect();
        let data = Value::Record(Arc::new(BTreeMap::from([
            ("Series", Value::Text(series.to_owned())),
            ("LabelMatchers", Value::Text(matchers.expressions.join(","))),
            ("LabelValuesByName", Value::Map(Arc::new(matchers.values_by_name))),
            ("GroupBy", Value::Text(group_by.join(","))),
            ("GroupBySlice", Value::List(group_by_slice)),
        ])));
        let query = self.0.execute(&data).map_err(BuildError::Template)?;
        if query.is_empty() { Err(BuildError::Empty) } else { Ok(query) }
    }
}

#[derive(Default)]
struct Matchers {
    expressions: Vec<String>,
    values_by_name: BTreeMap<String, String>,
}

impl Matchers {
    fn add(&mut self, label: &str, operator: &str, value: &str) {
        self.expressions.push(expression(label, operator, value));
        self.values_by_name.insert(label.to_owned(), value.to_owned());
    }

    fn add_namespace(&mut self, namespace: Option<(&str, &str)>) {
        if let Some((label, namespace)) = namespace {
            self.add(label, "=", namespace);
        }
    }

    fn add_terms(&mut self, terms: &[Term<'_>]) -> Result<(), BuildError> {
        for term in terms {
            self.expressions.push(term.matcher()?);
            self.values_by_name.insert(term.key.to_owned(), term.values.join("|"));
        }
        Ok(())
    }
}

impl Term<'_> {
    /// The term as a label matcher.
    pub(crate) fn matcher(&self) -> Result<String, BuildError> {
        if self.key.is_empty() {
            return Err(BuildError::NoLabel);
        }
        // A label has one value, so that several can only be meant as alternatives.
        let several = self.values.len() > 1;
        let operator = match (self.op, self.values.is_empty()) {
            (SelectorOp::GreaterThan | SelectorOp::LessThan, _) => return Err(BuildError::UnsupportedOperator),
            (SelectorOp::Exists, true) => "!=",
            (SelectorOp::DoesNotExist, true) => "=",
            (SelectorOp::Exists | SelectorOp::DoesNotExist, false) => return Err(BuildError::UnexpectedValues),
            (_, true) => return Err(BuildError::NoValues),
            (SelectorOp::Equals | SelectorOp::DoubleEquals, false) if !several => "=",
            (SelectorOp::NotEquals, false) if !several => "!=",
            (SelectorOp::Equals | SelectorOp::DoubleEquals | SelectorOp::In, false) => "=~",
            (SelectorOp::NotEquals | SelectorOp::NotIn, false) => "!~",
        };
        Ok(expression(self.key, operator, &self.values.join("|")))
    }
}

fn expression(label: &str, operator: &str, value: &str) -> String {
    // `app.kubernetes.io/name` is a label name only in quotes.
    if is_legacy_label_name(label) {
        format!("{label}{operator}{}", Quoted(value))
    } else {
        format!("{}{operator}{}", Quoted(label), Quoted(value))
    }
}
