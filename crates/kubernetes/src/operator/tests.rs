//! Rejections, selection, rules: what golden files do not show.

use serde_json::json;

use super::objects::{PodMonitor, Prometheus, PrometheusRule, ServiceMonitor};
use super::*;

fn service_monitor(spec: &serde_json::Value) -> ServiceMonitor {
    read(json!({"metadata": {"name": "asr", "namespace": "smallest"}, "spec": spec})).unwrap()
}

#[track_caller]
fn rejected(spec: &serde_json::Value, expected: &str) {
    let prometheus = Prometheus::default();
    let assets = Assets::default();
    let good = service_monitor(&json!({"endpoints": [{"port": "metrics"}]}));
    let mut bad = service_monitor(spec);
    bad.metadata.name = "bad".to_owned();
    let monitors = Monitors { service_monitors: vec![bad, good], ..Monitors::default() };
    let made = Generator { prometheus: &prometheus, assets: &assets }.generate(&monitors);
    let rejected: Vec<String> = made.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected, [format!("ServiceMonitor smallest/bad: {expected}")]);
    assert_eq!(made.jobs.len(), 1, "the good one goes on");
}

#[test]
fn wrong_monitor_is_rejected_with_the_path_of_the_field_and_the_others_go_on() {
    rejected(
        &json!({"endpoints": [{}, {"interval": "5x"}]}),
        "spec.endpoints[1].interval: not a valid duration: `5x` (expected something like `15s` or `1h30m`)",
    );
    rejected(
        &json!({"endpoints": [{"interval": "10s", "scrapeTimeout": "11s"}]}),
        "spec.endpoints[0].scrapeTimeout: greater than the scrape interval: 11s > 10s",
    );
    rejected(
        &json!({"endpoints": [{"scrapeTimeout": "31s"}]}),
        "spec.endpoints[0].scrapeTimeout: greater than the scrape interval: 31s > 30s",
    );
    rejected(
        &json!({"endpoints": [{"relabelings": [{"targetLabel": "a"}, {"action": "HashMod", "targetLabel": "a"}]}]}),
        "spec.endpoints[0].relabelings[1]: relabel action `hashmod` needs a `modulus` above zero",
    );
    rejected(
        &json!({"endpoints": [{"metricRelabelings": [{"action": "kep"}]}]}),
        "spec.endpoints[0].metricRelabelings[0]: unknown relabel action: `kep`",
    );
    rejected(
        &json!({"endpoints": [], "selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}, "scrapeClass": "x"}),
        "spec.scrapeClass: no scrape class is named `x`",
    );
    rejected(
        &json!({"endpoints": [{}], "selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        "spec.selector: `Is` is not a valid label selector operator",
    );
    rejected(
        &json!({"endpoints": [{"basicAuth": {}, "bearerTokenFile": "/token"}]}),
        "spec.endpoints[0]: only one of `basicAuth`, `bearerTokenFile` can be set",
    );
    rejected(
        &json!({"endpoints": [{"authorization": {"credentials": {"name": "s", "key": "k"}}}]}),
        "spec.endpoints[0].authorization.credentials: secret `smallest/s` is not there or has no key `k`",
    );
    rejected(
        &json!({"endpoints": [{"scheme": "ftp"}]}),
        "spec.endpoints[0].scheme: expected one of `http`, `https`, found `ftp`",
    );
    rejected(
        &json!({"endpoints": [{"tlsConfig": {"certFile": "/cert"}}]}),
        "spec.endpoints[0].tlsConfig: a client certificate and its key go together",
    );
    rejected(
        &json!({"endpoints": [{"tlsConfig": {"minVersion": "SSL3"}}]}),
        "spec.endpoints[0].tlsConfig: expected one of `TLS10`, `TLS11`, `TLS12`, `TLS13`, found `SSL3`",
    );
    rejected(
        &json!({"endpoints": [{}], "serviceDiscoveryRole": "Pods"}),
        "spec.serviceDiscoveryRole: expected one of `Endpoints`, `EndpointSlice`, found `Pods`",
    );
}

#[test]
fn object_of_another_form_is_refused() {
    let object = json!({"metadata": {"name": "a"}, "spec": {"endpoints": 5}});
    let error = read::<ServiceMonitor>(object).unwrap_err().to_string();
    assert!(error.starts_with("object: invalid type: integer `5`"), "{error}");
    let sparse = json!({"metadata": {"name": "a", "labels": null}, "spec": {"endpoints": null, "later": {"x": 1}}});
    assert!(read::<ServiceMonitor>(sparse).is_ok(), "nulls and fields of later versions are no error");
}

#[test]
fn assets_that_are_named_are_known_even_when_they_are_missing() {
    let prometheus = Prometheus::default();
    let assets = Assets::default();
    let spec = json!({"endpoints": [{"oauth2": {"clientId": {"configMap": {"name": "id", "key": "k"}}}}]});
    let monitors = Monitors { service_monitors: vec![service_monitor(&spec)], ..Monitors::default() };
    assert_eq!(Generator { prometheus: &prometheus, assets: &assets }.generate(&monitors).rejected.len(), 1);
    let asked: Vec<String> = assets.asked().iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["config map `smallest/id`"]);
}

#[test]
fn selectors_that_are_missing_select_nothing_and_the_own_namespace() {
    let prometheus = |spec: serde_json::Value| -> Prometheus {
        read(json!({"metadata": {"name": "p", "namespace": "own"}, "spec": spec})).unwrap()
    };
    let object = |namespace: &str, labels: serde_json::Value| -> PodMonitor {
        read(json!({"metadata": {"name": "m", "namespace": namespace, "labels": labels}})).unwrap()
    };
    let labels = std::collections::BTreeMap::from([
        ("own".to_owned(), std::collections::BTreeMap::new()),
        ("other".to_owned(), std::collections::BTreeMap::from([("team".to_owned(), "asr".to_owned())])),
    ]);
    let selects = |spec: serde_json::Value, namespace: &str, of: serde_json::Value| {
        let selection = Selection::pod_monitors(&prometheus(spec)).unwrap();
        selection.selects(&object(namespace, of).metadata, &labels)
    };
    assert!(!selects(json!({}), "own", json!({})));
    assert!(Selection::pod_monitors(&prometheus(json!({}))).unwrap().is_empty());
    assert!(selects(json!({"podMonitorSelector": {}}), "own", json!({})));
    assert!(!selects(json!({"podMonitorSelector": {}}), "other", json!({})));
    assert!(selects(json!({"podMonitorSelector": {}, "podMonitorNamespaceSelector": {}}), "other", json!({})));
    let by_team = json!({"podMonitorSelector": {"matchLabels": {"release": "r"}},
        "podMonitorNamespaceSelector": {"matchLabels": {"team": "asr"}}});
    assert!(selects(by_team.clone(), "other", json!({"release": "r"})));
    assert!(!selects(by_team.clone(), "other", json!({"release": "q"})));
    assert!(!selects(by_team.clone(), "own", json!({"release": "r"})));
    assert!(!selects(by_team, "unknown", json!({"release": "r"})));
}

#[test]
fn rules_become_a_file_that_sees_its_own_namespace_where_that_is_enforced() {
    let rule: PrometheusRule = read(json!({
        "metadata": {"name": "asr", "namespace": "smallest", "uid": "1-2"},
        "spec": {"groups": [{"name": "g", "partial_response_strategy": "warn", "rules": [
            {"record": "a:b", "expr": "sum(rate(x{namespace=\"other\",a=\"b\"}[5m])) / on(p) {__name__=\"y\"}"},
            {"alert": "Down", "expr": "up == 0", "labels": {"severity": "page"}},
            {"record": "one", "expr": 1},
        ]}]},
    }))
    .unwrap();
    let monitors = Monitors { rules: vec![rule], ..Monitors::default() };
    let assets = Assets::default();
    let made = |spec: serde_json::Value| {
        let prometheus: Prometheus = read(json!({"metadata": {"namespace": "m"}, "spec": spec})).unwrap();
        Generator { prometheus: &prometheus, assets: &assets }.generate(&monitors)
    };
    let plain = made(json!({}));
    assert_eq!(plain.rule_files[0].name, "smallest-asr-1-2.yaml");
    assert_eq!(plain.rule_files[0].content["groups"][0]["rules"][1]["expr"], "up == 0");
    assert_eq!(plain.rule_files[0].content["groups"][0].get("partial_response_strategy"), None);
    let enforced = made(json!({"enforcedNamespaceLabel": "namespace"}));
    let rules = &enforced.rule_files[0].content["groups"][0]["rules"];
    assert_eq!(
        rules[0]["expr"],
        "sum(rate(x{a=\"b\",namespace=\"smallest\"}[5m])) / on (p) {__name__=\"y\",namespace=\"smallest\"}"
    );
    assert_eq!(rules[1]["expr"], "up{namespace=\"smallest\"} == 0");
    assert_eq!(rules[1]["labels"], json!({"severity": "page", "namespace": "smallest"}));
    assert_eq!(rules[2]["labels"], json!({"namespace": "smallest"}));
    let excluded = made(json!({"enforcedNamespaceLabel": "namespace", "excludedFromEnforcement":
        [{"resource": "prometheusrules", "namespace": "smallest"}]}));
    assert_eq!(excluded.rule_files, plain.rule_files);
}

#[test]
fn scrape_classes_give_what_a_monitor_does_not_say() {
    let prometheus: Prometheus = read(json!({"spec": {"scrapeClasses": [{
        "name": "mesh", "default": true, "tlsConfig": {"caFile": "/ca", "certFile": "/cert", "keyFile": "/key"},
        "relabelings": [{"targetLabel": "mesh", "replacement": "yes"}], "attachMetadata": {"node": true},
        "fallbackScrapeProtocol": "PrometheusText0.0.4", "authorization": {"credentialsFile": "/token"},
    }]}}))
    .unwrap();
    let spec = json!({"endpoints": [{"tlsConfig": {"caFile": "/own"}, "bearerTokenFile": "/own-token",
        "relabelings": [{"targetLabel": "own", "replacement": "yes"}]}]});
    let monitors = Monitors { service_monitors: vec![service_monitor(&spec)], ..Monitors::default() };
    let made = Generator { prometheus: &prometheus, assets: &Assets::default() }.generate(&monitors);
    let job = &made.jobs[0].config;
    assert_eq!(job["tls_config"], json!({"ca_file": "/own", "cert_file": "/cert", "key_file": "/key"}));
    assert_eq!((&job["authorization"], &job["bearer_token_file"]), (&json!(null), &json!("/own-token")));
    assert_eq!(job["fallback_scrape_protocol"], "PrometheusText0.0.4");
    assert_eq!(job["kubernetes_sd_configs"][0]["attach_metadata"], json!({"node": true}));
    let rules = job["relabel_configs"].as_array().unwrap();
    let last: Vec<&str> = rules.iter().rev().take(2).map(|rule| rule["target_label"].as_str().unwrap()).collect();
    assert_eq!(last, ["own", "mesh"]);
}
