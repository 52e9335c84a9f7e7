//! The seed's own rules, from the file that is shipped.

use std::time::Duration;

use promql::Features;

use super::World;
use crate::{RuleHealth, parse_rule_file};

const SEED: &str = include_str!("../../../../rules/seed.yaml");

#[test]
fn seed_rules_load() {
    let groups = parse_rule_file("seed.yaml", SEED, &Features::DEFAULT).unwrap();
    let names: Vec<Vec<&str>> =
        groups.iter().map(|group| group.rules.iter().map(crate::Rule::name).collect()).collect();
    assert_eq!(
        names,
        [
            ["asr:requests:rate5m", "asr:requests:active_avg", "asr:gpu:utilization_avg"],
            ["HighErrorRate", "HighQueueLength", "GPUMemoryHigh"],
        ]
    );
    assert_eq!(groups[0].interval, Some(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn seed_rules_evaluate_and_alert() {
    let world = World::start(SEED).await;
    let pod = |name: &'static str| [("__name__", name), ("namespace", "smallest"), ("pod", "asr-1")];
    for minute in 0..10 {
        let counted = f64::from(minute) * 60.0;
        world.write(&pod("asr_total_requests"), counted);
        world.write(&pod("asr_failed_requests"), counted / 2.0);
        world.write(&pod("asr_active_requests"), 64.0);
        world.write(&pod("asr_gpu_utilization"), 80.0);
        world.write(&pod("asr_gpu_memory_used_bytes"), 22_800_000_000.0);
        world.pass(Duration::from_secs(60)).await;
    }
    for rule in world.handle.status().iter().flat_map(|group| &group.rules) {
        assert_eq!(rule.health, RuleHealth::Ok, "{}: {}", rule.name, rule.last_error);
    }
    for (series, value) in
        [("asr:requests:rate5m", " 1@"), ("asr:requests:active_avg", " 64@"), ("asr:gpu:utilization_avg", " 80@")]
    {
        let lines = world.show(series, 0);
        assert!(
            lines.len() == 1 && lines[0].contains("namespace=\"smallest\"") && lines[0].contains(value),
            "{lines:?}"
        );
    }
    let mut told = world.told();
    told.sort();
    told.dedup();
    let expected = [
        "GPUMemoryHigh firing {description=\"GPU memory at 95%\", summary=\"GPU memory usage high\"}",
        "HighErrorRate firing {description=\"Error rate is 0.5 errors/sec\", summary=\"High ASR error rate\"}",
        "HighQueueLength firing {description=\"64 requests queued\", summary=\"ASR queue backing up\"}",
    ];
    assert_eq!(told, expected);
}
