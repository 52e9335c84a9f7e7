//! `/service-discovery`: what was found, what relabelling made of it, and which rule dropped what.
//!
//! Rule: the rules of the running configuration are applied again, step by step; nothing is remembered for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::Labels;
use datamodel::relabel::RelabelConfig;
use maud::{Markup, html};
use scrape::ScrapeHandle;

use super::layout::Frame;
use super::{answer, labels, refusal};
use crate::api::Shared;
use crate::api::relabel::{Step, steps};
use crate::api::targets::handle;
use crate::error::ApiError;
use crate::params::Params;

/// The most label sets of a pool on the page.
const MAX_OF_POOL: usize = 100;

/// A label set that was found, and its end.
struct Found {
    discovered: Labels,
    /// None where it was dropped.
    target: Option<Labels>,
}

pub(super) async fn page(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let frame = Frame::of(&shared);
    match content(&shared, &frame, request).await {
        Ok(content) => answer(frame.page("Service Discovery", "/service-discovery", &content)),
        Err(error) => refusal(&frame, "Service Discovery", "/service-discovery", &error),
    }
}

async fn content(shared: &Arc<Shared>, frame: &Frame, request: Request<Body>) -> Result<Markup, ApiError> {
    let search = Params::of(request).await?.get("search").trim().to_owned();
    let handle = handle(shared)?.clone();
    let frame = frame.clone();
    shared.blocking(move || render(&frame, &handle, &search)).await
}

fn render(frame: &Frame, handle: &ScrapeHandle, search: &str) -> Markup {
    let mut found: BTreeMap<Arc<str>, Vec<Found>> = BTreeMap::new();
    for target in handle.active_targets() {
        let entry = Found { discovered: target.discovered_labels, target: Some(target.labels) };
        found.entry(target.scrape_pool).or_default().push(entry);
    }
    for target in handle.dropped_targets() {
        let entry = Found { discovered: target.discovered_labels, target: None };
        found.entry(target.scrape_pool).or_default().push(entry);
    }
    let pools = handle.pools();
    html! {
        h1 { "Service Discovery" }
        form.filter action=(frame.link("/service-discovery")) method="get" {
            label { "Search " input type="search" name="search" value=(search) placeholder="label or value"; }
            button type="submit" { "Filter" }
        }
        @if pools.is_empty() { p.soft { "No scrape pool is configured" } }
        @for status in &pools {
            @let rules = handle.relabel_configs(&status.scrape_pool).unwrap_or_default();
            @let all = found.get(&status.scrape_pool).map(Vec::as_slice).unwrap_or_default();
            @let shown: Vec<&Found> = all.iter().filter(|found| finds(&found.discovered, search)).collect();
            details.pool open {
                summary {
                    b { (status.scrape_pool) } " "
                    (status.active) " / " (status.active + status.dropped) " active targets"
                }
                @if status.active + status.dropped == 0 {
                    p.soft { "Nothing was found: the discovery of this job lists no target" }
                }
                div.card {
                    table {
                        thead { tr { th { "Discovered Labels" } th { "Target Labels" } } }
                        tbody { @for found in shown.iter().take(MAX_OF_POOL) { (row(found, &rules)) } }
                    }
                }
                @if shown.len() > MAX_OF_POOL { p.soft { (shown.len() - MAX_OF_POOL) " more: search, or see /api/v1/targets" } }
            }
        }
    }
}

fn finds(found: &Labels, search: &str) -> bool {
    search.is_empty() || found.iter().any(|(name, value)| name.contains(search) || value.contains(search))
}

fn row(found: &Found, rules: &[RelabelConfig]) -> Markup {
    html! {
        tr {
            td { (labels(&found.discovered)) }
            td {
                @match &found.target {
                    Some(target) => (labels(target)),
                    None => (dropped(&steps(rules, &found.discovered))),
                }
            }
        }
    }
}

/// Which rule dropped it.
fn dropped(steps: &[Step<'_>]) -> Markup {
    let by = steps.iter().enumerate().find(|(_, step)| step.output.is_none());
    html! {
        b.bad { "Dropped" }
        @if let Some((index, step)) = by {
            " by rule " (index + 1) " of `relabel_configs`:"
            pre { (rule_text(step.rule)) }
            @let values: Vec<String> = step.rule.source_labels.iter().map(|name| format!("{name}={:?}", step.input.get(name).unwrap_or_default())).collect();
            @if !values.is_empty() { span.soft { "with " (values.join(", ")) } }
        } @else {
            ": " span.soft { "no rule of the running configuration drops it" }
        }
    }
}

/// The rule as the configuration file has it, without what is default.
fn rule_text(rule: &RelabelConfig) -> String {
    let mut lines = vec![format!("action: {}", rule.action.as_str())];
    if !rule.source_labels.is_empty() {
        lines.push(format!("source_labels: [{}]", rule.source_labels.join(", ")));
    }
    let optional = [
        ("separator", &rule.separator),
        ("regex", &rule.regex),
        ("target_label", &rule.target_label),
        ("replacement", &rule.replacement),
    ];
    lines.extend(optional.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", value.as_ref()?))));
    lines.extend(rule.modulus.map(|modulus| format!("modulus: {modulus}")));
    lines.join("\n")
}
