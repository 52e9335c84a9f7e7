use std::time::Duration;

use datamodel::Clock;

use super::{INTERVAL, World};
use crate::RuleHealth;

const RECORD: &str = "groups: [{name: g, rules: [\
    {record: 'job:m:sum', expr: 'sum by (job) (m)', labels: {team: asr}}, \
    {record: twice, expr: 'job:m:sum * 2'}]}]";

#[tokio::test(start_paused = true)]
async fn later_rule_sees_what_the_one_before_it_recorded() {
    let world = World::start(RECORD).await;
    world.write(&[("__name__", "m"), ("job", "a"), ("pod", "1")], 1.0);
    world.write(&[("__name__", "m"), ("job", "a"), ("pod", "2")], 2.0);
    let from = world.evaluated().await;
    world.pass(INTERVAL).await;
    world.check("job:m:sum", from, &["job:m:sum{job=\"a\", team=\"asr\"} 3@0 3@60"]);
    world.check("twice", from, &["twice{job=\"a\", team=\"asr\"} 6@0 6@60"]);
    let group = world.group();
    assert_eq!(group.rules[0].health, RuleHealth::Ok);
    assert_eq!(group.rules[0].query, "sum by (job) (m)");
    world.counted("prometheus_rule_evaluations_total{rule_group=\"rules.yml;g\"} 4");
    world.counted("prometheus_rule_group_last_evaluation_samples{rule_group=\"rules.yml;g\"} 2");
    world.counted("prometheus_rule_group_iterations_total{rule_group=\"rules.yml;g\"} 2");
    world.counted("prometheus_rule_evaluation_duration_seconds_count 4");
}

#[tokio::test(start_paused = true)]
async fn result_that_disappears_ends_with_one_marker() {
    let world = World::start("groups: [{name: g, rules: [{record: r, expr: 'm > 1'}]}]").await;
    world.write(&[("__name__", "m")], 2.0);
    let from = world.evaluated().await;
    world.write(&[("__name__", "m")], 1.0);
    world.pass(INTERVAL * 2).await;
    world.write(&[("__name__", "m")], 3.0);
    world.pass(INTERVAL).await;
    world.check("r", from, &["r 2@0 stale@60 3@180"]);
}

#[tokio::test(start_paused = true)]
async fn failing_rule_says_why_and_ends_nothing() {
    let rules = "groups: [{name: g, limit: 1, rules: [{record: r, expr: 'm'}, {record: s, expr: 'vector(1)'}]}]";
    let world = World::start(rules).await;
    world.write(&[("__name__", "m"), ("pod", "1")], 2.0);
    let from = world.evaluated().await;
    world.write(&[("__name__", "m"), ("pod", "2")], 2.0);
    world.pass(INTERVAL).await;
    let group = world.group();
    assert_eq!(group.rules[0].health, RuleHealth::Err);
    assert_eq!(group.rules[0].last_error, "exceeded limit of 1 with 2 series");
    assert_eq!(group.rules[1].health, RuleHealth::Ok);
    world.check("r|s", from, &["r{pod=\"1\"} 2@0", "s 1@0 1@60"]);
    world.counted("prometheus_rule_evaluation_failures_total{rule_group=\"rules.yml;g\"} 1");
}

#[tokio::test(start_paused = true)]
async fn results_that_become_the_same_series_are_refused() {
    let world = World::start("groups: [{name: g, rules: [{record: r, expr: 'm', labels: {pod: x}}]}]").await;
    world.write(&[("__name__", "m"), ("pod", "1")], 2.0);
    world.write(&[("__name__", "m"), ("pod", "2")], 2.0);
    world.evaluated().await;
    let error = "vector contains metrics with the same labelset after applying rule labels";
    assert_eq!(world.group().rules[0].last_error, error);
    assert!(world.show("r", 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn offset_moves_the_query_and_its_samples_back() {
    let world = World::start("groups: [{name: g, query_offset: 30s, rules: [{record: r, expr: 'time()'}]}]").await;
    let from = world.evaluated().await;
    let seconds = (from - 30_000) as f64 / 1000.0;
    world.check("r", from, &[&format!("r {seconds}@-30")]);
}

#[tokio::test(start_paused = true)]
async fn group_has_its_own_interval() {
    let world = World::start("groups: [{name: g, interval: 10s, rules: [{record: r, expr: 'vector(1)'}]}]").await;
    world.pass(Duration::from_secs(100)).await;
    assert_eq!(world.show("r", 0)[0].matches(" 1@").count(), 10);
}

#[tokio::test(start_paused = true)]
async fn changed_group_ends_only_what_is_no_longer_in_it() {
    let rules = |second: &str| {
        format!(
            "groups: [{{name: g, rules: [{{record: r, expr: 'vector(1)'}}, {{record: {second}, expr: 'vector(2)'}}]}}]"
        )
    };
    let world = World::start(&rules("s")).await;
    let from = world.evaluated().await;
    world.apply(&rules("t")).await;
    world.pass(INTERVAL * 2).await;
    world.check("r", from, &["r 1@0 1@60 1@120"]);
    world.check("s", from, &["s 2@0 stale@60"]);
    world.check("t", from, &["t 2@60 2@120"]);
    world.apply("groups: []").await;
    world.pass(INTERVAL * 2).await;
    world.check("r", from, &["r 1@0 1@60 1@120 stale@180"]);
    assert!(world.handle.status().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_writes_no_marker() {
    let mut world = World::start("groups: [{name: g, rules: [{record: r, expr: 'vector(1)'}]}]").await;
    let from = world.evaluated().await;
    world.stop().await;
    world.pass(INTERVAL * 3).await;
    world.check("r", from, &["r 1@0"]);
}

#[tokio::test(start_paused = true)]
async fn missed_evaluations_are_counted_and_not_caught_up() {
    let world = World::start("groups: [{name: g, rules: [{record: r, expr: 'vector(1)'}]}]").await;
    let from = world.evaluated().await;
    world.clock.jump(150);
    world.pass(INTERVAL * 3 / 2).await;
    world.check("r", from, &["r 1@0 1@60 1@240"]);
    world.counted("prometheus_rule_group_iterations_missed_total{rule_group=\"rules.yml;g\"} 2");
    world.counted("prometheus_rule_group_iterations_total{rule_group=\"rules.yml;g\"} 5");
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_back_stops_no_evaluation() {
    let world = World::start("groups: [{name: g, rules: [{record: r, expr: 'vector(1)'}]}]").await;
    let from = world.evaluated().await;
    world.clock.jump(-3600);
    world.pass(INTERVAL * 3).await;
    let last = world.group().last_evaluation.unwrap().unix_ms();
    assert!(last < from && world.clock.now().unix_ms() - last <= 60_000, "{last}");
}
