use std::time::Duration;

use datamodel::relabel::{RelabelAction, RelabelConfig};
use datamodel::{Labels, LabelsBuilder};
use discovery::{ADDRESS, Discoverer, DiscovererFuture, StaticDiscoverer, TargetGroup, Updates};
use tokio_util::sync::CancellationToken;

use super::{Answer, INTERVAL, World, config, group};
use crate::{Job, ManagerError, ScrapeConfig, ScrapeLimits, TargetHealth};

#[tokio::test(start_paused = true)]
async fn target_is_scraped_at_regular_timestamps_with_its_report() {
    let world = World::start(config(), &[("a", "m 1\nn{x=\"y\"} 2\n")]).await;
    let from = world.scraped("a").await;
    world.pass(INTERVAL).await;
    world.check("m|n", from, &["m{instance=\"a:1\"} 1@0 1@10", "n{instance=\"a:1\", x=\"y\"} 2@0 2@10"]);
    world.check("up", from, &["up{instance=\"a:1\"} 1@0 1@10"]);
    world.check("scrape_samples_scraped", from, &["scrape_samples_scraped{instance=\"a:1\"} 2@0 2@10"]);
    let kept = "scrape_samples_post_metric_relabeling{instance=\"a:1\"} 2@0 2@10";
    world.check("scrape_samples_post_metric_relabeling", from, &[kept]);
    world.check("scrape_series_added", from, &["scrape_series_added{instance=\"a:1\"} 2@0 0@10"]);
    world.check("scrape_duration_seconds", from, &["scrape_duration_seconds{instance=\"a:1\"} 0@0 0@10"]);
    let status = world.status("a");
    assert_eq!((status.health, status.last_samples, status.last_error.as_str()), (TargetHealth::Up, 2, ""));
    assert_eq!(status.scrape_url, "http://a:1/metrics");
    assert_eq!(world.net.opened(), 1, "the connection is kept");
    let mut text = String::new();
    world.registry.encode_text(&mut text);
    let length = "prometheus_target_interval_length_seconds{interval=\"10s\",quantile=\"0.5\"} 10\n";
    assert!(text.contains(length), "{text}");
}

#[tokio::test(start_paused = true)]
async fn targets_are_spread_over_the_interval_by_their_hash() {
    let hosts: Vec<String> = (0..40).map(|number| format!("host{number}")).collect();
    let targets: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "m 1\n")).collect();
    let world = World::start(config(), &targets).await;
    world.pass(INTERVAL + Duration::from_secs(1)).await;
    let mut tenths = [0; 10];
    for host in &hosts {
        let at = world.status(host).last_scrape.unwrap().unix_ms();
        tenths[usize::try_from(at % 10_000 / 1_000).unwrap()] += 1;
    }
    assert!(tenths.iter().filter(|count| **count > 0).count() >= 7, "{tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn targets_share_the_places_of_an_interval() {
    let hosts: Vec<String> = (0..200).map(|number| format!("host{number}")).collect();
    let targets: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "m 1\n")).collect();
    let world = World::start(config(), &targets).await;
    world.pass(INTERVAL + Duration::from_secs(1)).await;
    let mut places: Vec<i64> =
        hosts.iter().map(|host| world.status(host).last_scrape.unwrap().unix_ms() % 10_000).collect();
    places.sort_unstable();
    // Clocks count whole milliseconds: one place may be seen as two neighbours.
    let apart = 1 + places.windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
    assert!((30..=64).contains(&apart), "{apart}: {places:?}");
}

#[tokio::test(start_paused = true)]
async fn series_that_disappears_ends_with_a_marker() {
    let world = World::start(config(), &[("a", "m{x=\"1\"} 1\nm{x=\"2\"} 2\n")]).await;
    let from = world.scraped("a").await;
    world.net.page("a", "m{x=\"2\"} 3\n");
    world.pass(INTERVAL * 2).await;
    world.net.page("a", "m{x=\"2\"} 4\nm{x=\"1\"} 5\n");
    world.pass(INTERVAL).await;
    let first = "m{instance=\"a:1\", x=\"1\"} 1@0 stale@10 5@30";
    world.check("m", from, &[first, "m{instance=\"a:1\", x=\"2\"} 2@0 3@10 3@20 4@30"]);
}

