//! The source over HTTP next to the engine in process, on the same samples; and servers that misbehave.

use std::error::Error;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::any;
use datamodel::registry::Registry;
use datamodel::selector::Selector;
use datamodel::time::{ManualClock, SystemClock};
use datamodel::{Clock, STALE_NAN};
use http::StatusCode;
use metrics_api::{
    Backends, BuiltinResources, Config, Discovered, EmbeddedSource, ExternalMetricValue, FixedObjects, GroupResource,
    Listing, MetricValue, MetricsApi, ObjectLister, ObjectName, ObjectQuestion, Objects, Settings,
};
use remote::ClientOptions;
use remote::client::BaseUrl;
use storage::{Appendable, MemoryStorage};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::SeriesObjects;

const NOW: i64 = 1_700_000_000;
const DEADLINE: Duration = Duration::from_secs(30);

/// Rules of all kinds: no aggregation, sums, ranges, quotients, and external ones.
const CONFIG: &str = r#"
rules:
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: plain}
  metricsQuery: 'load{<<.LabelMatchers>>}'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: summed}
  metricsQuery: 'sum(load{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: average}
  metricsQuery: 'avg_over_time(load{<<.LabelMatchers>>}[2m])'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: rate}
  metricsQuery: 'sum(rate(load{<<.LabelMatchers>>}[5m])) by (<<.GroupBy>>)'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: share}
  metricsQuery: '100 * load{<<.LabelMatchers>>} / on (namespace, pod) limit{<<.LabelMatchers>>}'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: busiest}
  metricsQuery: 'max by (<<.GroupBy>>) (max_over_time(load{<<.LabelMatchers>>}[3m:10s]))'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: before}
  metricsQuery: 'load{<<.LabelMatchers>>} offset 30s'
externalRules:
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: total}
  metricsQuery: 'sum(load)'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: each}
  metricsQuery: 'load{<<.LabelMatchers>>} > 2'
- seriesQuery: 'load'
  resources: {template: '<<.Resource>>'}
  name: {as: number}
  metricsQuery: 'scalar(sum(load))'
"#;

/// A pod: its name, when its last sample was taken (in seconds from now), and whether its target is still known.
const PODS: [(&str, i64, Fate); 5] = [
    ("live", -4, Fate::Answers),
    ("held", -40, Fate::IsDown),
    ("lost", -130, Fate::IsDown),
    ("gone", -40, Fate::IsGone),
    ("late", -13, Fate::Answers),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answers,
    IsDown,
    IsGone,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms((NOW + seconds) * 1_000)
}

/// Samples of all pods every 15 s, with markers where targets ended.
fn samples() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (number, (pod, last, fate)) in PODS.iter().enumerate() {
        let base = [("namespace", "asr"), ("pod", *pod), ("job", "asr"), ("instance", *pod)];
        for (name, factor) in [("load", 1.0), ("limit", 0.0), ("up", 0.0)] {
            let labels = Labels::from_pairs([("__name__", name)].into_iter().chain(base));
            let series = appender.series(None, &labels).unwrap();
            let mut time = last - 600;
            while time <= *last {
                let value = if name == "up" { 1.0 } else { number as f64 + 10.0 + factor * (time - last) as f64 };
                appender.append(series, at(time), value).unwrap();
                time += 15;
            }
            let after = if name == "up" && *fate == Fate::IsDown { 0.0 } else { STALE_NAN };
            if *fate != Fate::Answers {
                appender.append(series, at(time), after).unwrap();
            }
            while time < -15 && name == "up" && *fate == Fate::IsDown {
                time += 15;
                appender.append(series, at(time), 0.0).unwrap();
            }
        }
    }
    appender.commit().unwrap();
    storage
}

struct Known;

impl Discovered for Known {
    fn is_discovered(&self, series: &Labels) -> bool {
        PODS.iter().any(|(pod, _, fate)| series.get("pod") == Some(*pod) && *fate != Fate::IsGone)
    }
}

/// A server that ends with the test.
struct Served {
    address: std::net::SocketAddr,
    _tasks: JoinSet<()>,
}

impl Served {
    async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(web::serve(listener, router, None, web::ServeOptions::default(), CancellationToken::new()));
        Self { address, _tasks: tasks }
    }

    /// Our own engine, with its HTTP API.
    async fn engine(storage: Arc<MemoryStorage>) -> Self {
        // Deadlines are the engine's own; the time of each query is given.
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let parts = web::Parts::new(storage, promql::Engine::default(), clock, Registry::new());
        parts.readiness.set(true);
        Self::start(web::Api::new(parts).unwrap().router()).await
    }

    fn source(&self) -> RemoteSource {
        let url = BaseUrl::parse(&format!("http://{}", self.address)).unwrap();
        let client = Client::new(ClientOptions::new(url), http_client::ClientOptions::default());
        RemoteSource::new(client, Ages::default())
    }
}

