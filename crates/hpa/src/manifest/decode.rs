//! From YAML to a checked manifest.
//!
//! Rule: what upstream's API server refuses is refused here with its reason, at its place, and everything
//! else that is wrong in the same run.

use std::collections::BTreeMap;

use datamodel::Quantity;
use datamodel::selector::{Requirement, SelectorOp, key_problem, value_problem};
use yaml::decoders::{integer, list, map, one_of, parsed, strict_string};
use yaml::{Fields, Node, Report, mapping};

use super::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HpaBehavior, HpaSpec, LabelSelector, MetricIdentifier,
    MetricSpec, MetricTarget, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy,
};
use crate::config::ControllerConfig;

const API_VERSION: &str = "autoscaling/v2";
const KIND: &str = "HorizontalPodAutoscaler";
/// Upstream's `maxStabilizationWindowSeconds`.
const MAX_STABILIZATION_WINDOW_SECONDS: i32 = 3600;
/// Upstream's `maxPeriodSeconds`.
const MAX_PERIOD_SECONDS: i32 = 1800;
/// What upstream scales by when the manifest names no metric.
const DEFAULT_CPU_UTILIZATION_PERCENT: i32 = 80;
/// Lengths of names: upstream's, from DNS.
const MAX_SUBDOMAIN_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

impl HorizontalPodAutoscaler {
    /// Reads a manifest with the default gates.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with line, column and key.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, yaml::Errors> {
        Self::parse_with(source_name, text, &ControllerConfig::default())
    }

    /// Reads a manifest; `config` says which gates are open.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_with(source_name: &str, text: &str, config: &ControllerConfig) -> Result<Self, yaml::Errors> {
        yaml::decode(source_name, text, |node, report| autoscaler(node, report, config))
    }
}

fn autoscaler(node: &Node, report: &mut Report, config: &ControllerConfig) -> Option<HorizontalPodAutoscaler> {
    mapping(node, report, |fields| {
        let api_version = fields.required("apiVersion", strict_string);
        if let Some(other) = api_version.filter(|version| version != API_VERSION) {
            fields.error("apiVersion", format!("expected `{API_VERSION}`, found `{other}`"));
        }
        let kind = fields.required("kind", strict_string);
        if let Some(other) = kind.filter(|kind| kind != KIND) {
            fields.error("kind", format!("expected `{KIND}`, found `{other}`"));
        }
        let metadata = fields.required("metadata", metadata);
        let spec = fields.required("spec", |node, report| spec(node, report, config));
        fields.ignore(&["status"]);
        let (name, namespace) = metadata?;
        Some(HorizontalPodAutoscaler { name, namespace, spec: spec? })
    })
}

fn metadata(node: &Node, report: &mut Report) -> Option<(String, String)> {
    mapping(node, report, |fields| {
        let name = fields.required("name", |node, report| checked_name(node, report, MAX_SUBDOMAIN_BYTES, true));
        let namespace = fields.optional("namespace", |node, report| checked_name(node, report, MAX_LABEL_BYTES, false));
        fields.ignore(&[
            "annotations",
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generateName",
            "generation",
            "labels",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        ]);
        Some((name?, namespace.unwrap_or_else(|| "default".to_owned())))
    })
}

/// A DNS name: a label, or labels with dots between them.
fn checked_name(node: &Node, report: &mut Report, max_bytes: usize, with_dots: bool) -> Option<String> {
    let name = strict_string(node, report)?;
    let is_label = |label: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
    };
    let is_valid = if with_dots { name.split('.').all(is_label) } else { is_label(&name) };
    if name.len() > max_bytes {
        report.error(node, format!("must be no more than {max_bytes} bytes"));
    } else if !is_valid {
        let what = if with_dots {
            "subdomain must consist of lower case alphanumeric characters, `-` or `.`"
        } else {
            "label must consist of lower case alphanumeric characters or `-`"
        };
        report.error(node, format!("a lowercase RFC 1123 {what}, and start and end with an alphanumeric character"));
    }
    Some(name)
}

