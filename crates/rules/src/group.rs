//! One group: each rule's query, what is stored of it, and what ends.
//!
//! - [`Environment`]: what evaluations need from outside.
//! - [`GroupState`]: a group with what its last evaluation left behind.
//!
//! Rule: a series that a rule gave and does not give any more gets one staleness marker; a rule that fails
//! changes nothing of what it gave before.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datamodel::{Labels, LabelsBuilder, METRIC_NAME, STALE_NAN, Timestamp};
use promql::{Engine, EvalError, InstantSample, QueryContext, QueryValue, Value};
use storage::{AppendError, Appendable, Appender, Queryable, SeriesRef};
use tokio::time::Instant;

use crate::alert::{ALERT_NAME, ActiveAlerts, AlertResult, AlertSink, AlertState, AlertTimes};
use crate::error::{RuleError, describe};
use crate::metrics::{GroupMetrics, Metrics};
use crate::restore::restore;
use crate::rule::{AlertingRule, RecordingRule, Rule, RuleGroup};
use crate::status::{GroupStatus, RuleHealth, RuleKind, RuleStatus};
use crate::template::{Context, Data, Template, TemplateSample};

/// Series that one rule may give, or alerts that may be active, where its group sets no limit: what a
/// recording rule over every series of a large installation gives.
pub const MAX_RULE_SERIES: usize = 100_000;

/// What evaluations need from outside.
pub(crate) struct Environment {
    pub(crate) engine: Engine,
    pub(crate) queryable: Arc<dyn Queryable>,
    pub(crate) appendable: Arc<dyn Appendable>,
    pub(crate) sink: Option<Arc<dyn AlertSink>>,
    pub(crate) external_labels: Labels,
    pub(crate) external_url: String,
    pub(crate) alert_times: AlertTimes,
    pub(crate) metrics: Metrics,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// A rule with what its last evaluation left behind.
#[derive(Debug)]
struct RuleState {
    rule: Rule,
    /// The series that it gave.
    previous: HashMap<Labels, SeriesRef>,
    alerts: ActiveAlerts,
    /// Whether states of before a restart were looked for; before that no series is written for alerts.
    is_restored: bool,
    health: RuleHealth,
    last_error: String,
    evaluation_time: Duration,
    last_evaluation: Option<Timestamp>,
}

/// One sample that a rule gives.
type Output = (Labels, Value);

/// A group with what its last evaluation left behind.
#[derive(Debug)]
pub(crate) struct GroupState {
    group: Arc<RuleGroup>,
    interval: Duration,
    query_offset: Duration,
    rules: Vec<RuleState>,
    /// Series of rules that are no longer there, to be ended.
    orphans: HashMap<Labels, SeriesRef>,
    metrics: GroupMetrics,
    evaluation_time: Duration,
    last_evaluation: Option<Timestamp>,
}

impl GroupState {
    /// A group that was never evaluated. With `restores`, alerts wait for their state of before.
    pub(crate) fn new(
        group: Arc<RuleGroup>,
        interval: Duration,
        query_offset: Duration,
        restores: bool,
        metrics: &Metrics,
    ) -> Self {
        let rules: Vec<RuleState> = group.rules.iter().cloned().map(|rule| RuleState::new(rule, !restores)).collect();
        let metrics = metrics.group(&group.key());
        metrics.interval.set(interval.as_secs_f64());
        metrics.rules.set(rules.len() as f64);
        Self {
            group,
            interval,
            query_offset,
            rules,
            orphans: HashMap::new(),
            metrics,
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        }
    }

    pub(crate) const fn metrics(&self) -> &GroupMetrics {
        &self.metrics
    }

    /// Goes on where an earlier form of the group ended: rules that write the same series keep their
    /// alerts and series, the series of others end.
    pub(crate) fn take_over(&mut self, earlier: Self) {
        let mut earlier_rules: Vec<Option<RuleState>> = earlier.rules.into_iter().map(Some).collect();
        for state in &mut self.rules {
            let same = |slot: &&mut Option<RuleState>| {
                slot.as_ref().is_some_and(|earlier| earlier.rule.continues(&state.rule))
            };
            if let Some(found) = earlier_rules.iter_mut().find(same).and_then(Option::take) {
                state.previous = found.previous;
                state.alerts = found.alerts;
                state.is_restored = found.is_restored;
            }
        }
        self.orphans = earlier.orphans;
        self.orphans.extend(earlier_rules.into_iter().flatten().flat_map(|rule| rule.previous));
    }

