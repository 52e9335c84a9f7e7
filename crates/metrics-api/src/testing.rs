//! Fakes for the tests of this crate: a source that is told what to answer, a clock that stands.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamodel::time::{ManualClock, TimeRange};
use datamodel::{Labels, Matcher, Timestamp};

use crate::api::{Backends, MetricsApi, Settings};
use crate::config::Config;
use crate::mapper::{FixedResources, ResourceInfo};
use crate::names::GroupResource;
use crate::objects::{FixedObjects, ListError, ObjectLister};
use crate::source::{BoxFuture, InstantAnswer, InstantValue, MetricsSource, SeriesShape, SourceError, SourceSample};

/// When the tests take place, in Unix seconds.
pub(crate) const NOW: i64 = 1_700_000_000;

type Answer = Box<dyn FnMut(&str) -> Result<InstantAnswer, SourceError> + Send>;

/// Lists given series and gives given answers.
pub(crate) struct FakeSource {
    pub(crate) series: Mutex<Vec<Labels>>,
    /// A metric name whose listing fails.
    pub(crate) broken: Mutex<Option<String>>,
    pub(crate) answer: Mutex<Answer>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) listings: Mutex<usize>,
    pub(crate) max_name_bytes: usize,
}

impl FakeSource {
    pub(crate) fn new(series: &[Labels]) -> Self {
        Self {
            series: Mutex::new(series.to_vec()),
            broken: Mutex::default(),
            answer: Mutex::new(Box::new(|_query| Ok(vector(Vec::new())))),
            asked: Mutex::default(),
            listings: Mutex::default(),
            max_name_bytes: 4_096,
        }
    }

    pub(crate) fn answers(&self, answer: impl FnMut(&str) -> Result<InstantAnswer, SourceError> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }
}

impl MetricsSource for FakeSource {
    fn series<'a>(
        &'a self,
        matchers: &'a [Matcher],
        _range: TimeRange,
    ) -> BoxFuture<'a, Result<BTreeSet<SeriesShape>, SourceError>> {
        *self.listings.lock().unwrap() += 1;
        let broken = self.broken.lock().unwrap().clone();
        if broken.is_some_and(|name| matchers.iter().any(|matcher| matcher.value() == name)) {
            return Box::pin(std::future::ready(Err(SourceError::Unavailable("connection refused".to_owned()))));
        }
        let series = self.series.lock().unwrap();
        let matching = series.iter().filter(|labels| matchers.iter().all(|matcher| matcher.matches_labels(labels)));
        Box::pin(std::future::ready(Ok(matching.filter_map(SeriesShape::of).collect())))
    }

    fn instant<'a>(
        &'a self,
        query: &'a str,
        _at: Timestamp,
        _fresh: Option<Arc<dyn storage::Queryable>>,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<InstantAnswer, SourceError>> {
        self.asked.lock().unwrap().push(query.to_owned());
        let answer = (self.answer.lock().unwrap())(query);
        Box::pin(std::future::ready(answer))
    }

    fn max_name_bytes(&self) -> usize {
        self.max_name_bytes
    }
}

/// Fails to list.
pub(crate) struct NoObjects;

impl ObjectLister for NoObjects {
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        _namespace: Option<&'a str>,
        _selector: &'a datamodel::selector::Selector,
    ) -> BoxFuture<'a, Result<Vec<crate::names::ObjectName>, ListError>> {
        let error = ListError::Forbidden { resource: resource.clone(), reason: "RBAC".to_owned() };
        Box::pin(std::future::ready(Err(error)))
    }
}

/// An API over fakes, with everything listed once.
pub(crate) struct Rig {
    pub(crate) api: Arc<MetricsApi>,
    pub(crate) source: Arc<FakeSource>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Rig {
    pub(crate) async fn new(
        config: Config,
        source: FakeSource,
        lister: impl ObjectLister + 'static,
        resources: FixedResources,
    ) -> Self {
        let source = Arc::new(source);
        let clock = Arc::new(ManualClock::new(at(0)));
        let backends = Backends {
            source: Arc::clone(&source) as Arc<dyn MetricsSource>,
            mapper: Arc::new(resources),
            lister: Arc::new(lister),
            freshen: None,
            clock: Arc::clone(&clock) as Arc<dyn datamodel::Clock>,
        };
        let api = Arc::new(MetricsApi::new(config, Settings::default(), backends));
        api.relist().await;
        Self { api, source, clock }
    }

    /// The seed's rules, three pods `asr-0` to `asr-2` in namespace `asr`, series for all of them.
    pub(crate) async fn seed() -> Self {
        let mut objects = FixedObjects::default();
        for index in 0..3 {
            let name = crate::names::ObjectName::namespaced("asr", &format!("asr-{index}"));
            objects.add(GroupResource::pods(), name, &[("app", "asr")]);
        }
        Self::new(Config::seed().unwrap(), FakeSource::new(&seed_series()), objects, cluster()).await
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// The series of the seed, as a cluster has them.
pub(crate) fn seed_series() -> Vec<Labels> {
    let mut series = vec![
        labels(&[
            ("__name__", "kube_deployment_status_replicas"),
            ("deployment", "lightning-asr"),
            ("namespace", "asr"),
        ]),
        labels(&[("__name__", "asr:requests:active_avg"), ("namespace", "asr")]),
    ];
    for name in ["asr_active_requests", "asr_total_requests", "asr_failed_requests", "asr_gpu_utilization"] {
        for pod in ["asr-0", "asr-1", "asr-2"] {
            series.push(labels(&[("__name__", name), ("namespace", "asr"), ("pod", pod), ("job", "asr")]));
        }
    }
    series
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// So many seconds from [`NOW`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms((NOW + seconds) * 1_000)
}

pub(crate) fn vector(samples: Vec<SourceSample>) -> InstantAnswer {
    InstantAnswer {
        value: InstantValue::Vector(samples),
        held: Vec::new(),
        missing: Vec::new(),
        warnings: Vec::new(),
        undated: None,
    }
}

/// A sample of a pod, taken so many seconds from [`NOW`].
pub(crate) fn pod_sample(pod: &str, value: f64, seconds: i64) -> SourceSample {
    SourceSample { labels: labels(&[("pod", pod), ("namespace", "asr")]), value, timestamp: at(seconds) }
}

/// The resources of a cluster that still has Deployments and Ingresses in `extensions`, as the published
/// cases assume.
pub(crate) fn cluster() -> FixedResources {
    let row = |(plural, singular, kind, group, namespaced): (&str, &str, &str, &str, bool)| ResourceInfo {
        group_resource: GroupResource::new(group, plural),
        singular: singular.to_owned(),
        kind: kind.to_owned(),
        version: "v1".to_owned(),
        namespaced,
    };
    let rows = [
        ("pods", "pod", "Pod", "", true),
        ("services", "service", "Service", "", true),
        ("ingresses", "ingress", "Ingress", "extensions", true),
        ("deployments", "deployment", "Deployment", "extensions", true),
        ("nodes", "node", "Node", "", false),
        ("persistentvolumes", "persistentvolume", "PersistentVolume", "", false),
        ("namespaces", "namespace", "Namespace", "", false),
    ];
    FixedResources(rows.map(row).to_vec())
}
