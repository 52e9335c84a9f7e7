//! `/api/v1/targets` and `/api/v1/scrape_pools`.
//!
//! Rule: what is shown is what the scrape loops last said; nothing is scraped for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Uri};
use axum::response::Response;
use datamodel::time::format_duration;
use scrape::{DroppedTarget, PoolStatus, ScrapeHandle, TargetStatus};
use serde_json::{Value, json as value};

use super::Shared;
use super::answer::{number, object, success};
use crate::error::{ApiError, ErrorType};
use crate::json::rfc3339_or_zero;
use crate::params::Params;
use crate::parts::ApiOptions;

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
        let shown = targets.iter().filter(|target| in_pool(&target.scrape_pool));
        active.extend(shown.map(|target| active_target(target, &shared.parts.options)));
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

fn active_target(target: &TargetStatus, options: &ApiOptions) -> Value {
    value!({
        "discoveredLabels": object(&target.discovered_labels),
        "labels": object(&target.labels),
        "scrapePool": &*target.scrape_pool,
        "scrapeUrl": target.scrape_url,
        "globalUrl": global_url(&target.scrape_url, options),
        "lastError": target.last_error,
        "lastScrape": rfc3339_or_zero(target.last_scrape),
        "lastScrapeDuration": number(target.last_scrape_duration.as_secs_f64()),
        "health": target.health.as_str(),
        "scrapeInterval": format_duration(target.scrape_interval),
        "scrapeTimeout": format_duration(target.scrape_timeout),
    })
}

/// Where others reach what is scraped on this machine: under the host of the external URL; this server itself under
/// its external URL.
fn global_url(scrape_url: &str, options: &ApiOptions) -> String {
    let changed = || {
        let (own, external) = (scrape_url.parse::<Uri>().ok()?, options.external_url.parse::<Uri>().ok()?);
        let authority = external.authority()?;
        if !LOCAL_NAMES.contains(&own.host()?.trim_matches(['[', ']'])) {
            return None;
        }
        let path = own.path_and_query().map_or("", |path| path.as_str());
        Some(match own.port_u16() {
            Some(port) if Some(port) == options.listen_port => {
                format!("{}://{authority}{path}", external.scheme_str()?)
            }
            Some(port) => format!("{}://{}:{port}{path}", own.scheme_str()?, authority.host()),
            None => format!("{}://{}{path}", own.scheme_str()?, authority.host()),
        })
    };
    changed().unwrap_or_else(|| scrape_url.to_owned())
}

/// What upstream takes for this machine.
const LOCAL_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

fn dropped_target(target: &DroppedTarget) -> Value {
    value!({"discoveredLabels": object(&target.discovered_labels), "scrapePool": &*target.scrape_pool})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_this_machine_are_shown_under_its_external_name() {
        let external_url = "https://box.example/prometheus".to_owned();
        let options = ApiOptions { external_url, listen_port: Some(9090), ..ApiOptions::default() };
        for (scraped, global) in [
            ("http://127.0.0.1:9090/metrics", "https://box.example/metrics"),
            ("http://localhost:2269/metrics?a=b", "http://box.example:2269/metrics?a=b"),
            ("https://[::1]/metrics", "https://box.example/metrics"),
            ("http://10.0.0.1:9090/metrics", "http://10.0.0.1:9090/metrics"),
        ] {
            assert_eq!(global_url(scraped, &options), global);
        }
        assert_eq!(global_url("http://localhost/", &ApiOptions::default()), "http://localhost/");
    }
}
