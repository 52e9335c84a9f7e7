//! The objects of `monitoring.coreos.com` as the API gives them.
//!
//! - [`ServiceMonitor`], [`PodMonitor`], [`Probe`], [`ScrapeConfigObject`], [`PrometheusRule`]; [`Prometheus`]: what
//!   holds for all of them.
//!
//! Rule: fields of a later version are skipped; what is missing has the value that the API would give it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What an object is called.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for objects without one.
    pub namespace: String,
    /// Tells it from one of the same name before it.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Metadata {
    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// An object whose specification is an `S`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, bound(deserialize = "S: Default + Deserialize<'de>"))]
pub struct Object<S> {
    /// What it is called.
    pub metadata: Metadata,
    /// What it asks for.
    pub spec: S,
}

/// How the endpoints of Services are scraped.
pub type ServiceMonitor = Object<ServiceMonitorSpec>;
/// How pods are scraped.
pub type PodMonitor = Object<PodMonitorSpec>;
/// What a prober is asked.
pub type Probe = Object<ProbeSpec>;
/// A scrape job as such.
pub type ScrapeConfigObject = Object<ScrapeConfigSpec>;
/// Rule groups.
pub type PrometheusRule = Object<PrometheusRuleSpec>;
/// What holds for all monitors.
pub type Prometheus = Object<PrometheusSpec>;

/// `matchLabels` and `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels with their values.
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    pub match_expressions: Vec<MatchExpression>,
}

/// A condition on a label.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchExpression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: String,
    /// The values of the first two.
    pub values: Vec<String>,
}

/// Where a monitor looks; by default in its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// Everywhere.
    pub any: bool,
    /// In these.
    pub match_names: Vec<String>,
}

/// A key of a Secret or `ConfigMap` in the monitor's namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct KeySelector {
    /// The object.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// A key of a Secret or of a `ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretOrConfigMap {
    /// Of a Secret.
    pub secret: Option<KeySelector>,
    /// Of a `ConfigMap`.
    pub config_map: Option<KeySelector>,
}

/// A relabelling rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Relabeling {
    /// The labels of the source.
    pub source_labels: Vec<String>,
    /// Between their values.
    pub separator: Option<String>,
    /// The label that is set.
    pub target_label: String,
    /// What the source must match.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// What is set.
    pub replacement: Option<String>,
    /// What is done, in any case.
    pub action: String,
}

/// `basicAuth`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BasicAuth {
    /// The name.
    pub username: KeySelector,
    /// The password.
    pub password: KeySelector,
}

/// `authorization`; a file only in a scrape class.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// The scheme, by default `Bearer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows it.
    pub credentials: Option<KeySelector>,
    /// The file that holds it.
    pub credentials_file: String,
}

/// `tlsConfig`; files only in a ServiceMonitor and in a scrape class.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// The authorities.
    pub ca: SecretOrConfigMap,
    /// The client's certificate.
    pub cert: SecretOrConfigMap,
    /// Its key.
    pub key_secret: Option<KeySelector>,
    /// As `ca`, a file.
    pub ca_file: String,
    /// As `cert`, a file.
    pub cert_file: String,
    /// As `key_secret`, a file.
    pub key_file: String,
    /// The name that the server must prove.
    pub server_name: String,
    /// Whether the server may be anybody.
    pub insecure_skip_verify: Option<bool>,
    /// The lowest version.
    pub min_version: Option<String>,
    /// The highest version.
    pub max_version: Option<String>,
}

/// What stands between client and server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// The proxy.
    pub proxy_url: Option<String>,
    /// Servers without it.
    pub no_proxy: Option<String>,
    /// Whether the environment says it.
    pub proxy_from_environment: Option<bool>,
    /// Headers for the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<KeySelector>>,
}

