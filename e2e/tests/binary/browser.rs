//! The pages in a real browser: Chromium without a window.
//!
//! Rule: a page shows what its API says, writes nothing to the console, and asks nobody but its server. Without
//! Chromium (`make tools`) nothing runs, which is said in one line and fails in CI.
//!
//! `SCREENSHOTS=FOLDER` writes the pictures of the documentation there, after a minute of samples.

use std::fmt::Write as _;
use std::path::PathBuf;

use e2e::browser::{Browser, Heard, View};
use e2e::client::encode;
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use e2e::wait;
use serde_json::json;
use tokio::time::Instant;

const RULES: &str = "groups: [{name: queue, rules: [{record: 'asr:active:sum', expr: sum(asr_active_requests)},\
                     {alert: HighQueueDepth, expr: asr_active_requests > 5, labels: {severity: warning}}]}]";

const WIDE: View = View { width: 1200, height: 800, is_dark: false };

const NARROW: View = View { width: 400, height: 800, is_dark: true };

async fn browser() -> Option<Browser> {
    let found = e2e::browser::find().unwrap();
    if found.is_none() {
        println!("not run: no chromium in PATH; `make tools` gets it");
    }
    Some(Browser::start(&found?).await.unwrap())
}

/// A page of metrics whose queue breathes, so that a chart of it has a shape.
fn page_of(started: Instant) -> String {
    let at = started.elapsed().as_secs_f64();
    let queue = |phase: f64| (12.0 + 5.0 * (at / 7.0 + phase).sin()).round();
    format!(
        "# HELP asr_active_requests Current active requests\n# TYPE asr_active_requests gauge\n\
         asr_active_requests{{queue=\"a\"}} {}\nasr_active_requests{{queue=\"b\"}} {}\n",
        queue(0.0),
        queue(2.0)
    )
}

async fn server(target: &Target) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\nrule_files: [rules.yml]\n\
         scrape_configs:\n- job_name: lightning-asr\n  static_configs: [{{targets: ['{}', 'gone.example:1']}}]\n\
         \x20 relabel_configs: [{{source_labels: [__address__], regex: gone.*, action: drop}}]\n\
         - {{job_name: refused, static_configs: [{{targets: ['127.0.0.1:1']}}]}}\n",
        target.address()
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    Server::start_in(folder, &[]).await.unwrap()
}

/// Nothing in the console, and nobody asked but the server.
fn assert_quiet(heard: &Heard, base: &str, page: &str) {
    assert_eq!(heard.console, Vec::<String>::new(), "{page}");
    let elsewhere = |url: &&String| !url.starts_with(base) && !url.starts_with("data:");
    assert_eq!(heard.asked.iter().find(elsewhere), None, "{page}");
    assert!(!heard.asked.is_empty(), "{page}: the page itself is asked for");
}

#[tokio::test]
async fn pages_show_what_they_should_and_ask_nobody_else() {
    let Some(mut browser) = browser().await else { return };
    let started = Instant::now();
    let target = Target::start_at(([127, 0, 0, 1], 0).into(), move || page_of(started)).await.unwrap();
    let server = server(&target).await;
    server.until("ALERTS{alertstate=\"firing\"}", |result| first_value(result).is_some()).await.unwrap();
    server.until("up == 0", |result| first_value(result).is_some()).await.unwrap();
    let pictures = std::env::var_os("SCREENSHOTS").map(PathBuf::from);
    if pictures.is_some() {
        let minute = "count_over_time(asr_active_requests{queue=\"a\"}[2m]) > 300";
        let full = || server.web.query(minute, None);
        wait::until(minute, SOON * 4, full, |result| first_value(result).is_some()).await.unwrap();
    }

    let query =
        format!("/query?g0.expr={}&g0.range_input=1m&g0.tab=", encode("sum by (job, queue) (asr_active_requests)"));
    let wrong = format!("/query?g0.expr={}&g0.tab=1", encode("sum(asr_active_requests"));
    let pages: [(&str, &str, &[&str]); 9] = [
        ("table", &format!("{query}1"), &["{job=", "lightning-asr", "Execute"]),
        ("graph", &format!("{query}0"), &["<svg", "lightning-asr", "<path"]),
        ("error", &wrong, &["unclosed left parenthesis"]),
        ("targets", "/targets", &["lightning-asr", "1 / 1 up", "refused", "DOWN", "nothing listens on this port"]),
        ("service-discovery", "/service-discovery", &["__address__", "gone.example:1", "Dropped", "regex: gone.*"]),
        ("rules", "/rules", &["asr:active:sum", "HighQueueDepth", "queue"]),
        ("alerts", "/alerts", &["HighQueueDepth", "firing", "severity"]),
        ("status", "/status", &["Runtime", "Build Information"]),
        ("tsdb-status", "/tsdb-status", &["Series in the head", "asr_active_requests", "What to cut"]),
    ];
    browser.heard().await.unwrap();
    for view in [NARROW, WIDE] {
        browser.look(view).await.unwrap();
        for (name, path, texts) in pages {
            browser.open(&format!("{}{path}", server.web.base())).await.unwrap();
            let page = browser.document().await.unwrap();
            for text in texts {
                assert!(page.contains(text), "no `{text}` in {path}:\n{page}");
            }
            let fits = browser.evaluate("document.documentElement.scrollWidth <= innerWidth").await.unwrap();
            assert_eq!(fits, true, "{path} is wider than a screen of {} px", view.width);
            assert_quiet(&browser.heard().await.unwrap(), server.web.base(), path);
            if let Some(folder) = pictures.as_ref().filter(|_| view.width == WIDE.width) {
                let picture = http_client::base64::decode(&browser.picture().await.unwrap()).unwrap();
                std::fs::write(folder.join(format!("page-{name}.png")), picture).unwrap();
            }
        }
    }

    // What is looked for would be found.
    let bad = "data:text/html,<script>console.error(1)</script><img src=http://elsewhere.example/x.png>";
    browser.open(bad).await.unwrap();
    let heard = browser.heard().await.unwrap();
    assert!(heard.console.iter().any(|line| line.contains('1')), "{heard:?}");
    assert!(heard.asked.iter().any(|url| url.contains("elsewhere.example")), "{heard:?}");
}

