//! Which metrics there are, and which rule answers for each.
//!
//! Pure: listings in, a new registry out. Of two rules that publish the same metric the later one counts, as
//! in prometheus-adapter, and the conflict is reported.
//!
//! Rule: a metric that was seen once stays for a while; only a listing that succeeded can end it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamodel::Timestamp;

use crate::config::Config;
use crate::mapper::ResourceMapper;
use crate::names::{CustomMetricInfo, GroupResource};
use crate::naming::Rule;
use crate::source::SeriesShape;

/// Most metrics that are published. The document that lists 20,000 has 3 MiB.
pub const MAX_METRICS: usize = 20_000;
/// Most problems that are kept; the first ones say enough.
pub const MAX_PROBLEMS: usize = 200;

/// A rule of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleId {
    /// Of `rules`, with its index from 0.
    Custom(usize),
    /// Of `externalRules`, with its index from 0.
    External(usize),
    /// `resourceRules`.
    Resource,
}

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Custom(index) => write!(f, "rules[{index}]"),
            Self::External(index) => write!(f, "externalRules[{index}]"),
            Self::Resource => f.write_str("resourceRules"),
        }
    }
}

/// Something about a rule that its author should know. The other rules are not affected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The rule.
    pub rule: RuleId,
    /// What is wrong with it.
    pub message: String,
}

/// What answers for one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of the rule.
    pub(crate) rule: usize,
    /// The series.
    pub(crate) series: String,
    /// When a listing last had it.
    pub(crate) last_seen: Timestamp,
}

/// The metrics, by their names in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) custom: BTreeMap<CustomMetricInfo, Entry>,
    pub(crate) external: BTreeMap<String, Entry>,
}

/// What a listing of a rule's series gave; an error is a text for the report.
pub(crate) type Listed = Result<BTreeSet<SeriesShape>, String>;

/// All listings of one round, in the order of the rules.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) custom: Vec<Listed>,
    pub(crate) external: Vec<Listed>,
    /// When the listings were made.
    pub(crate) at: Timestamp,
}

/// Collects problems up to the bound, each once.
#[derive(Debug, Default)]
pub(crate) struct Problems(BTreeSet<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, rule: RuleId, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.insert(Problem { rule, message: message.into() });
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0.into_iter().collect()
    }
}

impl Registry {
    /// The registry after a round of listings. What this round did not see stays until `keep` has passed.
    pub(crate) fn after(
        &self,
        config: &Config,
        round: &Round,
        mapper: &dyn ResourceMapper,
        keep: Duration,
    ) -> (Self, Vec<Problem>) {
        let mut problems = Problems::default();
        let mut next = Self::default();
        if config.resource_rules.is_some() {
            problems.add(RuleId::Resource, "metrics.k8s.io is not served here: use metrics-server");
        }
        for (index, (rule, listed)) in config.rules.iter().zip(&round.custom).enumerate() {
            for unknown in rule.resources.unknown_overrides(mapper) {
                problems.add(RuleId::Custom(index), unknown.to_string());
            }
            match listed {
                Ok(shapes) => next.add_custom(index, rule, shapes, mapper, round.at, &mut problems),
                Err(reason) => problems.add(RuleId::Custom(index), reason),
            }
        }
        for (index, (rule, listed)) in config.external_rules.iter().zip(&round.external).enumerate() {
            match listed {
                Ok(shapes) => next.add_external(index, rule, shapes, round.at, &mut problems),
                Err(reason) => problems.add(RuleId::External(index), reason),
            }
        }
        let failed = |listed: &[Listed], entry: &Entry| listed.get(entry.rule).is_some_and(Result::is_err);
        let stays = |listed: &[Listed], entry: &Entry| failed(listed, entry) || round.at.since(entry.last_seen) <= keep;
        for (info, entry) in self.custom.iter().filter(|(_, entry)| stays(&round.custom, entry)) {
            next.custom.entry(info.clone()).or_insert_with(|| entry.clone());
        }
        for (name, entry) in self.external.iter().filter(|(_, entry)| stays(&round.external, entry)) {
            next.external.entry(name.clone()).or_insert_with(|| entry.clone());
        }
        (next, problems.into_vec())
    }

