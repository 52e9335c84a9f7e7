//! `scrape_configs`: a job as Prometheus' configuration file says it.
//!
//! - [`scrape_config`]: one job, with the discoveries that find its targets: a [`JobConfig`].
//! - [`scrape_defaults`]: what the section `global` says for all jobs: [`ScrapeDefaults`].
//!
//! Rule: a key that upstream knows is taken, or refused with the reason; nothing is ignored silently.

use std::sync::Arc;
use std::time::Duration;

use datamodel::exposition::HistogramForm;
use datamodel::time::format_duration;
use discovery::{DecodeContext, DiscoveryConfig, discovery_configs};
use http_client::{http_client_config, scheme};
use yaml::decoders::{boolean, duration, float, integer, list, map, one_of, size, string};
use yaml::{Fields, Node, Report, relabel_configs};

use crate::config::{ScrapeConfig, ScrapeLimits};
use crate::native::NativeHistograms;
use crate::protocol::{NameEscaping, NameValidation, ScrapeProtocol};

/// A job and how its targets are found.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// How the targets are scraped.
    pub config: ScrapeConfig,
    /// How they are found.
    pub discovery: Vec<Arc<dyn DiscoveryConfig>>,
}

/// What the section `global` says for all jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeDefaults {
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Time that a scrape may take; for a job with a shorter interval, that.
    pub scrape_timeout: Duration,
    /// What is asked for; none: our own default.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// What a target may send.
    pub limits: ScrapeLimits,
    /// Dropped targets of a job that are kept for display; zero: our own bound.
    pub keep_dropped_targets: usize,
    /// Which names are taken.
    pub metric_name_validation: NameValidation,
    /// How targets spell the others; none: as the validation suggests.
    pub metric_name_escaping: Option<NameEscaping>,
    /// Whether the series about limits are written.
    pub extra_scrape_metrics: bool,
    /// Which samples are taken of histograms with native buckets.
    pub native_histograms: NativeDefaults,
}

/// Which samples are taken of histograms with native buckets, as the keys say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NativeDefaults {
    /// `scrape_native_histograms`: whether native histograms are taken.
    pub scrape: bool,
    /// `always_scrape_classic_histograms`: whether the classic series of such a histogram are taken too.
    pub always_classic: bool,
}

impl NativeDefaults {
    const fn form(self) -> HistogramForm {
        match self {
            Self { scrape: false, .. } => HistogramForm::Classic,
            Self { always_classic: false, .. } => HistogramForm::Native,
            Self { always_classic: true, .. } => HistogramForm::Both,
        }
    }

    /// What is asked for where nothing is configured.
    fn protocols(self) -> Vec<ScrapeProtocol> {
        let native = self.scrape.then_some(ScrapeProtocol::PrometheusProto);
        native.into_iter().chain(ScrapeProtocol::DEFAULT).collect()
    }
}

impl Default for ScrapeDefaults {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: None,
            limits: ScrapeLimits::default(),
            keep_dropped_targets: 0,
            metric_name_validation: NameValidation::Utf8,
            metric_name_escaping: None,
            extra_scrape_metrics: false,
            native_histograms: NativeDefaults::default(),
        }
    }
}

/// Reads the keys of the section `global` that are about scraping; the others are the caller's.
pub fn scrape_defaults(fields: &mut Fields<'_, '_>) -> ScrapeDefaults {
    let ours = ScrapeDefaults::default();
    let (scrape_interval, scrape_timeout) = times(fields, ours.scrape_interval, ours.scrape_timeout);
    let names = names(fields, ours.metric_name_validation, None);
    let native = native_histograms(fields, ours.native_histograms);
    ScrapeDefaults {
        scrape_interval,
        scrape_timeout,
        scrape_protocols: fields.optional("scrape_protocols", protocols),
        limits: limits(fields, &ours.limits),
        keep_dropped_targets: fields.or("keep_dropped_targets", integer::<u32>, 0) as usize,
        metric_name_validation: names.0,
        metric_name_escaping: names.1,
        extra_scrape_metrics: fields.or("extra_scrape_metrics", boolean, false),
        native_histograms: native,
    }
}

