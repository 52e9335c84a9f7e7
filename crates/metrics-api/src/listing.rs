//! Listing series, again and again.
//!
//! Rule: one round at a time, and what is published is exchanged only when a round is complete. A failed
//! listing concerns its rule alone.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use datamodel::time::TimeRange;
use tokio_util::sync::CancellationToken;

use crate::api::{MetricsApi, Published};
use crate::config::Config;
use crate::naming::Rule;
use crate::registry::{Entry, Listed, Registry, Round};

/// How soon a question for an unknown metric may start another round, so that a metric that just appeared
/// need not wait for the next regular one.
pub const MIN_RELIST_GAP: Duration = Duration::from_secs(2);
/// Listing because of questions takes at most one part in so many of the source's time.
const REST_FACTOR: u32 = 20;
/// A metric stays through this many missed rounds, and at least [`MIN_KEEP`].
const KEEP_ROUNDS: u32 = 3;
/// With a short relist interval, rounds may fall between two scrapes of a slow target.
const MIN_KEEP: Duration = Duration::from_mins(10);
/// Pause after a round in which a listing failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest time for the listing of one rule's series.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

impl MetricsApi {
    /// Lists the series of all rules and publishes what they give. Whether every listing succeeded.
    pub async fn relist(&self) -> bool {
        let _one_at_a_time = self.listing.lock().await;
        let config = Arc::clone(&self.published().config);
        self.publish(config, false).await
    }

    /// Exchanges the rules: lists their series first, so that no metric is missing in between. Whether every
    /// listing succeeded.
    pub async fn reload(&self, config: Config) -> bool {
        let _one_at_a_time = self.listing.lock().await;
        self.publish(Arc::new(config), true).await
    }

    /// Lists series at the relist interval, and sooner after a failure, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            let complete = tokio::select! {
                () = shutdown.cancelled() => return,
                complete = self.relist() => complete,
            };
            let interval = self.settings.listing.relist_interval();
            let pause = if complete { interval } else { interval.min(RETRY_INTERVAL) };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Lists again because a question found nothing, unless that was done a moment ago. Whether it was done.
    pub(crate) async fn relist_for_question(&self) -> bool {
        let asked = self.backends.clock.now();
        let _one_at_a_time = self.listing.lock().await;
        let published = self.published();
        match published.listed {
            // Another question has waited for the same round.
            Some(listed) if listed >= asked => return true,
            Some(listed) if asked.since(listed) < MIN_RELIST_GAP.max(published.took * REST_FACTOR) => return false,
            _ => {}
        }
        self.publish(Arc::clone(&published.config), false).await;
        true
    }

    async fn publish(&self, config: Arc<Config>, is_new: bool) -> bool {
        let round = self.list(&config).await;
        let complete = round.custom.iter().chain(&round.external).all(Result::is_ok);
        let listing = self.settings.listing;
        let keep = listing.relist_interval().saturating_mul(KEEP_ROUNDS).max(MIN_KEEP).max(listing.max_age());
        let before = self.published();
        let carried = if is_new { Some(before.carried_over(&config, &round)) } else { None };
        let known = carried.as_ref().unwrap_or(&before.registry);
        let (registry, problems) = known.after(&config, &round, &*self.backends.mapper, keep);
        for problem in problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::warn!(rule = %problem.rule, "{}", problem.message);
        }
        if is_new {
            self.forget_revealed();
        }
        let took = self.backends.clock.now().since(round.at);
        let published = Published { config, registry, problems, listed: Some(round.at), took };
        if let Some(metrics) = &self.metrics {
            metrics.listed(&published, complete);
        }
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
        complete
    }

    /// Lists each distinct series query once.
    async fn list(&self, config: &Config) -> Round {
        let at = self.backends.clock.now();
        let range = TimeRange { start: at.saturating_sub(self.settings.listing.max_age()), end: at };
        let mut listed: BTreeMap<&str, Listed> = BTreeMap::new();
        for rule in config.rules.iter().chain(&config.external_rules) {
            if listed.contains_key(rule.series_query.as_str()) {
                continue;
            }
            let listing = tokio::time::timeout(LIST_TIMEOUT, self.backends.source.series(&rule.matchers, range)).await;
            let outcome = match listing {
                Ok(Ok(shapes)) => Ok(shapes),
                Ok(Err(cause)) => Err(format!("series cannot be listed: {cause}")),
                Err(_elapsed) => Err(format!("series cannot be listed within {} s", LIST_TIMEOUT.as_secs())),
            };
            listed.insert(&rule.series_query, outcome);
        }
        let of = |rules: &[Rule]| -> Vec<Listed> {
            rules.iter().filter_map(|rule| listed.get(rule.series_query.as_str()).cloned()).collect()
        };
        Round { custom: of(&config.rules), external: of(&config.external_rules), at }
    }
}

impl Published {
    /// What a new configuration inherits: the metrics of rules that it has too and whose listing failed just
    /// now. All others are what their listing says.
    fn carried_over(&self, config: &Config, round: &Round) -> Registry {
        let heir = |old: &[Rule], new: &[Rule], listed: &[Listed], entry: &Entry| {
            let rule = old.get(entry.rule)?;
            let index = new.iter().position(|candidate| candidate.is_same_as(rule))?;
            listed.get(index)?.is_err().then(|| Entry { rule: index, ..entry.clone() })
        };
        let custom = self.registry.custom.iter().filter_map(|(info, entry)| {
            Some((info.clone(), heir(&self.config.rules, &config.rules, &round.custom, entry)?))
        });
        let (old, new) = (&self.config.external_rules, &config.external_rules);
        let external = self
            .registry
            .external
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), heir(old, new, &round.external, entry)?)));
        Registry { custom: custom.collect(), external: external.collect() }
    }
}
