//! The listener as clients see it: TLS, certificates, permission, the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datamodel::registry::Registry;
use datamodel::time::SystemClock;
use http::StatusCode;
use http_client::{ClientOptions, HttpClient, HttpClientConfig, TlsConfig, TlsMaterial};
use metrics_api::{
    ApiError, Authenticator, BoxFuture, CustomMetricInfo, CustomRequest, ExternalMetricValue, ExternalRequest,
    LoopbackOnly, MetricValue, MetricsProvider, ServerState,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::{AnyOf, Authority, ClientCertificates, EveryoneKnown, FrontProxy, HeaderNames};
use crate::testing::{Identity, TestAuthority};
use crate::watched::Watched;

/// Publishes one external metric, which answers only when it is told to.
#[derive(Default)]
struct Provider {
    asked: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
}

impl MetricsProvider for Provider {
    fn custom<'a>(&'a self, _request: &'a CustomRequest) -> BoxFuture<'a, Result<Vec<MetricValue>, ApiError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn external<'a>(
        &'a self,
        _request: &'a ExternalRequest,
    ) -> BoxFuture<'a, Result<Vec<ExternalMetricValue>, ApiError>> {
        Box::pin(async {
            self.asked.notify_one();
            self.go_on.notified().await;
            Ok(Vec::new())
        })
    }

    fn custom_metrics(&self) -> Option<Vec<CustomMetricInfo>> {
        Some(Vec::new())
    }

    fn external_metrics(&self) -> Option<Vec<String>> {
        Some(vec!["m".to_owned()])
    }
}

struct Rig {
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    provider: Arc<Provider>,
    ready: Arc<AtomicBool>,
    tls: Watched<rustls::ServerConfig>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    async fn start(
        certificate: impl FnOnce(&Path) -> ServingCertificate,
        settings: TlsSettings,
        authenticator: Option<Arc<dyn Authenticator>>,
        allowed: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Arc::new(Provider::default());
        let tls = certificate(folder.path()).open(settings).unwrap();
        let loopback = LoopbackOnly::for_listener(address).unwrap();
        let state = ServerState {
            provider: Arc::clone(&provider) as Arc<dyn MetricsProvider>,
            authenticator: authenticator.unwrap_or_else(|| Arc::new(loopback)),
            authorizer: Arc::new(EveryoneKnown),
        };
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = Arc::clone(&ready);
        let is_ready = Ready::new(move || is_ready.load(Ordering::SeqCst));
        let allowed = AlwaysAllowed(allowed.iter().map(|path| (*path).to_owned()).collect());
        let apis = metrics_api::router(state.clone());
        let pages = axum::Router::new().route("/metrics/more", axum::routing::get(async || "more"));
        let router = operations(&state, apis, Registry::new(), is_ready, pages, &allowed);
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let options = ServeOptions { grace_period: Duration::from_secs(30) };
        tasks.spawn(serve(listener, tls.clone(), router, options, shutdown.clone()));
        Self { folder, address, provider, ready, tls, shutdown, tasks }
    }

    /// A client that trusts a file, with a certificate or without.
    fn client(&self, authority: &Path, identity: Option<&Identity>) -> HttpClient {
        let inline = |text: &str| TlsMaterial::Inline(http_client::Secret::new(text));
        let tls = TlsConfig {
            ca: Some(TlsMaterial::File(authority.to_owned())),
            identity: identity.map(|identity| (inline(&identity.pem), inline(&identity.key))),
            ..TlsConfig::default()
        };
        HttpClient::new(HttpClientConfig { tls, ..HttpClientConfig::default() }, ClientOptions::default())
    }

