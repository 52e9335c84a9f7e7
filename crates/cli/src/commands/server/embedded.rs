//! The metrics API inside the server: its source is the engine of this process.
//!
//! Rule: as in [`up`](crate::commands::up): the pods that are asked for are scraped first, and what no longer answers
//! is held while it is discovered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use datamodel::Clock;
use datamodel::registry::Registry;
use metrics_api::EmbeddedSource;

use crate::commands::secured_api::{SecuredApi, Source};
use crate::run_group::RunGroup;
use crate::wiring::WiredEngine;
use crate::wiring::known_targets::KnownTargets;
use crate::wiring::pull::PodPull;
use crate::wiring::recorded::RecordingRules;

/// Connects the API, where there is one, to the engine. Returns the address.
///
/// # Errors
///
/// As [`SecuredApi::wire`].
pub(super) async fn wire(
    api: Option<SecuredApi>,
    engine: &WiredEngine,
    recorded: RecordingRules,
    scrape_interval: Duration,
    clock: &Arc<dyn Clock>,
    registry: Registry,
    group: &mut RunGroup,
) -> Result<Option<SocketAddr>> {
    let Some(api) = api else { return Ok(None) };
    let settings = api.settings(scrape_interval)?;
    let known = KnownTargets::new(engine.scrape.clone(), Arc::clone(clock));
    let source = EmbeddedSource::new(engine.engine.clone(), Arc::clone(&engine.queryable), settings.ages)
        .with_discovered(Arc::new(known))
        .with_recorded(Arc::new(recorded))
        .covered_since(clock.now());
    let pull = PodPull::new(engine.scrape.clone(), Arc::clone(&engine.queryable));
    let source = Source { source: Arc::new(source), freshen: Some(Arc::new(pull)), settings, kube_state: None };
    Ok(Some(api.wire(source, Arc::clone(clock), registry, group).await?))
}
