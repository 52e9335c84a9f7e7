//! The checks on facts of a setup that is right, and on facts that are broken in one way each.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use kubernetes::client::ObjectMeta;
use serde_json::{Value, json};

use super::super::facts::{
    Autoscaler, Cluster, DroppedTarget, Expected, Facts, METRICS, MetricsApi, Pod, PodValue, Prometheus, QUERIES, Rule,
    RuleGroup, RuntimeInfo, Service, Target, Targets,
};
use super::super::finding::{Asked, Finding, Verdict};
use super::super::report::Report;
use super::targets::Trouble;
use super::{all, lags};
use crate::commands::api_service::{ApiService, Condition};

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
const POOL: &str = "serviceMonitor/smallest/lightning-asr/0";

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    kubernetes::operator::read(value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn target(pod: &str) -> Target {
    let instance = format!("10.0.0.{}:2269", pod.len());
    Target {
        labels: labels(&[("job", "lightning-asr"), ("instance", &instance), ("pod", pod)]),
        scrape_pool: POOL.to_owned(),
        scrape_url: format!("http://{instance}/metrics"),
        last_scrape_duration: 0.01,
        health: "up".to_owned(),
        scrape_interval: "30s".to_owned(),
        scrape_timeout: "10s".to_owned(),
        ..Target::default()
    }
}

fn rule(kind: &str, name: &str, query: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        query: query.to_owned(),
        kind: kind.to_owned(),
        health: "ok".to_owned(),
        ..Rule::default()
    }
}

fn group(rules: Vec<Rule>) -> RuleGroup {
    let last_evaluation = datamodel::rfc3339::format_rfc3339(NOW.saturating_sub(Duration::from_secs(5)));
    RuleGroup { name: "asr".to_owned(), interval: 30.0, evaluation_time: 0.001, last_evaluation, rules }
}

fn prometheus() -> Prometheus {
    let series = |pod: &str| {
        let target = target(pod);
        (Labels::from_pairs(&target.labels), NOW.saturating_sub(Duration::from_secs(12)))
    };
    Prometheus {
        url: "http://p:9090".to_owned(),
        ready: Asked::Answer((200, "Prometheus Server is Ready.".to_owned())),
        runtime: Asked::Answer(RuntimeInfo { reload_config_success: true, storage_retention: "7d".to_owned() }),
        targets: Asked::Answer(Targets { active_targets: vec![target("a"), target("bb")], ..Targets::default() }),
        pools: Asked::Answer(vec![POOL.to_owned()]),
        rules: Asked::Answer(vec![group(vec![
            rule("recording", "asr:requests:rate5m", "rate(asr_total_requests[5m])"),
            rule("alerting", "HighErrorRate", "rate(asr_failed_requests[5m]) > 0.1"),
        ])]),
        samples: METRICS.map(|metric| (metric, Asked::Answer(vec![series("a"), series("bb")]))).into(),
        queries: QUERIES.map(|query| (query, Asked::Answer(vec![1.0, 2.0]))).into(),
    }
}

fn pod(name: &str, is_ready: bool) -> Pod {
    let status = if is_ready { "True" } else { "False" };
    read(json!({
        "metadata": {"name": name},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
    }))
}

fn api_service() -> ApiService {
    let bundle = http_client::base64::encode(b"-----BEGIN CERTIFICATE-----\n");
    read(json!({
        "spec": {"service": {"name": "prometheus-adapter", "namespace": "kube-system"}, "caBundle": bundle},
        "status": {"conditions": [{"type": "Available", "status": "True", "reason": "Passed"}]},
    }))
}

fn service() -> Service {
    read(json!({
        "metadata": {"name": "lightning-asr", "namespace": "smallest", "labels": {"app": "lightning-asr"}},
        "spec": {"selector": {"app": "lightning-asr"}, "ports": [{"name": "metrics", "port": 2269}]},
    }))
}

