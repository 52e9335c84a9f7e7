//! What kube-controller-manager takes as flags and feature gates.
//!
//! Rule: the defaults are upstream's, to the second.

use std::time::Duration;

/// How far a usage ratio may be from 1 without a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Below 1, as a share: 0.1 takes ratios from 0.9.
    pub scale_down: f64,
    /// Above 1, as a share: 0.1 takes ratios up to 1.1.
    pub scale_up: f64,
}

impl Tolerances {
    /// Whether the ratio is so near to 1 that nothing should change; both ends inclusive.
    #[must_use]
    pub fn is_within(self, usage_ratio: f64) -> bool {
        (1.0 - self.scale_down) <= usage_ratio && usage_ratio <= (1.0 + self.scale_up)
    }
}

/// Flags and gates of the controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControllerConfig {
    /// Where the manifest does not say otherwise per direction
    /// (`--horizontal-pod-autoscaler-tolerance`).
    pub tolerance: f64,
    /// How long the highest recommendation counts, where the manifest does not say otherwise
    /// (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: Duration,
    /// How long after its start a pod's CPU sample may be that of its start
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization_period: Duration,
    /// How long after its start a pod that becomes unready counts as never ready
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub initial_readiness_delay: Duration,
    /// The gate `HPAScaleToZero`: `minReplicas: 0`, and back from zero when the controller itself went there.
    pub scale_to_zero: bool,
    /// The gate `PodLevelResources`: requests of the pod as a whole.
    pub pod_level_resources: bool,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            downscale_stabilization: Duration::from_secs(300),
            cpu_initialization_period: Duration::from_secs(300),
            initial_readiness_delay: Duration::from_secs(30),
            scale_to_zero: false,
            pod_level_resources: true,
        }
    }
}
