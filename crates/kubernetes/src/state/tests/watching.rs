//! Watches on a cluster: what the page says while objects come, change and go, and while a resource is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::client::ReflectorOptions;
use crate::testing::{FakeCluster, Fault};

const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";

fn deployment(namespace: &str, name: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "managedFields": [{"fieldsV1": {}}]},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas},
    })
}

fn scope(resources: &[StateResource], namespaces: &[&str]) -> StateScope {
    StateScope {
        resources: resources.iter().copied().collect(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
    }
}

async fn with<F: Future<Output = ()>>(cluster: &FakeCluster, scope: StateScope, test: impl FnOnce(StateSeries) -> F) {
    let quick = Duration::from_millis(1);
    let options = ReflectorOptions { first_backoff: quick, max_backoff: quick, ..ReflectorOptions::default() };
    let (series, watches) = StateSeries::new(&cluster.client(), &scope, options);
    let shutdown = CancellationToken::new();
    let test = async {
        test(series).await;
        shutdown.cancel();
    };
    tokio::join!(watches.run(shutdown.clone()), test);
}

/// Waits until the page, or why there is none, is as it should be.
async fn until(series: &StateSeries, what: &str, is_it: impl Fn(&Result<String, StateError>) -> bool) {
    let reached = async {
        while !is_it(&series.page(Format::PrometheusText004)) {
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
    assert!(reached.is_ok(), "{what}: {:?}", series.page(Format::PrometheusText004));
}

fn says(line: &str) -> impl Fn(&Result<String, StateError>) -> bool {
    move |page| page.as_ref().is_ok_and(|page| page.lines().any(|found| found == line))
}

#[tokio::test]
async fn page_follows_the_cluster_and_ends_with_what_is_gone() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(DEPLOYMENTS, deployment("a", "d", 2));
    with(&cluster, scope(&[StateResource::Deployments], &[]), |series| {
        let cluster = &cluster;
        async move {
            let wanted =
                |replicas| format!("kube_deployment_spec_replicas{{namespace=\"a\",deployment=\"d\"}} {replicas}");
            until(&series, "the first", says(&wanted(2))).await;
            cluster.put(DEPLOYMENTS, deployment("a", "d", 3));
            until(&series, "the change", says(&wanted(3))).await;
            cluster.delete(DEPLOYMENTS, "a", "d");
            let is_gone = |page: &Result<String, StateError>| page.as_ref().is_ok_and(|page| !page.contains("\"d\""));
            until(&series, "the end", is_gone).await;
        }
    })
    .await;
    let foreign = cluster.requests().into_iter().find(|request| !request.contains(DEPLOYMENTS));
    assert_eq!(foreign, None, "nothing is asked that nobody wants to know");
}

#[tokio::test]
async fn nothing_is_said_before_all_was_listed_and_a_refused_resource_costs_itself() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(DEPLOYMENTS, deployment("a", "d", 2));
    cluster.fail_next("deployments?limit", Fault::Status(503, "ServiceUnavailable"));
    // What is refused stays refused.
    for _ in 0..10_000 {
        cluster.fail_next("nodes?limit", Fault::Status(403, "Forbidden"));
    }
    let both = scope(&[StateResource::Deployments, StateResource::Nodes], &[]);
    let (series, _never_run) = StateSeries::new(&cluster.client(), &both, ReflectorOptions::default());
    let unknown = StateError::Unknown { resource: "deployments", reason: None };
    assert_eq!(series.page(Format::PrometheusText004), Err(unknown));
    with(&cluster, both, |series| async move {
        let line = "kube_deployment_spec_replicas{namespace=\"a\",deployment=\"d\"} 2";
        until(&series, "the Deployment alone", says(line)).await;
        let watches: Vec<_> =
            series.watches().iter().map(|watch| (watch.resource, watch.is_up, watch.objects)).collect();
        assert_eq!(watches, [(StateResource::Deployments, true, 1), (StateResource::Nodes, false, 0)]);
    })
    .await;
}

#[tokio::test]
async fn namespaces_are_watched_one_by_one_and_nodes_as_a_whole() {
    let cluster = FakeCluster::start().await.unwrap();
    for namespace in ["a", "b", "c"] {
        cluster.put(DEPLOYMENTS, deployment(namespace, "d", 1));
    }
    cluster.put("/api/v1/nodes", json!({"metadata": {"name": "n1"}}));
    let scope = scope(&[StateResource::Deployments, StateResource::Nodes], &["a", "c"]);
    with(&cluster, scope, |series| async move {
        until(&series, "both", |page| page.is_ok()).await;
        let page = series.page(Format::PrometheusText004).unwrap();
        for (namespace, is_told) in [("a", true), ("b", false), ("c", true)] {
            assert_eq!(page.contains(&format!("namespace=\"{namespace}\"")), is_told, "{page}");
        }
        assert!(page.contains("kube_node_info{node=\"n1\""), "{page}");
        let families = page.lines().filter(|line| *line == "# TYPE kube_deployment_created gauge").count();
        assert_eq!(families, 1, "of several namespaces one family is made");
    })
    .await;
    assert!(cluster.requests().iter().any(|request| request.contains("/namespaces/c/deployments?limit")));
}

#[tokio::test]
async fn what_was_said_stays_while_the_api_fails() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(DEPLOYMENTS, deployment("a", "d", 2));
    with(&cluster, scope(&[StateResource::Deployments], &[]), |series| {
        let cluster = &cluster;
        async move {
            let line = "kube_deployment_spec_replicas{namespace=\"a\",deployment=\"d\"} 2";
            until(&series, "the first", says(line)).await;
            for _ in 0..20 {
                cluster.fail_next("deployments?", Fault::Status(500, "InternalError"));
            }
            cluster.close_watches();
            cluster.until_faults_are_met().await;
            assert!(says(line)(&series.page(Format::PrometheusText004)), "{series:?}");
        }
    })
    .await;
}
