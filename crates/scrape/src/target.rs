//! A target: from the labels of discovery to what is scraped, and what is known of it.
//!
//! - [`TargetSpec`]: what relabelling made of a discovered label set.
//! - [`TargetStatus`], [`DroppedTarget`], [`PoolStatus`]: what the API and the pages show.
//!
//! Rule: labels that begin with `__` decide how a target is scraped and never reach a series.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::relabel::{self, Verdict};
use datamodel::time::{DurationError, format_duration, parse_duration};
use datamodel::{Labels, LabelsBuilder, Timestamp};
use discovery::{ADDRESS, TargetGroup};
use http_client::Scheme;
use tokio::sync::mpsc;

use crate::config::CheckedConfig;
use crate::error::ScrapeError;
use crate::pull::PullRequest;
use crate::url::TargetUrl;

const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const METRICS_PATH: &str = "__metrics_path__";
const SCHEME: &str = "__scheme__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const INTERNAL_PREFIX: &str = "__";

/// Why a discovered label set is no target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No address after relabelling.
    #[error("no address")]
    NoAddress,
    /// The address or scheme cannot stand in a URL.
    #[error(transparent)]
    Url(#[from] ScrapeError),
    /// Relabelling set a scheme that does not exist.
    #[error("unknown scheme: `{0}`")]
    Scheme(String),
    /// Relabelling set an interval or timeout that is none.
    #[error("invalid `{label}`")]
    Duration {
        /// The label.
        label: &'static str,
        /// Why.
        #[source]
        source: DurationError,
    },
    /// Relabelling set the interval or timeout to zero.
    #[error("`{0}` is zero")]
    Zero(&'static str),
    /// The timeout is above the interval.
    #[error("scrape timeout is greater than scrape interval: {} > {}", format_duration(*timeout), format_duration(*interval))]
    TimeoutAboveInterval {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
}

/// A target as it is scraped.
#[derive(Clone, Debug)]
pub(crate) struct TargetSpec {
    /// Labels before relabelling, when it was found.
    pub(crate) discovered: Labels,
    /// Labels that its series get.
    pub(crate) labels: Labels,
    pub(crate) url: TargetUrl,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Spreads targets over the interval; equal for equal labels and URL.
    pub(crate) hash: u64,
}

/// What relabelling made of a label set.
#[derive(Debug)]
pub(crate) enum Discovered {
    Target(Box<TargetSpec>),
    /// Dropped; the labels before relabelling.
    Dropped(Labels),
}

/// Makes a target of one label set of a group.
pub(crate) fn build_target(
    job: &CheckedConfig,
    group: &TargetGroup,
    target: &Labels,
) -> Result<Discovered, TargetError> {
    let config = job.config();
    let mut labels = LabelsBuilder::new(&group.labels);
    for (name, value) in target {
        labels.set(name, value);
    }
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    };
    default("job", &config.job_name);
    default(INTERVAL, &format_duration(config.scrape_interval));
    default(TIMEOUT, &format_duration(config.scrape_timeout));
    default(METRICS_PATH, &config.metrics_path);
    default(SCHEME, config.scheme.as_str());
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    let discovered = labels.build();
    if relabel::apply(&mut labels, &job.relabel) == Verdict::Drop {
        return Ok(Discovered::Dropped(discovered));
    }
    let address = labels.get(ADDRESS).ok_or(TargetError::NoAddress)?.to_owned();
    let interval = duration_label(&labels, INTERVAL)?;
    let timeout = duration_label(&labels, TIMEOUT)?;
    if timeout > interval {
        return Err(TargetError::TimeoutAboveInterval { timeout, interval });
    }
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if labels.get("instance").is_none() {
        labels.set("instance", &address);
    }
    let all = labels.build();
    let url = target_url(config.params.clone(), &all, &address)?;
    let hash = all.hash64() ^ Labels::from_pairs([("url", url.to_string())]).hash64();
    let labels = all.filter(|name| !name.starts_with(INTERNAL_PREFIX));
    Ok(Discovered::Target(Box::new(TargetSpec { discovered, labels, url, interval, timeout, hash })))
}

/// What is wrong with the targets of groups, for a check; the words of a target's error with its labels.
#[must_use]
pub fn target_problems(job: &CheckedConfig, groups: &[TargetGroup]) -> Vec<String> {
    let targets = groups.iter().flat_map(|group| group.targets.iter().map(move |target| (group, target)));
    let problem = |(group, target): (&TargetGroup, &Labels)| {
        let error = build_target(job, group, target).err()?;
        Some(format!("{target}: {error}"))
    };
    targets.filter_map(problem).collect()
}

fn duration_label(labels: &LabelsBuilder, label: &'static str) -> Result<Duration, TargetError> {
    let text = labels.get(label).unwrap_or_default();
    let duration = parse_duration(text).map_err(|source| TargetError::Duration { label, source })?;
    if duration.is_zero() { Err(TargetError::Zero(label)) } else { Ok(duration) }
}

fn target_url(
    mut params: BTreeMap<String, Vec<String>>,
    labels: &Labels,
    address: &str,
) -> Result<TargetUrl, TargetError> {
    for (name, value) in labels {
        if let Some(name) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    let scheme = match labels.get(SCHEME) {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => return Err(TargetError::Scheme(other.to_owned())),
    };
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())));
    Ok(TargetUrl::new(scheme, address, labels.get(METRICS_PATH).unwrap_or_default(), pairs)?)
}