#[tokio::test]
async fn an_expression_is_completed_by_keyboard_and_drawn() {
    let Some(mut browser) = browser().await else { return };
    let started = Instant::now();
    let target = Target::start_at(([127, 0, 0, 1], 0).into(), move || page_of(started)).await.unwrap();
    let server = server(&target).await;
    server
        .until("count_over_time(asr_active_requests{queue=\"a\"}[1m]) > 5", |result| first_value(result).is_some())
        .await
        .unwrap();
    browser.open(&format!("{}/query", server.web.base())).await.unwrap();
    browser.heard().await.unwrap();

    let area = "document.querySelector('textarea')";
    browser.evaluate(&format!("{area}.focus()")).await.unwrap();
    for (typed, completed) in [("su", "sum("), ("asr_act", "sum(asr_active_requests")] {
        browser.type_text(typed).await.unwrap();
        browser.until("!document.querySelector('.completions').hidden").await.unwrap();
        let wanted = completed.rsplit('(').find(|part| !part.is_empty()).unwrap();
        let first = format!("document.querySelector('.completions li code').textContent === '{wanted}'");
        browser.until(&first).await.unwrap();
        browser.press("Tab").await.unwrap();
        browser.until(&format!("{area}.value === '{completed}'")).await.unwrap();
    }
    browser.type_text(")").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.loaded().await.unwrap();
    let value = browser.evaluate("document.querySelector('main').innerText").await.unwrap();
    assert!(value.as_str().unwrap().contains("Table"), "{value}");
    let graph = "[...document.querySelectorAll('.tabs a')].find(tab => tab.textContent.includes('Graph')).click()";
    browser.evaluate(graph).await.unwrap();
    browser.loaded().await.unwrap();
    browser.until("document.querySelectorAll('svg path').length > 0").await.unwrap();
    assert_eq!(browser.evaluate(&format!("{area}.value")).await.unwrap(), json!("sum(asr_active_requests)"));
    assert_quiet(&browser.heard().await.unwrap(), server.web.base(), "/query");
}

/// Ten thousand targets, a half of them down: each page is bounded and finds one of them.
#[tokio::test]
async fn pages_with_ten_thousand_targets_stay_small_and_find_each() {
    let Some(mut browser) = browser().await else { return };
    let target = Target::start("asr_active_requests 1\n").await.unwrap();
    let mut config = "global: {scrape_interval: 1m}\nscrape_configs:\n".to_owned();
    for (job, address) in [("good", target.address().to_string()), ("bad", "127.0.0.1:1".to_owned())] {
        write!(config, "- job_name: {job}\n  static_configs:\n").unwrap();
        for pod in 0..5_000 {
            writeln!(config, "  - {{targets: ['{address}'], labels: {{pod: lightning-asr-{job}-{pod:04}}}}}").unwrap();
        }
    }
    let server = Server::start(&config, &[]).await.unwrap();
    server.until("count(up == 0) > 100", |result| first_value(result).is_some()).await.unwrap();

    browser.look(WIDE).await.unwrap();
    for (path, rows) in
        [("/targets", 1_000), ("/service-discovery", 1_000), ("/targets?search=lightning-asr-bad-4321", 1)]
    {
        let url = format!("{}{path}", server.web.base());
        browser.open(&url).await.unwrap();
        let shown = browser.evaluate("document.querySelectorAll('tbody tr').length").await.unwrap();
        assert!(shown.as_u64().is_some_and(|shown| shown >= 1 && shown <= rows), "{path}: {shown} rows");
        let times = "(({loadEventEnd, responseEnd, transferSize}) => \
                     [responseEnd, loadEventEnd, transferSize].map(Math.round))(performance.getEntriesByType('navigation')[0])";
        let times = browser.evaluate(times).await.unwrap();
        println!("{path}: {shown} rows; answered, loaded (ms), bytes: {times}");
    }
    // A reader types, and sees the one that was looked for.
    browser.open(&format!("{}/targets", server.web.base())).await.unwrap();
    browser.evaluate("document.querySelector('input[name=search]').focus()").await.unwrap();
    let typed = Instant::now();
    browser.type_text("lightning-asr-good-0042").await.unwrap();
    browser.evaluate("document.querySelector('form.filter').requestSubmit()").await.unwrap();
    browser.loaded().await.unwrap();
    println!("a search, typed and answered: {:?}", typed.elapsed());
    browser.until("document.querySelectorAll('tbody tr').length === 1").await.unwrap();
    assert!(browser.text().await.unwrap().contains("lightning-asr-good-0042"));
    assert_quiet(&browser.heard().await.unwrap(), server.web.base(), "/targets");
}
