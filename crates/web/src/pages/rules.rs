//! `/rules` and `/alerts`: groups with their last evaluation, alerts with their state.
//!
//! Rule: what fails and what fires stands out, and every expression leads to the query page.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::Timestamp;
use datamodel::time::format_duration;
use maud::{Markup, html};
use rules::{Alert, AlertState, GroupStatus, RuleHealth, RuleKind, RuleStatus};

use super::layout::Frame;
use super::{ago, answer, labels, refusal, span};
use crate::api::Shared;
use crate::api::rules::groups;
use crate::params::Params;

/// The most alerts of a rule on the page; the API has them all.
const MAX_ALERTS: usize = 100;

pub(super) async fn rules_page(State(shared): State<Arc<Shared>>) -> Response {
    let frame = Frame::of(&shared);
    let now = shared.parts.clock.now();
    let groups = groups(&shared);
    let content = html! {
        h1 { "Rules" }
        @if groups.is_empty() { p.soft { "No rule file is loaded" } }
        @for group in &groups { (group_part(&frame, group, now)) }
    };
    answer(frame.page("Rules", "/rules", &content))
}

fn group_part(frame: &Frame, group: &GroupStatus, now: Timestamp) -> Markup {
    html! {
        h2 { (group.name) " " span.soft { (group.file) } }
        p.soft {
            "every " (format_duration(group.interval)) ", last " (ago(now, group.last_evaluation))
            ", took " (span(group.evaluation_time))
        }
        div.card {
            table {
                thead { tr { th { "Rule" } th { "State" } th { "Last Evaluation" } th { "Evaluation Time" } th { "Error" } } }
                tbody { @for rule in &group.rules { (rule_row(frame, rule, now)) } }
            }
        }
    }
}

fn rule_row(frame: &Frame, rule: &RuleStatus, now: Timestamp) -> Markup {
    let (class, health) = match rule.health {
        RuleHealth::Ok => ("good", "OK"),
        RuleHealth::Err => ("bad", "ERR"),
        RuleHealth::Unknown => ("soft", "UNKNOWN"),
    };
    html! {
        tr {
            td {
                (definition(frame, rule))
            }
            td class=(class) { b { (health) } }
            td { (ago(now, rule.last_evaluation)) }
            td { (span(rule.evaluation_time)) }
            td.bad { (rule.last_error) }
        }
    }
}

fn definition(frame: &Frame, rule: &RuleStatus) -> Markup {
    let list = |key: &str, pairs: &[(String, String)]| {
        html! { @if !pairs.is_empty() { div { (key) ": " @for (name, value) in pairs { span.label { (name) "=" q { (value) } } " " } } } }
    };
    html! {
        div {
            @if matches!(rule.kind, RuleKind::Recording) { "record: " } @else { "alert: " }
            a href=(frame.query_link(&rule.name, "table")) { b { (rule.name) } }
        }
        div { "expr: " a href=(frame.query_link(&rule.query, "graph")) { code { (rule.query) } } }
        @if let RuleKind::Alerting { for_duration, keep_firing_for, .. } = &rule.kind {
            @if !for_duration.is_zero() { div { "for: " (format_duration(*for_duration)) } }
            @if !keep_firing_for.is_zero() { div { "keep_firing_for: " (format_duration(*keep_firing_for)) } }
        }
        (list("labels", &rule.labels))
        @if let RuleKind::Alerting { annotations, .. } = &rule.kind { (list("annotations", annotations)) }
    }
}

pub(super) async fn alerts_page(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let frame = Frame::of(&shared);
    let params = match Params::of(request).await {
        Ok(params) => params,
        Err(error) => return refusal(&frame, "Alerts", "/alerts", &error),
    };
    let (state, search) = (params.get("state"), params.get("search").trim());
    let now = shared.parts.clock.now();
    let groups = groups(&shared);
    let count = |wanted: AlertState| {
        let rules = groups.iter().flat_map(|group| &group.rules);
        rules.filter(|rule| rule_state(rule) == Some(wanted)).count()
    };
    let mut rules: Vec<(&GroupStatus, &RuleStatus, AlertState)> = groups
        .iter()
        .flat_map(|group| group.rules.iter().filter_map(move |rule| Some((group, rule, rule_state(rule)?))))
        .filter(|(_, rule, found)| {
            (state.is_empty() || found.as_str() == state) && (search.is_empty() || rule.name.contains(search))
        })
        .collect();
    // Those that fire first.
    rules.sort_by_key(|(.., state)| std::cmp::Reverse(*state));
    let content = html! {
        h1 { "Alerts" }
        form.filter action=(frame.link("/alerts")) method="get" {
            label { "State "
                select name="state" {
                    option value="" { "all" }
                    @for word in ["firing", "pending", "inactive"] { option selected[word == state] { (word) } }
                }
            }
            label { "Search " input type="search" name="search" value=(search) placeholder="name of the alert"; }
            button type="submit" { "Filter" }
        }
        p {
            span.bad { (count(AlertState::Firing)) " firing" } ", "
            span.warn { (count(AlertState::Pending)) " pending" } ", "
            span.good { (count(AlertState::Inactive)) " inactive" }
        }
        @if rules.is_empty() { p.soft { "No alerting rule matches" } }
        @for (group, rule, state) in &rules { (alert_part(&frame, group, rule, *state, now)) }
    };
    answer(frame.page("Alerts", "/alerts", &content))
}

const fn rule_state(rule: &RuleStatus) -> Option<AlertState> {
    match &rule.kind {
        RuleKind::Alerting { state, .. } => Some(*state),
        RuleKind::Recording => None,
    }
}

const fn class(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "bad",
        AlertState::Pending => "warn",
        AlertState::Inactive => "good",
    }
}

fn alert_part(frame: &Frame, group: &GroupStatus, rule: &RuleStatus, state: AlertState, now: Timestamp) -> Markup {
    let alerts: &[Alert] = match &rule.kind {
        RuleKind::Alerting { alerts, .. } => alerts,
        RuleKind::Recording => &[],
    };
    html! {
        details.pool open[state != AlertState::Inactive] {
            summary {
                b { (rule.name) } " " b class=(class(state)) { (state.as_str()) }
                " " span.soft { (alerts.len()) " active · " (group.name) " · " (group.file) }
            }
            div.card {
                (definition(frame, rule))
                @if !rule.last_error.is_empty() { p.bad { (rule.last_error) } }
                @if !alerts.is_empty() {
                    table {
                        thead { tr { th { "Labels" } th { "State" } th { "Active Since" } th.number { "Value" } } }
                        tbody { @for alert in alerts.iter().take(MAX_ALERTS) {
                            tr {
                                td {
                                    (labels(&alert.labels))
                                    @for (name, text) in &alert.annotations { div.soft { (name) ": " (text) } }
                                }
                                td class=(class(alert.state)) { (alert.state.as_str()) @if alert.keep_firing_since.is_some() { " (kept firing)" } }
                                td { (ago(now, Some(alert.active_at))) }
                                td.number { (datamodel::float::format_g(alert.value)) }
                            }
                        } }
                    }
                    @if alerts.len() > MAX_ALERTS { p.soft { (alerts.len() - MAX_ALERTS) " more at /api/v1/alerts" } }
                }
            }
        }
    }
}
