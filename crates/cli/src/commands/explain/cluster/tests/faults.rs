//! The faults of a loop that must be named, by the error of the metrics API and by `explain`.
//!
//! - [`Setup`]: rules, series, pods and engine of a metrics API; each fault breaks one of them.
//!
//! Rule: what the metrics API says here is its own answer, of the code that serves it in a cluster.

use std::collections::BTreeSet;

use datamodel::selector::Selector;
use datamodel::time::TimeRange;
use datamodel::{Labels, Matcher};
use kubernetes::testing::OnCreate;
use metrics_api::{
    Ages, ApiError, Authorizer, Backends, BoxFuture, BuiltinResources, Config, Decision, Discovered, EmbeddedSource,
    FixedObjects, GroupResource, InstantAnswer, Listing, MetricValue, MetricsApi, MetricsSource, ObjectName,
    ObjectQuestion, Objects, SeriesShape, Settings, SourceError, User, attributes_of, status_document,
};
use remote::client::{BaseUrl, ClientOptions};
use storage::{Appendable, MemoryStorage, Queryable};
use tokio::net::TcpListener;

use super::*;

/// The seed's rule for the metric of the tests, with its matchers of labels taken away.
const RULES: &str = r#"
rules:
- seriesQuery: asr_active_requests
  resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pod}}}
  metricsQuery: 'sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)'
"#;

const METRIC: &str = "asr_active_requests";

/// How the engine answers queries. Its lists of series come all the same: they were made before it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Well,
    /// Nobody listens at its address.
    Refuses,
    /// It takes the question and gives no answer.
    Sleeps,
    /// It answers 503.
    Fails,
}

/// A metrics API over an engine with samples of two pods.
struct Setup {
    rules: String,
    labels: &'static [&'static str],
    /// Pods with samples.
    series: &'static [&'static str],
    value: f64,
    age: Duration,
    /// Pods of the cluster.
    pods: &'static [&'static str],
    engine: Engine,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rules: RULES.to_owned(),
            labels: &["namespace", "pod"],
            series: &["asr-0", "asr-1"],
            value: 6.0,
            age: Duration::from_secs(5),
            pods: &["asr-0", "asr-1"],
            engine: Engine::Well,
        }
    }
}

/// The engine of this process, which may break after its series were listed.
struct Source {
    lists: EmbeddedSource,
    /// None: it is well.
    broken: Option<adapter::RemoteSource>,
}

impl MetricsSource for Source {
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        range: TimeRange,
    ) -> BoxFuture<'a, Result<BTreeSet<SeriesShape>, SourceError>> {
        self.lists.series(matchers, range)
    }

    fn instant<'a>(
        &'a self,
        query: &'a str,
        at: Timestamp,
        fresh: Option<Arc<dyn Queryable>>,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<InstantAnswer, SourceError>> {
        match &self.broken {
            Some(source) => source.instant(query, at, fresh, deadline),
            None => self.lists.instant(query, at, fresh, deadline),
        }
    }
}

/// Every target is known: a sample that stops is that of a target that does not answer.
struct AllKnown;

impl Discovered for AllKnown {
    fn is_discovered(&self, _series: &Labels) -> bool {
        true
    }
}

impl Setup {
    fn append(&self, storage: &MemoryStorage) {
        let mut appender = storage.appender();
        for pod in self.series {
            let value = |label: &str| if label == "pod" { *pod } else { "smallest" };
            let labels = self.labels.iter().map(|label| (*label, value(label)));
            let series = appender.series(None, &Labels::from_pairs([("__name__", METRIC)].into_iter().chain(labels)));
            appender.append(series.unwrap(), NOW.saturating_sub(self.age), self.value).unwrap();
        }
        appender.commit().unwrap();
    }

    async fn api(&self, storage: &Arc<MemoryStorage>, clock: Arc<dyn Clock>, address: Option<String>) -> MetricsApi {
        let ages = Ages::for_interval(Duration::from_secs(30));
        let engine = promql::Engine::default();
        let lists = EmbeddedSource::new(engine, Arc::clone(storage) as Arc<dyn Queryable>, ages);
        let broken = address.map(|url| {
            let options = ClientOptions::new(BaseUrl::parse(&url).unwrap());
            let client = remote::client::Client::new(options, http_client::ClientOptions::default());
            adapter::RemoteSource::new(client, ages)
        });
        let mut objects = FixedObjects::default();
        for pod in self.pods {
            objects.add(GroupResource::pods(), ObjectName::namespaced("smallest", pod), &[("app", "lightning-asr")]);
        }
        let source = Source { lists: lists.with_discovered(Arc::new(AllKnown)), broken };
        let backends = Backends {
            source: Arc::new(source),
            mapper: Arc::new(BuiltinResources),
            lister: Arc::new(objects),
            freshen: None,
            clock,
        };
        let config = Config::parse("config.yaml", &self.rules).unwrap();
        let api = MetricsApi::new(config, Settings { listing: Listing::default(), ages }, backends);
        api.relist().await;
        api
    }

