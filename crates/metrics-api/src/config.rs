//! prometheus-adapter's configuration file: text to compiled rules.
//!
//! - [`Config`]: the checked file, ready to be used by [`MetricsApi`](crate::MetricsApi).
//! - [`Config::seed`]: the rules that are used when no file is given.
//!
//! Rule: unknown keys are refused, and one run reports everything that is wrong, with line and column.

use std::time::Duration;

use yaml::decoders::{boolean, duration, list, map, string};
use yaml::{Errors, Fields, Node, Report};

use crate::names::GroupResource;
use crate::naming::Rule;
use crate::naming::name::{MetricName, SeriesFilter};
use crate::naming::query::{BuildError, ExternalQuery, MetricsQuery, ObjectQuery};
use crate::naming::resources::ResourceConverter;
use crate::registry::RuleId;
use crate::resource_metrics::{ResourceRule, ResourceRules};

/// Most rules of one kind. The largest configurations that are seen have some hundred.
pub const MAX_RULES: usize = 2_000;

/// The rules of the seed's values, under which a configuration that was given none runs.
pub const SEED_RULES: &str = include_str!("../../../rules/adapter-seed.yaml");

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not what the file may hold.
    #[error("unable to parse metrics discovery config: {0}")]
    Parse(Errors),
    /// Series could vanish between two listings.
    #[error("max age must not be less than relist interval")]
    MaxAgeBelowRelistInterval,
}

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) rules: Vec<Rule>,
    pub(crate) external_rules: Vec<Rule>,
    pub(crate) resource_rules: Option<ResourceRules>,
}

impl Config {
    /// Reads a configuration file; `source_name` stands in front of every error.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, at once.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, ConfigError> {
        yaml::decode(source_name, text, config).map_err(ConfigError::Parse)
    }

    /// The seed's rules.
    ///
    /// # Errors
    ///
    /// None: a test reads the same text.
    pub fn seed() -> Result<Self, ConfigError> {
        Self::parse("rules/adapter-seed.yaml", SEED_RULES)
    }

    /// What each rule asks for a pod, or as an external metric, of a series of this name: an example for those who
    /// look at rules without an engine.
    pub fn example_queries<'a>(
        &'a self,
        series: &'a str,
    ) -> impl Iterator<Item = (RuleId, Result<String, BuildError>)> + 'a {
        let namespace = Some(("namespace", "default"));
        let of_pod = move |(index, rule): (usize, &Rule)| {
            let (names, label) = (["pod-0"], "pod");
            let query = ObjectQuery {
                series,
                namespace,
                resource_label: label,
                names: &names,
                extra_group_by: &[],
                terms: &[],
            };
            (RuleId::Custom(index), rule.query.build(&query))
        };
        let external = move |(index, rule): (usize, &Rule)| {
            let namespace = namespace.filter(|_| rule.namespaced);
            let query = ExternalQuery { series, namespace, group_by: &[], terms: &[] };
            (RuleId::External(index), rule.query.build_external(&query))
        };
        self.rules.iter().enumerate().map(of_pod).chain(self.external_rules.iter().enumerate().map(external))
    }

    /// Whether custom.metrics.k8s.io is served.
    #[must_use]
    pub const fn serves_custom(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether external.metrics.k8s.io is served.
    #[must_use]
    pub const fn serves_external(&self) -> bool {
        !self.external_rules.is_empty()
    }

    /// The rules for metrics.k8s.io, if the file has them.
    #[must_use]
    pub const fn resource_rules(&self) -> Option<&ResourceRules> {
        self.resource_rules.as_ref()
    }
}

fn config(node: &Node, report: &mut Report) -> Option<Config> {
    yaml::mapping(node, report, |fields| {
        let rules = fields.optional("rules", bounded(rule));
        let external_rules = fields.optional("externalRules", bounded(rule));
        let resource_rules = fields.optional("resourceRules", resource_rules);
        Some(Config {
            rules: rules.unwrap_or_default(),
            external_rules: external_rules.unwrap_or_default(),
            resource_rules,
        })
    })
}

/// A list of at most [`MAX_RULES`].
fn bounded<T>(
    element: impl FnMut(&Node, &mut Report) -> Option<T>,
) -> impl FnOnce(&Node, &mut Report) -> Option<Vec<T>> {
    |node, report| {
        if node.as_sequence().is_some_and(|elements| elements.len() > MAX_RULES) {
            report.error(node, format!("more than {MAX_RULES} rules"));
            return None;
        }
        let mut decode = list(element);
        decode(node, report)
    }
}

