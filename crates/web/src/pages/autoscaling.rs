//! The live page: load, queue, latency and replicas over time, with each decision and its reason.
//!
//! - [`QUERIES`]: what the charts ask the engine; [`Answers`]: what it said, as plain points.
//! - [`page`], [`fragment`]: the whole page, and the part of it that is refreshed.
//!
//! Rule: what is shown is what `/api/v1/autoscaling`, the query API and `hpa::explain` say; nothing is computed here but
//! its look.

use std::time::Duration;

use datamodel::time::TimeRange;
use hpa::status::{AutoscalingStatus, DecisionRecord, MetricStatus, SampleState, WorkerStatus};
use maud::{Markup, PreEscaped, html};
use plot::{Chart, Marker, MarkerKind, Panel, Point, Style, TimeLabels, Unit};

use super::explanation;
use super::layout::Frame;

/// The page's path.
pub(crate) const PATH: &str = "/autoscaling";

/// The path of the part that is refreshed.
pub(crate) const FRAGMENT_PATH: &str = "/autoscaling/fragment";

/// How often the page asks for news.
const REFRESH_MS: u32 = 2000;

/// Decisions in the table; the API has them all.
const SHOWN_DECISIONS: usize = 25;

/// One query of the charts with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) panel: usize,
    pub(crate) name: &'static str,
    pub(crate) style: Style,
    pub(crate) expr: &'static str,
}

/// The panels, from top to bottom.
const PANELS: [(&str, Unit); 4] = [
    ("requests", Unit::Number),
    ("throughput", Unit::PerSecond),
    ("latency", Unit::Seconds),
    ("replicas", Unit::Number),
];

/// What the charts ask the engine; any user can ask the same.
pub(crate) const QUERIES: [Query; 8] = [
    Query { panel: 0, name: "active", style: Style::Area, expr: "sum(asr_active_requests)" },
    Query { panel: 0, name: "queued", style: Style::Line, expr: "sum(asr_queued_requests)" },
    Query { panel: 1, name: "answered", style: Style::Line, expr: "sum(rate(asr_total_requests[15s]))" },
    Query { panel: 1, name: "failed", style: Style::Line, expr: "sum(rate(asr_failed_requests[15s]))" },
    Query {
        panel: 2,
        name: "p95",
        style: Style::Line,
        expr: "histogram_quantile(0.95, sum by (le) (rate(asr_request_duration_seconds_bucket[15s])))",
    },
    Query {
        panel: 2,
        name: "p50",
        style: Style::Line,
        expr: "histogram_quantile(0.5, sum by (le) (rate(asr_request_duration_seconds_bucket[15s])))",
    },
    Query {
        panel: 3,
        name: "wanted",
        style: Style::Step,
        expr: "kube_horizontalpodautoscaler_status_desired_replicas",
    },
    Query { panel: 3, name: "ready", style: Style::Step, expr: "kube_deployment_status_replicas_ready" },
];

/// The answers to [`QUERIES`], in their order.
pub(crate) type Answers = Vec<Vec<Point>>;

/// Width of the charts; a page scales them.
const WIDTH_PX: u32 = 960;

/// Points that are further apart than so many steps are not joined.
const MAX_GAP_STEPS: u32 = 3;

/// The charts of a span of time.
pub(crate) fn chart(status: &AutoscalingStatus, answers: Answers, range: TimeRange, step: Duration) -> Chart {
    let panel = |(title, unit): &(&str, Unit)| Panel { title: (*title).to_owned(), unit: *unit, ..Panel::default() };
    let mut panels: Vec<_> = PANELS.iter().map(panel).collect();
    for (query, points) in QUERIES.iter().zip(answers) {
        if let Some(panel) = panels.get_mut(query.panel) {
            let (name, max_gap) = (query.name.to_owned(), Some(step * MAX_GAP_STEPS));
            panel.series.push(plot::Series { name, style: query.style, points, max_gap });
        }
    }
    Chart {
        title: String::new(),
        description: "Requests, throughput, latency and replicas over time, with each decision.".to_owned(),
        width_px: WIDTH_PX,
        range,
        time_labels: TimeLabels::Utc,
        panels,
        markers: status.history.iter().filter_map(marker).collect(),
    }
}

/// A decision that changed the number of replicas.
fn marker(decision: &DecisionRecord) -> Option<Marker> {
    let (from, to) = (decision.from?, decision.to?);
    let kind = match to.cmp(&from) {
        std::cmp::Ordering::Greater => MarkerKind::Up,
        std::cmp::Ordering::Less => MarkerKind::Down,
        std::cmp::Ordering::Equal => return None,
    };
    let label = format!("{from}→{to}");
    Some(Marker { at: decision.at(), label, reason: decision.message.clone(), kind })
}

/// The whole page.
pub(crate) fn page(frame: &Frame, status: &AutoscalingStatus, chart: &Chart) -> Markup {
    let content = html! {
        h1 { "Autoscaling of " code { (status.namespace) "/" (status.name) } }
        div data-refresh=(frame.link(FRAGMENT_PATH)) data-every=(REFRESH_MS) { (fragment(status, chart)) }
    };
    frame.page("Autoscaling", PATH, &content)
}

