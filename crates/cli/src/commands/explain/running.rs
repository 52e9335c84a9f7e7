//! The autoscaler of a running `crescendo up`.
//!
//! Rule: what it publishes is explained as it is; another name is another autoscaler, and refused.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hpa::explain::Explanation;
use hpa::status::AutoscalingStatus;
use http_client::HttpClient;
use remote::client::BaseUrl;

use super::HpaName;
use crate::commands::query::http_config;

/// Where `crescendo up` has its pages.
const DEFAULT_URL: &str = "http://127.0.0.1:9090";

/// The most bytes of a status that are read: 100 decisions of some hundred workers have 5 MB.
const MAX_STATUS_BYTES: usize = 64 * 1024 * 1024;

/// Which server.
#[derive(Debug, Args)]
#[command(next_help_heading = "A running `crescendo up`")]
pub(super) struct RunningArgs {
    /// Where its pages are; default: port 9090 of this machine, unless a cluster is looked at.
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "kubernetes"])]
    url: Option<String>,
    /// A file with the keys of Prometheus' `http_config`: credentials, TLS, proxies.
    #[arg(long = "http.config.file", value_name = "FILE", requires = "url")]
    http_config: Option<PathBuf>,
}

impl RunningArgs {
    pub(super) const fn is_named(&self) -> bool {
        self.url.is_some()
    }
}

/// Asks for the status, and explains its present decision.
pub(super) async fn explain(name: &HpaName, args: &RunningArgs, timeout: Duration) -> Result<Explanation> {
    let base = BaseUrl::parse(args.url.as_deref().unwrap_or(DEFAULT_URL)).context("`--url` is no URL of a server")?;
    let url = format!("{base}/api/v1/autoscaling");
    let request = http::Request::builder().uri(&url).body(bytes::Bytes::new());
    let request = request.with_context(|| format!("not a URL: `{url}`"))?;
    let http = args.http_config.as_deref().map(http_config).transpose()?.unwrap_or_default();
    let client = HttpClient::new(http, http_client::ClientOptions::default());
    let answer = tokio::time::timeout(timeout, client.send(request, MAX_STATUS_BYTES)).await;
    let answer = answer.with_context(|| format!("{url}: no answer within {timeout:?}"))?;
    let answer = answer.with_context(|| format!("cannot ask {url}; is `crescendo up` running there?"))?;
    if answer.status() == http::StatusCode::NOT_FOUND {
        bail!("{base} has no autoscaler: that of a cluster is asked for by `--kubeconfig`");
    }
    ensure!(answer.status().is_success(), "{url}: {}", answer.status());
    let status: AutoscalingStatus =
        serde_json::from_slice(answer.body()).with_context(|| format!("{url}: not the status of an autoscaler"))?;
    let found = HpaName { namespace: status.namespace.clone(), name: status.name.clone() };
    ensure!(found == *name, "{base} scales {found}, not {name}");
    Explanation::of_status(&status).with_context(|| format!("{found} cannot be explained"))
}
