//! `crescendo verify`: is everything right, from the pod to the autoscaler?
//!
//! - [`VerifyArgs`], [`run`]: from arguments to a report.
//! - `gather`: asks Prometheus, the metrics API and the cluster. `facts`: what they said. `checks`: what that means.
//! - `against`: the same questions to two servers. `finding`, `report`: how it is told.
//!
//! ```text
//! places ─▶ gather ─▶ Facts ─▶ checks ─▶ findings ─▶ report
//!           network            pure
//! ```
//!
//! Rule: a check that cannot be made, or does not apply, is told with its reason; nothing is changed anywhere.

mod against;
mod checks;
mod facts;
mod finding;
mod gather;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use datamodel::time::parse_duration;
use http_client::kubeconfig::Cluster;
use http_client::{ClientOptions, HttpClientConfig};
use kubernetes::client::Client;

use super::Outcome;
use super::cluster_flags::{ClusterFlags, behind_service, server_at};
use super::query::http_config;
use crate::printer::{OutputFormat, Printer};
use crate::progress::Bar;

use facts::Expected;
use finding::Verdict;
use gather::{Engine, Other, Places};
use report::Report;

/// The rules that are expected where no file says others: the seed's.
const SEED_RULES: &str = include_str!("../../../../../rules/seed.yaml");

/// What stands below the options in the help.
const HELP: &str = "Examples:
  crescendo verify                                       # `crescendo up`, or a Prometheus, on this machine
  crescendo verify --kubeconfig ~/.kube/config --prometheus-url svc/default/smallest-prometheus-stack-prometheus:9090
  crescendo verify --against http://127.0.0.1:9091       # two servers: what do they answer differently?
  crescendo verify -o json | jq '.sections[].findings[] | select(.verdict == \"wrong\")'

Exit codes: 0 nothing is wrong, 1 something is, 2 nothing is known to be wrong and something could not be checked.

