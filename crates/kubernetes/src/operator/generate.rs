//! Objects to the parts of a configuration.
//!
//! Rule: jobs come in the order of `NAMESPACE/NAME`, `ServiceMonitors` first, then `PodMonitors`, Probes, `ScrapeConfigs`,
//! and what is added at the end.

use serde_json::{Map, Value, json};

use super::assets::Assets;
use super::error::{Problem, Rejection};
use super::job::Fields;
use super::objects::{
    Metadata, Object, PodMonitor, Probe, Prometheus, PrometheusRule, ScrapeConfigObject, ServiceMonitor,
};
use super::version::Version;
use super::{pod_monitor, probe, rules, scrape_config, service_monitor};
use crate::json::value_of;

/// The objects that are selected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Monitors {
    /// `ServiceMonitors`.
    pub service_monitors: Vec<ServiceMonitor>,
    /// `PodMonitors`.
    pub pod_monitors: Vec<PodMonitor>,
    /// Probes.
    pub probes: Vec<Probe>,
    /// `ScrapeConfigs`.
    pub scrape_configs: Vec<ScrapeConfigObject>,
    /// `PrometheusRules`.
    pub rules: Vec<PrometheusRule>,
}

/// A rule file that an object becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// `NAMESPACE-NAME-UID.yaml`
    pub name: String,
    /// What the file holds.
    pub content: Value,
}

/// An object that is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace}/{name}: {reason}")]
pub struct Rejected {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: Rejection,
}

/// What objects become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The section `global`.
    pub global: Map<String, Value>,
    /// The items of `scrape_configs`.
    pub scrape_configs: Vec<Value>,
    /// The rule files.
    pub rule_files: Vec<RuleFile>,
    /// What was left out, and why.
    pub rejected: Vec<Rejected>,
}

/// What all kinds of objects are read with.
pub(super) struct Context<'a> {
    pub(super) prometheus: &'a Prometheus,
    pub(super) assets: &'a Assets,
    pub(super) version: Version,
}

/// Makes configurations of objects.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// What holds for all.
    pub prometheus: &'a Prometheus,
    /// What the objects name.
    pub assets: &'a Assets,
}

impl Generator<'_> {
    /// Makes one of these objects.
    #[must_use]
    pub fn generate(&self, monitors: &Monitors) -> Generated {
        let version = Version::parse(&self.prometheus.spec.version);
        let context = Context { prometheus: self.prometheus, assets: self.assets, version };
        let mut made = Generated { global: context.global(), ..Generated::default() };
        let jobs = &mut Vec::new();
        made.each("ServiceMonitor", &monitors.service_monitors, jobs, |one| service_monitor::jobs(&context, one));
        made.each("PodMonitor", &monitors.pod_monitors, jobs, |one| pod_monitor::jobs(&context, one));
        made.each("Probe", &monitors.probes, jobs, |one| probe::jobs(&context, one));
        made.each("ScrapeConfig", &monitors.scrape_configs, jobs, |one| scrape_config::jobs(&context, one));
        made.scrape_configs.append(jobs);
        let files = &mut Vec::new();
        made.each("PrometheusRule", &monitors.rules, files, |one| Ok(vec![rules::file(&context, one)?]));
        made.rule_files.append(files);
        let added = context.additional_jobs();
        made.take("Prometheus", &self.prometheus.metadata, added, jobs);
        made.scrape_configs.append(jobs);
        made
    }
}

impl Generated {
    fn each<S, T>(
        &mut self,
        kind: &'static str,
        objects: &[Object<S>],
        into: &mut Vec<T>,
        make: impl Fn(&Object<S>) -> Result<Vec<T>, Rejection>,
    ) {
        let mut sorted: Vec<&Object<S>> = objects.iter().collect();
        sorted.sort_by_cached_key(|object| object.metadata.key());
        for object in sorted {
            self.take(kind, &object.metadata, make(object), into);
        }
    }

    fn take<T>(&mut self, kind: &'static str, of: &Metadata, made: Result<Vec<T>, Rejection>, into: &mut Vec<T>) {
        match made {
            Ok(made) => into.extend(made),
            Err(reason) => {
                let (namespace, name) = (of.namespace.clone(), of.name.clone());
                self.rejected.push(Rejected { kind, namespace, name, reason });
            }
        }
    }
}

impl Context<'_> {
    fn global(&self) -> Map<String, Value> {
        let (of, spec) = (&self.prometheus.metadata, &self.prometheus.spec);
        let or_default = |text: &str| if text.is_empty() { "30s".to_owned() } else { text.to_owned() };
        let mut fields = Fields::default();
        fields.put("scrape_interval", or_default(&spec.scrape_interval));
        fields.text("scrape_timeout", &spec.scrape_timeout);
        fields.put("evaluation_interval", or_default(&spec.evaluation_interval));
        let mut labels = Map::new();
        let name = spec.prometheus_external_label_name.as_deref().unwrap_or("prometheus");
        if !name.is_empty() {
            labels.insert(name.to_owned(), json!(of.key()));
        }
        labels.extend(spec.external_labels.iter().map(|(name, value)| (name.clone(), json!(value))));
        fields.put("external_labels", labels);
        if self.version.has(2, 49) && !spec.scrape_protocols.is_empty() {
            fields.put("scrape_protocols", json!(spec.scrape_protocols));
        }
        self.global_limits(&mut fields);
        match Value::from(fields) {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// The jobs that a Secret holds as they stand.
    fn additional_jobs(&self) -> Result<Vec<Value>, Rejection> {
        const PATH: &str = "spec.additionalScrapeConfigs";
        let Some(selector) = &self.prometheus.spec.additional_scrape_configs else { return Ok(Vec::new()) };
        let text = self.assets.secret(&self.prometheus.metadata.namespace, selector, PATH)?;
        let document = yaml::parse(&selector.key, &text)
            .map_err(|errors| Rejection::new(PATH, Problem::Form(errors.to_string())))?;
        match value_of(document.root()) {
            Value::Array(jobs) => Ok(jobs),
            Value::Null => Ok(Vec::new()),
            _ => Err(Rejection::new(PATH, Problem::Form("expected a list of scrape configurations".to_owned()))),
        }
    }
}
