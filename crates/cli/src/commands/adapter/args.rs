//! The flags of `crescendo adapter`: prometheus-adapter's names and defaults, and a few of ours.
//!
//! Rule: a flag has prometheus-adapter's meaning, or another name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adapter::{AlwaysAllowed, CacheTimes, HeaderNames, MinVersion, ServingCertificate, TlsSettings, cipher_suites};
use anyhow::{Result, bail, ensure};
use clap::{ArgAction, Args};
use datamodel::time::parse_duration;
use metrics_api::{Ages, Listing, Settings};
use remote::AdapterFlags;

use super::other_flags::OtherAdapterFlags;

const EXAMPLES: &str = "Examples:
  crescendo adapter --config=config.yaml --prometheus-url=http://prometheus.monitoring:9090 --secure-port=6443
  crescendo adapter --config=config.yaml --prometheus-url=http://localhost:9090 \\
      --without-cluster --bind-address=127.0.0.1 --secure-port=6443
  curl --insecure https://127.0.0.1:6443/apis/custom.metrics.k8s.io/v1beta1

Flags of prometheus-adapter that are not listed are refused by name, or taken with a note in the log.";

/// Arguments of `adapter`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdapterArgs {
    /// The file of mapping rules; it is read again when it changes.
    #[arg(long = "config", help_heading = "Rules")]
    pub(super) config: Option<PathBuf>,
    /// How often series are listed.
    #[arg(long = "metrics-relist-interval", default_value = "10m", value_parser = parse_duration, help_heading = "Rules")]
    pub(super) relist_interval: Duration,
    /// How far back series are listed; default: the relist interval.
    #[arg(long = "metrics-max-age", value_parser = parse_duration, help_heading = "Rules")]
    pub(super) max_age: Option<Duration>,

    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) serving: ServingArgs,
    #[command(flatten)]
    pub(super) clients: ClientArgs,
    #[command(flatten)]
    pub(super) other: OtherAdapterFlags,
}

/// Where metrics come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub(super) struct SourceArgs {
    /// Where the API of Prometheus lies, or of what speaks it.
    #[arg(long = "prometheus-url", default_value = "https://localhost")]
    url: String,
    /// Use the token and the authority of this pod.
    #[arg(long = "prometheus-auth-incluster", action = ArgAction::Set, default_value_t = false, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    auth_in_cluster: bool,
    /// A kubeconfig file with whom to trust and who we are.
    #[arg(long = "prometheus-auth-config")]
    auth_config: Option<PathBuf>,
    /// Whom to trust.
    #[arg(long = "prometheus-ca-file")]
    ca_file: Option<PathBuf>,
    /// Our certificate; read again when it changes.
    #[arg(long = "prometheus-client-tls-cert-file")]
    client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long = "prometheus-client-tls-key-file")]
    client_key_file: Option<PathBuf>,
    /// Our token; read again when it changes.
    #[arg(long = "prometheus-token-file")]
    token_file: Option<PathBuf>,
    /// A header for each request: `name=value`; may be given several times.
    #[arg(long = "prometheus-header")]
    headers: Vec<String>,
    /// `GET`, and `POST` where a question is long; or always `POST`.
    #[arg(long = "prometheus-verb", default_value = "GET")]
    verb: String,
    /// Ours: how often the source scrapes. Values are fresh for two of these (at least 1m) and held for three (at
    /// least 90s).
    #[arg(long = "prometheus-scrape-interval", default_value = "30s", value_parser = parse_duration)]
    scrape_interval: Duration,
}

