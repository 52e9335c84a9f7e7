//! Range queries over an hour of samples in memory: the shapes that autoscaling uses.
//!
//! Throughput is in samples read. Storage is [`MemoryStorage`], so that nothing is decoded.
#![expect(clippy::unwrap_used, reason = "a bench may fail by panic")]

use std::time::Duration;

use datamodel::{Labels, Timestamp};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use promql::{Engine, EngineOptions, QueryContext};
use storage::{Appendable, MemoryStorage};

fn main() {
    divan::main();
}

/// Upper bounds of the buckets of one histogram.
const BOUNDS: [&str; 15] =
    ["0.05", "0.1", "0.25", "0.5", "1", "2", "3", "5", "8", "10", "15", "30", "60", "120", "+Inf"];
/// Between two scrapes.
const INTERVAL: Duration = Duration::from_secs(15);
/// One hour and the range before it.
const SCRAPES: u32 = 260;
const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

#[divan::bench(args = [150, 3_000])]
fn rate_summed_by_pod(bencher: Bencher<'_, '_>, pods: u32) {
    check(bencher, &buckets(pods), pods, "sum by (pod) (rate(asr_request_duration_seconds_bucket[5m]))");
}

#[divan::bench(args = [150, 3_000])]
fn average_over_time(bencher: Bencher<'_, '_>, pods: u32) {
    check(bencher, &buckets(pods), pods, "avg_over_time(asr_request_duration_seconds_bucket[5m])");
}

#[divan::bench(args = [150, 3_000])]
fn quantile_of_all(bencher: Bencher<'_, '_>, pods: u32) {
    let expr = "histogram_quantile(0.95, sum by (le) (rate(asr_request_duration_seconds_bucket[5m])))";
    check(bencher, &buckets(pods), pods, expr);
}

#[divan::bench(args = [150, 3_000])]
fn ratio_of_selectors(bencher: Bencher<'_, '_>, pods: u32) {
    let expr =
        r#"asr_request_duration_seconds_bucket{le="1"} / ignoring(le) asr_request_duration_seconds_bucket{le="+Inf"}"#;
    check(bencher, &buckets(pods), pods, expr);
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let text = r#"histogram_quantile(0.95, sum by (le) (rate(asr_request_duration_seconds_bucket{namespace="smallest", pod=~"lightning-asr-.*"}[5m]))) > on() group_left() vector(2)"#;
    bencher.counter(BytesCount::of_str(text)).bench(|| promql::parse(divan::black_box(text)).unwrap());
}

/// A counter for each bucket of each pod.
fn buckets(pods: u32) -> MemoryStorage {
    let storage = MemoryStorage::default();
    for pod in 0..pods {
        let name = format!("lightning-asr-{pod:05}");
        let mut appender = storage.appender();
        for (index, le) in (1_u32..).zip(BOUNDS) {
            let labels = Labels::from_pairs([
                ("__name__", "asr_request_duration_seconds_bucket"),
                ("job", "lightning-asr"),
                ("le", le),
                ("namespace", "smallest"),
                ("pod", name.as_str()),
            ]);
            let series = appender.series(None, &labels).unwrap();
            for scrape in 0..SCRAPES {
                let value = f64::from(scrape * index + pod % 7);
                appender.append(series, START.saturating_add(INTERVAL * scrape), value).unwrap();
            }
        }
        assert_eq!(appender.commit().unwrap().len(), 0);
    }
    storage
}

fn check(bencher: Bencher<'_, '_>, storage: &MemoryStorage, pods: u32, expr: &str) {
    let engine = Engine::new(EngineOptions { budget_bytes: 4 << 30, ..EngineOptions::default() });
    let expr = engine.parse(expr).unwrap();
    let start = START.saturating_add(INTERVAL * 20);
    let end = start.saturating_add(Duration::from_secs(3_600));
    let step = Duration::from_secs(60);
    bencher.counter(ItemsCount::new(u64::from(pods * SCRAPES) * 15)).bench(|| {
        let result = engine.range(storage, &expr, start, end, step, &QueryContext::default()).unwrap();
        divan::black_box(result)
    });
}