/// `oauth2`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2 {
    /// The identity.
    pub client_id: SecretOrConfigMap,
    /// Its secret.
    pub client_secret: KeySelector,
    /// Who gives tokens.
    pub token_url: String,
    /// What a token should allow.
    pub scopes: Vec<String>,
    /// More parameters.
    pub endpoint_params: BTreeMap<String, String>,
    /// How that server is checked.
    pub tls_config: Option<Tls>,
    /// What stands before it.
    #[serde(flatten)]
    pub proxy: Proxy,
}

/// How a server is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpConfig {
    /// Name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A header.
    pub authorization: Option<Authorization>,
    /// A token; replaced by `authorization`.
    pub bearer_token_secret: Option<KeySelector>,
    /// A token in a file; replaced by `authorization`.
    pub bearer_token_file: String,
    /// A token that another server gives.
    pub oauth2: Option<OAuth2>,
    /// How the server is checked.
    pub tls_config: Option<Tls>,
    /// What stands before it.
    #[serde(flatten)]
    pub proxy: Proxy,
    /// Whether redirects are followed.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 is spoken.
    #[serde(alias = "enableHTTP2")]
    pub enable_http2: Option<bool>,
}

/// What a target may send.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Samples of a page.
    pub sample_limit: Option<u64>,
    /// Targets of a job.
    pub target_limit: Option<u64>,
    /// Labels of a sample.
    pub label_limit: Option<u64>,
    /// Bytes of a label name.
    pub label_name_length_limit: Option<u64>,
    /// Bytes of a label value.
    pub label_value_length_limit: Option<u64>,
    /// Dropped targets that are kept for display.
    pub keep_dropped_targets: Option<u64>,
    /// Bytes of a page.
    pub body_size_limit: Option<String>,
}

/// Which formats are asked for, and what becomes of histograms.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Formats {
    /// The formats, best first.
    pub scrape_protocols: Vec<String>,
    /// The format of a page that does not say its own.
    pub fallback_scrape_protocol: Option<String>,
    /// Whether classic histograms are kept beside native ones.
    pub scrape_classic_histograms: Option<bool>,
    /// Whether native ones are taken.
    pub scrape_native_histograms: Option<bool>,
    /// Their buckets.
    pub native_histogram_bucket_limit: Option<u64>,
    /// Their resolution.
    pub native_histogram_min_bucket_factor: Option<Value>,
    /// Whether classic ones become native ones.
    #[serde(rename = "convertClassicHistogramsToNHCB")]
    pub convert_classic_histograms: Option<bool>,
}

/// `attachMetadata`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AttachMetadata {
    /// The labels of the node that a pod runs on.
    pub node: Option<bool>,
}

/// One endpoint of a ServiceMonitor or PodMonitor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Name of a Service's port, or of a container's.
    pub port: String,
    /// Name or number of a container's port.
    pub target_port: Option<Value>,
    /// Number of a container's port (PodMonitor).
    pub port_number: Option<u64>,
    /// Path of the URL.
    pub path: String,
    /// Scheme of the URL.
    pub scheme: Option<String>,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes.
    pub interval: String,
    /// Time that a scrape may take.
    pub scrape_timeout: String,
    /// Whether the page's labels win.
    pub honor_labels: bool,
    /// Whether the page's timestamps are kept.
    pub honor_timestamps: Option<bool>,
    /// Whether series with own timestamps end by a marker.
    pub track_timestamps_staleness: Option<bool>,
    /// Whether pods that ended are left out; by default they are.
    pub filter_running: Option<bool>,
    /// Rules on the labels of targets.
    pub relabelings: Vec<Relabeling>,
    /// Rules on the labels of samples.
    pub metric_relabelings: Vec<Relabeling>,
    /// How it is spoken to.
    #[serde(flatten)]
    pub http: HttpConfig,
}

