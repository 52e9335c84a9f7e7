//! An API server of the tests' own, one fault at a time.

mod faults;

use datamodel::time::ManualClock;
use kubernetes::testing::{FakeCluster, Fault};
use serde_json::json;

use super::*;

const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta2";
const ACTIVE: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/smallest/pods/%2A/asr_active_requests";
const HPAS: &str = "/apis/autoscaling/v2/horizontalpodautoscalers";
const SCALE: &str = "/apis/apps/v1/namespaces/smallest/deployments/lightning-asr/scale";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// 2023-11-14T22:13:20Z
const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

fn name() -> HpaName {
    HpaName { namespace: "smallest".to_owned(), name: "lightning-asr".to_owned() }
}

fn arguments() -> ClusterArgs {
    ClusterArgs {
        scrape_interval: Duration::from_secs(30),
        adapter_service: Some("smallest/metrics-api".to_owned()),
        ..ClusterArgs::default()
    }
}

/// The HPA of the seed's product in a good state: two ready pods with six requests each, three replicas wanted.
struct World(FakeCluster);

impl World {
    async fn new() -> Self {
        let world = Self(FakeCluster::start().await.unwrap());
        world.hpa(|_| {});
        world.0.answer(
            SCALE,
            200,
            json!({
                "spec": {"replicas": 2}, "status": {"replicas": 2, "selector": "app=lightning-asr"},
            }),
        );
        for pod in ["asr-0", "asr-1"] {
            world.0.put("/api/v1/pods", json!({
                "metadata": {"name": pod, "namespace": "smallest", "labels": {"app": "lightning-asr"}},
                "status": {
                    "phase": "Running", "startTime": "2023-11-14T22:00:00Z",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2023-11-14T22:00:05Z"}],
                },
            }));
        }
        world.service("v1beta2", "metrics-api", "True");
        world.0.answer(ACTIVE, 200, values(&[("asr-0", "6"), ("asr-1", "6")]));
        world
    }

    fn hpa(&self, change: impl FnOnce(&mut Value)) {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "…", "lastTransitionTime": null});
        let mut hpa = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {
                "name": "lightning-asr", "namespace": "smallest", "uid": "1", "managedFields": [{"f:x": {".": {}}}],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "lightning-asr"},
                "minReplicas": 1, "maxReplicas": 5,
                "metrics": [{"type": "Pods", "pods": {
                    "metric": {"name": "asr_active_requests"}, "target": {"type": "AverageValue", "averageValue": "4"},
                }}],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3, "lastScaleTime": "2023-11-14T22:13:10Z",
                "currentMetrics": [{"type": "Pods", "pods": {
                    "metric": {"name": "asr_active_requests"}, "current": {"averageValue": "6"},
                }}],
                "conditions": [
                    condition("AbleToScale", "True", "SucceededRescale"),
                    condition("ScalingActive", "True", "ValidMetricFound"),
                    condition("ScalingLimited", "False", "DesiredWithinRange"),
                    condition("ScaledToZero", "False", "NotScaledToZero"),
                ],
            },
        });
        change(&mut hpa);
        self.0.put(HPAS, hpa);
    }

    fn service(&self, version: &str, service: &str, available: &str) {
        self.service_that(version, service, available, ("FailedDiscoveryCheck", "bad certificate"));
    }

    fn service_that(&self, version: &str, service: &str, available: &str, (reason, message): (&str, &str)) {
        self.0.put(
            SERVICES,
            json!({
                "metadata": {"name": format!("{version}.custom.metrics.k8s.io")},
                "spec": {
                    "group": "custom.metrics.k8s.io", "version": version, "versionPriority": 100,
                    "service": {"namespace": "smallest", "name": service},
                    "caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
                },
                "status": {"conditions": [
                    {"type": "Available", "status": available, "reason": reason, "message": message},
                ]},
            }),
        );
    }

    /// The server refuses the metric, and names a cause as ours does.
    fn refuses(&self, code: u16, message: &str, stage: &str, cause: &str) {
        let causes = json!([{"reason": stage, "message": cause}]);
        let status = json!({"kind": "Status", "code": code, "message": message, "details": {"causes": causes}});
        self.0.answer(ACTIVE, code, status);
    }

    async fn explain(&self) -> Explanation {
        let clock = ManualClock::new(NOW);
        explain_with(&name(), &arguments(), None, &self.0.client(), &clock).await.unwrap()
    }

    /// One stage fails, with these in cause and remedy, and the number stays.
    #[track_caller]
    fn check(explained: &Explanation, stage: &str, cause: &str, remedy: &str) {
        let failure = explained.failures.first().unwrap_or_else(|| panic!("no failure: {explained:#?}"));
        assert_eq!(failure.stage, stage, "{failure:?}");
        assert!(failure.cause.contains(cause), "`{cause}` is missing in {failure:?}");
        assert!(failure.remedy.contains(remedy), "`{remedy}` is missing in {failure:?}");
        assert!(!explained.is_fine());
    }
}

