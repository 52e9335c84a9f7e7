//! `crescendo verify` before real servers: what is right, what is broken, and what two servers answer differently.
//!
//! Rule: each thing that is broken is named in its line, with what to do; the exit code says the rest.

use std::process::Stdio;

use e2e::peer::{Peer, find};
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use kubernetes::testing::{FakeCluster, Fault};
use serde_json::{Value, json};
use tokio::process::Command;

const PAGE: &str = "# TYPE asr_active_requests gauge\nasr_active_requests 3\n\
                    # TYPE asr_total_requests counter\nasr_total_requests 12\n\
                    # TYPE asr_failed_requests counter\nasr_failed_requests 0\n\
                    # TYPE asr_request_duration_seconds histogram\n\
                    asr_request_duration_seconds_bucket{le=\"1\"} 12\nasr_request_duration_seconds_bucket{le=\"+Inf\"} 12\n\
                    asr_request_duration_seconds_sum 3\nasr_request_duration_seconds_count 12\n\
                    # TYPE asr_model_load_time_seconds gauge\nasr_model_load_time_seconds 1.5\n";

/// Runs the command; gives its exit code, stdout and stderr.
pub(crate) async fn verify(words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(e2e::process::binary().unwrap());
    command.arg("verify").args(words).stdin(Stdio::null()).kill_on_drop(true);
    // A machine that is itself a pod would be looked at.
    command.env_remove("KUBERNETES_SERVICE_HOST");
    let output = tokio::time::timeout(SOON, command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A configuration with the rules of the setup document beside it.
fn config(targets: &[String]) -> String {
    let targets = targets.join("', '");
    format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\nrule_files: [rules.yml]\n\
         scrape_configs:\n- job_name: lightning-asr\n  static_configs:\n  - targets: ['{targets}']\n    \
         labels: {{namespace: smallest, pod: lightning-asr-0}}\n"
    )
}

fn folder(config: &str, rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("prometheus.yml", config), ("peer.yml", config), ("rules.yml", rules)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The rules of the setup document, evaluated each second.
fn seed_rules() -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed.yaml")).unwrap();
    text.replace("interval: 30s", "interval: 1s")
}

/// Findings of a JSON report, as (check, verdict, found, remedy).
fn findings(report: &str) -> Vec<[String; 4]> {
    let report: Value = serde_json::from_str(report).unwrap();
    let sections = report["sections"].as_array().unwrap();
    let findings = sections.iter().flat_map(|section| section["findings"].as_array().unwrap());
    findings
        .map(|one| ["check", "verdict", "found", "remedy"].map(|key| one[key].as_str().unwrap().to_owned()))
        .collect()
}

#[track_caller]
fn has(findings: &[[String; 4]], check: &str, verdict: &str, found: &str, remedy: &str) {
    let is_it = |[a, b, c, d]: &[String; 4]| a == check && b == verdict && c.contains(found) && d.contains(remedy);
    assert!(findings.iter().any(is_it), "no {verdict} of `{check}` with `{found}` and `{remedy}` in {findings:#?}");
}

#[tokio::test]
async fn broken_server_is_told_line_by_line_and_exits_with_1() {
    let target = Target::start(PAGE).await.unwrap();
    // Nobody listens where a target was.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rules = seed_rules().replace("record: asr:requests:active_avg", "record: asr:requests:other_avg");
    let config = config(&[target.address().to_string(), gone.to_string()]);
    let server = Server::start_in(folder(&config, &rules), &[]).await.unwrap();
    server.until("count(up == 0)", |result| first_value(result) == Some(1.0)).await.unwrap();
    server.until("rate(asr_total_requests[5m])", |result| first_value(result).is_some()).await.unwrap();
    let url = server.web.base().to_owned();
    let (code, table, _) = verify(&["--prometheus-url", &url]).await;
    println!("{table}");
    assert_eq!(code, 1, "{table}");
    let down = format!("WRONG        targets up          http://{gone}/metrics is DOWN: cannot connect to `{gone}`");
    let down = down.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines.iter().any(|line| line.starts_with(&down)), "no `{down}` in:\n{table}");
    assert!(table.contains("to do: nothing listens there"), "{table}");
    let (code, report, _) = verify(&["--prometheus-url", &url, "-o", "json"]).await;
    assert_eq!(code, 1, "{report}");
    let found = findings(&report);
    has(&found, "rules loaded", "wrong", "no recording rule asr:requests:active_avg", "rule_files");
    has(&found, "server ready", "ok", "Crescendo is Ready", "");
    has(&found, "service discovery", "ok", "2 targets in lightning-asr", "");
    has(&found, "metric", "ok", "1 series of 1 target", "");
    has(&found, "metric", "not_checked", "without a GPU", "");
    has(&found, "values of pods", "not_checked", "--metrics-api-url", "");
    has(&found, "ServiceMonitor", "not_checked", "no cluster was named", "");

    // Another job, another file of rules: all that is left to say is that no cluster was named.
    let rules = server.folder.path().join("rules.yml").display().to_string();
    let (code, report, _) = verify(&["--prometheus-url", &url, "--rules", &rules, "--job", "none", "-o", "json"]).await;
    let found = findings(&report);
    has(&found, "rules loaded", "ok", "all 3 recording and 3 alerting rules", "");
    has(&found, "service discovery", "wrong", "no such job; there are: lightning-asr", "scrape_configs");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn server_that_is_not_there_exits_with_2() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let (code, table, error) = verify(&["--prometheus-url", &url]).await;
    assert_eq!(code, 2, "{table}");
    assert!(table.contains("unknown") && table.contains("cannot connect") && table.contains("port-forward"), "{table}");
    assert!(error.contains("one check could not be made"), "{error}");
    let (code, _, error) = verify(&["--prometheus-url", "nowhere"]).await;
    assert!(code == 2 && error.contains("`--prometheus-url` is no URL"), "{error}");
}

