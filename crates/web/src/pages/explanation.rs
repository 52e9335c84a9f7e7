//! The present decision of the autoscaler, step by step, as `crescendo explain` tells it.
//!
//! - [`steps`]: a table of the steps, from the rule to the replicas, and why they stay or change.
//!
//! Rule: every step is that of [`Explanation`]; an expression leads to the page where it can be asked.

use hpa::explain::metric::MetricExplanation;
use hpa::explain::{ExplainError, Explanation, short};
use hpa::origin::{MetricOrigin, SeriesState};
use hpa::status::AutoscalingStatus;
use maud::{Markup, html};

/// The steps, or why there are none.
pub(crate) fn steps(status: &AutoscalingStatus) -> Markup {
    match Explanation::of_status(status) {
        Ok(explanation) => table(&explanation),
        Err(ExplainError::Undecided) => {
            html! { p.soft { "Nothing was decided yet: each worker is scraped once before." } }
        }
        Err(error) => html! { p.bad { (error) } },
    }
}

fn table(explanation: &Explanation) -> Markup {
    let replicas = |count: Option<i32>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let (up, down) = (&explanation.behavior.up, &explanation.behavior.down);
    html! {
        table {
            tbody {
                @for metric in &explanation.metrics { (metric_rows(metric)) }
                @for failure in &explanation.failures {
                    (row("failed stage", &html! { span.bad { (failure.stage) ": " (failure.cause) } }))
                    (row("remedy", &html! { (failure.remedy) }))
                }
                (row("recommendation", &html! { b { (replicas(explanation.recommendation)) } }))
                (row("windows", &html! {
                    "up " (up.window_seconds) " s" @if let Some(lowest) = up.recommendation { ", lowest " (lowest) }
                    "; down " (down.window_seconds) " s" @if let Some(highest) = down.recommendation { ", highest " (highest) }
                    ", so " b { (replicas(explanation.stabilized)) }
                }))
                @for (name, direction) in [("policies up", up), ("policies down", down)] {
                    @if !direction.policies.is_empty() {
                        (row(name, &html! {
                            @for policy in &direction.policies { (policy.text()) " allow " (policy.allows) "; " }
                            (direction.select_policy) ", so limit " b { (replicas(direction.limit)) }
                        }))
                    }
                }
                (row("result", &html! { b { (explanation.verdict.summary) } }))
                @for (index, reason) in explanation.verdict.reasons.iter().enumerate() {
                    (row(if index == 0 { "why" } else { "" }, &html! { (reason) }))
                }
                @for difference in &explanation.differences {
                    (row("difference", &html! {
                        span.bad { (difference.what) ": computed " (difference.computed) ", reported " (difference.reported) }
                    }))
                }
            }
        }
    }
}

fn row(name: &str, content: &Markup) -> Markup {
    html! { tr { th scope="row" { (name) } td { (content) } } }
}

fn metric_rows(metric: &MetricExplanation) -> Markup {
    let target =
        html! { (metric.kind) " " code { (metric.name) } ", target " (metric.target_type) " " (metric.target) };
    html! {
        (row("metric", &target))
        (origin_rows(&metric.origin))
        @if let (Some(value), Some(ratio)) = (&metric.value, metric.ratio) {
            (row("ratio", &html! {
                (value) " / " (metric.target) " = " b { (short(ratio)) }
                @if let Some(rebalanced) = metric.rebalanced { ", " (short(rebalanced)) " with pods without sample" }
                "; " (short(metric.tolerance_from)) " to " (short(metric.tolerance_to)) " changes nothing"
            }))
        }
        @if let Some(proposal) = metric.proposal {
            (row("proposal", &html! { b { (proposal) } ": " (metric.arithmetic) }))
        }
    }
}

