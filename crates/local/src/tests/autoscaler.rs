//! Decisions on workers and values that the test makes up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamodel::registry::Registry;
use datamodel::time::ManualClock;
use datamodel::{Clock, Timestamp};
use hpa::explain::Explanation;
use hpa::origin::MetricOrigin;
use hpa::status::{AutoscalingStatus, SampleState};
use hpa::{ControllerConfig, HorizontalPodAutoscaler, MetricSpec};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fakes::{fleet, port};
use crate::autoscaler::{
    Autoscaler, AutoscalerConfig, MAX_HISTORY, MetricReading, MetricsSource, ReadError, ReadSample,
};
use crate::fleet::{Fleet, WorkerId, WorkerSnapshot};
use crate::{BoxFuture, WorkerPhase};

const MANIFEST: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: lightning-asr, namespace: smallest}
spec:
  scaleTargetRef: {kind: Deployment, name: lightning-asr}
  maxReplicas: 4
  metrics:
    - {type: Pods, pods: {metric: {name: asr_active_requests}, target: {type: AverageValue, averageValue: 4}}}
  behavior: {scaleDown: {stabilizationWindowSeconds: 10}}
";

#[tokio::test]
async fn load_makes_workers_and_its_end_takes_them_away() {
    let mut house = House::new();
    house.add("a");
    assert_eq!(house.sync(0, &[("a", 12_000, SampleState::Fresh)]).await, 3);
    house.add("b");
    house.add("c");
    let even = [("a", 4_000), ("b", 4_000), ("c", 4_000)].map(fresh);
    assert_eq!(house.sync(2, &even).await, 3);
    let low = [("a", 1_000), ("b", 0), ("c", 0)].map(fresh);
    assert_eq!(house.sync(4, &low).await, 3);
    assert_eq!(house.sync(20, &low).await, 1);
    let status = house.status();
    assert_eq!((status.replicas.current, status.replicas.desired, status.replicas.max), (3, 1, 4));
    let reasons: Vec<&str> = status.history.iter().map(|record| record.reason.as_str()).collect();
    assert_eq!(reasons, ["SuccessfulRescale", "ReadyForNewScale", "ScaleDownStabilized", "SuccessfulRescale"]);
    assert_eq!(status.decision.as_ref().unwrap().message, "New size: 1; reason: All metrics below target");
    for record in &status.history {
        let again = record.replay(&house.hpa, ControllerConfig::default(), record.readings(&house.hpa));
        assert_eq!((again.desired_replicas(), again.recommendation), (record.to, record.recommendation));
        assert_eq!(record.metrics[0].query.as_deref(), Some("asr_active_requests"));
        assert_eq!(record.metrics[0].query_time, Some(record.time));
    }
}

#[tokio::test]
async fn every_published_decision_is_explained_as_it_was_made() {
    let mut house = House::new();
    house.add("a");
    for (second, value) in [(0, Some(12_000)), (2, Some(1_000)), (4, None), (6, Some(4_000))] {
        if let Some(value) = value {
            house.sync(second, &[fresh(("a", value))]).await;
        } else {
            house.source.answers.lock().unwrap().clear();
            house.sync_as_it_is(second).await;
        }
        let status = house.status();
        let explained = Explanation::of_status(&status).unwrap();
        assert_eq!(explained.differences, [], "{second} s");
        assert_eq!(explained.desired, status.decision.as_ref().unwrap().to);
        let failures: Vec<_> = explained.failures.iter().map(|failure| [&*failure.stage, &*failure.cause]).collect();
        let expected = [["Source", "the engine is gone"]];
        assert_eq!(failures.as_slice(), if value.is_none() { &expected[..] } else { &[] });
        assert_eq!(explained.metrics[0].origin.queries.len(), usize::from(value.is_some()));
    }
}

