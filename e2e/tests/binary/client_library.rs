//! A client library of others, unmodified: Python's `prometheus-api-client`.
//!
//! Rule: what the library gives its user is compared, not what goes over the wire. Without the library (`make tools`)
//! nothing runs, which is said in one line and fails in CI.

use e2e::peer;
use e2e::server::{SOON, Server, first_value};
use e2e::target::Target;
use serde_json::{Value, json};
use tokio::process::Command;

const PAGE: &str = "# HELP asr_active_requests Current active requests\n# TYPE asr_active_requests gauge\n\
                    asr_active_requests{queue=\"a\"} 7\nasr_active_requests{queue=\"b\"} 4\n";

#[tokio::test]
async fn python_client_reads_metrics_series_ranges_targets_and_metadata() {
    let Some(python) = peer::find("python3-with-prometheus-client").unwrap() else {
        println!("not run: no prometheus-api-client for Python; `make tools` gets it");
        return;
    };
    let target = Target::start(PAGE).await.unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- {{job_name: asr, static_configs: [{{targets: ['{}']}}]}}\n",
        target.address()
    );
    let server = Server::start(&config, &[]).await.unwrap();
    // The library rounds the end of a range to whole seconds: that takes up to three samples off the 20.
    let several = "count_over_time(asr_active_requests{queue=\"a\"}[1m]) >= 20";
    server.until(several, |result| first_value(result).is_some()).await.unwrap();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/binary/client_library.py");
    let mut command = Command::new(python);
    command.args([script, server.web.base()]).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();

    let instance = target.address();
    let series =
        |queue: &str| json!({"__name__": "asr_active_requests", "instance": instance, "job": "asr", "queue": queue});
    let has = |key: &str, item: &str| got[key].as_array().unwrap().iter().any(|known| known == item);
    assert_eq!(got["connected"], true);
    assert!(has("metrics", "asr_active_requests") && has("metrics", "up"), "{}", got["metrics"]);
    assert!(has("labels", "queue") && has("labels", "__name__"), "{}", got["labels"]);
    assert_eq!(got["jobs"], json!(["asr"]));
    assert_eq!(got["series"], json!([series("a"), series("b")]));
    assert_eq!(got["current"][0]["metric"], series("a"));
    assert_eq!(got["current"][0]["value"][1], "7");
    assert_eq!(got["sum"][0]["value"][1], "11");
    assert!(got["points"].as_u64().unwrap() >= 4, "{}", got["points"]);
    assert!(got["chunk_points"].as_u64().unwrap() >= 10, "{}", got["chunk_points"]);
    assert_eq!(got["pools"], json!(["asr"]));
    assert_eq!(got["targets"], json!([format!("http://{instance}/metrics")]));
    assert_eq!(got["about_target"][0]["help"], "Current active requests");
    assert_eq!(got["about"][0]["type"], "gauge");
    println!("prometheus-api-client: {} points of a range", got["chunk_points"]);
}
