//! `/api/v1/targets` and `/api/v1/scrape_pools`.
//!
//! Rule: what is shown is what the scrape loops last said; nothing is scraped for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use datamodel::time::format_duration;
use scrape::{DroppedTarget, PoolStatus, ScrapeHandle, TargetStatus};
use serde_json::{Value, json as value};

use super::Shared;
use super::answer::{number, object, success};
use crate::error::{ApiError, ErrorType};
use crate::json::rfc3339_or_zero;
use crate::params::Params;

pub(crate) fn handle(shared: &Shared) -> Result<&ScrapeHandle, ApiError> {
    let none = || ApiError::new(ErrorType::NotFound, "this server scrapes no targets");
    shared.parts.targets.as_ref().ok_or_else(none)
}

pub(super) async fn targets(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::of(request).await?;
    let handle = handle(&shared)?;
    let state = params.get("state").to_lowercase();
    let pool = params.get("scrapePool");
    let shows = |what: &str| state.is_empty() || state == "any" || state == what;
    let in_pool = |name: &str| pool.is_empty() || pool == name;
    let mut active = Vec::new();
    if shows("active") {
        let targets = handle.active_targets();
        active.extend(targets.iter().filter(|target| in_pool(&target.scrape_pool)).map(active_target));
    }
    let (mut dropped, mut counts) = (Vec::new(), BTreeMap::new());
    if shows("dropped") {
        let targets = handle.dropped_targets();
        dropped.extend(targets.iter().filter(|target| in_pool(&target.scrape_pool)).map(dropped_target));
        let pools = handle.pools();
        counts.extend(pools.iter().map(|PoolStatus { scrape_pool, dropped, .. }| (scrape_pool.to_string(), *dropped)));
    }
    let data = value!({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts});
    Ok(success(&data))
}

pub(super) async fn scrape_pools(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let pools = handle(&shared)?.pools();
    let names: Vec<&str> = pools.iter().map(|pool| &*pool.scrape_pool).collect();
    Ok(success(&value!({"scrapePools": names})))
}

fn active_target(target: &TargetStatus) -> Value {
    value!({
        "discoveredLabels": object(&target.discovered_labels),
        "labels": object(&target.labels),
        "scrapePool": &*target.scrape_pool,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.scrape_url,
        "lastError": target.last_error,
        "lastScrape": rfc3339_or_zero(target.last_scrape),
        "lastScrapeDuration": number(target.last_scrape_duration.as_secs_f64()),
        "health": target.health.as_str(),
        "scrapeInterval": format_duration(target.scrape_interval),
        "scrapeTimeout": format_duration(target.scrape_timeout),
    })
}

fn dropped_target(target: &DroppedTarget) -> Value {
    value!({"discoveredLabels": object(&target.discovered_labels), "scrapePool": &*target.scrape_pool})
}