/// What changes from refresh to refresh.
pub(crate) fn fragment(status: &AutoscalingStatus, chart: &Chart) -> Markup {
    let replicas = status.replicas;
    html! {
        section.tiles aria-label="Now" {
            div.tile { b { (replicas.ready) } span { "ready replicas of " (replicas.desired) " wanted" } }
            div.tile { b { (replicas.min) "–" (replicas.max) } span { "allowed replicas" } }
            @for metric in &status.metrics { (metric_tile(metric)) }
            @if let Some(decision) = &status.decision {
                div.tile { b { (decision.reason) } span { (decision.message) } }
            }
        }
        div.card { (PreEscaped(chart.to_svg())) }
        h2 { "Workers" }
        div.card { (workers(&status.workers)) }
        h2 { "Values" }
        div.card { (values(&status.metrics)) }
        h2 { "The present decision, step by step" }
        div.card { (explanation::steps(status)) }
        h2 { "Decisions" }
        div.card { (decisions(&status.history)) }
    }
}

fn metric_tile(metric: &MetricStatus) -> Markup {
    html! {
        div.tile {
            @match (metric.value, &metric.error) {
                (Some(value), _) => b { (number(value)) },
                (None, Some(error)) => b.bad title=(error) { "no value" },
                (None, None) => b.soft { "–" },
            }
            span { (metric.name) ", target " (metric.target) @if let Some(state) = metric.state { ", " (state_word(state)) } }
        }
    }
}

fn workers(workers: &[WorkerStatus]) -> Markup {
    html! {
        table {
            thead { tr { th { "name" } th { "phase" } th { "address" } th.number { "active" } th.number { "restarts" } } }
            tbody {
                @for worker in workers {
                    tr {
                        td { code { (worker.name) } }
                        td { (worker.phase) @if worker.ready { span.good { " ready" } } }
                        td { code { (worker.address.as_deref().unwrap_or("–")) } }
                        td.number { (worker.active) }
                        td.number { (worker.restarts) }
                    }
                }
            }
        }
    }
}

fn values(metrics: &[MetricStatus]) -> Markup {
    html! {
        table {
            thead { tr { th { "metric" } th { "pod" } th.number { "value" } th.number { "age" } th { "state" } } }
            tbody {
                @for metric in metrics {
                    @if let Some(error) = &metric.error { tr { td { code { (metric.name) } } td.bad colspan="4" { (error) } } }
                    @for value in &metric.values {
                        tr {
                            td { code { (metric.name) } }
                            td { code { (value.pod.as_deref().unwrap_or("–")) } }
                            td.number { (number(value.value)) }
                            td.number { (format!("{:.1} s", value.age_seconds)) }
                            td { (state_word(value.state)) }
                        }
                    }
                }
            }
        }
    }
}

fn decisions(history: &[DecisionRecord]) -> Markup {
    html! {
        table {
            thead { tr { th { "time (UTC)" } th.number { "replicas" } th.number { "asked for" } th { "reason" } } }
            tbody {
                @for decision in history.iter().rev().take(SHOWN_DECISIONS) {
                    tr {
                        td { (time_of_day(decision.time)) }
                        td.number { (optional(decision.from)) " → " (optional(decision.to)) }
                        td.number { (optional(decision.recommendation)) }
                        td { b { (decision.reason) } " " (decision.message) }
                    }
                }
            }
        }
        @if history.len() > SHOWN_DECISIONS {
            p.soft { "The newest " (SHOWN_DECISIONS) " of " (history.len()) "; all at " a href="/api/v1/autoscaling" { "/api/v1/autoscaling" } }
        }
    }
}

fn state_word(state: SampleState) -> Markup {
    match state {
        SampleState::Fresh => html! { span.good { "fresh" } },
        SampleState::Held => {
            html! { span.warn title="its worker does not answer; may keep or raise the replicas, never lower them" { "held" } }
        }
        SampleState::Expired => html! { span.bad title="too old to count" { "expired" } },
    }
}

fn optional(replicas: Option<i32>) -> String {
    replicas.map_or_else(|| "–".to_owned(), |replicas| replicas.to_string())
}

/// At most two digits behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time_of_day(unix_seconds: f64) -> String {
    let of_day = unix_seconds.rem_euclid(86_400.0).floor();
    format!("{:02.0}:{:02.0}:{:02.0}", (of_day / 3600.0).floor(), (of_day / 60.0).floor() % 60.0, of_day % 60.0)
}

#[cfg(test)]
mod tests {
    use datamodel::Timestamp;

    use super::*;

    fn status() -> AutoscalingStatus {
        let decision = DecisionRecord {
            time: 3_661.0,
            from: Some(1),
            to: Some(3),
            recommendation: Some(3),
            reason: "SuccessfulRescale".to_owned(),
            message: "<b>above target</b>".to_owned(),
            ..DecisionRecord::default()
        };
        AutoscalingStatus {
            name: "lightning-asr".to_owned(),
            namespace: "smallest".to_owned(),
            history: vec![decision.clone()],
            decision: Some(decision),
            ..AutoscalingStatus::default()
        }
    }

    #[test]
    fn decisions_are_marked_on_the_charts_and_told_in_the_table_with_their_reason() {
        let status = status();
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1000);
        let answers = vec![vec![Point { at: at(3_660), value: 12.0 }]; QUERIES.len()];
        let range = TimeRange { start: at(3_600), end: at(3_700) };
        let html =
            page(&Frame::plain(), &status, &chart(&status, answers, range, Duration::from_secs(5))).into_string();
        let refresh = "data-refresh=\"/autoscaling/fragment\"";
        for part in ["1→3", "01:01:01", "SuccessfulRescale", "&lt;b&gt;above target", refresh] {
            assert!(html.contains(part), "`{part}` is missing in {html}");
        }
        assert!(!html.contains("<b>above"), "text from outside is escaped");
    }

    #[test]
    fn every_query_has_its_panel() {
        assert!(QUERIES.iter().all(|query| query.panel < PANELS.len()));
    }
}