fn cluster() -> Cluster {
    let name = |name: &str| (name.to_owned(), Asked::Answer(Some(api_service())));
    Cluster {
        server: "https://k:6443".to_owned(),
        version: Asked::Answer("v1.36.0".to_owned()),
        monitor: Asked::Answer(Some(read(json!({
            "metadata": {"name": "lightning-asr", "namespace": "smallest", "labels": {"release": "smallest"}},
            "spec": {
                "selector": {"matchLabels": {"app": "lightning-asr"}},
                "endpoints": [{"port": "metrics", "path": "/metrics"}],
            },
        })))),
        prometheuses: Asked::Answer(vec![read(json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"serviceMonitorSelector": {}, "serviceMonitorNamespaceSelector": {}},
        }))]),
        namespaces: Asked::Answer(BTreeMap::new()),
        service: Asked::Answer(Some(service())),
        pods: Asked::Answer(vec![pod("a", true), pod("bb", true)]),
        api_services: vec![
            name("v1beta1.custom.metrics.k8s.io"),
            name("v1beta2.custom.metrics.k8s.io"),
            name("v1beta1.external.metrics.k8s.io"),
        ],
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
    let [kind, status, reason, message] = [kind, status, reason, message].map(str::to_owned);
    Condition { kind, status, reason, message }
}

fn autoscaler() -> Autoscaler {
    Autoscaler {
        namespace: "smallest".to_owned(),
        name: "lightning-asr".to_owned(),
        target: "Deployment lightning-asr".to_owned(),
        min: 1,
        max: 10,
        current: 2,
        desired: 2,
        metrics: vec![("Pods".to_owned(), "asr_active_requests".to_owned())],
        conditions: vec![
            condition("AbleToScale", "True", "ReadyForNewScale", ""),
            condition("ScalingActive", "True", "ValidMetricFound", ""),
            condition("ScalingLimited", "False", "DesiredWithinRange", ""),
        ],
        lints: Vec::new(),
    }
}

fn value(pod: &str) -> PodValue {
    let at = Some(NOW.saturating_sub(Duration::from_secs(12)));
    PodValue { pod: pod.to_owned(), value: "3".to_owned(), at }
}

/// A cluster in which everything is right.
fn good() -> Facts {
    let names = ["asr_active_requests", "asr_total_requests", "asr_failed_requests", "asr:requests:rate5m"];
    Facts {
        expected: Expected {
            namespace: "smallest".to_owned(),
            job: "lightning-asr".to_owned(),
            service: "lightning-asr".to_owned(),
            rules: vec!["asr:requests:rate5m".to_owned()],
            alerts: vec!["HighErrorRate".to_owned()],
        },
        now: NOW,
        prometheus: prometheus(),
        metrics_api: MetricsApi {
            custom: Asked::Answer(names.iter().map(|name| format!("pods/{name}")).collect()),
            external: Asked::Answer(vec!["lightning_asr_replica_count".to_owned()]),
            pods: vec![("asr_active_requests".to_owned(), Asked::Answer(Ok(vec![value("a"), value("bb")])))],
            external_values: Asked::Answer(Ok(vec!["2".to_owned()])),
        },
        cluster: cluster(),
        autoscalers: Asked::Answer(vec![autoscaler()]),
        is_pulled: false,
        sync_period: Duration::from_secs(15),
    }
}

fn findings(facts: &Facts) -> Vec<Finding> {
    all(facts).into_iter().flat_map(|section| section.findings).collect()
}

#[test]
fn setup_that_is_right_is_found_right_and_says_what_was_asked() {
    let findings = findings(&good());
    let not_ok: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    assert!(not_ok.is_empty(), "{not_ok:#?}");
    assert!(findings.iter().all(|finding| !finding.asked.is_empty() && !finding.found.is_empty()));
    assert!(findings.len() >= 30, "{}", findings.len());
}

