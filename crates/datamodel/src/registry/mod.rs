//! The instruments of our own metrics.
//!
//! - [`Registry`]: declares instruments and writes them as text format 0.0.4, in order of declaration.
//! - [`Counter`], [`Gauge`], [`Histogram`], [`Summary`]: handles, cheap to clone, safe to share, never blocking.
//! - [`Family`]: children of one instrument, told apart by the values of declared labels.
//! - [`Emit`]: what a collector says at scrape time about values that live elsewhere.
//!
//! ```text
//! declare once ──▶ handle ──▶ inc / set / observe          (any thread)
//!      └──────────▶ Registry::encode_text ──▶ # HELP, # TYPE, samples
//! ```
//!
//! Rule: names are written to the letter, nothing is global, and the number of children is bounded.

mod instruments;
mod summary;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use instruments::{Counter, Gauge, Histogram, Instrument};
pub use summary::{Summary, WINDOW};

use crate::exposition::{Format, Line, PageFamily, PageFormat, PageWriter, Part};
use crate::labels::{is_legacy_label_name, is_legacy_metric_name};
use crate::metadata::MetricType;

/// The most children of one family. Label values are closed sets; this only holds if one is not.
pub const MAX_CHILDREN: usize = 1_000;

/// The most buckets of one histogram, `+Inf` not counted.
pub const MAX_BUCKETS: usize = 64;

/// The value of every label of the child that counts what exceeds [`MAX_CHILDREN`].
pub const OVERFLOW_VALUE: &str = "other";

/// A declaration that cannot be served. All of them are mistakes in the program that a test finds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name is none of `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    #[error("invalid metric name: `{0}`")]
    Name(String),
    /// The name, or a series of it, is declared already.
    #[error("metric is declared already: `{0}`")]
    Duplicate(String),
    /// The label is none of `[a-zA-Z_][a-zA-Z0-9_]*`, is reserved, or is declared twice.
    #[error("invalid label `{label}` of metric `{metric}`")]
    Label {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// The bucket bounds are not finite and ascending, or too many.
    #[error("invalid buckets of metric `{0}`")]
    Buckets(String),
    /// The quantiles of a summary are not ascending in `[0, 1]`.
    #[error("invalid quantiles of metric `{0}`")]
    Quantiles(String),
}

/// What a registry says about one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The name, to the letter.
    pub name: &'static str,
    /// The type.
    pub metric_type: MetricType,
    /// The help text, on one line or more.
    pub help: &'static str,
}

/// Declares instruments and writes them. A clone is the same registry.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    constant_labels: Vec<(String, String)>,
    sources: RwLock<Vec<Source>>,
}

