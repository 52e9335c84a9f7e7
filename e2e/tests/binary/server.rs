//! `crescendo server`: starts with a prometheus.yml, answers, reloads, refuses.

use std::time::Duration;

use e2e::process::Crescendo;
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use e2e::wait;
use serde_json::json;

/// What a worker's page could look like.
const PAGE: &str = "# TYPE asr_total_requests counter\nasr_total_requests VISITS\n# TYPE asr_active_requests gauge\n\
                    asr_active_requests{queue=\"a\"} 3\n";

fn config(jobs: &[(&str, &Target)]) -> String {
    let mut text = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n\
                    rule_files: [rules.yml]\nscrape_configs:\n"
        .to_owned();
    for (name, target) in jobs {
        text.push_str(&format!("- job_name: {name}\n  static_configs: [{{targets: ['{}']}}]\n", target.address()));
    }
    text
}

/// Waits until the last load of the configuration went as expected.
async fn loaded(server: &Server, succeeded: bool) {
    let line = format!("\nprometheus_config_last_reload_successful {}\n", u8::from(succeeded));
    let metrics = || async { Ok(server.web.get("/metrics").await?.text()) };
    wait::until(&line, SOON, metrics, |metrics: &String| metrics.contains(&line)).await.unwrap();
}

async fn pools(server: &Server) -> serde_json::Value {
    server.web.json("/api/v1/scrape_pools").await.unwrap()["data"]["scrapePools"].clone()
}

#[tokio::test]
async fn server_scrapes_stores_evaluates_and_answers() {
    let target = Target::start(PAGE).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), config(&[("asr", &target)])).unwrap();
    let rules = "groups: [{name: g, rules: [{record: 'asr:active:sum', expr: sum(asr_active_requests)}]}]";
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let server = Server::start_in(folder, &[]).await.unwrap();
    assert_eq!(server.web.get("/-/ready").await.unwrap().status, 200);
    assert_eq!(server.web.get("/-/healthy").await.unwrap().status, 200);
    let up = server.until("up", |result| first_value(result).is_some()).await.unwrap();
    assert_eq!(first_value(&up), Some(1.0));
    assert_eq!(up[0]["metric"]["job"], "asr");
    server.until("asr:active:sum", |result| first_value(result) == Some(3.0)).await.unwrap();
    server.until("asr_total_requests > 2", |result| first_value(result).is_some()).await.unwrap();
    let metrics = server.web.get("/metrics").await.unwrap().text();
    for name in [
        "prometheus_tsdb_head_samples_appended_total",
        "prometheus_tsdb_head_series",
        "prometheus_build_info{",
        "prometheus_config_last_reload_successful 1",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "no {name} in:\n{metrics}");
    }
}

#[tokio::test]
async fn reload_applies_a_good_configuration_and_keeps_the_last_good_one() {
    let (first, second) = (Target::start(PAGE).await.unwrap(), Target::start(PAGE).await.unwrap());
    let server = Server::start(&config(&[("a", &first)]), &["--config.auto-reload-interval=0s"]).await.unwrap();
    server.until("up{job=\"a\"}", |result| first_value(result) == Some(1.0)).await.unwrap();

    std::fs::write(server.config(), "global: {scrape_intervall: 1s}\nscrape_configs: [{job_nam: x}]\n").unwrap();
    server.process.signal("HUP").await.unwrap();
    loaded(&server, false).await;
    let text = server.process.output();
    for part in ["scrape_intervall: unknown key (did you mean `scrape_interval`?)", "job_name: required key is missing"]
    {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    assert_eq!(pools(&server).await, json!(["a"]));

    std::fs::write(server.config(), config(&[("a", &first), ("b", &second)])).unwrap();
    server.process.signal("HUP").await.unwrap();
    server.until("up{job=\"b\"}", |result| first_value(result) == Some(1.0)).await.unwrap();
    loaded(&server, true).await;

    std::fs::write(server.config(), config(&[("b", &second)])).unwrap();
    server.process.signal("HUP").await.unwrap();
    wait::until("one pool is left", SOON, || async { Ok(pools(&server).await) }, |pools| *pools == json!(["b"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn changed_file_is_loaded_by_itself() {
    let target = Target::start(PAGE).await.unwrap();
    let server = Server::start(&config(&[("a", &target)]), &["--config.auto-reload-interval=100ms"]).await.unwrap();
    std::fs::write(server.config(), config(&[("b", &target)])).unwrap();
    server.until("up{job=\"b\"}", |result| first_value(result) == Some(1.0)).await.unwrap();
}

#[tokio::test]
async fn broken_configuration_is_refused_with_every_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = "global: {scrape_interval: 1x}\nscrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n- job_name: a\nagent: {}\n";
    std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
    let words = Server::words(&folder, &[]).unwrap();
    let mut process = Crescendo::start(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let status = process.wait(Duration::from_secs(30)).await.unwrap();
    let output = process.drained().await;
    assert_eq!(status.code(), Some(2), "{output}");
    for part in [
        "prometheus.yml:1:27: global.scrape_interval: not a valid duration: `1x`",
        "prometheus.yml:4:3: scrape_configs[0].scrape_intervall: unknown key (did you mean `scrape_interval`?)",
        "prometheus.yml:5:13: scrape_configs[1].job_name: another job has the same name: `a`",
        "prometheus.yml:6:1: agent: unknown key",
    ] {
        assert!(output.contains(part), "no `{part}` in:\n{output}");
    }
}

#[tokio::test]
async fn taken_port_and_taken_folder_are_named() {
    let server = Server::start("", &[]).await.unwrap();
    let address = server.web.base().trim_start_matches("http://").to_owned();
    let refused = async |words: Vec<String>| {
        let mut process = Crescendo::start(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!(process.wait(Duration::from_secs(30)).await.unwrap().code(), Some(2));
        process.drained().await
    };
    let output = refused(Server::words(&server.folder, &[]).unwrap()).await;
    assert!(output.contains("data folder is in use by another process"), "{output}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("prometheus.yml"), "").unwrap();
    let words = Server::words(&other, &[]).unwrap();
    let words = words.into_iter().map(|word| word.replace("127.0.0.1:0", &address));
    let output = refused(words.collect()).await;
    let expected = format!("cannot listen on {address}; choose another with `--web.listen-address`");
    assert!(output.contains(&expected), "{output}");
}