/// What a ServiceMonitor asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMonitorSpec {
    /// Which Services.
    pub selector: LabelSelector,
    /// Whether relabelling or the API selects.
    pub selector_mechanism: Option<String>,
    /// In which namespaces.
    pub namespace_selector: NamespaceSelector,
    /// Which of their ports, and how.
    pub endpoints: Vec<Endpoint>,
    /// The label of the Service that names the job.
    pub job_label: String,
    /// Labels of the Service that targets get.
    pub target_labels: Vec<String>,
    /// Labels of the pod that targets get.
    pub pod_target_labels: Vec<String>,
    /// `Endpoints` or `EndpointSlice`.
    pub service_discovery_role: Option<String>,
    /// More labels for relabelling.
    pub attach_metadata: Option<AttachMetadata>,
    /// The scrape class.
    pub scrape_class: Option<String>,
    /// What a target may send.
    #[serde(flatten)]
    pub limits: Limits,
    /// In which form.
    #[serde(flatten)]
    pub formats: Formats,
}

/// What a PodMonitor asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorSpec {
    /// Which pods.
    pub selector: LabelSelector,
    /// Whether relabelling or the API selects.
    pub selector_mechanism: Option<String>,
    /// In which namespaces.
    pub namespace_selector: NamespaceSelector,
    /// Which of their ports, and how.
    pub pod_metrics_endpoints: Vec<Endpoint>,
    /// The label of the pod that names the job.
    pub job_label: String,
    /// Labels of the pod that targets get.
    pub pod_target_labels: Vec<String>,
    /// More labels for relabelling.
    pub attach_metadata: Option<AttachMetadata>,
    /// The scrape class.
    pub scrape_class: Option<String>,
    /// What a target may send.
    #[serde(flatten)]
    pub limits: Limits,
    /// In which form.
    #[serde(flatten)]
    pub formats: Formats,
}

/// Who probes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Prober {
    /// Its address.
    pub url: String,
    /// Its scheme.
    pub scheme: Option<String>,
    /// The path that probes.
    pub path: String,
    /// What stands before it.
    #[serde(flatten)]
    pub proxy: Proxy,
}

/// What is probed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeTargets {
    /// Named addresses.
    pub static_config: Option<ProbeStatic>,
    /// The hosts of Ingresses.
    pub ingress: Option<ProbeIngress>,
}

/// Addresses that are probed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeStatic {
    /// The addresses.
    #[serde(rename = "static")]
    pub targets: Vec<String>,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Rules on the labels of targets.
    pub relabeling_configs: Vec<Relabeling>,
}

/// Ingresses that are probed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeIngress {
    /// Which.
    pub selector: LabelSelector,
    /// In which namespaces.
    pub namespace_selector: NamespaceSelector,
    /// Rules on the labels of targets.
    pub relabeling_configs: Vec<Relabeling>,
}

/// A parameter of the URL of a prober.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProbeParam {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
}

/// What a Probe asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeSpec {
    /// The job.
    pub job_name: String,
    /// Who probes.
    pub prober: Prober,
    /// The prober's module.
    pub module: String,
    /// More parameters.
    pub params: Vec<ProbeParam>,
    /// What is probed.
    pub targets: ProbeTargets,
    /// Time between two probes.
    pub interval: String,
    /// Time that a probe may take.
    pub scrape_timeout: String,
    /// Rules on the labels of samples.
    pub metric_relabelings: Vec<Relabeling>,
    /// The scrape class.
    pub scrape_class: Option<String>,
    /// How the prober is spoken to.
    #[serde(flatten)]
    pub http: HttpConfig,
    /// What it may send.
    #[serde(flatten)]
    pub limits: Limits,
    /// In which form.
    #[serde(flatten)]
    pub formats: Formats,
}

