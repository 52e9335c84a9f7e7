//! TLS: whom the client trusts, and who it is.

use std::path::{Path, PathBuf};
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
    let mut options = ClientOptions::new(BaseUrl::parse(&format!("https://{address}")).unwrap());
    options.tls.authorities = Some(Pem::File(ca.clone()));
    options.tls.identity = Some((Pem::File(cert.clone()), Pem::File(key.clone())));
    let client = Client::new(options).unwrap();
    let ask = || client.label_names(&[], None, DEADLINE);

    let error = ask().await.unwrap_err();
    assert_eq!(error.to_string(), format!("TLS handshake with {address} failed"));
    // The same client, after the file was exchanged.
    std::fs::write(&ca, ours.pem()).unwrap();
    assert_eq!(ask().await.unwrap().value, ["a"]);
    // A certificate of another authority is refused by the server; the connection that rests must not be used.
    other.identity("client", &cert, &key);
    let mut options = ClientOptions::new(BaseUrl::parse(&format!("https://{address}")).unwrap());
    options.tls.authorities = Some(Pem::File(ca.clone()));
    options.tls.identity = Some((Pem::File(cert.clone()), Pem::File(key.clone())));
    let stranger = Client::new(options).unwrap();
    assert!(stranger.label_names(&[], None, Duration::from_secs(5)).await.is_err());
    // A name that the certificate does not have.
    let mut options = ClientOptions::new(BaseUrl::parse(&format!("https://{address}")).unwrap());
    options.tls =
        TlsOptions { authorities: Some(Pem::File(ca)), server_name: Some("other".to_owned()), identity: None };
    let error = Client::new(options).unwrap().label_names(&[], None, DEADLINE).await.unwrap_err();
    assert!(matches!(error, ClientError::Handshake { .. }), "{error:?}");
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    let (ca, cert, key, broken) = (path("ca"), path("cert"), path("key"), path("broken"));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    authority.identity("client", &cert, &key);
    let check = |ca: &PathBuf, cert: &PathBuf, key: &PathBuf, expected: &str| {
        let mut options = ClientOptions::new(BaseUrl::parse("https://localhost").unwrap());
        options.tls.authorities = Some(Pem::File(ca.clone()));
        options.tls.identity = Some((Pem::File(cert.clone()), Pem::File(key.clone())));
        let found = Client::new(options).map_or_else(|error| error.to_string(), |_client| "good".to_owned());
        assert_eq!(found, expected.replace("DIR", &folder.path().display().to_string()));
    };
    check(&ca, &cert, &key, "good");
    check(&broken, &cert, &key, "no valid certificate in DIR/broken");
    check(&ca, &broken, &key, "no valid certificate in DIR/broken");
    check(&ca, &cert, &broken, "no private key in DIR/broken");
    check(&ca, &cert, &path("none"), "cannot read DIR/none");
    let other = path("other");
    authority.identity("client", &path("unused"), &other);
    check(&ca, &cert, &other, "certificate cannot be used: DIR/cert");
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
