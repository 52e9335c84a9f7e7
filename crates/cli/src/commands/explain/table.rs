//! An explanation for people: the steps from top to bottom, one block each.
//!
//! Rule: what is in the JSON and of use to people is here, in the same order as it is computed; a text of others is
//! shown without what controls a terminal.

use datamodel::Timestamp;
use datamodel::rfc3339::format_rfc3339;
use hpa::explain::behavior::{BehaviorExplanation, DirectionExplanation};
use hpa::explain::metric::MetricExplanation;
use hpa::explain::{Explanation, short};
use hpa::origin::{MetricOrigin, SeriesRecord};

use crate::commands::query::columns;
use crate::printer::plain;

/// Width of the names of steps.
const NAME_WIDTH: usize = 15;

/// The whole table.
pub(super) fn table(explanation: &Explanation) -> String {
    let mut page = Page::default();
    let Explanation { namespace, name, scale_target, min, max, .. } = explanation;
    page.step("HPA", &format!("{namespace}/{name}: {scale_target}, {min} to {max} replicas"));
    page.step("time", &time(explanation.time));
    let replicas = |count: Option<i32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let (current, existing) = (replicas(explanation.current), replicas(explanation.existing));
    page.step("replicas", &format!("{current} wanted, {existing} exist, {} ready", explanation.ready));
    for metric in &explanation.metrics {
        metric_steps(&mut page, metric, explanation.time);
    }
    page.gap();
    if let Some(recommendation) = explanation.recommendation {
        let held = if explanation.held { " (held: a value stands in for one that did not come)" } else { "" };
        page.step("recommendation", &format!("{recommendation}{held}"));
        behavior_steps(&mut page, &explanation.behavior);
        page.step("stabilized", &replicas(explanation.stabilized));
    }
    page.step("result", &explanation.verdict.summary);
    for (index, reason) in explanation.verdict.reasons.iter().enumerate() {
        page.step(if index == 0 { "why" } else { "" }, reason);
    }
    page.gap();
    for condition in &explanation.conditions {
        let text = format!("{} {} {}: {}", condition.kind, condition.status, condition.reason, condition.message);
        page.step("condition", &text);
    }
    for event in &explanation.events {
        page.step("event", &format!("{} {}: {}", event.kind, event.reason, event.message));
    }
    reported(&mut page, explanation);
    for assumption in &explanation.assumptions {
        page.step("assumed", assumption);
    }
    for failure in &explanation.failures {
        page.gap();
        page.step("failed stage", &failure.stage);
        page.step("  cause", &failure.cause);
        page.step("  remedy", &failure.remedy);
    }
    page.text
}

fn reported(page: &mut Page, explanation: &Explanation) {
    let Some(reported) = &explanation.reported else { return };
    let desired = reported.desired.map_or_else(|| "no number".to_owned(), |desired| desired.to_string());
    let agrees = if explanation.differences.is_empty() { ", as it is computed here" } else { "" };
    page.step("HPA says", &format!("{desired}{agrees}"));
    // Of the same sync they are those above.
    for event in reported.events.iter().filter(|_| !reported.same_sync) {
        page.step("  event", &format!("{} {}: {}", event.kind, event.reason, event.message));
    }
    for difference in &explanation.differences {
        let hint = if difference.hint.is_empty() { String::new() } else { format!(" ({})", difference.hint) };
        let text = format!(
            "{}: computed `{}`, reported `{}`{hint}",
            difference.what, difference.computed, difference.reported
        );
        page.step("  difference", &text);
    }
}

fn metric_steps(page: &mut Page, metric: &MetricExplanation, now: f64) {
    page.gap();
    page.step("metric", &format!("{} {}, target {} {}", metric.kind, metric.name, metric.target_type, metric.target));
    origin_steps(page, &metric.origin, now);
    let pods: Vec<Vec<String>> = metric
        .pods
        .iter()
        .map(|pod| {
            let ready = match pod.ready {
                Some(true) => "ready",
                Some(false) => "not ready",
                None => "?",
            };
            vec![
                pod.pod.clone(),
                format!("{} {ready}", pod.phase),
                pod.value.clone().unwrap_or_else(|| "–".to_owned()),
                pod.age_seconds.map_or_else(|| "–".to_owned(), age),
                pod.state.map_or("–", state_word).to_owned(),
                pod.group.as_str().to_owned(),
            ]
        })
        .collect();
    page.table("  pods", &["pod", "phase", "value", "age", "state", "counts as"], pods);
    if !metric.values.is_empty() {
        page.step("  values", &metric.values.join(", "));
    }
    if let Some(value) = &metric.value {
        page.step("  value", value);
    }
    if let Some(ratio) = metric.ratio {
        let (from, to) = (short(metric.tolerance_from), short(metric.tolerance_to));
        let then = metric.rebalanced.map(|ratio| format!(", {} with pods without sample", short(ratio)));
        let text = format!("{}{}; {from} to {to} changes nothing", short(ratio), then.unwrap_or_default());
        page.step("  ratio", &text);
    }
    if let Some(proposal) = metric.proposal {
        page.step("  proposal", &format!("{proposal}: {}", metric.arithmetic));
    }
    if let Some(error) = &metric.error {
        page.step("  no value", error);
    }
}

