//! The flags of the metrics API: prometheus-adapter's names and defaults.
//!
//! Rule: a flag has prometheus-adapter's meaning, or another name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adapter::{
    AlwaysAllowed, CacheTimes, HeaderNames, KeepOptions, MinVersion, ServingCertificate, TlsSettings, cipher_suites,
};
use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use datamodel::time::parse_duration;
use metrics_api::{Ages, Listing, Settings};

/// How long a certificate of our own may be valid: the API server is told of an authority a minute before it signs, and
/// looks at it are 30 s apart.
const TLS_LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(3600)..=Duration::from_secs(366 * 24 * 3600);

/// Rules, and how they are served.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct SecuredApiArgs {
    /// What stands before the names of these flags.
    #[arg(skip)]
    pub(in crate::commands) prefix: &'static str,
    /// The file of mapping rules; it is read again when it changes.
    #[arg(long = "config", help_heading = "Rules")]
    pub(in crate::commands) config: Option<PathBuf>,
    /// How often series are listed.
    #[arg(long = "metrics-relist-interval", default_value = "10m", value_parser = parse_duration, help_heading = "Rules")]
    pub(in crate::commands) relist_interval: Duration,
    /// How far back series are listed; default: the relist interval.
    #[arg(long = "metrics-max-age", value_parser = parse_duration, help_heading = "Rules")]
    pub(in crate::commands) max_age: Option<Duration>,

    #[command(flatten)]
    pub(in crate::commands) cluster: ClusterArgs,
    #[command(flatten)]
    pub(in crate::commands) serving: ServingArgs,
    #[command(flatten)]
    pub(in crate::commands) clients: ClientArgs,
}

/// The Kubernetes API that is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::commands) struct ClusterArgs {
    /// Ours: serve without a Kubernetes API. Objects are those of the source's targets; who has a certificate of a
    /// given authority may ask, without authorities only this machine.
    #[arg(long = "without-cluster",
          conflicts_with_all = ["authentication_kubeconfig", "authorization_kubeconfig", "lister_kubeconfig"])]
    pub(in crate::commands) without_cluster: bool,
    /// The cluster that knows tokens and authorities; default: that of this pod.
    #[arg(long = "authentication-kubeconfig")]
    pub(in crate::commands) authentication_kubeconfig: Option<PathBuf>,
    /// Authorities are only those of files.
    #[arg(long = "authentication-skip-lookup", action = ArgAction::Set, default_value_t = false, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub(in crate::commands) skip_lookup: bool,
    /// Start although the cluster's authorities cannot be read.
    #[arg(long = "authentication-tolerate-lookup-failure", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(in crate::commands) tolerate_lookup_failure: bool,
    /// How long the owner of a token is known.
    #[arg(long = "authentication-token-webhook-cache-ttl", default_value = "10s", value_parser = parse_duration)]
    token_cache_ttl: Duration,
    /// The cluster that knows who may ask; default: that of this pod.
    #[arg(long = "authorization-kubeconfig")]
    pub(in crate::commands) authorization_kubeconfig: Option<PathBuf>,
    /// How long a permission is known.
    #[arg(long = "authorization-webhook-cache-authorized-ttl", default_value = "10s", value_parser = parse_duration)]
    authorized_cache_ttl: Duration,
    /// How long a refusal is known.
    #[arg(long = "authorization-webhook-cache-unauthorized-ttl", default_value = "10s", value_parser = parse_duration)]
    unauthorized_cache_ttl: Duration,
    /// The cluster whose objects are listed; default: that of this pod.
    #[arg(long = "lister-kubeconfig")]
    pub(in crate::commands) lister_kubeconfig: Option<PathBuf>,
    /// How often the cluster's resources are discovered.
    #[arg(long = "discovery-interval", default_value = "10m", value_parser = parse_duration)]
    pub(in crate::commands) discovery_interval: Duration,
}

impl ClusterArgs {
    pub(in crate::commands) const fn cache_times(&self) -> CacheTimes {
        CacheTimes {
            tokens: self.token_cache_ttl,
            allowed: self.authorized_cache_ttl,
            denied: self.unauthorized_cache_ttl,
        }
    }
}

/// How it is served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Serving")]
pub(in crate::commands) struct ServingArgs {
    /// The address.
    #[arg(long = "bind-address", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// The port; 0 takes a free one.
    #[arg(long = "secure-port", default_value_t = 443)]
    secure_port: u16,
    /// Our certificate chain; read again when it changes.
    #[arg(long = "tls-cert-file", requires = "private_key_file")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long = "tls-private-key-file", requires = "cert_file")]
    private_key_file: Option<PathBuf>,
    /// Where a certificate of our own is kept, when no file is given.
    #[arg(long = "cert-dir", default_value = "apiserver.local.config/certificates")]
    cert_dir: PathBuf,
    /// Ours: keep the certificate and its authority in this Secret of the own namespace. Both are made and renewed, and
    /// the `APIServices` that lead to our Service are told whom to trust.
    #[arg(long = "tls-secret", requires = "tls_service", conflicts_with_all = ["cert_file", "private_key_file"])]
    tls_secret: Option<String>,
    /// Ours, with a Secret: the Service that leads to us, in the own namespace.
    #[arg(long = "tls-service", requires = "tls_secret")]
    tls_service: Option<String>,
    /// Ours, with a Secret: how long a certificate is valid, at least 1h; its authority is ten times as long.
    #[arg(long = "tls-lifetime", default_value = "90d", value_parser = parse_duration)]
    tls_lifetime: Duration,
    /// The least version of TLS: `VersionTLS12` or `VersionTLS13`.
    #[arg(long = "tls-min-version", default_value = "")]
    min_version: String,
    /// Suites of TLS 1.2, by the names of Go.
    #[arg(long = "tls-cipher-suites", value_delimiter = ',')]
    cipher_suites: Vec<String>,
}