    /// What the metrics API answers.
    async fn answer(&self) -> Result<Vec<MetricValue>, ApiError> {
        let storage = Arc::new(MemoryStorage::new());
        self.append(&storage);
        let failing = FakeCluster::start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asleep = format!("http://{}", listener.local_addr().unwrap());
        let address = match self.engine {
            Engine::Well => None,
            Engine::Sleeps => Some(asleep),
            Engine::Refuses => {
                drop(listener);
                Some(asleep)
            }
            Engine::Fails => {
                let error = json!({"status": "error", "errorType": "unavailable", "error": "shutting down"});
                failing.answer("/api/v1/query", 503, error);
                Some(failing.url())
            }
        };
        let api = self.api(&storage, Arc::new(ManualClock::new(NOW)), address).await;
        ask(&api).await
    }
}

/// What the HPA's controller asks.
async fn ask(api: &MetricsApi) -> Result<Vec<MetricValue>, ApiError> {
    let question = ObjectQuestion {
        resource: &GroupResource::pods(),
        namespace: Some("smallest"),
        objects: Objects::Matching(&Selector::parse("app=lightning-asr").unwrap()),
        metric: METRIC,
        metric_selector: &Selector::everything(),
        deadline: Some(Duration::from_millis(500)),
    };
    api.objects_metric(&question).await
}

/// A fault, and what must be said of it.
struct Fault {
    name: &'static str,
    breaks: fn(&mut Setup),
    /// In the message of the API, and in the cause.
    says: &'static str,
    stage: &'static str,
    remedy: &'static str,
}

const FAULTS: [Fault; 10] = [
    Fault {
        name: "no rule",
        breaks: |setup| setup.rules = setup.rules.replace("seriesQuery: asr_active_requests", "seriesQuery: other"),
        says: "rules publishes a metric of this name",
        stage: "Rule",
        remedy: "give the metric a rule",
    },
    Fault {
        name: "rule without resource label",
        breaks: |setup| setup.rules = setup.rules.replace(", pod: {resource: pod}", ""),
        says: "the metric is published for namespaces: its series have no label for pods",
        stage: "Rule",
        remedy: "labels of pod and namespace",
    },
    Fault {
        name: "series without namespace",
        breaks: |setup| setup.labels = &["pod"],
        says: "published for pods, but only without a namespace in the path",
        stage: "Rule",
        remedy: "labels of pod and namespace",
    },
    Fault {
        name: "no pod for the selector",
        breaks: |setup| setup.pods = &[],
        says: "no pods in namespace smallest match the selector `app=lightning-asr`",
        stage: "Objects",
        remedy: "compare the selector of the scale target with the labels of its pods",
    },
    Fault {
        name: "pods without sample",
        breaks: |setup| setup.series = &["somebody-else"],
        says: "the query finds no series",
        stage: "Samples",
        remedy: "whether the pods are scraped",
    },
    Fault {
        name: "source refused",
        breaks: |setup| setup.engine = Engine::Refuses,
        says: "source is unavailable: ",
        stage: "Source",
        remedy: "whether the engine behind the metrics API runs",
    },
    Fault {
        name: "source slow",
        breaks: |setup| setup.engine = Engine::Sleeps,
        says: "source did not answer within ",
        stage: "Source",
        remedy: "whether the engine behind the metrics API runs",
    },
    Fault {
        name: "source 5xx",
        breaks: |setup| setup.engine = Engine::Fails,
        says: "source is unavailable: unavailable: shutting down",
        stage: "Source",
        remedy: "whether the engine behind the metrics API runs",
    },
    Fault {
        name: "NaN",
        breaks: |setup| setup.value = f64::NAN,
        says: "2 samples are not a finite number",
        stage: "Samples",
        remedy: "what the rule's query gives",
    },
    Fault {
        name: "stale target",
        breaks: |setup| setup.age = Duration::from_secs(200),
        says: "the query finds no series",
        stage: "Samples",
        remedy: "whether the pods are scraped",
    },
];

