//! Monitors in an API server on loopback: what is said of them while they come, change, break and go.

use serde_json::{Value, json};

use super::*;
use crate::testing::{FakeCluster, Fault};

const SERVICE_MONITORS: &str = "/apis/monitoring.coreos.com/v1/servicemonitors";
const RULES: &str = "/apis/monitoring.coreos.com/v1/prometheusrules";
const ALL: &str = "
kind: Prometheus
metadata: {name: p, namespace: monitoring}
spec:
  serviceMonitorSelector: {}
  serviceMonitorNamespaceSelector: {}
  ruleSelector: {matchLabels: {release: r}}
";

fn monitor(name: &str, endpoint: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "smallest", "managedFields": [{"fieldsV1": {}}]},
        "spec": {"selector": {"matchLabels": {"app": name}}, "endpoints": [endpoint]},
    })
}

fn jobs(made: &Generated) -> Vec<&str> {
    made.jobs.iter().map(|job| job.config["job_name"].as_str().unwrap()).collect()
}

fn rejected(made: &Generated) -> Vec<String> {
    made.rejected.iter().map(ToString::to_string).collect()
}

/// Runs a watcher of what an object selects beside a test.
async fn with<F: Future<Output = ()>>(cluster: &FakeCluster, object: &str, test: impl FnOnce(Seen) -> F) {
    let quick = Duration::from_millis(1);
    let options = ReflectorOptions { first_backoff: quick, max_backoff: quick, ..ReflectorOptions::default() };
    let object = prometheus_object("object", object).unwrap();
    let watcher = MonitorWatcher::new(cluster.client(), object, options).unwrap();
    let (seen, shutdown) = (Seen(watcher.found()), CancellationToken::new());
    let test = async {
        test(seen).await;
        shutdown.cancel();
    };
    tokio::join!(watcher.run(shutdown.clone()), test);
}

struct Seen(watch::Receiver<Found>);

impl Seen {
    /// Waits until this is said.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Generated) -> bool) -> Arc<Generated> {
        let reached = self.0.wait_for(|found| found.as_deref().is_some_and(&is_it));
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await.map(|found| found.unwrap().clone());
        match reached {
            Ok(found) => found.unwrap(),
            Err(_elapsed) => panic!("{what}: {:?}", self.0.borrow()),
        }
    }

    async fn until_jobs(&mut self, expected: &[&str]) -> Arc<Generated> {
        self.until(&format!("{expected:?}"), |made| jobs(made) == expected).await
    }
}

#[tokio::test]
async fn monitors_come_change_and_go_and_a_broken_one_costs_itself() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(SERVICE_MONITORS, monitor("asr", &json!({"port": "metrics"})));
    let broken = json!({"metadata": {"name": "form", "namespace": "smallest"}, "spec": {"endpoints": 5}});
    cluster.put(SERVICE_MONITORS, broken);
    cluster.put(SERVICE_MONITORS, monitor("field", &json!({"interval": "5x"})));
    with(&cluster, ALL, |mut seen| {
        let cluster = &cluster;
        async move {
            let made = seen.until_jobs(&["serviceMonitor/smallest/asr/0"]).await;
            let reasons = rejected(&made);
            assert!(
                reasons[0].starts_with("ServiceMonitor smallest/field: spec.endpoints[0].interval: "),
                "{reasons:?}"
            );
            assert!(reasons[1].starts_with("ServiceMonitor smallest/form: object: invalid type"), "{reasons:?}");

            cluster.put(SERVICE_MONITORS, monitor("asr", &json!({"port": "metrics", "path": "/other"})));
            seen.until("another path", |made| {
                made.jobs.first().is_some_and(|job| job.config["metrics_path"] == "/other")
            })
            .await;
            cluster.put(SERVICE_MONITORS, monitor("field", &json!({"interval": "5s"})));
            seen.until_jobs(&["serviceMonitor/smallest/asr/0", "serviceMonitor/smallest/field/0"]).await;
            cluster.delete(SERVICE_MONITORS, "smallest", "asr");
            seen.until_jobs(&["serviceMonitor/smallest/field/0"]).await;
        }
    })
    .await;
    let requests = cluster.requests();
    for absent in ["podmonitors", "probes", "scrapeconfigs", "secrets", "/namespaces?"] {
        assert!(!requests.iter().any(|request| request.contains(absent)), "{absent} in {requests:?}");
    }
    assert!(
        requests
            .iter()
            .any(|request| request.contains("/namespaces/monitoring/prometheusrules?labelSelector=release%3Dr")),
        "rules are selected by the API: {requests:?}"
    );
}

