//! Groups of a small cluster, and how they are found and kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamodel::registry::Registry;
use discovery::{DiscoveryContext, DiscoveryMetrics, TargetGroup, Updates};
use expect_test::{Expect, expect};
use http_client::ClientOptions;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{FakeCluster, Fault};

const CLUSTER: &str = include_str!("../../testdata/cluster.yaml");

fn decode(text: &str) -> Result<Arc<dyn discovery::DiscoveryConfig>, String> {
    let decoded = yaml::decode("f", text, |node, report| kubernetes_sd(node, report, Path::new("/etc/p")));
    decoded.map_err(|errors| errors.to_string())
}

fn context() -> DiscoveryContext {
    let metrics = DiscoveryMetrics::new(&Registry::new()).unwrap();
    DiscoveryContext { client: ClientOptions::default(), metrics, id_seed: 7 }
}

/// Runs the discovery that a configuration describes beside a test, which gets its reports.
async fn with<F: Future<Output = ()>>(
    cluster: &FakeCluster,
    config: &str,
    test: impl FnOnce(mpsc::Receiver<discovery::Update>) -> F,
) {
    let config = decode(&format!("{{api_server: {}, {config}}}", cluster.url())).unwrap();
    let discoverer = config.discoverer(&context()).unwrap();
    let (sender, updates) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let test = async {
        test(updates).await;
        shutdown.cancel();
    };
    tokio::join!(discoverer.run(Updates::new(0, sender), shutdown.clone()), test);
}

/// The next report; fails where there is none for long.
async fn next(updates: &mut mpsc::Receiver<discovery::Update>) -> Vec<TargetGroup> {
    tokio::time::timeout(Duration::from_secs(20), updates.recv()).await.expect("no report").unwrap().groups
}

fn shown(groups: &[TargetGroup]) -> String {
    let mut text = String::new();
    for group in groups {
        text.push_str(&format!("{}: {} targets\n", group.source, group.targets.len()));
    }
    text
}

/// The labels of a group without the beginning that all have.
fn labels(group: &TargetGroup) -> String {
    let mut text = String::new();
    for (kind, labels) in
        std::iter::once(("group", &group.labels)).chain(group.targets.iter().map(|one| ("target", one)))
    {
        text.push_str(kind);
        text.push('\n');
        for (name, value) in labels.iter() {
            let name = name.strip_prefix("__meta_kubernetes_").unwrap_or(name);
            text.push_str(&format!("  {name}={value}\n"));
        }
    }
    text
}

async fn first(config: &str) -> Vec<TargetGroup> {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put_all(CLUSTER).unwrap();
    let mut found = Vec::new();
    with(&cluster, config, |mut updates| {
        let found = &mut found;
        async move { *found = next(&mut updates).await }
    })
    .await;
    found
}

async fn check_groups(config: &str, expected: &Expect) {
    expected.assert_eq(&shown(&first(config).await));
}

