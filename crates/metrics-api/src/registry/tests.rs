use std::sync::Arc;

use super::*;
use crate::testing::{at, cluster};

const RULES: &str = "
rules:
- seriesQuery: a
  resources: {template: <<.Resource>>}
  metricsQuery: a
- seriesQuery: b
  name: {as: renamed}
  resources: {overrides: {pod: {resource: pod}, ns: {resource: namespace}, w: {group: example.com, resource: widget}}}
  metricsQuery: b
- seriesQuery: c
  name: {as: renamed}
  resources: {overrides: {pod: {resource: pod}, ns: {resource: namespace}}}
  metricsQuery: c
";

#[test]
fn metric_stays_through_missed_listings_until_the_hold_is_over() {
    let first = step(&Registry::default(), 0, [&[("a", &["pod", "namespace"])], &[], &[]]);
    assert_eq!(names(&first), ["namespaces/a", "pods/a"]);
    let missed = step(&first, 60, [&[], &[], &[]]);
    assert_eq!(names(&missed), ["namespaces/a", "pods/a"]);
    assert!(names(&step(&missed, 61, [&[], &[], &[]])).is_empty());
}

#[test]
fn failed_listing_ends_nothing_and_concerns_its_rule_alone() {
    let first = step(&Registry::default(), 0, [&[("a", &["pod", "namespace"])], &[], &[]]);
    let config = Config::parse("test", RULES).unwrap();
    let round = Round {
        custom: vec![Err("refused".to_owned()), Ok(shapes(&[("b", &["pod", "ns"])])), Ok(shapes(&[]))],
        external: Vec::new(),
        at: at(10_000),
    };
    let (next, problems) = first.after(&config, &round, &cluster(), Duration::from_mins(1));
    assert_eq!(names(&next), ["namespaces/a", "namespaces/renamed", "pods/a", "pods/renamed"]);
    let told: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.rule, problem.message)).collect();
    assert_eq!(
        told,
        [
            "rules[0]: refused",
            "rules[1]: unable to normalize group-resource widget.example.com: the cluster has no such resource (yet)",
        ]
    );
}

#[test]
fn later_rule_counts_and_the_conflict_is_reported() {
    let config = Config::parse("test", RULES).unwrap();
    let both = Round {
        custom: vec![Ok(shapes(&[])), Ok(shapes(&[("b", &["pod", "ns"])])), Ok(shapes(&[("c", &["pod", "ns"])]))],
        external: Vec::new(),
        at: at(0),
    };
    let (registry, problems) = Registry::default().after(&config, &both, &cluster(), Duration::ZERO);
    let info =
        CustomMetricInfo { group_resource: GroupResource::pods(), namespaced: true, metric: "renamed".to_owned() };
    assert_eq!(registry.custom[&info].series, "c");
    let conflict = "publishes pods/renamed(namespaced) from series `c`, which rules[1] also does: this rule counts";
    assert!(problems.contains(&Problem { rule: RuleId::Custom(2), message: conflict.to_owned() }), "{problems:?}");
}

#[test]
fn series_without_a_known_resource_is_reported() {
    let config = Config::parse("test", RULES).unwrap();
    let round = Round {
        custom: vec![Ok(shapes(&[("a", &["instance"])])), Ok(shapes(&[])), Ok(shapes(&[]))],
        external: Vec::new(),
        at: at(0),
    };
    let (registry, problems) = Registry::default().after(&config, &round, &cluster(), Duration::ZERO);
    assert!(registry.custom.is_empty());
    assert_eq!(problems[0].message, "none of the 1 series has a label that names a known resource");
}

type Listing<'a> = &'a [(&'a str, &'a [&'a str])];

fn shapes(series: Listing<'_>) -> BTreeSet<SeriesShape> {
    let shape = |(metric, labels): &(&str, &[&str])| SeriesShape {
        metric: Arc::from(*metric),
        labels: labels.iter().map(|label| Arc::from(*label)).collect(),
    };
    series.iter().map(shape).collect()
}

/// The registry after listings at so many seconds, with a hold of a minute.
fn step(before: &Registry, seconds: i64, listed: [Listing<'_>; 3]) -> Registry {
    let config = Config::parse("test", RULES).unwrap();
    let custom = listed.iter().map(|series| Ok(shapes(series))).collect();
    let round = Round { custom, external: Vec::new(), at: at(seconds) };
    before.after(&config, &round, &cluster(), Duration::from_mins(1)).0
}

fn names(registry: &Registry) -> Vec<String> {
    registry.custom.keys().map(|info| format!("{}/{}", info.group_resource, info.metric)).collect()
}

#[test]
fn resource_rules_are_reported_as_not_served() {
    let rule = "{containerQuery: a, nodeQuery: b}";
    let config = Config::parse("test", &format!("resourceRules: {{cpu: {rule}, memory: {rule}}}")).unwrap();
    let (_, problems) = Registry::default().after(&config, &Round::default(), &cluster(), Duration::ZERO);
    assert_eq!(problems[0].rule.to_string(), "resourceRules");
}
