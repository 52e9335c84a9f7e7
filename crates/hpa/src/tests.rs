use std::time::Duration;

use datamodel::{Quantity, Timestamp};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::behavior::{ScaleEvent, ScaleEventLog, ScaleHistory, limit_with_behavior};
use crate::manifest::{
    CrossVersionObjectReference, HpaBehavior, MetricIdentifier, PolicyKind, ScalingPolicy, ScalingRules, SelectPolicy,
};
use crate::replica_calculator::ReplicaCalculator;
use crate::status::{DecisionRecord, InputRecord, SampleState};
use crate::*;

const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

#[test]
fn load_on_pods_scales_up_and_its_end_scales_down_after_the_window() {
    let mut controller = controller(1, 10, Some(behavior(60)));
    let text = [
        (0, 1, vec![12_000]),
        (2, 2, vec![8_000, 8_000]),
        (20, 4, vec![3_000; 4]),
        (22, 4, vec![1_000; 4]),
        (81, 4, vec![1_000; 4]),
        (83, 3, vec![1_000; 3]),
    ]
    .map(|(second, replicas, values)| line(&sync(&mut controller, second, replicas, &values)));
    expect![[r#"
        1 asks 3 stabilized 3 sets Some(3): SucceededRescale, DesiredWithinRange; pods metric active above target
        2 asks 4 stabilized 4 sets Some(4): SucceededRescale, DesiredWithinRange; pods metric active above target
        4 asks 3 stabilized 4 sets None: ScaleDownStabilized, DesiredWithinRange; All metrics below target
        4 asks 1 stabilized 4 sets None: ScaleDownStabilized, DesiredWithinRange; All metrics below target
        4 asks 1 stabilized 1 sets Some(1): SucceededRescale, DesiredWithinRange; All metrics below target
        3 asks 1 stabilized 1 sets Some(1): SucceededRescale, DesiredWithinRange; All metrics below target"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn failing_metric_freezes_the_number_and_says_why() {
    let mut controller = controller(1, 10, None);
    let mut observation = observe(3, &[4_000; 3]);
    observation.metrics = vec![Err("no answer".to_owned())];
    let decision = controller.reconcile(&observation, START);
    check(
        &decision,
        expect![[r#"
        desired Some(3), error Some("failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: unable to get metric active: unable to fetch metrics from custom metrics API: no answer")
        AbleToScale=true SucceededGetScale: the HPA controller was able to get the target's current scale
        ScalingActive=false FailedGetPodsMetric: the HPA was unable to compute the replica count: unable to get metric active: unable to fetch metrics from custom metrics API: no answer
        event FailedGetPodsMetric: unable to get metric active: unable to fetch metrics from custom metrics API: no answer
        event FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: unable to get metric active: unable to fetch metrics from custom metrics API: no answer
    "#]],
    );
}

#[test]
fn invalid_metric_stops_a_fall_but_not_a_rise() {
    let mut hpa = hpa(1, 10, None);
    hpa.spec.metrics.push(external(MetricTarget::Value(Quantity::from_whole(1))));
    let fall = Observation {
        metrics: vec![Ok(pod_reading(&[1_000; 3])), Err("no answer".to_owned())],
        ..observe(3, &[1_000; 3])
    };
    let rise = Observation {
        metrics: vec![Ok(pod_reading(&[8_000; 3])), Err("no answer".to_owned())],
        ..observe(3, &[8_000; 3])
    };
    let mut controller = Controller::new(hpa, ControllerConfig::default());
    check(
        &controller.reconcile(&fall, START),
        expect![[r#"
        desired Some(3), error Some("failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get external metric queue: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer")
        AbleToScale=true SucceededGetScale: the HPA controller was able to get the target's current scale
        ScalingActive=false FailedGetExternalMetric: the HPA was unable to compute the replica count: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer
        event FailedGetExternalMetric: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer
        event FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get external metric queue: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer
    "#]],
    );
    check(
        &controller.reconcile(&rise, at(15)),
        expect![[r#"
        desired Some(6), error Some("invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get external metric queue: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer")
        AbleToScale=true SucceededRescale: the HPA controller was able to update the target scale to 6
        ScalingActive=true ValidMetricFound: the HPA was able to successfully calculate a replica count from pods metric active
        ScalingLimited=false DesiredWithinRange: the desired count is within the acceptable range
        event FailedGetExternalMetric: unable to get external metric ns/queue/nil: unable to fetch metrics from external metrics API: no answer
        event SuccessfulRescale: New size: 6; reason: pods metric active above target
    "#]],
    );
}

#[test]
fn every_type_of_metric_names_itself_in_its_error() {
    let object = CrossVersionObjectReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: "svc".to_owned(),
    };
    let metric = MetricIdentifier { name: "hits".to_owned(), selector: None };
    let average = MetricTarget::AverageValue(Quantity::from_whole(1));
    let value = MetricTarget::Value(Quantity::from_whole(1));
    let name = "cpu".to_owned();
    let specs = vec![
        MetricSpec::Resource { name: name.clone(), target: MetricTarget::Utilization(50) },
        MetricSpec::Resource { name: name.clone(), target: value },
        MetricSpec::ContainerResource { name, container: "asr".to_owned(), target: average },
        MetricSpec::Pods { metric: metric.clone(), target: average },
        MetricSpec::Pods { metric: metric.clone(), target: value },
        MetricSpec::Object { described_object: object.clone(), metric: metric.clone(), target: value },
        MetricSpec::Object { described_object: object, metric: metric.clone(), target: average },
        MetricSpec::External { metric: metric.clone(), target: value },
        MetricSpec::External { metric, target: average },
        MetricSpec::Unknown { kind: "CheddarCheese".to_owned() },
    ];
    let mut text = String::new();
    for spec in specs {
        let mut hpa = hpa(1, 10, None);
        hpa.spec.metrics = vec![spec];
        let observation = Observation { metrics: vec![Err("E".to_owned())], ..observe(3, &[]) };
        let decision = Controller::new(hpa, ControllerConfig::default()).reconcile(&observation, START);
        text.push_str(&format!("{}: {}\n", decision.metrics[0].name, decision.error.unwrap()));
    }
    expect![[r#"
        cpu resource utilization (percentage of request): failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: E
        cpu resource: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: invalid resource metric source: neither an average utilization target nor an average value (usage) target was set
        cpu resource: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get asr container metric value: failed to get cpu usage: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: E
        pods metric hits: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: unable to get metric hits: unable to fetch metrics from custom metrics API: E
        pods metric hits: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: invalid pods metric source: neither an average value target was set
        Service metric hits: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get object metric value: unable to get metric hits: Service on ns svc/unable to fetch metrics from custom metrics API: E
        external metric hits(nil): failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get object metric value: failed to get hits object metric: unable to get metric hits: Service on ns svc/unable to fetch metrics from custom metrics API: E
        external metric hits(nil): failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get hits external metric value: failed to get external metric hits: unable to get external metric ns/hits/nil: unable to fetch metrics from external metrics API: E
        external metric hits(nil): failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: failed to get hits external metric value: failed to get hits external metric: unable to get external metric ns/hits/nil: unable to fetch metrics from external metrics API: E
        CheddarCheese: failed to compute desired number of replicas based on listed metrics for Deployment/ns/asr: invalid metrics (1 invalid out of 1), first error is: unknown metric source type "CheddarCheese"
    "#]].assert_eq(&text);
}

#[test]
fn scale_that_cannot_be_read_or_set_is_reported() {
    let mut controller = controller(1, 10, None);
    let unread = Observation { scale: Err("not found".to_owned()), ..observe(3, &[]) };
    check(
        &controller.reconcile(&unread, START),
        expect![[r#"
        desired None, error Some("failed to query scale subresource for Deployment/ns/asr: not found")
        AbleToScale=false FailedGetScale: the HPA controller was unable to get the target's current scale: not found
        event FailedGetScale: not found
    "#]],
    );
    let rise = observe(3, &[8_000; 3]);
    let refused = controller.reconcile_with(&rise, at(15), |_| Err("conflict".to_owned()));
    check(
        &refused,
        expect![[r#"
        desired Some(3), error Some("failed to rescale Deployment/ns/asr: conflict")
        AbleToScale=false FailedUpdateScale: the HPA controller was unable to update the target scale: conflict
        ScalingActive=true ValidMetricFound: the HPA was able to successfully calculate a replica count from pods metric active
        ScalingLimited=false DesiredWithinRange: the desired count is within the acceptable range
        event FailedRescale: New size: 6; reason: pods metric active above target; error: conflict
    "#]],
    );
    assert!(controller.snapshot().scale_up_events.is_empty());
}

#[test]
fn selector_problems_stop_the_sync() {
    let problems = [
        SelectorProblem::Missing,
        SelectorProblem::Invalid("bad".to_owned()),
        SelectorProblem::Ambiguous { selector: "a=b".to_owned(), hpas: "[x y]".to_owned() },
    ];
    let text = problems.map(|problem| {
        let observation = Observation { selector_problem: Some(problem), ..observe(3, &[8_000; 3]) };
        let decision = controller(1, 10, None).reconcile(&observation, START);
        assert_eq!(decision.rescale, None);
        let active = decision.conditions.get(ConditionType::ScalingActive).unwrap();
        format!("{} / {} / {}", decision.events[0].reason, active.reason, active.message)
    });
    expect![[r#"
        SelectorRequired / InvalidSelector / the HPA target's scale is missing a selector
        InvalidSelector / InvalidSelector / couldn't convert selector into a corresponding internal selector object: bad
        AmbiguousSelector / AmbiguousSelector / pods by selector a=b are controlled by more than one HPA (e.g. [x y])"#]].assert_eq(&text.join("\n"));
}

#[test]
fn floor_keeps_the_number_but_lets_it_rise() {
    let mut controller = controller(1, 10, Some(behavior(0)));
    let held = |values: &[i64]| Observation { floor: Some(3), ..observe(3, values) };
    let kept = controller.reconcile(&held(&[1_000; 3]), START);
    assert_eq!((kept.rescale, kept.recommendation, kept.is_held), (None, Some(3), true));
    let raised = controller.reconcile(&held(&[6_000; 3]), at(15));
    assert_eq!((raised.rescale, raised.is_held), (Some(5), false));
    let lowered = controller.reconcile(&observe(5, &[1_000; 5]), at(30));
    assert_eq!(lowered.rescale, Some(2));
}

#[test]
fn scaling_to_zero_and_back_needs_that_the_controller_went_there() {
    let config = ControllerConfig { scale_to_zero: true, ..ControllerConfig::default() };
    let mut hpa = hpa(0, 10, Some(behavior(0)));
    hpa.spec.metrics = vec![external(MetricTarget::AverageValue(Quantity::from_whole(4)))];
    let observation = |replicas: i32, value: i64| Observation {
        metrics: vec![Ok(Reading::Values(vec![value]))],
        ..observe(replicas, &[])
    };
    let mut controller = Controller::new(hpa, config);
    let manual = controller.reconcile(&observation(0, 8_000), START);
    assert_eq!(manual.conditions.get(ConditionType::ScalingActive).unwrap().reason, ConditionReason::ScalingDisabled);
    assert_eq!(controller.reconcile(&observation(2, 0), at(15)).rescale, Some(0));
    assert!(controller.conditions().get(ConditionType::ScaledToZero).unwrap().is_true);
    assert_eq!(controller.reconcile(&observation(0, 8_000), at(30)).rescale, Some(2));
    assert!(!controller.conditions().get(ConditionType::ScaledToZero).unwrap().is_true);
}

#[test]
fn recorded_decisions_replay_to_themselves() {
    let mut controller = controller(1, 10, Some(behavior(10)));
    for (second, replicas, value) in [(0, 1, 9_000), (2, 3, 3_000), (30, 3, 500), (40, 3, 500), (60, 1, 0)] {
        let values = vec![value; usize::try_from(replicas).unwrap()];
        let before = controller.snapshot();
        let observation = observe(replicas, &values);
        let decision = controller.reconcile(&observation, at(second));
        let input = |(index, value_milli): (usize, &i64)| InputRecord {
            pod: Some(format!("p{index}")),
            timestamp_ms: START.unix_ms(),
            value_milli: *value_milli,
            state: SampleState::Fresh,
        };
        let inputs = vec![values.iter().enumerate().map(input).collect()];
        let record = DecisionRecord::new(&decision, &observation, &before, &inputs, &[None]);
        let json = serde_json::to_string(&record).unwrap();
        let record: DecisionRecord = serde_json::from_str(&json).unwrap();
        let again = record.replay(controller.hpa(), ControllerConfig::default(), record.readings(controller.hpa()));
        assert_eq!(
            (again.recommendation, again.stabilized, again.rescale, again.reason),
            (decision.recommendation, decision.stabilized, decision.rescale, decision.reason),
            "{json}"
        );
    }
}

fn any_policy() -> impl Strategy<Value = ScalingPolicy> {
    (prop_oneof![Just(PolicyKind::Pods), Just(PolicyKind::Percent)], 1..200_i32, 1..=1800_i32)
        .prop_map(|(kind, value, period_seconds)| ScalingPolicy { kind, value, period_seconds })
}

fn any_rules() -> impl Strategy<Value = ScalingRules> {
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    (0..=3600_i32, select, prop::collection::vec(any_policy(), 1..4)).prop_map(|(window, select_policy, policies)| {
        ScalingRules { stabilization_window_seconds: Some(window), select_policy, policies, tolerance: None }
    })
}

fn any_behavior() -> impl Strategy<Value = Option<HpaBehavior>> {
    prop::option::of((any_rules(), any_rules()).prop_map(|(scale_up, scale_down)| HpaBehavior { scale_up, scale_down }))
}

proptest! {
    /// Exceptions, all of them upstream's (`reconcileAutoscaler`): a target of 0 replicas stays there though
    /// the minimum is above (`ScalingDisabled`); a failed sync leaves the number where it is, wherever that is.
    #[test]
    fn number_ends_between_minimum_and_maximum(
        behavior in any_behavior(),
        (min, span) in (1..20_i32, 0..30_i32),
        syncs in prop::collection::vec((0..60_i32, prop::collection::vec(0..100_000_i64, 0..6), 1..400_i64), 1..12),
    ) {
        let max = min + span;
        let mut controller = controller(min, max, behavior);
        let mut second = 0;
        for (replicas, values, wait) in syncs {
            second += wait;
            let decision = controller.reconcile(&observe(replicas, &values), at(second));
            let desired = decision.desired_replicas().unwrap();
            if replicas == 0 || decision.error.is_some() && (min..=max).contains(&replicas) {
                prop_assert_eq!(desired, replicas);
            } else {
                prop_assert!((min..=max).contains(&desired), "{} not in {}..={}", desired, min, max);
            }
            prop_assert!(decision.events.len() <= 2);
        }
    }

    /// No exception: even where the history holds changes that the policies did not allow (a number that was
    /// set by hand), the limit never lies on the wrong side of the current number.
    #[test]
    fn no_policy_is_exceeded_and_no_limit_turns_the_direction(
        behavior in (any_rules(), any_rules()).prop_map(|(scale_up, scale_down)| HpaBehavior { scale_up, scale_down }),
        events in prop::collection::vec((1..20_i32, 0..2000_u64), 0..6),
        removed in prop::collection::vec((1..20_i32, 0..2000_u64), 0..6),
        current in 0..200_i32,
        desired in 0..400_i32,
    ) {
        let log = |events: &[(i32, u64)]| ScaleEventLog::new(
            events
                .iter()
                .map(|(change, age)| ScaleEvent {
                    replica_change: *change,
                    at: START.saturating_sub(Duration::from_secs(*age)),
                })
                .collect(),
        );
        let history = ScaleHistory { up: log(&events), down: log(&removed) };
        let limited = limit_with_behavior(&behavior, &history, current, desired, (0, 1000), START).replicas;
        prop_assert!(limited >= current.min(desired) && limited <= current.max(desired));
        let rules = if desired > current { &behavior.scale_up } else { &behavior.scale_down };
        if rules.select_policy == SelectPolicy::Disabled {
            prop_assert_eq!(limited, current);
        }
        // An independent statement of the policies, in the change that each leaves for this sync.
        let change_in = |events: &[(i32, u64)], period: i32| -> i64 {
            let counting = events.iter().filter(|(_, age)| *age < u64::try_from(period).unwrap());
            counting.map(|(change, _)| i64::from(*change)).sum()
        };
        let allowed = rules.policies.iter().map(|policy| {
            let net = change_in(&events, policy.period_seconds) - change_in(&removed, policy.period_seconds);
            let start = i64::from(current) - net;
            let rate = f64::from(policy.value) / 100.0;
            let change = match (policy.kind, desired > current) {
                (PolicyKind::Pods, _) => i64::from(policy.value),
                (PolicyKind::Percent, true) => (start as f64 * (1.0 + rate)).ceil() as i64 - start,
                (PolicyKind::Percent, false) => start - (start as f64 * (1.0 - rate)) as i64,
            };
            (if desired > current { change - net } else { change + net }).max(0)
        });
        let bound = match rules.select_policy {
            SelectPolicy::Max => allowed.max(),
            SelectPolicy::Min => allowed.min(),
            SelectPolicy::Disabled => Some(0),
        };
        prop_assert!(i64::from(limited.abs_diff(current)) <= bound.unwrap());
    }

    /// A pod without sample never turns the direction, and never makes the change larger than the pods with
    /// samples alone would. Exceptions, upstream's (`getUsageRatioReplicaCount`): targets of kind Value for
    /// objects and external metrics multiply the *ready* pods, so that they fall to 0 while none is ready.
    #[test]
    fn missing_pods_damp_the_change(
        values in prop::collection::vec(0..20_000_i64, 1..8),
        missing in 0..8_usize,
        target in 1..10_000_i64,
    ) {
        let current = i32::try_from(values.len() + missing).unwrap();
        let pods: Vec<Pod> = (0..values.len() + missing).map(pod).collect();
        let config = ControllerConfig::default();
        let calculator = ReplicaCalculator {
            pods: &pods,
            tolerances: Tolerances { scale_down: 0.1, scale_up: 0.1 },
            config: &config,
            now: START,
        };
        let Reading::Pods(samples) = pod_reading(&values) else { unreachable!() };
        let average = samples.values().map(|sample| sample.value_milli).sum::<i64>() / i64::try_from(values.len()).unwrap();
        let replicas = calculator.metric_replicas(current, target, samples).unwrap().replicas;
        if average < target {
            prop_assert!(replicas <= current);
        } else if average > target {
            prop_assert!(replicas >= current);
        } else {
            prop_assert_eq!(replicas, current);
        }
    }

    #[test]
    fn more_load_never_asks_for_fewer_replicas(
        values in prop::collection::vec(0..20_000_i64, 1..8),
        more in 0..20_000_i64,
    ) {
        let ask = |values: &[i64]| {
            let replicas = i32::try_from(values.len()).unwrap();
            controller(1, 1000, None).reconcile(&observe(replicas, values), START).recommendation.unwrap()
        };
        let mut higher = values.clone();
        higher[0] += more;
        prop_assert!(ask(&higher) >= ask(&values));
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_ms(START.unix_ms() + second * 1000)
}

fn pod(index: usize) -> Pod {
    Pod::running(&format!("p{index}"), Timestamp::from_unix_ms(START.unix_ms() - 3_600_000))
}

fn pod_reading(values: &[i64]) -> Reading {
    let sample = |value_milli: i64| PodSample { value_milli, timestamp: START, window: Duration::ZERO };
    Reading::Pods(values.iter().enumerate().map(|(index, value)| (format!("p{index}"), sample(*value))).collect())
}

/// As many running pods as replicas; the first of them have the values.
fn observe(replicas: i32, values: &[i64]) -> Observation {
    Observation {
        scale: Ok(Scale { spec_replicas: replicas, status_replicas: replicas }),
        selector_problem: None,
        pods: (0..usize::try_from(replicas).unwrap()).map(pod).collect(),
        metrics: vec![Ok(pod_reading(values))],
        floor: None,
    }
}

fn external(target: MetricTarget) -> MetricSpec {
    MetricSpec::External { metric: MetricIdentifier { name: "queue".to_owned(), selector: None }, target }
}

/// Pods metric `active` with an average of 4.
fn hpa(min_replicas: i32, max_replicas: i32, behavior: Option<HpaBehavior>) -> HorizontalPodAutoscaler {
    let metric = MetricIdentifier { name: "active".to_owned(), selector: None };
    let metrics = vec![MetricSpec::Pods { metric, target: MetricTarget::AverageValue(Quantity::from_whole(4)) }];
    let scale_target_ref = CrossVersionObjectReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "asr".to_owned(),
    };
    HorizontalPodAutoscaler {
        name: "asr".to_owned(),
        namespace: "ns".to_owned(),
        spec: HpaSpec { scale_target_ref, min_replicas, max_replicas, metrics, behavior },
    }
}

fn behavior(down_window_seconds: i32) -> HpaBehavior {
    HpaBehavior {
        scale_up: ScalingRules::default_scale_up(),
        scale_down: ScalingRules {
            stabilization_window_seconds: Some(down_window_seconds),
            ..ScalingRules::default_scale_down()
        },
    }
}

fn controller(min: i32, max: i32, behavior: Option<HpaBehavior>) -> Controller {
    Controller::new(hpa(min, max, behavior), ControllerConfig::default())
}

fn sync(controller: &mut Controller, second: i64, replicas: i32, values: &[i64]) -> Decision {
    controller.reconcile(&observe(replicas, values), at(second))
}

/// The numbers of a decision on one line.
fn line(decision: &Decision) -> String {
    let able = decision.conditions.get(ConditionType::AbleToScale).unwrap().reason;
    let limited = decision.conditions.get(ConditionType::ScalingLimited).unwrap().reason;
    format!(
        "{:?} asks {:?} stabilized {:?} sets {:?}: {able}, {limited}; {}",
        decision.current_replicas.unwrap(),
        decision.recommendation.unwrap(),
        decision.stabilized.unwrap(),
        decision.rescale,
        decision.reason
    )
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
#[track_caller]
fn check(decision: &Decision, expected: Expect) {
    let mut text = format!("desired {:?}, error {:?}\n", decision.desired_replicas(), decision.error);
    for condition in decision.conditions.as_slice() {
        let (kind, is_true) = (condition.kind.as_str(), condition.is_true);
        text.push_str(&format!("{kind}={is_true} {}: {}\n", condition.reason, condition.message));
    }
    for event in &decision.events {
        text.push_str(&format!("event {}: {}\n", event.reason, event.message));
    }
    expected.assert_eq(&text);
}
