//! A `ScrapeConfig`: one job with the discoveries that it names.

use serde_json::{Value, json};

use super::error::{Problem, Rejection};
use super::generate::Context;
use super::http::HttpWriter;
use super::job::{Fields, duration, scheme};
use super::objects::{DnsSd, FileSd, HttpSd, KubernetesSd, ScrapeConfigObject, ScrapeConfigSpec};
use super::relabel::{remember_job, set, user_rules};

/// The job of a `ScrapeConfig`.
pub(super) fn jobs(context: &Context<'_>, object: &ScrapeConfigObject) -> Result<Vec<Value>, Rejection> {
    let (of, spec) = (&object.metadata, &object.spec);
    if let Some(key) = spec.others.keys().find(|key| key.ends_with("SDConfigs")) {
        let reason = "use `httpSDConfigs` or `fileSDConfigs` with a program that lists the targets";
        return Err(Rejection::new(format!("spec.{key}"), Problem::Unsupported(reason)));
    }
    let class = context.class(spec.scrape_class.as_ref())?;
    let writer = HttpWriter { context, namespace: &of.namespace, class };
    let mut fields = Fields::default();
    fields.put("job_name", format!("scrapeConfig/{}", of.key()));
    target_fields(context, &mut fields, spec)?;
    writer.write(&mut fields, &spec.http, "spec")?;
    context.limits(&mut fields, &spec.limits);
    context.formats(&mut fields, &spec.formats, class);
    // Of servers that name targets a scrape class knows nothing.
    discoveries(&mut fields, spec, &HttpWriter { class: None, ..writer })?;

    let mut rules = vec![remember_job()];
    rules.extend(spec.job_name.as_ref().filter(|name| !name.is_empty()).map(|name| set("job", name)));
    let (of_class, mut metric_rules) = context.class_rules(class)?;
    rules.extend(of_class);
    rules.extend(user_rules(&spec.relabelings, "spec.relabelings")?);
    metric_rules.extend(user_rules(&spec.metric_relabelings, "spec.metricRelabelings")?);
    if let Some(label) = context.enforced_label("scrapeconfigs", of) {
        rules.push(set(label, &of.namespace));
        metric_rules.push(set(label, &of.namespace));
    }
    fields.put("relabel_configs", rules);
    if !metric_rules.is_empty() {
        fields.put("metric_relabel_configs", metric_rules);
    }
    Ok(vec![fields.into()])
}

/// How targets are scraped.
fn target_fields(context: &Context<'_>, fields: &mut Fields, spec: &ScrapeConfigSpec) -> Result<(), Rejection> {
    if let Some(own) = spec.honor_labels {
        fields.put("honor_labels", context.honors_labels(own));
    }
    context.honor_timestamps(fields, spec.honor_timestamps);
    context.track_timestamps_staleness(fields, spec.track_timestamps_staleness);
    let times = [("scrapeInterval", spec.scrape_interval.as_str()), ("scrapeTimeout", &spec.scrape_timeout)];
    context.times(fields, times, "spec")?;
    fields.some("metrics_path", spec.metrics_path.clone());
    if let Some(given) = spec.scheme.as_ref().filter(|given| !given.is_empty()) {
        fields.put("scheme", scheme(given, "spec.scheme")?);
    }
    if !spec.params.is_empty() {
        fields.put("params", json!(spec.params));
    }
    if context.version.has(2, 49) {
        fields.some("enable_compression", spec.enable_compression);
    }
    if context.version.has(3, 0) {
        fields.some(
            "metric_name_validation_scheme",
            spec.name_validation_scheme.as_ref().map(|text| text.to_lowercase()),
        );
        let escaping = spec.name_escaping_scheme.as_ref().map(|text| match text.as_str() {
            "AllowUTF8" => "allow-utf-8".to_owned(),
            other => other.to_lowercase(),
        });
        fields.some("metric_name_escaping_scheme", escaping);
    }
    Ok(())
}