#[tokio::test]
async fn roles_give_the_targets_of_their_objects_with_all_their_labels() {
    let attached = "attach_metadata: {node: true, namespace: true}";
    for (name, config) in [
        ("pod", "role: pod".to_owned()),
        ("service", "role: service".to_owned()),
        ("endpoints", "role: endpoints".to_owned()),
        ("endpointslice", "role: endpointslice".to_owned()),
        ("node", "role: node".to_owned()),
        ("ingress", "role: ingress".to_owned()),
        ("pod-attached", format!("role: pod, {attached}")),
        ("endpointslice-attached", format!("role: endpointslice, {attached}")),
    ] {
        let groups = first(&config).await;
        let text: String = groups.iter().map(|group| format!("{}\n{}", group.source, labels(group))).collect();
        let path = format!("{}/testdata/targets/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_test::expect_file![path].assert_eq(&text);
    }
}

#[tokio::test]
async fn namespaces_and_selectors_narrow_what_is_found() {
    check_groups(
        "role: pod, namespaces: {names: [other]}",
        &expect![[r#"
        pod/other/web: 1 targets
    "#]],
    )
    .await;
    check_groups(
        "role: pod, namespaces: {names: [other, smallest]}",
        &expect![[r#"
        pod/other/web: 1 targets
        pod/smallest/asr-1: 4 targets
        pod/smallest/asr-2: 1 targets
    "#]],
    )
    .await;
    check_groups(
        "role: pod, selectors: [{role: pod, label: 'app=asr', field: 'spec.nodeName=node-2'}]",
        &expect![[r#"
            pod/smallest/asr-2: 1 targets
        "#]],
    )
    .await;
}

#[tokio::test]
async fn changes_are_reported_and_only_they() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put_all(CLUSTER).unwrap();
    with(&cluster, "role: endpoints", |mut updates| {
        let cluster = &cluster;
        async move {
            assert_eq!(next(&mut updates).await.len(), 2);
            // A pod changes: the group of the endpoints before it changes with it.
            let mut pod = cluster.get("/api/v1/pods", "smallest", "asr-1").unwrap();
            pod["metadata"]["labels"]["version"] = json!("2");
            cluster.put("/api/v1/pods", pod);
            let changed = next(&mut updates).await;
            assert_eq!(shown(&changed), "endpoints/smallest/asr: 5 targets\n");
            assert!(labels(&changed[0]).contains("  pod_label_version=2\n"));
            cluster.delete("/api/v1/endpoints", "other", "alone");
            assert_eq!(shown(&next(&mut updates).await), "endpoints/other/alone: 0 targets\n");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_reported_before_everything_was_listed_and_targets_stay_while_the_api_fails() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put_all(CLUSTER).unwrap();
    cluster.fail_next("/api/v1/pods?", Fault::Status(403, "Forbidden"));
    with(&cluster, "role: endpoints", |mut updates| {
        let cluster = &cluster;
        async move {
            let first = next(&mut updates).await;
            assert!(labels(&first[1]).contains("  pod_name=asr-1\n"), "pods were listed by then");
            for _ in 0..3 {
                cluster.fail_next("watch=", Fault::Status(500, "InternalError"));
                cluster.fail_next("limit=", Fault::Close);
            }
            cluster.close_watches();
            cluster.until_faults_are_met().await;
            cluster.delete("/api/v1/endpoints", "other", "alone");
            // The first that is heard of it is the true change, never a loss.
            assert_eq!(shown(&next(&mut updates).await), "endpoints/other/alone: 0 targets\n");
        }
    })
    .await;
}

#[tokio::test]
async fn first_report_of_an_empty_cluster_is_empty() {
    let cluster = FakeCluster::start().await.unwrap();
    with(&cluster, "role: node", |mut updates| async move { assert_eq!(next(&mut updates).await, []) }).await;
}

#[test]
fn wrong_configurations_are_refused_by_key() {
    let check = |text: &str, expected: &str| assert_eq!(decode(text).unwrap_err(), expected, "{text}");
    check("{}", "f:1:1: role: required key is missing");
    check(
        "role: pods",
        "f:1:7: role: expected one of `pod`, `endpoints`, `endpointslice`, `service`, `node`, `ingress`, found `pods` (did you mean `pod`?)",
    );
    check("{role: pod, namespace: [a]}", "f:1:13: namespace: unknown key (did you mean `namespaces`?)");
    check(
        "{role: pod, basic_auth: {username: a}}",
        "f:1:1: keys of the HTTP client need `api_server`: a pod's own account needs none of them",
    );
    check(
        "{role: pod, kubeconfig_file: k, basic_auth: {username: a}}",
        "f:1:30: kubeconfig_file: cannot be used together with keys of the HTTP client: the file says it all",
    );
    check(
        "{role: pod, kubeconfig_file: k, api_server: 'https://a'}",
        "f:1:30: kubeconfig_file: cannot be used together with `api_server`",
    );
    check(
        "{role: pod, api_server: 'https://a', namespaces: {own_namespace: true}}",
        "f:1:50: namespaces: `own_namespace` is that of this pod: it cannot be used with another API server",
    );
    check(
        "{role: service, selectors: [{role: service, label: '=='}]}",
        "f:1:52: selectors[0].label: unable to parse selector: found `==`, expected a label key or `!`",
    );
    check(
        "{role: service, selectors: [{role: pod, label: a}]}",
        "f:1:28: selectors: role `service` takes selectors of `service` only, found `pod`",
    );
    check(
        "{role: pod, selectors: [{role: pod, label: a}, {role: pod, label: b}]}",
        "f:1:24: selectors: two selectors of the role `pod`",
    );
}

#[test]
fn good_configurations_are_read() {
    for text in [
        "role: pod",
        "{role: endpoints, namespaces: {own_namespace: true, names: [a]}, attach_metadata: {node: true}}",
        "{role: node, kubeconfig_file: config, selectors: [{role: node, field: metadata.name=a}]}",
        "{role: ingress, api_server: 'https://1.2.3.4:6443', authorization: {credentials_file: token}, tls_config: {ca_file: ca}}",
        "{role: endpointslice, selectors: [{role: endpointslice, label: a}, {role: pod, label: b}, {role: service, label: c}]}",
    ] {
        assert!(decode(text).is_ok(), "{text}: {:?}", decode(text).err());
    }
    let error = decode("role: pod").unwrap().discoverer(&context()).unwrap_err();
    assert_eq!(error.to_string(), "kubernetes_sd_configs cannot be started");
}