fn spec(node: &Node, report: &mut Report, config: &ControllerConfig) -> Option<HpaSpec> {
    mapping(node, report, |fields| {
        let scale_target_ref = fields.required("scaleTargetRef", object_reference);
        let min_replicas = fields.or("minReplicas", integer::<i32>, 1);
        let lower_bound = i32::from(!config.scale_to_zero);
        if min_replicas < lower_bound {
            fields.error("minReplicas", format!("must be greater than or equal to {lower_bound}"));
        }
        let max_replicas = fields.required("maxReplicas", integer::<i32>);
        if let Some(max_replicas) = max_replicas {
            if max_replicas < 1 {
                fields.error("maxReplicas", "must be greater than 0");
            } else if max_replicas < min_replicas {
                fields.error("maxReplicas", "must be greater than or equal to `minReplicas`");
            }
        }
        let mut metrics = fields.or("metrics", list(metric_spec), Vec::new());
        let behavior = fields.optional("behavior", behavior);
        if metrics.is_empty() {
            let target = MetricTarget::Utilization(DEFAULT_CPU_UTILIZATION_PERCENT);
            metrics.push(MetricSpec::Resource { name: "cpu".to_owned(), target });
        }
        let spec = HpaSpec {
            scale_target_ref: scale_target_ref?,
            min_replicas,
            max_replicas: max_replicas?,
            metrics,
            behavior,
        };
        if config.scale_to_zero && spec.min_replicas == 0 && !spec.has_object_or_external_metric() {
            let message = "must specify at least one Object or External metric to support scaling to zero replicas";
            fields.error("metrics", message);
        }
        Some(spec)
    })
}

fn object_reference(node: &Node, report: &mut Report) -> Option<CrossVersionObjectReference> {
    mapping(node, report, |fields| {
        let api_version = fields.or("apiVersion", strict_string, String::new());
        if api_version.split('/').count() > 2
            || api_version.split('/').any(|part| part.is_empty() && !api_version.is_empty())
        {
            fields.error("apiVersion", format!("unexpected GroupVersion string: `{api_version}`"));
        }
        let kind = fields.required("kind", path_segment);
        let name = fields.required("name", path_segment);
        Some(CrossVersionObjectReference { api_version, kind: kind?, name: name? })
    })
}

/// A text that can stand between two slashes of a URL path.
fn path_segment(node: &Node, report: &mut Report) -> Option<String> {
    let text = strict_string(node, report)?;
    if text.is_empty() {
        report.error(node, "must not be empty");
    } else if text == "." || text == ".." {
        report.error(node, format!("may not be `{text}`"));
    }
    for forbidden in ['/', '%'] {
        if text.contains(forbidden) {
            report.error(node, format!("may not contain `{forbidden}`"));
        }
    }
    Some(text)
}

/// The key that goes with each type of metric.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

fn metric_spec(node: &Node, report: &mut Report) -> Option<MetricSpec> {
    mapping(node, report, |fields| {
        let wanted = fields.required("type", one_of(&SOURCES));
        let sources = [
            fields.optional("object", object_source),
            fields.optional("pods", pods_source),
            fields.optional("resource", |node, report| resource_source(node, report, false)),
            fields.optional("containerResource", |node, report| resource_source(node, report, true)),
            fields.optional("external", external_source),
        ];
        let wanted = wanted?;
        for (_, key) in SOURCES {
            if key == wanted && !fields.has(key) {
                fields.error(key, "must populate information for the given metric source");
            } else if key != wanted && fields.has(key) {
                fields.error(key, "must populate the given metric source only");
            }
        }
        SOURCES.iter().zip(sources).find(|((_, key), _)| *key == wanted).and_then(|(_, source)| source)
    })
}

