//! One unit test: input in, groups evaluated, alerts and samples compared.
//!
//! Rule: at an evaluation, samples of the input that lie behind it are not there yet.

use std::sync::Arc;
use std::time::Duration;

use datamodel::registry::Registry;
use datamodel::time::{ManualClock, duration_ms};
use datamodel::{Clock, Histogram, Labels, Timestamp};
use promql::testing::{SequenceValue, parse_series, stored_histogram};
use promql::{Engine, EngineOptions, Features, QueryContext, QueryValue, Value};
use storage::{Appendable, MemoryStorage, Queryable, SeriesRef};

use super::text::{ExpectedSample, histogram};
use super::{ExpressionTest, Failure, FiringAlert, MAX_EVALUATIONS, MAX_INPUT_SAMPLES, UnitTest, UnitTests};
use crate::alert::{AlertState, AlertTimes};
use crate::group::{Environment, GroupState};
use crate::metrics::Metrics;
use crate::rule::RuleGroup;
use crate::status::{GroupStatus, RuleKind};

impl UnitTests {
    /// Runs one of the tests on the groups of the rule files; no failure is success.
    #[must_use]
    pub fn run(&self, test: &UnitTest, groups: &[RuleGroup], features: Features) -> Vec<Failure> {
        match Bench::new(self, test, groups, features) {
            Ok(mut bench) => bench.run(),
            Err(message) => vec![Failure::Input(message)],
        }
    }

    /// The place of a group in the order of evaluation; those that are not named are first.
    fn place(&self, group: &RuleGroup) -> usize {
        self.group_eval_order.iter().position(|name| **name == *group.name).unwrap_or_default()
    }
}

/// A series of the input, and how far it was loaded.
#[derive(Debug)]
struct Input {
    series: SeriesRef,
    values: std::vec::IntoIter<SequenceValue>,
    last_histogram: Option<Histogram>,
}

/// A test that runs.
struct Bench<'a> {
    tests: &'a UnitTests,
    test: &'a UnitTest,
    storage: Arc<MemoryStorage>,
    environment: Environment,
    context: QueryContext,
    groups: Vec<GroupState>,
    inputs: Vec<Input>,
    /// Time of the next samples that were not loaded.
    next_input: Timestamp,
    failures: Vec<Failure>,
}

