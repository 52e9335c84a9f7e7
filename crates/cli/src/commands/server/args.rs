//! The flags of `crescendo server`: Prometheus' names and defaults.
//!
//! - [`ServerArgs`]: as they were given; [`ServerArgs::check`] to [`Flags`], whose every part was checked.
//! - [`ServerArgs::all_flags`]: all of them with their values, as `/api/v1/status/flags` tells them.
//!
//! Rule: what is written here needs a restart; what can be reloaded stands in the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Args, Command};
use datamodel::regex::Regex;
use datamodel::time::parse_duration;
use promql::Features;
use rules::AlertTimes;
use yaml::parse_size;

use super::adapter_args::AdapterArgs;
use super::monitors::KubernetesArgs;
use super::other_flags::{OtherPrometheusFlags, check_feature};

const EXAMPLES: &str = "Examples:
  crescendo server --config.file=prometheus.yml
  crescendo server --storage.tsdb.path=data/ --storage.tsdb.retention.time=30d --web.enable-lifecycle
  crescendo server --config.file=prometheus.yml --adapter.config=adapter.yaml --adapter.secure-port=6443
  crescendo server --kubernetes.state-metrics=deployments,horizontalpodautoscalers --kubernetes.kubeconfig=config
  crescendo check config prometheus.yml

Flags of Prometheus that are not listed are refused by name, or taken with a note in the log.";

/// Arguments of `server`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServerArgs {
    /// The configuration file.
    #[arg(long = "config.file", default_value = "prometheus.yml", help_heading = "Configuration")]
    pub(super) config_file: PathBuf,
    /// How often the files of the configuration are looked at for changes; 0s: never.
    #[arg(long = "config.auto-reload-interval", default_value = "30s", value_parser = parse_duration,
          help_heading = "Configuration")]
    pub(super) auto_reload_interval: Duration,
    /// Features of Prometheus, separated by commas.
    #[arg(long = "enable-feature", value_delimiter = ',', help_heading = "Configuration")]
    pub(super) features: Vec<String>,
    /// Memory that ingest and queries may hold together: `512MB`; default: 90 % of the cgroup's limit, else 75 %
    /// of the machine.
    #[arg(long = "memory-limit", value_parser = parse_size, help_heading = "Configuration")]
    pub(super) memory_limit: Option<u64>,

    #[command(flatten)]
    pub(super) web: WebArgs,
    #[command(flatten)]
    pub(super) storage: StorageArgs,
    #[command(flatten)]
    pub(super) query: QueryArgs,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    #[command(flatten)]
    pub(super) adapter: AdapterArgs,
    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,
    #[command(flatten)]
    pub(super) other: OtherPrometheusFlags,
    /// Every flag with its value, for `/api/v1/status/flags`; the caller fills it in.
    #[arg(skip)]
    pub(crate) shown: Vec<(String, String)>,
}

/// Flags of the HTTP side.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Web")]
pub(super) struct WebArgs {
    /// Address of the API and the pages; may be given several times.
    #[arg(long = "web.listen-address", default_value = "0.0.0.0:9090")]
    pub(super) listen_address: Vec<String>,
    /// TLS and users of the listener: the file of Prometheus' programs.
    #[arg(id = "web.config.file", long = "web.config.file", value_name = "FILE")]
    pub(super) config_file: Option<PathBuf>,
    /// How long a connection may be silent.
    #[arg(long = "web.read-timeout", default_value = "5m", value_parser = parse_duration)]
    pub(super) read_timeout: Duration,
    /// Connections at once.
    #[arg(long = "web.max-connections", default_value_t = 512)]
    pub(super) max_connections: usize,
    /// Where people reach this server; default: its address.
    #[arg(long = "web.external-url", default_value = "")]
    pub(super) external_url: String,
    /// What stands before every path; default: the path of the external URL.
    #[arg(long = "web.route-prefix")]
    pub(super) route_prefix: Option<String>,
    /// Serve `/-/reload` and `/-/quit`.
    #[arg(long = "web.enable-lifecycle")]
    pub(super) enable_lifecycle: bool,
    /// Serve `/api/v1/admin/…`: snapshots, deletions, merges.
    #[arg(long = "web.enable-admin-api")]
    pub(super) enable_admin_api: bool,
    /// Take samples at `/api/v1/write`.
    #[arg(long = "web.enable-remote-write-receiver")]
    pub(super) enable_remote_write_receiver: bool,
    /// The title of the pages.
    #[arg(long = "web.page-title", default_value = "Crescendo")]
    pub(super) page_title: String,
    /// Which origins may read answers in a browser: a regular expression, matched as a whole.
    #[arg(long = "web.cors.origin", default_value = ".*")]
    pub(super) cors_origin: String,
}

