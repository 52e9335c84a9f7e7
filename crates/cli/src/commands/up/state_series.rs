//! What kube-state-metrics says of a cluster, said of the laptop's one Deployment and its autoscaler.
//!
//! Source: kube-state-metrics' names and labels, so that the seed's external rule and common dashboards work.
//!
//! Rule: every value is read from the autoscaler's published status; nothing is counted here.

use std::sync::Arc;

use anyhow::Result;
use datamodel::MetricType;
use datamodel::registry::{Descriptor, Registry};
use hpa::status::AutoscalingStatus;
use tokio::sync::watch;

const fn gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor { name, metric_type: MetricType::Gauge, help }
}

/// The label that names the object, and what is read for it.
type Read = fn(&AutoscalingStatus) -> i32;

const SERIES: [(Descriptor, &str, Read); 7] = [
    (gauge("kube_deployment_spec_replicas", "Replicas wanted of a Deployment"), "deployment", |s| s.replicas.desired),
    (gauge("kube_deployment_status_replicas", "Replicas of a Deployment"), "deployment", |s| s.replicas.current),
    (gauge("kube_deployment_status_replicas_ready", "Ready replicas of a Deployment"), "deployment", |s| {
        s.replicas.ready
    }),
    (
        gauge("kube_horizontalpodautoscaler_spec_min_replicas", "Least replicas that the autoscaler may set"),
        "horizontalpodautoscaler",
        |s| s.replicas.min,
    ),
    (
        gauge("kube_horizontalpodautoscaler_spec_max_replicas", "Most replicas that the autoscaler may set"),
        "horizontalpodautoscaler",
        |s| s.replicas.max,
    ),
    (
        gauge("kube_horizontalpodautoscaler_status_current_replicas", "Replicas that the autoscaler last saw"),
        "horizontalpodautoscaler",
        |s| s.replicas.current,
    ),
    (
        gauge("kube_horizontalpodautoscaler_status_desired_replicas", "Replicas that the autoscaler last set"),
        "horizontalpodautoscaler",
        |s| s.replicas.desired,
    ),
];

/// Declares the series.
///
/// # Errors
///
/// A name is taken.
pub(in crate::commands) fn register(
    registry: &Registry,
    status: watch::Receiver<Arc<AutoscalingStatus>>,
) -> Result<()> {
    let descriptors: Vec<_> = SERIES.iter().map(|(descriptor, _, _)| *descriptor).collect();
    registry.collector(&descriptors, move |emit| {
        let status = Arc::clone(&status.borrow());
        for (index, (_, label, read)) in SERIES.iter().enumerate() {
            let labels = [(*label, status.name.as_str()), ("namespace", status.namespace.as_str())];
            emit.sample(index, &labels, f64::from(read(&status)));
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_told_as_kube_state_metrics_tells_them() {
        let mut status = AutoscalingStatus { name: "asr".into(), namespace: "ns".into(), ..Default::default() };
        status.replicas.ready = 2;
        status.replicas.max = 4;
        let registry = Registry::new();
        register(&registry, watch::channel(Arc::new(status)).1).unwrap();
        let mut text = String::new();
        registry.encode_text(&mut text);
        let check = |line: &str| assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
        check("kube_deployment_status_replicas_ready{deployment=\"asr\",namespace=\"ns\"} 2");
        check("kube_horizontalpodautoscaler_spec_max_replicas{horizontalpodautoscaler=\"asr\",namespace=\"ns\"} 4");
    }
}