impl<'a> Bench<'a> {
    fn new(tests: &'a UnitTests, test: &'a UnitTest, groups: &[RuleGroup], features: Features) -> Result<Self, String> {
        let storage = Arc::new(MemoryStorage::new());
        // Time does not pass within a test: no query is late.
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(test.start));
        let engine = Engine::new(EngineOptions {
            default_subquery_step: tests.evaluation_interval,
            features,
            clock,
            ..EngineOptions::default()
        });
        let metrics = Metrics::register(&Registry::new()).map_err(|error| error.to_string())?;
        let mut ordered: Vec<&RuleGroup> = groups.iter().collect();
        ordered.sort_by_key(|group| tests.place(group));
        let groups = ordered.into_iter().map(|group| {
            let offset = group.query_offset.unwrap_or_default();
            GroupState::new(Arc::new(group.clone()), test.interval, offset, false, &metrics)
        });
        let groups = groups.collect();
        let queryable: Arc<dyn Queryable> = Arc::<MemoryStorage>::clone(&storage);
        let appendable: Arc<dyn Appendable> = Arc::<MemoryStorage>::clone(&storage);
        let environment = Environment {
            engine,
            queryable,
            appendable,
            sink: None,
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            alert_times: AlertTimes::default(),
            metrics,
        };
        let inputs = inputs(test, &storage)?;
        Ok(Self {
            tests,
            test,
            storage,
            environment,
            context: QueryContext::default(),
            groups,
            inputs,
            next_input: test.start,
            failures: Vec::new(),
        })
    }

    fn run(&mut self) -> Vec<Failure> {
        match self.evaluate_all() {
            Ok(true) => {
                for test in &self.test.expression_tests {
                    self.expression(test);
                }
            }
            // A rule failed: what comes behind it says nothing.
            Ok(false) => {}
            Err(message) => self.failures.push(Failure::Input(message)),
        }
        std::mem::take(&mut self.failures)
    }

    /// Evaluates the groups until the last time that is asked for; `false` if a rule failed.
    fn evaluate_all(&mut self) -> Result<bool, String> {
        let alert_times = self.test.alert_tests.iter().map(|test| test.eval_time);
        let expression_times = self.test.expression_tests.iter().map(|test| test.eval_time);
        let last = alert_times.chain(expression_times).max().unwrap_or_default();
        let interval = self.tests.evaluation_interval;
        let evaluations = last.as_millis() / interval.as_millis().max(1) + 1;
        if evaluations > u128::from(MAX_EVALUATIONS) {
            return Err(format!("more than {MAX_EVALUATIONS} evaluations of the groups"));
        }
        let mut since_start = Duration::ZERO;
        while since_start <= last {
            let at = self.test.start.saturating_add(since_start);
            self.load(at)?;
            let before = self.failures.len();
            for group in &mut self.groups {
                group.evaluate(&self.environment, &self.context, at);
                for rule in group.status().rules.into_iter().filter(|rule| !rule.last_error.is_empty()) {
                    let time = at.since(Timestamp::from_unix_ms(0));
                    self.failures.push(Failure::Rule { rule: rule.name, time, error: rule.last_error });
                }
            }
            if self.failures.len() > before {
                return Ok(false);
            }
            self.alerts(since_start, since_start.saturating_add(interval));
            since_start = since_start.saturating_add(interval);
        }
        Ok(true)
    }

    /// Appends the input up to a time.
    fn load(&mut self, until: Timestamp) -> Result<(), String> {
        while self.next_input <= until {
            let at = self.next_input;
            let mut appender = self.storage.appender();
            for input in &mut self.inputs {
                let result = match input.values.next() {
                    None | Some(SequenceValue::Gap) => continue,
                    Some(SequenceValue::Float(value)) => {
                        input.last_histogram = None;
                        appender.append(input.series, at, value)
                    }
                    Some(SequenceValue::Histogram(histogram, _)) => {
                        let stored = stored_histogram(&histogram, input.last_histogram.as_ref());
                        input.last_histogram = Some(histogram.as_ref().clone());
                        appender.append_histogram(input.series, at, stored)
                    }
                };
                result.map_err(|error| error.to_string())?;
            }
            let refused = appender.commit().map_err(|error| error.to_string())?;
            if let Some((_, error)) = refused.first() {
                return Err(error.to_string());
            }
            self.next_input = at.saturating_add(self.test.interval);
        }
        Ok(())
    }

    /// Compares the alerts that are asked for between two evaluations, by time.
    fn alerts(&mut self, from: Duration, until_exclusive: Duration) {
        let due = |time: &Duration| from <= *time && *time < until_exclusive;
        let mut asked: Vec<_> = self.test.alert_tests.iter().filter(|test| due(&test.eval_time)).collect();
        if asked.is_empty() {
            return;
        }
        asked.sort_by_key(|test| test.eval_time);
        let statuses: Vec<GroupStatus> = self.groups.iter().map(GroupState::status).collect();
        for test in asked {
            let mut found = firing(&statuses, &test.alertname);
            let mut expected = test.expected.clone();
            found.sort();
            expected.sort();
            if found != expected {
                self.failures.push(Failure::Alerts {
                    test: self.test.name.clone(),
                    alertname: test.alertname.clone(),
                    time: test.eval_time,
                    expected,
                    found,
                });
            }
        }
    }

    fn expression(&mut self, test: &ExpressionTest) {
        let failed = |error| Failure::Expression { expr: test.expr.clone(), time: test.eval_time, error };
        let at = self.test.start.saturating_add(test.eval_time);
        let result = self.environment.engine.instant(self.storage.as_ref(), &test.expr, at, &self.context);
        let mut found = match result.map(|result| result.value) {
            Err(error) => return self.failures.push(failed(with_causes(&error))),
            Ok(QueryValue::InstantVector(vector)) => {
                vector.into_iter().map(|sample| found_sample(sample.labels, &sample.value)).collect()
            }
            Ok(QueryValue::Scalar(sample)) => vec![found_sample(Labels::empty(), &Value::Float(sample.value))],
            Ok(_) => return self.failures.push(failed("rule result is not a vector or scalar".to_owned())),
        };
        let expected: Result<Vec<ExpectedSample>, String> = test
            .expected
            .iter()
            .map(|raw| {
                let described = |error| format!("labels {}: {error}", super::text::quoted(&raw.labels));
                expected_sample(raw).map_err(described)
            })
            .collect();
        let mut expected = match expected {
            Err(error) => return self.failures.push(failed(error)),
            Ok(expected) => expected,
        };
        found.sort_by(|a: &ExpectedSample, b| a.labels.cmp(&b.labels));
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let equal = |(a, b): (&ExpectedSample, &ExpectedSample)| {
            if self.tests.fuzzy_compare { a.is_near(b) } else { a == b }
        };
        if found.len() != expected.len() || !expected.iter().zip(&found).all(equal) {
            let (expr, time) = (test.expr.clone(), test.eval_time);
            self.failures.push(Failure::Samples { expr, time, expected, found });
        }
    }
}

