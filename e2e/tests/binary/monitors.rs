//! `crescendo server` with the monitors and rules of a cluster, which is an API server on loopback.
//!
//! Rule: what is watched has its effect without a reload, and a broken object costs itself only.

use e2e::process::Crescendo;
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use e2e::wait;
use kubernetes::testing::FakeCluster;
use serde_json::{Value, json};
use tempfile::TempDir;

const MONITORS: &str = "/apis/monitoring.coreos.com/v1/servicemonitors";
const RULES: &str = "/apis/monitoring.coreos.com/v1/prometheusrules";
const POOL: &str = "serviceMonitor/smallest/lightning-asr/0";
const OBJECT: &str = "
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: smallest-prometheus-stack-prometheus, namespace: default}
spec:
  scrapeInterval: 1s
  evaluationInterval: 1s
  serviceMonitorSelector: {}
  serviceMonitorNamespaceSelector: {}
  ruleSelector: {matchLabels: {release: smallest}}
  ruleNamespaceSelector: {}
";

/// The Service of the seed with one pod behind it.
fn service(target: &Target) -> String {
    let (ip, port) = (target.address().ip(), target.address().port());
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: lightning-asr, namespace: smallest, \
         labels: {{app: lightning-asr}}}}, spec: {{ports: [{{name: metrics, port: {port}}}]}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: lightning-asr-0, namespace: smallest}}, \
         spec: {{containers: [{{name: asr, ports: [{{name: metrics, containerPort: {port}}}]}}]}}, \
         status: {{phase: Running, podIP: {ip}}}}}\n---\n\
         {{apiVersion: v1, kind: Endpoints, metadata: {{name: lightning-asr, namespace: smallest, \
         labels: {{app: lightning-asr}}}}, subsets: [{{addresses: [{{ip: {ip}, \
         targetRef: {{kind: Pod, name: lightning-asr-0, namespace: smallest}}}}], \
         ports: [{{name: metrics, port: {port}}}]}}]}}\n"
    )
}

fn monitor(name: &str, more: &Value) -> Value {
    let mut endpoint = json!({"port": "metrics", "path": "/metrics"});
    endpoint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "metadata": {"name": name, "namespace": "smallest"},
        "spec": {"selector": {"matchLabels": {"app": "lightning-asr"}}, "endpoints": [endpoint]},
    })
}

fn rule(name: &str, expr: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": "1", "labels": {"release": "smallest"}},
        "spec": {"groups": [{"name": name, "rules": [{"record": "asr:requests:active_sum", "expr": expr}]}]},
    })
}

/// The flags that name the cluster, and the files that they name.
fn files(cluster: &FakeCluster, folder: &TempDir) -> Vec<String> {
    let kubeconfig = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
         clusters: [{{name: c, cluster: {{server: '{}'}}}}], users: [{{name: u, user: {{}}}}]}}\n",
        cluster.url()
    );
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("prometheus.yml", "global: {scrape_interval: 1s, evaluation_interval: 1s}\n");
    vec![
        format!("--kubernetes.prometheus-object={}", write("prometheus-object.yaml", OBJECT)),
        format!("--kubernetes.kubeconfig={}", write("kubeconfig.yaml", &kubeconfig)),
    ]
}

/// Waits until the log says it.
async fn logged(server: &Server, parts: &[&str]) {
    let found = |log: &String| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    wait::until(&format!("{parts:?} in the log"), SOON, || async { Ok(server.process.output()) }, found).await.unwrap();
}

async fn pools_are(server: &Server, expected: Value) {
    let pools = || async { Ok(server.web.json("/api/v1/scrape_pools").await?["data"]["scrapePools"].clone()) };
    wait::until(&format!("pools {expected}"), SOON, pools, |pools| *pools == expected).await.unwrap();
}

#[tokio::test]
async fn monitors_of_a_cluster_are_scraped_and_its_rules_evaluated() {
    let target = Target::start("# TYPE asr_active_requests gauge\nasr_active_requests 3\n").await.unwrap();
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put_all(&service(&target)).unwrap();
    cluster.withdraw(MONITORS);
    let folder = tempfile::tempdir().unwrap();
    let flags = files(&cluster, &folder);
    let server = Server::start_in(folder, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();

    // The kind comes after the start, with a broken object beside the good one.
    cluster.put(MONITORS, monitor("lightning-asr", &json!({})));
    cluster.put(MONITORS, monitor("broken", &json!({"scrapeTimeout": "1m"})));
    cluster.serve(MONITORS);
    let expr = "up{namespace=\"smallest\",service=\"lightning-asr\",pod=\"lightning-asr-0\",endpoint=\"metrics\"}";
    let up = server.until(expr, |result| first_value(result) == Some(1.0)).await.unwrap();
    assert_eq!(up[0]["metric"]["job"], "lightning-asr");
    logged(&server, &["ServiceMonitor", "smallest", "lightning-asr", POOL]).await;
    logged(&server, &["ServiceMonitor", "broken", "spec.endpoints[0].scrapeTimeout", "left out"]).await;
    pools_are(&server, json!([POOL])).await;
    let page = server.web.get("/service-discovery").await.unwrap().text();
    assert!(page.contains(POOL), "{page}");

    cluster.put(RULES, rule("asr", "sum(asr_active_requests)"));
    cluster.put(RULES, rule("wrong", "sum("));
    server.until("asr:requests:active_sum", |result| first_value(result) == Some(3.0)).await.unwrap();
    logged(&server, &["PrometheusRule", "wrong", "left out"]).await;

    // A reload of the file changes nothing of what the cluster says.
    std::fs::write(server.config(), "global: {scrape_interval: 2s}\n").unwrap();
    server.process.signal("HUP").await.unwrap();
    logged(&server, &["configuration is loaded"]).await;
    pools_are(&server, json!([POOL])).await;

    // A file that is wrong keeps nothing from being taken.
    std::fs::write(server.config(), "global: {scrape_intervall: 2s}\n").unwrap();
    server.process.signal("HUP").await.unwrap();
    logged(&server, &["configuration is not loaded"]).await;
    let relabelings = json!([{"targetLabel": "changed", "replacement": "yes"}]);
    cluster.put(MONITORS, monitor("lightning-asr", &json!({"relabelings": relabelings})));
    server.until("up{changed=\"yes\"}", |result| first_value(result) == Some(1.0)).await.unwrap();
    cluster.put(MONITORS, monitor("broken", &json!({"scrapeTimeout": "1s"})));
    pools_are(&server, json!(["serviceMonitor/smallest/broken/0", POOL])).await;

    cluster.delete(MONITORS, "smallest", "lightning-asr");
    cluster.delete(MONITORS, "smallest", "broken");
    pools_are(&server, json!([])).await;
    server.until("up", |result| result == &json!([])).await.unwrap();
    logged(&server, &["ServiceMonitor", "lightning-asr", "is gone"]).await;
}

#[tokio::test]
async fn a_wrong_object_of_the_flag_is_refused_at_the_start() {
    let cluster = FakeCluster::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let flags = files(&cluster, &folder);
    std::fs::write(folder.path().join("prometheus-object.yaml"), "kind: Alertmanager\n").unwrap();
    let words = Server::words(&folder, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let mut process = Crescendo::start(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let status = process.wait(SOON).await.unwrap();
    let output = process.drained().await;
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains("`--kubernetes.prometheus-object` cannot be used"), "{output}");
    assert!(output.contains("expected `Prometheus`"), "{output}");
}
