//! Groups that never change.

use tokio_util::sync::CancellationToken;

use crate::{Discoverer, DiscovererFuture, TargetGroup, Updates};

/// Reports the groups it was made with, once.
#[derive(Clone, Debug)]
pub struct StaticDiscoverer {
    groups: Vec<TargetGroup>,
}

impl StaticDiscoverer {
    /// Takes all groups that there will be.
    #[must_use]
    pub const fn new(groups: Vec<TargetGroup>) -> Self {
        Self { groups }
    }
}

impl Discoverer for StaticDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                // A receiver that is gone needs no groups.
                _closed = updates.send(self.groups) => {}
            }
        })
    }
}
