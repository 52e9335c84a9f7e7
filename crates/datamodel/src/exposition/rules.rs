//! The rules of OpenMetrics about whole families, beyond the syntax of lines.
//!
//! Prometheus reads pages that break them (kube-state-metrics is the best-known exporter that does), so a
//! scrape does not apply them; a check of a page does.
//!
//! ```text
//! entries ─▶ Rules: a family is open ─▶ its metadata, then its samples, group by group ─▶ closed for good
//!                                                              └─▶ Points: a histogram at one time
//! ```
//!
//! Rule: memory is bounded by the page: names of families, and the label sets of the open one.

use std::collections::{HashMap, HashSet};

use super::{Entry, Exemplar, Reason, SampleLine, scan};
use crate::float::{format_g, parse_float};
use crate::labels::Labels;
use crate::metadata::MetricType;

/// The most characters that the label set of an exemplar may have, names and values together.
pub const MAX_EXEMPLAR_CHARS: usize = 128;

/// A rule of OpenMetrics about families; what breaks it is still a readable page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleBroken {
    /// The lines of a family do not stand together, or two families have a series name in common.
    #[error("name belongs to an earlier family: `{0}`")]
    Clash(String),
    /// Metadata after the first sample of their family.
    #[error("metadata behind the samples of `{0}`")]
    LateMetadata(String),
    /// The same metadata twice.
    #[error("repeated metadata for `{0}`")]
    RepeatedMetadata(String),
    /// Info and state sets have no unit.
    #[error("unit on `{name}` of type {metric_type}")]
    UnitOnType {
        /// The family.
        name: String,
        /// Its type.
        metric_type: MetricType,
    },
    /// The sample may have no exemplar.
    #[error("exemplar on `{0}`, which may have none")]
    Exemplar(String),
    /// The labels of an exemplar are too long.
    #[error("exemplar labels exceed {MAX_EXEMPLAR_CHARS} characters")]
    LongExemplar,
    /// A comma behind the last label.
    #[error("comma behind the last label")]
    TrailingComma,
    /// The value is none that the sample can have.
    #[error("value {value} is not allowed for `{name}`")]
    Value {
        /// The sample.
        name: String,
        /// Its value.
        value: String,
    },
    /// A label that the sample needs is absent or has a value that it cannot have.
    #[error("label `{label}` of `{name}` is absent or invalid")]
    Label {
        /// The sample.
        name: String,
        /// The label.
        label: String,
    },
    /// Samples of one label set do not stand together.
    #[error("samples of one label set do not stand together: `{0}`")]
    Interleaved(String),
    /// Within one label set, timestamps fall, or only some samples have one.
    #[error("timestamps of one label set fall, or some are missing: `{0}`")]
    Timestamps(String),
    /// The samples of a histogram do not fit together.
    #[error("histogram `{name}`: {problem}")]
    Histogram {
        /// The family.
        name: String,
        /// What does not fit.
        problem: &'static str,
    },
}

impl From<RuleBroken> for Reason {
    fn from(rule: RuleBroken) -> Self {
        Self::Rule(rule)
    }
}

/// Suffixes of sample names by type.
const fn suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Summary => &["", "_count", "_sum", "_created"],
        MetricType::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Info => &["_info"],
        MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[""],
    }
}

/// All suffixes that a name may be taken apart by.
const ALL_SUFFIXES: [&str; 9] = ["", "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info"];

/// Watches a page.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Closed families.
    closed: HashMap<String, MetricType>,
    open: Option<Family>,
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    metric_type: Option<MetricType>,
    has_help: bool,
    unit: Option<bool>,
    /// Label sets that had their samples, without what tells samples of one set apart.
    groups: HashSet<Labels>,
    group: Option<(Labels, Option<i64>)>,
    points: Points,
}

