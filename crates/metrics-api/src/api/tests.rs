use datamodel::selector::Selector;

use super::*;
use crate::error::Stage;
use crate::hold::SampleState;
use crate::mapper::BuiltinResources;
use crate::objects::FixedObjects;
use crate::source::{BoxFuture, SourceError, SourceSample};
use crate::testing::{FakeSource, Rig, at, cluster, labels, pod_sample, seed_series, vector};

#[tokio::test]
async fn pods_metric_gives_one_value_a_pod_with_its_true_time() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| {
        Ok(vector(vec![pod_sample("asr-0", 3.5, -2), pod_sample("asr-2", 12.0, -7), pod_sample("other", 99.0, 0)]))
    });
    check(&rig, "app=asr", &["asr-0 3500m fresh -2", "asr-2 12 fresh -7"]).await;
    let asked = rig.source.asked.lock().unwrap().clone();
    assert_eq!(asked, ["asr_active_requests{namespace=\"asr\",pod=~\"asr-0|asr-1|asr-2\"}"]);
}

#[tokio::test]
async fn series_of_one_pod_are_added_up_and_the_rule_is_reported() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 3.0, -2), pod_sample("asr-0", 4.0, -1)])));
    check(&rig, "app=asr", &["asr-0 7 fresh -1"]).await;
    let problems = rig.api.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].rule, RuleId::Custom(0));
}

#[tokio::test]
async fn expired_pods_are_left_out_and_all_expired_is_an_error() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 3.0, -2), pod_sample("asr-1", 4.0, -91)])));
    check(&rig, "app=asr", &["asr-0 3 fresh -2"]).await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 3.0, -200), pod_sample("asr-1", 4.0, -120)])));
    let reason = "2 samples are expired: the newest is 120 s old, held are 90 s";
    check_error(&rig, "app=asr", Stage::Samples, reason).await;
}

#[tokio::test]
async fn nan_and_infinity_are_no_sample() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| {
        Ok(vector(vec![
            pod_sample("asr-0", f64::NAN, 0),
            pod_sample("asr-1", f64::INFINITY, 0),
            pod_sample("asr-2", 1.0, 0),
        ]))
    });
    check(&rig, "app=asr", &["asr-2 1 fresh 0"]).await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", f64::NAN, 0)])));
    check_error(&rig, "app=asr", Stage::Samples, "1 samples are not a finite number").await;
}

#[tokio::test]
async fn held_values_never_lower_an_answer() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 10.0, 0), pod_sample("asr-1", 10.0, 0)])));
    check(&rig, "app=asr", &["asr-0 10 fresh 0", "asr-1 10 fresh 0"]).await;
    rig.advance(80);
    // asr-1 does not answer; its last sample is lower than the answers of the last minutes.
    rig.source.answers(|_query| {
        let held = vec![labels(&[("__name__", "asr_active_requests"), ("pod", "asr-1"), ("namespace", "asr")])];
        let answer = vector(vec![pod_sample("asr-0", 8.0, 80), pod_sample("asr-1", 5.0, 50)]);
        Ok(InstantAnswer { held, ..answer })
    });
    check(&rig, "app=asr", &["asr-0 8 fresh 80", "asr-1 12 held 50"]).await;
    // All answer again: what they say counts.
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 1.0, 80), pod_sample("asr-1", 1.0, 80)])));
    check(&rig, "app=asr", &["asr-0 1 fresh 80", "asr-1 1 fresh 80"]).await;
}

#[tokio::test]
async fn sum_that_misses_a_target_is_not_lower_but_other_pods_are_untouched() {
    let rig = Rig::seed().await;
    let missing = || vec![labels(&[("pod", "asr-1"), ("namespace", "asr")])];
    let everything = Selector::everything();
    let namespace = async || {
        let (resource, object) = (GroupResource::namespaces(), ObjectName::root("asr"));
        let value = rig.api.object_metric(&resource, &object, "asr_active_requests", &everything).await.unwrap();
        format!("{} {}", value.value, value.state.as_str())
    };
    let sum = |value: f64| SourceSample { labels: labels(&[("namespace", "asr")]), value, timestamp: at(0) };
    rig.source.answers(move |_query| Ok(vector(vec![sum(20.0)])));
    assert_eq!(namespace().await, "20 fresh");
    rig.source.answers(move |_query| Ok(InstantAnswer { missing: missing(), ..vector(vec![sum(12.0)]) }));
    assert_eq!(namespace().await, "20 held");
    rig.source
        .answers(move |_query| Ok(InstantAnswer { missing: missing(), ..vector(vec![pod_sample("asr-0", 1.0, 0)]) }));
    check(&rig, "app=asr", &["asr-0 1 fresh 0"]).await;
}