/// What a `ScrapeConfig` asks for. Discoveries that are not served are kept to be refused by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScrapeConfigSpec {
    /// The job.
    pub job_name: Option<String>,
    /// Named targets.
    pub static_configs: Vec<StaticTargets>,
    /// Targets in files.
    #[serde(rename = "fileSDConfigs")]
    pub file_sd_configs: Vec<FileSd>,
    /// Targets that a server names.
    #[serde(rename = "httpSDConfigs")]
    pub http_sd_configs: Vec<HttpSd>,
    /// Targets of a cluster.
    #[serde(rename = "kubernetesSDConfigs")]
    pub kubernetes_sd_configs: Vec<KubernetesSd>,
    /// Targets of the domain name system.
    #[serde(rename = "dnsSDConfigs")]
    pub dns_sd_configs: Vec<DnsSd>,
    /// Rules on the labels of targets.
    pub relabelings: Vec<Relabeling>,
    /// Rules on the labels of samples.
    pub metric_relabelings: Vec<Relabeling>,
    /// Path of the URL.
    pub metrics_path: Option<String>,
    /// Scheme of the URL.
    pub scheme: Option<String>,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes.
    pub scrape_interval: String,
    /// Time that a scrape may take.
    pub scrape_timeout: String,
    /// Whether the page's labels win.
    pub honor_labels: Option<bool>,
    /// Whether the page's timestamps are kept.
    pub honor_timestamps: Option<bool>,
    /// Whether series with own timestamps end by a marker.
    pub track_timestamps_staleness: Option<bool>,
    /// Whether a compressed page is asked for.
    pub enable_compression: Option<bool>,
    /// Which names are taken.
    pub name_validation_scheme: Option<String>,
    /// How others are spelt.
    pub name_escaping_scheme: Option<String>,
    /// The scrape class.
    pub scrape_class: Option<String>,
    /// How targets are spoken to.
    #[serde(flatten)]
    pub http: HttpConfig,
    /// What a target may send.
    #[serde(flatten)]
    pub limits: Limits,
    /// In which form.
    #[serde(flatten)]
    pub formats: Formats,
    /// Everything else.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Named targets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StaticTargets {
    /// Their addresses.
    pub targets: Vec<String>,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
}

/// Targets in files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileSd {
    /// The files.
    pub files: Vec<String>,
    /// How often they are read again.
    pub refresh_interval: String,
}

/// Targets that a server names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSd {
    /// The server.
    pub url: String,
    /// How often it is asked.
    pub refresh_interval: String,
    /// How it is spoken to.
    #[serde(flatten)]
    pub http: HttpConfig,
}

/// Targets of the domain name system.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsSd {
    /// The names.
    pub names: Vec<String>,
    /// How often they are looked up.
    pub refresh_interval: String,
    /// The type of the record.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The port, for records without one.
    pub port: Option<u64>,
}

/// Targets of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesSd {
    /// Which objects become targets.
    pub role: String,
    /// The API; by default that of the own cluster.
    pub api_server: Option<String>,
    /// In which namespaces.
    pub namespaces: Option<SdNamespaces>,
    /// More labels for relabelling.
    pub attach_metadata: Option<AttachMetadata>,
    /// Which objects.
    pub selectors: Vec<SdSelector>,
    /// How the API is spoken to.
    #[serde(flatten)]
    pub http: HttpConfig,
}

/// The namespaces of a discovery.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SdNamespaces {
    /// The own one.
    pub own_namespace: Option<bool>,
    /// These.
    pub names: Vec<String>,
}

/// A selector of a discovery.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SdSelector {
    /// Of which objects.
    pub role: String,
    /// By label.
    pub label: Option<String>,
    /// By field.
    pub field: Option<String>,
}

/// What a PrometheusRule asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PrometheusRuleSpec {
    /// The groups, as a rule file has them.
    pub groups: Vec<BTreeMap<String, Value>>,
}

