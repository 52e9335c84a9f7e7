use std::sync::Arc;
use std::time::Duration;

use storage::Queryable;
use tokio::time::Instant;

use super::{Answer, INTERVAL, World, config, group, show};
use crate::{FreshOverlay, PULL_BUDGET, PULL_SPACING, PullOutcome, PullSkip, PulledRow, PulledTarget, ScrapeConfig};

#[tokio::test(start_paused = true)]
async fn pulled_row_is_seen_through_the_overlay_and_nowhere_else() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    let series_before = world.storage.series_count();
    world.net.page("a", "m 2\nm_new 3\n");
    let row = pull_row(&world, "a").await;
    let inner: Arc<dyn Queryable> = Arc::<storage::MemoryStorage>::clone(&world.storage);
    let fresh = FreshOverlay::new(inner, vec![row]);
    let expected = ["m{instance=\"a:1\"} 1@0 2@5", "m_new{instance=\"a:1\"} 3@5"];
    assert_eq!(show(&fresh, "m.*", from), expected);
    world.check("m.*", from, &["m{instance=\"a:1\"} 1@0"]);
    world.check("up", from, &["up{instance=\"a:1\"} 1@0"]);
    assert_eq!(world.storage.series_count(), series_before, "a pull makes no series");
}

#[tokio::test(start_paused = true)]
async fn pull_changes_nothing_in_what_is_scraped_later() {
    let mut quiet = World::start(config(), &[("a", "m 1\nn 1\n")]).await;
    let from = quiet.scraped("a").await;
    quiet.net.page("a", "n 2\no 3\n");
    quiet.pass(INTERVAL * 3).await;
    quiet.stop().await;
    let watched = World::start(config(), &[("a", "m 1\nn 1\n")]).await;
    let from_watched = watched.scraped("a").await;
    watched.net.page("a", "n 2\no 3\n");
    for _ in 0..30 {
        pull(&watched, "a").await;
        watched.pass(Duration::from_secs(1)).await;
    }
    let all = |world: &World, from| show(world.storage.as_ref(), ".*", from);
    assert_eq!(all(&quiet, from), all(&watched, from_watched));
}

#[tokio::test(start_paused = true)]
async fn series_that_the_pulled_page_lost_is_ended_in_the_overlay() {
    let world = World::start(config(), &[("a", "m{x=\"1\"} 1\nm{x=\"2\"} 2\n")]).await;
    let from = world.scraped("a").await;
    world.net.page("a", "m{x=\"2\"} 3\n");
    let row = pull_row(&world, "a").await;
    let inner: Arc<dyn Queryable> = Arc::<storage::MemoryStorage>::clone(&world.storage);
    let expected = ["m{instance=\"a:1\", x=\"1\"} 1@0 stale@5", "m{instance=\"a:1\", x=\"2\"} 2@0 3@5"];
    assert_eq!(show(&FreshOverlay::new(inner, vec![row]), "m", from), expected);
}

#[tokio::test(start_paused = true)]
async fn next_pull_replaces_the_row_and_the_next_commit_drops_it() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    world.scraped("a").await;
    let first = Arc::downgrade(&pull_row(&world, "a").await);
    assert_eq!(first.strong_count(), 1, "the loop keeps the row for those who ask within a second");
    world.pass(PULL_SPACING).await;
    let second = Arc::downgrade(&pull_row(&world, "a").await);
    assert_eq!(first.strong_count(), 0);
    world.pass(INTERVAL).await;
    assert_eq!(second.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn target_is_pulled_once_a_second_however_many_ask() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    world.scraped("a").await;
    let slow = Answer { delay: Duration::from_millis(100), body: "m 2\n".to_owned(), ..Answer::default() };
    world.net.set("a", slow);
    let before = world.net.request_count("a");
    let (first, second, third) = tokio::join!(pull(&world, "a"), pull(&world, "a"), pull(&world, "a"));
    assert!(first.row().is_some());
    assert_eq!((&first, &first), (&second, &third), "pulls in flight are coalesced");
    assert_eq!(pull(&world, "a").await, first);
    world.pass(PULL_SPACING - Duration::from_millis(101)).await;
    assert_eq!(pull(&world, "a").await, first);
    assert_eq!(world.net.request_count("a"), before + 1);
    world.pass(Duration::from_millis(1)).await;
    assert_ne!(pull(&world, "a").await, first);
    assert_eq!(world.net.request_count("a"), before + 2);
}

#[tokio::test(start_paused = true)]
async fn pull_just_after_a_scheduled_scrape_asks_nobody() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    world.scraped("a").await;
    world.pass(INTERVAL / 2 + Duration::from_millis(500)).await;
    let before = world.net.request_count("a");
    assert_eq!(pull(&world, "a").await.outcome, PullOutcome::Stored);
    assert_eq!(world.net.request_count("a"), before);
}

