//! Replicas follow the load, and no request is lost on the way.

use std::time::Duration;

use datamodel::Timestamp;
use e2e::up::{Speakers, Up};
use e2e::wait;
use hpa::explain::Explanation;
use hpa::status::DecisionRecord;
use hpa::{ControllerConfig, HorizontalPodAutoscaler};
use serde_json::Value;

/// Scale-down in seconds instead of minutes; everything else as in the seed's product.
const FAST_DOWN: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: lightning-asr, namespace: smallest }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: lightning-asr }
  minReplicas: 1
  maxReplicas: 4
  metrics:
    - type: Pods
      pods: { metric: { name: asr_active_requests }, target: { type: AverageValue, averageValue: "4" } }
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 5
      policies: [{ type: Percent, value: 100, periodSeconds: 15 }, { type: Pods, value: 2, periodSeconds: 15 }]
    scaleDown:
      stabilizationWindowSeconds: 10
      policies: [{ type: Pods, value: 1, periodSeconds: 10 }]
"#;

const SCALE_TIMEOUT: Duration = Duration::from_secs(180);

/// How many requests are counted to see how they are shared.
const SHARED_REQUESTS: f64 = 40.0;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_follow_the_load_up_and_down_and_no_request_is_lost() {
    let manifest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(manifest.path(), FAST_DOWN).unwrap();
    let up = Up::start(&["--hpa", manifest.path().to_str().unwrap()]).await.unwrap();
    let speakers = Speakers::start(up.asr.base(), 12).unwrap();

    let at_three = |state: &Value| state["replicas"]["ready"] == 3 && state["replicas"]["desired"] == 3;
    up.until("three replicas under twelve requests", SCALE_TIMEOUT, at_three).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    each_worker_has_its_share(&up).await;
    explained(&up).await;

    speakers.reduce_to(3);
    let mut drained_with_work = 0;
    let back_to_one = |state: &Value| {
        let leaving = state["workers"].as_array().into_iter().flatten();
        let leaving =
            leaving.filter(|worker| worker["phase"] == "Terminating" && worker["active"].as_f64() > Some(0.0));
        drained_with_work += leaving.count();
        state["replicas"]["desired"] == 1 && state["workers"].as_array().is_some_and(|workers| workers.len() == 1)
    };
    let state = up.until("one replica under three requests", SCALE_TIMEOUT, back_to_one).await.unwrap();
    assert!(drained_with_work > 0, "vacuous: no worker left while it had requests");
    let right = speakers.stop().await.unwrap();
    assert!(right > 50, "only {right} requests");
    println!("{right} requests, none failed; {drained_with_work} sightings of a draining worker with requests");

    recomputed(&up, &state).await;
}

/// `crescendo explain` and the page tell the decision that was made, from values that anyone can query.
async fn explained(up: &Up) {
    let url = up.web.base();
    let ask = || async {
        let words = ["explain", "smallest/lightning-asr", "--url", url, "--output", "json"];
        let (code, out, error) = super::commands::run(&words, "").await;
        anyhow::ensure!(code == 0, "exit code {code}: {out}{error}");
        Ok((serde_json::from_str::<Explanation>(&out)?, up.autoscaling().await?))
    };
    // Between two questions there may be another decision.
    let same = |(explained, state): &(Explanation, Value)| state["decision"]["time"] == explained.time;
    let (explained, state) =
        wait::until("an explanation of the present decision", SCALE_TIMEOUT, ask, same).await.unwrap();
    assert_eq!(state["decision"]["to"], explained.desired.unwrap());
    assert_eq!(explained.differences, []);
    let metric = &explained.metrics[0];
    let rule = metric.origin.rule.as_ref().unwrap();
    assert_eq!((rule.id.as_str(), rule.label.as_deref()), ("rules[0]", Some("pod")));
    let query = metric.origin.queries[0].as_str();
    assert_eq!((metric.pods.len(), metric.origin.series.len()), (3, 3), "{metric:?}");
    for series in &metric.origin.series {
        let pod = series.object.as_deref().unwrap();
        let at = Timestamp::from_unix_ms(series.timestamp_ms.unwrap()).unix_seconds();
        let found = up.web.query(query, Some(at)).await.unwrap();
        let of_pod = found.as_array().unwrap().iter().find(|element| element["metric"]["pod"] == pod).unwrap();
        assert_eq!(of_pod["value"][1], series.value.as_deref().unwrap(), "{pod} at {at}");
        let told = metric.pods.iter().find(|told| told.pod == pod).unwrap();
        assert_eq!(told.value, series.value, "{pod}");
    }

    let (code, out, error) = super::commands::run(&["explain", "smallest/lightning-asr", "--url", url], "").await;
    assert_eq!(code, 0, "{out}{error}");
    for part in
        ["rules[0]: seriesQuery ", "asr_active_requests{namespace=", "ratio", "HPA says", "as it is computed here"]
    {
        assert!(out.contains(part), "`{part}` is missing in:\n{out}");
    }
    println!("{out}");
    let (code, _, error) = super::commands::run(&["explain", "smallest/other", "--url", url], "").await;
    assert!(code == 2 && error.contains("scales smallest/lightning-asr, not smallest/other"), "{code}: {error}");
    let page = up.web.get("/autoscaling/fragment").await.unwrap().text();
    for part in ["The present decision, step by step", "rules[0]", "recommendation"] {
        assert!(page.contains(part), "`{part}` is missing in:\n{page}");
    }
}

