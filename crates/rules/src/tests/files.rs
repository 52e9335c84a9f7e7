use expect_test::{Expect, expect};
use promql::Features;

use crate::{Rule, parse_rule_file};

#[test]
fn every_error_of_a_file_is_reported_at_once() {
    check(
        "\
groups:
  - name: a
    interval: 5
    rules:
      - record: x
        expr: sum(
        for: 5m
      - alert: A
        record: b
        expr: up
      - expr: up
      - alert: B
        expr: up
        lables: {}
        labels: {__name__: x}
        annotations: {summary: '{{ $valu }}'}
      - record: 'x{y=\"z\"}'
        expr: up
  - name: a
  - name: ''
",
        &expect![[r#"
            rules.yml:3:15: groups[0].interval: not a valid duration: `5` (expected something like `15s` or `1h30m`)
            rules.yml:6:15: groups[0].rules[0].expr: could not parse expression: 1:5: parse error: unclosed left parenthesis
            rules.yml:7:14: groups[0].rules[0].for: `for` belongs to alerting rules only
            rules.yml:8:9: groups[0].rules[1]: only one of `record` and `alert` can be set
            rules.yml:11:9: groups[0].rules[2]: one of `record` and `alert` must be set
            rules.yml:14:9: groups[0].rules[3].lables: unknown key
            rules.yml:15:17: groups[0].rules[3].labels: invalid label name: `__name__`
            rules.yml:16:22: groups[0].rules[3].annotations: template of `summary`: 1:4: undefined variable `$valu`
            rules.yml:17:17: groups[0].rules[4].record: braces in a recording rule's name (should it be in `expr`?): `x{y="z"}`
            rules.yml:19:11: groups[1].name: group name is used twice in the file: `a`
            rules.yml:20:11: groups[2].name: group name must not be empty"#]],
    );
}

#[test]
fn labels_of_a_group_are_those_of_its_rules_unless_they_set_them() {
    let text = "\
groups:
  - {name: g, labels: {team: asr, tier: '1'}, rules: [{record: r, expr: up, labels: {tier: '2'}}]}";
    let groups = parse_rule_file("f", text, &Features::DEFAULT).unwrap();
    let Rule::Recording(rule) = &groups[0].rules[0] else { panic!("{groups:?}") };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(rule.labels, [pair("team", "asr"), pair("tier", "2")]);
}

#[test]
fn file_without_groups_is_good() {
    assert!(parse_rule_file("f", "", &Features::DEFAULT).unwrap().is_empty());
    assert!(parse_rule_file("f", "groups: []", &Features::DEFAULT).unwrap().is_empty());
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let errors = parse_rule_file("rules.yml", text, &Features::DEFAULT).unwrap_err();
    expected.assert_eq(&errors.to_string());
}
