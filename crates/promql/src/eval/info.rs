//! `info()`: labels of info metrics joined to the series that they describe.
//!
//! - [`InfoSeries`]: an info series with the time of its sample at each step; [`Enricher`]: the join.
//!
//! Rule: `instance` and `job` say what describes what; of several info series for one thing the one with the
//! newest sample counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datamodel::labels::Labels;
use datamodel::{LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use crate::ast::RangeMode;
use crate::error::EvalError;
use crate::eval::series::{Column, EvalSeries, Grid, Made, Merger, Point, PointKey};
use crate::eval::{Evaluator, Sink};
use crate::plan::{InfoPlan, SelectorPlan};

/// The labels by which info series find what they describe.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metric that is joined unless others are asked for.
const TARGET_INFO: &str = "target_info";

struct InfoSeries {
    labels: Labels,
    /// Unix milliseconds of the sample that counts at each step.
    times: Column,
}

/// A regular expression that matches one of the texts.
fn one_of(values: &BTreeSet<String>) -> String {
    let quote = |value: &String| {
        let mut quoted = String::new();
        for c in value.chars() {
            if r"\.+*?()|[]{}^$".contains(c) {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted
    };
    values.iter().map(quote).collect::<Vec<_>>().join("|")
}

fn signature(labels: &Labels) -> Labels {
    labels.filter(|name| IDENTIFYING.contains(&name))
}

impl Evaluator<'_> {
    pub(super) fn info(&self, plan: &InfoPlan, grid: Grid, sink: &mut Sink<'_>) -> Result<(), EvalError> {
        let base = self.collect(&plan.input, grid)?;
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            plan.matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let names = self.effective_names(names, plan)?;
        let is_info = |series: &EvalSeries| {
            let name = series.labels.metric_name().unwrap_or_default();
            names.iter().all(|matcher| matcher.matches(name))
        };
        let is_ignored: Vec<bool> = base.series.iter().map(is_info).collect();
        let described = base.series.iter().zip(&is_ignored).filter(|(_, ignored)| !**ignored);
        let infos = self.info_series(plan, described.map(|(series, _)| &series.labels), &names, &data, grid)?;
        let mut enricher = Enricher::new(plan, &infos, &data);
        let mut merger = Merger::default();
        for index in 0..grid.steps {
            self.check_alive()?;
            enricher.choose(index)?;
            for (place, (series, ignored)) in base.series.iter().zip(&is_ignored).enumerate() {
                let Some(point) = series.column.get(index) else { continue };
                let labels =
                    if *ignored { Some(series.labels.clone()) } else { enricher.labels(place, &series.labels)? };
                let Some(labels) = labels else { continue };
                let made = match point {
                    Point::Float(value) => Made::Float(value),
                    Point::Histogram(histogram) => Made::Histogram(histogram.clone()),
                };
                let (drop_name, newest) = (series.drop_name, series.newest);
                let key = PointKey { labels: &labels, drop_name, steps: grid.steps, index, newest };
                merger.add_point(&key, made)?;
            }
        }
        let mut memory = self.budget.reservation();
        memory.grow(merger.byte_len())?;
        merger.into_series().into_iter().try_for_each(sink)
    }

    /// The tests on the name: as given, with `.+_info` beside negative ones alone, else `target_info`.
    #[expect(clippy::unused_self, reason = "reads better beside the others")]
    fn effective_names(&self, names: Vec<Matcher>, plan: &InfoPlan) -> Result<Vec<Matcher>, EvalError> {
        if names.iter().any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex)) {
            return Ok(names);
        }
        if names.is_empty() {
            return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
        }
        let any_info = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info")
            .map_err(|error| EvalError::InvalidArgument { message: error.to_string(), span: plan.span })?;
        Ok(std::iter::once(any_info).chain(names).collect())
    }

    fn info_series<'l>(
        &self,
        plan: &InfoPlan,
        described: impl Iterator<Item = &'l Labels>,
        names: &[Matcher],
        data: &[Matcher],
        grid: Grid,
    ) -> Result<Vec<InfoSeries>, EvalError> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for labels in described {
            for name in IDENTIFYING {
                if let Some(value) = labels.get(name) {
                    values.entry(name).or_default().insert(value.to_owned());
                }
            }
        }
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let mut matchers: Vec<Matcher> = names.iter().chain(data).cloned().collect();
        for (name, values) in &values {
            let matcher = Matcher::new(MatchOp::Regex, *name, one_of(values))
                .map_err(|error| EvalError::InvalidArgument { message: error.to_string(), span: plan.span })?;
            matchers.push(matcher);
        }
        let selector = SelectorPlan {
            matchers,
            offset: plan.offset,
            at: plan.at,
            mode: RangeMode::Plain,
            is_statistics: false,
            span: plan.span,
            function: "info",
        };
        let mut infos = Vec::new();
        let mut memory = self.budget.reservation();
        self.sample_times(&selector, grid, &mut |series| {
            memory.grow(series.byte_len())?;
            if series.column.has_histograms() {
                let message = format!("this should be an info metric, with float samples: {}", series.labels);
                return Err(EvalError::InvalidArgument { message, span: plan.span });
            }
            infos.push(InfoSeries { labels: series.labels, times: series.column });
            Ok(())
        })?;
        Ok(infos)
    }
}

