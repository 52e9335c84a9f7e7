//! One sync of one HPA: from pods and their samples to a decision.
#![expect(clippy::unwrap_used, reason = "a bench may fail by panic")]

use std::time::Duration;

use datamodel::Timestamp;
use divan::Bencher;
use divan::counter::ItemsCount;
use hpa::{Controller, ControllerConfig, HorizontalPodAutoscaler, Observation, Pod, PodSample, Reading, Scale};

fn main() {
    divan::main();
}

const MANIFEST: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: lightning-asr, namespace: smallest }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: lightning-asr }
  maxReplicas: 20000
  metrics:
    - type: Pods
      pods: { metric: { name: asr_active_requests }, target: { type: AverageValue, averageValue: "4" } }
  behavior: { scaleDown: { stabilizationWindowSeconds: 30 } }
"#;

/// The load changes from sync to sync, so that every path of stabilisation is walked.
#[divan::bench(args = [3, 100, 10_000])]
fn reconcile(bencher: Bencher<'_, '_>, pods: i32) {
    let hpa = HorizontalPodAutoscaler::parse("bench", MANIFEST).unwrap();
    let mut controller = Controller::new(hpa, ControllerConfig::default());
    let mut now = Timestamp::from_unix_ms(1_800_000_000_000);
    let mut observation = observation(pods, now);
    let mut load = 0;
    bencher.counter(ItemsCount::new(pods.unsigned_abs())).bench_local(move || {
        now = now.saturating_add(Duration::from_secs(15));
        load = (load + 1_700) % 9_000;
        if let Some(Ok(Reading::Pods(samples))) = observation.metrics.first_mut() {
            for sample in samples.values_mut() {
                sample.value_milli = load;
            }
        }
        controller.reconcile(&observation, now)
    });
}

fn observation(count: i32, now: Timestamp) -> Observation {
    let names: Vec<String> = (0..count).map(|number| format!("lightning-asr-{number:05}")).collect();
    let sample = PodSample { value_milli: 4_000, timestamp: now, window: Duration::ZERO };
    Observation {
        scale: Ok(Scale { spec_replicas: count, status_replicas: count }),
        selector_problem: None,
        pods: names.iter().map(|name| Pod::running(name, now)).collect(),
        metrics: vec![Ok(Reading::Pods(names.into_iter().map(|name| (name, sample)).collect()))],
        floor: None,
    }
}
