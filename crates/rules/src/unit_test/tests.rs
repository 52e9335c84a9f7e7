//! Unit tests of rules against rules that are right and wrong.

use expect_test::{Expect, expect};
use promql::Features;

use super::{Failure, parse_unit_tests};
use crate::parse_rule_file;

const RULES: &str = r#"
groups:
  - name: base
    rules:
      - {record: job:up:sum, expr: sum by (job) (up)}
      - alert: Down
        expr: up == 0
        for: 2m
        labels: {severity: page, of: '{{ $externalLabels.site }}'}
        annotations: {summary: '{{ $labels.job }} at {{ $value }}, see {{ $externalURL }}'}
  - name: later
    rules:
      - {record: doubled, expr: job:up:sum * 2}
"#;

const INPUT: &str = "
    interval: 1m
    input_series:
      - {series: 'up{job=\"a\"}', values: '1 0x3 1'}
      - {series: 'up{job=\"b\"}', values: '1x3 stale'}
      - {series: 'h', values: '{{schema:0 sum:1 count:2 buckets:[1 1]}}+{{sum:1 count:1 buckets:[1]}}x3'}
";

#[test]
fn right_expectations_give_no_failure() {
    check(
        r#"
    external_labels: {site: s1}
    external_url: http://x
    alert_rule_test:
      - {eval_time: 2m, alertname: Down}
      - eval_time: 3m30s
        alertname: Down
        exp_alerts:
          - exp_labels: {job: a, severity: page, of: s1, alertname: ignored}
            exp_annotations: {summary: 'a at 0, see http://x'}
      - {eval_time: 5m, alertname: Down, exp_alerts: []}
      - {eval_time: 5m, alertname: Unknown}
    promql_expr_test:
      - {expr: 'job:up:sum', eval_time: 1m, exp_samples: [{labels: 'job:up:sum{job="b"}', value: 1}, {labels: 'job:up:sum{job="a"}', value: 0}]}
      - {expr: 'doubled{job="b"}', eval_time: 1m, exp_samples: [{labels: '{__name__="doubled",job="b"}', value: 2}]}
      - {expr: 'up', eval_time: 5m, exp_samples: [{labels: 'up{job="a"}', value: 1}]}
      - {expr: '1 + 1', eval_time: 0, exp_samples: [{value: 2}]}
      - {expr: 'vector(NaN) > 0', eval_time: 1m}
      - {expr: 'sum(h)', eval_time: 1m, exp_samples: [{labels: '{}', histogram: '{{schema:0 sum:2 count:3 counter_reset_hint:not_reset buckets:[2 1]}}'}]}
      - {expr: 'ALERTS{alertstate="pending"}', eval_time: 1m, exp_samples: [{labels: 'ALERTS{alertname="Down",alertstate="pending",job="a",severity="page",of="s1"}', value: 1}]}
"#,
        &expect![""],
    );
}

