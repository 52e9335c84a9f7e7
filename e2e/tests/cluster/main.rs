//! The real HPA on a real control plane, with our metrics API behind the real aggregator.
//!
//! Rule: certificates are checked everywhere, and every right is granted by RBAC: what works here works in a cluster.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panic, and say what they measured"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::client::Client;
use e2e::cluster::api::Api;
use e2e::cluster::control_plane::{ControlPlane, program};
use e2e::cluster::namespace;
use e2e::cluster::node::Node;
use e2e::cluster::pki::Authority;
use e2e::process::binary;
use e2e::wait;
use hyper::Method;
use serde_json::{Value, json};

const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta1";
const ACTIVE: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/smallest/pods/*/asr_active_requests";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/smallest/deployments/lightning-asr";
const HPA: &str = "/apis/autoscaling/v2/namespaces/smallest/horizontalpodautoscalers/lightning-asr";

/// A state that several controllers bring about, on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// A running control plane with an engine, the metrics API and one worker.
struct Rig {
    plane: Arc<ControlPlane>,
    authority: Authority,
    load: PathBuf,
    _node: Node,
}

impl Rig {
    async fn start(program: &Path) -> Self {
        let plane = Arc::new(ControlPlane::start(program).await.unwrap());
        let folder = |path: PathBuf| path.parent().unwrap().to_owned();
        let programs = vec![folder(binary().unwrap()), folder(env!("CARGO_BIN_EXE_cluster").into())];
        let node = Node::start(&plane, programs).await.unwrap();
        let authority = Authority::new(plane.folder(), "serving-ca").unwrap();
        let load = plane.folder().join("load");
        std::fs::write(&load, "0").unwrap();
        let rig = Self { plane, authority, load, _node: node };
        rig.plane.apply(&rights()).await.unwrap();
        rig.plane.apply(&[rig.workers(), rig.engine()]).await.unwrap();
        let engine = rig.until("/api/v1/namespaces/smallest/pods/engine", is_ready).await;
        let address = engine["status"]["podIP"].as_str().unwrap().to_owned();
        rig.plane.apply(&rig.metrics_api(&address)).await.unwrap();
        rig
    }

    /// The workers of the seed's product; their load is the number in a file.
    fn workers(&self) -> Value {
        let labels = json!({"app": "lightning-asr"});
        let container = json!({
            "name": "asr", "image": "local",
            "command": ["cluster", "worker", "$(POD_IP):2269", self.load],
            "env": [pod_ip()],
            "ports": [{"name": "metrics", "containerPort": 2269}],
            "readinessProbe": {"httpGet": {"path": "/metrics", "port": 2269}},
        });
        deployment("lightning-asr", &labels, "default", &container)
    }

    /// `crescendo server`, which finds the workers by the Kubernetes API, as an account that may watch pods.
    fn engine(&self) -> Value {
        let config = self.plane.folder().join("prometheus.yml");
        std::fs::write(&config, ENGINE).unwrap();
        let words = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", self.plane.folder().join("data").display()),
            "--web.listen-address=$(POD_IP):9090".to_owned(),
            // Nodes may not be listed by this account.
            "--kubernetes.state-metrics=deployments,horizontalpodautoscalers,nodes,pods".to_owned(),
        ];
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "engine", "namespace": "smallest", "labels": {"app": "engine"}},
            "spec": {"serviceAccountName": "crescendo", "containers": [{
                "name": "engine", "image": "local", "command": ["crescendo", "server"], "args": words,
                "env": [pod_ip()], "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}},
            }]},
        })
    }

    /// `crescendo adapter` behind its service and its two `APIService`s, which name whom to trust.
    fn metrics_api(&self, engine: &str) -> Vec<Value> {
        let identity = self.authority.server("metrics-api", &["metrics-api.smallest.svc"]).unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/adapter-seed.yaml");
        let labels = json!({"app": "metrics-api"});
        let container = json!({
            "name": "adapter", "image": "local", "command": ["crescendo", "adapter"], "env": [pod_ip()],
            "args": [
                format!("--config={}", rules.display()),
                format!("--prometheus-url=http://{engine}:9090"),
                format!("--tls-cert-file={}", identity.certificate.display()),
                format!("--tls-private-key-file={}", identity.key.display()),
                "--bind-address=$(POD_IP)", "--secure-port=6443",
                "--metrics-relist-interval=1s", "--metrics-max-age=1m", "--prometheus-scrape-interval=1s",
            ],
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics-api", "namespace": "smallest"},
            "spec": {"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
        });
        let bundle = http_client::base64::encode(self.authority.pem().as_bytes());
        let registered = [
            ("custom.metrics.k8s.io", "v1beta1"),
            ("custom.metrics.k8s.io", "v1beta2"),
            ("external.metrics.k8s.io", "v1beta1"),
        ];
        let mut objects = vec![deployment("metrics-api", &labels, "crescendo", &container), service];
        objects.extend(registered.map(|(group, version)| {
            json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": format!("{version}.{group}")},
                "spec": {
                    "group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
                    "service": {"name": "metrics-api", "namespace": "smallest"}, "caBundle": bundle,
                },
            })
        }));
        objects
    }

    /// Waits until an object is as `done` wants it.
    async fn until(&self, path: &str, done: impl FnMut(&Value) -> bool) -> Value {
        let found = wait::until(path, SOON, || self.plane.api.get(path), done).await;
        match found {
            Ok(found) => found,
            Err(error) => panic!("{error:#}\n{}\n{}", self.plane.log("apiserver"), self.logs()),
        }
    }

    /// What the containers have said.
    fn logs(&self) -> String {
        let pods = std::fs::read_dir(self.plane.folder().join("pods")).into_iter().flatten().flatten();
        let files = pods.flat_map(|pod| std::fs::read_dir(pod.path()).into_iter().flatten().flatten());
        let logs = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.map(|path| format!("{}:\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default()))
            .collect()
    }

    fn set_load(&self, load: u32) {
        // At once for whoever reads: a worker never sees an empty file.
        let next = self.load.with_extension("next");
        std::fs::write(&next, load.to_string()).unwrap();
        std::fs::rename(next, &self.load).unwrap();
    }
}

/// Pods of the namespace, each a target.
const ENGINE: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: asr
  kubernetes_sd_configs: [{role: pod, namespaces: {names: [smallest]}}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_label_app], regex: lightning-asr, action: keep}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
";

fn pod_ip() -> Value {
    json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|condition| condition["type"] == "Ready").any(|condition| condition["status"] == "True")
}

fn deployment(name: &str, labels: &Value, account: &str, container: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "smallest"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"serviceAccountName": account, "terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    })
}

/// The namespace, and what the accounts in it may do: `crescendo` what prometheus-adapter may, `nobody` nothing.
fn rights() -> Vec<Value> {
    let account = |name: &str| {
        let metadata = json!({"name": name, "namespace": "smallest"});
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    };
    let bind = |kind: &str, metadata: Value, role: Value, account: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "smallest"}],
        })
    };
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let cluster_role = |name: &str, group: &str, resources: &[&str], verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": [group], "resources": resources, "verbs": verbs}],
        })
    };
    let reader = role("Role", "extension-apiserver-authentication-reader");
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "smallest"}}),
        account("crescendo"),
        account("reader"),
        account("nobody"),
        cluster_role("crescendo", "", &["pods", "namespaces", "services"], &["get", "list", "watch"]),
        cluster_role("deployments", "apps", &["deployments"], &["list", "watch"]),
        cluster_role("autoscalers", "autoscaling", &["horizontalpodautoscalers"], &["list", "watch"]),
        bind("ClusterRoleBinding", json!({"name": "deployments"}), role("ClusterRole", "deployments"), "crescendo"),
        bind("ClusterRoleBinding", json!({"name": "autoscalers"}), role("ClusterRole", "autoscalers"), "crescendo"),
        cluster_role("metrics-reader", "custom.metrics.k8s.io", &["*"], &["get", "list"]),
        bind("ClusterRoleBinding", json!({"name": "crescendo"}), role("ClusterRole", "crescendo"), "crescendo"),
        bind(
            "ClusterRoleBinding",
            json!({"name": "delegator"}),
            role("ClusterRole", "system:auth-delegator"),
            "crescendo",
        ),
        bind("RoleBinding", json!({"name": "crescendo", "namespace": "kube-system"}), reader, "crescendo"),
        bind("ClusterRoleBinding", json!({"name": "reader"}), role("ClusterRole", "metrics-reader"), "reader"),
    ]
}

/// The autoscaler of the seed's product, with windows of seconds.
fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "lightning-asr", "namespace": "smallest"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "lightning-asr"},
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "asr_active_requests"}, "target": {"type": "AverageValue", "averageValue": "4"},
            }}],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
                "scaleDown": {"stabilizationWindowSeconds": 5, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn real_hpa_scales_on_our_metrics_api_behind_the_real_aggregator() {
    let Some(program) = program().unwrap() else {
        return println!("not run: no control plane; `make controlplane` builds it (with Go)");
    };
    if !namespace::is_inside() {
        if let Some(reason) = namespace::refusal().await.unwrap() {
            assert!(std::env::var_os("CI").is_none(), "no namespaces: {reason}");
            return println!("not run: no namespaces here: {reason}");
        }
        let test = "real_hpa_scales_on_our_metrics_api_behind_the_real_aggregator";
        return namespace::run_test(test).await.unwrap();
    }
    let rig = Rig::start(&program).await;
    for name in ["v1beta1.custom.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io"] {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
        let is_available = |service: &Value| {
            let conditions = service["status"]["conditions"].as_array().into_iter().flatten();
            conditions.filter(|one| one["type"] == "Available").any(|one| one["status"] == "True")
        };
        rig.until(&path, is_available).await;
    }
    seed_commands(&rig).await;
    Box::pin(who_may_ask(&rig)).await;
    up_and_down(&rig).await;
    state_series(&rig).await;
    verified(&rig).await;
}

/// `crescendo verify` finds what is there, through the aggregator, and names what is not.
async fn verified(rig: &Rig) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/crescendo/crds/servicemonitors.yaml");
    rig.plane.kubectl(&["apply", "-f", crds.to_str().unwrap()], "").await.unwrap();
    let selected = json!({"app": "lightning-asr"});
    let metadata = json!({"name": "lightning-asr", "namespace": "smallest", "labels": selected});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": selected, "ports": [{"name": "metrics", "port": 2269}]},
    });
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": metadata,
        "spec": {"selector": {"matchLabels": selected}, "endpoints": [{"port": "metrics"}]},
    });
    let engine = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "engine", "namespace": "smallest"},
        "spec": {"selector": {"app": "engine"}, "ports": [{"name": "web", "port": 9090}]},
    });
    rig.plane.apply(&[service, engine]).await.unwrap();
    // A kind is served a moment after it is known.
    let apply = || rig.plane.apply(std::slice::from_ref(&monitor));
    wait::until("the ServiceMonitor is taken", SOON, apply, |()| true).await.unwrap();
    let url = "svc/smallest/engine:9090";
    let proxied = "/api/v1/namespaces/smallest/services/engine:9090/proxy/api/v1/query?query=1";
    rig.until(proxied, |answer| answer["status"] == "success").await;
    let rules = rig.plane.folder().join("no-rules.yml");
    std::fs::write(&rules, "groups: []\n").unwrap();
    let (kubeconfig, rules) = (rig.plane.kubeconfig.to_str().unwrap(), rules.to_str().unwrap());
    let words = ["verify", "--kubeconfig", kubeconfig, "--prometheus-url", url, "--job", "asr", "--rules", rules];
    let report = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(binary().unwrap());
        let output = command.args(words).args(more).kill_on_drop(true).output().await?;
        anyhow::Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    println!("{}", report(&[]).await.unwrap().1);
    let (code, text) = report(&["-o", "json"]).await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let sections = document["sections"].as_array().unwrap();
    let findings: Vec<&Value> = sections.iter().flat_map(|section| section["findings"].as_array().unwrap()).collect();
    for (check, verdict, found) in [
        ("targets up", "ok", "1 of 1 UP"),
        ("ServiceMonitor", "ok", "selects app=lightning-asr: port metrics/metrics"),
        ("Service", "ok", "labels and port fit the ServiceMonitor"),
        ("pods", "ok", "1 ready"),
        ("APIService", "ok", "available, served by smallest/metrics-api"),
        ("values of pods", "ok", "lightning-asr-"),
        ("autoscaler", "ok", "Deployment lightning-asr: 1 replicas, 1 wanted, 1 to 3 allowed"),
        ("lag budget", "ok", "smallest/lightning-asr, Pods asr_active_requests: 1s + 0s + 15s = 16s at worst"),
        // The worker of this test tells one metric only.
        ("metric", "wrong", "no series"),
        ("custom metrics", "warning", "not listed: pods/asr_total_requests"),
    ] {
        let is_it = |one: &&&Value| one["check"] == check && one["verdict"] == verdict;
        let says = |one: &&Value| one["found"].as_str().is_some_and(|text| text.contains(found));
        assert!(findings.iter().filter(is_it).any(says), "no {verdict} of `{check}` with `{found}` in {document:#}");
    }
    assert_eq!((code, &document["summary"]["unknown"]), (Some(1), &json!(0)), "{document:#}");
}

/// "Check Prometheus Adapter" of the seed, by `kubectl` through the API server.
async fn seed_commands(rig: &Rig) {
    let raw = async |path: &str| {
        let text = rig.plane.kubectl(&["get", "--raw", path], "").await?;
        anyhow::Ok(serde_json::from_str::<Value>(&text)?)
    };
    let has = |list: &Value, name: &str| {
        list["resources"].as_array().into_iter().flatten().any(|resource| resource["name"] == name)
    };
    let expected = |list: &Value| has(list, "pods/asr_active_requests");
    wait::until("the metric is listed", SOON, || raw(CUSTOM), expected).await.unwrap();
    let list = wait::until("the metric has a value", SOON, || raw(ACTIVE), |_| true).await.unwrap();
    println!("kubectl get --raw {ACTIVE}\n{list:#}");
    assert_eq!((&list["kind"], &list["items"][0]["value"]), (&json!("MetricValueList"), &json!("0")), "{list}");
    assert_eq!(list["items"][0]["describedObject"]["kind"], "Pod");
    let selected = format!("{ACTIVE}?labelSelector=app%3Dlightning-asr");
    assert_eq!(raw(&selected).await.unwrap()["items"].as_array().map(Vec::len), Some(1));
}

/// What objects say of themselves is in the engine's storage, and an external metric of it in the metrics API; what the
/// account may not list costs itself only.
async fn state_series(rig: &Rig) {
    let engine = rig.plane.api.get("/api/v1/namespaces/smallest/pods/engine").await.unwrap();
    let engine = Client::new(&format!("http://{}:9090", engine["status"]["podIP"].as_str().unwrap()));
    let of = "{namespace=\"smallest\",horizontalpodautoscaler=\"lightning-asr\"}";
    for (expr, expected) in [
        ("kube_deployment_status_replicas{deployment=\"lightning-asr\"}".to_owned(), "1"),
        ("max_over_time(kube_deployment_status_replicas{deployment=\"lightning-asr\"}[1h])".to_owned(), "3"),
        (
            "kube_deployment_status_condition{deployment=\"lightning-asr\",condition=\"Available\",status=\"true\"}"
                .to_owned(),
            "1",
        ),
        (format!("kube_horizontalpodautoscaler_spec_max_replicas{of}"), "3"),
        (format!("kube_horizontalpodautoscaler_status_desired_replicas{of}"), "1"),
        (format!("kube_horizontalpodautoscaler_spec_target_metric{of}"), "4"),
        (format!("kube_horizontalpodautoscaler_status_target_metric{of}"), "1"),
        ("kube_pod_status_ready{pod=\"engine\",condition=\"true\"}".to_owned(), "1"),
        ("count(kube_pod_info{created_by_kind=\"ReplicaSet\",pod=~\"lightning-asr-.+\"})".to_owned(), "1"),
    ] {
        let found = wait::until(&expr, SOON, || engine.query(&expr, None), |found| found[0]["value"][1] == expected);
        let found = found.await;
        assert!(found.is_ok(), "{found:?}\n{}", rig.logs());
    }
    let (page, own) = (engine.get("/metrics/kube-state").await.unwrap(), engine.get("/metrics").await.unwrap());
    assert!(!page.text().contains("kube_node_info{"), "{}", page.text());
    for line in
        ["crescendo_kube_state_watch_up{resource=\"nodes\"} 0", "crescendo_kube_state_watch_up{resource=\"pods\"} 1"]
    {
        assert!(own.text().lines().any(|found| found == line), "no {line} in {}", own.text());
    }
    let logs = rig.logs();
    let refusals = logs.lines().filter(|line| line.contains("nodes is forbidden"));
    println!("{}", refusals.clone().next().unwrap_or_default());
    assert_eq!(refusals.count(), 1, "said once: {logs}");
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/smallest/lightning_asr_replica_count";
    let raw = || async { rig.plane.kubectl(&["get", "--raw", path], "").await };
    let list = wait::until(path, SOON, raw, |text| text.contains("\"value\":\"1\"")).await.unwrap();
    println!("kubectl get --raw {path}\n{list}");
}

/// Each way to ask, at the metrics API itself and through the API server.
async fn who_may_ask(rig: &Rig) {
    let pods = rig.plane.api.get("/api/v1/namespaces/smallest/pods?labelSelector=app%3Dmetrics-api").await.unwrap();
    let address = pods["items"][0]["status"]["podIP"].as_str().unwrap();
    // The certificate is one for the service's name, which a client of the address asks for by a name of its own.
    let direct = |identity: Option<&e2e::cluster::pki::Identity>, token: Option<&str>| {
        Api::new_named(
            &format!("https://{address}:6443"),
            Some("metrics-api.smallest.svc"),
            &rig.authority,
            identity,
            token,
        )
    };
    let through = |token: &str| Api::new(e2e::cluster::control_plane::API, &rig.plane.authority, None, Some(token));
    let foreign = Authority::new(rig.plane.folder(), "foreign-ca").unwrap();
    let stranger = foreign.client("front-proxy-client", Some("system:masters")).unwrap();
    let impostor = rig.plane.authority.client("front-proxy-client", None).unwrap();
    let owner = rig.plane.authority.client("owner", Some("system:masters")).unwrap();
    let reader = rig.plane.token("smallest", "reader").await.unwrap();
    let nobody = rig.plane.token("smallest", "nobody").await.unwrap();
    let identity = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    for (who, api, headers, expected) in [
        ("no certificate and no token", direct(None, None), &[][..], Some(401)),
        ("no certificate, with the headers of a front proxy", direct(None, None), &identity, Some(401)),
        ("a foreign authority", direct(Some(&stranger), None), &[], None),
        ("a foreign authority, with the headers", direct(Some(&stranger), None), &identity, None),
        ("a client with the front proxy's name and the headers", direct(Some(&impostor), None), &identity, Some(403)),
        ("a client of system:masters", direct(Some(&owner), None), &[], Some(200)),
        ("an unknown token", direct(None, Some("unknown")), &[], Some(401)),
        ("an account with the right", direct(None, Some(&reader)), &[], Some(200)),
        ("an account without rights", direct(None, Some(&nobody)), &[], Some(403)),
        ("the right, through the API server", through(&reader), &[], Some(200)),
        ("no rights, through the API server", through(&nobody), &[], Some(403)),
        ("an unknown token, through the API server", through("unknown"), &[], Some(401)),
    ] {
        let answer = api.send_with(Method::GET, ACTIVE, "application/json", Bytes::new(), headers).await;
        let text = format!("{answer:?}");
        let status = answer.ok().map(|(status, _)| status);
        // A certificate of a foreign authority may be refused within the handshake already.
        assert!(status == expected || (expected.is_none() && status == Some(401)), "{who}: {text}");
        let is_quiet = status == Some(200) || !text.contains("MetricValueList");
        assert!(is_quiet, "{who}: {text}");
        println!(
            "{who}: {}",
            status.map_or_else(|| "refused in the handshake".to_owned(), |status| status.to_string())
        );
    }
}

/// Load, three replicas; less load, one.
async fn up_and_down(rig: &Rig) {
    let scaled = |count: u64| {
        move |deployment: &Value| {
            let status = &deployment["status"];
            deployment["spec"]["replicas"] == count && status["readyReplicas"] == count && status["replicas"] == count
        }
    };
    rig.until(DEPLOYMENT, scaled(1)).await;
    rig.plane.apply(&[autoscaler()]).await.unwrap();
    let average = |hpa: &Value| hpa["status"]["currentMetrics"][0]["pods"]["current"]["averageValue"].clone();
    rig.until(HPA, |hpa| average(hpa) == "0").await;
    rig.set_load(12);
    rig.until(DEPLOYMENT, scaled(3)).await;
    rig.until(HPA, |hpa| average(hpa) == "12").await;
    rig.set_load(1);
    rig.until(DEPLOYMENT, scaled(1)).await;
    let hpa = rig.until(HPA, |hpa| hpa["status"]["currentReplicas"] == 1 && average(hpa) == "1").await;
    for condition in hpa["status"]["conditions"].as_array().unwrap() {
        println!("{} {} {}: {}", condition["type"], condition["status"], condition["reason"], condition["message"]);
    }
    let events = rig.plane.api.get("/api/v1/namespaces/smallest/events?fieldSelector=reason%3DSuccessfulRescale");
    let events = events.await.unwrap();
    let said: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|event| event["message"].as_str()).collect();
    println!("{said:#?}");
    assert_eq!(
        said,
        [
            "New size: 3; reason: pods metric asr_active_requests above target",
            "New size: 1; reason: All metrics below target",
        ]
    );
}