/// Breaks the good facts, and expects that one check says so with a remedy; the others stay as they were.
#[track_caller]
fn broken(break_it: impl FnOnce(&mut Facts), check: &str, verdict: Verdict, found: &str, remedy: &str) {
    let mut facts = good();
    break_it(&mut facts);
    let all = findings(&facts);
    let ours: Vec<&Finding> =
        all.iter().filter(|finding| finding.check == check && finding.verdict == verdict).collect();
    let says = ours.iter().any(|finding| finding.found.contains(found) && finding.remedy.contains(remedy));
    assert!(says, "no {verdict:?} of `{check}` with `{found}` and `{remedy}` in {ours:#?}");
}

fn targets(facts: &mut Facts) -> &mut Vec<Target> {
    let Asked::Answer(targets) = &mut facts.prometheus.targets else { panic!("no targets") };
    &mut targets.active_targets
}

fn monitor(facts: &mut Facts) -> &mut kubernetes::operator::objects::ServiceMonitor {
    let Asked::Answer(Some(monitor)) = &mut facts.cluster.monitor else { panic!("no monitor") };
    monitor
}

fn down(error: &'static str) -> impl FnOnce(&mut Facts) {
    move |facts| {
        let target = &mut targets(facts)[0];
        target.health = "down".to_owned();
        error.clone_into(&mut target.last_error);
    }
}

#[test]
fn target_that_is_down_is_named_with_what_helps_against_its_kind_of_error() {
    let check = |error, remedy| {
        broken(down(error), "targets up", Verdict::Wrong, "http://10.0.0.1:2269/metrics is DOWN: ", remedy);
    };
    check("Get \"http://10.0.0.1:2269/metrics\": dial tcp: connect: connection refused", "nothing listens there");
    check("cannot connect to `10.0.0.1:2269`: Connection refused (os error 111)", "nothing listens there");
    check("context deadline exceeded", "no page within 10s");
    check("no complete answer within 10s", "no page within 10s");
    check("server returned HTTP status 404 Not Found", "`path` of the ServiceMonitor");
    check("server returned HTTP status 403 Forbidden", "`authorization`");
    check("server returned HTTP status 500 Internal Server Error", "the server itself fails");
    check("dial tcp: lookup worker: no such host", "NAME.NAMESPACE.svc");
    check("x509: certificate signed by unknown authority", "`tlsConfig`");
    check("http: server gave HTTP response to HTTPS client", "`scheme` of the endpoint");
    check("sample limit exceeded: 12 samples, limit 10", "`metricRelabelings`");
    check("page breaks its format: line 3", "crescendo check metrics");
    check("EOF", "the connection breaks");
    assert_eq!(Trouble::of("something new"), Trouble::Other);
}

#[test]
fn what_prometheus_lacks_is_named_with_its_cause() {
    use Verdict::{Unknown, Warning, Wrong};
    broken(
        |f| f.prometheus.ready = Asked::failed("cannot connect", "start it"),
        "server ready",
        Unknown,
        "cannot connect",
        "start it",
    );
    broken(
        |f| f.prometheus.ready = Asked::Answer((503, String::new())),
        "server ready",
        Wrong,
        "starting or stopping",
        "log",
    );
    broken(
        |f| f.prometheus.ready = Asked::Answer((401, String::new())),
        "server ready",
        Wrong,
        "401",
        "--http.config.file",
    );
    let runtime = RuntimeInfo::default();
    broken(
        |f| f.prometheus.runtime = Asked::Answer(runtime),
        "configuration loaded",
        Wrong,
        "failed",
        "crescendo check config",
    );
    broken(
        |f| {
            targets(f).clear();
            f.prometheus.pools = Asked::Answer(vec!["prometheus".to_owned()]);
        },
        "service discovery",
        Wrong,
        "no such job; there are: prometheus",
        "serviceMonitorSelectorNilUsesHelmValues: false",
    );
    broken(|f| targets(f).clear(), "service discovery", Wrong, "nothing is found for it", "kubectl get endpoints");
    broken(
        |f| {
            let dropped = DroppedTarget {
                discovered_labels: labels(&[("__meta_kubernetes_service_name", "lightning-asr")]),
                scrape_pool: POOL.to_owned(),
            };
            f.prometheus.targets = Asked::Answer(Targets { dropped_targets: vec![dropped], ..Targets::default() });
        },
        "service discovery",
        Wrong,
        "1 target found and dropped",
        "`spec.selector` of the ServiceMonitor",
    );
    broken(
        |f| targets(f)[0].scrape_interval = "2m".to_owned(),
        "scrape interval",
        Wrong,
        "fewer than four scrapes",
        "30s",
    );
    broken(|f| targets(f)[0].last_scrape_duration = 8.0, "scrape interval", Warning, "half of its timeout", "CPU");
}