#[tokio::test]
async fn floor_of_a_held_answer_sinks_after_five_minutes() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 10.0, 0)])));
    check(&rig, "app=asr", &["asr-0 10 fresh 0"]).await;
    rig.advance(310);
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 2.0, 310 - 70)])));
    check(&rig, "app=asr", &["asr-0 2 held 240"]).await;
}

#[tokio::test]
async fn each_failed_stage_is_named() {
    let rig = Rig::seed().await;
    check_error(&rig, "app=other", Stage::Objects, "no pods in namespace asr match the selector `app=other`").await;
    rig.source.answers(|_query| Ok(vector(Vec::new())));
    check_error(&rig, "app=asr", Stage::Samples, "the query finds no series").await;
    rig.source.answers(|_query| {
        let labels = labels(&[("job", "asr")]);
        Ok(vector(vec![SourceSample { labels, value: 1.0, timestamp: at(0) }]))
    });
    let reason = "1 series lack the label `pod` (group by it: `by (<<.GroupBy>>)`)";
    check_error(&rig, "app=asr", Stage::Samples, reason).await;
    rig.source.answers(|_query| Err(SourceError::Unavailable("connection refused".to_owned())));
    check_error(&rig, "app=asr", Stage::Source, "source is unavailable: connection refused").await;
    rig.source.answers(|_query| {
        Ok(InstantAnswer { warnings: vec!["partial response".to_owned()], ..vector(vec![pod_sample("asr-0", 1.0, 0)]) })
    });
    check_error(&rig, "app=asr", Stage::Source, "source answers with warnings: partial response").await;
}

#[tokio::test]
async fn missing_metric_says_what_there_is_instead() {
    let rig = Rig::seed().await;
    let ask = async |resource: &str, namespace: Option<&str>, metric: &str| {
        let object = ObjectName { namespace: namespace.map(str::to_owned), name: "x".to_owned() };
        let resource = GroupResource::parse(resource);
        let error = rig.api.object_metric(&resource, &object, metric, &Selector::everything()).await.unwrap_err();
        (error.to_string(), error.explanation())
    };
    let (text, hint) = ask("services", Some("asr"), "asr_active_requests").await;
    assert_eq!(text, "the server could not find the metric asr_active_requests for services x");
    assert_eq!(hint, "the metric is published for namespaces, pods: its series have no label for services");
    let (_, hint) = ask("pods", None, "asr_active_requests").await;
    assert_eq!(hint, "it is published for pods, but only with a namespace in the path");
    let (_, hint) = ask("widgets.example.com", Some("asr"), "m").await;
    assert_eq!(hint, "the cluster has no resource widgets.example.com");
    let (_, hint) = ask("pods", Some("asr"), "m").await;
    assert_eq!(hint, "none of the 4 rules publishes a metric of this name");
}

#[tokio::test]
async fn namespace_itself_has_metrics_and_names_may_have_colons() {
    let rig = Rig::seed().await;
    rig.source.answers(|_query| {
        let labels = labels(&[("namespace", "asr")]);
        Ok(vector(vec![SourceSample { labels, value: 2.0, timestamp: at(-15) }]))
    });
    let (resource, object) = (GroupResource::new("", "namespace"), ObjectName::root("asr"));
    let everything = Selector::everything();
    let value = rig.api.object_metric(&resource, &object, "asr:requests:active_avg", &everything).await.unwrap();
    assert_eq!(value.described_object.kind, "Namespace");
    assert_eq!(value.timestamp, at(-15));
    let asked = rig.source.asked.lock().unwrap().clone();
    assert_eq!(asked, ["sum(asr:requests:active_avg{namespace=\"asr\"}) by (namespace)"]);
}

