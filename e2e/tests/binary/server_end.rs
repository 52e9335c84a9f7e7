//! The ends of `crescendo server`: in order under load, and by force under ingest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use datamodel::time::SystemClock;
use datamodel::{Clock, Labels, Timestamp};
use e2e::client::Client;
use e2e::server::{Server, first_value};
use e2e::target::Target;
use remote::wire::{TimeSeries, WireSample, WriteRequest, WriteVersion, compress};
use serde_json::Value;
use tokio::task::JoinSet;

/// Kills in the short form; `CRESCENDO_SOAK` asks for the long one.
const KILLS: usize = 20;
const SOAK_KILLS: usize = 200;

fn config(targets: &[Target]) -> String {
    let addresses: Vec<_> = targets.iter().map(|target| format!("'{}'", target.address())).collect();
    format!(
        "global: {{scrape_interval: 50ms, scrape_timeout: 50ms}}\nscrape_configs:\n- job_name: load\n  \
         static_configs: [{{targets: [{}]}}]\n",
        addresses.join(", ")
    )
}

/// Targets whose pages have many series, one of which counts.
async fn targets(count: usize) -> Vec<Target> {
    let mut page = "# TYPE visits_total counter\nvisits_total VISITS\n".to_owned();
    for number in 0..200 {
        page.push_str(&format!("filler{{n=\"{number}\"}} {number}.5\n"));
    }
    let mut targets = Vec::with_capacity(count);
    for _ in 0..count {
        targets.push(Target::start(&page).await.unwrap());
    }
    targets
}

/// What was committed: the newest sample of each target, with its time.
type Committed = Vec<(String, f64, f64)>;

async fn committed(web: &Client) -> anyhow::Result<Committed> {
    let result = web.query("visits_total[10s]", None).await?;
    let series = result.as_array().context("no list")?;
    let newest = series.iter().filter_map(|series| {
        let last = series["values"].as_array()?.last()?;
        let value = last[1].as_str()?.parse().ok()?;
        Some((series["metric"]["instance"].as_str()?.to_owned(), last[0].as_f64()?, value))
    });
    Ok(newest.collect())
}

/// Whether each sample is still there, at its time and with its value.
async fn check(server: &Server, committed: &Committed) {
    for (instance, at, value) in committed {
        let expr = format!("last_over_time(visits_total{{instance=\"{instance}\"}}[1ms])");
        let found = server.web.query(&expr, Some(*at)).await.unwrap();
        assert_eq!(first_value(&found), Some(*value), "{instance} at {at}: {found}");
    }
}

#[tokio::test]
async fn terminated_server_ends_in_time_and_keeps_what_it_committed() {
    let targets = targets(20).await;
    let server = Server::start(&config(&targets), &[]).await.unwrap();
    server.until("count(visits_total > 3)", |result| first_value(result) == Some(20.0)).await.unwrap();
    let mut askers = JoinSet::new();
    for _ in 0..8 {
        let web = server.web.clone();
        askers.spawn(async move {
            let heavy = "sum(rate(filler[1m:10ms])) + count({__name__=~\".+\"})";
            while web.query(heavy, None).await.is_ok() {}
        });
    }
    let known = committed(&server.web).await.unwrap();
    assert_eq!(known.len(), 20);
    let Server { mut process, folder, .. } = server;
    let began = tokio::time::Instant::now();
    process.signal("TERM").await.unwrap();
    let status = process.wait(Duration::from_secs(5)).await.unwrap();
    println!("ended {:.2} s after SIGTERM under load", began.elapsed().as_secs_f64());
    assert_eq!(status.code(), Some(0), "{}", process.drained().await);
    askers.join_all().await;
    check(&Server::start_in(folder, &[]).await.unwrap(), &known).await;
}

/// What remote write was told is stored: times in Unix milliseconds, with their values.
type Acknowledged = Arc<Mutex<Vec<(i64, f64)>>>;

/// Writes a sample after the other, each as soon as the last one is acknowledged, until the server is gone. Times are
/// above `at`: they may run ahead of the clock, because there is no second sample in a millisecond. Gives the last.
async fn write(web: Client, acknowledged: Acknowledged, mut at: i64) -> i64 {
    for value in 0_u32.. {
        at = SystemClock.now().unix_ms().max(at + 1);
        let value = f64::from(value);
        let sample = WireSample { at: Timestamp::from_unix_ms(at), value, start: None };
        let labels = Labels::from_pairs([("__name__", "written")]);
        let series = TimeSeries { labels, samples: vec![sample], ..TimeSeries::default() };
        let request = WriteRequest { series: vec![series], ..WriteRequest::default() };
        let Ok(answer) = web.write(compress(&request.encode(WriteVersion::V1)).unwrap()).await else { return at };
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        acknowledged.lock().unwrap().push((at, value));
    }
    at
}

/// Whether all that was acknowledged is there.
async fn check_written(server: &Server, acknowledged: &[(i64, f64)]) {
    let (Some(first), Some(last)) = (acknowledged.first(), acknowledged.last()) else { return };
    let expr = format!("written[{}ms]", last.0 - first.0 + 1);
    let found = server.web.query(&expr, Some(last.0 as f64 / 1000.0)).await.unwrap();
    let found: Vec<(i64, f64)> = found[0]["values"].as_array().unwrap_or(&Vec::new()).iter().map(sample).collect();
    let lost = acknowledged.iter().find(|sample| !found.contains(sample));
    assert_eq!(lost, None, "{} of {} are there", found.len(), acknowledged.len());
}

fn sample(pair: &Value) -> (i64, f64) {
    // Milliseconds of this century are exact.
    ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, pair[1].as_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn killed_server_loses_nothing_that_it_committed() {
    const RECEIVE: &[&str] = &["--web.enable-remote-write-receiver"];
    let kills = if std::env::var_os("CRESCENDO_SOAK").is_some() { SOAK_KILLS } else { KILLS };
    let targets = targets(5).await;
    let mut server = Server::start(&config(&targets), RECEIVE).await.unwrap();
    let (mut samples, mut written, mut newest) = (0, 0, 0);
    for kill in 0..kills {
        let acknowledged = Acknowledged::default();
        let mut writer = JoinSet::new();
        writer.spawn(write(server.web.clone(), Arc::clone(&acknowledged), newest));
        let visits: u64 = targets.iter().map(Target::visits).sum();
        // Some rows more in each life, another number in each.
        let wanted = visits + 5 + kill as u64 % 7;
        e2e::wait::until(
            "targets were scraped, and something was written",
            e2e::server::SOON,
            || async { Ok((targets.iter().map(Target::visits).sum::<u64>(), acknowledged.lock().unwrap().len())) },
            |(visits, written)| *visits >= wanted && *written > 0,
        )
        .await
        .unwrap();
        let known = committed(&server.web).await.unwrap();
        samples += known.len();
        let Server { mut process, folder, .. } = server;
        process.signal("KILL").await.unwrap();
        process.wait(Duration::from_secs(10)).await.unwrap();
        newest = writer.join_all().await[0];
        server = Server::start_in(folder, RECEIVE).await.unwrap();
        check(&server, &known).await;
        let acknowledged = acknowledged.lock().unwrap().clone();
        written += acknowledged.len();
        check_written(&server, &acknowledged).await;
    }
    assert!(samples >= kills, "{samples} samples were known before {kills} kills");
    println!("{kills} kills under ingest: all {samples} scraped and {written} acknowledged samples are there");
}