    fn add_custom(
        &mut self,
        index: usize,
        rule: &Rule,
        shapes: &BTreeSet<SeriesShape>,
        mapper: &dyn ResourceMapper,
        at: Timestamp,
        problems: &mut Problems,
    ) {
        let id = RuleId::Custom(index);
        let mut associated = false;
        let mut taken = 0;
        for shape in shapes {
            let metric = match rule.metric_name(&shape.metric) {
                Some(Ok(metric)) => metric,
                Some(Err(cause)) => {
                    problems.add(id, cause.to_string());
                    continue;
                }
                None => continue,
            };
            taken += 1;
            let found = rule.resources.resources_of(shape.labels.iter().map(|label| &**label), mapper);
            associated |= !found.resources.is_empty();
            for group_resource in found.resources {
                let namespaced = found.namespaced && !is_root_scoped(&group_resource);
                let info = CustomMetricInfo { group_resource, namespaced, metric: metric.clone() };
                let entry = Entry { rule: index, series: shape.metric.to_string(), last_seen: at };
                if self.custom.len() >= MAX_METRICS && !self.custom.contains_key(&info) {
                    problems.add(id, format!("more than {MAX_METRICS} metrics: the rest is left out"));
                    return;
                }
                let description = info.to_string();
                if let Some(previous) = self.custom.insert(info, entry) {
                    report_conflict(
                        problems,
                        id,
                        RuleId::Custom(previous.rule),
                        &previous,
                        &shape.metric,
                        &description,
                    );
                }
            }
        }
        if taken > 0 && !associated {
            problems.add(id, format!("none of the {taken} series has a label that names a known resource"));
        }
    }

    fn add_external(
        &mut self,
        index: usize,
        rule: &Rule,
        shapes: &BTreeSet<SeriesShape>,
        at: Timestamp,
        problems: &mut Problems,
    ) {
        let id = RuleId::External(index);
        for shape in shapes {
            let metric = match rule.metric_name(&shape.metric) {
                Some(Ok(metric)) => metric,
                Some(Err(cause)) => {
                    problems.add(id, cause.to_string());
                    continue;
                }
                None => continue,
            };
            if self.external.len() >= MAX_METRICS && !self.external.contains_key(&metric) {
                problems.add(id, format!("more than {MAX_METRICS} metrics: the rest is left out"));
                return;
            }
            let entry = Entry { rule: index, series: shape.metric.to_string(), last_seen: at };
            if let Some(previous) = self.external.insert(metric.clone(), entry) {
                report_conflict(problems, id, RuleId::External(previous.rule), &previous, &shape.metric, &metric);
            }
        }
    }

    /// The resources for which a metric is published, for messages.
    pub(crate) fn resources_with(&self, metric: &str) -> BTreeSet<&GroupResource> {
        self.custom.keys().filter(|info| info.metric == metric).map(|info| &info.group_resource).collect()
    }
}

/// The resources that upstream never counts as namespaced, whatever labels a series has.
fn is_root_scoped(resource: &GroupResource) -> bool {
    resource.group.is_empty() && matches!(resource.resource.as_str(), "namespaces" | "nodes" | "persistentvolumes")
}

/// Two shapes of one series under one rule are no conflict.
fn report_conflict(problems: &mut Problems, rule: RuleId, other: RuleId, previous: &Entry, series: &str, metric: &str) {
    if rule != other {
        let message = format!("publishes {metric} from series `{series}`, which {other} also does: this rule counts");
        problems.add(rule, message);
    } else if previous.series != series {
        let old = &previous.series;
        problems.add(rule, format!("publishes both `{old}` and `{series}` as {metric}: only the latter is served"));
    }
}

#[cfg(test)]
mod tests;