/// Where samples come from.
struct Source {
    descriptors: Vec<Descriptor>,
    collect: Box<dyn Fn(&mut Emit) + Send + Sync>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.families().into_iter().map(|descriptor| descriptor.name).collect();
        f.debug_tuple("Registry").field(&names).finish()
    }
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty registry that puts these labels on every sample.
    ///
    /// # Errors
    ///
    /// A label name is invalid or given twice.
    pub fn with_constant_labels<N: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, RegisterError> {
        let labels: Vec<(String, String)> = labels.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        check_labels("constant labels", MetricType::Unknown, &names)?;
        Ok(Self(Arc::new(Inner { constant_labels: labels, sources: RwLock::default() })))
    }

    /// Declares a counter.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Result<Counter, RegisterError> {
        self.single(name, help, Counter::default())
    }

    /// Declares a gauge.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Result<Gauge, RegisterError> {
        self.single(name, help, Gauge::default())
    }

    /// Declares a histogram with the given upper bounds, `+Inf` not among them.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, or the bounds are not finite and ascending.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        buckets: &[f64],
    ) -> Result<Histogram, RegisterError> {
        self.single(name, help, new_histogram(name, buckets)?)
    }

    /// Declares counters that are told apart by labels.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, or a label is invalid.
    pub fn counter_family<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Result<Family<Counter, N>, RegisterError> {
        self.family(name, help, labels, Counter::default())
    }

    /// Declares gauges that are told apart by labels.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, or a label is invalid.
    pub fn gauge_family<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Result<Family<Gauge, N>, RegisterError> {
        self.family(name, help, labels, Gauge::default())
    }

    /// Declares histograms that are told apart by labels.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, a label is invalid, or the bounds are not finite and ascending.
    pub fn histogram_family<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        buckets: &[f64],
    ) -> Result<Family<Histogram, N>, RegisterError> {
        self.family(name, help, labels, new_histogram(name, buckets)?)
    }

    /// Declares summaries of the newest observations that are told apart by labels.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, a label is invalid, or the quantiles are not ascending in `[0, 1]`.
    pub fn summary_family<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        quantiles: &[f64],
    ) -> Result<Family<Summary, N>, RegisterError> {
        let template = Summary::new(quantiles).ok_or_else(|| RegisterError::Quantiles(name.to_owned()))?;
        self.family(name, help, labels, template)
    }

    /// Declares a summary of the newest observations.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken, or the quantiles are not ascending in `[0, 1]`.
    pub fn summary(&self, name: &'static str, help: &'static str, quantiles: &[f64]) -> Result<Summary, RegisterError> {
        let summary = Summary::new(quantiles).ok_or_else(|| RegisterError::Quantiles(name.to_owned()))?;
        self.single(name, help, summary)
    }

    /// Declares a gauge whose value is read when it is scraped.
    ///
    /// # Errors
    ///
    /// The name is invalid or taken.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        let descriptor = Descriptor { name, metric_type: MetricType::Gauge, help };
        self.collector(&[descriptor], move |emit| emit.sample(0, &[], read()))
    }

    /// Declares metrics whose samples one callback emits when they are scraped. The callback must be quick
    /// and must not use the registry.
    ///
    /// # Errors
    ///
    /// A name is invalid or taken.
    pub fn collector(
        &self,
        descriptors: &[Descriptor],
        collect: impl Fn(&mut Emit) + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        let mut sources = self.0.sources.write().unwrap_or_else(PoisonError::into_inner);
        for (index, descriptor) in descriptors.iter().enumerate() {
            if !is_legacy_metric_name(descriptor.name) {
                return Err(RegisterError::Name(descriptor.name.to_owned()));
            }
            let before = sources.iter().flat_map(|source| &source.descriptors).chain(descriptors.iter().take(index));
            if before.into_iter().any(|other| clash(other, descriptor)) {
                return Err(RegisterError::Duplicate(descriptor.name.to_owned()));
            }
        }
        sources.push(Source { descriptors: descriptors.to_vec(), collect: Box::new(collect) });
        Ok(())
    }

    /// All declared metrics, in order of declaration.
    #[must_use]
    pub fn families(&self) -> Vec<Descriptor> {
        let sources = self.0.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.iter().flat_map(|source| source.descriptors.iter().copied()).collect()
    }

    /// Appends all samples in text format 0.0.4. A family without samples is left out.
    pub fn encode_text(&self, into: &mut String) {
        let mut page = PageWriter::new(PageFormat::Text(Format::PrometheusText004));
        self.write(&mut page);
        // The writer of a text writes text.
        into.push_str(&String::from_utf8_lossy(&page.finish()));
    }

    /// Writes all families that have samples.
    pub fn write(&self, page: &mut PageWriter) {
        let sources = self.0.sources.read().unwrap_or_else(PoisonError::into_inner);
        for source in sources.iter() {
            let mut emit = Emit { samples: source.descriptors.iter().map(|_| Vec::new()).collect() };
            (source.collect)(&mut emit);
            for (descriptor, samples) in source.descriptors.iter().zip(&emit.samples) {
                self.write_family(page, *descriptor, samples);
            }
        }
    }

    fn write_family(&self, page: &mut PageWriter, descriptor: Descriptor, samples: &[Emitted]) {
        if samples.is_empty() {
            return;
        }
        let Descriptor { name, metric_type, help } = descriptor;
        page.family(PageFamily { name, metric_type, help, unit: "" });
        for sample in samples {
            let constant = self.0.constant_labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let own = sample.labels.iter().map(|(n, v)| (*n, v.as_str()));
            let mut labels: Vec<(&str, &str)> = constant.chain(own).collect();
            labels.sort_unstable();
            page.line(Line {
                part: sample.part,
                labels: &labels,
                value: sample.value,
                timestamp: None,
                exemplar: None,
            });
        }
    }

    fn single<T: Instrument>(&self, name: &'static str, help: &'static str, instrument: T) -> Result<T, RegisterError> {
        self.check_labels(name, T::METRIC_TYPE, &[])?;
        let handle = instrument.clone();
        let descriptor = Descriptor { name, metric_type: T::METRIC_TYPE, help };
        self.collector(&[descriptor], move |emit| instrument.emit(emit, &[]))?;
        Ok(handle)
    }

    fn family<T: Instrument, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        template: T,
    ) -> Result<Family<T, N>, RegisterError> {
        self.check_labels(name, T::METRIC_TYPE, &labels)?;
        let family = Family(Arc::new(Children { labels, template, by_values: RwLock::default() }));
        let handle = family.clone();
        let descriptor = Descriptor { name, metric_type: T::METRIC_TYPE, help };
        self.collector(&[descriptor], move |emit| family.emit(emit))?;
        Ok(handle)
    }

    fn check_labels(&self, name: &str, metric_type: MetricType, labels: &[&str]) -> Result<(), RegisterError> {
        let constant = self.0.constant_labels.iter().map(|(label, _)| label.as_str());
        let all: Vec<&str> = constant.chain(labels.iter().copied()).collect();
        check_labels(name, metric_type, &all)
    }
}