#[test]
fn metric_that_is_missing_or_old_is_named_with_its_workers() {
    use Verdict::Wrong;
    broken(|f| f.prometheus.samples[0].1 = Asked::Answer(Vec::new()), "metric", Wrong, "no series", "curl");
    broken(
        |f| {
            let Asked::Answer(series) = &mut f.prometheus.samples[1].1 else { panic!() };
            series.pop();
        },
        "metric",
        Wrong,
        "no series of bb",
        "metricRelabelings",
    );
    broken(
        |f| {
            let Asked::Answer(series) = &mut f.prometheus.samples[1].1 else { panic!() };
            series[0].1 = NOW.saturating_sub(Duration::from_secs(200));
        },
        "metric",
        Wrong,
        "older than 1m30s: a (3m20s)",
        "clocks",
    );
    broken(|f| f.prometheus.queries[1].1 = Asked::Answer(Vec::new()), "test query", Wrong, "no result", "two scrapes");
}

#[test]
fn rules_that_are_missing_or_fail_are_named() {
    use Verdict::{Warning, Wrong};
    fn group_of(facts: &mut Facts) -> &mut RuleGroup {
        let Asked::Answer(groups) = &mut facts.prometheus.rules else { panic!("no rules") };
        &mut groups[0]
    }
    let missing = "no recording rule asr:requests:rate5m";
    broken(
        |f| group_of(f).rules.retain(|rule| rule.kind == "alerting"),
        "rules loaded",
        Wrong,
        missing,
        "ruleSelector",
    );
    broken(|f| group_of(f).rules.truncate(1), "rules loaded", Wrong, "no alerting rule HighErrorRate", "rule_files");
    broken(
        |f| {
            let rule = &mut group_of(f).rules[0];
            rule.health = "err".to_owned();
            rule.last_error = "many-to-many matching".to_owned();
        },
        "rules healthy",
        Wrong,
        "`asr:requests:rate5m` of group `asr` fails: many-to-many",
        "crescendo query instant",
    );
    let late = datamodel::rfc3339::format_rfc3339(NOW.saturating_sub(Duration::from_secs(100)));
    broken(|f| group_of(f).last_evaluation = late, "rules healthy", Wrong, "not evaluated", "iterations_missed");
    let never = "0001-01-01T00:00:00Z".to_owned();
    broken(|f| group_of(f).last_evaluation = never, "rules healthy", Warning, "not evaluated yet: asr", "one interval");
    broken(|f| group_of(f).evaluation_time = 31.0, "rules healthy", Warning, "longer than their interval", "series");
    broken(|f| group_of(f).rules[1].state = "firing".to_owned(), "alerts", Warning, "HighErrorRate", "/alerts");
}

