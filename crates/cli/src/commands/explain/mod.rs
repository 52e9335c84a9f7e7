//! `crescendo explain`: one decision of an autoscaler from end to end, and why it did not scale.
//!
//! - [`ExplainArgs`], [`run`]: which autoscaler, where, and how it is shown.
//! - `running`: a `crescendo up` that publishes what it decides. `cluster`: an HPA of Kubernetes.
//! - `table`: the explanation for people; JSON is the explanation itself.
//!
//! ```text
//! running ─▶ AutoscalingStatus ─┐
//!                               ├─▶ hpa::explain ─▶ Explanation ─▶ table, JSON
//! cluster ─▶ Evidence ──────────┘
//! ```
//!
//! Rule: both sources give evidence only; every step is computed by `hpa`.

mod cluster;
mod running;
mod table;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use datamodel::time::parse_duration;
use hpa::explain::Explanation;

use super::Outcome;
use crate::printer::{OutputFormat, Printer};

const HELP: &str = "Examples:
  crescendo explain smallest/lightning-asr                                       # a running `crescendo up`
  crescendo explain smallest/lightning-asr --kubeconfig ~/.kube/config           # an HPA of a cluster
  crescendo explain smallest/lightning-asr --kubeconfig ~/.kube/config \\
      --adapter.config config.yaml --prometheus-url svc/monitoring/prometheus:9090  # with rule, query and series

Exit codes: 0 every stage works and the autoscaler says what is computed; 1 a stage failed, or it says something
else; 2 the autoscaler cannot be asked.

The shape of `--output json`; times are Unix seconds, values are texts:
  {\"namespace\", \"name\", \"scale_target\", \"time\", \"current\", \"existing\", \"ready\", \"min\", \"max\",
   \"metrics\": [{\"type\", \"name\", \"target_type\", \"target\",
                \"origin\": {\"rule\": {\"id\", \"series_query\", \"metrics_query\", \"series\", \"label\"}, \"queries\",
                           \"query_time\", \"series\": [{\"labels\", \"value\", \"timestamp_ms\", \"state\", \"object\"}],
                           \"more_series\", \"failure\"},
                \"pods\": [{\"pod\", \"phase\", \"ready\", \"value\", \"age_seconds\", \"state\", \"group\"}], \"values\",
                \"value\", \"ratio\", \"rebalanced\", \"tolerance_from\", \"tolerance_to\", \"proposal\", \"arithmetic\",
                \"error\"}],
   \"recommendation\", \"held\",
   \"behavior\": {\"declared\", \"up\", \"down\": {\"window_seconds\", \"recommendation\", \"age_seconds\", \"select_policy\",
                \"policies\": [{\"type\", \"value\", \"period_seconds\", \"changed\", \"allows\"}], \"limit\"}},
   \"stabilized\", \"desired\", \"verdict\": {\"changes\", \"summary\", \"reasons\"}, \"conditions\", \"events\",
   \"reported\", \"differences\": [{\"what\", \"computed\", \"reported\", \"hint\"}],
   \"failures\": [{\"stage\", \"cause\", \"remedy\"}], \"assumptions\"}";

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExplainArgs {
    /// The autoscaler.
    #[arg(value_name = "NAMESPACE/HPA", value_parser = hpa_name)]
    hpa: HpaName,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
    /// How long to wait for all answers.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    running: running::RunningArgs,
    #[command(flatten)]
    cluster: cluster::ClusterArgs,
}

/// Namespace and name of an autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HpaName {
    namespace: String,
    name: String,
}

impl std::fmt::Display for HpaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn hpa_name(text: &str) -> Result<HpaName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(HpaName { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

/// Explains.
///
/// # Errors
///
/// The autoscaler cannot be asked.
pub async fn run(args: &ExplainArgs, printer: Printer) -> Result<Outcome> {
    ensure!(!args.timeout.is_zero(), "`--timeout` must be more than 0s");
    let place = if args.running.is_named() { None } else { args.cluster.cluster()? };
    let explanation = match (place, args.cluster.lonely_flag()) {
        (Some(place), _) => cluster::explain(&args.hpa, &args.cluster, place, args.timeout).await?,
        (None, None) => running::explain(&args.hpa, &args.running, args.timeout).await?,
        (None, Some(flag)) => bail!("`{flag}` is for an HPA of a cluster: name the cluster by `--kubeconfig`"),
    };
    printer.data(&shown(&explanation, args.output)?)?;
    Ok(if explanation.is_fine() { Outcome::Fine } else { Outcome::NotFine })
}

fn shown(explanation: &Explanation, output: OutputFormat) -> Result<String> {
    match output {
        OutputFormat::Table => Ok(table::table(explanation)),
        OutputFormat::Json => serde_json::to_string(explanation).context("cannot write the explanation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoscaler_is_named_by_namespace_and_name() {
        let name = hpa_name("smallest/lightning-asr").unwrap();
        assert_eq!(name.to_string(), "smallest/lightning-asr");
        for wrong in ["lightning-asr", "/a", "a/", "a/b/c", ""] {
            assert_eq!(hpa_name(wrong).unwrap_err(), "expected NAMESPACE/NAME", "{wrong}");
        }
    }
}