/// The Kubernetes API that is asked.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// Ours: serve without a Kubernetes API. Objects are those of the source's targets; who has a certificate of a
    /// given authority may ask, without authorities only this machine.
    #[arg(long = "without-cluster",
          conflicts_with_all = ["authentication_kubeconfig", "authorization_kubeconfig", "lister_kubeconfig"])]
    pub(super) without_cluster: bool,
    /// The cluster that knows tokens and authorities; default: that of this pod.
    #[arg(long = "authentication-kubeconfig")]
    pub(super) authentication_kubeconfig: Option<PathBuf>,
    /// Authorities are only those of files.
    #[arg(long = "authentication-skip-lookup", action = ArgAction::Set, default_value_t = false, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub(super) skip_lookup: bool,
    /// Start although the cluster's authorities cannot be read.
    #[arg(long = "authentication-tolerate-lookup-failure", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) tolerate_lookup_failure: bool,
    /// How long the owner of a token is known.
    #[arg(long = "authentication-token-webhook-cache-ttl", default_value = "10s", value_parser = parse_duration)]
    token_cache_ttl: Duration,
    /// The cluster that knows who may ask; default: that of this pod.
    #[arg(long = "authorization-kubeconfig")]
    pub(super) authorization_kubeconfig: Option<PathBuf>,
    /// How long a permission is known.
    #[arg(long = "authorization-webhook-cache-authorized-ttl", default_value = "10s", value_parser = parse_duration)]
    authorized_cache_ttl: Duration,
    /// How long a refusal is known.
    #[arg(long = "authorization-webhook-cache-unauthorized-ttl", default_value = "10s", value_parser = parse_duration)]
    unauthorized_cache_ttl: Duration,
    /// The cluster whose objects are listed; default: that of this pod.
    #[arg(long = "lister-kubeconfig")]
    pub(super) lister_kubeconfig: Option<PathBuf>,
    /// How often the cluster's resources are discovered.
    #[arg(long = "discovery-interval", default_value = "10m", value_parser = parse_duration)]
    pub(super) discovery_interval: Duration,
}