impl Rules {
    /// Looks at the next entry.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Reason> {
        match entry {
            Entry::Comment => {}
            Entry::Type { name, metric_type } => {
                let family = self.metadata(name)?;
                let before = family.metric_type.replace(*metric_type);
                once(before.is_none(), name)?;
            }
            Entry::Help { name, .. } => {
                let family = self.metadata(name)?;
                let before = std::mem::replace(&mut family.has_help, true);
                once(!before, name)?;
            }
            Entry::Unit { name, unit } => {
                let family = self.metadata(name)?;
                let before = family.unit.replace(!unit.is_empty());
                once(before.is_none(), name)?;
            }
            Entry::Sample(sample) => self.sample(sample)?,
        }
        Ok(())
    }

    /// Looks at the end of the page.
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        match self.open.take() {
            Some(family) => self.close(family),
            None => Ok(()),
        }
    }

    /// The family that a metadata line is about.
    fn metadata(&mut self, name: &str) -> Result<&mut Family, Reason> {
        if self.open.as_ref().is_none_or(|family| family.name != name) {
            self.begin(name)?;
        }
        let family = self.open.get_or_insert_default();
        if family.group.is_some() {
            return Err(RuleBroken::LateMetadata(name.to_owned()).into());
        }
        Ok(family)
    }

    /// Closes the open family and opens another.
    fn begin(&mut self, name: &str) -> Result<(), Reason> {
        self.finish()?;
        self.open = Some(Family { name: name.to_owned(), ..Family::default() });
        Ok(())
    }

    fn close(&mut self, mut family: Family) -> Result<(), Reason> {
        family.points.finish(&family.name)?;
        let metric_type = family.metric_type.unwrap_or_default();
        if family.unit == Some(true) && matches!(metric_type, MetricType::Info | MetricType::StateSet) {
            return Err(RuleBroken::UnitOnType { name: family.name, metric_type }.into());
        }
        for suffix in suffixes(metric_type).iter().chain(&[""]) {
            let name = format!("{}{suffix}", family.name);
            let taken = ALL_SUFFIXES.iter().any(|suffix| {
                let base = name.strip_suffix(suffix).and_then(|base| self.closed.get(base));
                base.is_some_and(|other| suffix.is_empty() || suffixes(*other).contains(suffix))
            });
            if taken {
                return Err(RuleBroken::Clash(name).into());
            }
        }
        self.closed.insert(family.name, metric_type);
        Ok(())
    }

    fn sample(&mut self, sample: &SampleLine<'_>) -> Result<(), Reason> {
        let name = sample.name();
        let belongs = |family: &Family| {
            let suffix = name.strip_prefix(&*family.name);
            suffix.is_some_and(|suffix| suffixes(family.metric_type.unwrap_or_default()).contains(&suffix))
        };
        if !self.open.as_ref().is_some_and(belongs) {
            self.begin(&name)?;
        }
        if sample.series.ends_with(",}") {
            return Err(RuleBroken::TrailingComma.into());
        }
        let labels = sample.labels().map_err(|error| error.reason)?;
        self.open.get_or_insert_default().sample(&name, &labels, sample)
    }
}

fn once(first: bool, name: &str) -> Result<(), Reason> {
    if first { Ok(()) } else { Err(RuleBroken::RepeatedMetadata(name.to_owned()).into()) }
}

impl Family {
    fn sample(&mut self, name: &str, labels: &Labels, sample: &SampleLine<'_>) -> Result<(), Reason> {
        let metric_type = self.metric_type.unwrap_or_default();
        let suffix = name.strip_prefix(&*self.name).unwrap_or_default().to_owned();
        let own_label = own_label(metric_type, &suffix, &self.name).map(str::to_owned);
        if let Some(label) = &own_label
            && !own_label_fits(metric_type, label, labels, sample)
        {
            return Err(RuleBroken::Label { name: name.to_owned(), label: label.clone() }.into());
        }
        if !value_fits(metric_type, &suffix, sample.value) {
            return Err(RuleBroken::Value { name: name.to_owned(), value: format_g(sample.value) }.into());
        }
        if let Some(exemplar) = &sample.exemplar {
            exemplar_fits(metric_type, &suffix, name, exemplar)?;
        }
        let group = labels.filter(|label| label != crate::METRIC_NAME && Some(label) != own_label.as_deref());
        // Info samples differ in their labels only: all of them are one group.
        let group = if metric_type == MetricType::Info { Labels::empty() } else { group };
        let at = sample.timestamp.map(crate::Timestamp::unix_ms);
        let is_histogram = matches!(metric_type, MetricType::Histogram | MetricType::GaugeHistogram);
        match &self.group {
            Some((present, before)) if *present == group => {
                let fits = match (before, at) {
                    (Some(before), Some(at)) => *before <= at || metric_type == MetricType::Info,
                    (None, None) => true,
                    _ => false,
                };
                if !fits {
                    return Err(RuleBroken::Timestamps(name.to_owned()).into());
                }
                if is_histogram && *before != at {
                    self.points.finish(&self.name)?;
                }
            }
            _ => {
                if !self.groups.insert(group.clone()) {
                    return Err(RuleBroken::Interleaved(name.to_owned()).into());
                }
                self.points.finish(&self.name)?;
            }
        }
        self.group = Some((group, at));
        if is_histogram {
            self.points.add(&suffix, labels, sample.value).map_err(|problem| self.histogram(problem))?;
        }
        Ok(())
    }

    fn histogram(&self, problem: &'static str) -> Reason {
        RuleBroken::Histogram { name: self.name.clone(), problem }.into()
    }
}

