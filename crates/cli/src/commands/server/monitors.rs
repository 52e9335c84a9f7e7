//! What the server takes from the monitors and rules of a cluster.
//!
//! - [`KubernetesArgs`]: the cluster, and whose monitors; [`KubernetesArgs::watcher`]: who looks at them.
//! - [`Monitors`]: what was found last, and what was said of it.
//!
//! Rule: an object is named in the log when it comes, changes, goes or is left out, and not again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use http_client::ClientOptions;
use http_client::kubeconfig::{Cluster, own_cluster, read_cluster};
use kubernetes::client::{Client, ReflectorOptions};
use kubernetes::monitors::{Found, MonitorWatcher, prometheus_object};
use kubernetes::operator::Origin;
use promql::Features;
use tokio::sync::watch;

use super::kube_state::StateArgs;
use crate::config::{FoundConfig, FoundContext, ServerConfig};

/// Flags of a cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct KubernetesArgs {
    /// A `Prometheus` object of Prometheus Operator as YAML: the monitors, probes, scrape configurations and rules
    /// that it selects in the cluster are added to the configuration.
    #[arg(long = "kubernetes.prometheus-object", value_name = "FILE")]
    prometheus_object: Option<PathBuf>,
    #[command(flatten)]
    pub(super) state: StateArgs,
    /// How the cluster of the monitors, their targets and the state series is reached; default: the one that this
    /// runs in.
    #[arg(long = "kubernetes.kubeconfig", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl KubernetesArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A cluster is named of which nothing is asked, or a value makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let is_used = self.prometheus_object.is_some() || !self.state.resources.is_empty();
        ensure!(
            is_used || self.kubeconfig.is_none(),
            "`--kubernetes.kubeconfig` has no effect without `--kubernetes.prometheus-object` or \
             `--kubernetes.state-metrics`"
        );
        self.state.scope()?;
        Ok(())
    }

    /// How the cluster is reached.
    ///
    /// # Errors
    ///
    /// Nothing says where it is.
    pub(super) fn cluster(&self) -> Result<Cluster> {
        match &self.kubeconfig {
            Some(path) => read_cluster(path).context("`--kubernetes.kubeconfig` cannot be used"),
            None => own_cluster(&|name| std::env::var(name).ok())
                .context("not in a cluster; `--kubernetes.kubeconfig` names one"),
        }
    }

    /// Who looks at the monitors, if the flags ask for it, and what is made of what it finds.
    ///
    /// # Errors
    ///
    /// The object is wrong, or nothing says where the cluster is.
    pub(super) fn watcher(&self, client: &ClientOptions, seed: u64) -> Result<Option<(MonitorWatcher, Monitors)>> {
        let Some(path) = &self.prometheus_object else { return Ok(None) };
        let cluster = self.cluster()?;
        let read = || -> Result<MonitorWatcher> {
            let object = prometheus_object(&path.display().to_string(), &std::fs::read_to_string(path)?)?;
            let client = Arc::new(Client::new(cluster, client.clone()));
            let options = ReflectorOptions { seed, ..ReflectorOptions::default() };
            Ok(MonitorWatcher::new(client, object, options)?)
        };
        let watcher =
            read().with_context(|| format!("`--kubernetes.prometheus-object` cannot be used: {}", path.display()))?;
        let kubeconfig = self.kubeconfig.as_ref().map(std::path::absolute).transpose()?;
        let monitors = Monitors { found: Some(watcher.found()), kubeconfig, said: BTreeMap::new() };
        Ok(Some((watcher, monitors)))
    }
}

/// What was found in the cluster.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    found: Option<watch::Receiver<Found>>,
    kubeconfig: Option<PathBuf>,
    said: BTreeMap<Origin, Said>,
}

/// What was said of an object.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It became this, by its fingerprint.
    InForce(u64),
    /// It is left out for this reason.
    LeftOut(String),
}

impl Monitors {
    /// Returns when something else was found.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.found {
            Some(found) => found.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // Nobody looks, or not any more.
            std::future::pending::<()>().await;
        }
    }

    /// What was found adds to a configuration.
    ///
    /// # Errors
    ///
    /// What holds for all objects is wrong.
    pub(super) fn read(&self, config: &ServerConfig, features: &Features) -> Result<FoundConfig> {
        let made = self.found.as_ref().and_then(|found| found.borrow().clone());
        let Some(made) = made else { return Ok(FoundConfig::default()) };
        let context = FoundContext { config, features, kubeconfig: self.kubeconfig.as_deref() };
        FoundConfig::read(&made, context).context("the `Prometheus` object cannot be applied")
    }

    /// Says what is different since it was said last.
    pub(super) fn tell(&mut self, found: &FoundConfig) {
        let mut said = BTreeMap::new();
        for object in &found.objects {
            let Origin { kind, namespace, name } = &object.origin;
            let now = Said::InForce(object.fingerprint);
            if self.said.get(&object.origin) != Some(&now) {
                let holds = object.names().join(", ");
                tracing::info!(kind, namespace, name, holds, "an object of the cluster is in force");
            }
            said.insert(object.origin.clone(), now);
        }
        for (origin, reason) in &found.rejected {
            let Origin { kind, namespace, name } = origin;
            let now = Said::LeftOut(reason.clone());
            if self.said.get(origin) != Some(&now) {
                tracing::error!(kind, namespace, name, reason, "an object of the cluster is left out");
            }
            said.insert(origin.clone(), now);
        }
        for Origin { kind, namespace, name } in self.said.keys().filter(|origin| !said.contains_key(*origin)) {
            tracing::info!(kind, namespace, name, "an object of the cluster is gone");
        }
        self.said = said;
    }
}