/// Joins labels to series, step by step.
struct Enricher<'a> {
    plan: &'a InfoPlan,
    infos: &'a [InfoSeries],
    data: &'a [Matcher],
    /// By metric name: which info series describes what, at this step.
    chosen: BTreeMap<&'a str, HashMap<Labels, usize>>,
    signatures: Vec<Labels>,
    /// What a base series became together with certain info series.
    results: HashMap<(usize, Vec<usize>), Option<Labels>>,
}

impl<'a> Enricher<'a> {
    fn new(plan: &'a InfoPlan, infos: &'a [InfoSeries], data: &'a [Matcher]) -> Self {
        let signatures = infos.iter().map(|info| signature(&info.labels)).collect();
        Self { plan, infos, data, chosen: BTreeMap::new(), signatures, results: HashMap::new() }
    }

    /// Finds the info series that count at a step.
    fn choose(&mut self, index: usize) -> Result<(), EvalError> {
        self.chosen.clear();
        let infos = self.infos;
        for (place, (info, signature)) in infos.iter().zip(&self.signatures).enumerate() {
            let Some(time) = info.times.float(index) else { continue };
            let by_signature = self.chosen.entry(info.labels.metric_name().unwrap_or_default()).or_default();
            let Some(chosen) = by_signature.get_mut(signature) else {
                by_signature.insert(signature.clone(), place);
                continue;
            };
            let Some(other) = infos.get(*chosen) else { continue };
            let other_time = other.times.float(index).unwrap_or(f64::NEG_INFINITY);
            if other_time < time {
                *chosen = place;
            } else if other_time <= time {
                return Err(EvalError::DuplicateInfo {
                    existing: Box::new(other.labels.clone()),
                    new: Box::new(info.labels.clone()),
                    // Milliseconds are whole numbers.
                    at: time as i64,
                });
            }
        }
        Ok(())
    }

    /// The labels of a base series with those of its info series; `None` if it is left out.
    fn labels(&mut self, place: usize, base: &Labels) -> Result<Option<Labels>, EvalError> {
        let signature = signature(base);
        let infos: Vec<usize> =
            self.chosen.values().filter_map(|by_signature| by_signature.get(&signature).copied()).collect();
        let key = (place, infos);
        if let Some(labels) = self.results.get(&key) {
            return Ok(labels.clone());
        }
        let labels = self.join(base, &key.1)?;
        self.results.insert(key, labels.clone());
        Ok(labels)
    }

    fn join(&self, base: &Labels, infos: &[usize]) -> Result<Option<Labels>, EvalError> {
        if infos.is_empty() && !self.data.iter().all(Matcher::matches_absent) {
            return Ok(None);
        }
        let mut added = LabelsBuilder::default();
        for info in infos.iter().filter_map(|place| self.infos.get(*place)) {
            for (name, value) in info.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
                if !self.data.is_empty() && !self.data.iter().any(|matcher| matcher.name() == name) {
                    continue;
                }
                if added.get(name).is_some_and(|other| other != value) {
                    let message = format!("conflicting label: {name}");
                    return Err(EvalError::InvalidArgument { message, span: self.plan.span });
                }
                if base.get(name).is_none() {
                    added.set(name, value);
                }
            }
        }
        let mut builder = LabelsBuilder::new(base);
        for (name, value) in added.iter() {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}
