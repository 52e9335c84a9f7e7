//! What templates of annotations expand to, by promtool and by us.

use promql::Features;
use rules::parse_rule_file;
use rules::unit_test::parse_unit_tests;

use super::{peer, run};

/// One template a line; `%%` before one that cannot be expanded, `!!` before one that does not even parse, `~~`
/// before one that we do not support.
const TEMPLATES: &str = include_str!("../../testdata/templates.txt");

const INPUT: &str = r#"
    interval: 1m
    external_labels: {site: 'köln "1"', empty: ''}
    external_url: http://eye:9090/path
    input_series:
      - {series: 'probe{instance="web-1.example.org:9090",job="j",path="/a b&c"}', values: '1234567.891x3'}
      - {series: 'share{of="x"}', values: '0.12345x3'}
      - {series: 'size{dev="sdb",host="b"}', values: '3221225472x3'}
      - {series: 'size{dev="sda",host="a"}', values: '1536x3'}
      - {series: 'size{dev="sdc",host="a"}', values: '0x3'}
      - {series: 'odd{is="inf"}', values: '+Inf +Inf +Inf'}
      - {series: 'odd{is="nan"}', values: 'NaN NaN NaN'}
"#;

fn unit_test() -> String {
    format!(
        "rule_files: [rules.yml]\ntests:\n  - {}\n    alert_rule_test: [{{eval_time: 1m, alertname: T}}]\n",
        INPUT.trim()
    )
}

fn rules(templates: &[&str]) -> String {
    let mut text = "groups:\n- name: g\n  rules:\n  - alert: T\n    expr: probe\n    annotations:\n".to_owned();
    for (at, template) in templates.iter().enumerate() {
        text.push_str(&format!("      a{at:03}: '{}'\n", template.replace('\'', "''")));
    }
    text
}

fn ours(templates: &[&str]) -> String {
    let groups = parse_rule_file("rules.yml", &rules(templates), &Features::DEFAULT).unwrap();
    let tests = parse_unit_tests("tests.yml", &unit_test()).unwrap();
    tests.run(&tests.tests[0], &groups, Features::DEFAULT).iter().map(|failure| format!("{failure}\n")).collect()
}

#[test]
fn templates_expand_as_promtool_expands_them() {
    let lines = || TEMPLATES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let good: Vec<&str> =
        lines().filter(|line| !["%%", "!!", "~~"].iter().any(|mark| line.starts_with(mark))).collect();
    let unsupported: Vec<&str> = lines().filter_map(|line| line.strip_prefix("~~")).collect();
    let failing: Vec<&str> = lines().filter_map(|line| line.strip_prefix("%%")).collect();
    let broken: Vec<&str> = lines().filter_map(|line| line.strip_prefix("!!")).collect();
    let text = ours(&good);
    assert!(!text.contains("<error expanding"), "{text}");
    for template in &failing {
        let text = ours(&[template]);
        assert!(text.contains("<error expanding template: "), "{template}: {text}");
    }
    for template in &broken {
        assert!(parse_rule_file("rules.yml", &rules(&[template]), &Features::DEFAULT).is_err(), "{template}");
    }
    for template in &unsupported {
        let error = parse_rule_file("rules.yml", &rules(&[template]), &Features::DEFAULT).unwrap_err().to_string();
        assert!(error.contains("not supported"), "{template}: {error}");
    }
    println!("{} templates expand, {} fail, {} are refused", good.len(), failing.len(), broken.len());
    assert!(good.len() >= 60, "{}", good.len());
    let Some(promtool) = peer("promtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tests.yml"), unit_test()).unwrap();
    let theirs = |templates: &[&str]| {
        std::fs::write(folder.path().join("rules.yml"), rules(templates)).unwrap();
        let output = run(&promtool, folder.path(), &["test", "rules", "tests.yml"]);
        String::from_utf8_lossy(&output.stderr).trim_start_matches("  FAILED:\n").to_owned()
    };
    let split = |text: &str| text.split("\", a").map(str::to_owned).collect::<Vec<_>>();
    let complaints: Vec<String> = split(&text)
        .iter()
        .zip(split(&theirs(&good)))
        .filter(|(ours, theirs)| **ours != *theirs)
        .map(|(ours, theirs)| format!("we:       {ours}\npromtool: {theirs}"))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(text, theirs(&good));
    for template in &failing {
        assert!(theirs(&[template]).contains("<error expanding template: "), "{template}: {}", theirs(&[template]));
    }
    for template in &broken {
        assert!(!theirs(&[template]).contains("got:"), "{template}: {}", theirs(&[template]));
    }
}
