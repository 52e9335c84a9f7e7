//! Why a metric gives no number of replicas.
//!
//! Rule: the texts are upstream's, because users search for them; they appear in conditions and events.

/// Why a metric gives no number of replicas. The metric is invalid for this sync; the next one tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The metrics API refused or did not answer; the text is its own.
    #[error("{0}")]
    Source(String),
    /// The metrics API answered with an empty list.
    #[error("no metrics returned from {api} metrics API")]
    Empty {
        /// `resource`, `custom` or `external`.
        api: &'static str,
    },
    /// The answer is not of the kind that the metric needs.
    #[error("answer does not fit a metric of type {0}")]
    WrongReading(&'static str),
    /// The selector finds no pod.
    #[error("no pods returned by selector while calculating replica count")]
    NoPods,
    /// No pod that counts has a sample.
    #[error("did not receive metrics for targeted pods (pods might be unready)")]
    NoSamples,
    /// No sample belongs to a pod with a request.
    #[error("no metrics returned matched known pods")]
    NoKnownPods,
    /// A container does not say what it needs.
    #[error("missing request for {resource} in container {container} of Pod {pod}")]
    MissingRequest {
        /// The resource.
        resource: String,
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// Neither pod nor containers say what they need.
    #[error("missing pod-level request for {resource} in Pod {pod}")]
    MissingPodRequest {
        /// The resource.
        resource: String,
        /// The pod.
        pod: String,
    },
    /// The named container does not exist.
    #[error("container {container} not found in Pod {pod}")]
    ContainerNotFound {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// The named container has no sample.
    #[error("container {container} not present in metrics for pod {namespace}/{pod}")]
    ContainerWithoutSample {
        /// The container.
        container: String,
        /// Namespace of the pod.
        namespace: String,
        /// The pod.
        pod: String,
    },
    /// Readiness of the pods cannot be counted.
    #[error("unable to calculate ready pods: {0}")]
    ReadyPods(Box<Self>),
    /// The metric names no target that its type can use.
    #[error("invalid {kind} metric source: neither {expected} was set")]
    InvalidTarget {
        /// The type, lower case.
        kind: &'static str,
        /// The targets that it can use.
        expected: &'static str,
    },
    /// The metric is of no known type.
    #[error("unknown metric source type {0:?}")]
    UnknownType(String),
    /// Where in the way to the number it went wrong.
    #[error("{context}{cause}")]
    While {
        /// What was being done, with the separator to the cause.
        context: String,
        /// The cause. Part of the text, because upstream's conditions show the whole chain in one line.
        cause: Box<Self>,
    },
}

impl MetricError {
    pub(crate) fn within(self, context: impl Into<String>) -> Self {
        Self::While { context: context.into(), cause: Box::new(self) }
    }
}
