//! What is shown to clients, and what is asked of them.
//!
//! Rule: a certificate is always shown; where none is given, one is made that nobody can check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CipherSuite, DigitallySignedStruct, DistinguishedName as Hint, ServerConfig, SignatureScheme};

use crate::watched::{FileError, Watched};

/// The name of the files in `--cert-dir`, as upstream's.
const PAIR_NAME: &str = "apiserver";
/// How long a certificate of our own is valid; nobody can check it, and a restart with an empty folder makes a new one.
const SELF_SIGNED_YEARS: (i32, i32) = (2020, 2049);

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// The files are of no use.
    #[error(transparent)]
    Files(#[from] FileError),
    /// Half a pair.
    #[error("a certificate and its key go together: {0} is missing")]
    HalfPair(PathBuf),
    /// No certificate can be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// The certificate that was made cannot be kept.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The name of a cipher suite that is not spoken here.
    #[error("unknown cipher suite `{name}`; known are: {known}")]
    CipherSuite {
        /// The name.
        name: String,
        /// Those that are.
        known: String,
    },
}

/// What is shown to clients, and changes while the server runs.
pub type ServingTls = Watched<ServerConfig>;

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServingCertificate {
    /// From files, which are read again when they change.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Signed by itself and kept in a folder; one that is there already is taken.
    SelfSigned(PathBuf),
}

/// The least version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// 1.2
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The least version.
    pub min_version: MinVersion,
    /// The suites of TLS 1.2; all that are spoken where none is given. Those of 1.3 cannot be chosen, as in Go.
    pub cipher_suites: Vec<CipherSuite>,
    /// Whether clients are asked for a certificate.
    pub asks_for_certificate: bool,
}

/// Suites by the names of Go's flags.
///
/// # Errors
///
/// A name is unknown here.
pub fn cipher_suites(names: &[String]) -> Result<Vec<CipherSuite>, ServingError> {
    let spoken: Vec<CipherSuite> = ring::default_provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    let name_of = |suite: &CipherSuite| format!("{suite:?}").replace("TLS13_", "TLS_");
    let find = |name: &String| {
        // Go knows two suites by a shorter name too.
        let wanted = name.strip_suffix("_CHACHA20_POLY1305").map(|stem| format!("{stem}_CHACHA20_POLY1305_SHA256"));
        let wanted = wanted.as_ref().unwrap_or(name);
        let known = || spoken.iter().map(name_of).collect::<Vec<_>>().join(", ");
        let found = spoken.iter().find(|suite| name_of(suite) == *wanted);
        found.copied().ok_or_else(|| ServingError::CipherSuite { name: name.clone(), known: known() })
    };
    names.iter().map(find).collect()
}

impl ServingCertificate {
    /// Reads or makes the certificate, and follows its files from then on.
    ///
    /// # Errors
    ///
    /// See [`ServingError`].
    pub fn open(&self, settings: TlsSettings) -> Result<ServingTls, ServingError> {
        let (certificate, key) = match self {
            Self::Files { certificate, key } => (certificate.clone(), key.clone()),
            Self::SelfSigned(folder) => self_signed(folder)?,
        };
        let files = vec![certificate, key];
        Ok(Watched::open(files, move |texts| config(texts, &settings))?)
    }
}

/// The pair in a folder, made where there is none.
fn self_signed(folder: &Path) -> Result<(PathBuf, PathBuf), ServingError> {
    let path = |ending: &str| folder.join(format!("{PAIR_NAME}.{ending}"));
    let (certificate, key) = (path("crt"), path("key"));
    match (certificate.exists(), key.exists()) {
        (true, true) => return Ok((certificate, key)),
        (true, false) => return Err(ServingError::HalfPair(key)),
        (false, true) => return Err(ServingError::HalfPair(certificate)),
        (false, false) => {}
    }
    let written = |path: &Path, source| ServingError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(|source| written(folder, source))?;
    let pair = KeyPair::generate().map_err(ServingError::Make)?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut params = CertificateParams::new(names).map_err(ServingError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = rcgen::date_time_ymd(SELF_SIGNED_YEARS.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(SELF_SIGNED_YEARS.1, 1, 1);
    let made = params.self_signed(&pair).map_err(ServingError::Make)?;
    write_secret(&key, pair.serialize_pem().as_bytes()).map_err(|source| written(&key, source))?;
    std::fs::write(&certificate, made.pem()).map_err(|source| written(&certificate, source))?;
    Ok((certificate, key))
}

/// Writes a new file that nobody else may read.
fn write_secret(path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)
}

/// Why a pair makes no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no certificate: {0}")]
    Certificate(pem::Error),
    #[error("no private key: {0}")]
    Key(pem::Error),
    #[error("certificate and key do not fit: {0}")]
    Unfit(rustls::Error),
    #[error("a file is missing")]
    Missing,
}

fn config(texts: &[Vec<u8>], settings: &TlsSettings) -> Result<ServerConfig, ConfigError> {
    let [certificate, key] = texts else { return Err(ConfigError::Missing) };
    pair(certificate, key, settings)
}

/// TLS with this chain and its key, both PEM.
///
/// # Errors
///
/// One is none, or they do not fit.
pub(crate) fn pair(certificate: &[u8], key: &[u8], settings: &TlsSettings) -> Result<ServerConfig, ConfigError> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(ConfigError::Certificate)?;
    if chain.is_empty() {
        return Err(ConfigError::Certificate(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(ConfigError::Key)?;
    let mut provider = ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        let is_tls13 = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
        provider.cipher_suites.retain(|suite| is_tls13(suite) || settings.cipher_suites.contains(&suite.suite()));
    }
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
        MinVersion::Tls12 => rustls::ALL_VERSIONS,
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(ConfigError::Unfit)?;
    let builder = if settings.asks_for_certificate {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate::new(&provider)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(ConfigError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes any certificate whose key the client has. Who it makes of the client is decided with each request.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[Hint] {
        // No hints: authorities may change while a connection lives.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
