//! Families of samples, and the page that they are written on.
//!
//! - [`Told`]: an object with its families. [`Samples`]: where a family puts the samples of one object.
//!
//! Rule: a page has at most [`MAX_PAGE_BYTES`]; one that would be longer is refused as a whole.

use std::sync::Arc;

use datamodel::MetricType;
use datamodel::exposition::{Format, write};
use datamodel::rfc3339::parse_rfc3339;
use serde::de::DeserializeOwned;

use crate::client::Keyed;

/// Bytes of a page: what a scrape reads by default. A pod with two containers has some 7 kB.
pub const MAX_PAGE_BYTES: usize = 64 * 1024 * 1024;

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not everything was listed yet, for this reason where one is known. It comes.
    #[error("state of {resource} is not known yet{}", because(reason.as_deref()))]
    Unknown {
        /// The first of those that were not listed.
        resource: &'static str,
        /// Why it was not.
        reason: Option<String>,
    },
    /// There are too many objects: tell of fewer resources, or namespaces.
    #[error("state series have more than {MAX_PAGE_BYTES} bytes")]
    TooLong,
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// A family, and what it says of an object.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    pub(super) metric_type: MetricType,
    pub(super) help: &'static str,
    pub(super) samples: fn(&T, &mut Samples<'_>),
}

/// A gauge.
pub(super) const fn gauge<T>(name: &'static str, help: &'static str, samples: fn(&T, &mut Samples<'_>)) -> Family<T> {
    Family { name, metric_type: MetricType::Gauge, help, samples }
}

/// A counter.
pub(super) const fn counter<T>(name: &'static str, help: &'static str, samples: fn(&T, &mut Samples<'_>)) -> Family<T> {
    Family { name, metric_type: MetricType::Counter, help, samples }
}

/// An object that is told of.
pub(super) trait Told: Keyed + DeserializeOwned + Send + Sync + Sized + 'static {
    /// Its families.
    const FAMILIES: &'static [Family<Self>];

    /// The labels that each of its samples begins with.
    fn identity(&self) -> Vec<(&'static str, &str)>;
}

/// Takes the samples of one object in one family.
pub(super) struct Samples<'a> {
    page: &'a mut Page,
    name: &'static str,
    identity: &'a [(&'static str, &'a str)],
}

impl Samples<'_> {
    /// One sample, with these labels behind those of the object.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        if self.page.text.len() <= MAX_PAGE_BYTES {
            let labels = self.identity.iter().copied().chain(labels.iter().copied());
            write::sample(&mut self.page.text, self.name, labels, value, None);
        }
    }

    /// The only sample of an object.
    pub(super) fn one(&mut self, value: impl Into<f64>) {
        self.add(&[], value.into());
    }

    /// A whole number, which has 53 bits where it matters.
    pub(super) fn count(&mut self, value: i64) {
        self.add(&[], value as f64);
    }

    /// An instant in seconds; none where there is no instant.
    pub(super) fn instant(&mut self, labels: &[(&str, &str)], rfc3339: Option<&str>) {
        if let Some(at) = rfc3339.and_then(parse_rfc3339) {
            self.add(labels, at.unix_ms().div_euclid(1000) as f64);
        }
    }
}

/// A page under way.
pub(super) struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// All families of these objects.
    pub(super) fn tell<T: Told>(&mut self, objects: &[Arc<T>]) {
        for family in T::FAMILIES {
            // OpenMetrics names the family of a counter without the suffix of its samples.
            let name = match (self.format, family.metric_type) {
                (Format::OpenMetrics100, MetricType::Counter) => family.name.trim_end_matches("_total"),
                _ => family.name,
            };
            write::metadata(&mut self.text, name, family.metric_type, family.help);
            for object in objects {
                let identity = object.identity();
                (family.samples)(object, &mut Samples { page: self, name: family.name, identity: &identity });
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<String, StateError> {
        if self.text.len() > MAX_PAGE_BYTES {
            return Err(StateError::TooLong);
        }
        if self.format == Format::OpenMetrics100 {
            self.text.push_str("# EOF\n");
        }
        Ok(self.text)
    }
}
