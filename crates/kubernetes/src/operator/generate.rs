//! Objects to the parts of a configuration.
//!
//! Rule: jobs come in the order of `NAMESPACE/NAME`, `ServiceMonitors` first, then `PodMonitors`, Probes, `ScrapeConfigs`,
//! and what is added at the end.

use std::fmt;

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

/// The object that something comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Origin {
    pub(crate) fn new(kind: &'static str, of: &Metadata) -> Self {
        Self { kind, namespace: of.namespace.clone(), name: of.name.clone() }
    }
}

/// A scrape job that an object asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeJob {
    /// The object.
    pub origin: Origin,
    /// The item of `scrape_configs`.
    pub config: Value,
}

/// A rule file that an object becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// The object.
    pub origin: Origin,
    /// `NAMESPACE-NAME-UID.yaml`
    pub name: String,
    /// What the file holds.
    pub content: Value,
}

/// An object that is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct Rejected {
    /// The object.
    pub origin: Origin,
    /// Why.
    pub reason: Rejection,
}

/// What objects become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The section `global`.
    pub global: Map<String, Value>,
    /// The scrape jobs.
    pub jobs: Vec<ScrapeJob>,
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
        made.jobs_of("ServiceMonitor", &monitors.service_monitors, |one| service_monitor::jobs(&context, one));
        made.jobs_of("PodMonitor", &monitors.pod_monitors, |one| pod_monitor::jobs(&context, one));
        made.jobs_of("Probe", &monitors.probes, |one| probe::jobs(&context, one));
        made.jobs_of("ScrapeConfig", &monitors.scrape_configs, |one| scrape_config::jobs(&context, one));
        for object in sorted(&monitors.rules) {
            match rules::file(&context, object) {
                Ok(file) => made.rule_files.push(file),
                Err(reason) => made.reject(Origin::new(rules::KIND, &object.metadata), reason),
            }
        }
        made.take(Origin::new("Prometheus", &self.prometheus.metadata), context.additional_jobs());
        made
    }
}

impl Generated {
    fn jobs_of<S>(
        &mut self,
        kind: &'static str,
        objects: &[Object<S>],
        make: impl Fn(&Object<S>) -> Result<Vec<Value>, Rejection>,
    ) {
        for object in sorted(objects) {
            self.take(Origin::new(kind, &object.metadata), make(object));
        }
    }

    fn take(&mut self, origin: Origin, made: Result<Vec<Value>, Rejection>) {
        match made {
            Ok(made) => {
                let job = |config| ScrapeJob { origin: origin.clone(), config };
                self.jobs.extend(made.into_iter().map(job));
            }
            Err(reason) => self.reject(origin, reason),
        }
    }

    fn reject(&mut self, origin: Origin, reason: Rejection) {
        self.rejected.push(Rejected { origin, reason });
    }
}

fn sorted<S>(objects: &[Object<S>]) -> Vec<&Object<S>> {
    let mut sorted: Vec<&Object<S>> = objects.iter().collect();
    sorted.sort_by_cached_key(|object| object.metadata.key());
    sorted
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
