//! The client and its reflectors against an API server on loopback, well and ill.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{FakeCluster, Fault};

const PODS: &str = "/api/v1/pods";

fn pod(name: &str, app: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "a", "labels": {"app": app},
            "managedFields": [{"fieldsV1": {"f:metadata": {}}}],
        },
        "status": {"phase": "Running"},
    })
}

fn options() -> ReflectorOptions {
    let quick = Duration::from_millis(1);
    ReflectorOptions { first_backoff: quick, max_backoff: quick, page_size: 2, ..ReflectorOptions::default() }
}

fn reflector(cluster: &FakeCluster, scope: Scope) -> Reflector<MetadataOnly> {
    Reflector::new(cluster.client(), Resource::core("pods"), scope, options())
}

/// Runs a reflector beside a test.
async fn with<F: Future<Output = ()>>(
    reflector: Reflector<MetadataOnly>,
    test: impl FnOnce(Arc<Store<MetadataOnly>>) -> F,
) {
    let shutdown = CancellationToken::new();
    let store = reflector.store();
    let test = async {
        test(store).await;
        shutdown.cancel();
    };
    tokio::join!(reflector.run(shutdown.clone()), test);
}

fn names(store: &Store<MetadataOnly>) -> Vec<String> {
    store.all().iter().map(|object| object.metadata.name.clone()).collect()
}

