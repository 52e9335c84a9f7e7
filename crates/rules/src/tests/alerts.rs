use std::sync::Arc;
use std::time::Duration;

use datamodel::{Labels, Timestamp};
use proptest::prelude::*;

use super::{EPOCH_MS, INTERVAL, World};
use crate::alert::{ActiveAlerts, AlertResult};
use crate::{AlertState, AlertingRule, Query, RESEND_DELAY, RESOLVED_RETENTION, RuleKind};

const QUEUE: &str = "groups: [{name: g, rules: [{alert: Queue, expr: 'm > 50', for: 2m, labels: \
    {severity: warning, pod_upper: '{{ $labels.pod | toUpper }}'}, annotations: {description: '{{ $value }} queued'}}]}]";

#[tokio::test(start_paused = true)]
async fn alert_is_pending_then_fires_then_ends() {
    let world = World::start(QUEUE).await;
    // States of before a restart are looked for first; without any, series are written from then on.
    world.evaluated().await;
    world.pass(INTERVAL).await;
    world.write(&[("__name__", "m"), ("pod", "a")], 60.0);
    world.pass(INTERVAL).await;
    let from = world.group().last_evaluation.unwrap().unix_ms();
    assert_eq!(world.told(), [""; 0]);
    world.write(&[("__name__", "m"), ("pod", "a")], 75.5);
    world.pass(INTERVAL * 2).await;
    assert_eq!(world.told(), ["Queue firing {description=\"75.5 queued\"}"]);
    let RuleKind::Alerting { state, alerts, .. } = world.group().rules[0].kind.clone() else { panic!() };
    assert_eq!((state, alerts.len(), alerts[0].value.to_string()), (AlertState::Firing, 1, "75.5".to_owned()));
    assert_eq!(alerts[0].active_at, Timestamp::from_unix_ms(from));
    world.write(&[("__name__", "m"), ("pod", "a")], 1.0);
    world.pass(INTERVAL).await;
    assert_eq!(world.told(), ["Queue inactive {description=\"75.5 queued\"}"]);
    let labels = "pod=\"a\", pod_upper=\"A\", severity=\"warning\"";
    world.check(
        "ALERTS",
        from,
        &[
            &format!("ALERTS{{alertname=\"Queue\", alertstate=\"firing\", {labels}}} 1@120 stale@180"),
            &format!("ALERTS{{alertname=\"Queue\", alertstate=\"pending\", {labels}}} 1@0 1@60 stale@120"),
        ],
    );
    let since = from / 1000;
    let state = format!("ALERTS_FOR_STATE{{alertname=\"Queue\", {labels}}} {since}@0 {since}@60 {since}@120 stale@180");
    world.check("ALERTS_FOR_STATE", from, &[&state]);
}

#[tokio::test(start_paused = true)]
async fn template_that_fails_says_so_in_the_annotation() {
    let rules = "groups: [{name: g, rules: [{alert: A, expr: 'm', annotations: \
        {a: '{{ first (query \"absent_metric\") }}', b: '{{ (query \"m\" | first).Value }} {{ $externalLabels.cluster }}'}}]}]";
    let world = World::start(rules).await;
    world.write(&[("__name__", "m")], 4.0);
    world.evaluated().await;
    let error = "<error expanding template: 1:4: first: called on a list without samples>";
    assert_eq!(world.told(), [format!("A firing {{a=\"{error}\", b=\"4 c1\"}}")]);
}

#[tokio::test(start_paused = true)]
async fn pending_time_is_restored_after_a_restart() {
    let rules = "groups: [{name: g, rules: [{alert: Long, expr: 'm > 0', for: 30m}]}]";
    let mut world = World::start(rules).await;
    let keep = |world: &World| world.write(&[("__name__", "m")], 1.0);
    for _ in 0..20 {
        keep(&world);
        world.pass(INTERVAL).await;
    }
    let active_since = active_at(&world);
    let down_at = world.group().last_evaluation.unwrap();
    world.stop().await;
    let storage = Arc::clone(&world.storage);
    // Down for ten minutes.
    let epoch_ms = down_at.unix_ms() + 600_000;
    let world = World::start_on(storage, epoch_ms, rules).await;
    for _ in 0..3 {
        keep(&world);
        world.pass(INTERVAL).await;
    }
    // 19 min of 30 had passed: 11 min remain, which is more than the grace period; the time down is not counted.
    let restored_at = world.group().last_evaluation.unwrap().unix_ms() - 60_000;
    let expected = active_since + (restored_at - down_at.unix_ms());
    assert!((active_at(&world) - expected).abs() <= 1000, "{} {expected}", active_at(&world));
}

#[tokio::test(start_paused = true)]
async fn restored_alert_waits_at_least_the_grace_period() {
    let rules = "groups: [{name: g, rules: [{alert: Long, expr: 'm > 0', for: 30m}]}]";
    let mut world = World::start(rules).await;
    for _ in 0..29 {
        world.write(&[("__name__", "m")], 1.0);
        world.pass(INTERVAL).await;
    }
    world.stop().await;
    let epoch_ms = world.group().last_evaluation.unwrap().unix_ms() + 60_000;
    let world = World::start_on(Arc::clone(&world.storage), epoch_ms, rules).await;
    for _ in 0..3 {
        world.write(&[("__name__", "m")], 1.0);
        world.pass(INTERVAL).await;
    }
    let restored_at = world.group().last_evaluation.unwrap().unix_ms() - 60_000;
    assert_eq!(active_at(&world), restored_at + 600_000 - 1_800_000);
}

