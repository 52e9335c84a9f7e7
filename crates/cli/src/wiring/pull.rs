//! Pull-through for the metrics API: the targets of the asked pods are scraped before the answer is computed.
//!
//! - [`PodPull`]: finds the targets of pods, pulls them, and puts the rows over the storage.
//!
//! Rule: targets come from discovery, never from the request or from series; nothing is written.

use std::sync::Arc;
use std::time::Duration;

use datamodel::Labels;
use metrics_api::{BoxFuture, Freshen};
use scrape::{FreshOverlay, PulledTarget, ScrapeHandle};
use storage::Queryable;

/// Pulls the targets of pods.
pub struct PodPull {
    scrape: ScrapeHandle,
    storage: Arc<dyn Queryable>,
}

impl std::fmt::Debug for PodPull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodPull").field("scrape", &self.scrape).finish_non_exhaustive()
    }
}

impl PodPull {
    /// Takes the scraper and the storage that it writes to.
    #[must_use]
    pub const fn new(scrape: ScrapeHandle, storage: Arc<dyn Queryable>) -> Self {
        Self { scrape, storage }
    }
}

/// Whether a target belongs to one of the pods of a namespace.
fn is_of(target: &Labels, namespace: &str, pods: &[String]) -> bool {
    target.get("namespace") == Some(namespace)
        && target.get("pod").is_some_and(|pod| pods.iter().any(|wanted| wanted == pod))
}

impl Freshen for PodPull {
    fn freshen<'a>(
        &'a self,
        namespace: &'a str,
        pods: &'a [String],
        budget: Duration,
    ) -> BoxFuture<'a, Option<Arc<dyn Queryable>>> {
        Box::pin(async move {
            let select = |labels: &Labels| is_of(labels, namespace, pods);
            let pulled = self.scrape.pull(select, budget).await;
            let rows: Vec<_> = pulled.iter().filter_map(PulledTarget::row).cloned().collect();
            if rows.is_empty() {
                return None;
            }
            Some(Arc::new(FreshOverlay::new(Arc::clone(&self.storage), rows)) as Arc<dyn Queryable>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_pods_in_their_namespace() {
        let pods = ["a".to_owned(), "b".to_owned()];
        let target = |namespace: &str, pod: &str| Labels::from_pairs([("namespace", namespace), ("pod", pod)]);
        assert!(is_of(&target("asr", "b"), "asr", &pods));
        assert!(!is_of(&target("asr", "c"), "asr", &pods));
        assert!(!is_of(&target("other", "a"), "asr", &pods));
        assert!(!is_of(&Labels::from_pairs([("pod", "a")]), "asr", &pods));
    }
}
