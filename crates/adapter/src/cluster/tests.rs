//! A cluster of the tests' own, which knows tokens, permissions, authorities and resources.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamodel::time::ManualClock;
use datamodel::{Clock, Timestamp};
use http::{HeaderMap, HeaderValue};
use kubernetes::testing::{FakeCluster, Fault};
use metrics_api::{Attributes, Authenticator, Authorizer, Credentials, Decision, ResourceMapper, User};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Identity, TestAuthority};

const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

struct Rig {
    cluster: FakeCluster,
    clock: Arc<ManualClock>,
    /// What was asked of the cluster.
    reviews: Arc<Mutex<Vec<Value>>>,
}

impl Rig {
    /// Knows the token `good`, and lets `alice` do everything but what belongs to the namespace `secret`.
    async fn start() -> Self {
        let cluster = FakeCluster::start().await.unwrap();
        let reviews: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&reviews);
        cluster.on_create(Box::new(move |path, object| {
            seen.lock().unwrap().push(object.clone());
            let spec = &object["spec"];
            let status = if path.ends_with("tokenreviews") {
                match spec["token"].as_str() {
                    Some("good") => json!({
                        "authenticated": true,
                        "user": {"username": "alice", "uid": "1", "groups": ["team"], "extra": {"k": ["v"]}},
                    }),
                    _ => json!({"authenticated": false, "user": {}, "error": "token has expired"}),
                }
            } else {
                let is_secret = spec["resourceAttributes"]["namespace"] == "secret";
                let allowed = spec["user"] == "alice" && !is_secret;
                let is_silent = allowed || spec["user"] == "mallory";
                json!({"allowed": allowed, "reason": if is_silent { "" } else { "no rule" }})
            };
            Some(json!({"kind": object["kind"], "status": status}))
        }));
        Self { cluster, clock: Arc::new(ManualClock::new(START)), reviews }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    fn asked(&self) -> usize {
        self.reviews.lock().unwrap().len()
    }
}

async fn ask(authenticator: &dyn Authenticator, authorization: &[&'static str], chain: &[&Identity]) -> String {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append("authorization", HeaderValue::from_static(value));
    }
    headers.append("x-remote-user", HeaderValue::from_static("hpa"));
    let certificates: Vec<Vec<u8>> = chain.iter().map(|identity| identity.der.clone()).collect();
    let credentials = Credentials { headers: &headers, peer: None, certificates: &certificates };
    match authenticator.authenticate(credentials).await {
        Ok(user) => format!("{}/{}[{}]{:?}", user.name, user.uid, user.groups.join(","), user.extra),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn owner_of_a_token_is_asked_once_in_a_while() {
    let rig = Rig::start().await;
    let tokens = TokenReviews::new(rig.cluster.client(), rig.clock(), Duration::from_secs(10));
    let alice = r#"alice/1[team]{"k": ["v"]}"#;
    assert_eq!(ask(&tokens, &["Bearer good"], &[]).await, alice);
    rig.clock.advance(Duration::from_secs(9));
    assert_eq!(ask(&tokens, &["bearer good"], &[]).await, alice);
    assert_eq!(rig.asked(), 1);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&tokens, &["Bearer good"], &[]).await, alice);
    assert_eq!(rig.asked(), 2);
    let spec = &rig.reviews.lock().unwrap()[0];
    assert_eq!(spec["spec"], json!({"token": "good"}));
}

#[tokio::test]
async fn unknown_token_is_refused_and_a_review_that_fails_is_not_kept() {
    let rig = Rig::start().await;
    let tokens = TokenReviews::new(rig.cluster.client(), rig.clock(), Duration::from_secs(10));
    let check = async |authorization: &[&'static str], expected: &str| {
        let answer = ask(&tokens, authorization, &[]).await;
        assert!(answer.contains(expected), "{answer}");
    };
    check(&[], "none was given").await;
    check(&["Basic YTpi"], "none was given").await;
    check(&["Bearer  "], "none was given").await;
    check(&["Bearer good", "Bearer good"], "none was given").await;
    assert_eq!(rig.asked(), 0);
    check(&["Bearer old"], "token has expired").await;
    check(&["Bearer old"], "the cluster does not know it").await;
    assert_eq!(rig.asked(), 1);
    rig.cluster.fail_next("tokenreviews", Fault::Status(500, "InternalError"));
    check(&["Bearer good"], "InternalError").await;
    check(&["Bearer good"], "alice").await;
}

