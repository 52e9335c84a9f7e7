//! What the seed's page shows, on `crescendo up`: the metrics endpoint, its test queries, the custom metrics API.

use std::time::Duration;

use e2e::up::{Up, sample};
use e2e::wait;
use serde_json::Value;

use crate::verify::verify;

const TIMEOUT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn seed_page_can_be_followed_on_one_machine() {
    let up = Up::start(&[]).await.unwrap();
    let (audio, _) = sample().unwrap();
    assert_eq!(up.asr.transcribe("sample.wav", &audio, &[("model", "whisper-1")]).await.unwrap().status, 200);
    metrics_look_like_the_expected_output(&up).await;
    test_queries_answer(&up).await;
    custom_metrics_are_listed_and_answer(&up).await;
    page_is_complete_and_self_contained(&up).await;
    everything_is_right(&up).await;
}

/// `crescendo verify` finds nothing wrong.
async fn everything_is_right(up: &Up) {
    let url = up.web.base();
    let ask = || async { Ok(verify(&["--prometheus-url", url]).await) };
    let (_, table, _) = wait::until("verify exits with 0", TIMEOUT, ask, |(code, ..)| *code == 0).await.unwrap();
    println!("{table}");
    for part in
        ["1 of 1 UP", "without a cluster", "Pods asr_active_requests: ", " + 0s + 2s = ", "lightning_asr_replica_count"]
    {
        assert!(table.contains(part), "no `{part}` in:\n{table}");
    }
    assert!(!table.contains("WRONG") && !table.contains("unknown "), "{table}");
}

async fn metrics_look_like_the_expected_output(up: &Up) {
    let answer = up.asr.get("/metrics").await.unwrap();
    let text = answer.text();
    let mut lines = text.lines();
    for expected in [
        "# HELP asr_active_requests Current active requests",
        "# TYPE asr_active_requests gauge",
        "asr_active_requests{pod=\"lightning-asr-",
        "# HELP asr_total_requests Total requests processed",
        "# TYPE asr_total_requests counter",
        "asr_total_requests{pod=\"lightning-asr-",
    ] {
        assert!(lines.any(|line| line.starts_with(expected)), "no line `{expected}…` in its place in:\n{text}");
    }
    let types = [
        ("asr_failed_requests", "counter"),
        ("asr_request_duration_seconds", "histogram"),
        ("asr_model_load_time_seconds", "gauge"),
    ];
    for (name, metric_type) in types {
        assert!(text.contains(&format!("# TYPE {name} {metric_type}")), "{name} is missing in:\n{text}");
    }
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
}

async fn test_queries_answer(up: &Up) {
    for query in [
        "asr_active_requests",
        "rate(asr_total_requests[5m])",
        "histogram_quantile(0.95, asr_request_duration_seconds_bucket)",
    ] {
        let answers = |found: &Value| found.as_array().is_some_and(|series| !series.is_empty());
        wait::until(query, TIMEOUT, || up.web.query(query, None), answers).await.unwrap();
    }
    let recorded = |found: &Value| found[0]["metric"]["namespace"] == "smallest";
    let ask = || up.web.query("asr:requests:active_avg", None);
    wait::until("the recorded series of the seed's rule", TIMEOUT, ask, recorded).await.unwrap();
}

async fn custom_metrics_are_listed_and_answer(up: &Up) {
    let base = "/apis/custom.metrics.k8s.io/v1beta1";
    let listed = |document: &Value| {
        let names = document["resources"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str());
        names.filter(|name| *name == "pods/asr_active_requests").count() == 1
    };
    wait::until("pods/asr_active_requests is listed", TIMEOUT, || up.web.json(base), listed).await.unwrap();
    let path = format!("{base}/namespaces/smallest/pods/*/asr_active_requests");
    let list = up.web.json(&path).await.unwrap();
    assert_eq!(list["kind"], "MetricValueList");
    let item = &list["items"][0];
    assert_eq!(item["metricName"], "asr_active_requests");
    assert_eq!(item["describedObject"]["kind"], "Pod");
    assert_eq!(item["value"], "0");
    let missing = up.web.get(&format!("{base}/namespaces/smallest/pods/*/no_such_metric")).await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json().unwrap()["kind"], "Status");
}

async fn page_is_complete_and_self_contained(up: &Up) {
    let answer = up.web.get("/").await.unwrap();
    let page = answer.text();
    assert_eq!(answer.status, 200);
    for part in ["<svg", "replicas", "latency", "Decisions"] {
        assert!(page.contains(part), "`{part}` is missing in:\n{page}");
    }
    let targets = page.split("href=\"").skip(1).chain(page.split("src=\"").skip(1));
    let external: Vec<_> = targets.filter(|rest| rest.starts_with("http") || rest.starts_with("//")).collect();
    assert!(external.is_empty(), "requests to other hosts: {external:?}");
}
