use super::*;

#[test]
fn seed_rules_are_read() {
    let config = Config::seed().unwrap();
    assert_eq!((config.rules.len(), config.external_rules.len()), (4, 1));
}

#[test]
fn every_field_is_understood() {
    check(
        "
rules:
- seriesQuery: '{__name__=~\"^container_.*\",namespace!=\"\"}'
  seriesFilters: [{is: a}, {isNot: b}]
  resources:
    template: kube_<<.Group>>_<<.Resource>>
    overrides: {ns: {resource: namespace}, d: {group: apps, resource: deployment}}
    namespaced: false
  name: {matches: ^(.*)_total$, as: '${1}'}
  metricsQuery: sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)
externalRules: []
resourceRules:
  cpu: {containerQuery: a, nodeQuery: b, resources: {overrides: {node: {resource: node}}}, containerLabel: container}
  memory: {containerQuery: a, nodeQuery: b, containerLabel: container}
  window: 3m
",
        &[],
    );
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    check(
        "
rules:
- seriesQuery: 'up{'
  seriesFilter: []
  name: {matches: ^(.*)_total$, as: $1_per_second}
  resources: {template: kube_<<.Group>>}
  metricsQuery: <<template \"x\">>
- seriesFilters: [{is: a, isNot: b}, {}, {is: '('}]
  resources: {overrides: {pod: {group: ''}}}
  metricsQuery: ok
",
        &[
            "x.yaml:3:16: rules[0].seriesQuery: ",
            "x.yaml:4:3: rules[0].seriesFilter: unknown key (did you mean `seriesFilters`?)",
            "x.yaml:5:9: rules[0].name: `as` \"$1_per_second\" always gives an empty name",
            "x.yaml:6:14: rules[0].resources: must include at least `<<.Resource>>` in the label template",
            "x.yaml:7:17: rules[0].metricsQuery: unable to parse metrics query template \"<<template \\\"x\\\">>\": line 1: `tem",
            "x.yaml:8:3: rules[1].seriesQuery: required key is missing",
            "x.yaml:8:19: rules[1].seriesFilters[0]: cannot have both an `is` (\"a\") and `isNot` (\"b\")",
            "x.yaml:8:38: rules[1].seriesFilters[1]: must have either an `is` or `isNot` expression in a filter",
            "x.yaml:8:42: rules[1].seriesFilters[2]: invalid regular expression `(`",
            "x.yaml:9:32: rules[1].resources.overrides.pod.resource: required key is missing",
        ],
    );
}

#[test]
fn age_below_interval_is_refused() {
    let minutes = Duration::from_mins;
    assert!(Listing::new(minutes(10), Some(minutes(5))).is_err());
    assert_eq!(Listing::new(minutes(1), None).unwrap().max_age(), minutes(1));
}

/// The beginnings of the lines that a text gives; none means that it is accepted.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let outcome = Config::parse("x.yaml", text).map(|_config| ()).map_err(|error| match error {
        ConfigError::Parse(errors) => errors.to_string(),
        other => other.to_string(),
    });
    let lines: Vec<String> = outcome.err().map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect());
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "found    {line}\nexpected {expected}");
    }
}

#[test]
fn example_queries_name_a_pod_and_confine_external_metrics() {
    let text = "
rules:
- {seriesQuery: a, metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'}
- {seriesQuery: a, metricsQuery: '<<.NoSuchField>>'}
externalRules:
- {seriesQuery: a, metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>})', resources: {namespaced: false}}
";
    let config = Config::parse("config.yaml", text).unwrap();
    let queries: Vec<_> = config.example_queries("a").collect();
    let expected = r#"sum(a{namespace="default",pod="pod-0"}) by (pod)"#.to_owned();
    assert_eq!(queries[0], (RuleId::Custom(0), Ok(expected)));
    assert!(matches!(queries[1], (RuleId::Custom(1), Err(BuildError::Template(_)))), "{queries:?}");
    assert_eq!(queries[2], (RuleId::External(0), Ok("sum(a{})".to_owned())));
}