fn values(pods: &[(&str, &str)]) -> Value {
    let item = |(pod, value): &(&str, &str)| {
        json!({
            "describedObject": {"kind": "Pod", "namespace": "smallest", "name": pod, "apiVersion": "/v1"},
            "metric": {"name": "asr_active_requests"}, "timestamp": "2023-11-14T22:13:18Z", "value": value,
        })
    };
    json!({"kind": "MetricValueList", "items": pods.iter().map(item).collect::<Vec<_>>()})
}

#[tokio::test]
async fn decision_is_recomputed_and_equals_what_the_hpa_says() {
    let world = World::new().await;
    let explained = world.explain().await;
    assert_eq!(explained.failures, []);
    assert_eq!(explained.differences, []);
    assert!(explained.is_fine());
    assert_eq!((explained.current, explained.recommendation, explained.desired), (Some(2), Some(3), Some(3)));
    let metric = &explained.metrics[0];
    assert_eq!((metric.value.as_deref(), metric.ratio), (Some("6"), Some(1.5)));
    let told: Vec<_> = metric.pods.iter().map(|pod| (pod.pod.as_str(), pod.age_seconds, pod.state)).collect();
    let fresh = Some(hpa::status::SampleState::Fresh);
    assert_eq!(told, [("asr-0", Some(2.0), fresh), ("asr-1", Some(2.0), fresh)]);
    let asked = world.0.requests();
    assert!(asked.iter().any(|request| request.contains("%2A/asr_active_requests?labelSelector=app%3Dlightning-asr")));
    assert!(asked.iter().all(|request| request.starts_with("GET ")), "only read: {asked:?}");
}

#[tokio::test]
async fn difference_to_the_status_is_said() {
    let world = World::new().await;
    world.0.answer(ACTIVE, 200, values(&[("asr-0", "10"), ("asr-1", "2500m")]));
    let explained = world.explain().await;
    let told: Vec<_> = explained.differences.iter().map(|one| [&*one.what, &*one.computed, &*one.reported]).collect();
    assert_eq!(told, [["desired replicas", "4", "3"], ["value of asr_active_requests", "6.25", "6"]]);
    assert!(explained.differences[0].hint.contains("ask again"));
}

#[tokio::test]
async fn window_that_only_the_controller_remembers_is_taken_from_what_it_says() {
    let world = World::new().await;
    world.0.answer(ACTIVE, 200, values(&[("asr-0", "1"), ("asr-1", "1")]));
    world.hpa(|hpa| {
        hpa["status"]["desiredReplicas"] = json!(2);
        hpa["status"]["currentMetrics"][0]["pods"]["current"]["averageValue"] = json!("1");
        hpa["status"]["conditions"][0]["reason"] = json!("ScaleDownStabilized");
    });
    let explained = world.explain().await;
    assert_eq!(explained.differences, []);
    assert_eq!((explained.recommendation, explained.stabilized, explained.desired), (Some(1), Some(2), Some(2)));
    let assumed = explained.assumptions.iter().any(|one| one.starts_with("the last recommendation was 2"));
    assert!(assumed, "{:?}", explained.assumptions);
    assert!(explained.verdict.reasons.iter().any(|reason| reason.contains("the window of 60 s holds 1 back to 2")));
}

