//! All groups: starts, changes and ends their loops, and tells what they are doing.
//!
//! - [`RuleManager`]: runs the loops; evaluations run on threads that may wait.
//! - [`RuleHandle`]: changes the groups, shows them.
//!
//! Rule: one evaluation of a group at a time, at the times of its schedule; what is missed is counted,
//! never caught up.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::registry::{RegisterError, Registry};
use datamodel::{Clock, Labels, Timestamp};
use promql::{Engine, QueryContext};
use storage::{Appendable, Queryable};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::alert::{AlertSink, AlertTimes};
use crate::group::{Environment, GroupState};
use crate::metrics::Metrics;
use crate::rule::RuleGroup;
use crate::schedule::Schedule;
use crate::status::GroupStatus;

/// Sets of groups that may wait to be applied; one more waits in its caller.
const GROUPS_QUEUE: usize = 1;

/// How rules are evaluated.
#[derive(Clone, Debug)]
pub struct RuleOptions {
    /// Time between evaluations of groups that set none.
    pub evaluation_interval: Duration,
    /// How far in the past groups that set none are evaluated.
    pub query_offset: Duration,
    /// Labels of this server, for templates.
    pub external_labels: Labels,
    /// Where people reach this server, for templates.
    pub external_url: String,
    /// Times of alerts that do not stand in their rules.
    pub alert_times: AlertTimes,
    /// Who is told of alerts.
    pub sink: Option<Arc<dyn AlertSink>>,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            evaluation_interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
            external_url: String::new(),
            alert_times: AlertTimes::default(),
            sink: None,
        }
    }
}

/// The manager does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule evaluation has ended")]
pub struct RulesEnded;

/// What manager and handles share.
#[derive(Debug, Default)]
struct Board {
    /// The groups as they were last evaluated, in the order of their files.
    statuses: Mutex<Vec<Arc<Mutex<GroupStatus>>>>,
}

/// Changes the groups, shows them. A clone is the same handle.
#[derive(Clone, Debug)]
pub struct RuleHandle {
    board: Arc<Board>,
    groups: mpsc::Sender<Vec<RuleGroup>>,
}

impl RuleHandle {
    /// Makes these the groups. One that did not change goes on; one that changed keeps the alerts and
    /// series of the rules that are still in it; the series of one that is gone end.
    ///
    /// # Errors
    ///
    /// The manager does not run any more.
    pub async fn apply(&self, groups: Vec<RuleGroup>) -> Result<(), RulesEnded> {
        self.groups.send(groups).await.map_err(|_returned| RulesEnded)
    }

    /// All groups as they were last evaluated, in the order in which they were given.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        let statuses = self.board.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        statuses.iter().map(|status| status.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

/// A group whose loop runs.
#[derive(Debug)]
struct RunningGroup {
    group: Arc<RuleGroup>,
    gone: CancellationToken,
    /// Raised with `gone` to stop a query that runs.
    cancel: Arc<AtomicBool>,
    /// Gives the state back when the loop ends because the group changed.
    state: oneshot::Receiver<Box<GroupState>>,
    status: Arc<Mutex<GroupStatus>>,
}

/// Evaluates all groups.
#[derive(Debug)]
pub struct RuleManager {
    handle: RuleHandle,
    groups: mpsc::Receiver<Vec<RuleGroup>>,
    environment: Arc<Environment>,
    clock: Arc<dyn Clock>,
    evaluation_interval: Duration,
    query_offset: Duration,
    /// By file and name.
    running: BTreeMap<String, RunningGroup>,
    tasks: JoinSet<()>,
    /// Whether groups were applied before: only the first ones look for states of before a restart.
    has_applied: bool,
}

impl RuleManager {
    /// A manager without groups.
    ///
    /// # Errors
    ///
    /// The registry has metrics of the same names already.
    pub fn new(
        options: RuleOptions,
        engine: Engine,
        queryable: Arc<dyn Queryable>,
        appendable: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, RegisterError> {
        let (sender, groups) = mpsc::channel(GROUPS_QUEUE);
        let handle = RuleHandle { board: Arc::default(), groups: sender };
        let environment = Arc::new(Environment {
            engine,
            queryable,
            appendable,
            sink: options.sink,
            external_labels: options.external_labels,
            external_url: options.external_url,
            alert_times: options.alert_times,
            metrics: Metrics::register(registry)?,
        });
        Ok(Self {
            handle,
            groups,
            environment,
            clock,
            evaluation_interval: options.evaluation_interval,
            query_offset: options.query_offset,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            has_applied: false,
        })
    }

    /// A handle to the manager.
    #[must_use]
    pub fn handle(&self) -> RuleHandle {
        self.handle.clone()
    }

    /// Evaluates until shutdown, and returns when every loop has ended. Queries that run are cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(joined) = self.tasks.join_next() => check(joined),
                Some(groups) = self.groups.recv() => self.apply(groups, &shutdown).await,
            }
        }
        self.groups.close();
        for running in self.running.values() {
            running.cancel.store(true, Ordering::Relaxed);
        }
        while let Some(joined) = self.tasks.join_next().await {
            check(joined);
        }
    }

    async fn apply(&mut self, groups: Vec<RuleGroup>, shutdown: &CancellationToken) {
        let restores = !self.has_applied;
        self.has_applied = true;
        let mut before = std::mem::take(&mut self.running);
        let mut statuses = Vec::with_capacity(groups.len());
        for group in groups {
            let key = group.key();
            let running = match before.remove(&key) {
                Some(running) if *running.group == group => running,
                Some(changed) => {
                    let earlier = changed.stop().await;
                    self.start(group, earlier, restores, shutdown)
                }
                None => self.start(group, None, restores, shutdown),
            };
            statuses.push(Arc::clone(&running.status));
            self.running.insert(key, running);
        }
        *self.handle.board.statuses.lock().unwrap_or_else(PoisonError::into_inner) = statuses;
        for (key, gone) in before {
            self.environment.metrics.end_group(&key);
            let schedule = self.schedule(&gone.group);
            if let Some(state) = gone.stop().await {
                self.tasks.spawn(end(
                    state,
                    Arc::clone(&self.environment),
                    schedule,
                    Arc::clone(&self.clock),
                    shutdown.clone(),
                ));
            }
        }
    }

    fn schedule(&self, group: &RuleGroup) -> Schedule {
        Schedule::new(&group.file, &group.name, group.interval.unwrap_or(self.evaluation_interval))
    }

    fn start(
        &mut self,
        group: RuleGroup,
        earlier: Option<Box<GroupState>>,
        restores: bool,
        shutdown: &CancellationToken,
    ) -> RunningGroup {
        let interval = group.interval.unwrap_or(self.evaluation_interval);
        let query_offset = group.query_offset.unwrap_or(self.query_offset);
        let schedule = self.schedule(&group);
        let group = Arc::new(group);
        let metrics = &self.environment.metrics;
        let mut state = Box::new(GroupState::new(Arc::clone(&group), interval, query_offset, restores, metrics));
        if let Some(earlier) = earlier {
            state.take_over(*earlier);
        }
        let status = Arc::new(Mutex::new(state.status()));
        let (gone, cancel) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (give_back, given_back) = oneshot::channel();
        let group_loop = GroupLoop {
            state: Some(state),
            schedule,
            environment: Arc::clone(&self.environment),
            clock: Arc::clone(&self.clock),
            context: QueryContext { cancel: Arc::clone(&cancel), ..QueryContext::default() },
            status: Arc::clone(&status),
            restores,
            evaluations: 0,
        };
        self.tasks.spawn(group_loop.run(gone.clone(), shutdown.clone(), give_back));
        RunningGroup { group, gone, cancel, state: given_back, status }
    }
}