fn origin_steps(page: &mut Page, origin: &MetricOrigin, now: f64) {
    if let Some(rule) = &origin.rule {
        page.step("  rule", &format!("{}: seriesQuery {}", rule.id, rule.series_query));
        page.step("", &format!("metricsQuery {}", rule.metrics_query));
        let label = rule.label.as_ref().map(|label| format!(", objects by the label `{label}`")).unwrap_or_default();
        page.step("", &format!("series {}{label}", rule.series));
    }
    for query in &origin.queries {
        page.step("  query", query);
    }
    if let (Some(at), false) = (origin.query_time, origin.queries.is_empty()) {
        page.step("", &format!("for {}", time(at)));
    }
    let row = |series: &SeriesRecord| {
        // Milliseconds of this century are exact in a double.
        let age_of = |at: i64| age(now - at as f64 / 1000.0);
        vec![
            labels(series),
            series.value.clone().unwrap_or_else(|| "–".to_owned()),
            series.timestamp_ms.map_or_else(|| "–".to_owned(), |at| format_rfc3339(Timestamp::from_unix_ms(at))),
            series.timestamp_ms.map_or_else(|| "–".to_owned(), age_of),
            series.state.as_str().to_owned(),
        ]
    };
    let rows = origin.series.iter().map(row).collect();
    page.table("  series", &["labels", "value", "timestamp", "age", "state"], rows);
    if origin.more_series > 0 {
        page.step("", &format!("… and {} more", origin.more_series));
    }
}

fn behavior_steps(page: &mut Page, behavior: &BehaviorExplanation) {
    let declared = if behavior.declared { "" } else { ", no `behavior` in the manifest" };
    for (name, direction, which) in [("  up", &behavior.up, "lowest"), ("  down", &behavior.down, "highest")] {
        page.step(name, &format!("{}{declared}", direction_text(direction, which)));
        for policy in &direction.policies {
            let text = format!("policy {}: {:+} in that time, so to {}", policy.text(), policy.changed, policy.allows);
            page.step("", &text);
        }
    }
}

fn direction_text(direction: &DirectionExplanation, which: &str) -> String {
    let mut text = format!("window {} s", direction.window_seconds);
    if let Some(number) = direction.recommendation {
        let old = direction.age_seconds.map_or_else(String::new, |seconds| format!(" ({} old)", age(seconds)));
        text.push_str(&format!(", {which} recommendation {number}{old}"));
    }
    match direction.limit {
        Some(limit) if direction.select_policy.is_empty() => text.push_str(&format!(", limit {limit}")),
        Some(limit) => text.push_str(&format!(", limit {limit} (selectPolicy {})", direction.select_policy)),
        None => text.push_str(", no limit"),
    }
    text
}

/// A series as PromQL names it.
fn labels(series: &SeriesRecord) -> String {
    let pairs = series.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    datamodel::Labels::from_pairs(pairs).to_string()
}

const fn state_word(state: hpa::status::SampleState) -> &'static str {
    match state {
        hpa::status::SampleState::Fresh => "fresh",
        hpa::status::SampleState::Held => "held",
        hpa::status::SampleState::Expired => "expired",
    }
}

