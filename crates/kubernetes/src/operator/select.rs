//! Which objects a Prometheus object selects, and how objects are read.
//!
//! Rule: a selector that is missing selects nothing; one of namespaces that is missing, the own namespace.

use std::collections::BTreeMap;

use datamodel::selector::Selector;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Problem, Rejection};
use super::objects::{LabelSelector, Metadata, Prometheus};

impl LabelSelector {
    /// The selector, checked.
    pub(super) fn checked(&self, path: &str) -> Result<Selector, Rejection> {
        let labels = self.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let expressions = self.match_expressions.iter();
        let expressions = expressions.map(|one| (one.key.as_str(), one.operator.as_str(), one.values.clone()));
        Selector::from_match(labels, expressions).map_err(|error| Rejection::new(path, error))
    }
}

/// Reads an object. A null counts as missing.
///
/// # Errors
///
/// A field has not the form that the API demands.
pub fn read<T: DeserializeOwned>(mut object: Value) -> Result<T, Rejection> {
    remove_nulls(&mut object);
    serde_json::from_value(object).map_err(|error| Rejection::new("object", Problem::Form(error.to_string())))
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// The objects of one kind that are selected.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    objects: Selector,
    namespaces: Namespaces,
}

#[derive(Clone, Debug, PartialEq)]
enum Namespaces {
    Own(String),
    Labelled(Selector),
}

impl Selection {
    /// The selection of `ServiceMonitors`.
    ///
    /// # Errors
    ///
    /// A selector is refused; so for the others.
    pub fn service_monitors(of: &Prometheus) -> Result<Self, Rejection> {
        let spec = &of.spec;
        Self::new(
            of,
            "serviceMonitor",
            spec.service_monitor_selector.as_ref(),
            spec.service_monitor_namespace_selector.as_ref(),
        )
    }

    /// The selection of `PodMonitors`.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn pod_monitors(of: &Prometheus) -> Result<Self, Rejection> {
        let spec = &of.spec;
        Self::new(of, "podMonitor", spec.pod_monitor_selector.as_ref(), spec.pod_monitor_namespace_selector.as_ref())
    }

    /// The selection of Probes.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn probes(of: &Prometheus) -> Result<Self, Rejection> {
        Self::new(of, "probe", of.spec.probe_selector.as_ref(), of.spec.probe_namespace_selector.as_ref())
    }

    /// The selection of `ScrapeConfigs`.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn scrape_configs(of: &Prometheus) -> Result<Self, Rejection> {
        let spec = &of.spec;
        Self::new(
            of,
            "scrapeConfig",
            spec.scrape_config_selector.as_ref(),
            spec.scrape_config_namespace_selector.as_ref(),
        )
    }

    /// The selection of `PrometheusRules`.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn rules(of: &Prometheus) -> Result<Self, Rejection> {
        Self::new(of, "rule", of.spec.rule_selector.as_ref(), of.spec.rule_namespace_selector.as_ref())
    }

    fn new(
        of: &Prometheus,
        kind: &str,
        objects: Option<&LabelSelector>,
        namespaces: Option<&LabelSelector>,
    ) -> Result<Self, Rejection> {
        let objects = objects.map(|selector| selector.checked(&format!("spec.{kind}Selector"))).transpose()?;
        let path = format!("spec.{kind}NamespaceSelector");
        let namespaces = match namespaces {
            Some(selector) => Namespaces::Labelled(selector.checked(&path)?),
            None => Namespaces::Own(of.metadata.namespace.clone()),
        };
        Ok(Self { objects: objects.unwrap_or_default(), namespaces })
    }

    /// Whether nothing can be selected, so that nobody need look.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.requirements().is_none()
    }

    /// The only namespace that is looked into, if there is but one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match &self.namespaces {
            Namespaces::Own(name) => Some(name),
            Namespaces::Labelled(_) => None,
        }
    }

    /// What the labels of an object must satisfy, as the API is asked for it.
    #[must_use]
    pub fn label_selector(&self) -> String {
        self.objects.to_string()
    }

    /// Whether the labels of namespaces decide.
    #[must_use]
    pub fn needs_namespaces(&self) -> bool {
        matches!(&self.namespaces, Namespaces::Labelled(selector) if !selector.is_everything())
    }

    /// Whether an object is selected; `namespaces` are the labels of all namespaces.
    #[must_use]
    pub fn selects(&self, object: &Metadata, namespaces: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
        let in_namespace = match &self.namespaces {
            Namespaces::Own(name) => *name == object.namespace,
            Namespaces::Labelled(selector) if selector.is_everything() => true,
            Namespaces::Labelled(selector) => {
                namespaces.get(&object.namespace).is_some_and(|labels| selector.matches(labels))
            }
        };
        in_namespace && self.objects.matches(&object.labels)
    }
}