/// Of the next requests, each worker answers at least 15 %.
async fn each_worker_has_its_share(up: &Up) {
    let before = totals(up).await;
    let since = |after: &[(String, f64)]| -> Vec<f64> {
        let at_first = |pod: &String| before.iter().find(|b| b.0 == *pod).map_or(0.0, |b| b.1);
        after.iter().map(|(pod, total)| total - at_first(pod)).collect()
    };
    let enough = |after: &Vec<(String, f64)>| since(after).iter().sum::<f64>() >= SHARED_REQUESTS;
    let ask = || async { Ok(totals(up).await) };
    let after = wait::until("enough requests to see how they are shared", SCALE_TIMEOUT, ask, enough).await.unwrap();
    let answered = since(&after);
    let all: f64 = answered.iter().sum();
    assert_eq!(answered.len(), 3, "three workers are scraped");
    assert!(answered.iter().all(|count| *count >= 0.15 * all), "unfair shares: {answered:?} of {all}");
}

async fn totals(up: &Up) -> Vec<(String, f64)> {
    let result = up.web.query("asr_total_requests", None).await.unwrap();
    let samples = result.as_array().unwrap().iter();
    samples.map(|sample| (sample["metric"]["pod"].as_str().unwrap().to_owned(), number(&sample["value"][1]))).collect()
}

fn number(value: &Value) -> f64 {
    value.as_str().map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
}

/// Every input of every decision is found in the storage again, and the decision follows from what is stored.
async fn recomputed(up: &Up, state: &Value) {
    let hpa = HorizontalPodAutoscaler::parse("e2e", FAST_DOWN).unwrap();
    let history: Vec<DecisionRecord> = serde_json::from_value(state["history"].clone()).unwrap();
    let (mut changes, mut samples) = (0, 0);
    for mut decision in history {
        for input in decision.metrics.iter_mut().flat_map(|metric| &mut metric.inputs) {
            let pod = input.pod.as_deref().unwrap();
            let at = Timestamp::from_unix_ms(input.timestamp_ms).unix_seconds();
            let stored = up.web.query(&format!("asr_active_requests{{pod=\"{pod}\"}}"), Some(at)).await.unwrap();
            let milli = (number(&stored[0]["value"][1]) * 1000.0).round() as i64;
            assert_eq!(milli, input.value_milli, "{pod} at {at}");
            input.value_milli = milli;
            samples += 1;
        }
        let again = decision.replay(&hpa, ControllerConfig::default(), decision.readings(&hpa));
        assert_eq!((again.recommendation, again.desired_replicas()), (decision.recommendation, decision.to));
        changes += usize::from(decision.from != decision.to);
    }
    assert!(changes >= 2 && samples >= 4, "vacuous: {changes} changes from {samples} samples");
    println!("{changes} changes of the replicas recomputed; {samples} samples read back");
}