#[test]
fn wrong_expectations_are_told_as_promtool_does() {
    check(
        r#"
    name: wrong ones
    alert_rule_test:
      - {eval_time: 3m, alertname: Down}
      - {eval_time: 1m, alertname: Down, exp_alerts: [{exp_labels: {job: "b\"c"}}, {exp_labels: {job: a}, exp_annotations: {a: b}}]}
    promql_expr_test:
      - {expr: 'up{job="a"}', eval_time: 1m, exp_samples: [{labels: 'up{job="a"}', value: 15}]}
      - {expr: 'none', eval_time: 1m, exp_samples: [{labels: 'none', value: .Inf}]}
      - {expr: 'sum(', eval_time: 1m}
      - {expr: '"text"', eval_time: 1m}
      - {expr: 'up', eval_time: 1m, exp_samples: [{labels: 'up{', value: 1}]}
      - {expr: 'h', eval_time: 1m, exp_samples: [{labels: 'h', histogram: '{{sum:2}} {{sum:3}}'}]}
      - {expr: 'h', eval_time: 1m, exp_samples: [{labels: 'h', histogram: '{{sum:2 count:3 offset:1 buckets:[2 1]}}'}]}
"#,
        &expect![[r#"
            |    name: wrong ones,
            |    alertname: Down, time: 1m, 
            |        exp:[
            |            0:
            |              Labels:{alertname="Down", job="a"}
            |              Annotations:{a="b"},
            |            1:
            |              Labels:{alertname="Down", job="b\"c"}
            |              Annotations:{}
            |            ], 
            |        got:[]
            |    name: wrong ones,
            |    alertname: Down, time: 3m, 
            |        exp:[], 
            |        got:[
            |            0:
            |              Labels:{alertname="Down", job="a", severity="page"}
            |              Annotations:{summary="a at 0, see "}
            |            ]
            |    expr: "up{job=\"a\"}", time: 1m,
            |        exp: {__name__="up", job="a"} 1.5E+01
            |        got: {__name__="up", job="a"} 0E+00
            |    expr: "none", time: 1m,
            |        exp: {__name__="none"} +Inf
            |        got: nil
            |    expr: "sum(", time: 1m, err: 1:5: parse error: unclosed left parenthesis
            |    expr: "\"text\"", time: 1m, err: rule result is not a vector or scalar
            |    expr: "up", time: 1m, err: labels "up{": unclosed brace: up{
            |    expr: "h", time: 1m, err: labels "h": expected 1 value, got 2
            |    expr: "h", time: 1m,
            |        exp: {__name__="h"} {{count:3 sum:2 offset:1 buckets:[2 1]}}
            |        got: {__name__="h"} {{count:3 sum:2 counter_reset_hint:not_reset buckets:[2 1]}}"#]],
    );
}

#[test]
fn difference_shows_only_what_differs() {
    let failures = run(
        RULES,
        r#"
    promql_expr_test:
      - {expr: 'up', eval_time: 1m, exp_samples: [{labels: 'up{job="a"}', value: 0}, {labels: 'up{job="b"}', value: 2}]}
"#,
    );
    compare(
        &expect![[r#"
        |    expr: "up", time: 1m,
        |        diff:
        |            - {__name__="up", job="b"} 2E+00
        |            + {__name__="up", job="b"} 1E+00"#]],
        failures.iter().map(Failure::difference),
    );
}

#[test]
fn rule_that_fails_ends_the_test() {
    let rules = "groups: [{name: g, rules: [{record: r, expr: 'up * on() up'}]}]";
    let failures = run(rules, "\n    promql_expr_test: [{expr: 'none', eval_time: 4m, exp_samples: [{value: 1}]}]\n");
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].to_string().starts_with("    rule: r, time: 0s, err: query failed: "), "{}", failures[0]);
}

#[test]
fn start_and_fuzzy_comparison_are_obeyed() {
    let text = "
fuzzy_compare: true
tests:
  - start_timestamp: 2020-01-01T00:00:00Z
    interval: 1m
    input_series: [{series: a, values: '0.1'}]
    promql_expr_test:
      - {expr: 'a + 0.2', eval_time: 0, exp_samples: [{value: 0.3}]}
      - {expr: 'timestamp(a)', eval_time: 0, exp_samples: [{value: 1577836800}]}
";
    let shown = |text: &str| {
        let tests = parse_unit_tests("t", text).unwrap();
        tests.run(&tests.tests[0], &[], Features::DEFAULT).len()
    };
    assert_eq!(shown(text), 0);
    assert_eq!(shown(&text.replace("true", "false")), 1);
}

#[test]
fn bounds_are_told() {
    let far = "\n    promql_expr_test: [{expr: up, eval_time: 10y}]\n";
    assert_eq!(run(RULES, far), [Failure::Input("more than 604800 evaluations of the groups".to_owned())]);
}

#[test]
fn files_are_strict() {
    let errors = parse_unit_tests(
        "t.yml",
        "
rule_file: [a]
evaluation_interval: 5
group_eval_order: [a, b, a]
tests:
  - interval: 1m
    input_serie: []
    start_timestamp: yesterday
    alert_rule_test: [{eval_time: 1m, alertname: '', exp_alerts: [{exp_label: {}}]}, {eval_time: 1m}]
    promql_expr_test: [{eval_time: 1m, exp_samples: [{value: many}]}]
",
    )
    .unwrap_err();
    expect![[r#"
        t.yml:2:1: rule_file: unknown key (did you mean `rule_files`?)
        t.yml:3:22: evaluation_interval: not a valid duration: `5` (expected something like `15s` or `1h30m`)
        t.yml:4:19: group_eval_order: group name repeated in evaluation order: a
        t.yml:7:5: tests[0].input_serie: unknown key (did you mean `input_series`?)
        t.yml:8:22: tests[0].start_timestamp: neither RFC 3339 nor Unix seconds: `yesterday`
        t.yml:9:50: tests[0].alert_rule_test[0].alertname: must not be empty
        t.yml:9:68: tests[0].alert_rule_test[0].exp_alerts[0].exp_label: unknown key (did you mean `exp_labels`?)
        t.yml:9:86: tests[0].alert_rule_test[1].alertname: required key is missing
        t.yml:10:24: tests[0].promql_expr_test[0].expr: required key is missing
        t.yml:10:62: tests[0].promql_expr_test[0].exp_samples[0].value: expected a number, found the string `many`"#]]
    .assert_eq(&errors.to_string());
}

fn run(rules: &str, test: &str) -> Vec<Failure> {
    let groups = parse_rule_file("rules.yml", rules, &Features::DEFAULT).unwrap();
    let text = format!("group_eval_order: [base, later]\ntests:\n  -{}{test}", INPUT.trim_start_matches("\n   "));
    let tests = parse_unit_tests("tests.yml", &text).unwrap();
    tests.run(&tests.tests[0], &groups, Features::DEFAULT)
}

#[track_caller]
fn check(test: &str, expected: &Expect) {
    let failures = run(RULES, test);
    compare(expected, failures.iter().map(ToString::to_string));
}

/// Lines behind a bar, so that their indentation stays.
#[track_caller]
fn compare(expected: &Expect, texts: impl Iterator<Item = String>) {
    let texts: Vec<String> = texts.collect();
    let lines: Vec<String> = texts.iter().flat_map(|text| text.lines()).map(|line| format!("|{line}")).collect();
    expected.assert_eq(&lines.join("\n"));
}
