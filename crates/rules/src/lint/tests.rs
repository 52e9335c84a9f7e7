//! Rules that break scaling, and their like that do not.

use std::time::Duration;

use promql::Features;

use super::*;
use crate::parse_rule_file;

#[test]
fn window_shorter_than_four_scrapes_is_found() {
    check_expr("rate(x_total[1m])", &["short-rate-window"]);
    check_expr("sum(irate(x_total[119s]))", &["short-rate-window"]);
    check_expr("rate(x_total[2m])", &[]);
    check_expr("max_over_time(x[10s])", &[]);
    check_expr("increase(job:x:sum[1m])", &[]);
    check_expr("rate(x_total[1m]) / rate(y_total[30s])", &["short-rate-window", "short-rate-window"]);
}

#[test]
fn quantile_needs_a_rate_and_the_bounds() {
    check_expr("histogram_quantile(0.95, asr_request_duration_seconds_bucket)", &["quantile-without-rate"]);
    check_expr("histogram_quantile(0.95, sum by (le) (x_bucket))", &["quantile-without-rate"]);
    check_expr("histogram_quantile(0.95, sum(rate(x_bucket[5m])))", &["quantile-without-le"]);
    check_expr("histogram_quantile(0.95, sum without (le) (rate(x_bucket[5m])))", &["quantile-without-le"]);
    check_expr("histogram_quantile(0.95, sum by (pod) (x_bucket))", &["quantile-without-rate", "quantile-without-le"]);
    check_expr("histogram_quantile(0.95, sum by (le, pod) (rate(x_bucket[5m])))", &[]);
    check_expr("histogram_quantile(0.95, sum without (pod) (rate(x_bucket[5m])))", &[]);
    check_expr("histogram_quantile(0.95, sum(rate(x[5m])))", &[]);
    check_expr("histogram_quantile(0.95, job:x_bucket:rate5m)", &[]);
}

#[test]
fn size_of_a_device_is_found_and_a_unit_is_not() {
    check_expr("asr_gpu_memory_used_bytes / 24000000000 > 0.9", &["hard-coded-size"]);
    check_expr("asr_gpu_memory_used_bytes / (24 * 1024 ^ 3)", &["hard-coded-size"]);
    check_expr("container_memory_rss > 8e9", &["hard-coded-size"]);
    check_expr("8e9 < container_memory_rss", &["hard-coded-size"]);
    check_expr("node_memory_free_bytes / 1024 ^ 3", &[]);
    check_expr("node_memory_free_bytes / 1e9", &[]);
    check_expr("used_bytes / total_bytes > 0.9", &[]);
    check_expr("requests_total / 24000000000", &[]);
}

#[test]
fn failures_per_second_are_no_ratio() {
    check_alert("rate(asr_failed_requests[5m]) > 0.1", &["absolute-rate-alert"]);
    check_alert("sum(rate(http_errors_total[5m])) >= 5", &["absolute-rate-alert"]);
    check_alert("rate(asr_failed_requests[5m]) / rate(asr_total_requests[5m]) > 0.1", &[]);
    check_alert("increase(oom_failures_total[1h]) > 0", &[]);
    check_alert("rate(asr_total_requests[5m]) > 100", &[]);
    check_alert("asr_active_requests > 50", &[]);
}

#[test]
fn recorded_series_needs_a_reader() {
    let rules = |other: &str| {
        format!(
            "[{{record: 'a:b', expr: up}}, {{alert: A, expr: '{other}', annotations: {{x: '{{{{ query \"c:d\" }}}}'}}}}]"
        )
    };
    check(&rules("up == 0"), &[], &["unread-recording-rule"]);
    check(&rules("a:b == 0"), &[], &[]);
    check(&rules("{__name__=~\"a:.*\"} == 0"), &[], &[]);
    check(&rules("{__name__!=\"x\",job=\"y\"} == 0"), &[], &[]);
    check("[{record: 'c:d', expr: up}, {alert: A, expr: 'up', annotations: {x: '{{ query \"c:d\" }}'}}]", &[], &[]);
    for (document, is_read) in [
        ("rules: [{seriesQuery: '{__name__=~\"^a:.+\",namespace!=\"\"}'}]", true),
        ("{\"panels\": [{\"expr\": \"rate(a:b[$__rate_interval])\"}]}", true),
        ("spec: {metrics: [{pods: {metric: {name: 'a:b'}}}]}", true),
        ("spec: {metrics: [{pods: {metric: {name: 'a:bc'}}}]}", false),
        ("expr: 'x[$i] + a:bc'", false),
    ] {
        let reader = Reader::parse("f", document).unwrap();
        let expected: &[&str] = if is_read { &[] } else { &["unread-recording-rule"] };
        check(&rules("up == 0"), &[reader], expected);
    }
}