    async fn get(
        &self,
        client: &HttpClient,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, String), String> {
        let mut request = http::Request::builder().uri(format!("https://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = client.send(request.body(Bytes::new()).unwrap(), 1 << 20).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok((answer.status(), String::from_utf8_lossy(answer.body()).into_owned()))
    }
}

fn self_signed(folder: &Path) -> ServingCertificate {
    ServingCertificate::SelfSigned(folder.join("certificates"))
}

const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];

#[tokio::test]
async fn own_certificate_is_made_once_and_serves() {
    let rig = Rig::start(self_signed, TlsSettings::default(), None, &HEALTH).await;
    let certificate = rig.folder.path().join("certificates/apiserver.crt");
    let client = rig.client(&certificate, None);
    assert_eq!(rig.get(&client, "/healthz", &[]).await, Ok((StatusCode::OK, "ok".to_owned())));
    assert_eq!(rig.get(&client, "/readyz", &[]).await.unwrap().0, StatusCode::INTERNAL_SERVER_ERROR);
    rig.ready.store(true, Ordering::SeqCst);
    assert_eq!(rig.get(&client, "/readyz", &[]).await.unwrap().0, StatusCode::OK);
    let (status, body) = rig.get(&client, "/apis/external.metrics.k8s.io/v1beta1", &[]).await.unwrap();
    assert!(status == StatusCode::OK && body.contains(r#""name":"m""#), "{body}");
    let (status, body) = rig.get(&client, "/nothing", &[]).await.unwrap();
    assert!(status == StatusCode::NOT_FOUND && body.contains("could not find the requested resource"), "{body}");
    let before = std::fs::read(&certificate).unwrap();
    self_signed(rig.folder.path()).open(TlsSettings::default()).unwrap();
    assert_eq!(std::fs::read(&certificate).unwrap(), before);
    std::fs::remove_file(&certificate).unwrap();
    let error = self_signed(rig.folder.path()).open(TlsSettings::default()).unwrap_err();
    assert!(matches!(error, ServingError::HalfPair(_)), "{error}");
}

#[tokio::test]
async fn nothing_but_health_is_told_without_a_certificate() {
    let authorities = tempfile::tempdir().unwrap();
    let (servers, clients, proxies) = (TestAuthority::new(), TestAuthority::new(), TestAuthority::new());
    let watched = |name: &str, authority: &TestAuthority| {
        let path = authorities.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        Watched::open(vec![path], |texts| Authority::from_pem(&texts[0])).unwrap()
    };
    watched("servers", &servers);
    let proxy = FrontProxy::new(watched("p", &proxies), Vec::new(), HeaderNames::default(), Arc::new(SystemClock));
    let owner = ClientCertificates::new(watched("c", &clients), Arc::new(SystemClock));
    let given = |folder: &Path| {
        let (certificate, key) = servers.server().write(folder, "server");
        ServingCertificate::Files { certificate, key }
    };
    let settings = TlsSettings { asks_for_certificate: true, ..TlsSettings::default() };
    let authenticator: Arc<dyn Authenticator> = Arc::new(AnyOf::new(vec![Arc::new(proxy), Arc::new(owner)]));
    let rig = Rig::start(given, settings, Some(authenticator), &HEALTH).await;
    let trusted = authorities.path().join("servers");
    let stranger = rig.client(&trusted, None);
    assert_eq!(rig.get(&stranger, "/livez", &[]).await.unwrap().0, StatusCode::OK);
    for path in
        ["/metrics", "/metrics/more", "/apis", "/apis/external.metrics.k8s.io/v1beta1", "/nothing", "/openapi/v2"]
    {
        let (status, body) = rig.get(&stranger, path, &[("x-remote-user", "admin")]).await.unwrap();
        assert!(status == StatusCode::UNAUTHORIZED && body.contains(r#""message":"Unauthorized; "#), "{path}: {body}");
    }
    let known = rig.client(&trusted, Some(&clients.client("alice", &[])));
    let proxy = rig.client(&trusted, Some(&proxies.client("any-name", &[])));
    for path in ["/metrics", "/metrics/more", "/apis"] {
        assert_eq!(rig.get(&known, path, &[]).await.unwrap().0, StatusCode::OK, "{path}");
        assert_eq!(rig.get(&proxy, path, &[("x-remote-user", "u")]).await.unwrap().0, StatusCode::OK, "{path}");
        assert_eq!(rig.get(&proxy, path, &[]).await.unwrap().0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let foreign = rig.client(&trusted, Some(&TestAuthority::new().client("alice", &["system:masters"])));
    assert_eq!(rig.get(&foreign, "/metrics", &[]).await.unwrap().0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn paths_that_are_always_allowed_can_be_chosen() {
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), TestAuthority::new().pem()).unwrap();
    let clients = Watched::open(vec![authority.path().to_owned()], |texts| Authority::from_pem(&texts[0])).unwrap();
    let owner: Arc<dyn Authenticator> = Arc::new(ClientCertificates::new(clients, Arc::new(SystemClock)));
    let rig = Rig::start(self_signed, TlsSettings::default(), Some(owner), &["/healthz", "/met*"]).await;
    let client = rig.client(&rig.folder.path().join("certificates/apiserver.crt"), None);
    for (path, status) in
        [("/healthz", StatusCode::OK), ("/metrics", StatusCode::OK), ("/livez", StatusCode::UNAUTHORIZED)]
    {
        assert_eq!(rig.get(&client, path, &[]).await.unwrap().0, status, "{path}");
    }
}

#[tokio::test]
async fn changed_certificate_is_shown_to_new_connections() {
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let given = |folder: &Path| {
        let (certificate, key) = old.server().write(folder, "server");
        ServingCertificate::Files { certificate, key }
    };
    let rig = Rig::start(given, TlsSettings::default(), None, &HEALTH).await;
    let path = |name: &str| rig.folder.path().join(name);
    std::fs::write(path("old"), old.pem()).unwrap();
    std::fs::write(path("new"), new.pem()).unwrap();
    let ask = async |authority: &str| rig.get(&rig.client(&path(authority), None), "/healthz", &[]).await;
    assert!(ask("old").await.is_ok() && ask("new").await.is_err());
    new.server().write(rig.folder.path(), "server");
    assert!(rig.tls.look().unwrap());
    assert!(ask("new").await.is_ok() && ask("old").await.is_err());
}

#[tokio::test]
async fn request_that_runs_is_answered_at_the_end_and_no_other_begins() {
    let mut rig = Rig::start(self_signed, TlsSettings::default(), None, &HEALTH).await;
    let client = rig.client(&rig.folder.path().join("certificates/apiserver.crt"), None);
    let asking = rig.get(&client, "/apis/external.metrics.k8s.io/v1beta1/namespaces/n/m", &[]);
    let ending = async {
        rig.provider.asked.notified().await;
        rig.shutdown.cancel();
        rig.provider.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(asking, ending);
    assert_eq!(answer.unwrap().0, StatusCode::OK);
    while rig.tasks.join_next().await.is_some() {}
    assert!(rig.get(&client, "/healthz", &[]).await.is_err());
}

#[test]
fn cipher_suites_have_the_names_of_go() {
    let names =
        ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_AES_256_GCM_SHA384"];
    assert_eq!(cipher_suites(&names.map(str::to_owned)).unwrap().len(), 3);
    let error = cipher_suites(&["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("unknown cipher suite `TLS_RSA_WITH_AES_128_CBC_SHA`; known are: TLS_AES_"), "{error}");
}
