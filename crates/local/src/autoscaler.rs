//! The loop that decides how many workers there are.
//!
//! - [`MetricsSource`]: the seam to the metrics API in the same process; [`MetricReading`], or a [`ReadError`].
//! - [`Autoscaler`]: reads, asks [`hpa::Controller`], tells the supervisor, publishes.
//!
//! ```text
//! every period: fleet ─▶ pods ┐
//!                             ├─▶ Controller ─▶ wanted ─▶ Supervisor
//!      source ─▶ readings ────┘        └─▶ AutoscalingStatus
//! ```
//!
//! Rule: never down on absence. A value that is held may keep or raise the number, not lower it; what has
//! expired does not count; a pod that is gone counts for nothing; and before each known worker was scraped
//! once, nothing is decided.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datamodel::{Clock, Timestamp};
use hpa::origin::{FailureRecord, MetricOrigin};
use hpa::status::{
    AutoscalingStatus, DecisionRecord, InputRecord, MetricStatus, ReplicaStatus, SampleState, ValueStatus,
    WorkerStatus, target_text,
};
use hpa::{
    ContainerUsage, Controller, ControllerConfig, Decision, HorizontalPodAutoscaler, MetricSpec, Observation, Pod,
    PodPhase, PodSample, PodUsage, Reading, ReadyCondition, Scale,
};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::BoxFuture;
use crate::fleet::{Fleet, WorkerPhase, WorkerSnapshot};
use crate::metrics::SyncOutcome;

/// Decisions that the history keeps. With the samples of ten workers each takes some 3 KiB.
pub const MAX_HISTORY: usize = 100;

/// Where the values of metrics come from.
pub trait MetricsSource: Send + Sync + fmt::Debug {
    /// Reads one metric of the manifest, for these pods where it is one of pods.
    ///
    /// # Errors
    ///
    /// Why there is no answer. Never an empty list in its place.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        metric: &'a MetricSpec,
        pods: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<MetricReading, ReadError>>;

    /// Whether the worker was scraped at least once, well or not, since it listens where it does.
    fn was_scraped(&self, worker: &WorkerSnapshot) -> bool;
}

/// The answer for one metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricReading {
    /// The values.
    pub samples: Vec<ReadSample>,
    /// Where they came from: the rule, the expression that was evaluated, the series.
    pub origin: MetricOrigin,
}

/// Why there is no answer for one metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadError {
    /// For people.
    pub message: String,
    /// How far the question came, and the stage that failed.
    pub origin: MetricOrigin,
}

impl ReadError {
    /// An error of the source that failed as a whole.
    #[must_use]
    pub fn of_source(message: String, remedy: &str) -> Self {
        let failure = FailureRecord { stage: "Source".to_owned(), cause: message.clone(), remedy: remedy.to_owned() };
        Self { message, origin: MetricOrigin { failure: Some(failure), ..MetricOrigin::default() } }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSample {
    /// The pod; none for a value of an object or an external one.
    pub pod: Option<Arc<str>>,
    /// The value in thousandths, cut off towards zero.
    pub value_milli: i64,
    /// When its newest input was taken.
    pub timestamp: Timestamp,
    /// How far back it looks.
    pub window: Duration,
    /// How good it is.
    pub state: SampleState,
}

/// How the loop runs.
#[derive(Clone, Copy, Debug)]
pub struct AutoscalerConfig {
    /// Time between two decisions. Default 2 s.
    pub sync_period: Duration,
    /// How long one metric may take to be read. Default 1 s.
    pub read_timeout: Duration,
    /// What the algorithm takes as flags.
    pub controller: ControllerConfig,
}

impl Default for AutoscalerConfig {
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(2),
            read_timeout: Duration::from_secs(1),
            controller: ControllerConfig::default(),
        }
    }
}

/// Decides how many workers there are.
#[derive(Debug)]
pub struct Autoscaler {
    controller: Controller,
    config: AutoscalerConfig,
    fleet: Arc<Fleet>,
    source: Arc<dyn MetricsSource>,
    clock: Arc<dyn Clock>,
    wanted: watch::Sender<usize>,
    status: watch::Sender<Arc<AutoscalingStatus>>,
    manifest: Arc<str>,
    metrics: Vec<MetricStatus>,
    last: Option<DecisionRecord>,
    history: VecDeque<DecisionRecord>,
}

