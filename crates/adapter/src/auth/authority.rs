//! Whose certificates are accepted.
//!
//! Rule: a chain is good now or not at all: time, signatures, use.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// Certificates that a client may send; a chain has three or four.
const MAX_CHAIN: usize = 10;

/// Why a chain is not accepted, or a file is no authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The file has no certificate that can be one of an authority.
    #[error("no certificate of an authority in the file: {0}")]
    NoAuthority(String),
    /// The client gave none.
    #[error("none was given")]
    NoCertificate,
    /// The client gave too many.
    #[error("more than {MAX_CHAIN} certificates were given")]
    TooMany,
    /// It does not lead to this authority, has expired, or is for something else.
    #[error("{0}")]
    NotAccepted(rustls::Error),
}

/// An authority, or several.
#[derive(Clone, Debug)]
pub struct Authority(Arc<dyn ClientCertVerifier>);

impl Authority {
    /// Reads a PEM file.
    ///
    /// # Errors
    ///
    /// It has no certificate, or a broken one.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AuthorityError> {
        let failed = |error: &dyn std::fmt::Display| AuthorityError::NoAuthority(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|error| failed(&error))
    }

    /// Whether a chain, the client's own certificate first, leads here.
    ///
    /// # Errors
    ///
    /// It does not; the error says why.
    pub fn check(&self, chain: &[Vec<u8>], now: Timestamp) -> Result<(), AuthorityError> {
        if chain.len() > MAX_CHAIN {
            return Err(AuthorityError::TooMany);
        }
        let (own, between) = chain.split_first().ok_or(AuthorityError::NoCertificate)?;
        let own = CertificateDer::from(own.as_slice());
        let between: Vec<CertificateDer<'_>> =
            between.iter().map(|certificate| CertificateDer::from(certificate.as_slice())).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.unix_ms()).unwrap_or(0)));
        self.0.verify_client_cert(&own, &between, now).map(|_verified| ()).map_err(AuthorityError::NotAccepted)
    }
}
