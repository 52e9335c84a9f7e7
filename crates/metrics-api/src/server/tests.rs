use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::{AuthError, LoopbackOnly, User};
use crate::source::InstantAnswer;
use crate::testing::{Rig, labels, pod_sample, vector};

const PODS: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/asr/pods/*/asr_active_requests";

/// Knows one token, and lets its owner see external metrics only.
struct OneToken;

impl Authenticator for OneToken {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<User, AuthError>> {
        let known = credentials.headers.get("authorization").is_some_and(|value| value == "Bearer good");
        let user = User { name: "hpa".to_owned(), ..User::default() };
        let outcome = if known { Ok(user) } else { Err(AuthError::Unauthenticated("no token".to_owned())) };
        Box::pin(std::future::ready(outcome))
    }
}

impl Authorizer for OneToken {
    fn authorize<'a>(
        &'a self,
        user: &'a User,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthError>> {
        let allowed = matches!(attributes, Attributes::Resource { group, .. } if group == EXTERNAL_GROUP);
        let denial = Decision::Deny(format!("no RBAC policy matched for {}", user.name));
        Box::pin(std::future::ready(Ok(if allowed { Decision::Allow } else { denial })))
    }
}

#[tokio::test]
async fn nothing_is_told_without_identity_and_permission() {
    let rig = Rig::seed().await;
    for (path, token, expected) in [
        (PODS, "", 401),
        (PODS, "Bearer bad", 401),
        ("/apis/nothing/there", "", 401),
        (PODS, "Bearer good", 403),
        ("/apis", "Bearer good", 403),
        ("/apis/external.metrics.k8s.io/v1beta1/namespaces/asr/nope", "Bearer good", 404),
    ] {
        let state = ServerState {
            provider: rig.api.clone(),
            authenticator: Arc::new(OneToken),
            authorizer: Arc::new(OneToken),
        };
        let request = http::Request::builder().uri(path).header("authorization", token).body(Body::empty()).unwrap();
        let shared = Shared { state, slots: Arc::new(Semaphore::new(1)) };
        let response = serve(State(shared), request).await;
        assert_eq!(response.status(), expected, "{path} {token}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["kind"], "Status");
    }
    assert!(rig.source.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_beyond_the_bound_are_asked_to_come_later() {
    let rig = Rig::seed().await;
    let shared = Shared { state: loopback(&rig), slots: Arc::new(Semaphore::new(0)) };
    let response = serve(State(shared), http::Request::get(PODS).body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
}

#[tokio::test]
async fn held_values_carry_a_warning() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| {
        let held = vec![labels(&[("pod", "asr-1")])];
        Ok(InstantAnswer { held, ..vector(vec![pod_sample("asr-0", 1.0, 0), pod_sample("asr-1", 1.0, -30)]) })
    });
    let response = respond(loopback(&rig), "GET", PODS).await;
    let warning = response.headers()[http::header::WARNING].to_str().unwrap().to_owned();
    assert_eq!(warning, "299 crescendo \"1 of 2 values are held: their targets do not answer\"");
}

#[tokio::test]
async fn only_get_is_served() {
    let rig = Rig::seed().await;
    assert_eq!(respond(loopback(&rig), "POST", PODS).await.status(), 405);
    assert_eq!(
        respond(loopback(&rig), "GET", &format!("{PODS}?labelSelector={}", "a".repeat(50_000))).await.status(),
        400
    );
}

#[tokio::test]
async fn discovery_prints_the_lines_of_the_setup_document() {
    let rig = Rig::seed().await;
    let response = respond(loopback(&rig), "GET", "/apis/custom.metrics.k8s.io/v1beta1").await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body).unwrap();
    let names: Vec<&str> =
        document["resources"].as_array().unwrap().iter().map(|resource| resource["name"].as_str().unwrap()).collect();
    for wanted in ["pods/asr_active_requests", "pods/asr_total_requests", "pods/asr_failed_requests"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
}

#[tokio::test]
async fn router_serves_over_a_connection() {
    let rig = Rig::seed().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let service = router(loopback(&rig)).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let asking = async {
        let mut answers = Vec::new();
        for (path, host) in [("/apis", "localhost"), ("/apis/", "localhost"), ("/apis", "evil.example")] {
            let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            answers.push(answer);
        }
        shutdown.cancel();
        answers
    };
    let (served, answers) = tokio::join!(async { serving.await }, asking);
    served.unwrap();
    assert!(answers[0].starts_with("HTTP/1.1 200 OK"), "{}", answers[0]);
    assert!(answers[0].contains("custom.metrics.k8s.io/v1beta1"));
    assert!(answers[1].starts_with("HTTP/1.1 404"), "{}", answers[1]);
    assert!(answers[2].starts_with("HTTP/1.1 401"), "{}", answers[2]);
}

fn loopback(rig: &Rig) -> ServerState {
    let loopback = Arc::new(LoopbackOnly::for_listener("127.0.0.1:0".parse().unwrap()).unwrap());
    ServerState { provider: rig.api.clone(), authenticator: loopback.clone(), authorizer: loopback }
}