fn api(source: Arc<dyn MetricsSource>, lister: Arc<dyn ObjectLister>) -> MetricsApi {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at(0)));
    let backends = Backends { source, mapper: Arc::new(BuiltinResources), lister, freshen: None, clock };
    let config = Config::parse("test", CONFIG).unwrap();
    MetricsApi::new(config, Settings { listing: Listing::default(), ages: Ages::default() }, backends)
}

/// All pods that the cluster has.
fn pods() -> Arc<FixedObjects> {
    let mut objects = FixedObjects::default();
    for (pod, ..) in PODS.iter().filter(|(_, _, fate)| *fate != Fate::IsGone) {
        objects.add(GroupResource::pods(), ObjectName::namespaced("asr", pod), &[]);
    }
    Arc::new(objects)
}

async fn custom(api: &MetricsApi, resource: &GroupResource, metric: &str) -> Result<Vec<MetricValue>, String> {
    let everything = Selector::everything();
    let is_namespace = resource.is_namespaces();
    let question = ObjectQuestion {
        resource,
        namespace: (!is_namespace).then_some("asr"),
        objects: if is_namespace { Objects::Named("asr") } else { Objects::Matching(&everything) },
        metric,
        metric_selector: &everything,
        deadline: None,
    };
    api.objects_metric(&question).await.map_err(|error| format!("{error}; {}", error.explanation()))
}

async fn external(api: &MetricsApi, metric: &str) -> Result<Vec<ExternalMetricValue>, String> {
    let outcome = api.external_metric("asr", metric, &Selector::everything()).await.map(|mut values| {
        // The order of elements is nobody's promise.
        values.sort_by(|one, other| one.labels.cmp(&other.labels));
        values
    });
    outcome.map_err(|error| format!("{error}; {}", error.explanation()))
}

#[tokio::test]
async fn answers_over_http_are_those_of_the_engine_in_process() {
    let storage = Arc::new(samples());
    let served = Served::engine(Arc::clone(&storage)).await;
    let embedded = EmbeddedSource::new(promql::Engine::default(), storage, Ages::default());
    let embedded = api(Arc::new(embedded.with_discovered(Arc::new(Known))), pods());
    let remote = api(Arc::new(served.source()), pods());
    for (resource, metric) in ["plain", "summed", "average", "rate", "share", "busiest", "before"]
        .into_iter()
        .flat_map(|metric| [(GroupResource::pods(), metric), (GroupResource::namespaces(), metric)])
    {
        let (here, there) = (custom(&embedded, &resource, metric).await, custom(&remote, &resource, metric).await);
        assert!(here.is_ok(), "{metric}: {here:?}");
        assert_eq!(there, here, "{metric} of {resource}");
    }
    for metric in ["total", "each", "number"] {
        let (here, there) = (external(&embedded, metric).await, external(&remote, metric).await);
        assert!(here.is_ok(), "{metric}: {here:?}");
        assert_eq!(there, here, "{metric}");
    }
    assert_eq!(remote.custom_metrics(), embedded.custom_metrics());
    assert_eq!(remote.external_metrics(), embedded.external_metrics());
}

#[tokio::test]
async fn target_that_lived_between_two_steps_is_held_at_the_oldest_time_that_it_may_have() {
    let storage = MemoryStorage::new();
    let mut appender = storage.appender();
    for (name, samples) in
        [("load", &[(-37, 7.0), (-36, STALE_NAN)][..]), ("up", &[(-37, 1.0), (-36, 0.0), (-6, 0.0)][..])]
    {
        let labels = Labels::from_pairs([("__name__", name), ("job", "asr"), ("instance", "brief"), ("pod", "brief")]);
        let series = appender.series(None, &labels).unwrap();
        for (ms, value) in samples {
            appender.append(series, Timestamp::from_unix_ms(NOW * 1_000 + ms), *value).unwrap();
        }
    }
    appender.commit().unwrap();
    let served = Served::engine(Arc::new(storage)).await;
    for (query, time) in [("load", -90), ("sum by (pod) (load)", -90), ("max by (pod) (max_over_time(load[90s]))", -90)]
    {
        let answer = served.source().instant(query, at(0), None, DEADLINE).await.unwrap();
        let InstantValue::Vector(samples) = &answer.value else { panic!("{answer:?}") };
        let sample: Vec<_> = samples.iter().map(|sample| (sample.value, sample.timestamp)).collect();
        assert_eq!((sample, answer.held.len(), answer.undated), (vec![(7.0, at(time))], 1, None), "{query}");
    }
}

#[tokio::test]
async fn objects_are_those_that_are_scraped() {
    let served = Served::engine(Arc::new(samples())).await;
    let source: Arc<dyn MetricsSource> = Arc::new(served.source());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at(0)));
    let objects = SeriesObjects::new(source, Arc::new(BuiltinResources), clock);
    let everything = Selector::everything();
    let list = async |resource: &str, namespace: Option<&'static str>| {
        let listed = objects.list(&GroupResource::new("", resource), namespace, &everything).await.unwrap();
        listed.into_iter().map(|object| object.name).collect::<Vec<_>>()
    };
    assert_eq!(list("pods", Some("asr")).await, ["held", "late", "live", "lost"]);
    assert_eq!(list("namespaces", None).await, ["asr"]);
    assert!(list("pods", Some("other")).await.is_empty());
    let selector = Selector::parse("app=asr").unwrap();
    let error = objects.list(&GroupResource::pods(), Some("asr"), &selector).await.unwrap_err();
    assert!(error.to_string().contains("known to the Kubernetes API alone"), "{error}");
}

