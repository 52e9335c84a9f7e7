//! What the jobs of all kinds have in common: times, limits, formats, namespaces, classes.
//!
//! Rule: a limit of a monitor never exceeds the enforced one; without its own, Prometheus' global one holds.

use std::time::Duration;

use datamodel::time::parse_duration;
use serde_json::{Map, Value, json};

use super::error::{Problem, Rejection};
use super::generate::Context;
use super::objects::{
    AttachMetadata, Formats, LabelSelector, Limits, Metadata, NamespaceSelector, PrometheusSpec, ScrapeClass,
};

/// The fields of a mapping that is being written.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Writes what is there.
    pub(super) fn some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Writes a text that is not empty.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.put(key, value);
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}

/// The smaller of two limits, of which none and zero are no limit.
fn bounded(own: Option<u64>, enforced: Option<u64>) -> Option<u64> {
    let set = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    match (set(own), set(enforced)) {
        (Some(own), Some(enforced)) => Some(own.min(enforced)),
        (own, enforced) => own.or(enforced),
    }
}

/// As [`bounded`], for sizes as they are written.
fn bounded_size<'a>(own: Option<&'a String>, enforced: Option<&'a String>) -> Option<&'a String> {
    let set = |size: Option<&'a String>| {
        let bytes = size.and_then(|size| yaml::parse_size(size).ok()).filter(|bytes| *bytes > 0);
        size.zip(bytes)
    };
    match (set(own), set(enforced)) {
        (Some(own), Some(enforced)) => Some(if own.1 <= enforced.1 { own.0 } else { enforced.0 }),
        (own, enforced) => own.or(enforced).map(|(text, _)| text),
    }
}

