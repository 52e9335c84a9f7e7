//! The reference of metrics against what is declared.

mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamodel::Clock;
use datamodel::registry::{Descriptor, Registry};
use datamodel::time::SystemClock;
use promql::EngineOptions;
use rules::RuleOptions;
use scrape::ScrapeOptions;
use tokio::sync::watch;
use tsdb::TsdbOptions;

use super::up::state_series;
use crate::config::ConfigMetrics;
use crate::run_group::{RunGroup, StopTimeouts};
use crate::wiring::{EngineSettings, wire_engine};

const REFERENCE: &str = include_str!("../../../../docs/reference/metrics.md");

/// Type and help of each name in the tables of the page; series that no registry declares are left out.
fn documented() -> BTreeMap<String, (String, String)> {
    let mut rows = BTreeMap::new();
    for section in REFERENCE.split("\n## ").filter(|section| !section.lines().next().unwrap().contains(": written ")) {
        for line in section.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() >= 3) {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let row = (cells[1].to_owned(), cells[3].to_owned());
            rows.insert(cells[0].trim_matches('`').to_owned(), row);
        }
    }
    rows
}

/// Everything that `up`, `server`, `adapter` and `asr` declare.
async fn declared() -> Vec<Descriptor> {
    let folder = tempfile::tempdir().unwrap();
    let (registry, clock): (_, Arc<dyn Clock>) = (Registry::new(), Arc::new(SystemClock));
    let second = Duration::from_secs(1);
    let mut group = RunGroup::new(StopTimeouts { requests: second, others: second });
    let settings = EngineSettings {
        storage: TsdbOptions::new(folder.path()),
        storage_flag: "",
        query: EngineOptions::default(),
        scrape: ScrapeOptions::default(),
        rules: RuleOptions::default(),
        remote_write: Some(storage::MemoryPool::unlimited()),
    };
    let engine = wire_engine(settings, &clock, &registry, &mut group).await.unwrap();
    ConfigMetrics::register(&registry).unwrap();
    discovery::DiscoveryMetrics::new(&registry).unwrap();
    rules::notifier::Notifier::new(rules::notifier::NotifierOptions::default(), &registry).unwrap();
    metrics_api::ApiMetrics::register(&registry).unwrap();
    adapter::SourceMetrics::register(&registry).unwrap();
    kubernetes::state::StateSeries::default().register(&registry).unwrap();
    state_series::register(&registry, watch::channel(Arc::default()).1).unwrap();
    local::metrics::register(&registry, &local::Fleet::new("n", Arc::clone(&clock)), watch::channel(1).1).unwrap();
    web::Api::new(web::Parts::new(engine.queryable, engine.engine, clock, registry.clone())).unwrap();
    let mut all = registry.families();
    all.extend(asr::server::metric_catalogue().unwrap());
    all
}

#[tokio::test]
async fn reference_of_metrics_is_what_is_declared() {
    let mut documented = documented();
    let mut complaints = Vec::new();
    let all: BTreeMap<&str, Descriptor> = declared().await.into_iter().map(|metric| (metric.name, metric)).collect();
    for Descriptor { name, metric_type, help } in all.into_values() {
        let expected = (metric_type.as_str().to_owned(), help.to_owned());
        match documented.remove(name) {
            None => complaints.push(format!("missing: | `{name}` | {} |  | {help} |", expected.0)),
            Some(found) if found != expected => complaints.push(format!("`{name}`: {found:?}, but {expected:?}")),
            Some(_) => {}
        }
    }
    complaints.extend(documented.into_keys().map(|name| format!("no such metric: `{name}`")));
    assert!(complaints.is_empty(), "docs/reference/metrics.md:\n{}", complaints.join("\n"));
}
