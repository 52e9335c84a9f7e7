//! Which scrape targets are still there, so that their last values can be held.
//!
//! - [`KnownTargets`]: asks the scraper, at most once a second.
//!
//! Rule: the target of a series has the same job and instance, and the same pod where it names one: an address that
//! another pod got is not the pod that left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::{Clock, Labels, Timestamp};
use metrics_api::Discovered;
use scrape::ScrapeHandle;

/// How long the list is good for: one answer asks for each of its series that ended.
const KEPT: Duration = Duration::from_secs(1);

/// Pods by job and instance; a target without a pod has none.
type Pods = BTreeMap<(String, String), Vec<Option<String>>>;

/// Asks the scraper which targets there are.
#[derive(Debug)]
pub struct KnownTargets {
    scrape: ScrapeHandle,
    clock: Arc<dyn Clock>,
    listed: Mutex<Option<(Timestamp, Arc<Pods>)>>,
}

impl KnownTargets {
    /// Takes the scraper.
    #[must_use]
    pub fn new(scrape: ScrapeHandle, clock: Arc<dyn Clock>) -> Self {
        Self { scrape, clock, listed: Mutex::default() }
    }

    fn pods(&self) -> Arc<Pods> {
        let now = self.clock.now();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*listed {
            Some((at, pods)) if *at <= now && now.since(*at) < KEPT => Arc::clone(pods),
            _ => {
                let targets = self.scrape.active_targets();
                let pods = Arc::new(by_instance(targets.iter().map(|target| &target.labels)));
                *listed = Some((now, Arc::clone(&pods)));
                pods
            }
        }
    }
}

fn key(labels: &Labels) -> (String, String) {
    let value = |name| labels.get(name).unwrap_or_default().to_owned();
    (value("job"), value("instance"))
}

fn by_instance<'a>(targets: impl Iterator<Item = &'a Labels>) -> Pods {
    let mut pods = Pods::new();
    for labels in targets {
        pods.entry(key(labels)).or_default().push(labels.get("pod").map(str::to_owned));
    }
    pods
}

fn is_of(pods: &Pods, series: &Labels) -> bool {
    let is_same = |pod: &Option<String>| pod.as_deref().is_none_or(|pod| series.get("pod") == Some(pod));
    pods.get(&key(series)).is_some_and(|pods| pods.iter().any(is_same))
}

impl Discovered for KnownTargets {
    fn is_discovered(&self, series: &Labels) -> bool {
        is_of(&self.pods(), series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_is_of_a_target_with_its_job_its_instance_and_its_pod() {
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let worker = labels(&[("job", "asr"), ("instance", "10.0.0.1:2269"), ("pod", "a")]);
        let state = labels(&[("job", "state"), ("instance", "10.0.0.9:8080")]);
        let pods = by_instance([&worker, &state].into_iter());
        let check =
            |pairs: &[(&str, &str)], expected: bool| assert_eq!(is_of(&pods, &labels(pairs)), expected, "{pairs:?}");
        check(&[("job", "asr"), ("instance", "10.0.0.1:2269"), ("pod", "a")], true);
        // The address is that of another pod now.
        check(&[("job", "asr"), ("instance", "10.0.0.1:2269"), ("pod", "b")], false);
        check(&[("job", "asr"), ("instance", "10.0.0.1:2269")], false);
        check(&[("job", "asr"), ("instance", "10.0.0.2:2269"), ("pod", "a")], false);
        // A target that is no pod tells of pods.
        check(&[("job", "state"), ("instance", "10.0.0.9:8080"), ("pod", "x")], true);
    }
}
