//! The same questions to two servers, for `--against`.
//!
//! Rule: a difference counts when it stays: it is asked for again, since both were scraped at different instants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamodel::time::SystemClock;
use datamodel::{Clock, Quantity};
use kubernetes::client::Client;
use serde_json::Value;

use super::super::against::{Comparison, differences, same_names};
use super::super::checks::Section;
use super::super::facts::{Expected, METRICS, QUERIES};
use super::super::finding::{Asked, Failure, Finding, Question, Verdict};
use super::metrics_api::{CUSTOM, EXTERNAL_METRICS, list, names, segment};
use super::{Ask, Engine, Places};
use crate::printer::clean;
use crate::progress::Bar;

/// How often a difference is asked for.
const TRIES: u32 = 3;

/// Rest before a difference is asked for again: a target is scraped, or a list refreshed, in between.
const REST: Duration = Duration::from_secs(2);

/// Names whose values are compared.
const MAX_NAMES: usize = 200;

/// Who is compared with us.
#[derive(Debug)]
pub(in super::super) struct Other {
    pub(in super::super) engine: Engine,
    /// Further expressions.
    pub(in super::super) expressions: Vec<String>,
    /// How far numbers may be apart, as a part of the larger one.
    pub(in super::super) tolerance: f64,
}

/// Finds out what the other server is, and compares all that both can answer.
pub(in super::super) async fn compare(
    places: &Places,
    other: &Other,
    expected: &Expected,
    bar: &mut Bar,
) -> Vec<Section> {
    let mut ask = Ask { patience: places.patience, bar };
    let url = other.engine.url();
    let mut sections = Vec::new();
    ask.working(&format!("{url}: what is it?"));
    let speaks_prometheus = other.engine.vector("vector(1)", SystemClock.now(), ask.patience).await;
    let api = other.engine.as_api();
    let custom = match &api {
        Some(api) => names(api, CUSTOM, &mut ask).await,
        None => Asked::not_here("no URL"),
    };
    if let Some(engine) = places.prometheus.as_ref().filter(|_| speaks_prometheus.known().is_some()) {
        sections.push(Section {
            title: "Prometheus against Prometheus",
            findings: engines(engine, other, expected, &mut ask).await,
        });
    }
    if let (Some(there), Some(Some(names))) = (&api, custom.known()) {
        let own = match places.prometheus.as_ref().filter(|_| places.metrics_api.is_none() && places.cluster.is_none())
        {
            Some(engine) if engine.autoscaling(ask.patience).await.is_some() => engine.as_api(),
            _ => None,
        };
        let question = Question::new("same answer", format!("{url}{CUSTOM}"));
        let findings = match places.metrics_api.as_ref().or(places.cluster.as_ref()).or(own.as_ref()) {
            Some(here) => {
                let pair = Pair { here, there, tolerance: other.tolerance };
                pair.compare(names, &expected.namespace, &mut ask).await
            }
            None if sections.is_empty() => {
                vec![question.unknown("no metrics API to compare with", "`--kubeconfig`, or `--metrics-api-url`")]
            }
            None => {
                vec![question.not_checked("no metrics API to compare with: `--kubeconfig`, or `--metrics-api-url`")]
            }
        };
        sections.push(Section { title: "Metrics API against metrics API", findings });
    }
    if sections.is_empty() {
        let question = Question::new("the other server", format!("{url}/api/v1/query and {url}{CUSTOM}"));
        let why = match &speaks_prometheus {
            Asked::Answer(_) => "`--prometheus-url none` leaves nobody to compare it with".to_owned(),
            Asked::NotHere(why) | Asked::Failed(Failure { why, .. }) => why.clone(),
        };
        let finding =
            question.unknown(why, "`--against` takes a Prometheus, or a metrics API; is it there, and may we ask?");
        sections.push(Section { title: "Against", findings: vec![finding] });
    }
    sections
}

/// Two engines: the queries of the setup document, its metrics and rules, and what the user adds.
async fn engines(here: &Engine, other: &Other, expected: &Expected, ask: &mut Ask<'_>) -> Vec<Finding> {
    let mut expressions: Vec<&str> = METRICS.iter().chain(&QUERIES).copied().collect();
    expressions.extend(expected.rules.iter().chain(&other.expressions).map(String::as_str));
    let mut seen = BTreeSet::new();
    expressions.retain(|expr| seen.insert(*expr));
    settled(&expressions, async |expr| {
        let now = SystemClock.now();
        ask.working(&format!("both: {expr}"));
        let patience = ask.patience;
        let values = async |engine: &Engine| {
            let series = engine.vector(expr, now, patience).await;
            series.map(|series| Ok(series.into_iter().map(|(labels, value)| (labels.to_string(), value)).collect()))
        };
        let (here, there) = (values(here).await, values(&other.engine).await);
        differences(&Comparison { asked: expr.to_owned(), here, there }, other.tolerance)
    })
    .await
}