#[tokio::test(start_paused = true)]
async fn failing_pull_writes_nothing_and_the_next_one_replaces_it() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.set("a", Answer { status: 503, ..Answer::default() });
    let failed = PullOutcome::Failed("server returned HTTP status 503 Service Unavailable".into());
    assert_eq!(pull(&world, "a").await.outcome, failed);
    let status = world.status("a");
    assert_eq!((status.health.as_str(), status.last_error.as_str()), ("up", ""));
    world.net.page("a", "broken{\n");
    world.pass(PULL_SPACING).await;
    assert!(matches!(pull(&world, "a").await.outcome, PullOutcome::Failed(_)));
    world.check("m|up", from, &["m{instance=\"a:1\"} 1@0", "up{instance=\"a:1\"} 1@0"]);
    world.net.page("a", "m 2\n");
    world.pass(PULL_SPACING).await;
    assert_eq!(pull_row(&world, "a").await.samples[0].value.to_string(), "2");
}

#[tokio::test(start_paused = true)]
async fn pull_ends_with_its_budget() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    world.scraped("a").await;
    world.net.set("a", Answer { delay: Duration::from_secs(1), body: "m 2\n".to_owned(), ..Answer::default() });
    let started = Instant::now();
    let outcome = world.handle.pull(|_| true, Duration::from_secs(60)).await.remove(0).outcome;
    assert_eq!(started.elapsed(), PULL_BUDGET);
    assert!(matches!(outcome, PullOutcome::Skipped(PullSkip::OutOfBudget) | PullOutcome::Failed(_)), "{outcome:?}");
    world.pass(PULL_SPACING).await;
    let started = Instant::now();
    world.handle.pull(|_| true, Duration::from_millis(50)).await;
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn target_whose_scrape_does_not_fit_the_budget_is_not_asked() {
    let world = World::start(config(), &[("a", "")]).await;
    world.net.set("a", Answer { delay: Duration::from_millis(150), body: "m 1\n".to_owned(), ..Answer::default() });
    world.scraped("a").await;
    let before = world.net.request_count("a");
    let outcome = world.handle.pull(|_| true, Duration::from_millis(100)).await.remove(0).outcome;
    assert_eq!(outcome, PullOutcome::Skipped(PullSkip::TooSlow));
    assert_eq!(world.net.request_count("a"), before);
    assert!(pull(&world, "a").await.row().is_some(), "the whole budget is enough");
}

#[tokio::test(start_paused = true)]
async fn pulls_over_all_targets_are_bounded() {
    let hosts: Vec<String> = (0..100).map(|number| format!("host{number}")).collect();
    let targets: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "")).collect();
    let config = ScrapeConfig { scrape_interval: Duration::from_secs(86_400), ..config() };
    let world = World::start(config, &targets).await;
    for host in &hosts {
        world
            .net
            .set(host, Answer { delay: Duration::from_millis(150), body: "m 1\n".to_owned(), ..Answer::default() });
    }
    world.pass(Duration::from_secs(1)).await;
    let pulled = world.handle.pull(|_| true, PULL_BUDGET).await;
    assert_eq!(pulled.iter().filter(|target| target.row().is_some()).count(), 64);
    assert_eq!(world.net.most_at_once(), 64);
}

#[tokio::test(start_paused = true)]
async fn only_discovered_targets_that_are_picked_are_asked() {
    let world = World::start(config(), &[("a", "m 1\n"), ("b", "m 1\n"), ("c", "m 1\n")]).await;
    world.groups.send(vec![group(&["a", "b"])]).unwrap();
    world.pass(INTERVAL * 4).await;
    let before = (world.net.request_count("b"), world.net.request_count("c"));
    let pulled = world.handle.pull(|labels| labels.get("instance") != Some("b:1"), PULL_BUDGET).await;
    let instances: Vec<_> = pulled.iter().map(|target| target.labels.get("instance")).collect();
    assert_eq!(instances, [Some("a:1")]);
    assert_eq!((world.net.request_count("b"), world.net.request_count("c")), before);
}

#[tokio::test(start_paused = true)]
async fn scheduled_scrape_displaces_a_pull_and_answers_it() {
    let world = World::start(config(), &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.set("a", Answer { delay: Duration::from_millis(100), body: "m 2\n".to_owned(), ..Answer::default() });
    world.pass(INTERVAL / 2 - Duration::from_millis(50)).await;
    assert_eq!(pull(&world, "a").await.outcome, PullOutcome::Stored);
    world.check("m", from, &["m{instance=\"a:1\"} 1@0 2@10"]);
}

#[tokio::test(start_paused = true)]
async fn new_target_is_pulled_before_its_first_scrape() {
    let config = ScrapeConfig { scrape_interval: Duration::from_secs(86_400), ..config() };
    let world = World::start(config, &[("a", "m 1\n")]).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.status("a").last_scrape, None);
    let row = pull_row(&world, "a").await;
    assert_eq!(row.samples[0].labels.to_string(), "m{instance=\"a:1\", job=\"asr\"}");
    assert_eq!(world.storage.series_count(), 0);
}

async fn pull(world: &World, host: &str) -> PulledTarget {
    let instance = format!("{host}:1");
    let of = |labels: &datamodel::Labels| labels.get("instance") == Some(&instance);
    world.handle.pull(of, PULL_BUDGET).await.remove(0)
}

async fn pull_row(world: &World, host: &str) -> Arc<PulledRow> {
    let target = pull(world, host).await;
    Arc::clone(target.row().unwrap_or_else(|| panic!("{:?}", target.outcome)))
}