#[tokio::test]
async fn held_value_may_keep_or_raise_but_never_lower() {
    let mut house = House::new();
    house.add("a");
    assert_eq!(house.sync(0, &[fresh(("a", 8_000))]).await, 2);
    house.add("b");
    let held = |value| [("a", value, SampleState::Held), ("b", 0, SampleState::Fresh)];
    assert_eq!(house.sync(100, &held(1_000)).await, 2);
    let status = house.status();
    let decision = status.decision.as_ref().unwrap();
    assert!(decision.held);
    assert_eq!(decision.reason, "Held");
    assert_eq!(status.metrics[0].state, Some(SampleState::Held));
    assert_eq!(house.sync(102, &held(12_000)).await, 3);
    let low = [("a", 1_000), ("b", 0)].map(fresh);
    house.sync(120, &low).await;
    assert_eq!(house.sync(140, &low).await, 1);
    let registry = Registry::new();
    crate::metrics::register(&registry, &house.fleet, house.autoscaler.wanted()).unwrap();
    let mut text = String::new();
    registry.encode_text(&mut text);
    for line in [
        r#"crescendo_workers{phase="Running"} 2"#,
        "crescendo_workers_ready 2",
        "crescendo_workers_wanted 1",
        r#"crescendo_autoscaler_syncs_total{outcome="up"} 2"#,
        r#"crescendo_autoscaler_syncs_total{outcome="held"} 1"#,
        r#"crescendo_autoscaler_syncs_total{outcome="down"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn nothing_is_decided_before_each_known_worker_was_scraped() {
    let mut house = House::new();
    let pending = house.fleet.add("a");
    house.sync(0, &[]).await;
    assert!(house.status().decision.is_none());
    house.fleet.set_address(pending, port(1));
    house.sync(2, &[fresh(("a", 12_000))]).await;
    assert!(house.status().decision.is_none());
    house.source.scraped.lock().unwrap().push("a".to_owned());
    assert_eq!(house.sync(4, &[fresh(("a", 12_000))]).await, 3);
    // From now on a worker that does not listen holds nothing up, one that listens does.
    let late = house.fleet.add("b");
    house.sync(6, &[fresh(("a", 13_000))]).await;
    assert_eq!(house.wanted(), 4);
    let before = house.status().decision.clone();
    house.fleet.set_address(late, port(2));
    house.sync(8, &[fresh(("a", 1_000))]).await;
    assert_eq!(house.status().decision, before);
}

#[tokio::test]
async fn lost_values_freeze_the_number_and_say_why() {
    let mut house = House::new();
    house.add("a");
    assert_eq!(house.sync(0, &[fresh(("a", 12_000))]).await, 3);
    assert_eq!(house.sync(200, &[("a", 0, SampleState::Expired)]).await, 3);
    let reason = |house: &House| {
        let status = house.status();
        (status.decision.as_ref().unwrap().reason.clone(), status.metrics[0].error.clone().unwrap())
    };
    let (word, text) = reason(&house);
    assert_eq!(word, "FailedComputeMetricsReplicas");
    assert!(text.ends_with("all samples are expired: the newest is 0 s old"), "{text}");
    assert_eq!(house.sync(202, &[]).await, 3);
    assert!(reason(&house).1.ends_with("no metrics returned from custom metrics API"));
    house.source.answers.lock().unwrap().clear();
    assert_eq!(house.sync_as_it_is(204).await, 3);
    assert!(reason(&house).1.ends_with("unable to fetch metrics from custom metrics API: the engine is gone"));
}

#[tokio::test]
async fn values_of_workers_that_are_gone_or_leaving_do_not_count() {
    let mut house = House::new();
    house.add("a");
    let leaving = house.add("b");
    house.fleet.set_terminating(leaving);
    let values = [("a", 4_000), ("b", 40_000), ("gone", 40_000)].map(fresh);
    assert_eq!(house.sync(0, &values).await, 1);
    assert_eq!(house.status().replicas.current, 1);
    assert_eq!(house.status().workers[1].phase, "Terminating");
    let inputs = &house.status().decision.as_ref().unwrap().metrics[0].inputs.clone();
    assert_eq!(inputs.iter().map(|input| input.pod.clone().unwrap()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn source_that_does_not_answer_is_not_waited_for() {
    let mut house = House::new();
    house.add("a");
    house.source.is_stuck.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(house.sync_as_it_is(0).await, 1);
    let error = house.status().metrics[0].error.clone().unwrap();
    assert!(error.ends_with("no answer within 1000 ms"), "{error}");
}

#[tokio::test]
async fn history_keeps_changes_only_and_is_bounded() {
    let mut house = House::new();
    house.add("a");
    for second in 0..20 {
        house.sync(second, &[fresh(("a", 4_000))]).await;
    }
    assert_eq!(house.status().history.len(), 1);
    for second in 0..300_i64 {
        house.sync(20 + second, &[fresh(("a", if second % 2 == 0 { 8_000 } else { 12_000 }))]).await;
    }
    assert_eq!(house.status().history.len(), MAX_HISTORY);
}

#[tokio::test]
async fn status_has_the_promised_keys() {
    let mut house = House::new();
    house.add("a");
    house.clock.advance(Duration::from_secs(3));
    house.sync(3, &[fresh(("a", 12_000))]).await;
    let json = serde_json::to_value(&*house.status()).unwrap();
    assert_eq!(json["replicas"]["desired"], 3);
    assert_eq!(json["metrics"][0]["name"], "asr_active_requests");
    assert_eq!(json["metrics"][0]["target"], "4");
    assert_eq!(json["metrics"][0]["state"], "fresh");
    assert_eq!(json["metrics"][0]["values"][0]["age_seconds"], 0.0);
    assert_eq!(json["decision"]["reason"], "SuccessfulRescale");
    assert_eq!(json["decision"]["time"], 1_700_000_003.0);
    assert_eq!(json["history"][0], json["decision"]);
    assert_eq!(json["workers"][0]["address"], "127.0.0.1:1");
    let back: AutoscalingStatus = serde_json::from_value(json).unwrap();
    assert_eq!(back, *house.status());
}

#[tokio::test(start_paused = true)]
async fn loop_decides_once_a_period_and_shows_the_fleet_at_once() {
    let house = House::new();
    house.add("a");
    house.answer(&[fresh(("a", 12_000))]);
    let (mut wanted, mut status) = (house.autoscaler.wanted(), house.autoscaler.status());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let fleet = Arc::clone(&house.fleet);
    tasks.spawn(house.autoscaler.run(shutdown.clone()));
    wanted.wait_for(|wanted| *wanted == 3).await.unwrap();
    let reads = || *house.source.reads.lock().unwrap();
    let (before, begin) = (reads(), tokio::time::Instant::now());
    status.wait_for(|_| reads() == before + 4).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 8);
    fleet.add("b");
    status.wait_for(|status| status.workers.len() == 2).await.unwrap();
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap();
}

fn fresh((pod, value): (&'static str, i64)) -> (&'static str, i64, SampleState) {
    (pod, value, SampleState::Fresh)
}

/// An autoscaler with workers that are only names.
struct House {
    hpa: HorizontalPodAutoscaler,
    fleet: Arc<Fleet>,
    clock: Arc<ManualClock>,
    source: Arc<FakeSource>,
    autoscaler: Autoscaler,
}

impl House {
    fn new() -> Self {
        let (fleet, clock) = fleet();
        let hpa = HorizontalPodAutoscaler::parse("hpa.yml", MANIFEST).unwrap();
        let source = Arc::new(FakeSource { clock: clock.clone(), ..FakeSource::default() });
        let config = AutoscalerConfig::default();
        let autoscaler = Autoscaler::new(hpa.clone(), config, Arc::clone(&fleet), source.clone(), clock.clone())
            .with_manifest(MANIFEST);
        Self { hpa, fleet, clock, source, autoscaler }
    }

    /// A worker that listens, is ready and was scraped.
    fn add(&self, name: &str) -> WorkerId {
        let id = self.fleet.add(name);
        self.fleet.set_address(id, port(u16::try_from(self.fleet.snapshot().len()).unwrap()));
        self.fleet.set_ready(id, true);
        self.source.scraped.lock().unwrap().push(name.to_owned());
        assert_eq!(self.fleet.snapshot().last().unwrap().phase, WorkerPhase::Running);
        id
    }

    fn answer(&self, values: &[(&'static str, i64, SampleState)]) {
        let samples = values
            .iter()
            .map(|(pod, value_milli, state)| ReadSample {
                pod: Some(Arc::from(*pod)),
                value_milli: *value_milli,
                timestamp: self.clock.now(),
                window: Duration::ZERO,
                state: *state,
            })
            .collect();
        self.source.answers.lock().unwrap().insert("asr_active_requests".to_owned(), samples);
    }

    async fn sync(&mut self, second: i64, values: &[(&'static str, i64, SampleState)]) -> usize {
        self.move_to(second);
        self.answer(values);
        self.autoscaler.sync().await;
        self.wanted()
    }

    async fn sync_as_it_is(&mut self, second: i64) -> usize {
        self.move_to(second);
        self.autoscaler.sync().await;
        self.wanted()
    }

    fn move_to(&self, second: i64) {
        self.clock.set(Timestamp::from_unix_ms(super::fakes::START.unix_ms() + second * 1000));
    }

    fn wanted(&self) -> usize {
        *self.autoscaler.wanted().borrow()
    }

    fn status(&self) -> Arc<AutoscalingStatus> {
        self.autoscaler.status().borrow().clone()
    }
}

#[derive(Debug, Default)]
struct FakeSource {
    clock: Arc<ManualClock>,
    answers: Mutex<HashMap<String, Vec<ReadSample>>>,
    scraped: Mutex<Vec<String>>,
    reads: Mutex<usize>,
    is_stuck: std::sync::atomic::AtomicBool,
}

impl MetricsSource for FakeSource {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        metric: &'a MetricSpec,
        _pods: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<MetricReading, ReadError>> {
        Box::pin(async move {
            assert_eq!(namespace, "smallest");
            *self.reads.lock().unwrap() += 1;
            if self.is_stuck.load(std::sync::atomic::Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let samples = self.answers.lock().unwrap().get(metric.name()).cloned();
            let gone = || ReadError::of_source("the engine is gone".to_owned(), "start it");
            let samples = samples.ok_or_else(gone)?;
            let (queries, query_time) = (vec![metric.name().to_owned()], Some(self.clock.now().unix_seconds()));
            Ok(MetricReading { samples, origin: MetricOrigin { queries, query_time, ..MetricOrigin::default() } })
        })
    }

    fn was_scraped(&self, worker: &WorkerSnapshot) -> bool {
        self.scraped.lock().unwrap().iter().any(|name| **name == *worker.name)
    }
}