fn resource(namespace: &str) -> Attributes {
    Attributes::Resource {
        verb: "get",
        group: "custom.metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        namespace: namespace.to_owned(),
        resource: "pods".to_owned(),
        name: "*".to_owned(),
        subresource: "m".to_owned(),
    }
}

#[tokio::test]
async fn permission_is_asked_as_upstream_asks_and_kept_for_a_while() {
    let rig = Rig::start().await;
    let reviews = AccessReviews::new(rig.cluster.client(), rig.clock(), CacheTimes::default());
    let alice = User { name: "alice".to_owned(), groups: vec!["team".to_owned()], ..User::default() };
    let allowed = resource("a");
    for _ in 0..2 {
        assert_eq!(reviews.authorize(&alice, &allowed).await.unwrap(), Decision::Allow);
        let denied = reviews.authorize(&alice, &resource("secret")).await.unwrap();
        assert_eq!(denied, Decision::Deny("no rule".to_owned()));
    }
    assert_eq!(rig.asked(), 2);
    let path = Attributes::NonResource { path: "/metrics".to_owned() };
    reviews.authorize(&alice, &path).await.unwrap();
    let specs: Vec<Value> = rig.reviews.lock().unwrap().iter().map(|review| review["spec"].clone()).collect();
    assert_eq!(
        specs[0],
        json!({
            "resourceAttributes": {
                "namespace": "a", "verb": "get", "group": "custom.metrics.k8s.io", "version": "v1beta1",
                "resource": "pods", "subresource": "m", "name": "*",
            },
            "user": "alice", "groups": ["team"], "extra": {},
        })
    );
    assert_eq!(specs[2]["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
    rig.clock.advance(Duration::from_secs(10));
    reviews.authorize(&alice, &allowed).await.unwrap();
    assert_eq!(rig.asked(), 4);
    // Another user is another question; masters are none; a failure is a refusal.
    let eve = User { name: "eve".to_owned(), ..User::default() };
    assert_eq!(reviews.authorize(&eve, &allowed).await.unwrap(), Decision::Deny("no rule".to_owned()));
    // RBAC gives no reason; what is missing is said all the same.
    let mallory = User { name: "mallory".to_owned(), ..User::default() };
    for (attributes, expected) in [
        (
            resource("a"),
            "no role lets user `mallory` do it in namespace `a`: bind one with verb `get`, API group \
             `custom.metrics.k8s.io`, resource `pods/m`",
        ),
        (path, "no role lets user `mallory` do it: bind a ClusterRole with verb `get`, non-resource URL `/metrics`"),
    ] {
        let refused = reviews.authorize(&mallory, &attributes).await.unwrap();
        assert_eq!(refused, Decision::Deny(expected.to_owned()));
    }
    let root = User { name: "root".to_owned(), groups: vec!["system:masters".to_owned()], ..User::default() };
    assert_eq!(reviews.authorize(&root, &resource("secret")).await.unwrap(), Decision::Allow);
    assert_eq!(rig.asked(), 7);
    rig.cluster.fail_next("subjectaccessreviews", Fault::Status(503, "ServiceUnavailable"));
    reviews.authorize(&alice, &resource("other")).await.unwrap_err();
}

fn authorities(clients: &TestAuthority, proxies: &TestAuthority, names: &str) -> Value {
    json!({
        "metadata": {"namespace": "kube-system", "name": "extension-apiserver-authentication"},
        "data": {
            "client-ca-file": clients.pem(),
            "requestheader-client-ca-file": proxies.pem(),
            "requestheader-allowed-names": names,
            "requestheader-username-headers": "[\"X-Remote-User\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        },
    })
}

#[tokio::test]
async fn authorities_of_the_cluster_are_looked_up_and_follow_its_rotation() {
    let rig = Rig::start().await;
    let known = LookedUp::new(rig.cluster.client(), rig.clock(), LookupOptions::default()).unwrap();
    let (clients, proxies) = (TestAuthority::new(), TestAuthority::new());
    let (alice, proxy) = (clients.client("alice", &["team"]), proxies.client("aggregator", &[]));
    assert!(ask(&known, &[], &[&alice]).await.contains("no accepted credential"));
    let error = known.look().await.unwrap_err();
    assert!(error.to_string().starts_with("cannot read the ConfigMap kube-system/"), "{error}");
    let put = |clients: &TestAuthority, proxies: &TestAuthority, names: &str| {
        rig.cluster.put("/api/v1/configmaps", authorities(clients, proxies, names));
    };
    put(&clients, &proxies, "[\"aggregator\"]");
    assert!(known.look().await.unwrap());
    assert!(!known.look().await.unwrap());
    assert_eq!(ask(&known, &[], &[&alice]).await, "alice/[team,system:authenticated]{}");
    assert_eq!(ask(&known, &[], &[&proxy]).await, "hpa/[]{}");
    // A client's certificate with the name of the front proxy speaks for its owner alone.
    let namesake = clients.client("aggregator", &[]);
    assert_eq!(ask(&known, &[], &[&namesake]).await, "aggregator/[system:authenticated]{}");
    // Other names, a value that cannot be read, another authority.
    put(&clients, &proxies, "[\"other\"]");
    assert!(known.look().await.unwrap());
    assert!(ask(&known, &[], &[&proxy]).await.contains("is not one of the allowed names"));
    put(&clients, &proxies, "aggregator");
    let error = known.look().await.unwrap_err().to_string();
    assert!(error.starts_with("`requestheader-allowed-names` of the ConfigMap"), "{error}");
    assert_eq!(ask(&known, &[], &[&alice]).await, "alice/[team,system:authenticated]{}");
    let rotated = TestAuthority::new();
    put(&rotated, &proxies, "[]");
    assert!(known.look().await.unwrap());
    assert!(ask(&known, &[], &[&alice]).await.contains("invalid peer certificate"));
    assert_eq!(ask(&known, &[], &[&rotated.client("bob", &[])]).await, "bob/[system:authenticated]{}");
}

#[tokio::test]
async fn resources_are_those_of_the_cluster_and_metrics_are_none() {
    let rig = Rig::start().await;
    let resources = ClusterResources::new(rig.cluster.client());
    let kind = |name: &str| resources.resource("", name).map(|info| info.kind);
    assert_eq!((kind("pod").as_deref(), kind("widget")), (Some("Pod"), None));
    let answers = [
        ("/api/v1", json!({"resources": [{"name": "pods", "singularName": "pod", "kind": "Pod", "namespaced": true}]})),
        (
            "/apis",
            json!({"groups": [
                {"name": "example.com", "preferredVersion": {"version": "v1"}},
                {"name": "external.metrics.k8s.io", "preferredVersion": {"version": "v1beta1"}},
            ]}),
        ),
        ("example.com", json!({"resources": [{"name": "widgets", "kind": "Widget", "namespaced": true}]})),
        ("external", json!({"resources": [{"name": "queue", "kind": "ExternalMetricValueList", "namespaced": true}]})),
    ];
    for (path, answer) in answers {
        rig.cluster.fail_next(path, Fault::Body(answer.to_string().into_bytes()));
    }
    resources.look().await.unwrap();
    // A discovery that fails leaves what is known.
    resources.look().await.unwrap_err();
    assert_eq!(kind("widget").as_deref(), Some("Widget"));
    assert_eq!(kind("pods").as_deref(), Some("Pod"));
    assert_eq!((kind("queue"), kind("deployment")), (None, None));
}
