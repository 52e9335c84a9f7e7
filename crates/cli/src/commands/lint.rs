//! Findings on the command line: which are looked for, how they are told; manifests of autoscalers.
//!
//! - [`LintArgs`], [`Selection`]: `--lint` and `--lint-fatal`, promtool's and ours. [`report`]: what was found.
//! - [`lint_hpa`]: what of a manifest breaks scaling.
//!
//! Rule: findings go to stderr, so that stdout says what promtool's does.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use hpa::manifest::{HorizontalPodAutoscaler, MetricSpec};
use rules::lint::{Check, Finding};

use super::Outcome;
use crate::printer::Printer;

/// How `check` lints.
#[derive(Clone, Debug, Args)]
pub struct LintArgs {
    /// What is looked for: `all`, `none`, or names of checks.
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    lint: Vec<String>,
    /// Exit with 3 if something is found.
    #[arg(long)]
    lint_fatal: bool,
}

/// The checks that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(BTreeSet<Check>);

impl Selection {
    /// Whether a check is wanted.
    #[must_use]
    pub fn contains(&self, check: Check) -> bool {
        self.0.contains(&check)
    }
}

impl LintArgs {
    /// Whether a finding is a failure.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        self.lint_fatal
    }

    /// The checks that are wanted; `default` is the name that counts where none is given.
    ///
    /// # Errors
    ///
    /// A name is unknown.
    pub fn selection(&self, default: &str) -> Result<Selection> {
        let mut selection = Selection::default();
        let names = self.lint.iter().map(String::as_str);
        let default = self.lint.is_empty().then_some(default);
        for name in names.chain(default) {
            match name {
                "all" => selection.0.extend(Check::ALL),
                "none" => selection.0.clear(),
                name => match Check::ALL.into_iter().find(|check| check.as_str() == name) {
                    Some(check) => {
                        selection.0.insert(check);
                    }
                    None => {
                        let names: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
                        anyhow::bail!(
                            "`--lint` knows no check `{name}`; there are `all`, `none`, {}",
                            names.join(", ")
                        );
                    }
                },
            }
        }
        Ok(selection)
    }
}

/// Tells what was found.
pub fn report(findings: &[Finding], is_fatal: bool, printer: Printer) -> Outcome {
    for finding in findings {
        printer.say(&finding.to_string());
    }
    if !findings.is_empty() {
        let plural = if findings.len() == 1 { "" } else { "s" };
        printer.say(&format!("{} finding{plural}", findings.len()));
    }
    if is_fatal && !findings.is_empty() { Outcome::Findings } else { Outcome::Fine }
}

/// What of a manifest breaks scaling. `queries` are the mapping rules of the metrics API, as metric name and
/// query, where they are known.
#[must_use]
pub fn lint_hpa(file: &str, hpa: &HorizontalPodAutoscaler, queries: &[(String, String)]) -> Vec<Finding> {
    let target = &hpa.spec.scale_target_ref;
    let mut findings = Vec::new();
    for metric in &hpa.spec.metrics {
        if !matches!(metric, MetricSpec::Pods { .. } | MetricSpec::Object { .. } | MetricSpec::External { .. }) {
            continue;
        }
        let name = metric.name();
        let query = queries.iter().find(|(known, _)| known == name).map(|(_, query)| query.as_str());
        let mut found = |check, message| {
            let file = Arc::from(file);
            let subject = format!("HPA `{}`, {} metric `{name}`", hpa.name, metric.kind());
            findings.push(Finding { check, file, line: None, subject, message });
        };
        if is_raw_counter(name, query) {
            found(
                Check::RawCounter,
                "a counter only grows: the replicas follow it to the maximum and never come back".to_owned(),
            );
        }
        if follows_replicas(query.unwrap_or(name), &target.name) {
            found(
                Check::OwnReplicas,
                format!("depends on the replicas of its own target `{}`: each step up asks for the next", target.name),
            );
        }
    }
    findings
}

/// The metrics of mapping rules with their queries, as far as the rules name them without a pattern.
///
/// # Errors
///
/// Everything that is wrong with the text.
pub fn mapping_queries(file: &str, text: &str) -> Result<Vec<(String, String)>> {
    metrics_api::Config::parse(file, text)?;
    let document = yaml::parse(file, text)?;
    let mut queries = Vec::new();
    for list in ["rules", "externalRules"] {
        let rules = document.root().get(list).and_then(yaml::Node::as_sequence).unwrap_or_default();
        for rule in rules {
            let text_of =
                |node: Option<&yaml::Node>| node.and_then(yaml::Node::as_scalar).map(|scalar| scalar.text.to_string());
            let series = text_of(rule.get("seriesQuery")).unwrap_or_default();
            let series =
                promql::parse(&series).ok().and_then(|query| query.selectors().next().map(|s| s.name.to_string()));
            let series = series.unwrap_or_default();
            let given = text_of(rule.get("name").and_then(|name| name.get("as"))).filter(|name| !name.contains('$'));
            let query = text_of(rule.get("metricsQuery")).unwrap_or_default().replace("<<.Series>>", &series);
            let name = given.filter(|name| !name.is_empty()).unwrap_or(series);
            if !name.is_empty() {
                queries.push((name, query));
            }
        }
    }
    Ok(queries)
}

