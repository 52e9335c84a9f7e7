//! What the chart renders fits the program: flags of containers, the Prometheus object, the metrics in dashboards.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{check, files, root};

/// What the setup document's rules record.
const OF_RULES: &str = "asr:";

#[test]
fn every_flag_that_the_chart_renders_is_one_of_its_command() {
    let reference = fs::read_to_string(root().join("docs/reference/commands.md")).unwrap();
    let mut complaints = Vec::new();
    let mut found = 0;
    for (path, text) in files("yaml").into_iter().filter(|(path, _)| path.starts_with("charts/crescendo/tests/golden/"))
    {
        let mut command = "";
        for line in text.lines().map(str::trim) {
            if line == "args:" {
                command = "";
            } else if let Some(flag) = line.strip_prefix("- --") {
                let name = flag.split('=').next().unwrap_or_default();
                found += 1;
                if !flags_of(&reference, command).contains(name) {
                    complaints.push(format!("{path}: `crescendo {command}` has no flag `--{name}`"));
                }
            } else if let Some(word) =
                line.strip_prefix("- ").filter(|word| ["server", "adapter", "asr"].contains(word))
            {
                command = word;
            }
        }
    }
    assert!(found > 50, "{found} flags are no chart");
    check(&complaints);
}

#[test]
fn objects_that_the_chart_renders_select_as_the_server_reads_them() {
    let mut found = 0;
    for (path, text) in files("yaml").into_iter().filter(|(path, _)| path.starts_with("charts/crescendo/tests/golden/"))
    {
        let Some((_, below)) = text.split_once("  prometheus-object.yaml: |\n") else { continue };
        let lines = below.lines().map_while(|line| line.strip_prefix("    "));
        let object = lines.collect::<Vec<_>>().join("\n");
        let object = kubernetes::monitors::prometheus_object(&path, &object).unwrap();
        let spec = object.spec;
        let selectors = [
            &spec.service_monitor_selector,
            &spec.service_monitor_namespace_selector,
            &spec.pod_monitor_selector,
            &spec.probe_selector,
            &spec.scrape_config_selector,
            &spec.rule_selector,
            &spec.rule_namespace_selector,
        ];
        assert!(selectors.iter().all(|selector| selector.is_some()), "{path}: {selectors:?}");
        let is_of_release = |selector: &Option<kubernetes::operator::objects::LabelSelector>| {
            selector.as_ref().is_some_and(|selector| selector.match_labels.contains_key("release"))
        };
        assert!(is_of_release(&spec.rule_selector), "{path}: {:?}", spec.rule_selector);
        // The setup document takes the ServiceMonitors of all releases.
        assert_eq!(is_of_release(&spec.service_monitor_selector), !path.ends_with("/seed.yaml"), "{path}");
        found += 1;
    }
    assert!(found >= 5, "{found} objects are no chart");
}

/// The flags in the table of a command in the generated reference.
fn flags_of<'a>(reference: &'a str, command: &str) -> BTreeSet<&'a str> {
    let section = reference.split("\n## ").find(|section| section.starts_with(&format!("`crescendo {command}`\n")));
    let rows = section.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `--"));
    rows.filter_map(|row| row.split([' ', '`', '[', '=']).next()).collect()
}

#[test]
fn dashboards_ask_for_metrics_that_exist() {
    let known = metrics_of_the_reference();
    let mut complaints = Vec::new();
    let mut found = 0;
    for (path, text) in files("json").into_iter().filter(|(path, _)| path.starts_with("charts/crescendo/dashboards/")) {
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let mut texts = Vec::new();
        expressions(&dashboard, &mut texts);
        for text in texts {
            found += 1;
            let asked = text.replace("$__rate_interval", "5m");
            let expr = match promql::parse(&asked) {
                Ok(expr) => expr,
                Err(error) => {
                    complaints.push(format!("{path}: `{text}`: {error}"));
                    continue;
                }
            };
            for name in expr.selectors().map(|selector| &*selector.name) {
                if !known.contains(name) && !name.starts_with(OF_RULES) {
                    complaints.push(format!("{path}: `{text}`: the references have no `{name}`"));
                }
            }
        }
    }
    assert!(found > 50, "{found} expressions are no dashboards");
    check(&complaints);
}

/// The expressions of all panels, and the selectors of variables.
fn expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
            let query = map.get("definition").and_then(Value::as_str);
            let labelled = query.and_then(|query| query.strip_prefix("label_values(")?.rsplit_once(','));
            into.extend(labelled.map(|(selector, _)| selector.to_owned()));
            map.values().for_each(|inner| expressions(inner, into));
        }
        Value::Array(items) => items.iter().for_each(|inner| expressions(inner, into)),
        _ => {}
    }
}

/// Every series that the reference promises: histograms and summaries have several names.
fn metrics_of_the_reference() -> BTreeSet<String> {
    let read = |page: &str| fs::read_to_string(root().join("docs/reference").join(page)).unwrap();
    let references = read("metrics.md") + &read("state-series.md");
    let mut names = BTreeSet::new();
    for row in references.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once('`').unwrap();
        let suffixes: &[&str] = match rest.trim_start_matches([' ', '|']).split(' ').next() {
            Some("histogram") => &["_bucket", "_sum", "_count"],
            Some("summary") => &["", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    names
}