/// Who may ask.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Clients")]
pub(in crate::commands) struct ClientArgs {
    /// The authority of client certificates: `CN` is the user, each `O` a group.
    #[arg(long = "client-ca-file")]
    pub(in crate::commands) client_ca_file: Option<PathBuf>,
    /// The authority of the front proxy, which names users in headers.
    #[arg(long = "requestheader-client-ca-file")]
    pub(in crate::commands) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of the front proxy's certificate; all without.
    #[arg(long = "requestheader-allowed-names", value_delimiter = ',')]
    pub(in crate::commands) requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name.
    #[arg(long = "requestheader-username-headers", value_delimiter = ',', default_value = "x-remote-user")]
    username_headers: Vec<String>,
    /// Headers with the user's identifier.
    #[arg(long = "requestheader-uid-headers", value_delimiter = ',')]
    uid_headers: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long = "requestheader-group-headers", value_delimiter = ',', default_value = "x-remote-group")]
    group_headers: Vec<String>,
    /// Beginnings of headers with what else is known of the user.
    #[arg(long = "requestheader-extra-headers-prefix", value_delimiter = ',', default_value = "x-remote-extra-")]
    extra_headers_prefix: Vec<String>,
    /// Paths that need no permission; a `*` at the end stands for any rest.
    #[arg(long = "authorization-always-allow-paths", value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    always_allow_paths: Vec<String>,
}

impl SecuredApiArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A value makes no sense.
    pub(in crate::commands) fn check(&self) -> Result<()> {
        self.settings(Duration::from_secs(1))?;
        self.tls(false)?;
        let flag = |name| self.flag(name);
        ensure!(!self.cluster.discovery_interval.is_zero(), "`{}` must be more than 0s", flag("discovery-interval"));
        ensure!(!self.relist_interval.is_zero(), "`{}` must be more than 0s", flag("metrics-relist-interval"));
        let is_sane = TLS_LIFETIMES.contains(&self.serving.tls_lifetime);
        ensure!(is_sane, "`{}` must be between 1h and 1y", flag("tls-lifetime"));
        let is_kept_in_cluster = self.serving.tls_secret.is_some() && !self.cluster.without_cluster;
        ensure!(
            self.serving.tls_secret.is_none() || is_kept_in_cluster,
            "`{}` needs a cluster: leave `{}` away",
            flag("tls-secret"),
            flag("without-cluster")
        );
        Ok(())
    }

    /// A flag as it is written on the command line.
    pub(in crate::commands) fn flag(&self, name: &str) -> String {
        format!("--{}{name}", self.prefix)
    }

    /// How TLS is spoken.
    pub(in crate::commands) fn tls(&self, asks_for_certificate: bool) -> Result<TlsSettings> {
        let min_version = match self.serving.min_version.as_str() {
            "" | "VersionTLS12" => MinVersion::Tls12,
            "VersionTLS13" => MinVersion::Tls13,
            other => bail!(
                "`{}` must be `VersionTLS12` or `VersionTLS13`, not `{other}`: older versions are not spoken",
                self.flag("tls-min-version")
            ),
        };
        let cipher_suites = cipher_suites(&self.serving.cipher_suites)?;
        Ok(TlsSettings { min_version, cipher_suites, asks_for_certificate })
    }

    /// How the API behaves on a source that scrapes so often.
    pub(in crate::commands) fn settings(&self, scrape_interval: Duration) -> Result<Settings> {
        let listing = Listing::new(self.relist_interval, self.max_age)?;
        Ok(Settings { listing, ages: Ages::for_interval(scrape_interval) })
    }
}

impl ServingArgs {
    pub(in crate::commands) const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }

    /// The Secret that keeps the certificate, where one does.
    pub(in crate::commands) fn keep_options(&self, tls: TlsSettings) -> Option<KeepOptions> {
        let (secret, service) = (self.tls_secret.clone()?, self.tls_service.clone()?);
        Some(KeepOptions { secret, service, lifetime: self.tls_lifetime, tls })
    }

    pub(in crate::commands) fn certificate(&self) -> ServingCertificate {
        match (&self.cert_file, &self.private_key_file) {
            (Some(certificate), Some(key)) => {
                ServingCertificate::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ => ServingCertificate::SelfSigned(self.cert_dir.clone()),
        }
    }
}

impl ClientArgs {
    pub(in crate::commands) fn headers(&self) -> HeaderNames {
        HeaderNames {
            user: self.username_headers.clone(),
            uid: self.uid_headers.clone(),
            group: self.group_headers.clone(),
            extra_prefix: self.extra_headers_prefix.clone(),
        }
    }

    pub(in crate::commands) fn always_allowed(&self) -> AlwaysAllowed {
        AlwaysAllowed(self.always_allow_paths.clone())
    }
}