/// Flags of the storage.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage")]
pub(super) struct StorageArgs {
    /// The folder of the data.
    #[arg(long = "storage.tsdb.path", default_value = "data/")]
    pub(super) path: PathBuf,
    /// How long samples are kept; default 15d, unless a size is given.
    #[arg(long = "storage.tsdb.retention.time", value_parser = parse_duration)]
    pub(super) retention_time: Option<Duration>,
    /// How many bytes all files of the storage may take: `512MB`; the oldest samples go first.
    #[arg(long = "storage.tsdb.retention.size", default_value = "0B", value_parser = parse_size)]
    pub(super) retention_size: Option<u64>,
    /// Samples in an answer to one remote read.
    #[arg(long = "storage.remote.read-sample-limit", default_value_t = web::DEFAULT_READ_SAMPLE_LIMIT)]
    pub(super) read_sample_limit: usize,
}

/// Flags of queries.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Queries")]
pub(super) struct QueryArgs {
    /// How far back an instant selector looks.
    #[arg(long = "query.lookback-delta", default_value = "5m", value_parser = parse_duration)]
    pub(super) lookback_delta: Duration,
    /// Longest evaluation.
    #[arg(long = "query.timeout", default_value = "2m", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    /// Queries at once.
    #[arg(long = "query.max-concurrency", default_value_t = web::DEFAULT_MAX_CONCURRENCY)]
    pub(super) max_concurrency: usize,
    /// Samples that one query may hold, 16 bytes each; default: 200 MiB for everything that it holds.
    #[arg(long = "query.max-samples")]
    pub(super) max_samples: Option<usize>,
}

/// Flags of rules and alerts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rules and alerts")]
pub(super) struct RuleArgs {
    /// How long the server may have been down for the `for` state of alerts to be restored.
    #[arg(long = "rules.alert.for-outage-tolerance", default_value = "1h", value_parser = parse_duration)]
    pub(super) for_outage_tolerance: Duration,
    /// The least time that a restored alert stays pending.
    #[arg(long = "rules.alert.for-grace-period", default_value = "10m", value_parser = parse_duration)]
    pub(super) for_grace_period: Duration,
    /// Time after which a firing alert is told again.
    #[arg(long = "rules.alert.resend-delay", default_value = "1m", value_parser = parse_duration)]
    pub(super) resend_delay: Duration,
    /// Alerts that may wait for each Alertmanager.
    #[arg(long = "alertmanager.notification-queue-capacity", default_value_t = 10_000)]
    pub(super) notification_queue_capacity: usize,
    /// Alerts in one message to an Alertmanager.
    #[arg(long = "alertmanager.notification-batch-size", default_value_t = 256)]
    pub(super) notification_batch_size: usize,
    /// Whether the end waits for alerts that wait for an Alertmanager.
    #[arg(long = "alertmanager.drain-notification-queue-on-shutdown", default_value_t = true,
          action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) drain_notifications: bool,
}

impl RuleArgs {
    /// The times of alerts.
    pub(super) const fn times(&self) -> AlertTimes {
        AlertTimes {
            resend_delay: self.resend_delay,
            outage_tolerance: self.for_outage_tolerance,
            grace_period: self.for_grace_period,
        }
    }
}

/// What the flags say, checked.
#[derive(Clone, Debug)]
pub(super) struct Flags {
    /// Switches of the query language.
    pub(super) features: Features,
    /// Which origins may read answers in a browser.
    pub(super) cors_origin: Regex,
    /// What stands before every path, without a slash at the end; empty for nothing.
    pub(super) route_prefix: String,
    /// Bytes that one query may hold.
    pub(super) query_budget_bytes: usize,
}

/// Bytes of a sample, as `--query.max-samples` counts them: timestamp and value.
const SAMPLE_BYTES: usize = 16;

