//! The ends of `crescendo server`: in order under load, and by force under ingest.

use std::time::Duration;

use anyhow::Context;
use e2e::client::Client;
use e2e::server::{Server, first_value};
use e2e::target::Target;
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

#[tokio::test]
async fn killed_server_loses_nothing_that_it_committed() {
    let kills = if std::env::var_os("CRESCENDO_SOAK").is_some() { SOAK_KILLS } else { KILLS };
    let targets = targets(5).await;
    let mut server = Server::start(&config(&targets), &[]).await.unwrap();
    let mut samples = 0;
    for kill in 0..kills {
        let visits: u64 = targets.iter().map(Target::visits).sum();
        // Some rows more in each life, another number in each.
        let wanted = visits + 5 + kill as u64 % 7;
        e2e::wait::until(
            "targets were scraped",
            e2e::server::SOON,
            || async { Ok(targets.iter().map(Target::visits).sum::<u64>()) },
            |visits| *visits >= wanted,
        )
        .await
        .unwrap();
        let known = committed(&server.web).await.unwrap();
        samples += known.len();
        let Server { mut process, folder, .. } = server;
        process.signal("KILL").await.unwrap();
        process.wait(Duration::from_secs(10)).await.unwrap();
        server = Server::start_in(folder, &[]).await.unwrap();
        check(&server, &known).await;
    }
    assert!(samples >= kills, "{samples} samples were known before {kills} kills");
    println!("{kills} kills under ingest: all {samples} samples that were known before them are there");
}