#[tokio::test]
async fn external_metric_has_labels_window_and_floor() {
    let rig = Rig::seed().await;
    let config = "{\"externalRules\": [{\"seriesQuery\": \"asr_total_requests\", \"name\": {\"as\": \"rate\"},
        \"resources\": {\"namespaced\": false},
        \"metricsQuery\": \"sum by (job) (rate(<<.Series>>{<<.LabelMatchers>>}[2m]))\"}]}";
    assert!(rig.api.reload(Config::parse("test", config).unwrap()).await);
    rig.source.answers(|_query| {
        Ok(vector(vec![SourceSample { labels: labels(&[("job", "asr")]), value: 1.25, timestamp: at(-4) }]))
    });
    let selector = Selector::parse("job=asr").unwrap();
    let values = rig.api.external_metric("asr", "rate", &selector).await.unwrap();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0].value.to_string(), "1250m");
    assert_eq!(values[0].window, Some(Duration::from_mins(2)));
    assert_eq!(values[0].labels.as_ref().unwrap()["job"], "asr");
    let asked = rig.source.asked.lock().unwrap().clone();
    assert_eq!(asked, ["sum by (job) (rate(asr_total_requests{job=\"asr\"}[2m]))"]);
    // The reload has replaced the other rules.
    assert!(rig.api.custom_metrics().is_empty());
    rig.source.answers(|_query| Ok(vector(Vec::new())));
    let error = rig.api.external_metric("asr", "rate", &selector).await.unwrap_err();
    assert_eq!(error.explanation(), "the query finds no series");
}

