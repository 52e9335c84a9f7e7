//! What the API says about itself.
//!
//! Rule: labels are closed sets: API groups and stages, never a metric, a rule or a user.

use datamodel::Timestamp;
use datamodel::registry::{Counter, Family, Gauge, Histogram, RegisterError, Registry};

use crate::api::Published;
use crate::error::ApiError;
use crate::hold::SampleState;
use crate::request::{CUSTOM_GROUP, EXTERNAL_GROUP};

/// Upper bounds in seconds: cached answers take less than 5 ms, a source that is slow some seconds.
const DURATION_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds in seconds: pulled rows are below one, held ones end at 90.
const FRESHNESS_BUCKETS: [f64; 9] = [0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 90.0, 300.0];

/// The instruments of this crate.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<Counter, 2>,
    duration: Family<Histogram, 1>,
    freshness: Family<Histogram, 1>,
    held: Family<Counter, 1>,
    published: Family<Gauge, 1>,
    problems: Gauge,
    failed_rounds: Counter,
}

impl ApiMetrics {
    /// Declares the instruments.
    ///
    /// # Errors
    ///
    /// A name is taken.
    pub fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            requests: registry.counter_family(
                "crescendo_metrics_api_requests_total",
                "Questions for metrics by API group and by the stage that failed (`none` when answered).",
                ["group", "failed_stage"],
            )?,
            duration: registry.histogram_family(
                "crescendo_metrics_api_request_duration_seconds",
                "Time from a question to its answer.",
                ["group"],
                &DURATION_BUCKETS,
            )?,
            freshness: registry.histogram_family(
                "metrics_apiserver_metric_freshness_seconds",
                "Age of the newest input of each value that was served.",
                ["group"],
                &FRESHNESS_BUCKETS,
            )?,
            held: registry.counter_family(
                "crescendo_metrics_api_held_values_total",
                "Values that were served from the last samples of targets that did not answer.",
                ["group"],
            )?,
            published: registry.gauge_family(
                "crescendo_metrics_api_published_metrics",
                "Metrics that are published.",
                ["group"],
            )?,
            problems: registry.gauge(
                "crescendo_metrics_api_rule_problems",
                "Mapping rules that are broken, in conflict or doubtful.",
            )?,
            failed_rounds: registry.counter(
                "crescendo_metrics_api_failed_listings_total",
                "Rounds of series listings in which at least one rule failed.",
            )?,
        })
    }

    /// Counts one answer.
    pub(crate) fn answered(
        &self,
        group: &str,
        outcome: Result<impl Iterator<Item = (Timestamp, SampleState)>, &ApiError>,
        begun: Timestamp,
        now: Timestamp,
    ) {
        self.duration.with([group]).observe(now.since(begun).as_secs_f64());
        let values = match outcome {
            Ok(values) => values,
            Err(error) => return self.requests.with([group, error.stage().as_str()]).inc(),
        };
        self.requests.with([group, "none"]).inc();
        let (freshness, held) = (self.freshness.with([group]), self.held.with([group]));
        for (timestamp, state) in values {
            freshness.observe(now.since(timestamp).as_secs_f64());
            if state == SampleState::Held {
                held.inc();
            }
        }
    }

    /// Notes what a round of listings published.
    pub(crate) fn listed(&self, published: &Published, complete: bool) {
        self.published.with([CUSTOM_GROUP]).set(published.registry.custom.len() as f64);
        self.published.with([EXTERNAL_GROUP]).set(published.registry.external.len() as f64);
        self.problems.set(published.problems.len() as f64);
        if !complete {
            self.failed_rounds.inc();
        }
    }
}
