//! What the rule manager says about itself, under Prometheus' names.
//!
//! Rule: the only label is the group, `file;name`, and a group that is gone takes its series along.

use datamodel::registry::{Counter, Family, Gauge, RegisterError, Registry, Summary};

/// The quantiles that Prometheus tells of evaluation times.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const GROUP_QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

/// The instruments of this crate.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) evaluation_duration: Summary,
    pub(crate) group_duration: Summary,
    evaluations: Family<Counter, 1>,
    failures: Family<Counter, 1>,
    iterations: Family<Counter, 1>,
    missed: Family<Counter, 1>,
    last_evaluation: Family<Gauge, 1>,
    last_duration: Family<Gauge, 1>,
    interval: Family<Gauge, 1>,
    rules: Family<Gauge, 1>,
    samples: Family<Gauge, 1>,
}

/// The instruments of one group.
#[derive(Clone, Debug)]
pub(crate) struct GroupMetrics {
    pub(crate) evaluations: Counter,
    pub(crate) failures: Counter,
    pub(crate) iterations: Counter,
    pub(crate) missed: Counter,
    pub(crate) last_evaluation: Gauge,
    pub(crate) last_duration: Gauge,
    pub(crate) interval: Gauge,
    pub(crate) rules: Gauge,
    pub(crate) samples: Gauge,
}

const LABEL: [&str; 1] = ["rule_group"];

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            evaluation_duration: registry.summary(
                "prometheus_rule_evaluation_duration_seconds",
                "The duration for a rule to execute.",
                &QUANTILES,
            )?,
            group_duration: registry.summary(
                "prometheus_rule_group_duration_seconds",
                "The duration of rule group evaluations.",
                &GROUP_QUANTILES,
            )?,
            evaluations: registry.counter_family(
                "prometheus_rule_evaluations_total",
                "The total number of rule evaluations.",
                LABEL,
            )?,
            failures: registry.counter_family(
                "prometheus_rule_evaluation_failures_total",
                "The total number of rule evaluation failures.",
                LABEL,
            )?,
            iterations: registry.counter_family(
                "prometheus_rule_group_iterations_total",
                "The total number of scheduled rule group evaluations, whether executed or missed.",
                LABEL,
            )?,
            missed: registry.counter_family(
                "prometheus_rule_group_iterations_missed_total",
                "The total number of rule group evaluations missed due to slow rule group evaluation.",
                LABEL,
            )?,
            last_evaluation: registry.gauge_family(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "The timestamp of the last rule group evaluation in seconds.",
                LABEL,
            )?,
            last_duration: registry.gauge_family(
                "prometheus_rule_group_last_duration_seconds",
                "The duration of the last rule group evaluation.",
                LABEL,
            )?,
            interval: registry.gauge_family(
                "prometheus_rule_group_interval_seconds",
                "The interval of a rule group.",
                LABEL,
            )?,
            rules: registry.gauge_family("prometheus_rule_group_rules", "The number of rules.", LABEL)?,
            samples: registry.gauge_family(
                "prometheus_rule_group_last_evaluation_samples",
                "The number of samples returned during the last rule group evaluation.",
                LABEL,
            )?,
        })
    }

    pub(crate) fn group(&self, key: &str) -> GroupMetrics {
        GroupMetrics {
            evaluations: self.evaluations.with([key]),
            failures: self.failures.with([key]),
            iterations: self.iterations.with([key]),
            missed: self.missed.with([key]),
            last_evaluation: self.last_evaluation.with([key]),
            last_duration: self.last_duration.with([key]),
            interval: self.interval.with([key]),
            rules: self.rules.with([key]),
            samples: self.samples.with([key]),
        }
    }

    pub(crate) fn end_group(&self, key: &str) {
        for family in [&self.evaluations, &self.failures, &self.iterations, &self.missed] {
            family.remove([key]);
        }
        for family in [&self.last_evaluation, &self.last_duration, &self.interval, &self.rules, &self.samples] {
            family.remove([key]);
        }
    }
}
