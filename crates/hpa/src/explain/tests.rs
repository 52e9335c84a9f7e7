use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::controller::Scale;
use crate::metrics::Reading;
use crate::pods::{Pod, PodPhase, PodSample};
use crate::status::{DecisionRecord, MetricStatus, ReplicaStatus, SampleState};

const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

const MANIFEST: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: lightning-asr, namespace: smallest }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: lightning-asr }
  minReplicas: 1
  maxReplicas: 10
  metrics:
    - type: Pods
      pods: { metric: { name: asr_active_requests }, target: { type: AverageValue, averageValue: "4" } }
  behavior:
    scaleUp: { policies: [{ type: Pods, value: 2, periodSeconds: 15 }] }
    scaleDown: { stabilizationWindowSeconds: 60, policies: [{ type: Percent, value: 50, periodSeconds: 15 }] }
"#;

#[test]
fn load_is_told_up_to_the_policy_that_limits_it() {
    check(
        &mut controller(),
        &[(0, 2, vec![Some(20_000), Some(20_000)])],
        &expect![[r#"
            from 2 to 4: pods metric asr_active_requests above target
            - Pods asr_active_requests is 20 at a target of 4: ceil(5 × 2 pods) = 10, so it asks for 10
            - 10 is limited to 4: the rate of scaling up: 2 pods in 15 s allow 4, selectPolicy Max"#]],
    );
}

#[test]
fn number_that_stays_says_what_keeps_it() {
    let both = |value| vec![Some(value), Some(value)];
    check(
        &mut controller(),
        &[(0, 2, both(4_200))],
        &expect![[r#"
            stays at 2
            - Pods asr_active_requests is 4.2 at a target of 4: the ratio 1.05 is within the tolerance: it keeps 2, so it asks for 2
            - that is the number there is: 2"#]],
    );
    check(
        &mut controller(),
        &[(0, 2, both(4_000)), (20, 2, both(1_000))],
        &expect![[r#"
            stays at 2
            - Pods asr_active_requests is 1 at a target of 4: ceil(0.25 × 2 pods) = 1, so it asks for 1
            - the window of 60 s holds 1 back to 2: its highest recommendation is 2, 20 s old, and counts for 40 s more; the number stays"#]],
    );
    check(
        &mut controller(),
        &[(0, 2, vec![Some(1_000), None])],
        &expect![[r#"
            stays at 2
            - Pods asr_active_requests is 1 at a target of 4: 1 pod without sample, taken to be at the target: ceil(0.625 × 2 pods) = 2, so it asks for 2
            - that is the number there is: 2"#]],
    );
}

#[test]
fn number_outside_of_its_bounds_asks_no_metric() {
    check(
        &mut controller(),
        &[(0, 12, vec![Some(0); 12])],
        &expect![[r#"
            from 12 to 10: Current number of replicas above Spec.MaxReplicas
            - 12 lies outside of 1 to 10: metrics are not asked"#]],
    );
}

#[test]
fn failed_stage_is_told_with_cause_and_remedy_and_is_no_difference() {
    let mut observation = observe(2, &[Some(1), Some(1)]);
    observation.metrics = vec![Err("connection refused".to_owned())];
    let mut status = status(&mut controller(), &observation, START);
    let failure =
        FailureRecord { stage: "Source".into(), cause: "connection refused".into(), remedy: "start it".into() };
    status.metrics[0].origin.failure = Some(failure.clone());
    let explained = Explanation::of_status(&status).unwrap();
    assert_eq!(explained.failures, [failure]);
    assert_eq!(explained.differences, []);
    assert!(!explained.is_fine());
    let reasons = explained.verdict.reasons.join("\n");
    assert!(reasons.contains("unable to fetch metrics from custom metrics API: connection refused"), "{reasons}");

    let mut without = observe(2, &[Some(1)]);
    without.selector_problem = Some(SelectorProblem::Missing);
    let explained = of_evidence(&without, None);
    assert_eq!(explained.failures[0].stage, "Pods");
    assert!(explained.failures[0].cause.contains("selector is required"), "{:?}", explained.failures);

    let mut nobody = observe(2, &[]);
    nobody.metrics = vec![Ok(Reading::Pods([("other".to_owned(), sample(1))].into()))];
    let explained = explain(&mut controller(), &nobody, START);
    assert_eq!(explained.failures[0].stage, "Pods");
    assert!(explained.failures[0].remedy.contains("selector of Deployment/lightning-asr"));
}

#[test]
fn pods_are_told_by_what_they_count_as() {
    let mut observation = observe(4, &[Some(8_000), None, Some(0), Some(0)]);
    observation.pods[2].phase = PodPhase::Pending;
    observation.pods[3].is_deleting = true;
    let explained = explain(&mut controller(), &observation, START);
    let pods = explained.metrics[0].pods.iter();
    let told: Vec<_> = pods.map(|pod| (pod.group.as_str(), pod.value.as_deref(), pod.phase.as_str())).collect();
    let expected = [
        ("counted", Some("8"), "Running"),
        ("missing", None, "Running"),
        ("unready", Some("0"), "Pending"),
        ("ignored", Some("0"), "Terminating"),
    ];
    assert_eq!(told, expected);
    assert_eq!((explained.metrics[0].ratio, explained.ready), (Some(2.0), 3));
}

#[test]
fn what_is_reported_otherwise_is_a_difference() {
    let mut status = status(&mut controller(), &observe(2, &[Some(4_000), Some(4_000)]), START);
    let record = status.decision.as_mut().unwrap();
    record.to = Some(5);
    record.conditions[0].reason = "SucceededRescale".to_owned();
    status.metrics[0].value = Some(7.0);
    let explained = Explanation::of_status(&status).unwrap();
    let told: Vec<_> = explained.differences.iter().map(|one| [&*one.what, &*one.computed, &*one.reported]).collect();
    assert_eq!(told[..2], [["desired replicas", "2", "5"], ["value of asr_active_requests", "4", "7"]]);
    assert_eq!(told[2][0], "condition AbleToScale");
    assert_eq!(told.len(), 3);
}

#[test]
fn report_of_an_earlier_sync_may_tell_of_its_rescale() {
    let observation = observe(2, &[Some(4_000), Some(4_000)]);
    let condition = |kind: &str, reason: &str, status: &str| ConditionRecord {
        kind: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: "of then".into(),
    };
    let reported = Reported {
        desired: Some(2),
        values: vec![Some("4000m".to_owned())],
        conditions: vec![
            condition("AbleToScale", "SucceededRescale", "True"),
            condition("ScalingActive", "ValidMetricFound", "True"),
            condition("ScalingLimited", "TooFewReplicas", "True"),
            condition("ScaledToZero", "NotScaledToZero", "False"),
        ],
        ..Reported::default()
    };
    let told = of_evidence(&observation, Some(reported)).differences;
    assert_eq!(told.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["condition ScalingLimited"]);
}

#[test]
fn status_without_manifest_or_decision_says_so() {
    let mut empty = AutoscalingStatus::default();
    assert!(matches!(Explanation::of_status(&empty), Err(ExplainError::NoManifest)));
    empty.manifest = Arc::from(MANIFEST);
    assert!(matches!(Explanation::of_status(&empty), Err(ExplainError::Undecided)));
}

proptest! {
    /// Whatever was decided: its explanation decides the same, and survives JSON.
    #[test]
    fn explanation_of_a_decision_is_that_decision(
        steps in proptest::collection::vec((1_i64..40, proptest::collection::vec(proptest::option::of(0_i64..30_000), 0..6)), 1..12)
    ) {
        let mut controller = controller();
        let (mut second, mut replicas) = (0, 1);
        for (pause, values) in steps {
            second += pause;
            let now = START.saturating_add(Duration::from_secs(second.unsigned_abs()));
            let status = status(&mut controller, &observe(replicas, &values), now);
            let text = serde_json::to_string(&status).unwrap();
            let explained = Explanation::of_status(&serde_json::from_str(&text).unwrap()).unwrap();
            let decision = status.decision.unwrap();
            prop_assert_eq!(&explained.differences, &[]);
            prop_assert_eq!((explained.desired, explained.recommendation), (decision.to, decision.recommendation));
            let again: Explanation = serde_json::from_str(&serde_json::to_string(&explained).unwrap()).unwrap();
            prop_assert_eq!(&again.verdict, &explained.verdict);
            replicas = decision.to.unwrap();
        }
    }
}

fn controller() -> Controller {
    Controller::new(HorizontalPodAutoscaler::parse("test", MANIFEST).unwrap(), ControllerConfig::default())
}

fn sample(value_milli: i64) -> PodSample {
    PodSample { value_milli, timestamp: START, window: Duration::ZERO }
}

/// Running pods, each with its value, or without.
fn observe(replicas: i32, values: &[Option<i64>]) -> Observation {
    let name = |index: usize| format!("asr-{index}");
    let samples = values.iter().enumerate().filter_map(|(index, value)| Some((name(index), sample((*value)?))));
    Observation {
        scale: Ok(Scale { spec_replicas: replicas, status_replicas: replicas }),
        selector_problem: None,
        pods: (0..values.len()).map(|index| Pod::running(&name(index), START)).collect(),
        metrics: vec![Ok(Reading::Pods(samples.collect()))],
        floor: None,
    }
}

/// The status that `local` would publish of a sync.
fn status(controller: &mut Controller, observation: &Observation, now: Timestamp) -> AutoscalingStatus {
    let before = controller.snapshot();
    let decision = controller.reconcile(observation, now);
    let input = |(pod, sample): (&String, &PodSample)| InputRecord {
        pod: Some(pod.clone()),
        timestamp_ms: sample.timestamp.unix_ms(),
        value_milli: sample.value_milli,
        state: SampleState::Fresh,
    };
    let inputs = match &observation.metrics[0] {
        Ok(Reading::Pods(samples)) => samples.iter().map(input).collect(),
        _ => Vec::new(),
    };
    let record = DecisionRecord::new(&decision, observation, &before, &[inputs], &[None]);
    let value = record.metrics.first().and_then(|metric| metric.value_milli).map(|value| value as f64 / 1000.0);
    let metric = MetricStatus {
        name: "asr_active_requests".to_owned(),
        kind: "Pods".to_owned(),
        target: "4".to_owned(),
        target_type: "AverageValue".to_owned(),
        value,
        age_seconds: None,
        state: None,
        error: None,
        values: Vec::new(),
        origin: MetricOrigin::default(),
    };
    AutoscalingStatus {
        manifest: Arc::from(MANIFEST),
        replicas: ReplicaStatus { min: 1, max: 10, ..ReplicaStatus::default() },
        metrics: vec![metric],
        decision: Some(record),
        ..AutoscalingStatus::default()
    }
}

fn of_evidence(observation: &Observation, reported: Option<Reported>) -> Explanation {
    Explanation::of(&Evidence {
        hpa: &HorizontalPodAutoscaler::parse("test", MANIFEST).unwrap(),
        config: ControllerConfig::default(),
        now: START,
        before: Snapshot::default(),
        observation: observation.clone(),
        inputs: Vec::new(),
        origins: Vec::new(),
        failures: Vec::new(),
        assumptions: Vec::new(),
        reported,
    })
}

fn explain(controller: &mut Controller, observation: &Observation, now: Timestamp) -> Explanation {
    Explanation::of_status(&status(controller, observation, now)).unwrap()
}

/// The last of some syncs: its summary and its reasons.
#[track_caller]
fn check(controller: &mut Controller, syncs: &[(u64, i32, Vec<Option<i64>>)], expected: &Expect) {
    let mut told = String::new();
    for (second, replicas, values) in syncs {
        let now = START.saturating_add(Duration::from_secs(*second));
        let explained = explain(controller, &observe(*replicas, values), now);
        let reasons: Vec<String> = explained.verdict.reasons.iter().map(|reason| format!("- {reason}")).collect();
        told = format!("{}\n{}", explained.verdict.summary, reasons.join("\n"));
    }
    expected.assert_eq(&told);
}
