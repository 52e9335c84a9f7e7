//! What is scraped, how often and within which limits: a job.
//!
//! - [`ScrapeConfig`]: a job as configuration says it, with Prometheus' defaults.
//! - [`CheckedConfig`]: a job whose every part was checked; [`ScrapeConfig::check`] reports all that is wrong.
//! - [`ScrapeLimits`]: what a target may send before its scrape fails.
//!
//! Rule: a limit of zero means "not set", and what is not set still has a bound of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use datamodel::relabel::{RelabelConfig, RelabelError, RelabelRule};
use datamodel::time::format_duration;
use http_client::{HttpClientConfig, Scheme};

use crate::error::describe;
use crate::native::NativeHistograms;
use crate::protocol::{NameEscaping, NameValidation, ScrapeProtocol};

/// Bytes of a page, decompressed, when `body_size_limit` is not set. A worker's page has some 6 KB, the
/// largest exporters that are known send a few tens of MB.
pub const DEFAULT_BODY_SIZE_LIMIT: usize = 64 * 1024 * 1024;

/// Samples of a page, after relabelling, when `sample_limit` is not set: a page of the default size with
/// lines of some 64 bytes.
pub const DEFAULT_SAMPLE_LIMIT: usize = 1_000_000;

/// Targets of a job when `target_limit` is not set; each costs a task and a connection.
pub const DEFAULT_TARGET_LIMIT: usize = 20_000;

/// What a target may send; zero means that only our own bounds hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Bytes of a page, decompressed.
    pub body_size_limit: usize,
    /// Samples of a page after metric relabelling.
    pub sample_limit: usize,
    /// Labels of a sample after metric relabelling, the metric name counted.
    pub label_limit: usize,
    /// Bytes of a label name.
    pub label_name_length_limit: usize,
    /// Bytes of a label value.
    pub label_value_length_limit: usize,
    /// Targets of the job after relabelling; with more, all of them fail.
    pub target_limit: usize,
}

impl ScrapeLimits {
    /// The bound on bytes of a page that is in force.
    #[must_use]
    pub fn body_bound(&self) -> usize {
        or_default(self.body_size_limit, DEFAULT_BODY_SIZE_LIMIT)
    }

    /// The bound on samples of a page that is in force.
    #[must_use]
    pub fn sample_bound(&self) -> usize {
        or_default(self.sample_limit, DEFAULT_SAMPLE_LIMIT)
    }

    /// The bound on targets that is in force.
    #[must_use]
    pub fn target_bound(&self) -> usize {
        or_default(self.target_limit, DEFAULT_TARGET_LIMIT)
    }
}

const fn or_default(limit: usize, default: usize) -> usize {
    if limit == 0 { default } else { limit }
}

/// A job: how its targets are scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// Name of the job; the value of the label `job` and the name of the pool.
    pub job_name: String,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Time that a scrape may take, at most the interval.
    pub scrape_timeout: Duration,
    /// Path of the URL.
    pub metrics_path: String,
    /// Scheme of the URL.
    pub scheme: Scheme,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether a label of the page wins over the target's label of the same name; otherwise the page's
    /// label is renamed to `exported_…`.
    pub honor_labels: bool,
    /// Whether timestamps of the page are kept; otherwise every sample has the time of the scrape.
    pub honor_timestamps: bool,
    /// Whether a compressed page is asked for.
    pub enable_compression: bool,
    /// The formats that are asked for, best first.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// The format of a page without a usable content type. None: such a page is refused.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Whether a series with timestamps of its own ends by a marker too when it is gone.
    pub track_timestamps_staleness: bool,
    /// Which names of metrics and labels are taken.
    pub metric_name_validation: NameValidation,
    /// How targets are asked to spell the others; none: as the validation suggests.
    pub metric_name_escaping: Option<NameEscaping>,
    /// Whether the series about limits are written: `scrape_timeout_seconds`, `scrape_sample_limit`,
    /// `scrape_body_size_bytes`.
    pub extra_scrape_metrics: bool,
    /// Dropped targets that are kept for display; zero: our own bound.
    pub keep_dropped_targets: usize,
    /// TLS, credentials, proxies, headers, and whether redirects are followed.
    pub http: HttpClientConfig,
    /// Rules on the labels of targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules on the labels of samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// What a target may send.
    pub limits: ScrapeLimits,
    /// What becomes of native histograms.
    pub native_histograms: NativeHistograms,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            job_name: String::new(),
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            metrics_path: "/metrics".to_owned(),
            scheme: Scheme::Http,
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            enable_compression: true,
            scrape_protocols: ScrapeProtocol::DEFAULT.to_vec(),
            fallback_scrape_protocol: None,
            track_timestamps_staleness: false,
            metric_name_validation: NameValidation::Utf8,
            metric_name_escaping: None,
            extra_scrape_metrics: false,
            keep_dropped_targets: 0,
            http: HttpClientConfig::default(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            limits: ScrapeLimits::default(),
            native_histograms: NativeHistograms::default(),
        }
    }
}

