//! prometheus-adapter's flags about its Prometheus, as the options of a client.
//!
//! Source: prometheus-adapter 0.12, `cmd/adapter`.
//!
//! Rule: a combination that prometheus-adapter refuses is refused with its words; what it silently ignores is
//! refused as well.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use http_client::{HeaderConfig, HttpClientConfig, Secret, SecretSource, TlsMaterial};

use crate::client::{BaseUrl, ClientOptions, UrlError, Verb};
use http_client::kubeconfig::{self, Identity, KubeconfigError, bearer};

/// The values of the flags; empty where they are not given.
#[derive(Clone, Debug, Default)]
pub struct AdapterFlags {
    /// `--prometheus-url`
    pub url: String,
    /// `--prometheus-auth-incluster`
    pub auth_in_cluster: bool,
    /// `--prometheus-auth-config`
    pub auth_config: Option<PathBuf>,
    /// `--prometheus-ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--prometheus-client-tls-cert-file`
    pub client_cert_file: Option<PathBuf>,
    /// `--prometheus-client-tls-key-file`
    pub client_key_file: Option<PathBuf>,
    /// `--prometheus-token-file`
    pub token_file: Option<PathBuf>,
    /// `--prometheus-header`, each as `name=value`
    pub headers: Vec<String>,
    /// `--prometheus-verb`
    pub verb: String,
}

/// Why the flags make no client.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The verb is none.
    #[error("unsupported Prometheus HTTP verb \"{0}\"; supported verbs: \"GET\" and \"POST\"")]
    Verb(String),
    /// Two sources of credentials.
    #[error("may not use both in-cluster auth and an explicit kubeconfig at the same time")]
    TwoIdentities,
    /// Two sources of an authority, of which prometheus-adapter silently takes the first.
    #[error("may not use both a CA file and in-cluster auth or a kubeconfig at the same time")]
    TwoAuthorities,
    /// Half a certificate.
    #[error("a client certificate and its key go together: give both files or none")]
    HalfIdentity,
    /// The kubeconfig is of no use.
    #[error("unable to construct auth configuration for connecting to Prometheus")]
    Kubeconfig(#[source] KubeconfigError),
    /// A header that is none.
    #[error("invalid header: `{0}` (expected name=value)")]
    Header(String),
}

impl AdapterFlags {
    /// The options of a client.
    ///
    /// # Errors
    ///
    /// See [`FlagsError`].
    pub fn options(&self) -> Result<ClientOptions, FlagsError> {
        let verb = match self.verb.as_str() {
            "GET" | "" => Verb::Get,
            "POST" => Verb::Post,
            other => return Err(FlagsError::Verb(other.to_owned())),
        };
        let Identity { mut tls, mut auth } = self.identity()?;
        if let Some(file) = &self.ca_file {
            tls.ca = Some(TlsMaterial::File(file.clone()));
        }
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(cert), Some(key)) => {
                tls.identity = Some((TlsMaterial::File(cert.clone()), TlsMaterial::File(key.clone())));
            }
            (None, None) => {}
            _ => return Err(FlagsError::HalfIdentity),
        }
        if let Some(file) = &self.token_file {
            auth = Some(bearer(SecretSource::File(file.clone())));
        }
        let mut headers: Vec<HeaderConfig> = Vec::new();
        for (name, value) in parse_headers(&self.headers)? {
            // What can stand in a header and was given as a text is a text.
            let value = SecretSource::Inline(Secret::new(value.to_str().unwrap_or_default()));
            match headers.iter_mut().find(|header| header.name == name) {
                Some(header) => header.values.push(value),
                None => headers.push(HeaderConfig { name, values: vec![value] }),
            }
        }
        let http = HttpClientConfig { auth, tls, headers, ..HttpClientConfig::default() };
        Ok(ClientOptions { url: BaseUrl::parse(&self.url)?, http, verb })
    }

    fn identity(&self) -> Result<Identity, FlagsError> {
        match (self.auth_in_cluster, &self.auth_config) {
            (true, Some(_)) => Err(FlagsError::TwoIdentities),
            (false, None) => Ok(Identity::default()),
            _ if self.ca_file.is_some() => Err(FlagsError::TwoAuthorities),
            (_, Some(path)) => kubeconfig::read(path).map_err(FlagsError::Kubeconfig),
            (true, None) => kubeconfig::in_cluster().map_err(FlagsError::Kubeconfig),
        }
    }
}

/// Headers from `name=value`; a name may come several times, and without `=` the value is empty.
///
/// # Errors
///
/// A name or a value that cannot stand in a request.
pub fn parse_headers(arguments: &[String]) -> Result<Vec<(HeaderName, HeaderValue)>, FlagsError> {
    let header = |argument: &String| {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let name = name.parse::<HeaderName>().ok();
        let value = HeaderValue::from_str(value).ok();
        name.zip(value).ok_or_else(|| FlagsError::Header(argument.clone()))
    };
    arguments.iter().map(header).collect()
}
