//! TLS: whom the client trusts, and who it is.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::server::{json, serve};
use super::*;

#[tokio::test]
async fn server_and_client_are_checked_with_files_that_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (address, _tasks) = start(&ours).await;
    let path = |name: &str| folder.path().join(name);
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    std::fs::write(&ca, other.pem()).unwrap();
    ours.identity("client", &cert, &key);
    let client = trusting(&address, &ca, &cert, &key);
    let ask = || client.label_names(&[], None, DEADLINE);

    let error = ask().await.unwrap_err();
    assert_eq!(error.to_string(), "TLS handshake with `127.0.0.1` failed");
    // The same client, after the file was exchanged.
    std::fs::write(&ca, ours.pem()).unwrap();
    assert_eq!(ask().await.unwrap().value, ["a"]);
    // A certificate of another authority is refused by the server.
    other.identity("client", &cert, &key);
    let stranger = trusting(&address, &ca, &cert, &key);
    assert!(stranger.label_names(&[], None, Duration::from_secs(5)).await.is_err());
}

#[tokio::test]
async fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    let (ca, cert, key, broken) = (path("ca"), path("cert"), path("key"), path("broken"));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    authority.identity("client", &cert, &key);
    let other = path("other");
    authority.identity("client", &path("unused"), &other);
    let none = path("none");
    for (ca, cert, key, expected) in [
        (&ca, &cert, &key, "good"),
        (&broken, &cert, &key, "`tls_config` cannot be used: no certificate in `DIR/broken`"),
        (&ca, &broken, &key, "`tls_config` cannot be used: no certificate in `DIR/broken`"),
        (&ca, &cert, &broken, "`tls_config` cannot be used: no private key in `DIR/broken`"),
        (&ca, &cert, &none, "cannot read `DIR/none`"),
        (&ca, &cert, &other, "`tls_config` cannot be used: client certificate and key"),
    ] {
        let checked = trusting("localhost", ca, cert, key).check().await;
        let found = checked.map_or_else(|error| error.to_string(), |()| "good".to_owned());
        assert_eq!(found, expected.replace("DIR", &folder.path().display().to_string()));
    }
}

/// A client that trusts an authority and shows a certificate.
fn trusting(address: &str, ca: &Path, cert: &Path, key: &Path) -> Client {
    let flags = crate::AdapterFlags {
        url: format!("https://{address}"),
        ca_file: Some(ca.to_owned()),
        client_cert_file: Some(cert.to_owned()),
        client_key_file: Some(key.to_owned()),
        ..crate::AdapterFlags::default()
    };
    Client::new(flags.options().unwrap(), http_client::ClientOptions::default())
}

/// An authority that exists for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate for a name and the loopback address, and its key.
    pub(crate) fn identity(&self, name: &str, cert: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(cert, params.signed_by(&pair, &self.0).unwrap().pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }
}

/// A server that wants a certificate of the same authority.
async fn start(authority: &Authority) -> (String, JoinSet<()>) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    authority.identity("localhost", &cert, &key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&cert).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let next = || {
                    Some(
                        json(r#"{"status":"success","data":["a"]}"#)
                            .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
                    )
                };
                serve(stream, &Mutex::default(), next).await;
            }
        }
    });
    (address, tasks)
}
