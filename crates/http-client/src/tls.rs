//! TLS to servers, as `tls_config` says.
//!
//! - [`Tls`]: wraps connections; what its files hold is looked at again with each of them.
//!
//! ```text
//! new connection ─▶ read the files ─▶ same as last time? ─▶ the settings made then
//!                                    └▶ else make new ones
//! ```
//!
//! Rule: a server is checked against the given authorities or the system's, unless the configuration says
//! that it may be anybody.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};

use crate::config::{TlsConfig, TlsMaterial, TlsVersion};
use crate::error::ClientError;
use crate::file::read_file;
use crate::stream::Stream;

/// What the settings are made of: authorities, certificate, key, each where it is configured.
type Material = [Option<Vec<u8>>; 3];

/// Wraps connections in TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    made: Mutex<Option<(Material, Arc<ClientConfig>)>>,
}

impl Tls {
    pub(crate) const fn new(config: TlsConfig) -> Self {
        Self { config, made: Mutex::new(None) }
    }

    /// Speaks TLS over a connection to `host`.
    pub(crate) async fn wrap(&self, stream: Box<dyn Stream>, host: &str) -> Result<Box<dyn Stream>, ClientError> {
        let server = self.config.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(server.to_owned()).map_err(|_invalid| ClientError::ServerName(server.to_owned()))?;
        let connector = TlsConnector::from(self.settings().await?);
        let failed = |source| ClientError::Tls { server: server.to_owned(), source };
        Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
    }

    /// What is spoken now, from the files as they are now.
    pub(crate) async fn settings(&self) -> Result<Arc<ClientConfig>, ClientError> {
        let identity = self.config.identity.as_ref();
        let material: Material = [
            read(self.config.ca.as_ref()).await?,
            read(identity.map(|(certificate, _)| certificate)).await?,
            read(identity.map(|(_, key)| key)).await?,
        ];
        if let Some((of, made)) = self.made.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && *of == material
        {
            return Ok(Arc::clone(made));
        }
        let config = self.config.clone();
        let making = tokio::task::spawn_blocking(move || {
            let made = make(&config, &material);
            (material, made)
        });
        let (material, made) = match making.await {
            Ok(outcome) => outcome,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        };
        let made = Arc::new(made?);
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((material, Arc::clone(&made)));
        Ok(made)
    }
}

async fn read(material: Option<&TlsMaterial>) -> Result<Option<Vec<u8>>, ClientError> {
    Ok(match material {
        None => None,
        Some(TlsMaterial::Inline(text)) => Some(text.expose().as_bytes().to_vec()),
        Some(TlsMaterial::File(path)) => Some(read_file(Path::new(path)).await?),
    })
}

fn make(config: &TlsConfig, material: &Material) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let bad = |what| move |source| ClientError::TlsConfig { what, source };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(config))
        .map_err(bad("versions"))?;
    let [ca, certificate, key] = material;
    let verifier: Arc<dyn ServerCertVerifier> = if config.insecure_skip_verify {
        Arc::new(Anybody { provider })
    } else {
        Arc::new(Authorities::new(ca.as_deref().zip(config.ca.as_ref()), provider)?)
    };
    // The name says that it weakens the checks; both verifiers are ours, and only one of them does.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match (&config.identity, certificate, key) {
        (Some((certificate_source, key_source)), Some(certificate), Some(key)) => {
            let none = |_none| ClientError::Pem { what: "private key", place: place(key_source) };
            let key = PrivateKeyDer::from_pem_slice(key).map_err(none)?;
            let certificates = certificates(certificate, certificate_source)?;
            builder.with_client_auth_cert(certificates, key).map_err(bad("client certificate and key"))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    let wanted = |version: TlsVersion| {
        config.min_version.is_none_or(|min| min <= version) && config.max_version.is_none_or(|max| version <= max)
    };
    known.into_iter().filter(|(version, _)| wanted(*version)).map(|(_, known)| known).collect()
}

fn certificates(pem: &[u8], source: &TlsMaterial) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| ClientError::Pem { what: "certificate", place: place(source) })
}

/// Where a part of the configuration stands.
fn place(material: &TlsMaterial) -> String {
    match material {
        TlsMaterial::Inline(_) => "the configuration".to_owned(),
        TlsMaterial::File(path) => format!("`{}`", path.display()),
    }
}

/// Takes servers that one of the authorities vouches for.
#[derive(Debug)]
struct Authorities {
    inner: Arc<WebPkiServerVerifier>,
    /// The configured certificates: one of them may be the server's own, as self-signed ones are.
    own: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// `ca` is the text with its place; without it the system's authorities count.
    fn new(ca: Option<(&[u8], &TlsMaterial)>, provider: Arc<CryptoProvider>) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        let own = match ca {
            Some((pem, source)) => certificates(pem, source)?,
            None => Vec::new(),
        };
        if ca.is_some() {
            for certificate in &own {
                let bad = |source| ClientError::TlsConfig { what: "authority", source };
                roots.add(certificate.clone()).map_err(bad)?;
            }
        } else {
            // Certificates of the system that cannot be read are the system's matter, as in every client.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let inner = builder.build().map_err(|error| ClientError::TlsConfig {
            what: "authorities",
            source: Error::General(error.to_string()),
        })?;
        Ok(Self { inner, own })
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // A certificate that is its own authority, and is trusted by name: what `openssl req -x509` makes.
            Err(Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::InvalidPurpose))
                if self.own.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes every server that holds the key of its own certificate (`insecure_skip_verify`).
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