#[tokio::test(start_paused = true)]
async fn same_series_in_another_spelling_does_not_end() {
    let world = World::start(config(), &[("a", "m{x=\"1\",y=\"2\"} 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.page("a", "m{y=\"2\",x=\"1\"} 2\n");
    world.pass(INTERVAL).await;
    world.check("m", from, &["m{instance=\"a:1\", x=\"1\", y=\"2\"} 1@0 2@10"]);
}

#[tokio::test(start_paused = true)]
async fn failed_scrape_ends_all_series_once_and_says_why() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.set("a", Answer { status: 500, ..Answer::default() });
    world.pass(INTERVAL * 2).await;
    let status = world.status("a");
    assert_eq!(status.health, TargetHealth::Down);
    assert_eq!(status.last_error, "server returned HTTP status 500 Internal Server Error");
    world.net.page("a", "m 2\n");
    world.pass(INTERVAL).await;
    world.check("m", from, &["m{instance=\"a:1\"} 1@0 stale@10 2@30"]);
    world.check("up", from, &["up{instance=\"a:1\"} 1@0 0@10 0@20 1@30"]);
    assert_eq!(world.status("a").health, TargetHealth::Up);
}

#[tokio::test(start_paused = true)]
async fn slow_target_fails_at_its_timeout_and_keeps_its_schedule() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.set("a", Answer { delay: Duration::from_secs(8), body: "m 1\n".to_owned(), ..Answer::default() });
    world.pass(INTERVAL * 2 + Duration::from_secs(1)).await;
    assert_eq!(world.status("a").last_error, "no complete answer within 5s");
    world.check("up", from, &["up{instance=\"a:1\"} 1@0 0@10 0@20"]);
    world.check("scrape_duration_seconds", from, &["scrape_duration_seconds{instance=\"a:1\"} 0@0 5@10 5@20"]);
}

#[tokio::test(start_paused = true)]
async fn stale_marker_ends_series_of_removed_target_at_its_next_scrape() {
    let world = World::start(config(), &[("a", "m 1\n"), ("b", "m 2\n")]).await;
    let from = world.scraped("a").await;
    world.scraped("b").await;
    world.groups.send(vec![group(&["b"])]).unwrap();
    world.pass(INTERVAL * 4).await;
    let requests = world.net.request_count("a");
    let ended = super::show(world.storage.as_ref(), "m", from);
    let next = format!("stale@{}", requests * 10);
    assert!(ended[0].ends_with(&next), "{ended:?}");
    assert!(!ended[1].contains("stale"), "{ended:?}");
    let reports = super::show(world.storage.as_ref(), "up|scrape_.*", from);
    assert_eq!(reports.iter().filter(|line| line.ends_with(&next)).count(), 5, "{reports:?}");
    assert_eq!(world.handle.active_targets().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_of_the_server_writes_no_marker() {
    let mut world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.stop().await;
    world.pass(INTERVAL * 4).await;
    world.check("m", from, &["m{instance=\"a:1\"} 1@0"]);
}

#[tokio::test(start_paused = true)]
async fn target_that_comes_back_with_the_same_labels_is_not_ended() {
    let mut config = config();
    // Two addresses, one label set: the port of a restarted worker.
    config.relabel_configs = vec![RelabelConfig {
        target_label: Some("instance".to_owned()),
        replacement: Some("worker".to_owned()),
        ..RelabelConfig::default()
    }];
    let world = World::start(config, &[("a", "m 1\n"), ("b", "m 2\n")]).await;
    world.groups.send(vec![group(&["a"])]).unwrap();
    world.pass(INTERVAL * 4).await;
    world.groups.send(vec![group(&["b"])]).unwrap();
    world.pass(INTERVAL * 4).await;
    let series = super::show(world.storage.as_ref(), "m", 0);
    assert_eq!(series.len(), 1);
    let after = series[0].split_once(" 2@").unwrap().1;
    assert!(!after.contains("stale"), "{series:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_targets_are_scraped_once_and_dropped_ones_are_shown() {
    let mut config = config();
    config.relabel_configs = vec![RelabelConfig {
        source_labels: vec!["role".to_owned()],
        regex: Some("spare".to_owned()),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    }];
    let world = World::start(config, &[("a", "m 1\n")]).await;
    let mut spare = group(&["spare"]);
    spare.source = "spare".into();
    spare.labels = Labels::from_pairs([("role", "spare"), ("__meta_zone", "x")]);
    let mut twin = group(&["a"]);
    twin.source = "twin".into();
    world.groups.send(vec![group(&["a"]), twin, spare]).unwrap();
    world.pass(INTERVAL * 2).await;
    assert_eq!(world.handle.active_targets().len(), 1);
    let dropped = world.handle.dropped_targets();
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].discovered_labels.get("__meta_zone"), Some("x"));
    assert_eq!(dropped[0].discovered_labels.get("__scrape_interval__"), Some("10s"));
    let pools = world.handle.pools();
    assert_eq!((pools[0].active, pools[0].dropped), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn labels_of_a_target_decide_path_and_parameters() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let mut target = LabelsBuilder::default();
    target.set(ADDRESS, "a:1").set("__metrics_path__", "/probe").set("__param_module", "http 2xx");
    target.set("__meta_pod", "x").set("pod", "x");
    let group = TargetGroup { source: "test".into(), labels: Labels::empty(), targets: vec![target.build()] };
    world.groups.send(vec![group]).unwrap();
    world.pass(INTERVAL * 2).await;
    let status = world.status("a");
    assert_eq!(status.scrape_url, "http://a:1/probe?module=http%202xx");
    assert_eq!(status.labels.to_string(), "{instance=\"a:1\", job=\"asr\", pod=\"x\"}");
    let request = world.net.last_request("a");
    assert_eq!(request.uri, "/probe?module=http%202xx");
    assert_eq!(request.headers["host"], "a:1");
    assert_eq!(request.headers["accept-encoding"], "gzip, zstd");
    assert_eq!(request.headers["x-prometheus-scrape-timeout-seconds"], "5");
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("Crescendo/"));
    let accept = request.headers["accept"].to_str().unwrap();
    assert!(accept.contains("application/openmetrics-text;version=1.0.0"), "{accept}");
    assert!(!accept.contains("protobuf"), "{accept}");
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_fail_all_of_them() {
    let limits = ScrapeLimits { target_limit: 1, ..ScrapeLimits::default() };
    let world = World::start(ScrapeConfig { limits, ..config() }, &[("a", "m 1\n"), ("b", "m 1\n")]).await;
    world.pass(INTERVAL * 2).await;
    let targets = world.handle.active_targets();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].last_error, "target_limit exceeded: 2 targets, limit 1");
    world.groups.send(vec![group(&["a"])]).unwrap();
    world.pass(INTERVAL * 2).await;
    assert_eq!(world.status("a").health, TargetHealth::Up);
    let mut text = String::new();
    world.registry.encode_text(&mut text);
    assert!(text.contains("prometheus_target_scrape_pool_exceeded_target_limit_total 1\n"), "{text}");
    assert!(text.contains("prometheus_target_scrape_pool_targets{scrape_job=\"asr\"} 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn unchanged_job_goes_on_without_a_gap_and_a_removed_one_ends() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    let same = || Job { config: config(), discoverers: vec![Box::new(StaticDiscoverer::new(vec![group(&["a"])]))] };
    world.handle.apply(vec![same()]).await.unwrap();
    world.pass(INTERVAL * 2).await;
    world.check("m", from, &["m{instance=\"a:1\"} 1@0 1@10 1@20"]);
    world.handle.apply(vec![]).await.unwrap();
    world.pass(INTERVAL * 2).await;
    world.check("m", from, &["m{instance=\"a:1\"} 1@0 1@10 1@20 stale@30"]);
    assert!(world.handle.pools().is_empty());
    let twice = world.handle.apply(vec![same(), same()]).await;
    let Err(ManagerError::Config(errors)) = twice else { panic!("{twice:?}") };
    assert_eq!(errors.to_string(), "scrape job `asr`: `job_name` is used by two jobs");
}

#[tokio::test(start_paused = true)]
async fn discovery_that_panics_ends_the_scraping_with_its_reason() {
    #[derive(Debug)]
    struct Lost;
    impl Discoverer for Lost {
        fn run(self: Box<Self>, _updates: Updates, _shutdown: CancellationToken) -> DiscovererFuture {
            Box::pin(async { panic!("discovery is lost") })
        }
    }
    let mut world = World::start(config(), &[("a", "m 1\n")]).await;
    let job =
        Job { config: ScrapeConfig { job_name: "lost".to_owned(), ..config() }, discoverers: vec![Box::new(Lost)] };
    world.handle.apply(vec![job]).await.unwrap();
    let panic = world.manager.join_next().await.unwrap().unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"discovery is lost"));
}