fn discoveries(fields: &mut Fields, spec: &ScrapeConfigSpec, writer: &HttpWriter<'_>) -> Result<(), Rejection> {
    let statics = spec.static_configs.iter().map(|group| {
        let mut fields = Fields::default();
        fields.put("targets", json!(group.targets));
        if !group.labels.is_empty() {
            fields.put("labels", json!(group.labels));
        }
        Ok(fields)
    });
    list(fields, "static_configs", statics)?;
    let path = |kind: &str, index: usize| format!("spec.{kind}[{index}]");
    let files = spec.file_sd_configs.iter().enumerate();
    list(fields, "file_sd_configs", files.map(|(index, one)| file(one, &path("fileSDConfigs", index))))?;
    let servers = spec.http_sd_configs.iter().enumerate();
    list(fields, "http_sd_configs", servers.map(|(index, one)| http(one, writer, &path("httpSDConfigs", index))))?;
    let names = spec.dns_sd_configs.iter().enumerate();
    list(fields, "dns_sd_configs", names.map(|(index, one)| dns(one, &path("dnsSDConfigs", index))))?;
    let clusters = spec.kubernetes_sd_configs.iter().enumerate();
    let cluster = |(index, one)| kubernetes(one, writer, &path("kubernetesSDConfigs", index));
    list(fields, "kubernetes_sd_configs", clusters.map(cluster))
}

fn list(
    fields: &mut Fields,
    key: &str,
    items: impl Iterator<Item = Result<Fields, Rejection>>,
) -> Result<(), Rejection> {
    let items: Vec<Value> = items.map(|item| item.map(Value::from)).collect::<Result<_, _>>()?;
    if !items.is_empty() {
        fields.put(key, items);
    }
    Ok(())
}

fn refresh(fields: &mut Fields, interval: &str, path: &str) -> Result<(), Rejection> {
    duration(interval, &format!("{path}.refreshInterval"))?;
    fields.text("refresh_interval", interval);
    Ok(())
}

fn file(config: &FileSd, path: &str) -> Result<Fields, Rejection> {
    let mut fields = Fields::default();
    fields.put("files", json!(config.files));
    refresh(&mut fields, &config.refresh_interval, path)?;
    Ok(fields)
}

fn http(config: &HttpSd, writer: &HttpWriter<'_>, path: &str) -> Result<Fields, Rejection> {
    let mut fields = Fields::default();
    fields.put("url", config.url.as_str());
    refresh(&mut fields, &config.refresh_interval, path)?;
    writer.write(&mut fields, &config.http, path)?;
    Ok(fields)
}

fn dns(config: &DnsSd, path: &str) -> Result<Fields, Rejection> {
    let mut fields = Fields::default();
    fields.put("names", json!(config.names));
    refresh(&mut fields, &config.refresh_interval, path)?;
    fields.some("type", config.kind.clone());
    fields.some("port", config.port);
    Ok(fields)
}

fn kubernetes(config: &KubernetesSd, writer: &HttpWriter<'_>, path: &str) -> Result<Fields, Rejection> {
    let mut fields = Fields::default();
    fields.put("role", config.role.to_lowercase());
    fields.some("api_server", config.api_server.clone());
    if let Some(namespaces) = &config.namespaces {
        let mut found = Fields::default();
        found.some("own_namespace", namespaces.own_namespace);
        if !namespaces.names.is_empty() {
            found.put("names", json!(namespaces.names));
        }
        fields.put("namespaces", Value::from(found));
    }
    if let Some(node) = config.attach_metadata.as_ref().and_then(|metadata| metadata.node) {
        fields.put("attach_metadata", json!({"node": node}));
    }
    let selectors = config.selectors.iter().map(|selector| {
        let mut fields = Fields::default();
        fields.put("role", selector.role.to_lowercase());
        fields.some("label", selector.label.clone());
        fields.some("field", selector.field.clone());
        Ok(fields)
    });
    list(&mut fields, "selectors", selectors)?;
    writer.write(&mut fields, &config.http, path)?;
    Ok(fields)
}