#[tokio::test]
async fn debian_prometheus_is_checked_and_answers_as_we_do() {
    let Some(program) = find("prometheus").unwrap() else {
        return println!("not run: no prometheus in PATH; `make tools` gets it");
    };
    let target = Target::start(PAGE).await.unwrap();
    let text = config(&[target.address().to_string()]);
    let server = Server::start_in(folder(&text, &seed_rules()), &[]).await.unwrap();
    let theirs = folder(&text, &seed_rules());
    let peer = Peer::start_prometheus(&program, theirs.path(), &text, &[]).await.unwrap();
    let recorded = |web: e2e::client::Client| async move {
        let ask = || web.query("asr:requests:active_avg and on() asr:requests:rate5m", None);
        e2e::wait::until("both rules have written", SOON, ask, |found| first_value(found).is_some()).await.unwrap();
    };
    recorded(server.web.clone()).await;
    recorded(peer.web.clone()).await;
    let (ours, theirs) = (server.web.base().to_owned(), peer.web.base().to_owned());
    let (code, table, error) = verify(&["--prometheus-url", &theirs]).await;
    println!("{table}");
    assert_eq!(code, 0, "{table}{error}");
    assert!(table.contains("all 3 recording and 3 alerting rules") && table.contains("1 of 1 UP"), "{table}");
    let (code, table, error) = verify(&["--prometheus-url", &theirs, "--against", &ours]).await;
    println!("{table}");
    assert_eq!(code, 0, "{table}{error}");
    assert!(table.contains("1 value, alike"), "{table}");
    // Another worker with another number of requests.
    let busy = Target::start(&PAGE.replace("asr_active_requests 3", "asr_active_requests 7")).await.unwrap();
    let elsewhere = config(&[busy.address().to_string()]);
    let third = Server::start_in(folder(&elsewhere, &seed_rules()), &[]).await.unwrap();
    recorded(third.web.clone()).await;
    let words = ["--against", third.web.base(), "--query", "sum(asr_active_requests)", "-o", "json"];
    let (code, report, _) = verify(&[&["--prometheus-url", &theirs], &words[..]].concat()).await;
    let found = findings(&report);
    has(&found, "same answer", "wrong", "{}: 3 here, 7 there", "--tolerance");
    has(
        &found,
        "same answer",
        "wrong",
        &format!("only there: asr_active_requests{{instance=\"{}\"", busy.address()),
        "a label",
    );
    has(&found, "same answer", "wrong", "asr:requests:active_avg{namespace=\"smallest\"}: 3 here, 7 there", "");
    assert_eq!(code, 1, "{report}");
    drop(peer);
    let (code, report, _) = verify(&["--prometheus-url", &ours, "--against", &theirs, "-o", "json"]).await;
    has(&findings(&report), "the other server", "unknown", "cannot connect", "--against");
    assert_eq!(code, 2, "{report}");
}

