//! Whole configurations, good and bad.

use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

fn load(folder: &Path, files: &[(&str, &str)]) -> Result<ServerConfig, String> {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let source = ConfigSource::new(folder.join("prometheus.yml"));
    let prefix = format!("{}/", folder.display());
    source.load().map_err(|errors| errors.to_string().replace(&prefix, ""))
}

#[track_caller]
fn check_errors(files: &[(&str, &str)], expected: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    expected.assert_eq(&load(folder.path(), files).unwrap_err());
}

#[test]
fn configuration_is_read_with_all_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = "global: {scrape_interval: 5s, evaluation_interval: 7s, external_labels: {zone: a}}\n\
                rule_files: ['rules/*.yml', 'gone.yml']\nscrape_config_files: ['more-*.yml']\n\
                scrape_configs: [{job_name: a, static_configs: [{targets: ['x:1']}]}]\n\
                storage: {tsdb: {out_of_order_time_window: 30m, retention: {time: 3d, size: 1GB}}, exemplars: {max_exemplars: 9}}\n\
                runtime: {gogc: 75}\n";
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let files = [
        ("prometheus.yml", root),
        ("more-1.yml", "scrape_configs: [{job_name: b}]"),
        ("rules/a.yml", "groups: [{name: g, rules: [{record: r, expr: up}]}]"),
    ];
    let config = load(folder.path(), &files).unwrap();
    let jobs = config.jobs.iter().map(|job| (&*job.config.job_name, job.config.scrape_interval.as_secs()));
    assert_eq!(jobs.collect::<Vec<_>>(), [("a", 5), ("b", 5)]);
    assert_eq!(config.rule_groups.len(), 1);
    assert_eq!(config.global.evaluation_interval.as_secs(), 7);
    assert_eq!(config.global.external_labels.get("zone"), Some("a"));
    assert_eq!(config.storage.retention_size, Some(1 << 30));
    assert_eq!(config.storage.max_exemplars, Some(9));
    assert_eq!(config.storage.out_of_order_time_window.as_secs(), 1800);
    let notes: Vec<_> = config.notes.iter().map(|note| note.fails_check).collect();
    assert_eq!(notes, [false, true]);
}

#[test]
fn files_of_credentials_that_are_not_there_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let root = "scrape_configs:\n- {job_name: a, authorization: {credentials_file: gone}, tls_config: {ca_file: there}}\n\
                - {job_name: b, basic_auth: {username: u, password_file: later}, tls_config: {ca_file: lost}}\n\
                remote_write: [{url: 'http://h/w', name: far, authorization: {credentials_file: away}}]\n\
                alerting: {alertmanagers: [{authorization: {credentials_file: astray}}]}\n";
    let config = load(folder.path(), &[("prometheus.yml", root), ("there", "")]).unwrap();
    let names = config.notes.iter().map(|note| (Path::new(&note.subject).file_name().unwrap().to_str().unwrap(), note));
    let seen: Vec<_> =
        names.map(|(name, note)| (name, note.fails_check, note.text.split("; ").nth(1).unwrap())).collect();
    let expected = [
        ("gone", true, "job `a` needs it"),
        ("lost", true, "job `b` needs it"),
        ("later", false, "job `b` needs it"),
        ("astray", true, "alerting needs it"),
        ("away", true, "remote_write `far` needs it"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn everything_wrong_in_all_files_is_reported_at_once() {
    let files = [
        (
            "prometheus.yml",
            "global: {scrape_intervall: 5s, query_log_file: q}\nrule_files: [bad.yml]\nscrape_config_files: [jobs.yml]\n\
             scrape_configs: [{job_name: a}, {job_name: a, scrape_timeout: 2h}]\ntracing: {endpoint: x}\n",
        ),
        ("bad.yml", "groups: [{name: g, rules: [{record: r, expr: 'sum('}]}]"),
        ("jobs.yml", "scrape_configs: [{job_name: a}]"),
    ];
    check_errors(
        &files,
        &expect![[r#"
        prometheus.yml:1:10: global.scrape_intervall: unknown key (did you mean `scrape_interval`?)
        prometheus.yml:1:32: global.query_log_file: not supported: queries are not logged; `/metrics` counts and times them
        prometheus.yml:4:44: scrape_configs[1].job_name: another job has the same name: `a`
        prometheus.yml:4:63: scrape_configs[1].scrape_timeout: greater than the scrape interval: 2h > 1m
        prometheus.yml:5:1: tracing: not supported: traces are not sent
        jobs.yml:1:29: scrape_configs[0].job_name: another job has the same name: `a`
        bad.yml:1:46: groups[0].rules[0].expr: could not parse expression: 1:5: parse error: unclosed left parenthesis"#]],
    );
}

#[test]
fn missing_file_is_named() {
    check_errors(&[], &expect!["cannot read prometheus.yml: No such file or directory (os error 2)"]);
}

#[test]
fn fingerprint_follows_content_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = "rule_files: ['*.rules']\n";
    let config = load(folder.path(), &[("prometheus.yml", root), ("a.rules", "")]).unwrap();
    let source = ConfigSource::new(folder.path().join("prometheus.yml"));
    let mut seen = vec![source.fingerprint(&config.patterns)];
    assert_eq!(config.fingerprint, seen[0]);
    let changes: [(&str, &str); 3] = [("a.rules", "groups: []"), ("b.rules", "groups: []"), ("prometheus.yml", "")];
    for (name, text) in changes {
        std::fs::write(folder.path().join(name), text).unwrap();
        seen.push(source.fingerprint(&config.patterns));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[test]
fn targets_of_a_cluster_are_read_and_wrong_ones_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let job = |item: &str| format!("scrape_configs: [{{job_name: k, kubernetes_sd_configs: [{item}]}}]\n");
    let good = job("{role: pod, api_server: 'https://api:6443', bearer_token_file: token}");
    let config = load(folder.path(), &[("prometheus.yml", &good)]).unwrap();
    assert_eq!(config.jobs[0].discovery.len(), 1);
    let bad = job("{role: pots}");
    let error = load(folder.path(), &[("prometheus.yml", &bad)]).unwrap_err();
    assert!(error.contains("kubernetes_sd_configs[0].role: expected one of `pod`"), "{error}");
}

#[test]
fn extra_metrics_of_scrapes_are_a_default_that_the_file_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let stored = |text: &str| {
        std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
        let source =
            ConfigSource { extra_scrape_metrics: true, ..ConfigSource::new(folder.path().join("prometheus.yml")) };
        let config = source.load().unwrap();
        config.jobs.iter().map(|job| job.config.extra_scrape_metrics).collect::<Vec<_>>()
    };
    let jobs = "scrape_configs: [{job_name: a}, {job_name: b, extra_scrape_metrics: false}]\n";
    assert_eq!(stored(jobs), [true, false]);
    assert_eq!(stored(&format!("global: {{scrape_interval: 5s}}\n{jobs}")), [true, false]);
    assert_eq!(stored(&format!("global: {{extra_scrape_metrics: false}}\n{jobs}")), [false, false]);
}