/// A server that gives the answers of a list, one for each question, and the last one for all further ones.
async fn scripted(answers: &[(u16, &'static str)]) -> Served {
    let answers: Arc<[(u16, &'static str)]> = answers.into();
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = move || {
        let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
        async move {
            let index = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let (status, body) = answers[index];
            (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body).into_response()
        }
    };
    Served::start(Router::new().fallback(any(handler))).await
}

async fn refused(answers: &[(u16, &'static str)], query: &str) -> String {
    let served = scripted(answers).await;
    match served.source().instant(query, at(0), None, DEADLINE).await {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => error.to_string(),
    }
}

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

#[tokio::test]
async fn errors_and_warnings_of_a_server_are_passed_on() {
    let bad = (400, r#"{"status":"error","errorType":"bad_data","error":"parse error: no"}"#);
    assert_eq!(refused(&[bad], "1 + 1").await, "source refuses the query `1 + 1`: parse error: no");
    let slow = (503, r#"{"status":"error","errorType":"timeout","error":"too slow"}"#);
    assert_eq!(refused(&[slow], "1 + 1").await, "source did not answer within 30000 ms");
    assert_eq!(
        refused(&[(500, "{}")], "1 + 1").await,
        "source is unavailable: bad_response: unknown response code 500"
    );
    assert!(
        refused(&[(200, "nonsense")], "1").await.starts_with("source is unavailable: bad_response: invalid document")
    );
    let partial = (200, r#"{"status":"success","warnings":["half"],"data":{"resultType":"vector","result":[]}}"#);
    assert!(refused(&[partial], "load").await.contains(r#"warnings: ["half""#));
    let matrix = (200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#);
    assert!(refused(&[matrix, (200, EMPTY)], "load[5m]").await.contains("range vector"));
}

#[tokio::test]
async fn age_that_the_source_does_not_tell_is_unknown() {
    let one = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[5,"1"]}]}}"#;
    let served = Served::start(Router::new().fallback(any(move |uri: http::Uri| async move {
        let is_aux = uri.query().is_some_and(|query| query.contains("timestamp") || query.contains("count"));
        ([("content-type", "application/json")], if is_aux { EMPTY } else { one })
    })))
    .await;
    let source = served.source();
    let answer = source.instant("load", at(0), None, DEADLINE).await.unwrap();
    assert_eq!(answer.undated.as_deref(), Some("the source tells no time of some inputs"));
    let answer = source.instant("load keep_metric_names", at(0), None, DEADLINE).await.unwrap();
    assert!(answer.undated.unwrap().starts_with("the query is not understood here"));
}

#[tokio::test]
async fn last_answer_is_held_while_the_source_is_away() {
    let engine = Served::engine(Arc::new(samples())).await;
    let source = engine.source();
    let query = "load{pod=\"live\"}";
    let before = source.instant(query, at(0), None, DEADLINE).await.unwrap();
    assert!(before.held.is_empty());
    drop(engine);
    let deadline = Duration::from_millis(300);
    let held = source.instant(query, at(60), None, deadline).await.unwrap();
    assert_eq!((&held.value, held.held.len()), (&before.value, 1));
    // 90 s after the sample, which was taken 4 s before the first question.
    assert!(source.instant(query, at(87), None, deadline).await.is_err());
    assert!(source.instant("load", at(0), None, deadline).await.is_err());
}

#[tokio::test]
async fn listing_is_bounded_and_keeps_names_only() -> Result<(), Box<dyn Error>> {
    let engine = Served::engine(Arc::new(samples())).await;
    let range = TimeRange { start: at(-600), end: at(0) };
    let matchers = promql::parse_selector("{__name__=~\"load|up\"}")?;
    let shapes = engine.source().series(&matchers, range).await?;
    let shapes: Vec<String> =
        shapes.iter().map(|shape| format!("{}: {}", shape.metric, shape.labels.join(","))).collect();
    assert_eq!(shapes, ["load: instance,job,namespace,pod", "up: instance,job,namespace,pod"]);
    let body: String = (0..=MAX_SHAPES).map(|index| format!("{{\"__name__\":\"m{index}\"}},")).collect();
    let body = format!("{{\"status\":\"success\",\"data\":[{}]}}", body.trim_end_matches(','));
    let large = Served::start(Router::new().fallback(any(move || {
        let body = body.clone();
        async move { ([("content-type", "application/json")], body) }
    })))
    .await;
    let error = large.source().series(&matchers, range).await.unwrap_err();
    assert!(matches!(error, SourceError::TooLarge(MAX_SHAPES)), "{error}");
    Ok(())
}