/// The two counters of the setup document whose names have no suffix that says so.
const SEED_COUNTERS: [&str; 2] = ["asr_total_requests", "asr_failed_requests"];

/// Ends of the names of counters, and of the parts of histograms.
const COUNTER_ENDS: [&str; 6] = ["_total", "_bucket", "_seconds_count", "_seconds_sum", "_bytes_count", "_bytes_sum"];

fn is_raw_counter(name: &str, query: Option<&str>) -> bool {
    let named_so = |name: &str| SEED_COUNTERS.contains(&name) || COUNTER_ENDS.iter().any(|end| name.ends_with(end));
    match query {
        // A rate is no counter, whatever it is called.
        Some(query) => {
            let is_rate = ["rate(", "increase(", "delta(", "deriv("].iter().any(|function| query.contains(function));
            !is_rate && words(query).any(named_so)
        }
        None => named_so(name),
    }
}

/// Whether a query, or a name, counts the replicas of a target.
fn follows_replicas(text: &str, target: &str) -> bool {
    let counts = words(text).any(|word| word.contains("replica") && !word.contains("replicaset_owner"));
    // A query that names another object is about that one.
    let names_objects = text.contains("deployment=") || text.contains("statefulset=") || text.contains("replicaset=");
    counts && (!names_objects || text.contains(target))
}

/// The names in a query.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(metric: &str) -> HorizontalPodAutoscaler {
        let text = format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: asr, namespace: n}}\nspec:\n  \
             scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: lightning-asr}}\n  maxReplicas: 9\n  metrics:\n  - {metric}\n"
        );
        HorizontalPodAutoscaler::parse("hpa.yaml", &text).unwrap()
    }

    #[track_caller]
    fn check(metric: &str, queries: &[(&str, &str)], expected: &[&str]) {
        let queries: Vec<_> = queries.iter().map(|(name, query)| ((*name).to_owned(), (*query).to_owned())).collect();
        let findings = lint_hpa("hpa.yaml", &manifest(metric), &queries);
        assert_eq!(findings.iter().map(|finding| finding.check.as_str()).collect::<Vec<_>>(), expected, "{metric}");
    }

    fn pods(name: &str) -> String {
        format!(
            "{{type: Pods, pods: {{metric: {{name: '{name}'}}, target: {{type: AverageValue, averageValue: '4'}}}}}}"
        )
    }

    fn external(name: &str) -> String {
        format!("{{type: External, external: {{metric: {{name: '{name}'}}, target: {{type: Value, value: '5'}}}}}}")
    }

    #[test]
    fn counter_is_told_from_gauge_and_rate() {
        check(&pods("asr_total_requests"), &[], &["raw-counter"]);
        check(&pods("http_requests_total"), &[], &["raw-counter"]);
        check(&pods("asr_active_requests"), &[], &[]);
        check(
            &pods("http_requests_total"),
            &[("http_requests_total", "sum(rate(http_requests_total{x=\"y\"}[2m]))")],
            &[],
        );
        check(&pods("load"), &[("load", "sum(http_requests_total) by (pod)")], &["raw-counter"]);
        check("{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}", &[], &[]);
    }

    #[test]
    fn metric_of_own_replicas_is_found() {
        let seed = "sum(kube_deployment_status_replicas{deployment=\"lightning-asr\"})";
        let other = "sum(kube_deployment_status_replicas{deployment=\"front\"})";
        check(&external("lightning_asr_replica_count"), &[], &["own-replicas"]);
        check(&external("a"), &[("a", seed)], &["own-replicas"]);
        check(&external("a"), &[("a", other)], &[]);
        check(&external("queue_depth"), &[], &[]);
    }

    #[test]
    fn queries_of_mapping_rules_are_found_by_metric() {
        let queries = mapping_queries("m.yaml", include_str!("../../../../rules/adapter-seed.yaml")).unwrap();
        let names: Vec<&str> = queries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["asr_active_requests", "gpu_utilization", "lightning_asr_replica_count"]);
        let queries: Vec<(&str, &str)> = queries.iter().map(|(name, query)| (name.as_str(), query.as_str())).collect();
        check(&external("lightning_asr_replica_count"), &queries, &["own-replicas"]);
        check(&pods("gpu_utilization"), &queries, &[]);
    }

    #[test]
    fn names_of_checks_are_those_of_the_library() {
        let select = |names: &[&str]| {
            let lint = names.iter().map(|name| (*name).to_owned()).collect();
            LintArgs { lint, lint_fatal: false }.selection("none")
        };
        assert!(select(&["all"]).unwrap().contains(Check::OwnReplicas));
        assert_eq!(select(&["none"]).unwrap(), Selection::default());
        assert!(select(&["short-rate-window"]).unwrap().contains(Check::ShortRateWindow));
        assert!(select(&["short-rate"]).unwrap_err().to_string().contains("short-rate-window"));
    }
}