impl RunningGroup {
    /// Ends the loop and takes its state; none if the server ends.
    async fn stop(self) -> Option<Box<GroupState>> {
        self.cancel.store(true, Ordering::Relaxed);
        self.gone.cancel();
        self.state.await.ok()
    }
}

/// Evaluates one group on its schedule.
#[derive(Debug)]
struct GroupLoop {
    /// Away only while a blocking thread works with it.
    state: Option<Box<GroupState>>,
    schedule: Schedule,
    environment: Arc<Environment>,
    clock: Arc<dyn Clock>,
    context: QueryContext,
    status: Arc<Mutex<GroupStatus>>,
    restores: bool,
    evaluations: u64,
}

impl GroupLoop {
    async fn run(
        mut self,
        gone: CancellationToken,
        shutdown: CancellationToken,
        give_back: oneshot::Sender<Box<GroupState>>,
    ) {
        let mut next = self.schedule.after(self.clock.now());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = gone.cancelled() => break,
                () = until(next, self.clock.as_ref()) => {}
            }
            let now = self.clock.now();
            if now < next {
                // The wall clock was set back: what was scheduled may be far away now.
                next = self.schedule.after(now);
                continue;
            }
            self.evaluate(next).await;
            let missed = self.schedule.missed(next, self.clock.now());
            if let Some(state) = &self.state {
                state.metrics().iterations.inc_by(1 + missed);
                state.metrics().missed.inc_by(missed);
            }
            let done = if missed > 0 { self.clock.now() } else { next };
            next = self.schedule.after(done);
        }
        if let Some(state) = self.state.take() {
            // Nobody takes it when the server ends.
            give_back.send(state).ok();
        }
    }

    async fn evaluate(&mut self, at: Timestamp) {
        let Some(mut state) = self.state.take() else { return };
        self.evaluations += 1;
        // As upstream: at the second evaluation, when targets were scraped and results are there.
        let restores = self.restores && self.evaluations == 2;
        let (environment, context) = (Arc::clone(&self.environment), self.context.clone());
        let state = blocking(move || {
            state.evaluate(&environment, &context, at);
            if restores {
                state.restore(&environment, at);
            }
            state
        })
        .await;
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = state.status();
        self.state = Some(state);
    }
}

/// Ends the series of a group that is gone, at the time of the evaluation that would have been.
async fn end(
    mut state: Box<GroupState>,
    environment: Arc<Environment>,
    schedule: Schedule,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let at = schedule.after(clock.now());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = until(at, clock.as_ref()) => blocking(move || state.end(&environment, at)).await,
    }
}

/// Waits until the clock should show the given time.
async fn until(at: Timestamp, clock: &dyn Clock) {
    tokio::time::sleep(at.since(clock.now())).await;
}

/// Runs work that reads and writes the storage on a thread that may wait; a panic there is a panic here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only when the runtime is shut down; then nothing is polled again.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

/// A loop that panicked takes the manager along.
fn check(joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}
