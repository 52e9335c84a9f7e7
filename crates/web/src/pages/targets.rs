//! `/targets`: what is scraped, how it went, and why it failed.
//!
//! Rule: those that fail come first; the page is bounded, whatever the number of targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::Timestamp;
use maud::{Markup, html};
use scrape::{TargetHealth, TargetStatus};

use super::layout::Frame;
use super::{ago, answer, labels, refusal, span};
use crate::api::Shared;
use crate::api::targets::handle;
use crate::error::ApiError;
use crate::params::Params;

/// The most targets of a pool on the page; the API has them all.
const MAX_OF_POOL: usize = 200;

/// The most targets of the page, and of a pool that was chosen.
const MAX_OF_PAGE: usize = 1_000;

/// What the page was asked to show.
struct Filter {
    pool: String,
    health: String,
    search: String,
}

impl Filter {
    fn of(params: &Params) -> Self {
        let get = |name: &str| params.get(name).to_owned();
        Self { pool: get("scrapePool"), health: get("health"), search: get("search") }
    }

    fn shows(&self, target: &TargetStatus) -> bool {
        (self.pool.is_empty() || *target.scrape_pool == *self.pool)
            && (self.health.is_empty() || target.health.as_str() == self.health)
            && self.finds(target)
    }

    fn finds(&self, target: &TargetStatus) -> bool {
        let text = self.search.trim();
        text.is_empty()
            || target.scrape_url.contains(text)
            || target.last_error.contains(text)
            || target.labels.iter().any(|(name, value)| value.contains(text) || name == text)
    }
}

pub(super) async fn page(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let frame = Frame::of(&shared);
    match content(&shared, &frame, request).await {
        Ok(content) => answer(frame.page("Targets", "/targets", &content)),
        Err(error) => refusal(&frame, "Targets", "/targets", &error),
    }
}

async fn content(shared: &Arc<Shared>, frame: &Frame, request: Request<Body>) -> Result<Markup, ApiError> {
    let filter = Filter::of(&Params::of(request).await?);
    let handle = handle(shared)?.clone();
    let now = shared.parts.clock.now();
    let frame = frame.clone();
    shared
        .blocking(move || {
            let mut pools: BTreeMap<Arc<str>, Vec<TargetStatus>> =
                handle.pools().into_iter().map(|pool| (pool.scrape_pool, Vec::new())).collect();
            let names: Vec<Arc<str>> = pools.keys().cloned().collect();
            for target in handle.active_targets() {
                pools.entry(Arc::clone(&target.scrape_pool)).or_default().push(target);
            }
            render(&frame, &filter, &names, &pools, now)
        })
        .await
}

fn render(
    frame: &Frame,
    filter: &Filter,
    names: &[Arc<str>],
    pools: &BTreeMap<Arc<str>, Vec<TargetStatus>>,
    now: Timestamp,
) -> Markup {
    let all = pools.values().map(Vec::len).sum::<usize>();
    let up = pools.values().flatten().filter(|target| target.health == TargetHealth::Up).count();
    let most_of_pool = if filter.pool.is_empty() { MAX_OF_POOL } else { MAX_OF_PAGE };
    let mut left = MAX_OF_PAGE;
    let mut parts = Vec::new();
    for (name, targets) in pools {
        let mut shown: Vec<&TargetStatus> = targets.iter().filter(|target| filter.shows(target)).collect();
        let found = shown.len();
        // Those that fail first; otherwise as they are, by labels.
        shown.sort_by_key(|target| match target.health {
            TargetHealth::Down => 0,
            TargetHealth::Unknown => 1,
            TargetHealth::Up => 2,
        });
        shown.truncate(most_of_pool.min(left));
        left -= shown.len();
        if found > 0 || (filter.pool.is_empty() && filter.search.is_empty() && filter.health.is_empty()) {
            parts.push(pool(name, targets, &shown, found, now));
        }
    }
    html! {
        h1 { "Targets" }
        (form(frame, filter, names))
        p { (up) " of " (all) " targets are up" }
        @if parts.is_empty() { p.soft { "No target matches" } }
        @for part in &parts { (part) }
    }
}

fn form(frame: &Frame, filter: &Filter, names: &[Arc<str>]) -> Markup {
    html! {
        form.filter action=(frame.link("/targets")) method="get" {
            label { "Pool "
                select name="scrapePool" {
                    option value="" { "all" }
                    @for name in names { option value=(name) selected[**name == *filter.pool] { (name) } }
                }
            }
            label { "State "
                select name="health" {
                    option value="" { "all" }
                    @for state in ["up", "down", "unknown"] { option selected[state == filter.health] { (state) } }
                }
            }
            label { "Search " input type="search" name="search" value=(filter.search) placeholder="endpoint, label, error"; }
            button type="submit" { "Filter" }
        }
    }
}

fn pool(name: &str, targets: &[TargetStatus], shown: &[&TargetStatus], found: usize, now: Timestamp) -> Markup {
    let up = targets.iter().filter(|target| target.health == TargetHealth::Up).count();
    html! {
        details.pool open {
            summary {
                b { (name) } " "
                span class=(if up == targets.len() { "good" } else { "bad" }) { (up) " / " (targets.len()) " up" }
            }
            div.card {
                table.targets {
                    thead { tr { th { "Endpoint" } th { "State" } th { "Labels" } th { "Last Scrape" } th { "Scrape Duration" } th { "Error" } } }
                    tbody { @for target in shown { (row(target, now)) } }
                }
            }
            @if found > shown.len() {
                p.soft { (found - shown.len()) " more: choose the pool, a state, or search" }
            }
        }
    }
}

fn row(target: &TargetStatus, now: Timestamp) -> Markup {
    let (class, state) = match target.health {
        TargetHealth::Up => ("good", "UP"),
        TargetHealth::Down => ("bad", "DOWN"),
        TargetHealth::Unknown => ("soft", "UNKNOWN"),
    };
    html! {
        tr {
            td { a href=(target.scrape_url) rel="noreferrer" { (target.scrape_url) } }
            td class=(class) { b { (state) } }
            td title="discovered labels: Status → Service Discovery" { (labels(&target.labels)) }
            td { (ago(now, target.last_scrape)) }
            td { @if target.last_scrape.is_some() { (span(target.last_scrape_duration)) } }
            td.bad {
                @if !target.last_error.is_empty() {
                    (target.last_error)
                    @if let Some(why) = why(&target.last_error) { br; span.soft { (why) } }
                }
            }
        }
    }
}

/// What usually lies behind an error, and where to look.
fn why(error: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 12] = [
        ("Connection refused", "nothing listens on this port: is the process up, and is it this port?"),
        ("No route to host", "the network does not lead there: a firewall, or a pod that is gone"),
        ("lookup", "the name does not resolve"),
        ("resolve", "the name does not resolve"),
        ("no complete answer within", "the target is slower than `scrape_timeout`, or a firewall drops the packets"),
        ("HTTP status 404", "there is no such page: `metrics_path`"),
        ("HTTP status 401", "credentials are missing: `basic_auth`, `authorization`"),
        ("HTTP status 403", "the credentials may not read this page"),
        ("HTTP status 5", "the target itself fails: its log says why"),
        ("breaks its format", "the page is not in the exposition format: is it the page of metrics?"),
        ("content type", "the page does not say that it holds metrics: `fallback_scrape_protocol`"),
        ("limit", "more than the job allows: raise the limit, or drop what is not needed by `metric_relabel_configs`"),
    ];
    HINTS.iter().find(|(part, _)| error.contains(part)).map(|(_, why)| *why)
}