fn origin_rows(origin: &MetricOrigin) -> Markup {
    html! {
        @if let Some(rule) = &origin.rule {
            (row("rule", &html! { (rule.id) ": " code { (rule.series_query) } ", " code { (rule.metrics_query) } }))
        }
        @for query in &origin.queries { (row("query", &html! { code { (query) } })) }
        @for series in &origin.series {
            (row("series", &html! {
                code { (labels(&series.labels)) } " " b { (series.value.as_deref().unwrap_or("–")) } " "
                span class=(state_class(series.state)) { (series.state.as_str()) }
            }))
        }
        @if origin.more_series > 0 { (row("", &html! { "… and " (origin.more_series) " more" })) }
    }
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    datamodel::Labels::from_pairs(labels.iter().map(|(name, value)| (name.clone(), value.clone()))).to_string()
}

const fn state_class(state: SeriesState) -> &'static str {
    match state {
        SeriesState::Fresh => "good",
        SeriesState::Held => "warn",
        SeriesState::Expired | SeriesState::Invalid | SeriesState::Missing => "bad",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hpa::origin::{RuleRecord, SeriesRecord};
    use hpa::status::{DecisionRecord, InputRecord, MetricRecord, MetricStatus, PodRecord, ReplicaStatus, SampleState};

    use super::*;

    const MANIFEST: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: asr, namespace: smallest}
spec:
  scaleTargetRef: {kind: Deployment, name: asr}
  maxReplicas: 4
  metrics:
    - {type: Pods, pods: {metric: {name: active}, target: {type: AverageValue, averageValue: 4}}}
";

    #[test]
    fn rule_query_series_and_steps_are_shown_and_hostile_labels_are_text() {
        let input =
            InputRecord { pod: Some("a".into()), timestamp_ms: 1_000, value_milli: 12_000, state: SampleState::Fresh };
        let record = MetricRecord {
            name: "pods metric active".into(),
            proposal: Some(3),
            value_milli: Some(12_000),
            error: None,
            source_error: None,
            query: None,
            query_time: None,
            inputs: vec![input],
        };
        let pod = PodRecord {
            name: "a".into(),
            phase: "Running".into(),
            ready: Some(true),
            ready_since_ms: Some(0),
            deleting: false,
            start_ms: Some(0),
        };
        let decision = DecisionRecord {
            time: 1.0,
            from: Some(1),
            to: Some(3),
            status_replicas: 1,
            metrics: vec![record],
            pods: vec![pod],
            ..DecisionRecord::default()
        };
        let series = SeriesRecord {
            labels: [("pod".to_owned(), "<b>a</b>".to_owned())].into(),
            value: Some("12".into()),
            timestamp_ms: Some(1_000),
            state: SeriesState::Held,
            object: None,
        };
        let rule = RuleRecord { id: "rules[0]".into(), series_query: "active".into(), ..RuleRecord::default() };
        let metric = MetricStatus {
            name: "active".into(),
            kind: "Pods".into(),
            target: "4".into(),
            target_type: "AverageValue".into(),
            value: Some(12.0),
            age_seconds: None,
            state: None,
            error: None,
            values: Vec::new(),
            origin: MetricOrigin {
                rule: Some(rule),
                queries: vec!["sum(active)".into()],
                series: vec![series],
                ..MetricOrigin::default()
            },
        };
        let status = AutoscalingStatus {
            manifest: Arc::from(MANIFEST),
            replicas: ReplicaStatus { min: 1, max: 4, ..ReplicaStatus::default() },
            decision: Some(decision),
            metrics: vec![metric],
            ..AutoscalingStatus::default()
        };
        let html = steps(&status).into_string();
        for part in [
            "rules[0]",
            "sum(active)",
            "&lt;b&gt;a&lt;/b&gt;",
            "class=\"warn\"",
            "12 / 4 = <b>3</b>",
            "from 1 to 3: pods metric active above target",
        ] {
            assert!(html.contains(part), "`{part}` is missing in {html}");
        }
        assert!(!html.contains("<b>a"), "text from outside is escaped");
    }

    #[test]
    fn before_the_first_decision_the_page_says_so() {
        let status = AutoscalingStatus { manifest: Arc::from(MANIFEST), ..AutoscalingStatus::default() };
        assert!(steps(&status).into_string().contains("Nothing was decided yet"));
    }
}