/// Reads one item of `scrape_configs`. That names of jobs are unique is the caller's to check.
pub fn scrape_config(
    node: &Node,
    report: &mut Report,
    defaults: &ScrapeDefaults,
    context: &DecodeContext<'_>,
) -> Option<JobConfig> {
    if node.is_null() {
        report.expected(node, "a scrape configuration");
        return None;
    }
    yaml::mapping(node, report, |fields| {
        let job_name = fields.required("job_name", job_name);
        let (scrape_interval, scrape_timeout) = times(fields, defaults.scrape_interval, defaults.scrape_timeout);
        let scrape_protocols = fields.optional("scrape_protocols", protocols);
        let scrape_protocols = scrape_protocols.or_else(|| defaults.scrape_protocols.clone());
        let (metric_name_validation, metric_name_escaping) =
            names(fields, defaults.metric_name_validation, defaults.metric_name_escaping);
        let native = native_histograms(fields, defaults.native_histograms);
        let bounded = native_bounds(fields, native.form());
        let keep_dropped_targets = fields.or("keep_dropped_targets", integer::<u32>, 0) as usize;
        let relabel = fields.optional("relabel_configs", relabel_configs).unwrap_or_default();
        let discovery = discovery_configs(fields, context, !relabel.is_empty());
        let ours = ScrapeConfig::default();
        let config = ScrapeConfig {
            job_name: job_name.unwrap_or_default(),
            scrape_interval,
            scrape_timeout,
            scrape_protocols: scrape_protocols.unwrap_or_else(|| native.protocols()),
            fallback_scrape_protocol: fields.optional("fallback_scrape_protocol", one_of(&ScrapeProtocol::NAMES)),
            metrics_path: fields.or("metrics_path", string, ours.metrics_path),
            scheme: fields.or("scheme", scheme, ours.scheme),
            params: fields.optional("params", map(list(string))).unwrap_or_default().into_iter().collect(),
            honor_labels: fields.or("honor_labels", boolean, false),
            honor_timestamps: fields.or("honor_timestamps", boolean, true),
            track_timestamps_staleness: fields.or("track_timestamps_staleness", boolean, false),
            enable_compression: fields.or("enable_compression", boolean, true),
            metric_name_validation,
            metric_name_escaping,
            extra_scrape_metrics: fields.or("extra_scrape_metrics", boolean, defaults.extra_scrape_metrics),
            keep_dropped_targets: or_zero(keep_dropped_targets, defaults.keep_dropped_targets),
            http: http_client_config(fields, context.directory),
            relabel_configs: relabel,
            metric_relabel_configs: fields.optional("metric_relabel_configs", relabel_configs).unwrap_or_default(),
            limits: limits(fields, &defaults.limits),
            native_histograms: bounded,
        };
        Some(JobConfig { config, discovery })
    })
}

fn job_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = string(node, report)?;
    if name.is_empty() {
        report.error(node, "must not be empty");
    }
    Some(name)
}

const fn or_zero(own: usize, default: usize) -> usize {
    if own == 0 { default } else { own }
}

/// Interval and timeout; zero counts as not set, as upstream.
fn times(fields: &mut Fields<'_, '_>, interval: Duration, timeout: Duration) -> (Duration, Duration) {
    let set = |found: Option<Duration>| found.filter(|found| !found.is_zero());
    let interval = set(fields.optional("scrape_interval", duration)).unwrap_or(interval);
    let timeout = match set(fields.optional("scrape_timeout", duration)) {
        Some(own) if own > interval => {
            let (own_text, interval) = (format_duration(own), format_duration(interval));
            fields.error("scrape_timeout", format!("greater than the scrape interval: {own_text} > {interval}"));
            own
        }
        Some(own) => own,
        None => timeout.min(interval),
    };
    (interval, timeout)
}