/// Objects of a cluster in which a monitor, a Service and an autoscaler are broken.
const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: lightning-asr, namespace: smallest, labels: {app: asr}}
spec: {selector: {app: lightning-asr}, ports: [{name: http, port: 2269}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lightning-asr-0, namespace: smallest, labels: {app: lightning-asr}}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lightning-asr-1, namespace: smallest, labels: {app: lightning-asr}}
status: {phase: Pending}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: lightning-asr, namespace: smallest}
spec: {selector: {matchLabels: {app: lightning-asr}}, endpoints: [{port: metrics, path: /metrics}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.custom.metrics.k8s.io}
spec: {service: {name: prometheus-adapter, namespace: kube-system}}
status: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints, message: no endpoints}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: lightning-asr, namespace: smallest}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: lightning-asr}
  maxReplicas: 4
  metrics:
  - type: Pods
    pods: {metric: {name: asr_total_requests}, target: {type: AverageValue, averageValue: '4'}}
status:
  currentReplicas: 1
  desiredReplicas: 1
  conditions:
  - {type: AbleToScale, status: 'True', reason: SucceededGetScale, message: ok}
  - {type: ScalingActive, status: 'False', reason: FailedGetPodsMetric, message: unable to fetch metrics}
";

/// The parts of a cluster that are put right.
const REPAIRED: &str = "
apiVersion: v1
kind: Service
metadata: {name: lightning-asr, namespace: smallest, labels: {app: lightning-asr}}
spec: {selector: {app: lightning-asr}, ports: [{name: metrics, port: 2269}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lightning-asr-1, namespace: smallest, labels: {app: lightning-asr}}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
";

#[tokio::test]
async fn broken_cluster_is_told_link_by_link() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put_all(OBJECTS).unwrap();
    let answers = || {
        let list = json!({"resources": [{"name": "pods/asr_active_requests"}]});
        let one =
            json!({"describedObject": {"name": "lightning-asr-0"}, "value": "3", "timestamp": "2099-01-01T00:00:00Z"});
        cluster.fail_next("/pods/*/asr_active_requests", Fault::Body(json!({"items": [one]}).to_string().into()));
        cluster.fail_next("/pods/*/asr_total_requests", Fault::Status(404, "NotFound"));
        cluster.fail_next("/apis/custom.metrics.k8s.io/v1beta1", Fault::Body(list.to_string().into()));
        cluster.fail_next("/apis/external.metrics.k8s.io/v1beta1", Fault::Status(404, "NotFound"));
    };
    answers();
    let url = cluster.url();
    let words = ["--prometheus-url", "none", "--kubernetes-url", &url, "-o", "json"];
    let (code, report, _) = verify(&words).await;
    assert_eq!(code, 1, "{report}");
    let found = findings(&report);
    has(&found, "ServiceMonitor", "ok", "selects app=lightning-asr: port metrics/metrics", "");
    has(&found, "Service", "wrong", "its labels are app=asr", "kubectl label svc lightning-asr");
    has(&found, "Service", "wrong", "no port named `metrics`", "ports: [{name: metrics");
    has(&found, "pods", "warning", "1 of 2 ready; not: lightning-asr-1 (Pending)", "describe pod");
    has(&found, "APIService", "wrong", "not available: MissingEndpoints", "kube-system/prometheus-adapter");
    has(&found, "APIService", "wrong", "`caBundle` is empty", "PEM");
    has(&found, "custom metrics", "wrong", "not listed: pods/asr_total_requests", "seriesQuery");
    has(&found, "values of pods", "ok", "lightning-asr-0 3", "");
    has(&found, "values of pods", "wrong", "by order", "names the stage");
    has(&found, "autoscaler", "wrong", "ScalingActive is False: FailedGetPodsMetric", "Metrics API");
    has(&found, "autoscaler", "warning", "a counter only grows", "check hpa");
    has(&found, "metrics of the autoscaler", "wrong", "`asr_total_requests` is not listed", "name.as");
    has(&found, "server ready", "not_checked", "--prometheus-url none", "");

    cluster.put_all(REPAIRED).unwrap();
    answers();
    let (_, report, _) = verify(&words).await;
    let found = findings(&report);
    has(&found, "Service", "ok", "labels and port fit", "");
    has(&found, "pods", "ok", "2 ready", "");
    has(&found, "values of pods", "wrong", "1 pods have a value; not: lightning-asr-1", "UP");

    cluster.fail_next("/servicemonitors/lightning-asr", Fault::Status(403, "Forbidden"));
    let (_, report, _) = verify(&words).await;
    has(&findings(&report), "ServiceMonitor", "unknown", "Forbidden", "kubectl auth can-i");
}
