//! The resources of a cluster, custom ones included.
//!
//! Rule: until they were discovered once, and where that fails, Kubernetes' own are known.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kubernetes::client::{ApiError, Client};
use kubernetes::objects::discover_resources;
use metrics_api::{BuiltinResources, FixedResources, ResourceInfo, ResourceMapper};
use tokio_util::sync::CancellationToken;

/// What the groups of metrics end with: their "resources" are metrics, our own among them.
const METRICS_GROUPS: &str = "metrics.k8s.io";

/// Maps names to what the cluster's API serves.
pub struct ClusterResources {
    client: Arc<Client>,
    present: RwLock<Option<Arc<FixedResources>>>,
}

impl std::fmt::Debug for ClusterResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterResources").field("client", &self.client).finish_non_exhaustive()
    }
}

impl ClusterResources {
    /// Knows Kubernetes' own until the first [`look`](Self::look).
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, present: RwLock::default() }
    }

    /// Discovers the resources once.
    ///
    /// # Errors
    ///
    /// The API cannot be asked; what is known stays.
    pub async fn look(&self) -> Result<(), ApiError> {
        let mut found = discover_resources(&self.client).await?;
        found.retain(|info| !info.group_resource.group.ends_with(METRICS_GROUPS));
        if found.is_empty() {
            return Err(ApiError::Form("the API serves no resources".to_owned()));
        }
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(FixedResources(found)));
        Ok(())
    }

    /// Discovers them again and again until shutdown: sooner while none were found.
    pub async fn watch(self: Arc<Self>, interval: Duration, shutdown: CancellationToken) {
        let mut pause = interval;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.look().await {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!("resources cannot be discovered: {error}");
                    interval.min(Duration::from_secs(30))
                }
            };
        }
    }
}

impl ResourceMapper for ClusterResources {
    fn resource(&self, group: &str, name: &str) -> Option<ResourceInfo> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner).clone();
        match present {
            Some(found) => found.resource(group, name),
            None => BuiltinResources.resource(group, name),
        }
    }
}