/// Waits until the store holds these.
async fn holds(store: &Store<MetadataOnly>, expected: &[&str]) {
    let mut progress = store.progress();
    let reached = async {
        while !store.is_ready() || names(store) != expected {
            progress.changed().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{:?} instead of {expected:?}", names(store));
}

#[tokio::test]
async fn store_follows_the_server_through_pages_events_and_ends_of_watches() {
    let cluster = FakeCluster::start().await.unwrap();
    for name in ["p1", "p2", "p3", "p4", "p5"] {
        cluster.put(PODS, pod(name, "asr"));
    }
    with(reflector(&cluster, Scope::default()), |store| {
        let cluster = &cluster;
        async move {
            holds(&store, &["p1", "p2", "p3", "p4", "p5"]).await;
            let pages = cluster.requests().iter().filter(|request| request.contains("limit=2")).count();
            assert_eq!(pages, 3, "{:?}", cluster.requests());
            cluster.put(PODS, pod("p6", "asr"));
            cluster.delete(PODS, "a", "p1");
            holds(&store, &["p2", "p3", "p4", "p5", "p6"]).await;
            cluster.close_watches();
            cluster.put(PODS, pod("p7", "asr"));
            cluster.delete(PODS, "a", "p2");
            holds(&store, &["p3", "p4", "p5", "p6", "p7"]).await;
            let lists = cluster.requests().iter().filter(|request| !request.contains("watch")).count();
            assert_eq!(lists, 3, "after the end of a watch it goes on from its version: {:?}", cluster.requests());
        }
    })
    .await;
}

#[tokio::test]
async fn version_that_is_forgotten_is_listed_anew_and_what_went_meanwhile_goes() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(PODS, pod("p1", "asr"));
    cluster.put(PODS, pod("p2", "asr"));
    with(reflector(&cluster, Scope::default()), |store| {
        let cluster = &cluster;
        async move {
            holds(&store, &["p1", "p2"]).await;
            cluster.delete(PODS, "a", "p1");
            cluster.put(PODS, pod("p3", "asr"));
            cluster.compact();
            cluster.close_watches();
            holds(&store, &["p2", "p3"]).await;
            assert!(store.failure().is_none(), "a forgotten version is no failure");
        }
    })
    .await;
}

#[tokio::test]
async fn bookmark_spares_the_list_after_the_versions_before_it_are_forgotten() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(PODS, pod("p1", "asr"));
    with(reflector(&cluster, Scope::default()), |store| {
        let cluster = &cluster;
        async move {
            holds(&store, &["p1"]).await;
            // The watch begins after the list; what it says next comes through it.
            cluster.put(PODS, pod("p2", "asr"));
            holds(&store, &["p1", "p2"]).await;
            cluster.bookmark(PODS);
            cluster.close_watches();
            cluster.until_requested("watch=", 2).await;
            let watches: Vec<String> =
                cluster.requests().into_iter().filter(|request| request.contains("watch")).collect();
            assert!(watches[0].contains("resourceVersion=2"), "{watches:?}");
            assert!(watches[1].contains("resourceVersion=4"), "the bookmark's: {watches:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_garbage_and_broken_connections_leave_what_is_known_and_end() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(PODS, pod("p1", "asr"));
    let garbage = |text: &str| Fault::Body(text.as_bytes().to_vec());
    for fault in [
        Fault::Close,
        Fault::Status(500, "InternalError"),
        Fault::Status(403, "Forbidden"),
        garbage("<html>"),
        garbage("{\"items\": 5}"),
        garbage("{\"metadata\": {\"continue\": \"x\"}, \"items\": [{\"metadata\": {\"name\": 7}}]}"),
    ] {
        cluster.fail_next("limit=", fault);
    }
    with(reflector(&cluster, Scope::default()), |store| {
        let cluster = &cluster;
        async move {
            holds(&store, &["p1"]).await;
            for fault in [
                Fault::Close,
                Fault::Status(503, "ServiceUnavailable"),
                Fault::Status(410, "Expired"),
                garbage("no line"),
                garbage("{\"type\": \"ADDED\"}\n"),
                garbage("{\"type\": \"STRANGE\", \"object\": {}}\n"),
                garbage("{\"type\": \"ERROR\", \"object\": {\"code\": 410}}\n"),
                garbage("{\"type\": \"ERROR\", \"object\": 5}\n"),
                Fault::Body(vec![b'x'; 9 * 1024 * 1024]),
            ] {
                cluster.fail_next("watch=", fault);
            }
            cluster.close_watches();
            cluster.put(PODS, pod("p2", "asr"));
            holds(&store, &["p1", "p2"]).await;
            cluster.until_faults_are_met().await;
            cluster.put(PODS, pod("p3", "asr"));
            holds(&store, &["p1", "p2", "p3"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn failure_is_told_while_it_lasts() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(PODS, pod("p1", "asr"));
    cluster.fail_next("limit=", Fault::Status(403, "Forbidden"));
    let quiet = ReflectorOptions { first_backoff: Duration::from_secs(3_600), ..options() };
    let quiet = ReflectorOptions { max_backoff: Duration::from_secs(3_600), ..quiet };
    let forbidden = Reflector::<MetadataOnly>::new(cluster.client(), Resource::core("pods"), Scope::default(), quiet);
    with(forbidden, |store| async move {
        let mut progress = store.progress();
        while store.failure().is_none() {
            progress.changed().await.unwrap();
        }
        assert!(!store.is_ready());
        let error = store.failure().unwrap();
        assert!(error.is_forbidden());
        assert_eq!(error.to_string(), "Forbidden (403): by order");
    })
    .await;
}

#[tokio::test]
async fn scope_narrows_what_is_listed_and_watched() {
    let cluster = FakeCluster::start().await.unwrap();
    cluster.put(PODS, pod("p1", "asr"));
    cluster.put(PODS, pod("p2", "web"));
    let scope = Scope { label_selector: "app in (asr)".to_owned(), ..Scope::namespace("a") };
    let options = ReflectorOptions { format: Format::Metadata, ..options() };
    let watcher = Reflector::new(cluster.client(), Resource::core("pods"), scope, options);
    with(watcher, |store| {
        let cluster = &cluster;
        async move {
            holds(&store, &["p1"]).await;
            cluster.put(PODS, pod("p3", "web"));
            cluster.put(PODS, pod("p4", "asr"));
            holds(&store, &["p1", "p4"]).await;
            let requests = cluster.requests();
            assert!(requests.iter().all(|request| request.starts_with("GET /api/v1/namespaces/a/pods?labelSelector=")));
        }
    })
    .await;
}

#[tokio::test]
async fn objects_are_read_made_and_changed() {
    let cluster = FakeCluster::start().await.unwrap();
    let client = cluster.client();
    let maps = Resource::core("configmaps");
    let object = json!({"metadata": {"name": "c", "namespace": "a"}, "data": {"x": "1", "y": "2"}});
    let path = maps.path(Some("a"));
    let made: Value = client.create(&path, &object).await.unwrap();
    assert_eq!(made["data"]["x"], "1");
    assert!(client.create::<Value>(&path, &object).await.unwrap_err().is_conflict());
    let one = maps.object_path(Some("a"), "c");
    let change = json!({"data": {"x": null, "z": "3"}});
    let changed: Value = client.patch(&one, "fieldManager=crescendo", Patch::Merge, &change).await.unwrap();
    assert_eq!(changed["data"], json!({"y": "2", "z": "3"}));
    let read: Value = client.get(&one).await.unwrap();
    assert_eq!(read["data"], changed["data"]);
    assert!(client.get::<Value>(&maps.object_path(Some("a"), "none")).await.unwrap_err().is_not_found());
    let listed: Vec<MetadataOnly> = client.list(&maps, &Scope::namespace("a"), Format::Metadata).await.unwrap();
    assert_eq!(listed[0].key(), ObjectKey::new("a", "c"));
}

#[tokio::test]
async fn list_whose_instant_is_forgotten_between_two_pages_begins_anew() {
    let cluster = FakeCluster::start().await.unwrap();
    for index in 0..600 {
        cluster.put(PODS, pod(&format!("p{index:03}"), "asr"));
    }
    cluster.fail_next("continue=", Fault::Status(410, "Expired"));
    let listed: Vec<MetadataOnly> =
        cluster.client().list(&Resource::core("pods"), &Scope::default(), Format::Whole).await.unwrap();
    assert_eq!(listed.len(), 600);
    assert_eq!(cluster.requests().len(), 4);
}

#[tokio::test]
async fn list_that_goes_nowhere_ends() {
    let cluster = FakeCluster::start().await.unwrap();
    let page = json!({"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}).to_string();
    for _ in 0..3 {
        cluster.fail_next("limit=", Fault::Body(page.clone().into_bytes()));
    }
    let listed = cluster.client().list::<MetadataOnly>(&Resource::core("pods"), &Scope::default(), Format::Whole).await;
    assert_eq!(listed.unwrap_err().to_string(), "answer that cannot be read: the list goes on for ever");
}