    /// Evaluates all rules at one instant.
    pub(crate) fn evaluate(&mut self, environment: &Environment, context: &QueryContext, at: Timestamp) {
        let started = Instant::now();
        let sample_at = at.saturating_sub(self.query_offset);
        let limit = if self.group.limit == 0 { MAX_RULE_SERIES } else { self.group.limit };
        let mut samples = 0;
        for rule in &mut self.rules {
            let rule_started = Instant::now();
            self.metrics.evaluations.inc();
            let result = rule.evaluate(environment, context, at, sample_at, limit);
            rule.evaluation_time = rule_started.elapsed();
            rule.last_evaluation = Some(at);
            environment.metrics.evaluation_duration.observe_duration(rule.evaluation_time);
            match result {
                Ok(count) => {
                    samples += count;
                    rule.succeeded(&self.group);
                    rule.tell(environment, at, self.interval);
                }
                // The server ends, or the group changes: the rule is not to blame.
                Err(RuleError::Query(EvalError::Cancelled)) => return,
                Err(error) => {
                    self.metrics.failures.inc();
                    rule.failed(&error, &self.group);
                }
            }
        }
        self.end_orphans(environment, sample_at);
        self.evaluation_time = started.elapsed();
        self.last_evaluation = Some(at);
        environment.metrics.group_duration.observe_duration(self.evaluation_time);
        self.metrics.last_duration.set(self.evaluation_time.as_secs_f64());
        self.metrics.last_evaluation.set(at.unix_seconds());
        self.metrics.samples.set(samples as f64);
    }

    /// Looks for the states of alerts of before a restart. From now on their series are written.
    pub(crate) fn restore(&mut self, environment: &Environment, at: Timestamp) {
        for state in self.rules.iter_mut().filter(|state| !state.is_restored) {
            if let Rule::Alerting(rule) = &state.rule
                && let Err(error) =
                    restore(rule, &mut state.alerts, environment.queryable.as_ref(), at, &environment.alert_times)
            {
                let (group, error) = (self.group.key(), describe(&RuleError::Restore(error)));
                tracing::error!(group, alert = rule.alert, error, "alert starts anew");
            }
            state.is_restored = true;
        }
    }

    /// Ends all series of a group that is gone.
    pub(crate) fn end(&mut self, environment: &Environment, at: Timestamp) {
        for rule in &mut self.rules {
            self.orphans.extend(std::mem::take(&mut rule.previous));
        }
        self.end_orphans(environment, at.saturating_sub(self.query_offset));
    }

    fn end_orphans(&mut self, environment: &Environment, at: Timestamp) {
        if self.orphans.is_empty() {
            return;
        }
        let given: HashSet<&Labels> = self.rules.iter().flat_map(|rule| rule.previous.keys()).collect();
        let mut appender = environment.appendable.appender();
        let mut result = Ok(());
        for (_, series) in self.orphans.drain().filter(|(labels, _)| !given.contains(labels)) {
            result = result.and_then(|()| one_sample(appender.append(series, at, STALE_NAN)));
        }
        if let Err(error) = result.and_then(|()| appender.commit().map(drop)) {
            let (group, error) = (self.group.key(), describe(&RuleError::Append(error)));
            tracing::error!(group, error, "series of former rules could not be ended");
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        GroupStatus {
            name: Arc::clone(&self.group.name),
            file: Arc::clone(&self.group.file),
            interval: self.interval,
            query_offset: self.query_offset,
            limit: self.group.limit,
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
            rules: self.rules.iter().map(RuleState::status).collect(),
        }
    }
}

/// An error about one sample is expected where another writer has the series; the batch goes on.
fn one_sample(result: Result<(), AppendError>) -> Result<(), AppendError> {
    match result {
        Err(fatal @ (AppendError::Closed | AppendError::Storage { .. })) => Err(fatal),
        _ => Ok(()),
    }
}

impl RuleState {
    fn new(rule: Rule, is_restored: bool) -> Self {
        Self {
            rule,
            previous: HashMap::new(),
            alerts: ActiveAlerts::default(),
            is_restored,
            health: RuleHealth::Unknown,
            last_error: String::new(),
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        }
    }