#[test]
fn links_from_the_monitor_to_the_pods_are_named_where_they_break() {
    use Verdict::{Unknown, Warning, Wrong};
    broken(
        |f| f.cluster.version = Asked::failed("away", "kubeconfig"),
        "Kubernetes API",
        Unknown,
        "away",
        "kubeconfig",
    );
    broken(|f| f.cluster.monitor = Asked::Answer(None), "ServiceMonitor", Wrong, "not there", "servicemonitor.enabled");
    broken(|f| monitor(f).spec.endpoints.clear(), "ServiceMonitor", Wrong, "no endpoints", "port: metrics");
    broken(
        |f| f.cluster.monitor = Asked::failed("Forbidden (403)", "a role"),
        "ServiceMonitor",
        Unknown,
        "Forbidden",
        "a role",
    );
    let prometheus = || {
        read(json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {
                "serviceMonitorSelector": {"matchLabels": {"release": "other"}}, "serviceMonitorNamespaceSelector": {},
            },
        }))
    };
    broken(
        |f| f.cluster.prometheuses = Asked::Answer(vec![prometheus()]),
        "monitor selected",
        Wrong,
        "default/p selects `release=other` in selected namespaces; smallest/lightning-asr has release=smallest",
        "serviceMonitorSelectorNilUsesHelmValues: false",
    );
    let elsewhere =
        || read(json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"serviceMonitorSelector": {}}}));
    broken(
        |f| f.cluster.prometheuses = Asked::Answer(vec![elsewhere()]),
        "monitor selected",
        Wrong,
        "in `default`",
        "labels",
    );
    broken(|f| f.cluster.service = Asked::Answer(None), "Service", Wrong, "not there", "--namespace");
    broken(
        |f| {
            let Asked::Answer(Some(service)) = &mut f.cluster.service else { panic!() };
            service.metadata = ObjectMeta { labels: labels(&[("app", "asr")]), ..ObjectMeta::default() };
        },
        "Service",
        Wrong,
        "its labels are app=asr, and the ServiceMonitor selects `app=lightning-asr`",
        "kubectl label svc lightning-asr -n smallest app=lightning-asr",
    );
    broken(
        |f| {
            let Asked::Answer(Some(service)) = &mut f.cluster.service else { panic!() };
            service.spec.ports[0].name = "http".to_owned();
        },
        "Service",
        Wrong,
        "no port named `metrics`, which the ServiceMonitor scrapes; it has: http 2269",
        "ports: [{name: metrics, port: 2269}]",
    );
    broken(
        |f| monitor(f).spec.namespace_selector.match_names = vec!["elsewhere".to_owned()],
        "Service",
        Wrong,
        "looks into elsewhere only",
        "spec.namespaceSelector",
    );
    broken(|f| f.cluster.pods = Asked::Answer(Vec::new()), "pods", Wrong, "none", "no replicas");
    broken(|f| f.cluster.pods = Asked::Answer(vec![pod("a", false)]), "pods", Wrong, "none is ready", "describe pod");
    let half = || vec![pod("a", true), pod("bb", false)];
    broken(|f| f.cluster.pods = Asked::Answer(half()), "pods", Warning, "1 of 2 ready; not: bb", "describe pod");
}

