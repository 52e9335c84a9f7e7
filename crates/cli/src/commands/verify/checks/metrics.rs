//! The seven metrics, fresh for each target, and the test queries of the setup document.

use std::time::Duration;

use datamodel::time::format_duration;
use datamodel::{Labels, Timestamp};

use super::super::facts::{Facts, Series, Target};
use super::super::finding::{Asked, Finding, Question, listed};
use super::targets::{expected, interval};

/// Intervals that a sample may be old: one scrape is under way, one may have failed.
const FRESH_INTERVALS: u32 = 3;

/// What a sample may be old at least, for clocks that differ.
const LEAST_FRESH: Duration = Duration::from_secs(10);

/// The metrics that only a worker with a GPU has.
fn is_of_gpu(metric: &str) -> bool {
    metric.starts_with("asr_gpu_")
}

/// "Check Metrics Endpoint": each metric has a fresh sample of each target.
pub(super) fn samples(facts: &Facts) -> Vec<Finding> {
    let targets = expected(facts);
    let fresh = interval(facts).unwrap_or(Duration::from_mins(1)).saturating_mul(FRESH_INTERVALS).max(LEAST_FRESH);
    facts.prometheus.samples.iter().map(|(metric, asked)| of_metric(facts, metric, asked, &targets, fresh)).collect()
}

fn of_metric(facts: &Facts, metric: &str, asked: &Asked<Series>, targets: &[&Target], fresh: Duration) -> Finding {
    let question = Question::new("metric", format!("timestamp({metric})"));
    let series = match question.answer(asked) {
        Ok(series) => series,
        Err(finding) => return finding,
    };
    if series.is_empty() && is_of_gpu(metric) {
        return question.not_checked("no series: workers without a GPU have none");
    }
    if series.is_empty() {
        return question.wrong(
            "no series",
            "`curl http://WORKER:2269/metrics` shows whether the worker tells it; then: targets up, `metricRelabelings` \
             that drop it, another server than the one that scrapes",
        );
    }
    let newest = |target: &Target| {
        let same = |labels: &Labels, key: &str| labels.get(key) == target.labels.get(key).map(String::as_str);
        let own = series.iter().filter(|(labels, _)| same(labels, "instance") && same(labels, "job"));
        own.map(|(_, at)| *at).max()
    };
    let up: Vec<&Target> = targets.iter().copied().filter(|target| target.health == "up").collect();
    let name = |target: &Target| {
        let label = |key: &str| target.labels.get(key).cloned();
        label("pod").or_else(|| label("instance")).unwrap_or_else(|| target.scrape_url.clone())
    };
    let missing: Vec<String> = up.iter().filter(|target| newest(target).is_none()).map(|target| name(target)).collect();
    let age = |at: Timestamp| facts.now.since(at);
    let old: Vec<String> = up
        .iter()
        .filter_map(|target| newest(target).map(|at| (target, age(at))))
        .filter(|(_, age)| *age > fresh)
        .map(|(target, age)| format!("{} ({})", name(target), format_duration(age)))
        .collect();
    if !missing.is_empty() && !is_of_gpu(metric) {
        return question.wrong(
            format!("no series of {}", listed(&missing)),
            "a worker of another version, or `metricRelabelings` that drop it: compare its page with another's",
        );
    }
    if !old.is_empty() {
        return question.wrong(
            format!("older than {}: {}", format_duration(fresh), listed(&old)),
            "is the target scraped (targets up)? do the clocks of the server and of this machine agree?",
        );
    }
    let oldest = series.iter().map(|(_, at)| age(*at)).filter(|age| *age <= fresh).max().unwrap_or_default();
    let of_targets = match up.len() {
        0 => String::new(),
        1 => " of 1 target".to_owned(),
        more => format!(" of {more} targets"),
    };
    question.ok(format!("{} series{of_targets}, the oldest sample {} old", series.len(), rounded(oldest)))
}

/// An age for people: to a tenth of a second.
fn rounded(age: Duration) -> String {
    format!("{:.1}s", age.as_secs_f64())
}

/// "Test Prometheus Query".
pub(super) fn queries(facts: &Facts) -> Vec<Finding> {
    let of_query = |(expr, asked): &(&'static str, Asked<Vec<f64>>)| {
        let question = Question::new("test query", *expr);
        let values = match question.answer(asked) {
            Ok(values) => values,
            Err(finding) => return finding,
        };
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        match values.as_slice() {
            [] => question.wrong(
                "no result",
                "a rate needs two scrapes: wait for them after a start; then: is the metric there, and does its target answer?",
            ),
            values if values.iter().all(|value| value.is_nan()) => {
                question.ok(format!("{} value{}, all NaN: no request was answered yet", values.len(), plural(values.len())))
            }
            values => question.ok(format!("{} value{}", values.len(), plural(values.len()))),
        }
    };
    facts.prometheus.queries.iter().map(of_query).collect()
}