#[tokio::test]
async fn long_lists_of_names_are_asked_in_parts() {
    let mut source = FakeSource::new(&seed_series());
    source.max_name_bytes = 13;
    let mut objects = FixedObjects::default();
    for index in 0..5 {
        objects.add(GroupResource::pods(), ObjectName::namespaced("asr", &format!("asr-{index}")), &[]);
    }
    let rig = Rig::new(Config::seed().unwrap(), source, objects, cluster()).await;
    rig.source.answers(|query| {
        let asked = (0..5).map(|index| format!("asr-{index}")).filter(|name| query.contains(name));
        Ok(vector(asked.map(|name| pod_sample(&name, 1.0, 0)).collect()))
    });
    let expected = ["asr-0", "asr-1", "asr-2", "asr-3", "asr-4"].map(|name| format!("{name} 1 fresh 0"));
    check(&rig, "", &expected.each_ref().map(String::as_str)).await;
    assert_eq!(rig.source.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn metric_that_just_appeared_is_found_without_waiting_for_the_next_listing() {
    let rig = Rig::new(Config::seed().unwrap(), FakeSource::new(&[]), FixedObjects::default(), cluster()).await;
    let ask = async || rig.api.external_metric("asr", "lightning_asr_replica_count", &Selector::everything()).await;
    let listed = *rig.source.listings.lock().unwrap();
    assert_eq!(ask().await.unwrap_err().stage(), Stage::Rule);
    assert_eq!(*rig.source.listings.lock().unwrap(), listed, "a moment after a listing there is no other");
    rig.source.series.lock().unwrap().extend(seed_series());
    rig.source.answers(|_query| Ok(InstantAnswer { value: InstantValue::Scalar(3.0), ..vector(Vec::new()) }));
    rig.advance(3);
    assert_eq!(ask().await.unwrap()[0].value.to_string(), "3");
}

/// Notes what it was asked to freshen.
#[derive(Default)]
struct Freshened(Mutex<Vec<(String, Vec<String>, Duration)>>);

impl Freshen for Freshened {
    fn freshen<'a>(
        &'a self,
        namespace: &'a str,
        pods: &'a [String],
        budget: Duration,
    ) -> BoxFuture<'a, Option<Arc<dyn Queryable>>> {
        self.0.lock().unwrap().push((namespace.to_owned(), pods.to_vec(), budget));
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test]
async fn pods_are_freshened_within_half_of_the_deadline() {
    let rig = Rig::seed().await;
    let freshened = Arc::new(Freshened::default());
    let freshen: Arc<dyn Freshen> = freshened.clone();
    let backends = Backends { freshen: Some(freshen), mapper: Arc::new(BuiltinResources), ..rig.api.backends.clone() };
    let api = MetricsApi::new(Config::seed().unwrap(), Settings::default(), backends);
    let everything = Selector::everything();
    for deadline in [None, Some(Duration::from_millis(300))] {
        let question = ObjectQuestion {
            resource: &GroupResource::pods(),
            namespace: Some("asr"),
            objects: Objects::Named("asr-1"),
            metric: "asr_active_requests",
            metric_selector: &everything,
            deadline,
        };
        api.objects_metric(&question).await.unwrap_err();
    }
    let asked = freshened.0.lock().unwrap().clone();
    let pods = vec!["asr-1".to_owned()];
    let expected = [200, 150].map(|ms| ("asr".to_owned(), pods.clone(), Duration::from_millis(ms)));
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn reload_keeps_the_metrics_of_a_rule_whose_listing_fails() {
    let rig = Rig::seed().await;
    *rig.source.broken.lock().unwrap() = Some("asr_gpu_utilization".to_owned());
    let text = crate::config::SEED_RULES.replace("seriesQuery: \"asr_active_requests\"", "seriesQuery: \"gone\"");
    assert!(!rig.api.reload(Config::parse("test", &text).unwrap()).await);
    let names: Vec<String> = rig.api.custom_metrics().iter().map(|info| info.metric.clone()).collect();
    assert!(names.contains(&"gpu_utilization".to_owned()), "{names:?}");
    assert!(!names.contains(&"asr_active_requests".to_owned()), "{names:?}");
}

#[tokio::test]
async fn answers_are_counted_by_group_and_failed_stage() {
    let registry = datamodel::registry::Registry::new();
    let rig = Rig::seed().await;
    let api = MetricsApi::new(Config::seed().unwrap(), Settings::default(), rig.api.backends.clone())
        .with_metrics(ApiMetrics::register(&registry).unwrap());
    let everything = Selector::everything();
    rig.source.answers(|_query| Ok(vector(vec![pod_sample("asr-0", 1.0, -70)])));
    api.pods_metric("asr", &everything, "asr_active_requests", &everything).await.unwrap();
    api.external_metric("asr", "nope", &everything).await.unwrap_err();
    let mut text = String::new();
    registry.encode_text(&mut text);
    for line in [
        "crescendo_metrics_api_requests_total{failed_stage=\"none\",group=\"custom.metrics.k8s.io\"} 1",
        "crescendo_metrics_api_requests_total{failed_stage=\"Rule\",group=\"external.metrics.k8s.io\"} 1",
        "crescendo_metrics_api_held_values_total{group=\"custom.metrics.k8s.io\"} 1",
        "metrics_apiserver_metric_freshness_seconds_sum{group=\"custom.metrics.k8s.io\"} 70",
        "crescendo_metrics_api_published_metrics{group=\"external.metrics.k8s.io\"} 1",
        "crescendo_metrics_api_rule_problems 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn run_ends_on_shutdown() {
    let rig = Rig::seed().await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    rig.api.run(shutdown).await;
}

async fn check(rig: &Rig, selector: &str, expected: &[&str]) {
    let (selector, everything) = (Selector::parse(selector).unwrap(), Selector::everything());
    let values = rig.api.pods_metric("asr", &selector, "asr_active_requests", &everything).await.unwrap();
    let line = |value: &MetricValue| {
        let seconds = (value.timestamp.unix_ms() - at(0).unix_ms()) / 1_000;
        let state = match value.state {
            SampleState::Fresh => "fresh",
            SampleState::Held => "held",
        };
        format!("{} {} {state} {seconds}", value.described_object.object.name, value.value)
    };
    let found: Vec<String> = values.iter().map(line).collect();
    assert_eq!(found, expected);
}

async fn check_error(rig: &Rig, selector: &str, stage: Stage, explanation: &str) {
    let (selector, everything) = (Selector::parse(selector).unwrap(), Selector::everything());
    let error = rig.api.pods_metric("asr", &selector, "asr_active_requests", &everything).await.unwrap_err();
    assert_eq!((error.stage(), error.explanation().as_str()), (stage, explanation));
}