fn limits(fields: &mut Fields<'_, '_>, defaults: &ScrapeLimits) -> ScrapeLimits {
    let mut count = |key, default| or_zero(fields.or(key, integer::<u32>, 0) as usize, default);
    let limits = ScrapeLimits {
        sample_limit: count("sample_limit", defaults.sample_limit),
        label_limit: count("label_limit", defaults.label_limit),
        label_name_length_limit: count("label_name_length_limit", defaults.label_name_length_limit),
        label_value_length_limit: count("label_value_length_limit", defaults.label_value_length_limit),
        target_limit: count("target_limit", defaults.target_limit),
        body_size_limit: 0,
    };
    let bytes = usize::try_from(fields.or("body_size_limit", size, 0)).unwrap_or(usize::MAX);
    ScrapeLimits { body_size_limit: or_zero(bytes, defaults.body_size_limit), ..limits }
}

fn protocols(node: &Node, report: &mut Report) -> Option<Vec<ScrapeProtocol>> {
    let protocols = list(one_of(&ScrapeProtocol::NAMES))(node, report)?;
    if protocols.is_empty() {
        report.error(node, "at least one protocol is needed");
    }
    for (index, protocol) in protocols.iter().enumerate() {
        if protocols.iter().skip(index + 1).any(|later| later == protocol) {
            report.error(node, "a protocol is named twice");
            break;
        }
    }
    Some(protocols)
}

/// Which names are taken, and how targets spell the others.
fn names(
    fields: &mut Fields<'_, '_>,
    validation: NameValidation,
    escaping: Option<NameEscaping>,
) -> (NameValidation, Option<NameEscaping>) {
    const VALIDATION: [(&str, NameValidation); 2] =
        [("utf8", NameValidation::Utf8), ("legacy", NameValidation::Legacy)];
    let own_validation = fields.optional("metric_name_validation_scheme", blank_or(one_of(&VALIDATION))).flatten();
    let own_escaping = fields.optional("metric_name_escaping_scheme", blank_or(one_of(&NameEscaping::NAMES))).flatten();
    let inherited = if own_validation.is_none() { escaping } else { None };
    let (validation, escaping) = (own_validation.unwrap_or(validation), own_escaping.or(inherited));
    if validation == NameValidation::Legacy && escaping == Some(NameEscaping::AllowUtf8) {
        fields.error("metric_name_escaping_scheme", "`allow-utf-8` asks for names that the validation scheme refuses");
    }
    (validation, escaping)
}

/// As the decoder, but an empty text is nothing.
fn blank_or<T>(
    mut decoder: impl FnMut(&Node, &mut Report) -> Option<T>,
) -> impl FnMut(&Node, &mut Report) -> Option<Option<T>> {
    move |node, report| {
        let blank = node.as_scalar().is_some_and(|scalar| scalar.text.is_empty());
        if blank { Some(None) } else { decoder(node, report).map(Some) }
    }
}

/// The keys about native histograms that are both global and a job's, and the log of failures.
fn native_histograms(fields: &mut Fields<'_, '_>, defaults: NativeDefaults) -> NativeDefaults {
    if fields.or("convert_classic_histograms_to_nhcb", boolean, false) {
        fields.error("convert_classic_histograms_to_nhcb", "not supported: classic histograms stay as they are");
    }
    fields.unsupported("scrape_failure_log_file", "failures are in the server's log, with pool, target and cause");
    NativeDefaults {
        scrape: fields.or("scrape_native_histograms", boolean, defaults.scrape),
        always_classic: fields.or("always_scrape_classic_histograms", boolean, defaults.always_classic),
    }
}

/// The keys of a job that bound native histograms.
fn native_bounds(fields: &mut Fields<'_, '_>, form: HistogramForm) -> NativeHistograms {
    let factor = fields.or("native_histogram_min_bucket_factor", float, 0.0);
    if !(factor.is_finite() && factor >= 0.0) {
        fields.error("native_histogram_min_bucket_factor", "must be finite, and not negative");
    }
    NativeHistograms {
        form,
        bucket_limit: fields.or("native_histogram_bucket_limit", integer::<u32>, 0) as usize,
        min_bucket_factor: factor,
    }
}

#[cfg(test)]
mod tests;