#[test]
fn metric_needs_a_target_that_exposes_it() {
    const PAGE: &str = "# TYPE asr_seconds histogram\nasr_seconds_bucket{le=\"+Inf\"} 1\nasr_active_requests 2\n";
    const ANSWER: &str = r#"{"status":"success","data":["node_load1"]}"#;
    let mut exposed = Exposed::default();
    exposed.read(PAGE).unwrap();
    exposed.read(ANSWER).unwrap();
    exposed.read("# TYPE old counter\nold_total 1\n# EOF\n").unwrap();
    assert!(exposed.read("asr_active_requests\n").unwrap_err().to_string().starts_with("line 1"));
    let found = |expr: &str| {
        let text = format!("groups: [{{name: g, rules: [{{record: a:b, expr: up}}, {{alert: A, expr: '{expr}'}}]}}]");
        let groups = parse_rule_file("r.yml", &text, &Features::DEFAULT).unwrap();
        let asked = RuleLint { scrape_interval: Duration::from_secs(30), readers: &[], exposed: Some(&exposed) };
        let found = lint_rules(&groups, &asked).into_iter();
        found.filter(|f| f.check == Check::UnexposedMetric).map(|f| f.message).collect::<Vec<_>>()
    };
    for expr in [
        "a:b + up + node_load1",
        "asr_seconds + sum(rate(asr_seconds_bucket[5m]))",
        "ALERTS > scrape_samples_scraped",
        "{__name__=~\"asr_.+\"}",
        "{job=\"asr\"}",
        "rate(old_total[5m])",
    ] {
        assert_eq!(found(expr), Vec::<String>::new(), "{expr}");
    }
    assert_eq!(found("asr_seconds_sum"), ["no target exposes `asr_seconds_sum` (did you mean `asr_seconds`?)"]);
    assert_eq!(
        found("rate(asr_activ_requests[5m]) / asr_activ_requests"),
        ["no target exposes `asr_activ_requests` (did you mean `asr_active_requests`?)"]
    );
    assert_eq!(found("{__name__=~\"gpu_.+\"}"), ["no target exposes a metric with `__name__=~\"gpu_.+\"`"]);
}

#[test]
fn rules_of_one_name_and_labels_are_duplicates() {
    let rules = "[{record: a, expr: up, labels: {x: '1', y: '2'}}, {record: a, expr: a, labels: {y: '2', x: '1'}}]";
    check(rules, &[], &["duplicate-rules"]);
    check("[{record: a, expr: up}, {record: a, expr: a, labels: {x: '1'}}, {alert: a, expr: up}]", &[], &[]);
}

#[test]
fn service_is_told_from_pods_and_hosts() {
    for (address, is_service) in [
        ("lightning-asr:2269", true),
        ("lightning-asr.smallest.svc:2269", true),
        ("lightning-asr.smallest.svc.cluster.local.:2269", true),
        ("asr-0.lightning-asr.smallest.svc.cluster.local:2269", false),
        ("localhost:9090", false),
        ("10.0.0.1:80", false),
        ("[::1]:80", false),
        ("node.example.org", false),
    ] {
        let target = ConfiguredTarget {
            file: Arc::from("p.yml"),
            line: Some(7),
            job: "j".to_owned(),
            address: address.to_owned(),
        };
        let findings = lint_targets(&[target]);
        assert_eq!(!findings.is_empty(), is_service, "{address}");
        assert!(findings.iter().all(|finding| finding.to_string().starts_with("p.yml:7: job `j`, target `")));
    }
}

#[test]
fn seed_rules_have_their_known_weaknesses() {
    let groups = parse_rule_file("seed.yaml", include_str!("../../../../rules/seed.yaml"), &Features::DEFAULT).unwrap();
    let found =
        lint_rules(&groups, &RuleLint { scrape_interval: Duration::from_secs(30), readers: &[], exposed: None });
    let found: Vec<String> = found.iter().map(|f| format!("{} {}", f.check, f.subject)).collect();
    assert_eq!(
        found,
        [
            "absolute-rate-alert group `asr_alerts`, alert `HighErrorRate`",
            "hard-coded-size group `asr_alerts`, alert `GPUMemoryHigh`",
            "unread-recording-rule group `asr_aggregations`, rule `asr:requests:rate5m`",
            "unread-recording-rule group `asr_aggregations`, rule `asr:requests:active_avg`",
            "unread-recording-rule group `asr_aggregations`, rule `asr:gpu:utilization_avg`",
        ]
    );
}

#[test]
fn lines_of_rules_are_known() {
    assert_eq!(
        rule_lines("f", "groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n  - record: b\n"),
        [vec![4, 6]]
    );
}

#[test]
fn finding_prints_place_message_and_remedy() {
    let finding = Finding {
        check: Check::QuantileWithoutLe,
        file: Arc::from("r.yml"),
        line: Some(3),
        subject: "group `g`, rule `r`".to_owned(),
        message: "lost".to_owned(),
    };
    let expected =
        "r.yml:3: group `g`, rule `r`: lost [quantile-without-le]\n    remedy: keep the bounds: aggregate `by (le)`";
    assert_eq!(finding.to_string(), expected);
    let mut names: Vec<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Check::ALL.len());
}

#[track_caller]
fn check_expr(expr: &str, expected: &[&str]) {
    check(&format!("[{{alert: A, expr: '{expr}'}}]"), &[], expected);
}

#[track_caller]
fn check_alert(expr: &str, expected: &[&str]) {
    check_expr(expr, expected);
    // The same as a recorded series, which an alert reads: no alert on a rate.
    check(&format!("[{{record: r, expr: '{expr}'}}, {{alert: A, expr: r}}]"), &[], &[]);
}

/// The checks that find something in a group, with a scrape every 30 s.
#[track_caller]
fn check(rules: &str, readers: &[Reader], expected: &[&str]) {
    let text = format!("groups: [{{name: g, rules: {rules}}}]");
    let groups = parse_rule_file("r.yml", &text, &Features::DEFAULT).unwrap();
    let found = lint_rules(&groups, &RuleLint { scrape_interval: Duration::from_secs(30), readers, exposed: None });
    let found: Vec<&str> = found.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(found, expected, "{rules}");
}