#[tokio::test]
async fn rescales_of_events_limit_the_rate() {
    let world = World::new().await;
    world.hpa(|hpa| {
        let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
        hpa["spec"]["behavior"]["scaleUp"] = json!({"policies": [policy]});
        hpa["status"]["desiredReplicas"] = json!(2);
        hpa["status"]["conditions"][2] =
            json!({"type": "ScalingLimited", "status": "True", "reason": "ScaleUpLimit", "message": "…"});
    });
    for (at, size) in [("22:00:00", 1), ("22:13:00", 2)] {
        world.0.put("/api/v1/events", json!({
            "metadata": {"name": format!("e-{size}"), "namespace": "smallest"}, "reason": "SuccessfulRescale",
            "involvedObject": {"kind": "HorizontalPodAutoscaler", "name": "lightning-asr"},
            "lastTimestamp": format!("2023-11-14T{at}Z"), "message": format!("New size: {size}; reason: pods metric"),
        }));
    }
    let explained = world.explain().await;
    let told: Vec<_> = explained.reported.unwrap().events.into_iter().map(|event| event.message).collect();
    assert_eq!(told, ["New size: 1; reason: pods metric", "New size: 2; reason: pods metric"]);
    assert_eq!(explained.behavior.up.policies[0].changed, 1);
    assert_eq!((explained.recommendation, explained.desired), (Some(3), Some(2)));
    assert_eq!(explained.differences, []);
}

#[tokio::test]
async fn each_failed_stage_is_named_with_cause_and_remedy() {
    let missing = "the server could not find the metric asr_active_requests for pods";
    let world = World::new().await;
    world.0.delete(SERVICES, "", "v1beta2.custom.metrics.k8s.io");
    World::check(&world.explain().await, "APIService", "nobody serves it", "create the APIService");
    world.service("v1beta2", "metrics-api", "False");
    World::check(&world.explain().await, "APIService", "bad certificate", "`caBundle`");
    world.service("v1beta2", "keda", "True");
    World::check(&world.explain().await, "APIService", "leads to smallest/keda, not to smallest/metrics-api", "remove");
    world.service("v1beta2", "metrics-api", "True");

    for (stage, cause, remedy) in [
        ("Rule", "none of the 3 rules publishes a metric of this name", "seriesQuery"),
        ("Rule", "its series have no label for pods", "labels of pod and namespace"),
        ("Rule", "published for pods, but only without a namespace in the path", "labels of pod and namespace"),
        ("Objects", "no pods in namespace smallest match the selector `app=x`", "labels of its pods"),
        ("Samples", "the query finds no series", "scraped"),
        ("Source", "source is unavailable: connection refused", "engine"),
    ] {
        world.refuses(404, missing, stage, cause);
        let explained = world.explain().await;
        World::check(&explained, stage, cause, remedy);
        assert_eq!(explained.desired, Some(2), "the number stays");
        assert!(explained.verdict.reasons[0].contains(missing), "{:?}", explained.verdict.reasons);
    }
    world.refuses(403, "pods.custom.metrics.k8s.io is forbidden: no role", "Authorization", "no role");
    World::check(&world.explain().await, "Authorization", "forbidden", "bind a role for custom.metrics.k8s.io");

    // Another server's 404 says nothing of the stage; whether it lists the metric does.
    world.0.answer(ACTIVE, 404, json!({"kind": "Status", "code": 404, "message": missing}));
    World::check(&world.explain().await, "Rule", "does not list pods/asr_active_requests", "rule");
    world.0.answer(CUSTOM, 200, json!({"resources": [{"name": "pods/asr_active_requests"}]}));
    World::check(&world.explain().await, "Samples", missing, "scraped");
}

