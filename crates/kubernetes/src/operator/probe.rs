//! A Probe: one job that asks a prober about other addresses.

use serde_json::{Map, Value, json};

use super::error::{Problem, Rejection};
use super::generate::Context;
use super::http::HttpWriter;
use super::job::{Fields, scheme};
use super::objects::{Probe, ProbeIngress, ProbeSpec, ProbeStatic};
use super::relabel::{copy, remember_job, select, set, user_rules};

/// The job of a Probe.
pub(super) fn jobs(context: &Context<'_>, probe: &Probe) -> Result<Vec<Value>, Rejection> {
    let (of, spec) = (&probe.metadata, &probe.spec);
    let class = context.class(spec.scrape_class.as_ref())?;
    let mut fields = Fields::default();
    fields.put("job_name", format!("probe/{}", of.key()));
    context.honor_timestamps(&mut fields, Some(true));
    context.times(&mut fields, [("interval", &spec.interval), ("scrapeTimeout", &spec.scrape_timeout)], "spec")?;
    fields.put("metrics_path", spec.prober.path.as_str());
    if let Some(given) = spec.prober.scheme.as_ref().filter(|given| !given.is_empty()) {
        fields.put("scheme", scheme(given, "spec.prober.scheme")?);
    }
    let params = params(spec);
    if !params.is_empty() {
        fields.put("params", params);
    }
    let writer = HttpWriter { context, namespace: &of.namespace, class };
    writer.write(&mut fields, &spec.http, "spec")?;
    writer.proxy(&mut fields, &spec.prober.proxy, "spec.prober")?;
    context.limits(&mut fields, &spec.limits);
    context.formats(&mut fields, &spec.formats, class);

    let mut rules = vec![remember_job()];
    if !spec.job_name.is_empty() {
        rules.push(set("job", &spec.job_name));
    }
    match (&spec.targets.static_config, &spec.targets.ingress) {
        (Some(_), Some(_)) => {
            let problem = Problem::ManyCredentials("`staticConfig`, `ingress`".to_owned());
            return Err(Rejection::new("spec.targets", problem));
        }
        (Some(targets), None) => static_targets(&mut fields, &mut rules, probe, targets)?,
        (None, Some(ingress)) => ingresses(context, &mut fields, &mut rules, probe, ingress)?,
        (None, None) => {}
    }
    let (of_class, mut metric_rules) = context.class_rules(class)?;
    rules.extend(of_class);
    metric_rules.extend(user_rules(&spec.metric_relabelings, "spec.metricRelabelings")?);
    if let Some(label) = context.enforced_label("probes", of) {
        rules.push(set(label, &of.namespace));
        metric_rules.push(set(label, &of.namespace));
    }
    fields.put("relabel_configs", rules);
    if !metric_rules.is_empty() {
        fields.put("metric_relabel_configs", metric_rules);
    }
    Ok(vec![fields.into()])
}

/// The module, and the other parameters.
fn params(spec: &ProbeSpec) -> Map<String, Value> {
    let mut params = Map::new();
    if !spec.module.is_empty() {
        params.insert("module".to_owned(), json!([spec.module]));
    }
    for param in spec.params.iter().filter(|param| spec.module.is_empty() || param.name != "module") {
        params.insert(param.name.clone(), json!(param.values));
    }
    params
}

fn static_targets(
    fields: &mut Fields,
    rules: &mut Vec<Value>,
    probe: &Probe,
    targets: &ProbeStatic,
) -> Result<(), Rejection> {
    let mut labels = Map::from_iter([("namespace".to_owned(), json!(probe.metadata.namespace))]);
    labels.extend(targets.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    fields.put("static_configs", vec![json!({"targets": targets.targets, "labels": labels})]);
    rules.push(copy("__address__", "__param_target"));
    rules.push(copy("__param_target", "instance"));
    rules.push(set("__address__", &probe.spec.prober.url));
    rules.extend(user_rules(&targets.relabeling_configs, "spec.targets.staticConfig.relabelingConfigs")?);
    Ok(())
}

fn ingresses(
    context: &Context<'_>,
    fields: &mut Fields,
    rules: &mut Vec<Value>,
    probe: &Probe,
    ingress: &ProbeIngress,
) -> Result<(), Rejection> {
    let discovery = context.discovery("ingress", &probe.metadata, &ingress.namespace_selector);
    fields.put("kubernetes_sd_configs", vec![Value::from(discovery)]);
    rules.extend(select("ingress", &ingress.selector, "spec.targets.ingress.selector")?);
    rules.push(json!({
        "source_labels": ["__meta_kubernetes_ingress_scheme", "__address__", "__meta_kubernetes_ingress_path"],
        "separator": ";", "regex": "(.+);(.+);(.+)", "target_label": "__param_target",
        "replacement": "${1}://${2}${3}", "action": "replace",
    }));
    rules.push(copy("__meta_kubernetes_namespace", "namespace"));
    rules.push(copy("__meta_kubernetes_ingress_name", "ingress"));
    rules.push(json!({
        "source_labels": ["__address__"], "separator": ";", "regex": "(.*)",
        "target_label": "__tmp_ingress_address", "replacement": "$1", "action": "replace",
    }));
    rules.push(copy("__param_target", "instance"));
    rules.push(set("__address__", &probe.spec.prober.url));
    rules.extend(user_rules(&ingress.relabeling_configs, "spec.targets.ingress.relabelingConfigs")?);
    Ok(())
}
