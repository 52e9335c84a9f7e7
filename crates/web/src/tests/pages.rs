//! The pages: what they show, and that no text from outside becomes markup.

use super::*;

async fn page(fixture: &Fixture, path: &str) -> String {
    let (status, body) = fixture.ask(Method::GET, path, "").await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    assert!(!body.contains("http://cdn") && !body.contains("https://"), "{path} asks nobody else: {body}");
    body
}

#[track_caller]
fn holds(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "`{part}` is missing in {page}");
    }
}

#[tokio::test]
async fn expressions_are_answered_as_tables_and_charts() {
    let fixture = Fixture::new();
    holds(&page(&fixture, "/query").await, &["No data queried yet", "data-complete=\"/query/complete\"", ">Graph<"]);
    let table = page(&fixture, "/query?g0.expr=up&g0.tab=1").await;
    holds(&table, &["<b>up</b>", "&quot;a&quot;", "2 results", "g0.tab=graph"]);
    let graph = page(&fixture, "/graph?g0.expr=up&g0.tab=0&g0.range_input=10m").await;
    holds(&graph, &["<svg", "value=\"10m\"", "pod="]);
    let two = page(&fixture, "/query?g0.expr=up&g1.expr=count(up)&g1.tab=table").await;
    holds(&two, &["Query 2", "1 result<", "Remove"]);
    let wrong = page(&fixture, "/query?g0.expr=sum(%3Cb%3E&g0.tab=1").await;
    holds(&wrong, &["parse error", "  | sum(&lt;b&gt;", "^", "role=\"alert\""]);
    assert!(!wrong.contains("<b>&g"), "text from outside is escaped: {wrong}");
}

#[tokio::test]
async fn completion_names_what_is_stored() {
    let fixture = Fixture::new();
    for (query, parts) in [
        ("expr=u&at=1", &["\"text\":\"up\",\"kind\":\"metric\"", "\"from\":0,\"to\":1"][..]),
        ("expr=rat", &["\"text\":\"rate\",\"kind\":\"function\""]),
        ("expr=up{", &["\"text\":\"pod\",\"kind\":\"label\""]),
        ("expr=up{pod=\"", &["\"text\":\"a\",\"kind\":\"value\"", "\"text\":\"b\""]),
        ("expr=%22é%22%2Bu", &["\"from\":4,\"to\":5"]),
    ] {
        holds(&page(&fixture, &format!("/query/complete?{query}")).await, parts);
    }
}

#[tokio::test]
async fn pages_about_absent_parts_say_so() {
    let fixture = Fixture::new();
    for (path, text) in [
        ("/targets", "this server scrapes no targets"),
        ("/service-discovery", "this server scrapes no targets"),
        ("/config", "no configuration file"),
        ("/flags", "no configuration file"),
        ("/tsdb-status", "no figures of its storage"),
    ] {
        let (status, body) = fixture.ask(Method::GET, path, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        holds(&body, &[text]);
    }
    holds(&page(&fixture, "/rules").await, &["No rule file is loaded"]);
    holds(&page(&fixture, "/alerts").await, &["No alerting rule matches"]);
    holds(&page(&fixture, "/status").await, &["1.2.3"]);
    let (status, _) = fixture.ask(Method::GET, "/", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn pages_show_rules_alerts_and_storage() {
    let (fixture, _) = server::whole().await;
    let rules = page(&fixture, "/rules").await;
    holds(&rules, &["pods:up", "PodDown", "OK", "UNKNOWN", "g0.expr=sum%28up%29"]);
    let alerts = page(&fixture, "/alerts?state=firing").await;
    holds(&alerts, &["1 firing", "PodDown", "pod b is down"]);
    assert!(!alerts.contains("Never"), "{alerts}");
    holds(&page(&fixture, "/tsdb-status").await, &["has <b>67 %</b> of the series", "action: drop", "2KiB"]);
    holds(&page(&fixture, "/flags").await, &["--", "web.enable-lifecycle"]);
    holds(&page(&fixture, "/config").await, &["scrape_interval: 15s"]);
    holds(&page(&fixture, "/status").await, &["box", "http://am:9093", "Configuration reload has failed."]);
}