/// Asks all questions, and those whose answers differ again, until they agree or it was asked often enough.
async fn settled<S: AsRef<str>>(questions: &[S], mut ask: impl AsyncFnMut(&str) -> Vec<Finding>) -> Vec<Finding> {
    let mut found: Vec<(&str, Vec<Finding>)> = Vec::new();
    for question in questions {
        found.push((question.as_ref(), ask(question.as_ref()).await));
    }
    for _ in 1..TRIES {
        let mut open: Vec<_> = found.iter_mut().filter(|(_, findings)| findings.iter().any(is_wrong)).collect();
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(REST).await;
        for (question, findings) in &mut open {
            *findings = ask(question).await;
        }
    }
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

fn is_wrong(finding: &Finding) -> bool {
    finding.verdict == Verdict::Wrong
}

/// Two metrics APIs.
#[derive(Debug)]
struct Pair<'a> {
    here: &'a Client,
    there: &'a Client,
    tolerance: f64,
}

impl Pair<'_> {
    /// What they list, and the values of what both list.
    async fn compare(&self, there: &[String], namespace: &str, ask: &mut Ask<'_>) -> Vec<Finding> {
        let question = Question::new("same names", CUSTOM);
        let custom = names(self.here, CUSTOM, ask).await.map(Option::unwrap_or_default);
        let here = match question.answer(&custom) {
            Ok(names) => names.clone(),
            Err(finding) => return vec![finding],
        };
        let mut findings = same_names(CUSTOM, &here, there);
        let mut paths: Vec<String> =
            here.iter().filter(|name| there.contains(name)).filter_map(|name| custom_path(name, namespace)).collect();
        let question = Question::new("same names", EXTERNAL_METRICS);
        let external = (names(self.here, EXTERNAL_METRICS, ask).await, names(self.there, EXTERNAL_METRICS, ask).await);
        match (question.answer(&external.0), question.answer(&external.1)) {
            (Ok(None), Ok(None)) => findings.push(question.not_checked("neither serves external metrics")),
            (Ok(here), Ok(there)) => {
                let none = Vec::new();
                let (here, there) = (here.as_ref().unwrap_or(&none), there.as_ref().unwrap_or(&none));
                findings.extend(same_names(EXTERNAL_METRICS, here, there));
                let both = here.iter().filter(|name| there.contains(name));
                paths.extend(both.map(|name| format!("{EXTERNAL_METRICS}/namespaces/{namespace}/{}", segment(name))));
            }
            (Err(finding), _) | (_, Err(finding)) => findings.push(finding),
        }
        if paths.len() > MAX_NAMES {
            let rest = paths.len() - MAX_NAMES;
            paths.truncate(MAX_NAMES);
            let question = Question::new("same answer", "the values of what both list");
            findings.push(question.not_checked(format!("{rest} names beyond the first {MAX_NAMES}")));
        }
        findings.extend(settled(&paths, async |path| self.values(path, ask).await).await);
        findings
    }

    async fn values(&self, path: &str, ask: &mut Ask<'_>) -> Vec<Finding> {
        let here = list(self.here, path, ask).await.map(|items| items.map(|items| numbers(&items)));
        let there = list(self.there, path, ask).await.map(|items| items.map(|items| numbers(&items)));
        differences(&Comparison { asked: path.to_owned(), here, there }, self.tolerance)
    }
}

/// Where the values of a listed name are: of pods, and of the namespace itself.
fn custom_path(name: &str, namespace: &str) -> Option<String> {
    match name.split_once('/')? {
        ("pods", metric) => Some(format!("{CUSTOM}/namespaces/{namespace}/pods/*/{}", segment(metric))),
        ("namespaces", metric) => Some(format!("{CUSTOM}/namespaces/{namespace}/metrics/{}", segment(metric))),
        // The objects of other resources are not known here.
        _ => None,
    }
}

/// Values by object, or by the labels of an external metric.
fn numbers(items: &[Value]) -> BTreeMap<String, f64> {
    let number = |item: &Value| {
        let object = &item["describedObject"];
        let key = match object["name"].as_str() {
            Some(name) => name.to_owned(),
            None => item["metricLabels"].to_string(),
        };
        let value = item["value"].as_str().unwrap_or_default().parse::<Quantity>().ok()?;
        Some((clean(&key), value.as_f64()))
    };
    items.iter().filter_map(number).collect()
}