impl Autoscaler {
    /// Begins with the manifest's minimum, at least one worker.
    #[must_use]
    pub fn new(
        hpa: HorizontalPodAutoscaler,
        config: AutoscalerConfig,
        fleet: Arc<Fleet>,
        source: Arc<dyn MetricsSource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let first = usize::try_from(hpa.spec.min_replicas).unwrap_or(0).max(1);
        let metrics = hpa.spec.metrics.iter().map(unread).collect();
        let autoscaler = Self {
            controller: Controller::new(hpa, config.controller),
            config,
            fleet,
            source,
            clock,
            wanted: watch::channel(first).0,
            status: watch::channel(Arc::default()).0,
            manifest: Arc::default(),
            metrics,
            last: None,
            history: VecDeque::new(),
        };
        autoscaler.publish();
        autoscaler
    }

    /// Publishes the text of the manifest from now on, so that a decision can be explained.
    #[must_use]
    pub fn with_manifest(mut self, text: &str) -> Self {
        self.manifest = Arc::from(text);
        self.publish();
        self
    }

    /// How many workers are wanted, for the supervisor.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<usize> {
        self.wanted.subscribe()
    }

    /// What was decided and why, after every sync and every change of the fleet.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<AutoscalingStatus>> {
        self.status.subscribe()
    }

    /// Decides once a period until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(self.config.sync_period);
        // A late decision is followed by a whole period, as upstream's queue does.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.fleet.changes();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _instant = ticks.tick() => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.sync() => {}
                    }
                }
                // The fleet lives as long as we do.
                _changed = changes.changed() => self.publish(),
            }
        }
    }

    /// Observes, decides, tells.
    pub(crate) async fn sync(&mut self) {
        let workers = self.fleet.snapshot();
        if self.must_wait(&workers) {
            self.fleet.tally().sync(SyncOutcome::Waited);
            self.publish();
            return;
        }
        let pods: Vec<Arc<str>> = workers
            .iter()
            .filter(|worker| worker.phase != WorkerPhase::Terminating)
            .map(|worker| Arc::clone(&worker.name))
            .collect();
        let specs = self.controller.hpa().spec.metrics.clone();
        let readings = futures_util::future::join_all(specs.iter().map(|spec| self.read(spec, &pods))).await;
        let now = self.clock.now();
        let observation = self.observe(&workers, &specs, &readings);
        let before = self.controller.snapshot();
        let decision = self.controller.reconcile(&observation, now);
        let inputs: Vec<_> = readings.iter().map(inputs).collect();
        let queries: Vec<_> = readings.iter().map(|reading| query(origin(reading))).collect();
        let record = DecisionRecord::new(&decision, &observation, &before, &inputs, &queries);
        self.metrics = metric_statuses(&specs, &readings, &decision, now);
        self.fleet.tally().sync(outcome(&decision));
        self.apply(&decision);
        self.remember(record);
        self.publish();
    }

    /// Whether a known worker was not scraped yet. Before the first decision, workers that do not even listen
    /// count as known, too; later ones only hold decisions up once they run, so that one that never starts
    /// does not hold them up for ever.
    fn must_wait(&self, workers: &[WorkerSnapshot]) -> bool {
        let mut known = workers.iter().filter(|worker| worker.phase != WorkerPhase::Terminating).peekable();
        if known.peek().is_none() {
            return self.last.is_none();
        }
        known.any(|worker| match worker.phase {
            WorkerPhase::Pending => self.last.is_none(),
            WorkerPhase::Running => !self.source.was_scraped(worker),
            WorkerPhase::Terminating => false,
        })
    }

    /// Reads one metric, and leaves what counts: no values of pods that are gone, and none at all rather than
    /// only expired ones.
    async fn read(&self, spec: &MetricSpec, pods: &[Arc<str>]) -> Result<MetricReading, ReadError> {
        let namespace = &self.controller.hpa().namespace;
        let reading = timeout(self.config.read_timeout, self.source.read(namespace, spec, pods));
        let mut reading = match reading.await {
            Ok(reading) => reading?,
            Err(_elapsed) => {
                let message = format!("no answer within {} ms", self.config.read_timeout.as_millis());
                return Err(ReadError::of_source(message, "see what keeps this machine busy"));
            }
        };
        reading.samples.retain(|sample| sample.pod.as_ref().is_none_or(|pod| pods.contains(pod)));
        let newest = reading.samples.iter().map(|sample| sample.timestamp).max();
        match newest {
            Some(newest) if reading.samples.iter().all(|sample| sample.state == SampleState::Expired) => {
                let age = self.clock.now().since(newest).as_secs();
                let message = format!("all samples are expired: the newest is {age} s old");
                let failure = FailureRecord {
                    stage: "Samples".to_owned(),
                    cause: message.clone(),
                    remedy: "see at `/targets` why the targets are not scraped".to_owned(),
                };
                Err(ReadError { message, origin: MetricOrigin { failure: Some(failure), ..reading.origin } })
            }
            _ => Ok(reading),
        }
    }

    fn observe(
        &self,
        workers: &[WorkerSnapshot],
        specs: &[MetricSpec],
        readings: &[Result<MetricReading, ReadError>],
    ) -> Observation {
        let spec_replicas = i32::try_from(*self.wanted.borrow()).unwrap_or(i32::MAX);
        let is_held = readings
            .iter()
            .flatten()
            .flat_map(|reading| &reading.samples)
            .any(|sample| sample.state == SampleState::Held);
        let metric = |(spec, reading): (&MetricSpec, &Result<MetricReading, ReadError>)| {
            reading.as_ref().map(|reading| as_reading(spec, reading)).map_err(|error| error.message.clone())
        };
        Observation {
            scale: Ok(Scale { spec_replicas, status_replicas: staying(workers) }),
            selector_problem: None,
            pods: workers.iter().map(as_pod).collect(),
            metrics: specs.iter().zip(readings).map(metric).collect(),
            floor: is_held.then_some(spec_replicas),
        }
    }

    fn apply(&self, decision: &Decision) {
        for event in decision.events.iter().filter(|event| event.is_warning) {
            tracing::debug!(reason = %event.reason, message = %event.message, "autoscaler");
        }
        let Some(replicas) = decision.rescale.and_then(|replicas| usize::try_from(replicas).ok()) else { return };
        tracing::info!(from = ?decision.current_replicas, to = replicas, reason = %decision.reason, "rescaled");
        self.wanted.send_replace(replicas);
    }

    /// Keeps a decision that changed something, or whose explanation is another one.
    fn remember(&mut self, record: DecisionRecord) {
        let of = |record: &DecisionRecord| (record.reason.clone(), record.recommendation, record.to, record.held);
        let is_new = self.history.back().is_none_or(|last| of(last) != of(&record));
        if is_new || record.from != record.to {
            if self.history.len() >= MAX_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(record.clone());
        }
        self.last = Some(record);
    }

    fn publish(&self) {
        let hpa = self.controller.hpa();
        let workers = self.fleet.snapshot();
        let ready = workers.iter().filter(|worker| worker.is_ready && worker.phase == WorkerPhase::Running).count();
        let status = AutoscalingStatus {
            name: hpa.name.clone(),
            namespace: hpa.namespace.clone(),
            manifest: Arc::clone(&self.manifest),
            replicas: ReplicaStatus {
                current: staying(&workers),
                desired: i32::try_from(*self.wanted.borrow()).unwrap_or(i32::MAX),
                ready: i32::try_from(ready).unwrap_or(i32::MAX),
                min: hpa.spec.min_replicas,
                max: hpa.spec.max_replicas,
            },
            metrics: self.metrics.clone(),
            decision: self.last.clone(),
            history: self.history.iter().cloned().collect(),
            workers: workers.iter().map(as_status).collect(),
        };
        self.status.send_replace(Arc::new(status));
    }
}