#[tokio::test]
async fn fault_of_rules_pods_samples_or_source_is_named_by_the_api_and_by_explain() {
    assert_eq!(Setup::default().answer().await.unwrap().len(), 2);
    for Fault { name, breaks, says, stage, remedy } in FAULTS {
        let mut setup = Setup::default();
        breaks(&mut setup);
        let error = setup.answer().await.expect_err(name);
        let (code, _) = error.status();
        let document = status_document(&error);
        let message = document["message"].as_str().unwrap();
        assert!(message.contains(says), "{name}: {message}");
        assert_eq!(error.stage().as_str(), stage, "{name}: {message}");

        let world = World::new().await;
        world.0.answer(ACTIVE, code, document);
        let explained = world.explain().await;
        World::check(&explained, stage, says, remedy);
        assert_eq!(explained.desired, Some(2), "{name}: the number stays");
    }
}

#[tokio::test]
async fn metric_that_comes_between_two_listings_is_no_fault() {
    let (setup, storage) = (Setup::default(), Arc::new(MemoryStorage::new()));
    let clock = Arc::new(ManualClock::new(NOW.saturating_sub(metrics_api::MIN_RELIST_GAP)));
    let api = setup.api(&storage, clock.clone(), None).await;
    assert_eq!(api.custom_metrics(), []);
    setup.append(&storage);
    clock.advance(metrics_api::MIN_RELIST_GAP);
    assert_eq!(ask(&api).await.unwrap().len(), 2);
}

#[tokio::test]
async fn role_that_the_user_of_the_controller_lacks_is_named_by_the_api_and_by_explain() {
    let world = World::new().await;
    let denied: OnCreate = Box::new(|_, object| Some(json!({"kind": object["kind"], "status": {"allowed": false}})));
    world.0.on_create(denied);
    let user = User { name: "system:serviceaccount:kube-system:horizontal-pod-autoscaler".into(), ..User::default() };
    let attributes = attributes_of(&ACTIVE.replace("%2A", "*"), None).unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let reviews = adapter::AccessReviews::new(world.0.client(), clock, adapter::CacheTimes::default());
    let Decision::Deny(reason) = reviews.authorize(&user, &attributes).await.unwrap() else { panic!("allowed") };
    let error = ApiError::Forbidden { action: attributes.to_string(), reason };
    let message = error.message();
    let role = "bind one with verb `get`, API group `custom.metrics.k8s.io`, resource `pods/asr_active_requests`";
    assert!(message.contains(role), "{message}");
    // Whoever explains may do more than the controller, whose condition has the refusal.
    world.hpa(|hpa| {
        hpa["status"]["conditions"][1] = json!({
            "type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric",
            "message": format!("unable to get metric {METRIC}: unable to fetch metrics from custom metrics API: {message}"),
        });
    });
    World::check(&world.explain().await, "Authorization", role, "horizontal-pod-autoscaler");
    // Or no more than it.
    world.hpa(|_| {});
    world.0.answer(ACTIVE, 403, status_document(&error));
    World::check(&world.explain().await, "Authorization", role, "bind a role for custom.metrics.k8s.io");
}

#[tokio::test]
async fn fault_between_api_server_and_metrics_api_is_named_by_explain() {
    let refused = "failing or missing response from https://10.0.0.9:6443/apis/custom.metrics.k8s.io/v1beta2: Get: ";
    for (service, (reason, message), cause, remedy) in [
        (
            "metrics-api",
            ("MissingEndpoints", "endpoints for service/metrics-api in \"smallest\" have no addresses"),
            "have no addresses",
            "ConfigMap kube-system/extension-apiserver-authentication needs the role",
        ),
        (
            "metrics-api",
            ("FailedDiscoveryCheck", "x509: certificate has expired or is not yet valid: current time is after"),
            "certificate has expired",
            "the certificate of smallest/metrics-api is out of its time",
        ),
        (
            "metrics-api",
            ("FailedDiscoveryCheck", "x509: certificate signed by unknown authority"),
            "unknown authority",
            "is not signed by `caBundle`",
        ),
        ("keda-metrics", ("Passed", "all checks passed"), "leads to smallest/keda-metrics, not to", "remove the other"),
    ] {
        let world = World::new().await;
        let available = if reason == "Passed" { "True" } else { "False" };
        world.service_that("v1beta2", service, available, (reason, &format!("{refused}{message}")));
        World::check(&world.explain().await, "APIService", cause, remedy);
    }

    // What the log says to which the first of them leads.
    let world = World::new().await;
    world.0.fail_next("extension-apiserver-authentication", kubernetes::testing::Fault::Status(403, "Forbidden"));
    let clock = Arc::new(ManualClock::new(NOW));
    let known = adapter::LookedUp::new(world.0.client(), clock, adapter::LookupOptions::default()).unwrap();
    let error = known.look().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read the ConfigMap kube-system/extension-apiserver-authentication");
}