#[tokio::test(start_paused = true)]
async fn changed_rule_keeps_its_alerts() {
    let rules =
        |threshold: i64| format!("groups: [{{name: g, rules: [{{alert: A, expr: 'm > {threshold}', for: 1h}}]}}]");
    let world = World::start(&rules(1)).await;
    world.write(&[("__name__", "m")], 5.0);
    world.evaluated().await;
    let before = active_at(&world);
    world.apply(&rules(2)).await;
    world.write(&[("__name__", "m")], 5.0);
    world.pass(INTERVAL).await;
    assert_eq!(active_at(&world), before);
}

#[test]
fn keep_firing_for_bridges_gaps() {
    let rule = AlertingRule { keep_firing_for: Duration::from_secs(90), ..rule(0) };
    check_states(
        &rule,
        &[(0, true, "firing"), (60, false, "firing"), (120, false, "firing"), (180, false, "inactive")],
    );
    let back = [
        (0, true, "firing"),
        (60, false, "firing"),
        (120, true, "firing"),
        (180, false, "firing"),
        (300, false, "inactive"),
    ];
    check_states(&rule, &back);
}

#[test]
fn pending_alert_that_goes_is_forgotten_and_starts_anew() {
    let steps =
        [(0, true, "pending"), (60, false, ""), (120, true, "pending"), (180, true, "pending"), (240, true, "firing")];
    check_states(&rule(120), &steps);
}

#[test]
fn resolved_alert_is_kept_for_a_while_and_fires_anew() {
    let kept = i64::try_from(RESOLVED_RETENTION.as_secs()).unwrap();
    let steps = [(0, true, "firing"), (60, false, "inactive"), (60 + kept, false, "inactive"), (61 + kept, false, "")];
    check_states(&rule(0), &steps);
    check_states(
        &rule(60),
        &[(0, true, "pending"), (60, true, "firing"), (120, false, "inactive"), (180, true, "pending")],
    );
}

#[test]
fn sink_hears_of_firing_alerts_each_minute_and_of_the_end_at_once() {
    let rule = rule(0);
    let mut alerts = ActiveAlerts::default();
    let mut told = Vec::new();
    for (second, present) in [(0, true), (30, true), (61, true), (90, true), (100, false), (110, false), (161, false)] {
        let at = Timestamp::from_unix_ms(second * 1000);
        alerts.step(&rule, results(present), at, 10).unwrap();
        for alert in alerts.due(at, Duration::from_secs(30), RESEND_DELAY) {
            told.push((second, alert.state.as_str(), alert.valid_until.unwrap().unix_ms() / 1000 - second));
        }
    }
    assert_eq!(told, [(0, "firing", 240), (61, "firing", 240), (100, "inactive", 240), (161, "inactive", 240)]);
}

#[test]
fn too_many_alerts_are_all_forgotten() {
    let result = |pod: &str| AlertResult {
        labels: Labels::from_pairs([("pod", pod)]),
        annotations: Labels::empty(),
        value: 1.0,
    };
    let mut alerts = ActiveAlerts::default();
    let at = Timestamp::from_unix_ms(0);
    let error = alerts.step(&rule(0), vec![result("a"), result("b")], at, 1).unwrap_err();
    assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
    assert_eq!(alerts.all().count(), 0);
    let error = alerts.step(&rule(0), vec![result("a"), result("a")], at, 9).unwrap_err();
    assert_eq!(error.to_string(), "vector contains metrics with the same labelset after applying alert labels");
}

proptest! {
    #[test]
    fn alert_fires_exactly_when_it_was_there_for_long_enough(
        for_seconds in 0_i64..200,
        steps in proptest::collection::vec((1_i64..100, any::<bool>()), 1..30),
    ) {
        let rule = rule(for_seconds);
        let mut alerts = ActiveAlerts::default();
        let (mut now, mut since) = (0, None);
        for (seconds, present) in steps {
            now += seconds;
            alerts.step(&rule, results(present), Timestamp::from_unix_ms(now * 1000), 10).unwrap();
            since = present.then(|| since.unwrap_or(now));
            let expected = since.map(|since| if now - since >= for_seconds { AlertState::Firing } else { AlertState::Pending });
            prop_assert_eq!(alerts.active().next().map(|alert| alert.state), expected);
        }
    }
}

fn active_at(world: &World) -> i64 {
    match &world.group().rules[0].kind {
        RuleKind::Alerting { alerts, .. } => alerts[0].active_at.unix_ms(),
        RuleKind::Recording => panic!("no alerting rule"),
    }
}

fn rule(for_seconds: i64) -> AlertingRule {
    AlertingRule {
        alert: "A".to_owned(),
        query: Query { text: "m".to_owned(), expr: promql::parse("m").unwrap() },
        for_duration: Duration::from_secs(for_seconds.unsigned_abs()),
        keep_firing_for: Duration::ZERO,
        labels: vec![],
        annotations: vec![],
    }
}

fn results(present: bool) -> Vec<AlertResult> {
    let result =
        AlertResult { labels: Labels::from_pairs([("alertname", "A")]), annotations: Labels::empty(), value: 1.0 };
    if present { vec![result] } else { vec![] }
}

/// Steps of second, whether the result is there, and the state afterwards (empty: no alert).
#[track_caller]
fn check_states(rule: &AlertingRule, steps: &[(i64, bool, &str)]) {
    let mut alerts = ActiveAlerts::default();
    for (second, present, expected) in steps {
        let at = Timestamp::from_unix_ms(EPOCH_MS + second * 1000);
        alerts.step(rule, results(*present), at, 10).unwrap();
        let state = alerts.all().next().map_or("", |alert| alert.state.as_str());
        assert_eq!(state, *expected, "at {second} s");
    }
}
