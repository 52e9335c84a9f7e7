//! What the scrape manager says about itself, under Prometheus' names.
//!
//! Rule: labels come from the configuration (job names, intervals), never from a target.

use std::time::Duration;

use datamodel::registry::{Counter, Family, Gauge, RegisterError, Registry, Summary};
use datamodel::time::format_duration;

use crate::error::ScrapeError;
use crate::ingest::ScrapeReport;
use crate::pull::PullOutcome;

/// The quantiles that Prometheus tells of scrape and sync times.
const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

/// The instruments of this crate.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) pools: Counter,
    pub(crate) pool_reloads: Counter,
    pub(crate) pool_syncs: Family<Counter, 1>,
    pub(crate) pool_targets: Family<Gauge, 1>,
    pub(crate) pool_target_limit: Family<Gauge, 1>,
    pub(crate) target_limit_exceeded: Counter,
    pub(crate) label_limits_exceeded: Counter,
    pub(crate) sync_failed: Family<Counter, 1>,
    pub(crate) body_size_exceeded: Counter,
    pub(crate) sample_limit_exceeded: Counter,
    pub(crate) duplicate_timestamp: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) out_of_bounds: Counter,
    pub(crate) out_of_memory: Counter,
    pub(crate) pulls: Family<Counter, 1>,
    pub(crate) interval_length: Family<Summary, 1>,
    pub(crate) sync_length: Family<Summary, 1>,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, RegisterError> {
        Ok(Self {
            pools: registry
                .counter("prometheus_target_scrape_pools_total", "Total number of scrape pool creation attempts.")?,
            pool_reloads: registry
                .counter("prometheus_target_scrape_pool_reloads_total", "Total number of scrape pool reloads.")?,
            pool_syncs: registry.counter_family(
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                ["scrape_job"],
            )?,
            pool_targets: registry.gauge_family(
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                ["scrape_job"],
            )?,
            pool_target_limit: registry.gauge_family(
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                ["scrape_job"],
            )?,
            target_limit_exceeded: registry.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            )?,
            label_limits_exceeded: registry.counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
            )?,
            sync_failed: registry.counter_family(
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                ["scrape_job"],
            )?,
            body_size_exceeded: registry.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
            )?,
            sample_limit_exceeded: registry.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            )?,
            duplicate_timestamp: registry.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            )?,
            out_of_order: registry.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            )?,
            out_of_bounds: registry.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            )?,
            out_of_memory: registry.counter(
                "crescendo_target_scrapes_sample_out_of_memory_total",
                "Samples of new series that were left out because the memory limit was reached.",
            )?,
            pulls: registry.counter_family(
                "crescendo_target_pulls_total",
                "Targets that were asked between two scrapes, by outcome.",
                ["outcome"],
            )?,
            interval_length: registry.summary_family(
                "prometheus_target_interval_length_seconds",
                "Actual intervals between scrapes.",
                ["interval"],
                &QUANTILES,
            )?,
            sync_length: registry.summary_family(
                "prometheus_target_sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                ["scrape_job"],
                &QUANTILES,
            )?,
        })
    }
}

impl Metrics {
    /// Counts what a scrape ran into.
    pub(crate) fn count(&self, report: &ScrapeReport) {
        match &report.error {
            Some(ScrapeError::BodySize(_)) => self.body_size_exceeded.inc(),
            Some(ScrapeError::SampleLimit { .. }) => self.sample_limit_exceeded.inc(),
            Some(ScrapeError::LabelLimit { .. }) => self.label_limits_exceeded.inc(),
            _ => {}
        }
        self.duplicate_timestamp.inc_by(report.refused.duplicate);
        self.out_of_order.inc_by(report.refused.out_of_order);
        self.out_of_bounds.inc_by(report.refused.out_of_bounds);
        self.out_of_memory.inc_by(report.refused.out_of_memory);
    }

    /// Counts what became of a pull.
    pub(crate) fn pull(&self, outcome: &PullOutcome) {
        let outcome = match outcome {
            PullOutcome::Pulled(_) => "pulled",
            PullOutcome::Stored => "stored",
            PullOutcome::Skipped(_) => "skipped",
            PullOutcome::Failed(_) => "failed",
        };
        self.pulls.with([outcome]).inc();
    }

    /// Where the time between two scrapes of targets with this interval is noted.
    pub(crate) fn interval(&self, interval: Duration) -> Summary {
        self.interval_length.with([&format_duration(interval)])
    }

    /// Ends the series of a job.
    pub(crate) fn end_pool(&self, name: &str) {
        self.pool_syncs.remove([name]);
        self.pool_targets.remove([name]);
        self.pool_target_limit.remove([name]);
        self.sync_failed.remove([name]);
        self.sync_length.remove([name]);
    }
}