/// A set of settings that monitors name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScrapeClass {
    /// The name.
    pub name: String,
    /// Whether it holds for monitors that name none.
    pub default: Option<bool>,
    /// How servers are checked.
    pub tls_config: Option<Tls>,
    /// A header.
    pub authorization: Option<Authorization>,
    /// Rules on the labels of targets.
    pub relabelings: Vec<Relabeling>,
    /// Rules on the labels of samples.
    pub metric_relabelings: Vec<Relabeling>,
    /// The format of a page that does not say its own.
    pub fallback_scrape_protocol: Option<String>,
    /// More labels for relabelling.
    pub attach_metadata: Option<AttachMetadata>,
}

/// An object that enforcement does not reach.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ExcludedObject {
    /// Its kind, in the plural and in lower case.
    pub resource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty for all.
    pub name: String,
}

/// What a Prometheus object asks for, as far as it concerns what is scraped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrometheusSpec {
    /// The version that is written for; by default the newest.
    pub version: String,
    /// Time between two scrapes.
    pub scrape_interval: String,
    /// Time that a scrape may take.
    pub scrape_timeout: String,
    /// Time between two evaluations of rules.
    pub evaluation_interval: String,
    /// Labels of what leaves.
    pub external_labels: BTreeMap<String, String>,
    /// The label that names the object; empty for none.
    pub prometheus_external_label_name: Option<String>,
    /// Which monitors; none where it is missing.
    pub service_monitor_selector: Option<LabelSelector>,
    /// In which namespaces; the own one where it is missing.
    pub service_monitor_namespace_selector: Option<LabelSelector>,
    /// Which `PodMonitors`.
    pub pod_monitor_selector: Option<LabelSelector>,
    /// In which namespaces.
    pub pod_monitor_namespace_selector: Option<LabelSelector>,
    /// Which Probes.
    pub probe_selector: Option<LabelSelector>,
    /// In which namespaces.
    pub probe_namespace_selector: Option<LabelSelector>,
    /// Which `ScrapeConfigs`.
    pub scrape_config_selector: Option<LabelSelector>,
    /// In which namespaces.
    pub scrape_config_namespace_selector: Option<LabelSelector>,
    /// Which `PrometheusRules`.
    pub rule_selector: Option<LabelSelector>,
    /// In which namespaces.
    pub rule_namespace_selector: Option<LabelSelector>,
    /// The bound of `sampleLimit`.
    pub enforced_sample_limit: Option<u64>,
    /// The bound of `targetLimit`.
    pub enforced_target_limit: Option<u64>,
    /// The bound of `labelLimit`.
    pub enforced_label_limit: Option<u64>,
    /// The bound of `labelNameLengthLimit`.
    pub enforced_label_name_length_limit: Option<u64>,
    /// The bound of `labelValueLengthLimit`.
    pub enforced_label_value_length_limit: Option<u64>,
    /// The bound of `keepDroppedTargets`.
    pub enforced_keep_dropped_targets: Option<u64>,
    /// The bound of `bodySizeLimit`.
    pub enforced_body_size_limit: Option<String>,
    /// The label that holds the namespace, whatever a monitor says.
    pub enforced_namespace_label: String,
    /// Who keeps what it says.
    pub excluded_from_enforcement: Vec<ExcludedObject>,
    /// Labels of pods that all targets get.
    pub pod_target_labels: Vec<String>,
    /// Whether `honorLabels` is never obeyed.
    pub override_honor_labels: bool,
    /// Whether `honorTimestamps` is never obeyed.
    pub override_honor_timestamps: bool,
    /// Whether monitors look into their own namespace only.
    pub ignore_namespace_selectors: bool,
    /// The scrape classes.
    pub scrape_classes: Vec<ScrapeClass>,
    /// `Endpoints` or `EndpointSlice`.
    pub service_discovery_role: Option<String>,
    /// The formats that are asked for.
    pub scrape_protocols: Vec<String>,
    /// Jobs that are added as they stand.
    pub additional_scrape_configs: Option<KeySelector>,
    /// What a target may send.
    #[serde(flatten)]
    pub limits: Limits,
}
