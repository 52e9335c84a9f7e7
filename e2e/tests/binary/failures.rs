//! Processes are killed; what remains goes on, and nothing is left behind.

use std::time::Duration;

use e2e::process::{children, environment, is_alive, signal};
use e2e::up::{Speakers, Up};
use e2e::wait;
use serde_json::Value;

/// Two workers at all times, so that one can be lost.
const TWO_WORKERS: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: lightning-asr, namespace: smallest }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: lightning-asr }
  minReplicas: 2
  maxReplicas: 3
  metrics:
    - type: Pods
      pods: { metric: { name: asr_active_requests }, target: { type: AverageValue, averageValue: "4" } }
"#;

const TIMEOUT: Duration = Duration::from_secs(90);

fn ready(state: &Value) -> i64 {
    state["replicas"]["ready"].as_i64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_worker_is_marked_and_restarted_and_replicas_stay() {
    let manifest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(manifest.path(), TWO_WORKERS).unwrap();
    let up = Up::start(&["--hpa", manifest.path().to_str().unwrap()]).await.unwrap();
    up.until("two workers are ready", TIMEOUT, |state| ready(state) == 2).await.unwrap();
    let speakers = Speakers::start_tolerant(up.asr.base(), 4).unwrap();
    wait::until(
        "both are scraped",
        TIMEOUT,
        || up.web.query("asr_active_requests > 0", None),
        |found: &Value| found.as_array().is_some_and(|series| series.len() == 2),
    )
    .await
    .unwrap();

    let worker = children(up.process.id().unwrap())[0];
    let pod = environment(worker, "POD_NAME").unwrap();
    signal(worker, "KILL").await.unwrap();
    let up_of_it = format!("up{{job=\"lightning-asr\", pod=\"{pod}\"}}");
    let is_down = format!("{up_of_it} == 0");
    let some = |found: &Value| found.as_array().is_some_and(|series| !series.is_empty());
    wait::until("`up` of the killed worker is 0", TIMEOUT, || up.web.query(&is_down, None), some).await.unwrap();
    let state = up.until("two workers are ready again", TIMEOUT, |state| ready(state) == 2).await.unwrap();

    // By the samples, not by when they are asked for: a busy machine asks late. The worker that takes the place has the
    // name of the killed one, and another address.
    let history = up.web.query(&format!("{up_of_it}[5m]"), None).await.unwrap();
    let failed_at = |series: &Value| {
        let at = series["values"].as_array()?.iter().find(|sample| sample[1] == "0")?[0].as_f64()?;
        Some((series["metric"]["instance"].as_str()?.to_owned(), at))
    };
    let (instance, at) = history.as_array().unwrap().iter().find_map(failed_at).unwrap();
    let (at, series) = (Some(at), format!("asr_active_requests{{instance=\"{instance}\"}}"));
    assert_eq!(up.web.query(&series, at).await.unwrap(), serde_json::json!([]), "ended by a marker");
    let before = format!("last_over_time({series}[30s])");
    assert!(some(&up.web.query(&before, at).await.unwrap()), "was there before");

    let lowest = state["history"].as_array().unwrap().iter().filter_map(|decision| decision["to"].as_i64()).min();
    assert!(lowest.is_none_or(|lowest| lowest >= 2), "replicas fell: {state}");
    let failed = speakers.stop_tolerant().await.unwrap();
    assert!(failed <= 4, "{failed} requests failed; only those that the killed worker held may");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_supervisor_leaves_no_process_behind() {
    let mut up = Up::start(&[]).await.unwrap();
    let supervisor = up.process.id().unwrap();
    let workers = children(supervisor);
    assert!(!workers.is_empty(), "the supervisor has workers");
    signal(supervisor, "KILL").await.unwrap();
    up.process.wait(TIMEOUT).await.unwrap();
    let left = wait::until(
        "all workers are gone",
        Duration::from_secs(10),
        || async { Ok(workers.iter().filter(|id| is_alive(**id)).count()) },
        |left| *left == 0,
    );
    left.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupt_stops_all_in_order_and_samples_survive_a_restart() {
    let mut up = Up::start(&[]).await.unwrap();
    let scraped = || up.web.query("count_over_time(up{job=\"lightning-asr\"}[5m])", None);
    wait::until("some scrapes", TIMEOUT, scraped, |found: &Value| {
        found[0]["value"][1].as_str().and_then(|count| count.parse().ok()).is_some_and(|count: f64| count >= 3.0)
    })
    .await
    .unwrap();
    let workers = children(up.process.id().unwrap());
    up.process.signal("INT").await.unwrap();
    let status = up.process.wait(TIMEOUT).await.unwrap();
    assert!(status.success(), "{status}:\n{}", up.process.output());
    assert!(workers.iter().all(|id| !is_alive(*id)), "a worker outlived its supervisor");

    let again = Up::start_in(up.folder, &[]).await.unwrap();
    let found = again.web.query("count(count_over_time(up{job=\"lightning-asr\"}[5m]))", None).await.unwrap();
    let pods: f64 = found[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!(pods >= 1.0, "the samples of the first run are gone");
}