impl ScrapeConfig {
    /// Checks the job by itself.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, not only the first.
    pub fn check(self) -> Result<CheckedConfig, ConfigErrors> {
        let mut problems = Vec::new();
        if self.job_name.is_empty() {
            problems.push(ConfigProblem::NoJobName);
        }
        let (interval, timeout) = (self.scrape_interval, self.scrape_timeout);
        if interval < Duration::from_millis(1) {
            problems.push(ConfigProblem::NoInterval);
        }
        if timeout < Duration::from_millis(1) {
            problems.push(ConfigProblem::NoTimeout);
        }
        if timeout > interval {
            problems.push(ConfigProblem::TimeoutAboveInterval { timeout, interval });
        }
        let relabel = compile("relabel_configs", &self.relabel_configs, &mut problems);
        let metric_relabel = compile("metric_relabel_configs", &self.metric_relabel_configs, &mut problems);
        if problems.is_empty() {
            return Ok(CheckedConfig { config: self, relabel, metric_relabel });
        }
        let job_name = self.job_name;
        Err(ConfigErrors(
            problems.into_iter().map(|problem| ConfigError { job_name: job_name.clone(), problem }).collect(),
        ))
    }
}

fn compile(key: &'static str, configs: &[RelabelConfig], problems: &mut Vec<ConfigProblem>) -> Vec<RelabelRule> {
    let mut rules = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        match RelabelRule::new(config.clone()) {
            Ok(rule) => rules.push(rule),
            Err(source) => problems.push(ConfigProblem::Relabel { key, index, source }),
        }
    }
    rules
}

/// A job whose every part was checked.
#[derive(Clone, Debug)]
pub struct CheckedConfig {
    config: ScrapeConfig,
    pub(crate) relabel: Vec<RelabelRule>,
    pub(crate) metric_relabel: Vec<RelabelRule>,
}

impl CheckedConfig {
    /// How targets are asked to spell names that are not taken as they are.
    pub(crate) fn escaping(&self) -> NameEscaping {
        self.config.metric_name_escaping.unwrap_or(match self.config.metric_name_validation {
            NameValidation::Utf8 => NameEscaping::AllowUtf8,
            NameValidation::Legacy => NameEscaping::Underscores,
        })
    }

    /// The job as it was given.
    #[must_use]
    pub const fn config(&self) -> &ScrapeConfig {
        &self.config
    }
}

/// What is wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// The name is empty.
    #[error("`job_name` is empty")]
    NoJobName,
    /// Another job has the same name.
    #[error("`job_name` is used by two jobs")]
    TwiceJobName,
    /// No time between scrapes.
    #[error("`scrape_interval` is below 1ms")]
    NoInterval,
    /// No time for a scrape.
    #[error("`scrape_timeout` is below 1ms")]
    NoTimeout,
    /// A scrape may not outlive its interval.
    #[error("`scrape_timeout` is greater than `scrape_interval`: {} > {}", format_duration(*timeout), format_duration(*interval))]
    TimeoutAboveInterval {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
    /// A relabelling rule is refused.
    #[error("`{key}[{index}]`: {}", describe(source))]
    Relabel {
        /// The key of the configuration.
        key: &'static str,
        /// Which of its rules, from 0.
        index: usize,
        /// Why.
        source: RelabelError,
    },
}

/// Something that is wrong with one job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scrape job `{job_name}`: {problem}")]
pub struct ConfigError {
    /// The job.
    pub job_name: String,
    /// What is wrong.
    pub problem: ConfigProblem,
}

/// Everything that is wrong with a set of jobs; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_prometheus_and_valid() {
        let config = ScrapeConfig { job_name: "asr".to_owned(), ..ScrapeConfig::default() };
        assert!(config.clone().check().is_ok());
        assert_eq!(config.limits.body_bound(), DEFAULT_BODY_SIZE_LIMIT);
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let config = ScrapeConfig {
            job_name: String::new(),
            scrape_interval: Duration::from_secs(5),
            relabel_configs: vec![RelabelConfig { regex: Some("(".to_owned()), ..RelabelConfig::default() }],
            ..ScrapeConfig::default()
        };
        let errors = config.check().unwrap_err().to_string();
        assert_eq!(
            errors.lines().collect::<Vec<_>>(),
            [
                "scrape job ``: `job_name` is empty",
                "scrape job ``: `scrape_timeout` is greater than `scrape_interval`: 10s > 5s",
                "scrape job ``: `relabel_configs[0]`: relabel action `replace` needs a `target_label`",
            ]
        );
    }
}
