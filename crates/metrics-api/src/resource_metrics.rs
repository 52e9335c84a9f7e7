//! `resourceRules`: CPU and memory of containers and nodes for metrics.k8s.io.
//!
//! The arithmetic only: samples in, usages out. The API itself is not served; a cluster has metrics-server
//! for it, and a rule file with `resourceRules` is accepted so that it can be kept.
//!
//! Rule: an object counts only with both, CPU and memory, and its time is the earliest of its samples.

use std::collections::BTreeMap;
use std::time::Duration;

use datamodel::Timestamp;

use crate::naming::query::MetricsQuery;
use crate::naming::resources::ResourceConverter;

/// The `resourceRules` of a configuration.
#[derive(Clone, Debug)]
pub struct ResourceRules {
    pub(crate) cpu: ResourceRule,
    pub(crate) memory: ResourceRule,
    pub(crate) window: Duration,
}

impl ResourceRules {
    /// The window that values of these rules have.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// The label that names the container, of the rule for CPU and of that for memory.
    #[must_use]
    pub fn container_labels(&self) -> (&str, &str) {
        (&self.cpu.container_label, &self.memory.container_label)
    }
}

/// One of the two rules.
#[derive(Clone, Debug)]
pub(crate) struct ResourceRule {
    #[expect(dead_code, reason = "checked when it is read; asked once metrics.k8s.io is served")]
    pub(crate) container_query: MetricsQuery,
    #[expect(dead_code, reason = "checked when it is read; asked once metrics.k8s.io is served")]
    pub(crate) node_query: MetricsQuery,
    #[expect(dead_code, reason = "checked when it is read; asked once metrics.k8s.io is served")]
    pub(crate) resources: ResourceConverter,
    pub(crate) container_label: String,
}

/// A sample of CPU (cores) or memory (bytes).
#[derive(Clone, Debug, PartialEq)]
pub struct UsageSample {
    /// The pod or node.
    pub object: String,
    /// The container; empty for a node.
    pub container: String,
    /// Cores or bytes. NaN and negative numbers count as zero, as upstream.
    pub value: f64,
    /// When it was taken.
    pub timestamp: Timestamp,
}

/// Cores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
}

/// What an object uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectUsage {
    /// By container; of a node, under the empty name.
    pub containers: BTreeMap<String, Usage>,
    /// The earliest of the samples.
    pub timestamp: Timestamp,
}

/// What an object uses; `None` unless there are samples of both CPU and memory.
#[must_use]
pub fn usage_of(object: &str, cpu: &[UsageSample], memory: &[UsageSample]) -> Option<ObjectUsage> {
    let of_object = |samples: &'_ [UsageSample]| -> Vec<UsageSample> {
        samples.iter().filter(|sample| sample.object == object).cloned().collect()
    };
    let (cpu, memory) = (of_object(cpu), of_object(memory));
    if cpu.is_empty() || memory.is_empty() {
        return None;
    }
    let timestamp = cpu.iter().chain(&memory).map(|sample| sample.timestamp).min()?;
    let mut containers: BTreeMap<String, Usage> = BTreeMap::new();
    for sample in cpu {
        containers.entry(sample.container).or_default().cpu = counted(sample.value);
    }
    for sample in memory {
        containers.entry(sample.container).or_default().memory = counted(sample.value);
    }
    Some(ObjectUsage { containers, timestamp })
}

fn counted(value: f64) -> f64 {
    if value > 0.0 { value } else { 0.0 }
}
