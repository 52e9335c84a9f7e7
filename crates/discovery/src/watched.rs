//! Groups that another part of the same process decides, such as the supervisor of workers.
//!
//! Rule: the newest value counts; values in between may be skipped.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Discoverer, DiscovererFuture, TargetGroup, Updates};

/// Reports the groups in a watched value whenever it changes. The value always holds all groups.
#[derive(Clone, Debug)]
pub struct WatchedDiscoverer {
    groups: watch::Receiver<Vec<TargetGroup>>,
}

impl WatchedDiscoverer {
    /// Watches the value. When its sender is gone, the last groups stay in force.
    #[must_use]
    pub const fn new(groups: watch::Receiver<Vec<TargetGroup>>) -> Self {
        Self { groups }
    }

    async fn watch(mut self, updates: Updates) {
        let mut reported: BTreeSet<Arc<str>> = BTreeSet::new();
        loop {
            let mut groups = self.groups.borrow_and_update().clone();
            let present: BTreeSet<_> = groups.iter().map(|group| Arc::clone(&group.source)).collect();
            groups.extend(reported.difference(&present).map(|source| TargetGroup::gone(Arc::clone(source))));
            reported = present;
            if updates.send(groups).await.is_err() || self.groups.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Discoverer for WatchedDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.watch(updates) => {}
            }
        })
    }
}