    /// Evaluates and stores; gives back how many samples there were.
    fn evaluate(
        &mut self,
        environment: &Environment,
        context: &QueryContext,
        at: Timestamp,
        sample_at: Timestamp,
        limit: usize,
    ) -> Result<usize, RuleError> {
        let query = self.rule.query();
        let result = environment
            .engine
            .instant(environment.queryable.as_ref(), (&query.expr, query.text.as_str()), sample_at, context)
            .map_err(RuleError::Query)?;
        let vector = match result.value {
            QueryValue::InstantVector(vector) => vector,
            QueryValue::Scalar(sample) => vec![InstantSample {
                labels: Labels::empty(),
                timestamp: sample.timestamp,
                value: Value::Float(sample.value),
                newest_input: None,
            }],
            _ => return Err(RuleError::NotVector),
        };
        let outputs = match &self.rule {
            Rule::Recording(rule) => record(rule, vector, limit)?,
            Rule::Alerting(rule) => {
                let expand = Expander { environment, context, at, sample_at };
                let results = vector.into_iter().map(|sample| expand.result(rule, &sample)).collect();
                self.alerts.step(rule, results, at, limit)?;
                let samples = if self.is_restored { self.alerts.samples() } else { Vec::new() };
                samples.into_iter().map(|(labels, value)| (labels, Value::Float(value))).collect()
            }
        };
        let count = outputs.len();
        self.store(environment, outputs, sample_at)?;
        Ok(count)
    }

    fn store(&mut self, environment: &Environment, outputs: Vec<Output>, at: Timestamp) -> Result<(), RuleError> {
        let mut appender = environment.appendable.appender();
        let mut present = HashMap::with_capacity(outputs.len());
        let mut refused = 0_usize;
        for (labels, value) in outputs {
            let known = self.previous.get(&labels).copied();
            match append(appender.as_mut(), known, &labels, at, &value) {
                Ok(series) => {
                    present.insert(labels, series);
                }
                Err(error) => {
                    one_sample(Err(error)).map_err(RuleError::Append)?;
                    refused += 1;
                }
            }
        }
        let gone = self.previous.iter().filter(|(labels, _)| !present.contains_key(*labels));
        for series in gone.map(|(_, series)| *series) {
            one_sample(appender.append(series, at, STALE_NAN)).map_err(RuleError::Append)?;
        }
        let left_out = appender.commit().map_err(RuleError::Append)?;
        refused += left_out.len();
        let unknown: HashSet<SeriesRef> = left_out
            .iter()
            .filter(|(_, error)| matches!(error, AppendError::UnknownSeries))
            .map(|(series, _)| *series)
            .collect();
        present.retain(|_, series| !unknown.contains(series));
        self.previous = present;
        if refused > 0 {
            let (rule, first) = (self.rule.name(), left_out.first().map(|(_, error)| error.to_string()));
            tracing::warn!(rule, refused, first, "samples of a rule are left out");
        }
        Ok(())
    }

    fn succeeded(&mut self, group: &RuleGroup) {
        if self.health == RuleHealth::Err {
            tracing::info!(group = group.key(), rule = self.rule.name(), "rule is evaluated again");
        }
        self.health = RuleHealth::Ok;
        self.last_error.clear();
    }

    fn failed(&mut self, error: &RuleError, group: &RuleGroup) {
        let error = describe(error);
        if self.health != RuleHealth::Err {
            tracing::warn!(group = group.key(), rule = self.rule.name(), error, "rule cannot be evaluated");
        }
        self.health = RuleHealth::Err;
        self.last_error = error;
    }

    fn tell(&mut self, environment: &Environment, at: Timestamp, interval: Duration) {
        if let (Rule::Alerting(rule), Some(sink)) = (&self.rule, &environment.sink) {
            let alerts = self.alerts.due(at, interval, environment.alert_times.resend_delay);
            if !alerts.is_empty() {
                sink.send(&rule.query.expr.to_string(), alerts);
            }
        }
    }