fn outcome(decision: &Decision) -> SyncOutcome {
    match (decision.rescale, decision.current_replicas) {
        (Some(to), Some(from)) if to > from => SyncOutcome::Up,
        (Some(_), _) => SyncOutcome::Down,
        (None, _) if decision.recommendation.is_none() => SyncOutcome::Failed,
        (None, _) if decision.is_held => SyncOutcome::Held,
        (None, _) => SyncOutcome::Unchanged,
    }
}

/// Workers that are not leaving: what a `ReplicaSet` counts as its replicas.
fn staying(workers: &[WorkerSnapshot]) -> i32 {
    let count = workers.iter().filter(|worker| worker.phase != WorkerPhase::Terminating).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn as_pod(worker: &WorkerSnapshot) -> Pod {
    let has_started = worker.address.is_some();
    Pod {
        name: worker.name.to_string(),
        phase: if has_started { PodPhase::Running } else { PodPhase::Pending },
        is_deleting: worker.phase == WorkerPhase::Terminating,
        start_time: has_started.then_some(worker.started),
        ready: Some(ReadyCondition { is_ready: Some(worker.is_ready), last_transition: worker.ready_changed }),
        containers: Vec::new(),
        init_containers: Vec::new(),
        requests_milli: None,
    }
}

fn as_status(worker: &WorkerSnapshot) -> WorkerStatus {
    WorkerStatus {
        name: worker.name.to_string(),
        address: worker.address.map(|address| address.to_string()),
        phase: worker.phase.as_str().to_owned(),
        ready: worker.is_ready,
        active: u64::try_from(worker.active).unwrap_or(u64::MAX),
        restarts: u64::from(worker.restarts),
    }
}

/// What counts of an answer, in the form that the algorithm takes.
fn as_reading(spec: &MetricSpec, reading: &MetricReading) -> Reading {
    let counting = reading.samples.iter().filter(|sample| sample.state != SampleState::Expired);
    match spec {
        MetricSpec::Pods { .. } => Reading::Pods(
            counting
                .filter_map(|sample| {
                    let (value_milli, timestamp, window) = (sample.value_milli, sample.timestamp, sample.window);
                    Some((sample.pod.as_ref()?.to_string(), PodSample { value_milli, timestamp, window }))
                })
                .collect(),
        ),
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => {
            let container = match spec {
                MetricSpec::ContainerResource { container, .. } => container.clone(),
                _ => Fleet::JOB.to_owned(),
            };
            let usage = |sample: &ReadSample| {
                let usage = ContainerUsage { name: container.clone(), usage_milli: Some(sample.value_milli) };
                Some(PodUsage {
                    pod: sample.pod.as_ref()?.to_string(),
                    timestamp: sample.timestamp,
                    window: sample.window,
                    containers: vec![usage],
                })
            };
            Reading::Resource(counting.filter_map(usage).collect())
        }
        MetricSpec::Object { .. } | MetricSpec::External { .. } | MetricSpec::Unknown { .. } => {
            Reading::Values(counting.map(|sample| sample.value_milli).collect())
        }
    }
}

fn origin(reading: &Result<MetricReading, ReadError>) -> &MetricOrigin {
    match reading {
        Ok(reading) => &reading.origin,
        Err(error) => &error.origin,
    }
}

/// The expression of a metric and for when it was evaluated. Where there were several, the first: they differ in
/// the names of pods only.
fn query(origin: &MetricOrigin) -> Option<(String, Timestamp)> {
    // Milliseconds of this century are exact in a double.
    let at = |seconds: f64| Timestamp::from_unix_ms((seconds * 1000.0).round() as i64);
    origin.queries.first().cloned().zip(origin.query_time.map(at))
}

fn inputs(reading: &Result<MetricReading, ReadError>) -> Vec<InputRecord> {
    let input = |sample: &ReadSample| InputRecord {
        pod: sample.pod.as_ref().map(ToString::to_string),
        timestamp_ms: sample.timestamp.unix_ms(),
        value_milli: sample.value_milli,
        state: sample.state,
    };
    reading.iter().flat_map(|reading| &reading.samples).map(input).collect()
}

fn unread(spec: &MetricSpec) -> MetricStatus {
    let (target_type, target) = spec.target().map_or(("", String::new()), target_text);
    MetricStatus {
        name: spec.name().to_owned(),
        kind: spec.kind().to_owned(),
        target,
        target_type: target_type.to_owned(),
        value: None,
        age_seconds: None,
        state: None,
        error: None,
        values: Vec::new(),
        origin: MetricOrigin::default(),
    }
}

fn metric_statuses(
    specs: &[MetricSpec],
    readings: &[Result<MetricReading, ReadError>],
    decision: &Decision,
    now: Timestamp,
) -> Vec<MetricStatus> {
    let age = |sample: &ReadSample| now.since(sample.timestamp).as_secs_f64();
    let status = |(index, (spec, reading)): (usize, (&MetricSpec, &Result<MetricReading, ReadError>))| {
        let outcome = decision.metrics.get(index).map(|outcome| &outcome.proposal);
        let proposal = outcome.and_then(|proposal| proposal.as_ref().ok());
        let samples = reading.as_ref().map_or(&[] as &[_], |reading| &reading.samples);
        let counting = || samples.iter().filter(|sample| sample.state != SampleState::Expired);
        let value = |sample: &ReadSample| ValueStatus {
            pod: sample.pod.as_ref().map(ToString::to_string),
            value: milli_to_f64(sample.value_milli),
            age_seconds: age(sample),
            state: sample.state,
        };
        MetricStatus {
            value: proposal.map(|proposal| {
                proposal.utilization_percent.map_or_else(|| milli_to_f64(proposal.usage_milli), f64::from)
            }),
            age_seconds: counting().map(age).reduce(f64::max),
            state: counting().map(|sample| sample.state).max(),
            error: outcome.and_then(|proposal| proposal.as_ref().err().cloned()),
            values: samples.iter().map(value).collect(),
            origin: origin(reading).clone(),
            ..unread(spec)
        }
    };
    specs.iter().zip(readings).enumerate().map(status).collect()
}

/// Exact for whole numbers up to 2^53 thousandths.
fn milli_to_f64(milli: i64) -> f64 {
    milli as f64 / 1000.0
}