The shape of `--output json`:
  {\"sections\": [{\"title\", \"findings\": [{\"check\", \"verdict\", \"asked\", \"found\", \"remedy\"}]}],
   \"lag\": [{\"autoscaler\", \"metric\", \"pulled\", \"scrape_seconds\", \"rules_seconds\", \"sync_seconds\",
            \"worst_seconds\", \"hold_seconds\"}],
   \"summary\": {\"ok\", \"warning\", \"wrong\", \"unknown\", \"not_checked\"}}
A verdict is one of the names in the summary.";

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct VerifyArgs {
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    expected: ExpectedArgs,
    #[command(flatten)]
    against: AgainstArgs,
    /// How the report is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Who is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where to look")]
struct PlaceArgs {
    /// Prometheus, or whatever speaks its API; `svc/NAMESPACE/NAME:PORT` is asked through the API server of the
    /// cluster, and `none` asks none.
    #[arg(long = "prometheus-url", value_name = "URL", default_value = "http://127.0.0.1:9090")]
    prometheus: String,
    /// A file with the keys of Prometheus' `http_config` for it: credentials, TLS, proxies.
    #[arg(long = "http.config.file", value_name = "FILE")]
    http: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// The metrics API by itself; default: through the cluster, or in `crescendo up`.
    #[arg(long = "metrics-api-url", value_name = "URL")]
    metrics_api: Option<String>,
    /// As `--http.config.file`, for the metrics API by itself.
    #[arg(long = "metrics-api.http.config.file", value_name = "FILE", requires = "metrics_api")]
    metrics_api_http: Option<PathBuf>,
    /// How long each answer may take.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What should be there.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to expect")]
struct ExpectedArgs {
    /// Where the workers are.
    #[arg(long, default_value = "smallest")]
    namespace: String,
    /// The Service of the workers, and its ServiceMonitor.
    #[arg(long, default_value = "lightning-asr")]
    service: String,
    /// The job that scrapes them; default: the Service's name.
    #[arg(long)]
    job: Option<String>,
    /// The rules that should be loaded, as a rule file; default: those of the setup document.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Time between two decisions of the autoscaler [default: 15s, and 2s with `crescendo up`].
    #[arg(long = "hpa-sync-period", value_name = "DURATION", value_parser = parse_duration)]
    sync_period: Option<Duration>,
}

/// With whom to compare.
#[derive(Debug, Args)]
#[command(next_help_heading = "Comparison")]
struct AgainstArgs {
    /// Instead of the checks, compares the answers of another Prometheus with those of `--prometheus-url`, or of another
    /// metrics API with ours.
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// As `--http.config.file`, for the other server.
    #[arg(long = "against.http.config.file", value_name = "FILE", requires = "against")]
    against_http: Option<PathBuf>,
    /// How far two numbers may be apart, as a part of the larger one.
    #[arg(long, default_value_t = 0.05, requires = "against")]
    tolerance: f64,
    /// A further expression to compare; may be given more than once.
    #[arg(long = "query", value_name = "EXPRESSION", requires = "against")]
    expressions: Vec<String>,
}

/// Asks, checks and prints.
///
/// # Errors
///
/// An argument cannot be used, or something could not be checked and nothing else is wrong.
pub async fn run(args: &VerifyArgs, printer: Printer) -> Result<Outcome> {
    let places = places(args)?;
    let expected = expected(&args.expected)?;
    let mut bar = Bar::new(printer);
    let report = match other(&args.against)? {
        Some(other) => {
            let sections = Box::pin(gather::compare(&places, &other, &expected, &mut bar)).await;
            Report { sections, lags: Vec::new() }
        }
        None => {
            let facts = Box::pin(gather::facts(&places, expected, &mut bar)).await;
            Report { sections: checks::all(&facts), lags: checks::lags(&facts) }
        }
    };
    bar.clear();
    match args.output {
        OutputFormat::Table => printer.data(&report.table())?,
        OutputFormat::Json => printer.data(&report.document().to_string())?,
    }
    if report.count(Verdict::Wrong) > 0 {
        return Ok(Outcome::NotFine);
    }
    match report.count(Verdict::Unknown) {
        0 => Ok(Outcome::Fine),
        1 => bail!("one check could not be made"),
        unknown => bail!("{unknown} checks could not be made"),
    }
}

fn other(args: &AgainstArgs) -> Result<Option<Other>> {
    let Some(url) = &args.against else { return Ok(None) };
    ensure!((0.0..1.0).contains(&args.tolerance), "`--tolerance` must be from 0 to 1");
    let engine = Engine::new(url, "--against", http_of(args.against_http.as_deref())?)?;
    Ok(Some(Other { engine, expressions: args.expressions.clone(), tolerance: args.tolerance }))
}

fn http_of(file: Option<&Path>) -> Result<HttpClientConfig> {
    file.map_or_else(|| Ok(HttpClientConfig::default()), http_config)
}

fn places(args: &VerifyArgs) -> Result<Places> {
    let PlaceArgs { prometheus, http, metrics_api, metrics_api_http, timeout, .. } = &args.places;
    ensure!(!timeout.is_zero(), "`--timeout` must be more than 0s");
    let cluster = args.places.cluster.cluster()?;
    let engine = match (prometheus.as_str(), prometheus.strip_prefix("svc/")) {
        ("none", _) => None,
        (_, Some(service)) => {
            ensure!(http.is_none(), "`--http.config.file` is of no use for a Service: the API server is asked");
            let (url, http) = behind_service(cluster.as_ref(), service)?;
            Some(Engine::new(&url, "--prometheus-url", http)?)
        }
        (url, None) => Some(Engine::new(url, "--prometheus-url", http_of(http.as_deref())?)?),
    };
    let metrics_api = match metrics_api {
        Some(url) => Some(server_at(url, "--metrics-api-url", http_of(metrics_api_http.as_deref())?)?),
        None => None,
    };
    let client = |cluster: Cluster| Client::new(cluster, ClientOptions::default());
    Ok(Places {
        prometheus: engine,
        metrics_api: metrics_api.map(client),
        cluster: cluster.map(client),
        patience: *timeout,
        sync_period: args.expected.sync_period,
    })
}

fn expected(args: &ExpectedArgs) -> Result<Expected> {
    let (name, text) = match &args.rules {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("rules/seed.yaml".to_owned(), SEED_RULES.to_owned()),
    };
    let groups = rules::parse_rule_file(&name, &text, &promql::Features::DEFAULT)?;
    let (mut recording, mut alerting) = (Vec::new(), Vec::new());
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let names = if matches!(rule, rules::Rule::Recording(_)) { &mut recording } else { &mut alerting };
        names.push(rule.name().to_owned());
    }
    Ok(Expected {
        namespace: args.namespace.clone(),
        job: args.job.clone().unwrap_or_else(|| args.service.clone()),
        service: args.service.clone(),
        rules: recording,
        alerts: alerting,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: VerifyArgs,
    }

    #[track_caller]
    fn refused(words: &[&str], expected: &str) {
        let args = Line::try_parse_from([&["verify"], words].concat()).unwrap().args;
        let error = places(&args).map(drop).and_then(|()| other(&args.against).map(drop)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn places_that_are_none_are_refused_with_their_flag() {
        refused(&["--prometheus-url", "p:9090"], "`--prometheus-url` is no URL of a server");
        refused(&["--kubernetes-url", "http://k?x=1"], "`--kubernetes-url` is no URL of a server");
        refused(&["--metrics-api-url", "m"], "`--metrics-api-url` is no URL of a server");
        refused(&["--kubeconfig", "nowhere"], "`--kubeconfig` cannot be used");
        refused(&["--against", "ftp://a"], "`--against` is no URL of a server");
        refused(&["--against", "http://a", "--tolerance", "2"], "`--tolerance` must be from 0 to 1");
        refused(&["--timeout", "0s"], "`--timeout` must be more than 0s");
        let cluster = ["--kubernetes-url", "http://k"];
        refused(&[&cluster[..], &["--prometheus-url", "svc/p"]].concat(), "is no `svc/NAMESPACE/NAME:PORT`");
        refused(&["--http.config.file", "nowhere"], "cannot read nowhere");
    }

    #[test]
    fn service_is_asked_through_the_api_server() {
        let words = ["verify", "--kubernetes-url", "http://k:8001/", "--prometheus-url", "svc/default/p:9090"];
        let places = places(&Line::try_parse_from(words).unwrap().args).unwrap();
        let url = places.prometheus.unwrap().url();
        assert_eq!(url, "http://k:8001/api/v1/namespaces/default/services/p%3A9090/proxy");
        let words = ["verify", "--prometheus-url", "none"];
        assert!(super::places(&Line::try_parse_from(words).unwrap().args).unwrap().prometheus.is_none());
    }

    #[test]
    fn rules_of_the_setup_document_are_expected() {
        let args = Line::try_parse_from(["verify", "--service", "asr"]).unwrap().args;
        let expected = expected(&args.expected).unwrap();
        assert_eq!(expected.rules, ["asr:requests:rate5m", "asr:requests:active_avg", "asr:gpu:utilization_avg"]);
        assert_eq!(expected.alerts, ["HighErrorRate", "HighQueueLength", "GPUMemoryHigh"]);
        assert_eq!((expected.job.as_str(), expected.namespace.as_str()), ("asr", "smallest"));
    }
}