#[tokio::test]
async fn secrets_that_are_named_are_watched_alone_and_their_changes_taken() {
    let cluster = FakeCluster::start().await.unwrap();
    let secret = |value: &str| json!({"metadata": {"name": "s", "namespace": "smallest"}, "data": {"k": http_client::base64::encode(value.as_bytes())}});
    let credentials = json!({"authorization": {"credentials": {"name": "s", "key": "k"}}});
    cluster.put(SERVICE_MONITORS, monitor("asr", &credentials));
    with(&cluster, ALL, |mut seen| {
        let cluster = &cluster;
        async move {
            let made = seen.until("a rejection", |made| made.rejected.len() == 1).await;
            assert_eq!(
                rejected(&made),
                ["ServiceMonitor smallest/asr: spec.endpoints[0].authorization.credentials: secret `smallest/s` is not \
                  there or has no key `k`"]
            );
            for value in ["one", "two"] {
                cluster.put("/api/v1/secrets", secret(value));
                seen.until(value, |made| {
                    made.jobs.first().is_some_and(|job| job.config["authorization"]["credentials"] == value)
                })
                .await;
            }
        }
    })
    .await;
    let requests = cluster.requests();
    let mut secrets = requests.iter().filter(|request| request.contains("secrets"));
    let only = "/api/v1/namespaces/smallest/secrets?fieldSelector=metadata.name%3Ds&";
    assert!(secrets.all(|request| request.contains(only)), "{requests:?}");
}

#[tokio::test]
async fn kinds_that_are_absent_come_later_and_go_away() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.withdraw(SERVICE_MONITORS);
    let rule = json!({
        "metadata": {"name": "a", "namespace": "monitoring", "uid": "1", "labels": {"release": "r"}},
        "spec": {"groups": [{"name": "g", "rules": [{"record": "a:b", "expr": "1"}]}]},
    });
    cluster.put(RULES, rule);
    with(&cluster, ALL, |mut seen| {
        let cluster = &cluster;
        async move {
            seen.until("the rule alone", |made| made.rule_files.len() == 1 && made.jobs.is_empty()).await;
            cluster.put(SERVICE_MONITORS, monitor("asr", &json!({"port": "metrics"})));
            cluster.serve(SERVICE_MONITORS);
            seen.until_jobs(&["serviceMonitor/smallest/asr/0"]).await;
            cluster.withdraw(SERVICE_MONITORS);
            let made = seen.until_jobs(&[]).await;
            assert_eq!(made.rule_files.len(), 1, "rules go on");
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_said_stays_while_the_api_fails() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(SERVICE_MONITORS, monitor("asr", &json!({"port": "metrics"})));
    with(&cluster, ALL, |mut seen| {
        let cluster = &cluster;
        async move {
            seen.until_jobs(&["serviceMonitor/smallest/asr/0"]).await;
            seen.0.mark_unchanged();
            for fault in [Fault::Close, Fault::Status(503, "ServiceUnavailable"), Fault::Status(403, "Forbidden")] {
                cluster.fail_next("servicemonitors", fault);
            }
            cluster.close_watches();
            cluster.until_faults_are_met().await;
            assert!(!seen.0.has_changed().unwrap(), "{:?}", seen.0.borrow());
            cluster.put(SERVICE_MONITORS, monitor("b", &json!({"port": "metrics"})));
            seen.until_jobs(&["serviceMonitor/smallest/asr/0", "serviceMonitor/smallest/b/0"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn labels_of_namespaces_decide_where_the_selector_says_so() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(SERVICE_MONITORS, monitor("asr", &json!({"port": "metrics"})));
    let namespace = |labels: &Value| json!({"metadata": {"name": "smallest", "labels": labels}});
    cluster.put("/api/v1/namespaces", namespace(&json!({})));
    let object = "
kind: Prometheus
metadata: {name: p}
spec: {serviceMonitorSelector: {}, serviceMonitorNamespaceSelector: {matchLabels: {team: asr}}}
";
    with(&cluster, object, |mut seen| {
        let cluster = &cluster;
        async move {
            seen.until_jobs(&[]).await;
            cluster.put("/api/v1/namespaces", namespace(&json!({"team": "asr"})));
            seen.until_jobs(&["serviceMonitor/smallest/asr/0"]).await;
        }
    })
    .await;
}

#[test]
fn only_a_prometheus_object_says_what_is_selected() {
    let error = |text: &str| prometheus_object("f", text).unwrap_err().to_string();
    assert_eq!(error("kind: Alertmanager"), "kind: expected `Prometheus`");
    assert!(error("kind: Prometheus\nspec: {serviceMonitorSelector: 5}").starts_with("object: invalid type"));
    assert!(error("a: [").starts_with("object: f:1:"), "{}", error("a: ["));
}