#[test]
fn metrics_api_that_is_away_or_empty_is_told_with_the_stage() {
    use Verdict::{Warning, Wrong};
    fn first(facts: &mut Facts) -> &mut ApiService {
        let Asked::Answer(Some(service)) = &mut facts.cluster.api_services[0].1 else { panic!() };
        service
    }
    let unavailable = |reason: &'static str, message: &'static str| {
        move |facts: &mut Facts| {
            first(facts).status.conditions = vec![condition("Available", "False", reason, message)];
        }
    };
    broken(
        unavailable("MissingEndpoints", ""),
        "APIService",
        Wrong,
        "MissingEndpoints",
        "no pod behind kube-system/prometheus-adapter",
    );
    broken(unavailable("FailedDiscoveryCheck", "x509: unknown authority"), "APIService", Wrong, "x509", "`caBundle`");
    broken(unavailable("FailedDiscoveryCheck", "timeout"), "APIService", Wrong, "timeout", "NetworkPolicy");
    broken(
        |f| f.cluster.api_services[0].1 = Asked::Answer(None),
        "APIService",
        Wrong,
        "not registered",
        "apiService.create",
    );
    broken(|f| first(f).spec.ca_bundle = None, "APIService", Wrong, "`caBundle` is empty", "PEM");
    broken(|f| first(f).spec.ca_bundle = Some("AAAA".to_owned()), "APIService", Wrong, "no certificate", "PEM");
    broken(|f| first(f).spec.insecure = true, "APIService", Warning, "insecureSkipTLSVerify", "caBundle");
    broken(
        |f| f.metrics_api.custom = Asked::Answer(Vec::new()),
        "custom metrics",
        Wrong,
        "no metric at all",
        "seriesQuery",
    );
    let only_active = || vec!["pods/asr_active_requests".to_owned()];
    broken(
        |f| f.metrics_api.custom = Asked::Answer(only_active()),
        "custom metrics",
        Warning,
        "pods/asr_total_requests",
        "rules.custom",
    );
    let values = |facts: &mut Facts, values: Result<Vec<PodValue>, String>| {
        facts.metrics_api.pods[0].1 = Asked::Answer(values);
    };
    broken(|f| values(f, Ok(Vec::new())), "values of pods", Wrong, "an empty list", "`namespace` and `pod`");
    broken(|f| values(f, Err("expired".to_owned())), "values of pods", Wrong, "expired", "names the stage");
    broken(|f| values(f, Ok(vec![value("a")])), "values of pods", Wrong, "not: bb", "a target, and UP");
    let old = || PodValue { at: Some(NOW.saturating_sub(Duration::from_secs(100))), ..value("a") };
    broken(
        |f| values(f, Ok(vec![old(), value("bb")])),
        "values of pods",
        Wrong,
        "older than 1m30s: a (1m40s)",
        "clocks",
    );
    broken(
        |f| f.metrics_api.external = Asked::Answer(Vec::new()),
        "external metrics",
        Warning,
        "not listed",
        "rules.external",
    );
    broken(
        |f| f.metrics_api.external_values = Asked::Answer(Err("no series".to_owned())),
        "external value",
        Wrong,
        "no series",
        "kube_",
    );
}

#[test]
fn autoscaler_that_cannot_scale_is_told_what_helps_against_its_reason() {
    use Verdict::{Warning, Wrong};
    fn first(facts: &mut Facts) -> &mut Autoscaler {
        let Asked::Answer(autoscalers) = &mut facts.autoscalers else { panic!() };
        &mut autoscalers[0]
    }
    let check = |kind: &'static str, reason: &'static str, remedy: &str| {
        let break_it = |facts: &mut Facts| first(facts).conditions[0] = condition(kind, "False", reason, "why");
        broken(break_it, "autoscaler", Wrong, &format!("{kind} is False: {reason}: why"), remedy);
    };
    check("ScalingActive", "FailedGetPodsMetric", "see Metrics API above");
    check("ScalingActive", "FailedGetExternalMetric", "ClusterRole for `external.metrics.k8s.io`");
    check("ScalingActive", "FailedGetResourceMetric", "metrics-server");
    check("ScalingActive", "ScalingDisabled", "kubectl scale");
    check("AbleToScale", "FailedGetScale", "`scaleTargetRef` must name what is there: Deployment lightning-asr");
    check("AbleToScale", "FailedUpdateScale", "quota");
    broken(
        |f| first(f).conditions[2] = condition("ScalingLimited", "True", "TooManyReplicas", ""),
        "autoscaler",
        Warning,
        "TooManyReplicas",
        "maxReplicas: 10",
    );
    broken(
        |f| first(f).conditions.clear(),
        "autoscaler",
        Warning,
        "no controller has looked",
        "kube-controller-manager",
    );
    broken(
        |f| f.autoscalers = Asked::Answer(Vec::new()),
        "autoscalers",
        Wrong,
        "none in `smallest`",
        "scaling.auto.enabled",
    );
    broken(
        |f| first(f).metrics.push(("Pods".to_owned(), "asr_active".to_owned())),
        "metrics of the autoscaler",
        Wrong,
        "Pods metric `asr_active` is not listed",
        "name.as",
    );
}