/// The keys of a target as they stand, each checked for itself.
struct RawTarget {
    kind: TargetKind,
    utilization: Option<i32>,
    value: Option<Quantity>,
    average_value: Option<Quantity>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TargetKind {
    Utilization,
    Value,
    AverageValue,
}

fn raw_target(node: &Node, report: &mut Report) -> Option<RawTarget> {
    mapping(node, report, |fields| {
        let kind = fields.required(
            "type",
            one_of(&[
                ("Utilization", TargetKind::Utilization),
                ("Value", TargetKind::Value),
                ("AverageValue", TargetKind::AverageValue),
            ]),
        );
        let utilization = fields.optional("averageUtilization", integer::<i32>);
        if utilization.is_some_and(|percent| percent < 1) {
            fields.error("averageUtilization", "must be greater than 0");
        }
        let value = fields.optional("value", positive_quantity);
        let average_value = fields.optional("averageValue", positive_quantity);
        Some(RawTarget { kind: kind?, utilization, value, average_value })
    })
}

fn positive_quantity(node: &Node, report: &mut Report) -> Option<Quantity> {
    let quantity: Quantity = parsed(node, report)?;
    if quantity.milli_value() <= 0 {
        report.error(node, "must be positive");
        return None;
    }
    Some(quantity)
}

/// The target of a source that takes a value per pod or a second kind, of which exactly one must be set.
fn target_of(
    fields: &mut Fields<'_, '_>,
    other: fn(&RawTarget) -> Option<MetricTarget>,
    neither: &str,
    both: &str,
) -> Option<MetricTarget> {
    let raw = fields.required("target", raw_target)?;
    let errors = fields.report().error_count();
    let average = raw.average_value.map(MetricTarget::AverageValue);
    match (average, other(&raw)) {
        (Some(_), Some(_)) => fields.error("target", both),
        (None, None) if errors == 0 => fields.error("target", neither),
        (None, None) => {
            // The key may be there with a value that was refused; then that is the error.
            let target = fields.node().get("target");
            let has = |key| target.and_then(|target| target.get(key)).is_some_and(|value| !value.is_null());
            if !has("averageValue") && !has("value") && !has("averageUtilization") {
                fields.error("target", neither);
            }
        }
        (one, another) => return one.or(another),
    }
    None
}

fn resource_source(node: &Node, report: &mut Report, of_container: bool) -> Option<MetricSpec> {
    mapping(node, report, |fields| {
        let name = fields.required("name", path_segment);
        let container = if of_container { fields.required("container", path_segment) } else { None };
        let target = target_of(
            fields,
            |raw| raw.utilization.map(MetricTarget::Utilization),
            "must set either a target raw value or a target utilization",
            "may not set both a target raw value and a target utilization",
        );
        if of_container {
            Some(MetricSpec::ContainerResource { name: name?, container: container?, target: target? })
        } else {
            Some(MetricSpec::Resource { name: name?, target: target? })
        }
    })
}

fn pods_source(node: &Node, report: &mut Report) -> Option<MetricSpec> {
    mapping(node, report, |fields| {
        let metric = fields.required("metric", metric_identifier);
        let neither = "must specify a positive target averageValue";
        let target = target_of(fields, |_| None, neither, neither);
        Some(MetricSpec::Pods { metric: metric?, target: target? })
    })
}

fn object_source(node: &Node, report: &mut Report) -> Option<MetricSpec> {
    mapping(node, report, |fields| {
        let described_object = fields.required("describedObject", object_reference);
        let metric = fields.required("metric", metric_identifier);
        let raw = fields.required("target", raw_target);
        // Upstream's API server takes a target whose type does not fit; its controller then fails at every
        // sync. Here it is refused at once.
        let target = raw.and_then(|raw| match raw.kind {
            TargetKind::Value => raw.value.map(MetricTarget::Value),
            TargetKind::AverageValue => raw.average_value.map(MetricTarget::AverageValue),
            TargetKind::Utilization => None,
        });
        if target.is_none() && fields.has("target") {
            let message = "must set a target `value` or `averageValue`, the one that its `type` names";
            fields.error("target", message);
        }
        Some(MetricSpec::Object { described_object: described_object?, metric: metric?, target: target? })
    })
}

fn external_source(node: &Node, report: &mut Report) -> Option<MetricSpec> {
    mapping(node, report, |fields| {
        let metric = fields.required("metric", metric_identifier);
        let target = target_of(
            fields,
            |raw| raw.value.map(MetricTarget::Value),
            "must set either a target value for metric or a per-pod target",
            "may not set both a target value for metric and a per-pod target",
        );
        Some(MetricSpec::External { metric: metric?, target: target? })
    })
}

fn metric_identifier(node: &Node, report: &mut Report) -> Option<MetricIdentifier> {
    mapping(node, report, |fields| {
        let name = fields.required("name", path_segment);
        let selector = fields.optional("selector", label_selector);
        Some(MetricIdentifier { name: name?, selector })
    })
}

fn label_selector(node: &Node, report: &mut Report) -> Option<LabelSelector> {
    mapping(node, report, |fields| {
        let match_labels = fields.or("matchLabels", match_labels, BTreeMap::new());
        let match_expressions = fields.or("matchExpressions", list(requirement), Vec::new());
        Some(LabelSelector { match_labels, match_expressions })
    })
}

fn match_labels(node: &Node, report: &mut Report) -> Option<BTreeMap<String, String>> {
    let labels = map(strict_string)(node, report)?;
    for (key, value) in &labels {
        let at = node.get(key).unwrap_or(node);
        if let Some(problem) = key_problem(key).or_else(|| value_problem(value)) {
            report.within_key(key, |report| report.error(at, problem));
        }
    }
    Some(labels.into_iter().collect())
}

fn requirement(node: &Node, report: &mut Report) -> Option<Requirement> {
    mapping(node, report, |fields| {
        let key = fields.required("key", strict_string);
        let operators = [
            ("In", SelectorOp::In),
            ("NotIn", SelectorOp::NotIn),
            ("Exists", SelectorOp::Exists),
            ("DoesNotExist", SelectorOp::DoesNotExist),
        ];
        let operator = fields.required("operator", one_of(&operators));
        let values = fields.or("values", list(strict_string), Vec::new());
        match Requirement::new(key?, operator?, values) {
            Ok(requirement) => Some(requirement),
            Err(cause) => {
                fields.error_here(cause.to_string());
                None
            }
        }
    })
}

fn behavior(node: &Node, report: &mut Report) -> Option<HpaBehavior> {
    mapping(node, report, |fields| {
        let mut rules = |key, default: ScalingRules| {
            let fallback = default.clone();
            fields.or(key, |node, report| scaling_rules(node, report, default), fallback)
        };
        let scale_up = rules("scaleUp", ScalingRules::default_scale_up());
        let scale_down = rules("scaleDown", ScalingRules::default_scale_down());
        Some(HpaBehavior { scale_up, scale_down })
    })
}

/// Rules of one direction; what is not said stays as in `rules`.
fn scaling_rules(node: &Node, report: &mut Report, mut rules: ScalingRules) -> Option<ScalingRules> {
    mapping(node, report, |fields| {
        if let Some(window) = fields.optional("stabilizationWindowSeconds", integer::<i32>) {
            if window < 0 {
                fields.error("stabilizationWindowSeconds", "must be greater than or equal to zero");
            } else if window > MAX_STABILIZATION_WINDOW_SECONDS {
                let message = format!("must be less than or equal to {MAX_STABILIZATION_WINDOW_SECONDS}");
                fields.error("stabilizationWindowSeconds", message);
            }
            rules.stabilization_window_seconds = Some(window);
        }
        let select_policies =
            [("Max", SelectPolicy::Max), ("Min", SelectPolicy::Min), ("Disabled", SelectPolicy::Disabled)];
        rules.select_policy = fields.or("selectPolicy", one_of(&select_policies), rules.select_policy);
        if let Some(policies) = fields.optional("policies", list(scaling_policy)) {
            if policies.is_empty() {
                fields.error("policies", "must specify at least one policy");
            }
            rules.policies = policies;
        }
        if let Some(tolerance) = fields.optional("tolerance", parsed::<Quantity>) {
            if tolerance.milli_value() < 0 {
                fields.error("tolerance", "must be greater than or equal to 0");
            }
            rules.tolerance = Some(tolerance);
        }
        Some(rules)
    })
}

fn scaling_policy(node: &Node, report: &mut Report) -> Option<ScalingPolicy> {
    mapping(node, report, |fields| {
        let kinds = [("Pods", PolicyKind::Pods), ("Percent", PolicyKind::Percent)];
        let kind = fields.required("type", one_of(&kinds));
        let value = fields.required("value", integer::<i32>);
        if value.is_some_and(|value| value <= 0) {
            fields.error("value", "must be greater than zero");
        }
        let period_seconds = fields.required("periodSeconds", integer::<i32>);
        match period_seconds {
            Some(period) if period <= 0 => fields.error("periodSeconds", "must be greater than zero"),
            Some(period) if period > MAX_PERIOD_SECONDS => {
                fields.error("periodSeconds", format!("must be less than or equal to {MAX_PERIOD_SECONDS}"));
            }
            _ => {}
        }
        Some(ScalingPolicy { kind: kind?, value: value?, period_seconds: period_seconds? })
    })
}
