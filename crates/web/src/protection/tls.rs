//! From files to what a listener speaks.
//!
//! Rule: TLS 1.2 and 1.3 with suites and groups without known weakness; there is nothing to choose.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

use super::WebConfigError;
use super::config::{ClientAuth, TlsServerConfig};

fn file(path: &Path) -> Result<Vec<u8>, WebConfigError> {
    std::fs::read(path).map_err(|source| WebConfigError::Unreadable { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WebConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file(path)?).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| WebConfigError::Pem { what: "certificate", path: path.to_owned() })
}

/// Reads the files.
pub(super) fn acceptor(config: &TlsServerConfig) -> Result<TlsAcceptor, WebConfigError> {
    let chain = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&file(&config.key)?)
        .map_err(|_none| WebConfigError::Pem { what: "private key", path: config.key.clone() })?;
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = if config.only_tls13 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let bad = |what| move |source| WebConfigError::Tls { what, source };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(bad("versions"))?;
    let builder = match (&config.client_ca, config.client_auth) {
        (Some(path), ClientAuth::VerifyIfGiven | ClientAuth::Require) => {
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(path)? {
                authorities.add(certificate).map_err(bad("client_ca_file"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let verifier = match config.client_auth {
                ClientAuth::VerifyIfGiven => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(WebConfigError::Verifier)?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut made = builder.with_single_cert(chain, key).map_err(bad("certificate and key"))?;
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(made)))
}