#[track_caller]
fn budget(change: impl FnOnce(&mut Facts), expected: &[(u64, u64, u64)]) {
    let mut facts = good();
    change(&mut facts);
    let parts: Vec<_> =
        lags(&facts).iter().map(|lag| (lag.scrape.as_secs(), lag.rules.as_secs(), lag.sync.as_secs())).collect();
    assert_eq!(parts, expected);
}

fn metrics(facts: &mut Facts, metrics: &[(&str, &str)]) {
    let Asked::Answer(autoscalers) = &mut facts.autoscalers else { panic!() };
    autoscalers[0].metrics = metrics.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect();
}

#[test]
fn lag_is_the_sum_of_the_intervals_in_force() {
    budget(|_| (), &[(30, 0, 15)]);
    budget(|f| targets(f)[1].scrape_interval = "60s".to_owned(), &[(60, 0, 15)]);
    budget(|f| metrics(f, &[("Pods", "asr:requests:rate5m")]), &[(30, 30, 15)]);
    budget(|f| metrics(f, &[("Resource", "cpu")]), &[]);
    // A rule that reads what another group records waits for both.
    let chained = |f: &mut Facts| {
        metrics(f, &[("Object", "asr:load")]);
        let Asked::Answer(groups) = &mut f.prometheus.rules else { panic!() };
        let rules = vec![
            rule("recording", "asr:load", "asr:half * 2"),
            rule("recording", "asr:half", "sum(asr:requests:rate5m)"),
        ];
        groups.push(RuleGroup { interval: 60.0, ..group(rules) });
    };
    budget(chained, &[(30, 90, 15)]);
    let pulled = |f: &mut Facts| {
        f.is_pulled = true;
        metrics(f, &[("Pods", "asr:requests:rate5m"), ("External", "lightning_asr_replica_count")]);
    };
    budget(pulled, &[(0, 0, 15), (30, 0, 15)]);
    broken(
        |f| f.sync_period = Duration::from_secs(300),
        "lag budget",
        Verdict::Warning,
        "30s + 0s + 5m = 5m30s at worst, 2m45s on average",
        "scrapeInterval",
    );
}

#[test]
fn what_does_not_apply_is_told_and_not_left_out() {
    let mut facts = good();
    let why = "`crescendo up` runs without a cluster";
    facts.cluster.version = Asked::not_here(why);
    facts.cluster.monitor = Asked::not_here(why);
    facts.cluster.prometheuses = Asked::not_here(why);
    facts.cluster.service = Asked::not_here(why);
    facts.cluster.pods = Asked::not_here(why);
    facts.cluster.api_services = vec![("v1beta1.custom.metrics.k8s.io".to_owned(), Asked::not_here(why))];
    let report = Report { sections: all(&facts), lags: lags(&facts) };
    assert_eq!(report.count(Verdict::NotChecked), 6);
    assert_eq!(report.count(Verdict::Wrong) + report.count(Verdict::Unknown), 0);
    let table = report.table();
    assert!(table.contains("not checked  ServiceMonitor") && table.contains(why), "{table}");
    assert!(table.ends_with(&format!("{} ok, 6 not checked", report.count(Verdict::Ok))), "{table}");
    let document = report.document();
    assert_eq!(document["summary"]["not_checked"], 6);
    assert_eq!(document["lag"][0]["worst_seconds"], 45.0);
    assert_eq!(document["sections"][1]["findings"][1]["verdict"], "not_checked");
}
