//! The flags of `crescendo adapter`: prometheus-adapter's names and defaults, and a few of ours.
//!
//! Rule: a flag has prometheus-adapter's meaning, or another name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{ArgAction, Args};
use datamodel::time::parse_duration;
use kubernetes::state::{StateResource, StateScope};
use remote::AdapterFlags;

use super::other_flags::OtherAdapterFlags;
use crate::commands::kube_state::scope;
use crate::commands::secured_api::SecuredApiArgs;

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
    #[command(flatten)]
    pub(super) api: SecuredApiArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) state: StateArgs,
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
    pub(super) scrape_interval: Duration,
}

/// State series of the cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "State series")]
pub(super) struct StateArgs {
    /// Ours: objects of the cluster of `--lister-kubeconfig` whose state is told as kube-state-metrics tells it, at
    /// `/metrics/kube-state`, to who may get that path. Separated by commas: `deployments`,
    /// `horizontalpodautoscalers`, `nodes`, `pods`, `replicasets`, `statefulsets`.
    #[arg(
        id = "state_resources",
        long = "state-metrics",
        value_name = "RESOURCES",
        value_delimiter = ',',
        conflicts_with = "without_cluster"
    )]
    resources: Vec<StateResource>,
    /// Ours: namespaces of these objects, separated by commas, at most 64; default: all.
    #[arg(
        id = "state_namespaces",
        long = "state-metrics-namespaces",
        value_name = "NAMESPACES",
        value_delimiter = ',',
        requires = "state_resources"
    )]
    namespaces: Vec<String>,
}

impl StateArgs {
    /// Which objects, checked; none where none are asked for.
    ///
    /// # Errors
    ///
    /// As [`scope`].
    pub(super) fn scope(&self) -> Result<Option<StateScope>> {
        let scope = scope(&self.resources, &self.namespaces, "--state-metrics-namespaces")?;
        Ok(Some(scope).filter(|scope| !scope.resources.is_empty()))
    }
}

impl AdapterArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A flag is refused, or a value makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        self.other.check()?;
        self.api.check()?;
        self.state.scope()?;
        ensure!(!self.source.scrape_interval.is_zero(), "`--prometheus-scrape-interval` must be more than 0s");
        Ok(())
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

#[cfg(test)]
mod tests {
    use adapter::{AlwaysAllowed, CacheTimes, HeaderNames, ServingCertificate};
    use clap::{Command, FromArgMatches};
    use metrics_api::Settings;

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
        assert_eq!(args.api.serving.address(), "0.0.0.0:443".parse().unwrap());
        assert_eq!(args.source.flags().url, "https://localhost");
        assert_eq!(args.api.settings(args.source.scrape_interval).unwrap(), Settings::default());
        assert_eq!(args.api.clients.headers(), HeaderNames::default());
        assert_eq!(args.api.cluster.cache_times(), CacheTimes::default());
        let paths = ["/healthz", "/readyz", "/livez"].map(str::to_owned);
        assert_eq!(args.api.clients.always_allowed(), AlwaysAllowed(paths.to_vec()));
        let folder = "apiserver.local.config/certificates".into();
        assert_eq!(args.api.serving.certificate(), ServingCertificate::SelfSigned(folder));
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
        assert!(refused(&["--state-metrics=pods", "--state-metrics-namespaces=a,,b"]).contains("up to 64 names"));
        let alone = parse(&["--without-cluster", "--state-metrics=pods"]).unwrap_err().to_string();
        assert!(alone.contains("cannot be used with"), "{alone}");
        assert!(parse(&["--tls-cert-file=a"]).unwrap_err().to_string().contains("--tls-private-key-file"));
    }
}
