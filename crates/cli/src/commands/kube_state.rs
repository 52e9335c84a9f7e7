//! State series of a cluster, for the commands that tell of them.
//!
//! Rule: what is watched is what was asked for; the page is the same whoever serves it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use datamodel::exposition::Format;
use datamodel::registry::Registry;
use http_client::ClientOptions;
use http_client::kubeconfig::Cluster;
use kubernetes::client::{Client, ReflectorOptions};
use kubernetes::state::{MAX_NAMESPACES, StateResource, StateScope, StateSeries, StateWatches};
use web::{ActionError, MetricsPage};

use crate::run_group::{RunGroup, Stage};
use crate::wiring::ended;

/// Which objects are told of, checked. `flag` is that of the namespaces.
///
/// # Errors
///
/// There are too many namespaces, or one without a name.
pub(super) fn scope(resources: &[StateResource], namespaces: &[String], flag: &str) -> Result<StateScope> {
    let namespaces: BTreeSet<String> = namespaces.iter().cloned().collect();
    ensure!(
        namespaces.len() <= MAX_NAMESPACES && !namespaces.contains(""),
        "`{flag}` takes up to {MAX_NAMESPACES} names; without it all are watched"
    );
    Ok(StateScope { resources: resources.iter().copied().collect(), namespaces })
}

/// State series that nobody keeps true yet.
#[derive(Debug)]
pub(super) struct KubeState {
    series: StateSeries,
    watches: StateWatches,
}

impl KubeState {
    /// Of these objects of a cluster. `seed` should be random.
    pub(super) fn new(cluster: Cluster, scope: &StateScope, seed: u64) -> Self {
        let client = Arc::new(Client::new(cluster, ClientOptions::default()));
        let options = ReflectorOptions { seed, ..ReflectorOptions::default() };
        let (series, watches) = StateSeries::new(&client, scope, options);
        Self { series, watches }
    }

    /// Gives the watches to the group. Returns the page.
    ///
    /// # Errors
    ///
    /// A metric is declared already.
    pub(super) fn wire(self, registry: &Registry, group: &mut RunGroup) -> Result<Arc<dyn MetricsPage>> {
        let Self { series, watches } = self;
        series.register(registry)?;
        group.add("state of the cluster", Stage::Control, |token| ended(watches.run(token)));
        Ok(Arc::new(Page(series)))
    }
}

struct Page(StateSeries);

impl MetricsPage for Page {
    fn page(&self, format: Format) -> Result<String, ActionError> {
        let refused = |error| ActionError { action: "tell the state of the cluster", source: Box::new(error) };
        self.0.page(format).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_have_names_and_are_not_too_many() {
        let scope = |names: &[String]| scope(&[StateResource::Pods], names, "--names");
        let names = |count: usize| (0..count).map(|index| format!("n{index}")).collect::<Vec<_>>();
        assert_eq!(scope(&names(64)).unwrap().namespaces.len(), 64);
        for wrong in [names(65), vec!["a".to_owned(), String::new()]] {
            let error = scope(&wrong).unwrap_err().to_string();
            assert_eq!(error, "`--names` takes up to 64 names; without it all are watched");
        }
    }
}