fn rule(node: &Node, report: &mut Report) -> Option<Rule> {
    yaml::mapping(node, report, |fields| {
        let series = fields.required("seriesQuery", |node, report| {
            let text = string(node, report)?;
            let matchers = promql::parse_selector(&text);
            matchers.map_err(|cause| report.error(node, cause.to_string())).ok().map(|matchers| (text, matchers))
        });
        let filters = fields.optional("seriesFilters", list(series_filter));
        let name = fields.optional("name", metric_name);
        let resources = fields.optional("resources", resource_mapping);
        let query = fields.required("metricsQuery", query_template);
        let name_is_wrong = fields.has("name") && name.is_none();
        let (named, filter) = name.map_or((MetricName::new("", "").ok(), None), |(name, filter)| (Some(name), filter));
        let (series_query, matchers) = series?;
        let mut filters = filters.unwrap_or_default();
        filters.extend(filter);
        let (resources, namespaced) = resources.unwrap_or_else(|| (ResourceConverter::default(), true));
        if name_is_wrong {
            return None;
        }
        Some(Rule { series_query, matchers, filters, name: named?, resources, query: query?, namespaced })
    })
}

fn series_filter(node: &Node, report: &mut Report) -> Option<SeriesFilter> {
    yaml::mapping(node, report, |fields| {
        let is = fields.or("is", string, String::new());
        let is_not = fields.or("isNot", string, String::new());
        checked(fields, SeriesFilter::new(&is, &is_not))
    })
}

/// The mapping and, where `matches` is given, the filter that it implies.
fn metric_name(node: &Node, report: &mut Report) -> Option<(MetricName, Option<SeriesFilter>)> {
    yaml::mapping(node, report, |fields| {
        let matches = fields.or("matches", string, String::new());
        let name_as = fields.or("as", string, String::new());
        let name = checked(fields, MetricName::new(&matches, &name_as))?;
        let filter = if matches.is_empty() { None } else { SeriesFilter::new(&matches, "").ok() };
        Some((name, filter))
    })
}

/// Labels and resources, and `namespaced`.
fn resource_mapping(node: &Node, report: &mut Report) -> Option<(ResourceConverter, bool)> {
    yaml::mapping(node, report, |fields| {
        let template = fields.or("template", string, String::new());
        let overrides = fields.optional("overrides", map(group_resource)).unwrap_or_default();
        let namespaced = fields.or("namespaced", boolean, true);
        Some((checked(fields, ResourceConverter::new(&template, overrides))?, namespaced))
    })
}

fn group_resource(node: &Node, report: &mut Report) -> Option<GroupResource> {
    yaml::mapping(node, report, |fields| {
        let group = fields.or("group", string, String::new());
        let resource = fields.required("resource", string)?;
        Some(GroupResource { group, resource })
    })
}

fn query_template(node: &Node, report: &mut Report) -> Option<MetricsQuery> {
    let text = string(node, report)?;
    let parsed = MetricsQuery::new(&text);
    parsed.map_err(|cause| report.error(node, cause.to_string())).ok()
}

fn resource_rules(node: &Node, report: &mut Report) -> Option<ResourceRules> {
    yaml::mapping(node, report, |fields| {
        let cpu = fields.required("cpu", resource_rule);
        let memory = fields.required("memory", resource_rule);
        let window = fields.or("window", duration, Duration::ZERO);
        Some(ResourceRules { cpu: cpu?, memory: memory?, window })
    })
}

fn resource_rule(node: &Node, report: &mut Report) -> Option<ResourceRule> {
    yaml::mapping(node, report, |fields| {
        let container_query = fields.required("containerQuery", query_template);
        let node_query = fields.required("nodeQuery", query_template);
        let resources = fields.optional("resources", resource_mapping);
        let container_label = fields.or("containerLabel", string, String::new());
        Some(ResourceRule {
            container_query: container_query?,
            node_query: node_query?,
            resources: resources.map_or_else(ResourceConverter::default, |(resources, _)| resources),
            container_label,
        })
    })
}

fn checked<T, E: std::fmt::Display>(fields: &mut Fields<'_, '_>, outcome: Result<T, E>) -> Option<T> {
    outcome.map_err(|cause| fields.error_here(cause.to_string())).ok()
}

/// How often series are listed, and how far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    relist_interval: Duration,
    max_age: Duration,
}

impl Listing {
    /// Takes `--metrics-relist-interval` and `--metrics-max-age`; without the latter both are the same.
    ///
    /// # Errors
    ///
    /// The age is below the interval.
    pub fn new(relist_interval: Duration, max_age: Option<Duration>) -> Result<Self, ConfigError> {
        let max_age = max_age.unwrap_or(relist_interval);
        if max_age < relist_interval {
            return Err(ConfigError::MaxAgeBelowRelistInterval);
        }
        Ok(Self { relist_interval, max_age })
    }

    /// Time between two listings.
    #[must_use]
    pub const fn relist_interval(self) -> Duration {
        self.relist_interval
    }

    /// How far back a listing looks.
    #[must_use]
    pub const fn max_age(self) -> Duration {
        self.max_age
    }
}

impl Default for Listing {
    /// Ten minutes each, as prometheus-adapter.
    fn default() -> Self {
        Self { relist_interval: Duration::from_mins(10), max_age: Duration::from_mins(10) }
    }
}

#[cfg(test)]
mod tests;