/// Key, own limit, enforced limit, minor version of Prometheus 2 that has the key.
type Limit = (&'static str, Option<u64>, Option<u64>, u64);

fn counts(limits: &Limits, spec: &PrometheusSpec) -> [Limit; 6] {
    [
        ("sample_limit", limits.sample_limit, spec.enforced_sample_limit, 0),
        ("target_limit", limits.target_limit, spec.enforced_target_limit, 21),
        ("label_limit", limits.label_limit, spec.enforced_label_limit, 27),
        ("label_name_length_limit", limits.label_name_length_limit, spec.enforced_label_name_length_limit, 27),
        ("label_value_length_limit", limits.label_value_length_limit, spec.enforced_label_value_length_limit, 27),
        ("keep_dropped_targets", limits.keep_dropped_targets, spec.enforced_keep_dropped_targets, 47),
    ]
}

impl Context<'_> {
    /// The limits of a job.
    pub(super) fn limits(&self, fields: &mut Fields, limits: &Limits) {
        let spec = &self.prometheus.spec;
        // Since 2.45 the section `global` has limits, and the enforced ones with them.
        let has_global = self.version.has(2, 45);
        for (key, own, enforced, since) in counts(limits, spec) {
            let has_own = own.is_some_and(|own| own > 0);
            if self.version.has(2, since) && (has_own || !has_global) {
                fields.some(key, bounded(own, enforced));
            }
        }
        if self.version.has(2, 28) && (limits.body_size_limit.is_some() || !has_global) {
            let size = bounded_size(limits.body_size_limit.as_ref(), spec.enforced_body_size_limit.as_ref());
            fields.some("body_size_limit", size.cloned());
        }
    }

    /// The limits of the section `global`.
    pub(super) fn global_limits(&self, fields: &mut Fields) {
        if !self.version.has(2, 45) {
            return;
        }
        let spec = &self.prometheus.spec;
        for (key, own, enforced, since) in counts(&spec.limits, spec) {
            if self.version.has(2, since) {
                fields.some(key, bounded(own, enforced));
            }
        }
        let size = bounded_size(spec.limits.body_size_limit.as_ref(), spec.enforced_body_size_limit.as_ref());
        fields.some("body_size_limit", size.cloned());
    }

    /// Which formats are asked for.
    pub(super) fn formats(&self, fields: &mut Fields, formats: &Formats, class: Option<&ScrapeClass>) {
        if self.version.has(2, 49) && !formats.scrape_protocols.is_empty() {
            fields.put("scrape_protocols", json!(formats.scrape_protocols));
        }
        if self.version.has(3, 0) {
            let of_class = class.and_then(|class| class.fallback_scrape_protocol.as_ref());
            fields.some("fallback_scrape_protocol", formats.fallback_scrape_protocol.as_ref().or(of_class).cloned());
            fields.some("convert_classic_histograms_to_nhcb", formats.convert_classic_histograms);
        }
        if self.version.has(2, 45) {
            let key =
                if self.version.has(3, 0) { "always_scrape_classic_histograms" } else { "scrape_classic_histograms" };
            fields.some(key, formats.scrape_classic_histograms);
            fields.some("native_histogram_bucket_limit", formats.native_histogram_bucket_limit);
        }
        if self.version.has(3, 8) {
            fields.some("scrape_native_histograms", formats.scrape_native_histograms);
        }
        if self.version.has(2, 50) {
            fields.some(
                "native_histogram_min_bucket_factor",
                formats.native_histogram_min_bucket_factor.as_ref().map(number),
            );
        }
    }

    /// Interval and timeout.
    pub(super) fn times(
        &self,
        fields: &mut Fields,
        [(interval_field, interval), (timeout_field, timeout)]: [(&str, &str); 2],
        path: &str,
    ) -> Result<(), Rejection> {
        let own = duration(interval, &format!("{path}.{interval_field}"))?;
        let path = format!("{path}.{timeout_field}");
        if let Some(timeout) = duration(timeout, &path)? {
            let global = duration(&self.prometheus.spec.scrape_interval, "spec.scrapeInterval")?;
            let interval = own.or(global).unwrap_or(DEFAULT_INTERVAL);
            if timeout > interval {
                return Err(Rejection::new(path, Problem::TimeoutAboveInterval { timeout, interval }));
            }
        }
        fields.text("scrape_interval", interval);
        fields.text("scrape_timeout", timeout);
        Ok(())
    }

    /// Whether timestamps of pages are kept.
    pub(super) fn honor_timestamps(&self, fields: &mut Fields, own: Option<bool>) {
        let is_overridden = self.prometheus.spec.override_honor_timestamps;
        if own.is_some() || is_overridden {
            fields.put("honor_timestamps", own.unwrap_or(true) && !is_overridden);
        }
    }

    /// Whether labels of pages win.
    pub(super) const fn honors_labels(&self, own: bool) -> bool {
        own && !self.prometheus.spec.override_honor_labels
    }

    /// Whether series with timestamps of their own end by a marker.
    pub(super) fn track_timestamps_staleness(&self, fields: &mut Fields, own: Option<bool>) {
        if self.version.has(2, 48) {
            fields.some("track_timestamps_staleness", own);
        }
    }

    /// One item of `kubernetes_sd_configs`.
    pub(super) fn discovery(&self, role: &str, of: &Metadata, namespaces: &NamespaceSelector) -> Fields {
        let mut fields = Fields::default();
        fields.put("role", role);
        let names = if self.prometheus.spec.ignore_namespace_selectors {
            vec![of.namespace.clone()]
        } else if namespaces.any {
            Vec::new()
        } else if namespaces.match_names.is_empty() {
            vec![of.namespace.clone()]
        } else {
            namespaces.match_names.clone()
        };
        if !names.is_empty() {
            fields.put("namespaces", json!({"names": names}));
        }
        fields
    }

    /// `selectors` of a discovery: the API selects, not relabelling.
    pub(super) fn api_selectors(
        fields: &mut Fields,
        roles: &[&str],
        selector: &LabelSelector,
        path: &str,
    ) -> Result<(), Rejection> {
        let text = selector.checked(path)?.to_string();
        if !text.is_empty() {
            let selectors: Vec<Value> = roles.iter().map(|role| json!({"role": role, "label": text})).collect();
            fields.put("selectors", selectors);
        }
        Ok(())
    }

    /// `attach_metadata` of a discovery; `since` is the minor version of Prometheus 2 that has it.
    pub(super) fn attach_metadata(
        &self,
        fields: &mut Fields,
        own: Option<&AttachMetadata>,
        class: Option<&ScrapeClass>,
        since: u64,
    ) {
        let of_class = class.and_then(|class| class.attach_metadata.as_ref()).and_then(|metadata| metadata.node);
        let node = own.and_then(|metadata| metadata.node).or(of_class);
        if let Some(node) = node.filter(|_| self.version.has(2, since)) {
            fields.put("attach_metadata", json!({"node": node}));
        }
    }

    /// The scrape class that a monitor names, or the default one.
    pub(super) fn class(&self, name: Option<&String>) -> Result<Option<&ScrapeClass>, Rejection> {
        let classes = &self.prometheus.spec.scrape_classes;
        match name.filter(|name| !name.is_empty()) {
            None => Ok(classes.iter().find(|class| class.default == Some(true))),
            Some(name) => match classes.iter().find(|class| class.name == *name) {
                Some(class) => Ok(Some(class)),
                None => Err(Rejection::new("spec.scrapeClass", Problem::ScrapeClass(name.clone()))),
            },
        }
    }

    /// The label that is enforced for an object of a kind (`servicemonitors`), if one is.
    pub(super) fn enforced_label(&self, resource: &str, of: &Metadata) -> Option<&str> {
        let spec = &self.prometheus.spec;
        let is_excluded = spec.excluded_from_enforcement.iter().any(|excluded| {
            excluded.resource == resource
                && excluded.namespace == of.namespace
                && (excluded.name.is_empty() || excluded.name == of.name)
        });
        Some(spec.enforced_namespace_label.as_str()).filter(|label| !label.is_empty() && !is_excluded)
    }
}

/// The operator's scrape interval.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// A duration, or none where the text is empty.
pub(super) fn duration(text: &str, path: &str) -> Result<Option<Duration>, Rejection> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|error| Rejection::new(path, error))
}

/// A scheme, in lower case.
pub(super) fn scheme(text: &str, path: &str) -> Result<String, Rejection> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "http" | "https") {
        return Ok(lower);
    }
    Err(Rejection::new(path, Problem::Choice { expected: "`http`, `https`", found: text.to_owned() }))
}

/// A quantity without a unit, as a number.
fn number(value: &Value) -> Value {
    let number = value.as_str().and_then(|text| text.parse::<f64>().ok()).and_then(serde_json::Number::from_f64);
    number.map_or_else(|| value.clone(), Value::Number)
}
