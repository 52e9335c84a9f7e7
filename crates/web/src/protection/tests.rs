//! Files that protect, and listeners that are protected.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use expect_test::expect;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{ServeOptions, serve};

#[test]
fn file_of_the_documentation_is_read() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let text = format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert,\n\
         \x20 client_ca_file: /etc/ca.pem, min_version: TLS13, prefer_server_cipher_suites: true}}\n\
         http_server_config: {{http2: true, headers: {{X-Frame-Options: deny, X-XSS-Protection: ''}}}}\n\
         basic_auth_users: {{alice: {hash}}}\n"
    );
    let config = config::decode("web.yml", &text, Path::new("/etc/c")).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!((tls.certificate.as_path(), tls.client_auth), (Path::new("/etc/c/server.pem"), ClientAuth::Require));
    assert!(tls.only_tls13 && tls.client_ca.as_deref() == Some(Path::new("/etc/ca.pem")));
    assert_eq!((config.headers.len(), config.users.len()), (1, 1));
    let empty = config::decode("web.yml", "tls_server_config: {}\n", Path::new("")).unwrap();
    assert!(empty.tls.is_none() && empty.users.is_empty());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "tls_server_config: {cert_file: a, client_auth_type: RequireAnyClientCert, cipher_suites: [x]}\n\
                http_server_config: {headers: {Server: x}}\nbasic_auth_users: {bob: plain, eve: $2b$20$CwTycUXWue0Thq9StjUM0uJ9aGm5yPq1m1Z0Z0Z0Z0Z6O8x1lQ5r.}\n\
                basic_auth_user: {}\n";
    let errors = config::decode("web.yml", text, Path::new("")).unwrap_err();
    expect![[r#"
        web.yml:1:20: tls_server_config: `cert_file` and `key_file` are needed both
        web.yml:1:53: tls_server_config.client_auth_type: not supported: `RequireAnyClientCert`: a certificate that nobody checks proves nothing
        web.yml:1:75: tls_server_config.cipher_suites: not supported: only suites without known weakness are spoken
        web.yml:2:31: http_server_config.headers: header cannot be set: `Server`; expected one of Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection
        web.yml:3:19: basic_auth_users: password of `bob` is no bcrypt hash
        web.yml:3:19: basic_auth_users: cost 20 of the password of `eve` is above 14
        web.yml:4:1: basic_auth_user: unknown key"#]].assert_eq(&errors.to_string());
}

#[test]
fn credentials_are_read_from_the_header() {
    let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
    assert_eq!(users::credentials("Basic YWxpY2U6YTpi"), pair("alice", "a:b"));
    assert_eq!(users::credentials("basic OjE="), pair("", "1"));
    for header in ["Basic", "Bearer YWxpY2U6YTpi", "Basic ***", "Basic YWxpY2U="] {
        assert_eq!(users::credentials(header), None, "{header}");
    }
}

/// An authority with certificates for a server and a client, as files.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

struct Listener {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn start(protection: &Protection) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = protection.protect(Router::new().route("/", get(|| async { "inside" })));
    let mut tasks = JoinSet::new();
    let (options, stop) = (ServeOptions::default(), CancellationToken::new());
    tasks.spawn(serve(listener, router, Some(protection.clone()), options, stop));
    Listener { address, _tasks: tasks }
}

/// Speaks TLS to a listener; with the certificate of the client, if it is to show one.
async fn tls(folder: &Path, address: SocketAddr, shows: bool) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if shows {
        let chain = vec![CertificateDer::from_pem_file(folder.join("client.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    exchange(&mut stream, "").await
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), headers: &str) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn clients_without_a_good_certificate_get_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = folder.path().join("web.yml");
    let keys = "cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem";
    for (client_auth, without) in [("RequireAndVerifyClientCert", false), ("VerifyClientCertIfGiven", true)] {
        std::fs::write(&file, format!("tls_server_config: {{{keys}, client_auth_type: {client_auth}}}\n")).unwrap();
        let protection = Protection::open(&file).unwrap();
        assert!(protection.speaks_tls());
        let listener = start(&protection).await;
        let answer = tls(folder.path(), listener.address, true).await.unwrap();
        assert!(answer.ends_with("inside"), "{answer}");
        let answer = tls(folder.path(), listener.address, false).await;
        assert_eq!(answer.is_ok_and(|answer| answer.ends_with("inside")), without, "{client_auth}");
        // Plain text is none.
        let mut plain = TcpStream::connect(listener.address).await.unwrap();
        let answer = exchange(&mut plain, "").await.unwrap_or_default();
        assert!(!answer.contains("inside"), "{answer}");
    }
}

#[tokio::test]
async fn users_prove_who_they_are_and_headers_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let hash = bcrypt::hash("a:b", 4).unwrap();
    let text =
        format!("basic_auth_users: {{alice: {hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n");
    std::fs::write(&file, text).unwrap();
    let protection = Protection::open(&file).unwrap();
    assert!(!protection.speaks_tls());
    let listener = start(&protection).await;
    let ask = async |headers: &str| {
        let mut stream = TcpStream::connect(listener.address).await.unwrap();
        exchange(&mut stream, headers).await.unwrap()
    };
    // Twice: the second time from memory.
    for _ in 0..2 {
        let answer = ask("authorization: Basic YWxpY2U6YTpi\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-frame-options: deny"), "{answer}");
    }
    // No header, a wrong password, a wrong name, nothing that could be read.
    for headers in
        ["", "authorization: Basic YWxpY2U6YQ==\r\n", "authorization: Basic Ym9iOmE6Yg==\r\n", "authorization: x\r\n"]
    {
        let answer = ask(headers).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Basic"), "{answer}");
        assert!(answer.contains("x-frame-options: deny") && !answer.contains("inside"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn changed_file_counts_and_a_broken_one_leaves_the_last_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, "").unwrap();
    let protection = Protection::open(&file).unwrap();
    let users = || protection.current().0.users.len();
    assert_eq!(users(), 0);
    let hash = bcrypt::hash("x", 4).unwrap();
    std::fs::write(&file, format!("basic_auth_users: {{alice: {hash}}}\n")).unwrap();
    tokio::time::advance(LOOK_INTERVAL).await;
    assert_eq!(users(), 1);
    std::fs::write(&file, "basic_auth_users: {alice: plain text}\n").unwrap();
    tokio::time::advance(LOOK_INTERVAL).await;
    assert_eq!(users(), 1);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let file = folder.path().join("web.yml");
        std::fs::write(&file, text).unwrap();
        WebConfig::load(&file).unwrap_err().to_string().replace(&folder.path().display().to_string(), "F")
    };
    assert_eq!(error("tls_server_config: {cert_file: c.pem, key_file: k.pem}"), "cannot read F/c.pem");
    std::fs::write(folder.path().join("c.pem"), "nothing").unwrap();
    assert_eq!(error("tls_server_config: {cert_file: c.pem, key_file: k.pem}"), "no certificate in F/c.pem");
}