fn new_histogram(name: &str, buckets: &[f64]) -> Result<Histogram, RegisterError> {
    Histogram::new(buckets).ok_or_else(|| RegisterError::Buckets(name.to_owned()))
}

fn check_labels(metric: &str, metric_type: MetricType, labels: &[&str]) -> Result<(), RegisterError> {
    for (index, label) in labels.iter().enumerate() {
        let own = match metric_type {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let reserved = label.starts_with("__") || *label == own;
        let twice = labels.iter().take(index).any(|before| before == label);
        if !is_legacy_label_name(label) || reserved || twice {
            return Err(RegisterError::Label { metric: metric.to_owned(), label: (*label).to_owned() });
        }
    }
    Ok(())
}

/// Whether two metrics would share a series name.
fn clash(a: &Descriptor, b: &Descriptor) -> bool {
    let names = |descriptor: &Descriptor| {
        let suffixes: &[&str] = match descriptor.metric_type {
            MetricType::Histogram => &["", "_bucket", "_count", "_sum"],
            MetricType::Summary => &["", "_count", "_sum"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", descriptor.name)).collect::<Vec<_>>()
    };
    names(a).iter().any(|name| names(b).contains(name))
}

/// Children of one instrument, told apart by the values of `N` labels. A clone is the same family.
#[derive(Debug)]
pub struct Family<T, const N: usize>(Arc<Children<T, N>>);

#[derive(Debug)]
struct Children<T, const N: usize> {
    labels: [&'static str; N],
    template: T,
    by_values: RwLock<BTreeMap<[Box<str>; N], T>>,
}

impl<T, const N: usize> Clone for Family<T, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Instrument, const N: usize> Family<T, N> {
    /// The child with these values, in the order of the declared labels; created at the first call. Keep
    /// the handle where it is used often.
    ///
    /// When the family has [`MAX_CHILDREN`], a new set of values gets the child whose values are all
    /// [`OVERFLOW_VALUE`].
    #[must_use]
    pub fn with(&self, values: [&str; N]) -> T {
        let key = values.map(Box::<str>::from);
        if let Some(child) = self.0.by_values.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return child.clone();
        }
        let mut children = self.0.by_values.write().unwrap_or_else(PoisonError::into_inner);
        let full = children.len() >= MAX_CHILDREN && !children.contains_key(&key);
        let key = if full { [OVERFLOW_VALUE; N].map(Box::from) } else { key };
        children.entry(key).or_insert_with(|| self.0.template.fresh()).clone()
    }

    /// Ends the child with these values: it is no longer written. Handles to it count on in vain.
    pub fn remove(&self, values: [&str; N]) {
        self.retain(|present| present != values);
    }

    /// Ends the children whose values `keep` refuses.
    pub fn retain(&self, mut keep: impl FnMut([&str; N]) -> bool) {
        let mut children = self.0.by_values.write().unwrap_or_else(PoisonError::into_inner);
        children.retain(|values, _| keep(std::array::from_fn(|index| values.get(index).map_or("", AsRef::as_ref))));
    }

    fn emit(&self, emit: &mut Emit) {
        let children = self.0.by_values.read().unwrap_or_else(PoisonError::into_inner);
        for (values, child) in children.iter() {
            let labels: Vec<(&'static str, &str)> =
                self.0.labels.iter().zip(values).map(|(label, value)| (*label, value.as_ref())).collect();
            child.emit(emit, &labels);
        }
    }
}

/// Takes the samples that a collector has to say.
#[derive(Debug)]
pub struct Emit {
    /// Samples by the index of their descriptor.
    samples: Vec<Vec<Emitted>>,
}

#[derive(Debug)]
struct Emitted {
    part: Part,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Emit {
    /// Adds a sample of the descriptor with the given index; of no descriptor, it is dropped.
    pub fn sample(&mut self, descriptor: usize, labels: &[(&'static str, &str)], value: f64) {
        self.part(descriptor, Part::Value, labels, value);
    }

    /// As [`sample`](Self::sample), of a metric with several numbers: histogram, summary.
    pub fn part(&mut self, descriptor: usize, part: Part, labels: &[(&'static str, &str)], value: f64) {
        if let Some(samples) = self.samples.get_mut(descriptor) {
            let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            samples.push(Emitted { part, labels, value });
        }
    }
}