impl ClusterArgs {
    pub(super) const fn cache_times(&self) -> CacheTimes {
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
pub(super) struct ServingArgs {
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
pub(super) struct ClientArgs {
    /// The authority of client certificates: `CN` is the user, each `O` a group.
    #[arg(long = "client-ca-file")]
    pub(super) client_ca_file: Option<PathBuf>,
    /// The authority of the front proxy, which names users in headers.
    #[arg(long = "requestheader-client-ca-file")]
    pub(super) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of the front proxy's certificate; all without.
    #[arg(long = "requestheader-allowed-names", value_delimiter = ',')]
    pub(super) requestheader_allowed_names: Vec<String>,
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

impl AdapterArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A flag is refused, or a value makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        self.other.check()?;
        self.settings()?;
        self.serving.tls(false)?;
        ensure!(!self.source.scrape_interval.is_zero(), "`--prometheus-scrape-interval` must be more than 0s");
        ensure!(!self.cluster.discovery_interval.is_zero(), "`--discovery-interval` must be more than 0s");
        ensure!(!self.relist_interval.is_zero(), "`--metrics-relist-interval` must be more than 0s");
        Ok(())
    }

    /// How the API behaves.
    pub(super) fn settings(&self) -> Result<Settings> {
        let listing = Listing::new(self.relist_interval, self.max_age)?;
        Ok(Settings { listing, ages: Ages::for_interval(self.source.scrape_interval) })
    }
}

impl SourceArgs {
    /// As prometheus-adapter's flags are understood by the client.
    pub(super) fn flags(&self) -> AdapterFlags {
        AdapterFlags {
            url: self.url.clone(),
            auth_in_cluster: self.auth_in_cluster,
            auth_config: self.auth_config.clone(),
            ca_file: self.ca_file.clone(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
            token_file: self.token_file.clone(),
            headers: self.headers.clone(),
            verb: self.verb.clone(),
        }
    }
}

impl ServingArgs {
    pub(super) const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }

    pub(super) fn certificate(&self) -> ServingCertificate {
        match (&self.cert_file, &self.private_key_file) {
            (Some(certificate), Some(key)) => {
                ServingCertificate::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ => ServingCertificate::SelfSigned(self.cert_dir.clone()),
        }
    }

    pub(super) fn tls(&self, asks_for_certificate: bool) -> Result<TlsSettings> {
        let min_version = match self.min_version.as_str() {
            "" | "VersionTLS12" => MinVersion::Tls12,
            "VersionTLS13" => MinVersion::Tls13,
            other => bail!(
                "`--tls-min-version` must be `VersionTLS12` or `VersionTLS13`, not `{other}`: older versions are not \
                 spoken"
            ),
        };
        Ok(TlsSettings { min_version, cipher_suites: cipher_suites(&self.cipher_suites)?, asks_for_certificate })
    }
}

impl ClientArgs {
    pub(super) fn headers(&self) -> HeaderNames {
        HeaderNames {
            user: self.username_headers.clone(),
            uid: self.uid_headers.clone(),
            group: self.group_headers.clone(),
            extra_prefix: self.extra_headers_prefix.clone(),
        }
    }

    pub(super) fn always_allowed(&self) -> AlwaysAllowed {
        AlwaysAllowed(self.always_allow_paths.clone())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(words: &[&str]) -> Result<AdapterArgs, clap::Error> {
        let command = AdapterArgs::augment_args(Command::new("adapter"));
        let matches = command.try_get_matches_from(["adapter"].iter().chain(words))?;
        AdapterArgs::from_arg_matches(&matches)
    }

    fn refused(words: &[&str]) -> String {
        parse(words).unwrap().check().unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_upstreams() {
        let args = parse(&[]).unwrap();
        args.check().unwrap();
        assert_eq!(args.serving.address(), "0.0.0.0:443".parse().unwrap());
        assert_eq!(args.source.flags().url, "https://localhost");
        assert_eq!(args.settings().unwrap(), Settings::default());
        assert_eq!(args.clients.headers(), HeaderNames::default());
        assert_eq!(args.cluster.cache_times(), CacheTimes::default());
        let paths = ["/healthz", "/readyz", "/livez"].map(str::to_owned);
        assert_eq!(args.clients.always_allowed(), AlwaysAllowed(paths.to_vec()));
        let folder = "apiserver.local.config/certificates".into();
        assert_eq!(args.serving.certificate(), ServingCertificate::SelfSigned(folder));
    }

    /// The flags that the chart of prometheus-adapter gives.
    #[test]
    fn command_line_of_the_chart_is_understood() {
        let words = [
            "--secure-port=6443",
            "--cert-dir=/tmp/cert",
            "--prometheus-url=http://prometheus.default.svc:9090/prom",
            "--metrics-relist-interval=1m",
            "--v=4",
            "--config=/etc/adapter/config.yaml",
            "--prometheus-auth-incluster=false",
            "--logtostderr=true",
            "--profiling=false",
            "--prometheus-header=a=1",
            "--prometheus-header=b=2",
        ];
        let args = parse(&words).unwrap();
        args.check().unwrap();
        assert_eq!(args.source.flags().headers, ["a=1", "b=2"]);
        assert!(!args.source.flags().auth_in_cluster);
        assert!(parse(&["--prometheus-auth-incluster"]).unwrap().source.flags().auth_in_cluster);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let age = ["--metrics-relist-interval=10m", "--metrics-max-age=5m"];
        assert_eq!(refused(&age), "max age must not be less than relist interval");
        assert!(refused(&["--tls-min-version=VersionTLS10"]).contains("must be `VersionTLS12` or `VersionTLS13`"));
        assert!(refused(&["--tls-cipher-suites=TLS_X"]).starts_with("unknown cipher suite `TLS_X`"));
        assert!(refused(&["--audit-log-path=-"]).starts_with("flag `--audit-log-path` is not supported: "));
        assert!(parse(&["--tls-cert-file=a"]).unwrap_err().to_string().contains("--tls-private-key-file"));
    }
}
