//! The way from discoverers to the one who scrapes.
//!
//! Rule: the channel is bounded, so a discoverer waits while the receiver is busy.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::TargetGroup;

/// What a running discoverer is.
pub type DiscovererFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Watches a source of targets.
///
/// - Its first update holds all groups of the source; later ones hold those that changed, a group
///   without targets for one that is gone.
/// - A source that cannot be reached is the discoverer's own matter: it logs, waits and tries again,
///   and its last groups stay in force.
/// - It returns after `shutdown`, when the receiver is gone, or when its groups can never change
///   again (they stay in force then).
pub trait Discoverer: Send + fmt::Debug {
    /// Watches until shutdown.
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture;
}

/// Groups that one discoverer reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Number of the discoverer; sources are unique only within one.
    pub discoverer: usize,
    /// The groups, each replacing the one with the same source.
    pub groups: Vec<TargetGroup>,
}

/// Nobody receives updates any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target updates are no longer received")]
pub struct UpdatesClosed;

/// The sending end, one for each discoverer.
#[derive(Clone, Debug)]
pub struct Updates {
    discoverer: usize,
    sender: mpsc::Sender<Update>,
}

impl Updates {
    /// A sending end for the discoverer with this number.
    #[must_use]
    pub const fn new(discoverer: usize, sender: mpsc::Sender<Update>) -> Self {
        Self { discoverer, sender }
    }

    /// Reports groups; waits while the receiver is busy.
    ///
    /// # Errors
    ///
    /// The receiver is gone: the discoverer should return.
    pub async fn send(&self, groups: Vec<TargetGroup>) -> Result<(), UpdatesClosed> {
        let update = Update { discoverer: self.discoverer, groups };
        self.sender.send(update).await.map_err(|_returned| UpdatesClosed)
    }
}
