use std::time::Duration;

use datamodel::relabel::{RelabelAction, RelabelConfig};
use datamodel::time::TimeRange;
use datamodel::{MatchOp, Matcher};
use http_client::HttpClientConfig;
use storage::ExemplarQueryable;

use super::{Answer, INTERVAL, World, config, show};
use crate::{NameValidation, ScrapeConfig, ScrapeLimits, ScrapeProtocol};

#[tokio::test(start_paused = true)]
async fn label_of_the_page_that_the_target_has_is_renamed() {
    check(
        config(),
        "m{job=\"x\",exported_job=\"y\"} 1\n",
        &["m{exported_exported_job=\"x\", exported_job=\"y\", instance=\"a:1\"} 1@0"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn label_of_the_page_wins_where_it_is_honored() {
    let config = ScrapeConfig { honor_labels: true, ..config() };
    check(config, "m{instance=\"x\"} 1\n", &["m{instance=\"x\"} 1@0"]).await;
}

#[tokio::test(start_paused = true)]
async fn metric_relabelling_drops_and_renames() {
    let drop = RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: Some("m_secret".to_owned()),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    };
    let config = ScrapeConfig { metric_relabel_configs: vec![drop], ..config() };
    let world = check(config, "m_secret 1\nm 2\n", &["m{instance=\"a:1\"} 2@0"]).await;
    let kept = show(world.storage.as_ref(), "scrape_samples_.*", 0);
    assert!(kept.iter().any(|line| line.starts_with("scrape_samples_scraped{instance=\"a:1\"} 2@")), "{kept:?}");
    let after = "scrape_samples_post_metric_relabeling{instance=\"a:1\"} 1@";
    assert!(kept.iter().any(|line| line.starts_with(after)), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn explicit_timestamp_is_kept_and_its_series_gets_no_marker() {
    let world = World::start(config(), &[("a", "m 1 1000000000000\n")]).await;
    world.scraped("a").await;
    world.net.page("a", "n 1\n");
    world.pass(INTERVAL).await;
    world.check("m", 1_000_000_000_000, &["m{instance=\"a:1\"} 1@0"]);
}

#[tokio::test(start_paused = true)]
async fn explicit_timestamp_may_be_tracked_and_ends_by_a_marker() {
    let config = ScrapeConfig { track_timestamps_staleness: true, ..config() };
    let world = World::start(config, &[("a", "m 1 1000000000000\n")]).await;
    let from = world.scraped("a").await;
    world.net.page("a", "n 1\n");
    world.pass(INTERVAL).await;
    let ended = (from - 1_000_000_000_000) / 1000 + 10;
    let lines = show(world.storage.as_ref(), "m", 1_000_000_000_000);
    assert!(lines[0].starts_with(&format!("m{{instance=\"a:1\"}} 1@0 stale@{ended}")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn names_of_the_new_form_fail_where_only_the_old_is_taken() {
    let config = ScrapeConfig { metric_name_validation: NameValidation::Legacy, ..config() };
    let world = check(config, "m 1\n{\"m.x\"} 2\n", &[]).await;
    let error = "name is not valid under `metric_name_validation_scheme: legacy`: `m.x`, line 2";
    assert_eq!(world.status("a").last_error, error);
    let accept = world.net.last_request("a").headers["accept"].to_str().unwrap().to_owned();
    assert!(accept.contains("version=1.0.0;escaping=underscores;"), "{accept}");
}

#[tokio::test(start_paused = true)]
async fn series_about_limits_are_written_where_they_are_asked_for() {
    let limits = ScrapeLimits { sample_limit: 7, body_size_limit: 100, ..ScrapeLimits::default() };
    let world = World::start(ScrapeConfig { extra_scrape_metrics: true, limits, ..config() }, &[("a", "m 1\n")]).await;
    let from = world.scraped("a").await;
    world.net.page("a", &"m 1\n".repeat(100));
    world.pass(INTERVAL).await;
    world.net.set("a", Answer { status: 500, ..Answer::default() });
    world.pass(INTERVAL).await;
    world.check(
        "scrape_(timeout_seconds|sample_limit|body_size_bytes)",
        from,
        &[
            "scrape_body_size_bytes{instance=\"a:1\"} 4@0 -1@10 0@20",
            "scrape_sample_limit{instance=\"a:1\"} 7@0 7@10 7@20",
            "scrape_timeout_seconds{instance=\"a:1\"} 5@0 5@10 5@20",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn explicit_timestamp_is_replaced_where_it_is_not_honored() {
    let config = ScrapeConfig { honor_timestamps: false, ..config() };
    check(config, "m 1 1000000000000\n", &["m{instance=\"a:1\"} 1@0"]).await;
}

#[tokio::test(start_paused = true)]
async fn timestamp_in_the_far_future_is_left_out() {
    let world = check(config(), "m 1 1000001000000\nm_good 1\n", &["m_good{instance=\"a:1\"} 1@0"]).await;
    counted(&world, "prometheus_target_scrapes_sample_out_of_bounds_total 1");
}

#[tokio::test(start_paused = true)]
async fn second_line_of_a_series_is_left_out() {
    let world = check(config(), "m 1\nm 2\n", &["m{instance=\"a:1\"} 1@0"]).await;
    counted(&world, "prometheus_target_scrapes_sample_duplicate_timestamp_total 1");
    world.pass(INTERVAL).await;
    counted(&world, "prometheus_target_scrapes_sample_duplicate_timestamp_total 2");
}

#[tokio::test(start_paused = true)]
async fn broken_page_is_dropped_as_a_whole_and_makes_no_series() {
    let world = check(config(), "m 1\nm_two{ 2\n", &[]).await;
    let error = world.status("a").last_error;
    assert!(error.starts_with("page breaks its format: line 2, column "), "{error}");
    // The five series of the report.
    assert_eq!(world.storage.series_count(), 5);
}

#[tokio::test(start_paused = true)]
async fn openmetrics_page_is_read() {
    let (content_type, body) = ("application/openmetrics-text; version=1.0.0", "# TYPE m counter\nm_total 1\n# EOF\n");
    let world = World::start(config(), &[("a", "")]).await;
    world.net.set("a", Answer { content_type, body: body.to_owned(), ..Answer::default() });
    let from = world.scraped("a").await;
    world.check("m.*", from, &["m_total{instance=\"a:1\"} 1@0"]);
}

#[tokio::test(start_paused = true)]
async fn exemplars_are_stored_with_their_samples() {
    let content_type = "application/openmetrics-text; version=1.0.0";
    let body = "# TYPE m counter\nm_total 1 # {trace_id=\"a\"} 0.5 1000000000\nm_total{x=\"y\"} 1 # {trace_id=\"b\"} 0.7\n# EOF\n";
    let world = World::start(config(), &[("a", "")]).await;
    world.net.set("a", Answer { content_type, body: body.to_owned(), ..Answer::default() });
    let from = world.scraped("a").await;
    world.pass(INTERVAL).await;
    let all = vec![Matcher::new(MatchOp::Equal, "__name__", "m_total").unwrap()];
    let found = world.storage.exemplars(TimeRange::ALL, &[all]).unwrap();
    let of = |index: usize| {
        let exemplars = &found[index].exemplars;
        exemplars
            .iter()
            .map(|one| (one.labels.get("trace_id").unwrap(), one.value, one.at.unix_ms()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found.len(), 2);
    assert_eq!(of(0), [("a", 0.5, 1_000_000_000_000)]);
    // One without a time of its own has that of the scrape that saw it first.
    assert_eq!(of(1), [("b", 0.7, from)]);
}

#[tokio::test(start_paused = true)]
async fn page_without_content_type_needs_a_fallback() {
    for (fallback_scrape_protocol, error) in [
        (None, "no content type: set `fallback_scrape_protocol` if the target cannot send one"),
        (Some(ScrapeProtocol::PrometheusText004), ""),
    ] {
        let world = World::start(ScrapeConfig { fallback_scrape_protocol, ..config() }, &[("a", "")]).await;
        world.net.set("a", Answer { content_type: "", body: "m 1\n".to_owned(), ..Answer::default() });
        world.scraped("a").await;
        assert_eq!(world.status("a").last_error, error);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_fail_the_scrape_and_are_counted() {
    let limit = |limits: ScrapeLimits| ScrapeConfig { limits, ..config() };
    let none = ScrapeLimits::default();
    for (config, page, error, metric) in [
        (
            limit(ScrapeLimits { sample_limit: 2, ..none }),
            "m 1\nm_a 1\nm_b 1\n",
            "sample limit exceeded: 3 samples, limit 2",
            "prometheus_target_scrapes_exceeded_sample_limit_total 1",
        ),
        (
            limit(ScrapeLimits { body_size_limit: 5, ..none }),
            "m 1\nn 1\n",
            "body exceeds its limit of 5 bytes",
            "prometheus_target_scrapes_exceeded_body_size_limit_total 1",
        ),
        (
            limit(ScrapeLimits { label_limit: 3, ..none }),
            "m{x=\"1\"} 1\n",
            "label_limit exceeded: 4, limit 3, metric `m`",
            "prometheus_target_scrape_pool_exceeded_label_limits_total 1",
        ),
        (
            limit(ScrapeLimits { label_name_length_limit: 10, ..none }),
            "m{a_long_label=\"1\"} 1\n",
            "label_name_length_limit exceeded: 12, limit 10, metric `m`",
            "prometheus_target_scrape_pool_exceeded_label_limits_total 1",
        ),
        (
            limit(ScrapeLimits { label_value_length_limit: 3, ..none }),
            "m{x=\"1234\"} 1\n",
            "label_value_length_limit exceeded: 4, limit 3, metric `m`",
            "prometheus_target_scrape_pool_exceeded_label_limits_total 1",
        ),
    ] {
        let world = check(config, page, &[]).await;
        assert_eq!(world.status("a").last_error, error);
        counted(&world, metric);
    }
}

#[tokio::test(start_paused = true)]
async fn limit_counts_after_relabelling_and_the_count_is_reported() {
    let drop = RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: Some("x_.*".to_owned()),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    };
    let limits = ScrapeLimits { sample_limit: 2, ..ScrapeLimits::default() };
    let config = ScrapeConfig { metric_relabel_configs: vec![drop], limits, ..config() };
    let page = "x_1 1\nx_2 1\nx_3 1\nm 1\n";
    check(config, page, &["m{instance=\"a:1\"} 1@0"]).await;
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_or_refused_by_name() {
    let redirect = |location: &str| Answer { status: 302, location: Some(location.to_owned()), ..Answer::default() };
    let world = World::start(config(), &[("a", ""), ("b", "m 7\n")]).await;
    world.net.set("a", redirect("http://b:1/metrics"));
    let from = world.scraped("a").await;
    let moved = show(world.storage.as_ref(), "m", from);
    assert!(moved.contains(&"m{instance=\"a:1\"} 7@0".to_owned()), "{moved:?}");
    world.net.set("a", redirect("ftp://b/metrics"));
    world.pass(INTERVAL).await;
    let error = "redirect is not followed: location is neither an http URL nor an absolute path: `ftp://b/metrics`";
    assert_eq!(world.status("a").last_error, error);
    world.net.set("a", redirect("/metrics"));
    world.pass(INTERVAL).await;
    let error = "redirect is not followed: too many redirects: `http://a:1/metrics`";
    assert_eq!(world.status("a").last_error, error);

    let http = HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() };
    let config = ScrapeConfig { http, ..config() };
    let world = World::start(config, &[("a", ""), ("b", "m 7\n")]).await;
    world.net.set("a", redirect("/other"));
    world.scraped("a").await;
    let error = "redirect is not followed: `follow_redirects` is false: `/other`";
    assert_eq!(world.status("a").last_error, error);
}

#[tokio::test(start_paused = true)]
async fn large_page_comes_at_its_pace_and_a_small_one_at_once() {
    let comments = |bytes: usize| "# nothing that is kept\n".repeat(bytes / 23);
    let (large, small) = (comments(4 << 20) + "m 1\n", comments(60 << 10) + "m 1\n");
    let world = World::start(config(), &[("large", &large), ("small", &small)]).await;
    world.pass(INTERVAL + INTERVAL / 2).await;
    let took = |host: &str| {
        let status = world.status(host);
        assert_eq!((status.last_error.as_str(), status.last_samples), ("", 1), "{host}");
        status.last_scrape_duration
    };
    // 31 times 128 KiB behind the first 64; a timer counts whole milliseconds.
    let expected = Duration::from_millis(30)..Duration::from_millis(100);
    assert!(expected.contains(&took("large")), "{:?}", took("large"));
    assert!(took("small") < Duration::from_millis(1), "{:?}", took("small"));
}

/// Scrapes a page once, and compares all series whose names begin with `m`.
async fn check(config: ScrapeConfig, page: &str, expected: &[&str]) -> World {
    let world = World::start(config, &[("a", page)]).await;
    let from = world.scraped("a").await;
    assert_eq!(show(world.storage.as_ref(), "m.*", from), expected);
    world
}

#[track_caller]
fn counted(world: &World, line: &str) {
    let mut text = String::new();
    world.registry.encode_text(&mut text);
    assert!(text.lines().any(|present| present == line), "{line} not in:\n{text}");
}
