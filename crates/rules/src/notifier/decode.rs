//! `alerting`: whom to tell of alerts, as Prometheus' configuration file says it.
//!
//! - [`alerting_config`]: reads the section. [`AlertingConfig`]: what it says, checked.
//! - [`AlertingConfig::notifier_config`]: with discoverers and clients, for the notifier; asked again after each
//!   reload.
//!
//! Rule: a key that upstream knows is taken, or refused with the reason; nothing is ignored silently.

use std::sync::Arc;

use datamodel::Labels;
use datamodel::relabel::RelabelRule;
use discovery::{DecodeContext, DiscoveryConfig, DiscoveryContext, DiscoveryError, discovery_configs};
use http_client::{HttpClient, HttpClientConfig, Scheme, http_client_config, scheme};
use yaml::decoders::{duration, list, string};
use yaml::{Fields, Node, Report, relabel_configs};

use super::config::{AlertmanagerConfig, AlertmanagerSet, DEFAULT_TIMEOUT, NotifierConfig};

/// The section `alerting`.
#[derive(Clone, Debug, Default)]
pub struct AlertingConfig {
    /// Rules on the labels of all alerts.
    pub alert_relabel: Arc<[RelabelRule]>,
    /// Alertmanagers, by the way in which they are reached.
    pub alertmanagers: Vec<AlertmanagersConfig>,
}

/// Alertmanagers that are reached in one way.
#[derive(Clone, Debug)]
pub struct AlertmanagersConfig {
    /// How.
    pub config: AlertmanagerConfig,
    /// How they are found.
    pub discovery: Vec<Arc<dyn DiscoveryConfig>>,
    /// How requests are sent.
    pub client: HttpClientConfig,
}

impl AlertingConfig {
    /// Makes discoverers and clients.
    ///
    /// # Errors
    ///
    /// A discoverer cannot be built.
    pub fn notifier_config(
        &self,
        external_labels: Labels,
        context: &DiscoveryContext,
    ) -> Result<NotifierConfig, DiscoveryError> {
        let set = |alertmanagers: &AlertmanagersConfig| {
            let discoverers = alertmanagers.discovery.iter().map(|config| config.discoverer(context));
            Ok(AlertmanagerSet {
                config: alertmanagers.config.clone(),
                discoverers: discoverers.collect::<Result<_, _>>()?,
                post: Arc::new(HttpClient::new(alertmanagers.client.clone(), context.client.clone())),
            })
        };
        let sets = self.alertmanagers.iter().map(set).collect::<Result<_, _>>()?;
        Ok(NotifierConfig { external_labels, alert_relabel: Arc::clone(&self.alert_relabel), sets })
    }
}

/// Reads the section `alerting`.
pub fn alerting_config(node: &Node, report: &mut Report, context: &DecodeContext<'_>) -> Option<AlertingConfig> {
    yaml::mapping(node, report, |fields| {
        let alert_relabel = relabel_rules(fields, "alert_relabel_configs");
        let one = |node: &Node, report: &mut Report| alertmanagers(node, report, context);
        let alertmanagers = fields.optional("alertmanagers", list(one)).unwrap_or_default();
        Some(AlertingConfig { alert_relabel, alertmanagers })
    })
}

fn alertmanagers(node: &Node, report: &mut Report, context: &DecodeContext<'_>) -> Option<AlertmanagersConfig> {
    if node.is_null() {
        report.expected(node, "Alertmanagers");
        return None;
    }
    yaml::mapping(node, report, |fields| {
        let scheme = fields.or("scheme", scheme, Scheme::Http);
        let path_prefix = fields.optional("path_prefix", string).unwrap_or_default();
        let timeout = fields.or("timeout", duration, DEFAULT_TIMEOUT);
        if timeout.is_zero() {
            fields.error("timeout", "must be greater than zero");
        }
        api_version(fields);
        fields.unsupported("sigv4", "requests are not signed for AWS");
        let relabel = relabel_rules(fields, "relabel_configs");
        let alert_relabel = relabel_rules(fields, "alert_relabel_configs");
        let discovery = discovery_configs(fields, context, !relabel.is_empty());
        let client = http_client_config(fields, context.directory);
        let config = AlertmanagerConfig { scheme, path_prefix, timeout, relabel, alert_relabel };
        Some(AlertmanagersConfig { config, discovery, client })
    })
}