/// How the last scrape of a target ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// It was not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl TargetHealth {
    /// The word of the HTTP API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is known of an active target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// The job.
    pub scrape_pool: Arc<str>,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels that its series get.
    pub labels: Labels,
    /// Where it is scraped.
    pub scrape_url: String,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// Time that a scrape may take.
    pub scrape_timeout: Duration,
    /// How the last scrape ended.
    pub health: TargetHealth,
    /// When the last scrape began; none before the first.
    pub last_scrape: Option<Timestamp>,
    /// How long the last scrape took; zero before the first.
    pub last_scrape_duration: Duration,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// Samples on the last page.
    pub last_samples: usize,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTarget {
    /// The job.
    pub scrape_pool: Arc<str>,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// The job.
    pub scrape_pool: Arc<str>,
    /// Targets that are scraped.
    pub active: usize,
    /// Targets that relabelling dropped, also those that are not kept for display.
    pub dropped: usize,
}

/// What the loop of a target tells others about it.
#[derive(Debug)]
pub(crate) struct TargetState {
    pub(crate) pool: Arc<str>,
    pub(crate) spec: TargetSpec,
    /// Where pulls are asked for.
    pub(crate) pulls: mpsc::Sender<PullRequest>,
    progress: Mutex<Progress>,
}

/// What changes while a target is scraped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) health: TargetHealth,
    pub(crate) last_scrape: Option<Timestamp>,
    pub(crate) last_duration: Duration,
    pub(crate) last_error: String,
    pub(crate) last_samples: usize,
    /// Labels before relabelling, as discovery says them now.
    pub(crate) discovered: Labels,
}

impl TargetState {
    pub(crate) fn new(pool: Arc<str>, spec: TargetSpec, pulls: mpsc::Sender<PullRequest>) -> Self {
        let progress = Progress { discovered: spec.discovered.clone(), ..Progress::default() };
        Self { pool, spec, pulls, progress: Mutex::new(progress) }
    }

    /// Reads or changes what is known.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut Progress) -> T) -> T {
        run(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn status(&self) -> TargetStatus {
        let progress = self.with(|progress| progress.clone());
        TargetStatus {
            scrape_pool: Arc::clone(&self.pool),
            discovered_labels: progress.discovered,
            labels: self.spec.labels.clone(),
            scrape_url: self.spec.url.to_string(),
            scrape_interval: self.spec.interval,
            scrape_timeout: self.spec.timeout,
            health: progress.health,
            last_scrape: progress.last_scrape,
            last_scrape_duration: progress.last_duration,
            last_error: progress.last_error,
            last_samples: progress.last_samples,
        }
    }
}
