//! `crescendo adapter` between real programs: Debian's Prometheus as its source, and `crescendo server` in its place.
//!
//! Rule: what the seed's section "Check Prometheus Adapter" asks is asked here, over TLS, and the answers of both
//! sources are the same document but for their timestamps.

mod embedded;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use e2e::peer::{Peer, find};
use e2e::process::Crescendo;
use e2e::server::{SOON, Server};
use e2e::target::Target;
use e2e::wait;
use http_client::{ClientOptions, HttpClient, HttpClientConfig, TlsConfig, TlsMaterial};
use hyper::{HeaderMap, Request, StatusCode};
use kubernetes::testing::FakeCluster;
use serde_json::{Value, json};
use tempfile::TempDir;

const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta1";
const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";
const ACTIVE: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/smallest/pods/*/asr_active_requests";

/// What a worker with so many active requests says.
fn page(active: u32) -> String {
    format!(
        "# TYPE asr_active_requests gauge\nasr_active_requests {active}\n\
         # TYPE asr_total_requests counter\nasr_total_requests 7\n\
         # TYPE asr_failed_requests counter\nasr_failed_requests 1\n\
         # TYPE asr_gpu_utilization gauge\nasr_gpu_utilization 0.5\n"
    )
}

/// Two workers, and what kube-state-metrics says of their deployment.
struct Targets {
    workers: Vec<Target>,
    state: Target,
}

impl Targets {
    async fn start() -> Self {
        let workers = vec![Target::start(&page(3)).await.unwrap(), Target::start(&page(5)).await.unwrap()];
        let state = "kube_deployment_status_replicas{namespace=\"smallest\",deployment=\"lightning-asr\"} 2\n";
        Self { workers, state: Target::start(state).await.unwrap() }
    }

    /// The configuration of an engine that scrapes them each second.
    fn config(&self) -> String {
        let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        config.push_str("- job_name: asr\n  static_configs:\n");
        for (number, worker) in self.workers.iter().enumerate() {
            let labels = format!("{{namespace: smallest, pod: asr-{number}}}");
            config.push_str(&format!("  - {{targets: ['{}'], labels: {labels}}}\n", worker.address()));
        }
        let state = self.state.address();
        config.push_str(&format!(
            "- {{job_name: state, honor_labels: true, static_configs: [{{targets: ['{state}']}}]}}\n"
        ));
        config
    }
}

/// The rules of the seed.
fn seed_rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/adapter-seed.yaml")
}

/// A client that trusts this certificate alone.
fn trusting(certificate: &Path) -> HttpClient {
    let ca = Some(TlsMaterial::File(certificate.to_owned()));
    let tls = TlsConfig { ca, ..TlsConfig::default() };
    HttpClient::new(HttpClientConfig { tls, ..HttpClientConfig::default() }, ClientOptions::default())
}

/// Status, headers and text of an answer.
async fn ask<'a>(
    client: &HttpClient,
    url: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> anyhow::Result<(StatusCode, HeaderMap, String)> {
    let request =
        headers.into_iter().fold(Request::builder().uri(url), |request, (name, value)| request.header(name, value));
    let answer = client.send(request.body(Bytes::new())?, 16 << 20).await?;
    Ok((answer.status(), answer.headers().clone(), String::from_utf8_lossy(answer.body()).into_owned()))
}

/// A running adapter.
struct Adapter {
    process: Mutex<Crescendo>,
    address: String,
    client: HttpClient,
    _folder: TempDir,
}

impl Adapter {
    async fn start(source: &str, rules: &Path) -> Self {
        Self::start_with(source, rules, &["--without-cluster"]).await
    }

    async fn start_with(source: &str, rules: &Path, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = folder.path().join("certificates");
        let words = [
            "adapter".to_owned(),
            format!("--config={}", rules.display()),
            format!("--prometheus-url={source}"),
            format!("--cert-dir={}", certificates.display()),
            "--metrics-relist-interval=1s".to_owned(),
            "--metrics-max-age=1m".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut process = Crescendo::start(&words).unwrap();
        let line = process.line_with("Crescendo is ready: ").await.unwrap();
        let address = line.split_once("ready: ").unwrap().1.trim().trim_end_matches("/apis").to_owned();
        let client = trusting(&certificates.join("apiserver.crt"));
        Self { process: Mutex::new(process), address, client, _folder: folder }
    }

    async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, HeaderMap, String)> {
        self.get_with(path, []).await
    }

    async fn get_with<'a>(
        &self,
        path: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> anyhow::Result<(StatusCode, HeaderMap, String)> {
        ask(&self.client, &format!("{}{path}", self.address), headers).await
    }

    /// A document with status 200.
    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let (status, _, text) = self.get(path).await?;
        anyhow::ensure!(status == StatusCode::OK, "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits until a document is as `done` wants it.
    async fn until(&self, path: &str, done: impl FnMut(&Value) -> bool) -> Value {
        let found = wait::until(path, SOON, || self.json(path), done).await;
        found.map_err(|error| error.context(self.output())).unwrap()
    }

    fn output(&self) -> String {
        self.process.lock().unwrap().output()
    }
}

/// The values of a list in their order.
fn values(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|item| item["value"].as_str()).collect()
}

fn names(document: &Value) -> Vec<&str> {
    document["resources"].as_array().into_iter().flatten().filter_map(|resource| resource["name"].as_str()).collect()
}

/// A document without what differs from second to second.
fn timeless(mut document: Value) -> Value {
    for item in document["items"].as_array_mut().into_iter().flatten() {
        let timestamp = item.as_object_mut().and_then(|item| item.remove("timestamp"));
        assert!(timestamp.is_some(), "{item}");
    }
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_commands_answer_alike_from_prometheus_and_from_our_engine() {
    let Some(program) = find("prometheus").unwrap() else {
        return println!("not run: no prometheus in PATH; `make tools` gets it");
    };
    let targets = Targets::start().await;
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start_prometheus(&program, folder.path(), &targets.config(), &[]).await.unwrap();
    let ours = Server::start(&targets.config(), &[]).await.unwrap();
    let from_peer = Adapter::start(peer.web.base(), &seed_rules()).await;
    let from_ours = Adapter::start(ours.web.base(), &seed_rules()).await;
    for adapter in [&from_peer, &from_ours] {
        // `… | jq -r '.resources[].name' | grep asr`
        let expected = ["pods/asr_active_requests", "pods/asr_total_requests", "pods/asr_failed_requests"];
        adapter.until(CUSTOM, |found| expected.iter().all(|name| names(found).contains(name))).await;
        adapter.until(EXTERNAL, |found| names(found) == ["lightning_asr_replica_count"]).await;
        adapter.until(ACTIVE, |found| values(found) == ["3", "5"]).await;
        assert_eq!(adapter.get("/readyz").await.unwrap().2, "ok");
        let (_, _, page) = adapter.get("/metrics").await.unwrap();
        assert!(page.contains("prometheus_adapter_prometheus_client_request_duration_seconds_count{path="), "{page}");
    }
    let paths = [
        CUSTOM.to_owned(),
        "/apis/custom.metrics.k8s.io/v1beta2".to_owned(),
        EXTERNAL.to_owned(),
        ACTIVE.to_owned(),
        ACTIVE.replace('*', "%2A"),
        ACTIVE.replace("v1beta1", "v1beta2"),
        format!("{CUSTOM}/namespaces/smallest/pods/asr-1/asr_active_requests"),
        format!("{CUSTOM}/namespaces/smallest/pods/*/gpu_utilization"),
        format!("{CUSTOM}/namespaces/smallest/pods/*/asr_total_requests"),
        format!("{CUSTOM}/namespaces/smallest/metrics/asr_active_requests"),
        format!("{CUSTOM}/namespaces/*/asr_failed_requests"),
        format!("{EXTERNAL}/namespaces/smallest/lightning_asr_replica_count"),
    ];
    for path in paths {
        let there = timeless(from_peer.json(&path).await.unwrap());
        let here = timeless(from_ours.json(&path).await.unwrap());
        assert_eq!(there, here, "{path}");
        println!("{path}: {}", values(&there).join(" "));
    }
    let missing = [
        format!("{CUSTOM}/namespaces/smallest/pods/*/nope"),
        format!("{CUSTOM}/namespaces/other/pods/*/asr_active_requests"),
    ];
    for path in missing {
        let (there, here) = (from_peer.get(&path).await.unwrap(), from_ours.get(&path).await.unwrap());
        assert_eq!((there.0, &there.2), (StatusCode::NOT_FOUND, &here.2), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_held_and_say_so_when_a_target_or_the_source_is_away() {
    let Some(program) = find("prometheus").unwrap() else {
        return println!("not run: no prometheus in PATH; `make tools` gets it");
    };
    let mut targets = Targets::start().await;
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start_prometheus(&program, folder.path(), &targets.config(), &[]).await.unwrap();
    let adapter = Adapter::start(peer.web.base(), &seed_rules()).await;
    let replicas = format!("{EXTERNAL}/namespaces/smallest/lightning_asr_replica_count");
    adapter.until(ACTIVE, |found| values(found) == ["3", "5"]).await;
    adapter.until(&replicas, |found| values(found) == ["2"]).await;
    let warning = async |path: &str| {
        let (status, headers, text) = adapter.get(path).await?;
        anyhow::ensure!(status == StatusCode::OK, "{path}: {status}: {text}");
        Ok((headers.get("warning").map(|value| value.to_str().unwrap().to_owned()), text))
    };
    assert_eq!(warning(ACTIVE).await.unwrap().0, None);

    // A worker that does not answer: Prometheus has ended its series, and its value is there all the same.
    targets.workers.pop();
    let gone = || peer.web.query("asr_active_requests{pod=\"asr-1\"}", None);
    wait::until("the series ends", SOON, gone, |found| found.as_array().is_some_and(Vec::is_empty)).await.unwrap();
    let (said, text) = warning(ACTIVE).await.unwrap();
    assert_eq!(
        said.as_deref(),
        Some("299 crescendo \"1 of 2 values are held: their targets do not answer\""),
        "{text}"
    );
    assert_eq!(values(&serde_json::from_str(&text).unwrap()), ["3", "5"]);

    // The source itself: nothing is lost, discovery answers, health is fine.
    peer.kill().await.unwrap();
    let (said, text) = warning(ACTIVE).await.unwrap();
    assert_eq!(
        said.as_deref(),
        Some("299 crescendo \"2 of 2 values are held: their targets do not answer\""),
        "{text}"
    );
    assert_eq!(values(&serde_json::from_str(&text).unwrap()), ["3", "5"]);
    let (said, text) = warning(&replicas).await.unwrap();
    assert!(said.is_some_and(|said| said.contains("1 of 1 values are held")), "{text}");
    assert!(names(&adapter.json(CUSTOM).await.unwrap()).contains(&"pods/asr_active_requests"));
    assert_eq!(adapter.get("/healthz").await.unwrap().0, StatusCode::OK);
    // A question that was never answered has no answer now, and the error names the stage.
    let (status, _, text) =
        adapter.get(&format!("{CUSTOM}/namespaces/smallest/pods/asr-0/gpu_utilization")).await.unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
    assert!(text.contains("\"reason\":\"Source\"") && text.contains("source is unavailable"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_rules_are_refused_with_all_errors_at_once_and_changed_ones_change_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    let wrong =
        "rules:\n- seriesQery: 'up'\n  metricsQuery: 'sum(<<.Series'\n- {seriesQuery: 'up{', metricsQuery: 'up'}\n";
    std::fs::write(&rules, wrong).unwrap();
    let config = format!("--config={}", rules.display());
    let mut process = Crescendo::start(&["adapter", &config, "--without-cluster"]).unwrap();
    assert_eq!(process.wait(SOON).await.unwrap().code(), Some(2));
    let output = process.drained().await;
    for part in ["rules.yaml:2:", "did you mean `seriesQuery`?", "rules.yaml:3:", "rules.yaml:4:", "metricsQuery"] {
        assert!(output.contains(part), "`{part}` is missing in:\n{output}");
    }

    let targets = Targets::start().await;
    let engine = Server::start(&targets.config(), &[]).await.unwrap();
    let rule = |name: &str, factor: u32| {
        format!(
            "rules:\n- seriesQuery: asr_active_requests\n  resources: {{template: <<.Resource>>}}\n  \
             name: {{as: {name}}}\n  metricsQuery: '{factor} * asr_active_requests{{<<.LabelMatchers>>}}'\n"
        )
    };
    std::fs::write(&rules, rule("load", 1)).unwrap();
    let adapter = Adapter::start(engine.web.base(), &rules).await;
    let load = format!("{CUSTOM}/namespaces/smallest/pods/*/load");
    adapter.until(&load, |found| values(found) == ["3", "5"]).await;
    std::fs::write(&rules, rule("load", 10)).unwrap();
    adapter.until(&load, |found| values(found) == ["30", "50"]).await;
    std::fs::write(&rules, wrong).unwrap();
    let told = || async { Ok(adapter.output()) };
    let is_told = |output: &String| output.contains("the last good mapping rules go on");
    wait::until("the error is told", SOON, told, is_told).await.unwrap();
    assert_eq!(values(&adapter.json(&load).await.unwrap()), ["30", "50"]);
    // Two rules that publish the same: it is said, and the later one counts.
    let second = rule("load", 100).replacen("rules:\n", "", 1);
    std::fs::write(&rules, rule("load", 10) + &second).unwrap();
    adapter.until(&load, |found| values(found) == ["300", "500"]).await;
    assert!(adapter.output().contains("which rules[0] also does: this rule counts"), "{}", adapter.output());

    let mut process = adapter.process.into_inner().unwrap();
    process.signal("TERM").await.unwrap();
    assert_eq!(process.wait(SOON).await.unwrap().code(), Some(0), "{}", process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_because_something_is_absent() {
    let rules = format!("--config={}", seed_rules().display());
    let free = "--secure-port=0";
    for (words, reason) in [
        (vec!["adapter", &rules, free], "or serve without it by `--without-cluster`"),
        (vec!["adapter", &rules, free, "--without-cluster"], "needs `--bind-address=127.0.0.1`"),
        (
            vec!["adapter", &rules, free, "--without-cluster", "--client-ca-file=/no/such"],
            "`--client-ca-file` is of no use",
        ),
        (vec!["adapter", free, "--without-cluster"], "no metrics discovery configuration file specified"),
        (
            vec!["adapter", &rules, free, "--without-cluster", "--audit-log-path=-"],
            "flag `--audit-log-path` is not supported",
        ),
    ] {
        let mut process = Crescendo::start(&words).unwrap();
        assert_eq!(process.wait(SOON).await.unwrap().code(), Some(2), "{words:?}");
        let output = process.drained().await;
        assert!(output.contains(reason), "{words:?}:\n{output}");
    }
}

/// A cluster of the test's own: two pods with labels, the token `good`, and permission for all but one namespace.
async fn cluster() -> FakeCluster {
    let cluster = FakeCluster::start().await.unwrap();
    for number in 0..2 {
        let labels = json!({"app": "asr", "number": number.to_string()});
        let metadata = json!({"namespace": "smallest", "name": format!("asr-{number}"), "labels": labels});
        cluster.put("/api/v1/pods", json!({"metadata": metadata}));
    }
    cluster.on_create(Box::new(|path, object| {
        let spec = &object["spec"];
        let status = if path.ends_with("tokenreviews") {
            json!({"authenticated": spec["token"] == "good", "user": {"username": "hpa", "groups": ["g"]}})
        } else {
            let allowed = spec["resourceAttributes"]["namespace"] != "secret";
            json!({"allowed": allowed, "reason": "RBAC: no rule"})
        };
        Some(json!({"status": status}))
    }));
    cluster
}

/// The flags, with `prefix` before their names, by which this cluster is asked.
fn kubeconfig_flags(cluster: &FakeCluster, folder: &Path, prefix: &str) -> [String; 3] {
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{}'}}}}]\nusers: [{{name: u, user: {{token: own}}}}]\n",
        cluster.url()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    ["authentication", "authorization", "lister"]
        .map(|name| format!("--{prefix}{name}-kubeconfig={}", kubeconfig.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_asked_who_may_ask_and_which_objects_there_are() {
    let targets = Targets::start().await;
    let engine = Server::start(&targets.config(), &[]).await.unwrap();
    let cluster = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let flags = kubeconfig_flags(&cluster, folder.path(), "");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    // Without the cluster's authorities it does not start, unless it is told to.
    let rules = format!("--config={}", seed_rules().display());
    let words: Vec<&str> = ["adapter", &rules, "--secure-port=0"].into_iter().chain(flags.iter().copied()).collect();
    let mut process = Crescendo::start(&words).unwrap();
    assert_eq!(process.wait(SOON).await.unwrap().code(), Some(2));
    let output = process.drained().await;
    assert!(output.contains("extension-apiserver-authentication"), "{output}");

    let more = ["--authentication-tolerate-lookup-failure", "--state-metrics=pods"];
    let tolerant: Vec<&str> = flags.into_iter().chain(more).collect();
    let adapter = Adapter::start_with(engine.web.base(), &seed_rules(), &tolerant).await;
    let ask = async |path: &str, token: Option<&str>| {
        let authorization = token.map(|token| ("authorization", format!("Bearer {token}")));
        let answer = adapter.get_with(path, authorization.iter().map(|(name, value)| (*name, value.as_str()))).await;
        answer.map(|(status, _, text)| (status.as_u16(), text))
    };
    let values_are = |expected: &'static [&'static str]| {
        move |answer: &(u16, String)| {
            answer.0 == 200 && serde_json::from_str::<Value>(&answer.1).is_ok_and(|list| values(&list) == expected)
        }
    };
    for (path, expected) in
        [(ACTIVE.to_owned(), &["3", "5"][..]), (format!("{ACTIVE}?labelSelector=app%3Dasr,number%3D1"), &["5"])]
    {
        let asked = wait::until(&path, SOON, || ask(&path, Some("good")), values_are(expected)).await;
        asked.map_err(|error| error.context(adapter.output())).unwrap();
    }
    let state = "/metrics/kube-state";
    let is_told = |answer: &(u16, String)| {
        answer.0 == 200 && answer.1.contains("kube_pod_info{namespace=\"smallest\",pod=\"asr-0\",uid=\"\",")
    };
    wait::until(state, SOON, || ask(state, Some("good")), is_told).await.unwrap();
    for (path, token, status, part) in [
        (state, None, 401, "Unauthorized"),
        (ACTIVE, None, 401, "none was given"),
        (ACTIVE, Some("bad"), 401, "the cluster does not know it"),
        ("/metrics", None, 401, "Unauthorized"),
        ("/metrics", Some("good"), 200, "crescendo_metrics_api_requests_total"),
        ("/openapi/v2", Some("good"), 200, "\"swagger\":\"2.0\""),
        ("/healthz", None, 200, "ok"),
        (&ACTIVE.replace("smallest", "secret"), Some("good"), 403, "RBAC: no rule"),
    ] {
        let (found, text) = ask(path, token).await.unwrap();
        assert!(found == status && text.contains(part), "{path} with {token:?}: {found} {text}");
    }
    // A pod that is deleted is gone at once, whatever its series say.
    cluster.delete("/api/v1/pods", "smallest", "asr-0");
    wait::until("the pod is gone", SOON, || ask(ACTIVE, Some("good")), values_are(&["5"])).await.unwrap();
}