/// The input, and its series in the storage.
fn inputs(test: &UnitTest, storage: &MemoryStorage) -> Result<Vec<Input>, String> {
    if duration_ms(test.interval) < 1 {
        return Err("the interval of the input is below a millisecond".to_owned());
    }
    let mut inputs = Vec::with_capacity(test.input_series.len());
    let mut samples = 0;
    let mut appender = storage.appender();
    for (series, values) in &test.input_series {
        let (labels, values) = parse_series(&format!("{series} {values}"))?;
        samples += values.len();
        if samples > MAX_INPUT_SAMPLES {
            return Err(format!("more than {MAX_INPUT_SAMPLES} samples of input"));
        }
        let series = appender.series(None, &labels).map_err(|error| error.to_string())?;
        inputs.push(Input { series, values: values.into_iter(), last_histogram: None });
    }
    appender.commit().map_err(|error| error.to_string())?;
    Ok(inputs)
}

/// What fires of the alerts with this name, in whatever group.
fn firing(statuses: &[GroupStatus], alertname: &str) -> Vec<FiringAlert> {
    let rules = statuses.iter().flat_map(|group| &group.rules).filter(|rule| rule.name == alertname);
    let alerts = rules.flat_map(|rule| match &rule.kind {
        RuleKind::Alerting { alerts, .. } => alerts.as_slice(),
        RuleKind::Recording => &[],
    });
    alerts
        .filter(|alert| alert.state == AlertState::Firing)
        .map(|alert| FiringAlert { labels: alert.labels.clone(), annotations: alert.annotations.clone() })
        .collect()
}

fn found_sample(labels: Labels, value: &Value) -> ExpectedSample {
    match value {
        Value::Float(value) => ExpectedSample { labels, value: *value, histogram: String::new() },
        Value::Histogram(found) => ExpectedSample { labels, value: 0.0, histogram: histogram(found) },
    }
}

fn expected_sample(raw: &super::RawSample) -> Result<ExpectedSample, String> {
    let labels = if raw.labels.trim().is_empty() { "{}" } else { raw.labels.as_str() };
    let (labels, rest) = parse_series(labels)?;
    if !rest.is_empty() {
        return Err("unexpected text behind the labels".to_owned());
    }
    if raw.histogram.is_empty() {
        return Ok(ExpectedSample { labels, value: raw.value, histogram: String::new() });
    }
    match parse_series(&format!("{{}} {}", raw.histogram))?.1.as_slice() {
        [SequenceValue::Histogram(described, _)] => {
            Ok(ExpectedSample { labels, value: 0.0, histogram: histogram(described) })
        }
        [_] => Err("expected a histogram".to_owned()),
        values => Err(format!("expected 1 value, got {}", values.len())),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
