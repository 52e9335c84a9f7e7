//! TLS: a certificate chain and a key from PEM files.
//!
//! - [`load`]: both files into what a connection needs.
//!
//! Rule: TLS 1.2 and 1.3 with the provider's safe defaults; there is nothing to choose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("cannot read the TLS certificate file: {path}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// The file cannot be read, or holds no private key.
    #[error("cannot read the TLS key file: {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// The two do not fit together, or are of an unknown kind.
    #[error("TLS certificate and key cannot be used: {certificate_path}, {key_path}")]
    Unusable {
        /// The certificate's file.
        certificate_path: PathBuf,
        /// The key's file.
        key_path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// Reads certificate and key.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn load(certificate_path: &Path, key_path: &Path) -> Result<TlsAcceptor, TlsError> {
    let certificate = |source| TlsError::Certificate { path: certificate_path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate_path)
        .map_err(certificate)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(key_path).map_err(|source| TlsError::Key { path: key_path.to_owned(), source })?;
    let unusable = |source| TlsError::Unusable {
        certificate_path: certificate_path.to_owned(),
        key_path: key_path.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
