//! The client against servers of the tests' own, over loopback.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

use crate::{
    AuthConfig, Authorization, BasicAuth, ClientError, ClientOptions, EnvironmentProxies, HeaderConfig, HttpClient,
    HttpClientConfig, OAuth2Config, ProxyConfig, Secret, SecretSource, Stream, TlsConfig, TlsMaterial, TlsVersion,
};

/// A server that notes the heads of requests and answers by a function of them.
struct Server {
    address: String,
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>, answer: impl Fn(&str) -> String + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&heads);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (tls, heads, answer) = (tls.clone(), Arc::clone(&noted), answer.clone());
                conversations.spawn(async move {
                    match tls {
                        None => converse(stream, &heads, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &heads, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address: address.to_string(), port: address.port(), heads, connections, _tasks: tasks }
    }

    async fn plain(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> Self {
        Self::start(None, answer).await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection; as a proxy, it opens the tunnels that are asked for.
async fn converse(mut stream: impl Stream, heads: &Mutex<Vec<String>>, answer: impl Fn(&str) -> String) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let mut head = String::from_utf8(head).unwrap().to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|len| len.parse().unwrap());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        head.push_str(std::str::from_utf8(&body).unwrap());
        let said = answer(&head);
        let tunnel_to = head.strip_prefix("connect ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        heads.lock().unwrap().push(head);
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
        if let Some(address) = tunnel_to.filter(|_| said.starts_with("HTTP/1.1 200")) {
            // Names of the tests lead to this machine.
            let port = address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            copy_bidirectional(&mut stream, &mut server).await.ok();
            return;
        }
    }
}

fn ok(_head: &str) -> String {
    say("200 OK", "", "fine")
}

fn say(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls")).join(name)
}

fn file(name: &str) -> TlsMaterial {
    TlsMaterial::File(testdata(name))
}

/// A server with this certificate; with `ca`, it wants one from its clients.
fn acceptor(certificate: &str, key: &str, wants_clients: bool, old: bool) -> TlsAcceptor {
    let versions = if old { vec![&version::TLS12] } else { vec![&version::TLS12, &version::TLS13] };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&versions).unwrap();
    let certificates = vec![CertificateDer::from_pem_file(testdata(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(testdata(key)).unwrap();
    let builder = if wants_clients {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(testdata("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(certificates, key).unwrap()))
}

fn client(config: HttpClientConfig) -> HttpClient {
    HttpClient::new(config, ClientOptions::default())
}

async fn get(client: &HttpClient, url: &str) -> Result<Response<Bytes>, ClientError> {
    let request = Request::get(url.parse::<Uri>().unwrap()).body(Bytes::new()).unwrap();
    client.send(request, 1000).await
}

/// The error of a request with all its causes.
async fn error(client: &HttpClient, url: &str) -> String {
    let error = get(client, url).await.unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

async fn check_tls(acceptor: TlsAcceptor, tls: TlsConfig, expected: Result<(), &str>) {
    let server = Server::start(Some(acceptor), ok).await;
    let client = client(HttpClientConfig { tls, ..HttpClientConfig::default() });
    let url = format!("https://{}/", server.address);
    match expected {
        Ok(()) => assert_eq!(get(&client, &url).await.unwrap().body().as_ref(), b"fine"),
        Err(expected) => {
            let error = error(&client, &url).await;
            assert!(error.contains(expected), "{error}");
            assert_eq!(server.heads().len(), 0, "nothing was sent");
        }
    }
}

#[tokio::test]
async fn servers_are_checked_as_the_configuration_says() {
    let server = || acceptor("server.pem", "server.key", false, false);
    let ca = TlsConfig { ca: Some(file("ca.pem")), ..TlsConfig::default() };
    check_tls(server(), ca.clone(), Ok(())).await;
    check_tls(server(), TlsConfig::default(), Err("invalid peer certificate: UnknownIssuer")).await;
    let inline = TlsMaterial::Inline(Secret::new(std::fs::read_to_string(testdata("ca.pem")).unwrap()));
    check_tls(server(), TlsConfig { ca: Some(inline), ..TlsConfig::default() }, Ok(())).await;
    let other = TlsConfig { ca: Some(file("own.pem")), ..TlsConfig::default() };
    check_tls(server(), other.clone(), Err("invalid peer certificate: UnknownIssuer")).await;
    check_tls(acceptor("own.pem", "own.key", false, false), other.clone(), Ok(())).await;
    let named = TlsConfig { server_name: Some("other.example".to_owned()), ..other };
    check_tls(acceptor("own.pem", "own.key", false, false), named, Err("other.example")).await;
    let named = TlsConfig { server_name: Some("server.example".to_owned()), ..ca.clone() };
    check_tls(server(), named.clone(), Ok(())).await;
    let wrong = TlsConfig { server_name: Some("other.example".to_owned()), ..ca.clone() };
    check_tls(server(), wrong, Err("TLS handshake with `other.example` failed: invalid peer certificate")).await;
    check_tls(server(), TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }, Ok(())).await;
    let new = TlsConfig { min_version: Some(TlsVersion::Tls13), ..ca.clone() };
    check_tls(server(), new.clone(), Ok(())).await;
    check_tls(acceptor("server.pem", "server.key", false, true), new, Err("TLS handshake with `127.0.0.1` failed"))
        .await;
    let old = TlsConfig { max_version: Some(TlsVersion::Tls12), ..ca.clone() };
    check_tls(acceptor("server.pem", "server.key", false, true), old, Ok(())).await;
    let missing = TlsConfig { ca: Some(file("missing.pem")), ..ca.clone() };
    check_tls(server(), missing, Err("missing.pem`: No such file")).await;
    let no_pem = TlsConfig { ca: Some(file("README.md")), ..ca };
    check_tls(server(), no_pem, Err("README.md`")).await;
}

#[tokio::test]
async fn client_certificate_is_shown_to_servers_that_want_one() {
    let server = || acceptor("server.pem", "server.key", true, true);
    let identity = Some((file("client.pem"), file("client.key")));
    let tls = TlsConfig { ca: Some(file("ca.pem")), identity, ..TlsConfig::default() };
    check_tls(server(), tls.clone(), Ok(())).await;
    check_tls(server(), TlsConfig { identity: None, ..tls.clone() }, Err("TLS handshake with `127.0.0.1` failed"))
        .await;
    let identity = Some((file("client.pem"), file("ca.pem")));
    check_tls(server(), TlsConfig { identity, ..tls }, Err("`tls_config` cannot be used: no private key in `")).await;
}

#[tokio::test]
async fn files_are_read_again_for_each_request() {
    let server = Server::plain(ok).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let source = SecretSource::File(path.clone());
    let auth = BasicAuth { username: Some(SecretSource::Inline(Secret::new("u"))), password: Some(source.clone()) };
    let headers = vec![HeaderConfig { name: "x-tenant".parse().unwrap(), values: vec![source] }];
    let config = HttpClientConfig { auth: Some(AuthConfig::Basic(auth)), headers, ..HttpClientConfig::default() };
    let client = client(config);
    let url = format!("http://{}/m?x=1", server.address);
    assert!(error(&client, &url).await.contains("password`: No such file"));
    for (password, expected) in [("a\n", "basic dtph"), ("b", "basic dtpi")] {
        std::fs::write(&path, password).unwrap();
        get(&client, &url).await.unwrap();
        let head = server.heads().pop().unwrap();
        assert!(head.starts_with("get /m?x=1 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("authorization: {expected}\r\n")), "{head}");
        assert!(head.contains(&format!("x-tenant: {}\r\n", password.trim())), "{head}");
        assert!(head.contains(&format!("host: {}\r\nuser-agent: crescendo/", server.address)), "{head}");
    }
}

fn bearer(token: &str) -> Option<AuthConfig> {
    let credentials = Some(SecretSource::Inline(Secret::new(token)));
    Some(AuthConfig::Authorization(Authorization { scheme: "Bearer".to_owned(), credentials }))
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_server() {
    let other = Server::plain(ok).await;
    let location = format!("location: http://{}/there\r\n", other.address);
    let first = Server::plain(move |head| match head.split(' ').nth(1) {
        Some("/away") => say("302 Found", &location, ""),
        Some("/near") => say("307 Temporary Redirect", "location: /fine\r\n", ""),
        Some("/round") => say("301 Moved", "location: /round\r\n", ""),
        _ => ok(head),
    })
    .await;
    let config = HttpClientConfig { auth: bearer("t"), ..HttpClientConfig::default() };
    let following = client(config.clone());
    get(&following, &format!("http://{}/away", first.address)).await.unwrap();
    let head = other.heads().pop().unwrap();
    assert!(head.starts_with("get /there") && !head.contains("authorization"), "{head}");
    get(&following, &format!("http://{}/near", first.address)).await.unwrap();
    let head = first.heads().pop().unwrap();
    assert!(head.starts_with("get /fine") && head.contains("authorization: bearer t\r\n"), "{head}");
    let round = error(&following, &format!("http://{}/round", first.address)).await;
    assert!(round.starts_with("redirect is not followed: too many redirects"), "{round}");
    let staying = client(HttpClientConfig { follow_redirects: false, ..config });
    let stays = error(&staying, &format!("http://{}/near", first.address)).await;
    assert_eq!(stays, "redirect is not followed: `follow_redirects` is false: `/fine`");
}

#[tokio::test]
async fn answers_beyond_the_bound_are_refused_and_connections_are_kept() {
    let server = Server::plain(|head| match head.split(' ').nth(1) {
        Some("/large") => say("200 OK", "", &"x".repeat(1001)),
        _ => ok(head),
    })
    .await;
    let client = client(HttpClientConfig::default());
    let large = error(&client, &format!("http://{}/large", server.address)).await;
    assert_eq!(large, "cannot read the answer: larger than 1000 bytes");
    for _ in 0..3 {
        get(&client, &format!("http://{}/", server.address)).await.unwrap();
    }
    // One for the answer that was too large, one for all others.
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn proxy_is_asked_for_the_whole_url() {
    let proxy = Server::plain(ok).await;
    let url = format!("http://user:pass@{}", proxy.address).parse().unwrap();
    let config = HttpClientConfig {
        proxy: ProxyConfig { url: Some(url), no_proxy: "direct.example".to_owned(), ..ProxyConfig::default() },
        ..HttpClientConfig::default()
    };
    let client = client(config);
    get(&client, "http://server.example:81/m?x=1").await.unwrap();
    let head = proxy.heads().pop().unwrap();
    assert!(head.starts_with("get http://server.example:81/m?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
    assert!(head.contains("host: server.example:81\r\n"), "{head}");
    let direct = Server::plain(ok).await;
    get(&client, &format!("http://{}/", direct.address)).await.unwrap();
    assert_eq!((proxy.heads().len(), direct.heads().len()), (1, 1), "this machine needs no proxy");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_of_the_proxy() {
    let server = Server::start(Some(acceptor("server.pem", "server.key", false, false)), ok).await;
    let proxy = Server::plain(|head| {
        if head.contains("x-allow: yes\r\n") {
            "HTTP/1.1 200 OK\r\n\r\n".to_owned()
        } else {
            say("403 Forbidden", "", "")
        }
    })
    .await;
    let url = format!("https://server.example:{}/secret", server.port);
    let tls = TlsConfig { ca: Some(file("ca.pem")), ..TlsConfig::default() };
    let proxy_url = format!("http://{}", proxy.address).parse().unwrap();
    let allow = vec![("x-allow".parse().unwrap(), vec![Secret::new("yes")])];
    let config = |connect_headers| HttpClientConfig {
        tls: tls.clone(),
        proxy: ProxyConfig { url: Some(Clone::clone(&proxy_url)), connect_headers, ..ProxyConfig::default() },
        auth: bearer("t"),
        ..HttpClientConfig::default()
    };
    let refused = error(&client(config(Vec::new())), &url).await;
    let expected = format!(
        "proxy `{}` refused a tunnel to `server.example:{}`: HTTP/1.1 403 Forbidden",
        proxy.address, server.port
    );
    assert_eq!(refused, expected);
    get(&client(config(allow)), &url).await.unwrap();
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("get /secret http/1.1\r\n") && head.contains("authorization: bearer t\r\n"), "{head}");
    assert!(proxy.heads().iter().all(|head| !head.contains("bearer") && !head.contains("secret")));
    let environment = EnvironmentProxies { https: Some(proxy_url.clone()), ..EnvironmentProxies::default() };
    let by_environment = HttpClientConfig {
        proxy: ProxyConfig { from_environment: true, ..ProxyConfig::default() },
        ..config(Vec::new())
    };
    let client = HttpClient::new(by_environment, ClientOptions { environment, ..ClientOptions::default() });
    assert_eq!(error(&client, &url).await, expected);
}

#[tokio::test]
async fn proxy_may_be_spoken_to_over_tls() {
    let proxy = Server::start(Some(acceptor("server.pem", "server.key", false, false)), ok).await;
    let tls = TlsConfig { ca: Some(file("ca.pem")), ..TlsConfig::default() };
    let url = format!("https://localhost:{}", proxy.port).parse().unwrap();
    let config = HttpClientConfig {
        tls,
        proxy: ProxyConfig { url: Some(url), ..ProxyConfig::default() },
        ..HttpClientConfig::default()
    };
    get(&client(config), "http://server.example/").await.unwrap();
    assert!(proxy.heads()[0].starts_with("get http://server.example/ http/1.1\r\n"));
}

fn oauth2(server: &Server, secret: SecretSource) -> HttpClient {
    let oauth2 = OAuth2Config {
        client_id: "id:1".to_owned(),
        client_secret: Some(secret),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        token_url: format!("http://{}/token", server.address).parse().unwrap(),
        endpoint_params: vec![("audience".to_owned(), "x&y".to_owned())],
        tls: TlsConfig::default(),
        proxy: ProxyConfig::default(),
    };
    client(HttpClientConfig { auth: Some(AuthConfig::OAuth2(Box::new(oauth2))), ..HttpClientConfig::default() })
}

#[tokio::test(start_paused = true)]
async fn token_is_asked_for_once_and_again_when_it_ends() {
    let tokens =
        Server::plain(|_| say("200 OK", "", r#"{"access_token": "t1", "token_type": "Bearer", "expires_in": 60}"#))
            .await;
    let server = Server::plain(ok).await;
    let client = oauth2(&tokens, SecretSource::Inline(Secret::new("s")));
    let url = format!("http://{}/", server.address);
    get(&client, &url).await.unwrap();
    get(&client, &url).await.unwrap();
    let asked = tokens.heads();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("post /token http/1.1\r\n"), "{}", asked[0]);
    // `id%3A1:s`
    assert!(asked[0].contains("authorization: basic awqlm0exonm=\r\n"), "{}", asked[0]);
    assert!(asked[0].ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b&audience=x%26y"), "{}", asked[0]);
    assert!(server.heads()[1].contains("authorization: bearer t1\r\n"));
    tokio::time::advance(std::time::Duration::from_secs(51)).await;
    get(&client, &url).await.unwrap();
    assert_eq!(tokens.heads().len(), 2);
}

#[tokio::test]
async fn server_of_tokens_that_wants_a_form_gets_one_and_failures_are_named() {
    let tokens = Server::plain(|head| match head {
        _ if head.contains("client_secret=good") => say("200 OK", "", r#"{"access_token": "t"}"#),
        _ if head.contains("client_secret=empty") => say("200 OK", "", "{}"),
        _ => say("401 Unauthorized", "", ""),
    })
    .await;
    let server = Server::plain(ok).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let client = oauth2(&tokens, SecretSource::File(path.clone()));
    let url = format!("http://{}/", server.address);
    std::fs::write(&path, "bad").unwrap();
    let token_url = format!("http://{}/token", tokens.address);
    assert_eq!(
        error(&client, &url).await,
        format!("no OAuth 2.0 token from `{token_url}`: server answered 401 Unauthorized")
    );
    std::fs::write(&path, "empty").unwrap();
    assert_eq!(
        error(&client, &url).await,
        format!("no OAuth 2.0 token from `{token_url}`: no `access_token` in its answer")
    );
    std::fs::write(&path, "good").unwrap();
    get(&client, &url).await.unwrap();
    assert!(server.heads()[0].contains("authorization: bearer t\r\n"));
}
