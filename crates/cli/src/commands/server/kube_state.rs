//! State series of a cluster: told at `/metrics/kube-state`, and scraped by this server itself.
//!
//! - [`StateArgs`]: of which objects. [`OwnState`]: from the flags to what the server connects.
//!
//! Rule: without the flag nothing is watched, served or scraped.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use datamodel::registry::Registry;
use http_client::Connector;
use kubernetes::state::{StateResource, StateScope};
use scrape::ScrapeOptions;
use storage::MemoryPool;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use web::MetricsPage;

use super::monitors::KubernetesArgs;
use crate::commands::kube_state::{KubeState, scope};
use crate::run_group::{RunGroup, Stage};
use crate::wiring::ended;
use crate::wiring::own_page::{OwnPage, own_page};

/// Flags of the state series.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct StateArgs {
    /// Objects whose state is told as kube-state-metrics tells it, at `/metrics/kube-state` and, by a job
    /// `kube-state-metrics`, in this server's storage. Separated by commas: `deployments`,
    /// `horizontalpodautoscalers`, `nodes`, `pods`, `replicasets`, `statefulsets`.
    #[arg(id = "state_resources", long = "kubernetes.state-metrics", value_name = "RESOURCES", value_delimiter = ',')]
    pub(super) resources: Vec<StateResource>,
    /// Namespaces of these objects, separated by commas, at most 64; default: all.
    #[arg(
        id = "state_namespaces",
        long = "kubernetes.state-metrics-namespaces",
        value_name = "NAMESPACES",
        value_delimiter = ',',
        requires = "state_resources"
    )]
    namespaces: Vec<String>,
}

impl StateArgs {
    /// Which objects, checked.
    ///
    /// # Errors
    ///
    /// As [`scope`].
    pub(super) fn scope(&self) -> Result<StateScope> {
        scope(&self.resources, &self.namespaces, "--kubernetes.state-metrics-namespaces")
    }
}

/// The state series, where they are asked for, and the connections to their page.
#[derive(Debug, Default)]
pub(super) struct OwnState(Option<Asked>);

#[derive(Debug)]
struct Asked {
    state: KubeState,
    connector: OwnPage,
    streams: mpsc::Receiver<DuplexStream>,
}

impl OwnState {
    /// What the flags ask for. `seed` should be random.
    ///
    /// # Errors
    ///
    /// Nothing says where the cluster is.
    pub(super) fn open(args: &KubernetesArgs, seed: u64) -> Result<Self> {
        if args.state.resources.is_empty() {
            return Ok(Self::default());
        }
        let state = KubeState::new(args.cluster()?, &args.state.scope()?, seed);
        let (connector, streams) = own_page();
        Ok(Self(Some(Asked { state, connector, streams })))
    }

    /// What all scrape jobs share: the page is reached as a target is.
    pub(super) fn scrape_options(&self, memory: MemoryPool) -> ScrapeOptions {
        let mut options = ScrapeOptions { memory, ..ScrapeOptions::default() };
        if let Some(asked) = &self.0 {
            options.client.connector = Arc::new(asked.connector.clone()) as Arc<dyn Connector>;
        }
        options
    }

    /// Gives the watches and the page to the group. Returns the page.
    ///
    /// # Errors
    ///
    /// A metric is declared already.
    pub(super) fn wire(self, registry: &Registry, group: &mut RunGroup) -> Result<Option<Arc<dyn MetricsPage>>> {
        let Some(Asked { state, streams, .. }) = self.0 else { return Ok(None) };
        let page = state.wire(registry, group)?;
        let router = web::kube_state_router(Arc::clone(&page));
        group.add("own page", Stage::Storage, |token| ended(web::serve_streams(streams, router, token)));
        Ok(Some(page))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(words: &[&str]) -> Result<StateArgs, clap::Error> {
        let command = StateArgs::augment_args(Command::new("server"));
        StateArgs::from_arg_matches(&command.try_get_matches_from(["server"].iter().chain(words))?)
    }

    #[test]
    fn resources_and_namespaces_are_lists_and_what_is_unknown_is_named() {
        let given = ["--kubernetes.state-metrics=pods,deployments", "--kubernetes.state-metrics-namespaces=b,a"];
        let StateScope { resources, namespaces } = parse(&given).unwrap().scope().unwrap();
        assert_eq!(resources.into_iter().collect::<Vec<_>>(), [StateResource::Deployments, StateResource::Pods]);
        assert_eq!(namespaces.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        let unknown = parse(&["--kubernetes.state-metrics=pods,secrets"]).unwrap_err().to_string();
        assert!(unknown.contains("no state series of `secrets`"), "{unknown}");
        let alone = parse(&["--kubernetes.state-metrics-namespaces=a"]).unwrap_err().to_string();
        assert!(alone.contains("--kubernetes.state-metrics <RESOURCES>"), "{alone}");
    }
}