/// Alertmanager left version 1 in 2019 and removed it in 0.27.
fn api_version(fields: &mut Fields<'_, '_>) {
    let version = fields.optional("api_version", string);
    match version.as_deref() {
        None | Some("v2") => {}
        Some("v1") => fields.error("api_version", "not supported: Alertmanager no longer has `v1`; use `v2`"),
        Some(other) => fields.error("api_version", format!("expected `v2`, found `{other}`")),
    }
}

/// Rules that the decoder has checked, compiled.
fn relabel_rules(fields: &mut Fields<'_, '_>, key: &'static str) -> Arc<[RelabelRule]> {
    let configs = fields.optional(key, relabel_configs).unwrap_or_default();
    configs.into_iter().filter_map(|config| RelabelRule::new(config).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use expect_test::expect;

    use super::*;

    fn decode(text: &str) -> Result<AlertingConfig, yaml::Errors> {
        let context = DecodeContext { directory: Path::new("/etc/p"), others: &[] };
        yaml::decode("p.yml", text, |node, report| alerting_config(node, report, &context))
    }

    #[test]
    fn section_of_the_documentation_is_read() {
        let config = decode(
            "
alert_relabel_configs: [{action: labeldrop, regex: replica}]
alertmanagers:
- scheme: https
  path_prefix: /am
  timeout: 5s
  api_version: v2
  basic_auth: {username: u, password_file: secret}
  tls_config: {insecure_skip_verify: true}
  static_configs: [{targets: ['am-1:9093', 'am-2:9093'], labels: {zone: a}}]
  file_sd_configs: [{files: ['am/*.json']}]
  dns_sd_configs: [{names: [am.example], type: A, port: 9093}]
  http_sd_configs: [{url: 'http://sd/am'}]
  relabel_configs: [{source_labels: [zone], regex: b, action: drop}]
  alert_relabel_configs: [{target_label: site, replacement: x}]
- static_configs: [{targets: [other]}]
",
        )
        .unwrap();
        let [first, second] = config.alertmanagers.as_slice() else { panic!("{config:?}") };
        assert_eq!(config.alert_relabel.len(), 1);
        assert_eq!((first.config.scheme, first.config.timeout), (Scheme::Https, Duration::from_secs(5)));
        assert_eq!((first.config.relabel.len(), first.config.alert_relabel.len(), first.discovery.len()), (1, 1, 4));
        assert_eq!(first.client.files(), [Path::new("/etc/p/secret")]);
        assert_eq!((second.config.scheme, second.config.timeout), (Scheme::Http, DEFAULT_TIMEOUT));
        assert_eq!(second.client, HttpClientConfig::default());
        assert!(decode("").unwrap().alertmanagers.is_empty());
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let errors = decode(
            "
alert_relabel_config: []
alertmanagers:
- scheme: ftp
  timeout: 0s
  api_version: v1
  sigv4: {region: eu}
  static_configs: [{targets: ['http://am:9093/']}]
  relabel_configs: [{action: hashmod}]
  consul_sd_configs: []
- api_version: v3
  timeout: 5
-
",
        )
        .unwrap_err();
        expect![[r#"
            p.yml:2:1: alert_relabel_config: unknown key (did you mean `alert_relabel_configs`?)
            p.yml:4:11: alertmanagers[0].scheme: expected one of `http`, `https`, found `ftp`
            p.yml:5:12: alertmanagers[0].timeout: must be greater than zero
            p.yml:6:16: alertmanagers[0].api_version: not supported: Alertmanager no longer has `v1`; use `v2`
            p.yml:7:3: alertmanagers[0].sigv4: not supported: requests are not signed for AWS
            p.yml:8:31: alertmanagers[0].static_configs[0].targets[0]: not a valid address: `http://am:9093/` (expected `host` or `host:port`; scheme and path have keys of their own)
            p.yml:9:21: alertmanagers[0].relabel_configs[0]: relabel action `hashmod` needs a `modulus` above zero
            p.yml:10:3: alertmanagers[0].consul_sd_configs: not supported: use `http_sd_configs` or `file_sd_configs` with a program that lists the targets
            p.yml:11:16: alertmanagers[1].api_version: expected `v2`, found `v3`
            p.yml:12:12: alertmanagers[1].timeout: not a valid duration: `5` (expected something like `15s` or `1h30m`)
            p.yml:13:2: alertmanagers[2]: expected Alertmanagers, found null"#]].assert_eq(&errors.to_string());
    }
}
