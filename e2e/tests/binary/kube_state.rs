//! `crescendo server` with the state series of a cluster, which is an API server on loopback.
//!
//! Rule: what is told at `/metrics/kube-state` is in the storage too, and ends when its object goes.

use e2e::process::Crescendo;
use e2e::server::{SOON, Server, first_value};
use e2e::wait;
use http_body_util::Full;
use hyper::Request;
use kubernetes::testing::{FakeCluster, Fault};
use serde_json::{Value, json};
use tempfile::TempDir;

const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const AUTOSCALERS: &str = "/apis/autoscaling/v2/horizontalpodautoscalers";
const CONFIG: &str = "global: {scrape_interval: 1s}\n";
const PATH: &str = "/metrics/kube-state";

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "smallest"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "readyReplicas": replicas},
    })
}

fn autoscaler() -> Value {
    json!({
        "metadata": {"name": "asr", "namespace": "smallest"},
        "spec": {"minReplicas": 1, "maxReplicas": 10, "metrics": [{"type": "Pods", "pods": {
            "metric": {"name": "asr_active_requests"}, "target": {"type": "AverageValue", "averageValue": "4"}}}]},
        "status": {"currentReplicas": 2, "desiredReplicas": 3},
    })
}

/// A folder with the configuration, and the flag that names the cluster.
fn folder(cluster: &FakeCluster, config: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
         clusters: [{{name: c, cluster: {{server: '{}'}}}}], users: [{{name: u, user: {{}}}}]}}\n",
        cluster.url()
    );
    let path = folder.path().join("kubeconfig.yaml");
    std::fs::write(&path, kubeconfig).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let flag = format!("--kubernetes.kubeconfig={}", path.display());
    (folder, flag)
}

#[tokio::test]
async fn state_of_a_cluster_is_served_and_stored_until_the_object_goes() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(DEPLOYMENTS, deployment("lightning-asr", 2));
    cluster.put(AUTOSCALERS, autoscaler());
    for _ in 0..1_000 {
        cluster.fail_next("/nodes?limit", Fault::Status(403, "Forbidden"));
    }
    let (folder, flag) = folder(&cluster, CONFIG);
    let resources = "--kubernetes.state-metrics=deployments,horizontalpodautoscalers,nodes";
    let server = Server::start_in(folder, &[resources, &flag]).await.unwrap();

    // The seed's external rule asks this.
    let expr = "sum(kube_deployment_status_replicas{namespace=\"smallest\",deployment=\"lightning-asr\"})";
    server.until(expr, |result| first_value(result) == Some(2.0)).await.unwrap();
    let found = server.web.query("kube_horizontalpodautoscaler_spec_target_metric", None).await.unwrap();
    let expected = json!({
        "__name__": "kube_horizontalpodautoscaler_spec_target_metric", "job": "kube-state-metrics",
        "instance": "crescendo", "namespace": "smallest", "horizontalpodautoscaler": "asr",
        "metric_name": "asr_active_requests", "metric_target_type": "average",
    });
    assert_eq!(found[0]["metric"], expected);
    server.until("up{job=\"kube-state-metrics\"}", |result| first_value(result) == Some(1.0)).await.unwrap();
    // A resource that is refused is said, and costs itself only.
    let own = server.web.get("/metrics").await.unwrap().text();
    for line in [
        "crescendo_kube_state_watch_up{resource=\"deployments\"} 1",
        "crescendo_kube_state_watch_up{resource=\"nodes\"} 0",
        "crescendo_kube_state_objects{resource=\"deployments\"} 1",
    ] {
        assert!(own.lines().any(|found| found == line), "no `{line}` in {own}");
    }
    let refusals = |log: &str| log.lines().filter(|line| line.contains("nodes") && line.contains("Forbidden")).count();
    assert_eq!(refusals(&server.process.output()), 1, "said once: {}", server.process.output());

    // For another Prometheus.
    let page = server.web.get(PATH).await.unwrap().text();
    assert!(page.contains("# TYPE kube_deployment_spec_replicas gauge\nkube_deployment_spec_replicas{"), "{page}");

    cluster.put(DEPLOYMENTS, deployment("lightning-asr", 3));
    server.until(expr, |result| first_value(result) == Some(3.0)).await.unwrap();
    cluster.delete(DEPLOYMENTS, "smallest", "lightning-asr");
    server.until(expr, |result| result == &json!([])).await.unwrap();
    let requests = cluster.requests();
    assert!(!requests.iter().any(|request| request.contains("/pods")), "only what is asked: {requests:?}");
}

#[tokio::test]
async fn own_page_is_scraped_whatever_protects_the_listener() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(DEPLOYMENTS, deployment("d", 1));
    let (folder, flag) = folder(&cluster, CONFIG);
    // The password is `wonderland`.
    let users = "basic_auth_users: {alice: $2b$05$CwTycUXWue0Thq9StjUM0uNmmyiwUxcXQJWX6ubS/v.tyJyf..swe}\n";
    let path = folder.path().join("web.yml");
    std::fs::write(&path, users).unwrap();
    let web = format!("--web.config.file={}", path.display());
    let flags =
        ["--kubernetes.state-metrics=deployments", "--kubernetes.state-metrics-namespaces=smallest", &flag, &web];
    let server = Server::start_in(folder, &flags).await.unwrap();
    assert_eq!(server.web.get(PATH).await.unwrap().status, 401);
    let ask = || async {
        let uri = format!("{}/api/v1/query?query=kube_deployment_spec_replicas", server.web.base());
        let request = Request::builder().uri(uri).header("authorization", "Basic YWxpY2U6d29uZGVybGFuZA==");
        server.web.send(request.body(Full::default())?).await?.json()
    };
    let is_stored = |answer: &Value| first_value(&answer["data"]["result"]) == Some(1.0);
    wait::until("the series", SOON, ask, is_stored).await.unwrap();
    let requests = cluster.requests();
    let only = "/apis/apps/v1/namespaces/smallest/deployments?";
    assert!(requests.iter().all(|request| request.contains(only)), "{requests:?}");
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_at_the_start() {
    let cluster = FakeCluster::start().await.unwrap();
    let (folder_of_job, flag) = folder(&cluster, "scrape_configs: [{job_name: kube-state-metrics}]\n");
    let (empty, _) = folder(&cluster, CONFIG);
    let resources = "--kubernetes.state-metrics=deployments";
    for (folder, flags, complaint) in [
        (&folder_of_job, vec![resources, &flag], "`--kubernetes.state-metrics` has a job of this name"),
        (&empty, vec![resources], "not in a cluster; `--kubernetes.kubeconfig` names one"),
        (&empty, vec![flag.as_str()], "`--kubernetes.kubeconfig` has no effect without"),
        (&empty, vec!["--kubernetes.state-metrics=jobs"], "no state series of `jobs`"),
    ] {
        let words = Server::words(folder, &flags).unwrap();
        let mut process = Crescendo::start(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let status = process.wait(SOON).await.unwrap();
        let output = process.drained().await;
        assert_eq!(status.code(), Some(2), "{output}");
        assert!(output.contains(complaint), "{output}");
    }
}
