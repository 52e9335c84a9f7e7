//! The memory limit of the server, under a query that wants everything and a burst of series.
//!
//! Rule: memory is what the kernel says is anonymous and resident, looked at every 100 ms.

use std::fmt::Write as _;
use std::time::Duration;

use e2e::server::{Server, first_value};
use e2e::target::Target;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

const LIMIT_MIB: u64 = 128;
/// How long the burst and the queries go on; ten minutes in the long form.
const SPAN: Duration = Duration::from_secs(30);
const SOAK_SPAN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Series of a calm page, and of the burst: ten times as many.
const SERIES: usize = 20_000;

fn page(series: usize) -> String {
    let mut page = "# TYPE load gauge\n".to_owned();
    for number in 0..series {
        writeln!(page, "load{{worker=\"asr-worker-{number}\",zone=\"zone-{}\"}} {number}", number % 7).unwrap();
    }
    page
}

/// Anonymous resident MiB of a process.
fn anonymous_mib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[tokio::test]
async fn memory_limit_holds_under_a_hostile_query_and_a_burst_of_series() {
    let span = if std::env::var_os("CRESCENDO_SOAK").is_some() { SOAK_SPAN } else { SPAN };
    let (calm, burst) = (Target::start("steady VISITS\n").await.unwrap(), Target::start(&page(SERIES)).await.unwrap());
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - {{job_name: calm, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: burst, static_configs: [{{targets: ['{}']}}]}}\n",
        calm.address(),
        burst.address()
    );
    let server = Server::start(&config, &[&format!("--memory-limit={LIMIT_MIB}MiB")]).await.unwrap();
    let calm_is_there = |result: &Value| first_value(result).is_some_and(|count| count > SERIES as f64 - 1.0);
    server.until("count(load)", calm_is_there).await.unwrap();

    let process = server.process.id().unwrap();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut most = 0;
        while began.elapsed() < span {
            most = most.max(anonymous_mib(process).unwrap_or(0));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        most
    });
    burst.set_page(&page(SERIES * 10));
    let hostile = "sum(max_over_time(load[6h:1ms]))";
    let path = format!("/api/v1/query?query={}", e2e::client::encode(hostile));
    let (mut refused, mut before) = (String::new(), calm.visits());
    let mut longest_silence = Duration::ZERO;
    let mut heard = Instant::now();
    while began.elapsed() < span {
        let answer = server.web.get(&path).await.unwrap();
        if answer.status.as_u16() != 200 {
            refused = answer.text();
        }
        if calm.visits() > before {
            (before, heard) = (calm.visits(), Instant::now());
        }
        longest_silence = longest_silence.max(heard.elapsed());
    }
    let most = tasks.join_next().await.unwrap().unwrap();
    println!(
        "memory limit {LIMIT_MIB} MiB: at most {most} MiB, silence of the calm target at most {longest_silence:?}"
    );
    assert!(most <= LIMIT_MIB, "{most} MiB were taken");
    assert!(refused.contains("max_over_time"), "the query is not named: {refused}");
    assert!(longest_silence < Duration::from_secs(10), "the calm target was not scraped for {longest_silence:?}");
    let steady = server.until("count_over_time(steady[10s])", |result| first_value(result).is_some()).await.unwrap();
    assert!(first_value(&steady).unwrap() >= 3.0, "{steady}");
    let targets = server.web.json("/api/v1/targets?scrapePool=burst").await.unwrap();
    let told = server.process.output();
    let error = targets["data"]["activeTargets"][0]["lastError"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("memory") || told.contains("memory limit"), "the burst is not named: {error}\n{told}");
}
