//! From stored samples to the document that the HPA reads, with public parts only.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use datamodel::selector::Selector;
use datamodel::time::ManualClock;
use datamodel::{Labels, Timestamp};
use metrics_api::{
    Ages, Backends, BuiltinResources, Config, CustomVersion, EmbeddedSource, FixedObjects, GroupResource, Listing,
    MetricsApi, ObjectName, SampleState, Settings, metric_value_list,
};
use storage::{Appendable, MemoryStorage};

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

#[tokio::test]
async fn samples_of_pods_become_the_list_that_the_hpa_reads() {
    let api = api(&[("asr-0", 3.0, 2), ("asr-1", 12.5, 4), ("asr-2", 9.0, 75)]).unwrap();
    let selector = Selector::parse("app=asr").unwrap();
    let values = api.pods_metric("asr", &selector, "asr_active_requests", &Selector::everything()).await.unwrap();
    let document: serde_json::Value =
        serde_json::from_str(&metric_value_list(CustomVersion::V1Beta1, &values)).unwrap();
    let items = document["items"].as_array().unwrap();
    let line = |item: &serde_json::Value| {
        format!("{} {} {}", item["describedObject"]["name"], item["value"], item["timestamp"])
    };
    let lines: Vec<String> = items.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "\"asr-0\" \"3\" \"2023-11-14T22:13:18Z\"",
            "\"asr-1\" \"12500m\" \"2023-11-14T22:13:16Z\"",
            "\"asr-2\" \"9\" \"2023-11-14T22:12:05Z\"",
        ]
    );
    assert_eq!(values[2].state, SampleState::Held);
}

#[tokio::test]
async fn metric_of_a_namespace_adds_up_its_series() {
    let api = api(&[("asr-0", 3.0, 2), ("asr-1", 5.0, 2)]).unwrap();
    let object = ObjectName::root("asr");
    let everything = Selector::everything();
    let value = api.object_metric(&GroupResource::namespaces(), &object, "asr_active_requests", &everything).await;
    // The seed's rule does not aggregate: the series of the namespace are added up, and that is reported.
    assert_eq!(value.unwrap().value.to_string(), "8");
    assert_eq!(api.problems().len(), 1);
}

/// An API over a storage with `asr_active_requests` of pods: name, value, age in seconds.
fn api(pods: &[(&str, f64, i64)]) -> Result<MetricsApi, Box<dyn Error>> {
    let storage = MemoryStorage::new();
    let mut objects = FixedObjects::default();
    let mut appender = storage.appender();
    for (pod, value, age) in pods {
        let labels = Labels::from_pairs([("__name__", "asr_active_requests"), ("namespace", "asr"), ("pod", pod)]);
        let series = appender.series(None, &labels)?;
        appender.append(series, Timestamp::from_unix_ms(NOW.unix_ms() - age * 1_000), *value)?;
        objects.add(GroupResource::pods(), ObjectName::namespaced("asr", pod), &[("app", "asr")]);
    }
    appender.commit()?;
    let ages = Ages::for_interval(Duration::from_secs(30));
    let backends = Backends {
        source: Arc::new(EmbeddedSource::new(promql::Engine::default(), Arc::new(storage), ages)),
        mapper: Arc::new(BuiltinResources),
        lister: Arc::new(objects),
        freshen: None,
        clock: Arc::new(ManualClock::new(NOW)),
    };
    Ok(MetricsApi::new(Config::seed()?, Settings { listing: Listing::default(), ages }, backends))
}