    fn status(&self) -> RuleStatus {
        let texts = |templates: &[(String, Template)]| -> Vec<(String, String)> {
            templates.iter().map(|(name, template)| (name.clone(), template.text().to_owned())).collect()
        };
        let (labels, kind) = match &self.rule {
            Rule::Recording(rule) => (rule.labels.clone(), RuleKind::Recording),
            Rule::Alerting(rule) => {
                let alerts: Vec<_> = self.alerts.active().cloned().collect();
                let state = alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive);
                let kind = RuleKind::Alerting {
                    for_duration: rule.for_duration,
                    keep_firing_for: rule.keep_firing_for,
                    annotations: texts(&rule.annotations),
                    alerts,
                    state,
                };
                (texts(&rule.labels), kind)
            }
        };
        RuleStatus {
            name: self.rule.name().to_owned(),
            query: self.rule.query().expr.to_string(),
            labels,
            kind,
            health: self.health,
            last_error: self.last_error.clone(),
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
        }
    }
}

/// The results of a recording rule under its name and labels.
fn record(rule: &RecordingRule, vector: Vec<InstantSample>, limit: usize) -> Result<Vec<Output>, RuleError> {
    let mut seen = HashSet::with_capacity(vector.len());
    let mut outputs = Vec::with_capacity(vector.len());
    for sample in vector {
        let mut builder = LabelsBuilder::new(&sample.labels);
        builder.set(METRIC_NAME, &rule.record);
        for (name, value) in &rule.labels {
            builder.set(name, value);
        }
        let labels = builder.build();
        if !seen.insert(labels.clone()) {
            return Err(RuleError::SameLabels("rule"));
        }
        outputs.push((labels, sample.value));
    }
    if outputs.len() > limit {
        return Err(RuleError::Limit { limit, found: outputs.len(), what: "series" });
    }
    Ok(outputs)
}

/// Appends to a series, asking for its reference where it is not known (any more).
fn append(
    appender: &mut dyn Appender,
    known: Option<SeriesRef>,
    labels: &Labels,
    at: Timestamp,
    value: &Value,
) -> Result<SeriesRef, AppendError> {
    let write = |appender: &mut dyn Appender, series| match value {
        Value::Float(value) => appender.append(series, at, *value),
        Value::Histogram(histogram) => appender.append_histogram(series, at, histogram.as_ref().clone()),
    };
    if let Some(series) = known {
        match write(appender, series) {
            Err(AppendError::UnknownSeries) => {}
            result => return result.map(|()| series),
        }
    }
    let series = appender.series(None, labels)?;
    write(appender, series).map(|()| series)
}

/// Expands the templates of an alerting rule.
struct Expander<'a> {
    environment: &'a Environment,
    context: &'a QueryContext,
    at: Timestamp,
    sample_at: Timestamp,
}

impl Expander<'_> {
    fn result(&self, rule: &AlertingRule, sample: &InstantSample) -> AlertResult {
        let value = match sample.value {
            Value::Float(value) => value,
            // As upstream, whose sample has no float then.
            Value::Histogram(_) => 0.0,
        };
        let data = Data {
            labels: &sample.labels,
            external_labels: &self.environment.external_labels,
            external_url: &self.environment.external_url,
            value,
            at: self.at,
        };
        let expand = |template: &Template| match template.expand(&data, self) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(alert = rule.alert, %error, "template cannot be expanded");
                format!("<error expanding template: {error}>")
            }
        };
        let mut labels = LabelsBuilder::new(&sample.labels);
        labels.remove(METRIC_NAME);
        for (name, template) in &rule.labels {
            labels.set(name, &expand(template));
        }
        labels.set(ALERT_NAME, &rule.alert);
        let annotations = rule.annotations.iter().map(|(name, template)| (name.as_str(), expand(template)));
        AlertResult { labels: labels.build(), annotations: Labels::from_pairs(annotations), value }
    }
}

impl Context for Expander<'_> {
    fn query(&self, expression: &str) -> Result<Vec<TemplateSample>, String> {
        let environment = self.environment;
        let result = environment
            .engine
            .instant(environment.queryable.as_ref(), expression, self.sample_at, self.context)
            .map_err(|error| error.to_string())?;
        let float = |sample: InstantSample| match sample.value {
            Value::Float(value) => Some(TemplateSample { labels: sample.labels, value }),
            Value::Histogram(_) => None,
        };
        match result.value {
            QueryValue::InstantVector(vector) => Ok(vector.into_iter().filter_map(float).collect()),
            QueryValue::Scalar(sample) => Ok(vec![TemplateSample { labels: Labels::empty(), value: sample.value }]),
            _ => Err("not a vector or scalar".to_owned()),
        }
    }
}