fn age(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn time(unix_seconds: f64) -> String {
    // Milliseconds of this century are exact in a double.
    format_rfc3339(Timestamp::from_unix_ms((unix_seconds * 1000.0).round() as i64))
}

/// Steps with their names before them.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn step(&mut self, name: &str, text: &str) {
        let mut name = name;
        for line in text.lines() {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            let line = plain(line);
            self.text.push_str(format!("{name:<NAME_WIDTH$} {line}").trim_end());
            name = "";
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn table(&mut self, name: &str, head: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        let mut all = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
        // A cell is one line.
        all.extend(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect()));
        self.step(name, &columns(&all));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hpa::explain::compare::{Difference, Reported};
    use hpa::explain::metric::{PodExplanation, PodGroup};
    use hpa::explain::verdict::Verdict;
    use hpa::origin::{FailureRecord, RuleRecord, SeriesState};
    use hpa::status::SampleState;

    use super::*;

    /// A metric with every kind of line.
    fn metric() -> MetricExplanation {
        let pod = |name: &str, value: Option<&str>, group| PodExplanation {
            pod: name.into(),
            phase: "Running".into(),
            ready: Some(true),
            value: value.map(str::to_owned),
            age_seconds: value.map(|_| 0.5),
            state: value.map(|_| SampleState::Held),
            group,
        };
        let origin = MetricOrigin {
            rule: Some(RuleRecord {
                id: "rules[0]".into(),
                series_query: "asr_active_requests".into(),
                metrics_query: "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)".into(),
                series: "asr_active_requests".into(),
                label: Some("pod".into()),
            }),
            queries: vec!["sum(asr_active_requests{pod=\"a\"}) by (pod)".into()],
            query_time: Some(1_700_000_000.0),
            series: vec![SeriesRecord {
                labels: [("pod".to_owned(), "a".to_owned())].into(),
                value: Some("12".into()),
                timestamp_ms: Some(1_699_999_999_500),
                state: SeriesState::Held,
                object: Some("a".into()),
            }],
            more_series: 3,
            failure: None,
        };
        MetricExplanation {
            kind: "Pods".into(),
            name: "asr_active_requests".into(),
            target_type: "AverageValue".into(),
            target: "4".into(),
            origin,
            pods: vec![pod("a", Some("12"), PodGroup::Counted), pod("b", None, PodGroup::Missing)],
            value: Some("12".into()),
            ratio: Some(3.0),
            rebalanced: Some(1.5),
            tolerance_from: 0.9,
            tolerance_to: 1.1,
            proposal: Some(3),
            arithmetic: "ceil(1.5 × 2 pods) = 3".into(),
            ..MetricExplanation::default()
        }
    }

    #[test]
    fn every_step_has_its_line_in_the_order_of_the_decision() {
        let explanation = Explanation {
            namespace: "smallest".into(),
            name: "asr".into(),
            scale_target: "Deployment/asr".into(),
            time: 1_700_000_000.0,
            current: Some(2),
            existing: Some(2),
            ready: 2,
            min: 1,
            max: 4,
            metrics: vec![metric()],
            recommendation: Some(3),
            stabilized: Some(3),
            desired: Some(3),
            verdict: Verdict {
                changes: true,
                summary: "from 2 to 3".into(),
                reasons: vec!["one".into(), "two".into()],
            },
            reported: Some(Reported { desired: Some(2), ..Reported::default() }),
            differences: vec![Difference {
                what: "desired replicas".into(),
                computed: "3".into(),
                reported: "2".into(),
                hint: "ask again".into(),
            }],
            failures: vec![FailureRecord { stage: "Rule".into(), cause: "none".into(), remedy: "add one".into() }],
            ..Explanation::default()
        };
        expect![[r#"
            HPA             smallest/asr: Deployment/asr, 1 to 4 replicas
            time            2023-11-14T22:13:20Z
            replicas        2 wanted, 2 exist, 2 ready

            metric          Pods asr_active_requests, target AverageValue 4
              rule          rules[0]: seriesQuery asr_active_requests
                            metricsQuery sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)
                            series asr_active_requests, objects by the label `pod`
              query         sum(asr_active_requests{pod="a"}) by (pod)
                            for 2023-11-14T22:13:20Z
              series        labels     value  timestamp               age    state
                            {pod="a"}  12     2023-11-14T22:13:19.5Z  0.5 s  held
                            … and 3 more
              pods          pod  phase          value  age    state  counts as
                            a    Running ready  12     0.5 s  held   counted
                            b    Running ready  –      –      –      missing
              value         12
              ratio         3, 1.5 with pods without sample; 0.9 to 1.1 changes nothing
              proposal      3: ceil(1.5 × 2 pods) = 3

            recommendation  3
              up            window 0 s, no limit, no `behavior` in the manifest
              down          window 0 s, no limit, no `behavior` in the manifest
            stabilized      3
            result          from 2 to 3
            why             one
                            two

            HPA says        2
              difference    desired replicas: computed `3`, reported `2` (ask again)

            failed stage    Rule
              cause         none
              remedy        add one"#]]
        .assert_eq(&table(&explanation));
    }
}