#[tokio::test]
async fn pods_and_scale_that_are_not_there_are_stages_too() {
    let world = World::new().await;
    for pod in ["asr-0", "asr-1"] {
        world.0.delete("/api/v1/pods", "smallest", pod);
    }
    World::check(
        &world.explain().await,
        "Pods",
        "no pods returned by selector",
        "selector of Deployment/lightning-asr",
    );

    let world = World::new().await;
    world.0.answer(ACTIVE, 200, values(&[]));
    World::check(
        &world.explain().await,
        "Samples",
        "no metrics returned from custom metrics API",
        "targets are scraped",
    );

    let world = World::new().await;
    world.0.answer(SCALE, 404, json!({"kind": "Status", "code": 404, "message": "deployments.apps not found"}));
    let explained = world.explain().await;
    World::check(&explained, "Scale", "not found", "exists and has a scale");
    assert_eq!(explained.verdict.reasons.len(), 1);

    let world = World::new().await;
    world.0.fail_next("/api/v1/namespaces/smallest/pods", Fault::Status(403, "Forbidden"));
    World::check(&world.explain().await, "Pods", "Forbidden (403)", "verb `list` on pods");
}

#[tokio::test]
async fn what_the_controller_may_not_do_is_found_in_its_conditions() {
    let world = World::new().await;
    world.hpa(|hpa| {
        let message = "the HPA was unable to compute the replica count: unable to get metric asr_active_requests: unable to \
                       fetch metrics from custom metrics API: get pods is forbidden: User \"hpa\" cannot";
        hpa["status"]["conditions"][1] = json!({
            "type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric", "message": message,
        });
    });
    let explained = world.explain().await;
    let remedy = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
    World::check(&explained, "Authorization", "the controller says: ", remedy);
    assert!(explained.differences.iter().any(|one| one.what == "condition ScalingActive"));

    world.hpa(|hpa| hpa["status"] = json!({}));
    World::check(&world.explain().await, "Controller", "no conditions", "first sync");
}

#[tokio::test]
async fn autoscaler_that_is_not_there_or_may_not_be_read_is_an_error() {
    let world = World::new().await;
    world.0.delete(HPAS, "smallest", "lightning-asr");
    let clock = ManualClock::new(NOW);
    let client = world.0.client();
    let error = async || explain_with(&name(), &arguments(), None, &client, &clock).await.unwrap_err().to_string();
    assert!(error().await.contains("has no HorizontalPodAutoscaler smallest/lightning-asr"));
    world.0.fail_next("horizontalpodautoscalers", Fault::Status(403, "Forbidden"));
    assert!(error().await.starts_with("you may not read HorizontalPodAutoscaler smallest/lightning-asr: bind a role"));
}

#[test]
fn metric_that_only_the_given_rules_publish_is_anothers_api_service() {
    let failure = |stage: &str, cause: &str| FailureRecord {
        stage: stage.to_owned(),
        cause: cause.to_owned(),
        remedy: String::new(),
    };
    let rule = hpa::origin::RuleRecord { id: "rules[0]".to_owned(), ..Default::default() };
    let found = MetricOrigin { rule: Some(rule), ..MetricOrigin::default() };
    let other = nearer(failure("Rule", "a/keda: it does not list pods/x"), &found);
    assert_eq!(other.stage, "APIService");
    assert!(other.cause.contains("although rules[0] of the given rules does"), "{other:?}");
    // The same stage from here is told in more words; another one is not believed.
    let here = |stage: &str| MetricOrigin { failure: Some(failure(stage, "from here")), ..MetricOrigin::default() };
    assert_eq!(nearer(failure("Samples", "there"), &here("Samples")).cause, "from here");
    assert_eq!(nearer(failure("Samples", "there"), &here("Source")).cause, "there");
}
