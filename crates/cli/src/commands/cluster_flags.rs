//! Which cluster a command looks at.
//!
//! - [`ClusterFlags`]: by kubeconfig, by address, or the one that this runs in.
//! - [`server_at`], [`behind_service`]: a server by its URL, or behind a Service of the cluster.
//!
//! Rule: a flag that cannot be used is refused by its name.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use http_client::HttpClientConfig;
use http_client::kubeconfig::{Cluster, own_cluster, read_cluster};
use kubernetes::client::Resource;
use remote::client::BaseUrl;

/// Which cluster.
#[derive(Debug, Default, Args)]
pub(super) struct ClusterFlags {
    /// The cluster to look at; default: the one that this runs in, if it does.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The cluster by the address of its API, where nothing must be proved: what `kubectl proxy` gives.
    #[arg(long = "kubernetes-url", value_name = "URL", conflicts_with = "kubeconfig")]
    pub(super) kubernetes: Option<String>,
}

impl ClusterFlags {
    /// The cluster that the flags name, else the one that this runs in.
    pub(super) fn cluster(&self) -> Result<Option<Cluster>> {
        match (&self.kubeconfig, &self.kubernetes) {
            (Some(path), _) => Ok(Some(read_cluster(path).context("`--kubeconfig` cannot be used")?)),
            (None, Some(url)) => Ok(Some(server_at(url, "--kubernetes-url", HttpClientConfig::default())?)),
            (None, None) => Ok(own_cluster(&|name| std::env::var(name).ok()).ok()),
        }
    }
}

/// A server that speaks the Kubernetes API, by its URL.
pub(super) fn server_at(url: &str, flag: &str, http: HttpClientConfig) -> Result<Cluster> {
    let is_none = || format!("`{flag}` is no URL of a server");
    // The one reader of URLs: a scheme, a host, no query.
    let server = BaseUrl::parse(url).with_context(is_none)?.to_string().parse().with_context(is_none)?;
    Ok(Cluster { server, http, namespace: None })
}

/// The URL of a server behind a Service, `NAMESPACE/NAME:PORT`, asked through the API server, and how it is asked.
pub(super) fn behind_service(cluster: Option<&Cluster>, service: &str) -> Result<(String, HttpClientConfig)> {
    let cluster = cluster.context("`--prometheus-url svc/…` needs a cluster: `--kubeconfig`")?;
    let (namespace, name) = service.split_once('/').context("`--prometheus-url` is no `svc/NAMESPACE/NAME:PORT`")?;
    let server = cluster.server.to_string();
    let path = Resource::core("services").object_path(Some(namespace), name);
    Ok((format!("{}{path}/proxy", server.trim_end_matches('/')), cluster.http.clone()))
}
