//! TLS to a server: whom to trust, and the client's own certificate.
//!
//! Rule: files are read again when a connection is opened, so that rotated certificates are used without a
//! restart; a file that is broken then fails that connection, by its name.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Largest PEM file. Bundles of all public authorities have some 200 KiB.
pub const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

/// A PEM text: in a file that may change, or given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// Read whenever a connection is opened.
    File(PathBuf),
    /// Given, with what it is called in messages.
    Text {
        /// Where it comes from.
        name: String,
        /// The text.
        text: Arc<[u8]>,
    },
}

impl Pem {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }

    fn read(&self) -> Result<Arc<[u8]>, TlsError> {
        match self {
            Self::File(path) => read_bounded(path).map(Arc::from),
            Self::Text { text, .. } => Ok(Arc::clone(text)),
        }
    }
}

/// What TLS to a server needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The authorities that are trusted; without it those of the system.
    pub authorities: Option<Pem>,
    /// The client's certificate and its key.
    pub identity: Option<(Pem, Pem)>,
    /// The name that the server's certificate must have, where it is not the URL's host.
    pub server_name: Option<String>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is larger than any PEM file.
    #[error("{path} has more than {MAX_PEM_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text holds no certificate, or a broken one.
    #[error("no valid certificate in {name}")]
    Certificate {
        /// Where the text comes from.
        name: String,
        /// What is wrong, where that is known.
        source: Option<pem::Error>,
    },
    /// The text holds no private key.
    #[error("no private key in {name}")]
    Key {
        /// Where the text comes from.
        name: String,
        /// What is wrong.
        source: pem::Error,
    },
    /// Certificate and key do not fit together, or an authority is none.
    #[error("certificate cannot be used: {name}")]
    Unusable {
        /// Where the text comes from.
        name: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The system has no authorities.
    #[error("the system has no certificate authorities: name a file with them")]
    NoSystemAuthorities,
    /// The host cannot be the name in a certificate.
    #[error("`{0}` is no name that a certificate can have")]
    ServerName(String),
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;

    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(TlsError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// The PEM texts that a configuration was made of.
type Texts = Vec<Arc<[u8]>>;

/// Makes configurations, and keeps the last one while the files say the same.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    options: TlsOptions,
    last: Mutex<Option<(Texts, Arc<ClientConfig>)>>,
}

impl TlsConfigs {
    pub(crate) const fn new(options: TlsOptions) -> Self {
        Self { options, last: Mutex::new(None) }
    }

    pub(crate) const fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// The configuration for a new connection.
    pub(crate) fn current(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let identity = self.options.identity.as_ref();
        let files = self.options.authorities.iter().chain(identity.into_iter().flat_map(|(cert, key)| [cert, key]));
        let texts = files.map(Pem::read).collect::<Result<Texts, _>>()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = last.as_ref().filter(|(before, _)| *before == texts) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(build(&self.options, &texts)?);
        *last = Some((texts, Arc::clone(&config)));
        Ok(config)
    }
}

fn build(options: &TlsOptions, texts: &[Arc<[u8]>]) -> Result<ClientConfig, TlsError> {
    let mut texts = texts.iter();
    let roots = match &options.authorities {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem, texts.next().map_or(&[], AsRef::as_ref))? {
                roots.add(certificate).map_err(|source| TlsError::Unusable { name: pem.name(), source })?;
            }
            roots
        }
        None => system_authorities()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |name: String| move |source| TlsError::Unusable { name, source };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable("TLS".to_owned()))?
        .with_root_certificates(roots);
    let mut config = match (&options.identity, texts.next(), texts.next()) {
        (Some((certificate, key)), Some(certificate_text), Some(key_text)) => {
            let chain = certificates(certificate, certificate_text)?;
            let key_name = key.name();
            let key =
                PrivateKeyDer::from_pem_slice(key_text).map_err(|source| TlsError::Key { name: key_name, source })?;
            builder.with_client_auth_cert(chain, key).map_err(unusable(certificate.name()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &Pem, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |source| TlsError::Certificate { name: pem.name(), source };
    let certificates =
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|source| broken(Some(source)))?;
    if certificates.is_empty() { Err(broken(None)) } else { Ok(certificates) }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemAuthorities) } else { Ok(roots) }
}