/// The label that tells the samples of one label set apart.
fn own_label<'a>(metric_type: MetricType, suffix: &str, family: &'a str) -> Option<&'a str> {
    match (metric_type, suffix) {
        (MetricType::Histogram | MetricType::GaugeHistogram, "_bucket") => Some("le"),
        (MetricType::Summary, "") => Some("quantile"),
        (MetricType::StateSet, "") => Some(family),
        _ => None,
    }
}

fn own_label_fits(metric_type: MetricType, label: &str, labels: &Labels, sample: &SampleLine<'_>) -> bool {
    let Some(text) = labels.get(label) else { return false };
    if metric_type == MetricType::StateSet {
        return true;
    }
    match parse_float(text) {
        Ok(quantile) if metric_type == MetricType::Summary => (0.0..=1.0).contains(&quantile),
        // Of the bounds, only infinity has a spelling that it must have; `labels` has rewritten it, so that
        // the page is asked again.
        Ok(bound) if bound.is_infinite() => {
            scan::pairs(sample.series).any(|(name, value)| name == label && matches!(&*value, "+Inf" | "-Inf"))
        }
        Ok(bound) => !bound.is_nan(),
        Err(_) => false,
    }
}

fn value_fits(metric_type: MetricType, suffix: &str, value: f64) -> bool {
    // Exact: only these two values are meant.
    let is = |wanted: f64| value.to_bits() == wanted.to_bits();
    let counts = matches!(suffix, "_bucket" | "_count" | "_gcount");
    match metric_type {
        MetricType::StateSet => is(0.0) || is(1.0),
        MetricType::Info => is(1.0),
        MetricType::Summary if suffix.is_empty() => value.is_nan() || value >= 0.0,
        _ => match suffix {
            "_gsum" => !value.is_nan(),
            "_total" | "_sum" | "_count" | "_bucket" | "_gcount" => {
                value >= 0.0 && (!counts || value.is_infinite() || value.fract().to_bits() == 0.0_f64.to_bits())
            }
            _ => true,
        },
    }
}

fn exemplar_fits(metric_type: MetricType, suffix: &str, name: &str, exemplar: &Exemplar<'_>) -> Result<(), Reason> {
    let allowed = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => suffix == "_bucket",
        MetricType::Counter => suffix == "_total",
        _ => false,
    };
    if !allowed {
        return Err(RuleBroken::Exemplar(name.to_owned()).into());
    }
    let labels = exemplar.labels()?;
    let chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if chars > MAX_EXEMPLAR_CHARS { Err(RuleBroken::LongExemplar.into()) } else { Ok(()) }
}

/// What a histogram said so far, for one label set at one time.
#[derive(Debug, Default)]
struct Points {
    any: bool,
    bound: Option<f64>,
    in_bucket: f64,
    count: Option<f64>,
    has_sum: bool,
    has_gauge_sum: bool,
    negative_gauge_sum: bool,
    negative_bound: bool,
}

impl Points {
    fn add(&mut self, suffix: &str, labels: &Labels, value: f64) -> Result<(), &'static str> {
        self.any = true;
        match suffix {
            "_bucket" => {
                // That it is a number was checked.
                let bound = labels.get("le").and_then(|text| parse_float(text).ok()).unwrap_or(f64::NAN);
                if self.bound.is_some_and(|before| bound <= before) {
                    return Err("bounds do not ascend");
                }
                if value < self.in_bucket {
                    return Err("counts of buckets fall");
                }
                self.negative_bound |= bound < 0.0;
                self.bound = Some(bound);
                self.in_bucket = value;
            }
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" => self.has_sum = true,
            "_gsum" => {
                self.has_gauge_sum = true;
                self.negative_gauge_sum = value < 0.0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that all of it fits, and begins anew.
    fn finish(&mut self, family: &str) -> Result<(), Reason> {
        let points = std::mem::take(self);
        if !points.any {
            return Ok(());
        }
        let has_sum = points.has_sum || points.has_gauge_sum;
        let problem = if points.bound.is_none_or(|bound| bound < f64::INFINITY) {
            "bucket `+Inf` is missing"
        } else if points.count.is_some_and(|count| count.to_bits() != points.in_bucket.to_bits()) {
            "count is not that of bucket `+Inf`"
        } else if has_sum != points.count.is_some() {
            "sum and count belong together"
        } else if points.negative_bound && points.has_sum {
            "a sum beside negative bounds"
        } else if !points.negative_bound && points.negative_gauge_sum {
            "a negative sum without negative bounds"
        } else {
            return Ok(());
        };
        Err(RuleBroken::Histogram { name: family.to_owned(), problem }.into())
    }
}