impl ServerArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A flag or feature is refused, or a value makes no sense.
    pub(super) fn check(&self) -> Result<Flags> {
        self.other.check()?;
        let mut features = Features::DEFAULT;
        for name in self.features.iter().filter(|name| !name.is_empty()) {
            if !features.enable(name) {
                check_feature(name)?;
            }
        }
        ensure!(self.query.max_concurrency > 0, "`--query.max-concurrency` must be at least 1");
        ensure!(self.web.max_connections > 0, "`--web.max-connections` must be at least 1");
        ensure!(!self.query.lookback_delta.is_zero(), "`--query.lookback-delta` must be more than 0s");
        if let Some(api) = &self.adapter.api {
            api.check()?;
        }
        self.kubernetes.check()?;
        let is_never = self.adapter.scrape_interval.is_some_and(|interval| interval.is_zero());
        ensure!(!is_never, "`--adapter.scrape-interval` must be more than 0s");
        let budget = self.query.max_samples.map(|samples| samples.saturating_mul(SAMPLE_BYTES));
        Ok(Flags {
            features,
            cors_origin: Regex::anchored(&self.web.cors_origin)
                .context("`--web.cors.origin` is no regular expression")?,
            route_prefix: self.route_prefix()?,
            query_budget_bytes: budget.unwrap_or(promql::DEFAULT_BUDGET_BYTES),
        })
    }

    /// Whether a feature was asked for.
    pub(super) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    /// The prefix of all paths: as given, else the path of the external URL.
    fn route_prefix(&self) -> Result<String> {
        let url = &self.web.external_url;
        let path = match url.split_once("://") {
            None if url.is_empty() => "",
            None => bail!("`--web.external-url` must be a URL such as `https://metrics.example/prometheus`: `{url}`"),
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
        };
        let prefix = self.web.route_prefix.as_deref().unwrap_or(path).trim_matches('/');
        Ok(if prefix.is_empty() { String::new() } else { format!("/{prefix}") })
    }

    /// Where people reach the server: as given, else an address that was bound.
    #[must_use]
    pub(super) fn external_url(&self, bound: std::net::SocketAddr, scheme: &str) -> String {
        if self.web.external_url.is_empty() {
            format!("{scheme}://{bound}")
        } else {
            self.web.external_url.trim_end_matches('/').to_owned()
        }
    }

    /// How long samples are kept: as given; the default only where no size is given either.
    #[must_use]
    pub(super) fn retention_time(&self) -> Option<Duration> {
        let given = self.storage.retention_time.filter(|time| !time.is_zero());
        let sized = self.storage.retention_size.is_some_and(|size| size > 0);
        given.or_else(|| (!sized).then_some(DEFAULT_RETENTION))
    }

    /// Every flag without its dashes, with its value, in the order of their names.
    ///
    /// `given` are the flags as clap matched them.
    #[must_use]
    pub fn all_flags(command: &Command, given: &ArgMatches) -> Vec<(String, String)> {
        // As upstream: what every command has says nothing about the server.
        let is_of_all = |argument: &clap::Arg| matches!(argument.get_id().as_str(), "help" | "version" | "color");
        let flags = command.get_arguments().filter(|argument| !argument.is_hide_set() && !is_of_all(argument));
        let value = |id: &clap::Id| {
            let raw = given.try_get_raw(id.as_str()).ok().flatten()?;
            Some(raw.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","))
        };
        let named = flags.filter_map(|argument| {
            let name = argument.get_long()?.to_owned();
            Some((name, value(argument.get_id()).unwrap_or_default()))
        });
        named.collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

/// Upstream's retention where neither a time nor a size is given.
const DEFAULT_RETENTION: Duration = Duration::from_secs(15 * 86_400);

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(words: &[&str]) -> (ServerArgs, Vec<(String, String)>) {
        let command = ServerArgs::augment_args(Command::new("server"));
        let matches = command.clone().get_matches_from(["server"].iter().chain(words));
        let shown = ServerArgs::all_flags(&command, &matches);
        (ServerArgs::from_arg_matches(&matches).unwrap(), shown)
    }

    #[test]
    fn defaults_are_upstreams() {
        let (args, shown) = parse(&[]);
        let flags = args.check().unwrap();
        assert_eq!((flags.route_prefix.as_str(), flags.features), ("", Features::DEFAULT));
        assert_eq!(args.retention_time(), Some(DEFAULT_RETENTION));
        for (name, value) in [
            ("config.file", "prometheus.yml"),
            ("query.timeout", "2m"),
            ("storage.tsdb.path", "data/"),
            ("web.enable-lifecycle", "false"),
            ("web.listen-address", "0.0.0.0:9090"),
        ] {
            assert!(shown.contains(&(name.to_owned(), value.to_owned())), "{name}: {shown:?}");
        }
        assert!(!shown.iter().any(|(name, _)| name == "agent"));
    }

    #[test]
    fn retention_by_size_alone_has_no_time() {
        let (args, _) = parse(&["--storage.tsdb.retention.size=512MB"]);
        assert_eq!((args.retention_time(), args.storage.retention_size), (None, Some(512 << 20)));
        let (args, _) = parse(&["--storage.tsdb.retention.size=512MB", "--storage.tsdb.retention.time=1d"]);
        assert_eq!(args.retention_time(), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn prefix_is_the_path_of_the_external_url_unless_given() {
        let prefix = |words: &[&str]| parse(words).0.check().map(|flags| flags.route_prefix);
        assert_eq!(prefix(&["--web.external-url=https://a.example/prometheus/"]).unwrap(), "/prometheus");
        assert_eq!(prefix(&["--web.external-url=https://a.example/x", "--web.route-prefix=/"]).unwrap(), "");
        let error = prefix(&["--web.external-url=a.example"]).unwrap_err().to_string();
        assert!(error.starts_with("`--web.external-url` must be a URL"), "{error}");
    }

    #[test]
    fn features_of_the_language_are_switched_and_others_checked() {
        let (args, _) = parse(&["--enable-feature=promql-experimental-functions,native-histograms"]);
        assert!(args.check().unwrap().features.experimental_functions);
        let (args, _) = parse(&["--enable-feature=agent"]);
        assert_eq!(args.check().unwrap_err().to_string(), "unknown feature in `--enable-feature`: `agent`");
    }

    #[test]
    fn samples_of_a_query_become_bytes() {
        let (args, _) = parse(&["--query.max-samples=1000"]);
        assert_eq!(args.check().unwrap().query_budget_bytes, 16_000);
    }
}
