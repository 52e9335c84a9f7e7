//! The run group: every long-lived component has an owner that waits for it.
//!
//! - [`RunGroup::add`]: a component and the stage in which it is stopped; [`RunGroup::add_runtime`]: a thread for
//!   tasks of some component.
//! - [`RunGroup::run`]: runs all, until a signal comes or one of them ends; then stops stage by stage.
//! - [`StopTimeouts`]: how long a stage may take for it.
//!
//! ```text
//! signal, or a component ends ─▶ cancel stage 0, wait ─▶ cancel stage 1, wait ─▶ … ─▶ result
//!                                   └───────── a second signal ends the waiting ────────┘
//! ```
//!
//! Rule: a component that ends before it was told to is a failure, whatever it returned, and the process
//! says which one it was.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// When a component is stopped; lower stages first, each stage is waited for before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes requests from outside: stops taking, finishes what it took.
    Ingress,
    /// Decides how many others there are: autoscaler.
    Control,
    /// Drives others, and waits for their end: supervisor of workers.
    Workers,
    /// Reads and computes: scrape, rules.
    Engine,
    /// Tells others what rules found: notifier, after the rules have said their last.
    Notify,
    /// Keeps the data: last, so that nothing is lost.
    Storage,
}

/// How long a stage may take to end.
#[derive(Clone, Copy, Debug)]
pub struct StopTimeouts {
    /// Those that finish requests which were accepted: ingress, workers.
    pub requests: Duration,
    /// The others, each.
    pub others: Duration,
}

impl StopTimeouts {
    const fn of(self, stage: Stage) -> Duration {
        match stage {
            Stage::Ingress | Stage::Workers => self.requests,
            Stage::Control | Stage::Engine | Stage::Notify | Stage::Storage => self.others,
        }
    }
}

/// Components that live and end together.
pub struct RunGroup {
    tasks: JoinSet<(&'static str, Result<()>)>,
    stages: BTreeMap<Stage, CancellationToken>,
    waiting: BTreeMap<&'static str, Stage>,
    stop_timeouts: StopTimeouts,
}

impl fmt::Debug for RunGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunGroup").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl RunGroup {
    /// An empty group whose stages get so long to end.
    #[must_use]
    pub fn new(stop_timeouts: StopTimeouts) -> Self {
        Self { tasks: JoinSet::new(), stages: BTreeMap::new(), waiting: BTreeMap::new(), stop_timeouts }
    }

    /// Starts a component. `start` gets the token that tells it to end; names are unique.
    pub fn add<F>(&mut self, name: &'static str, stage: Stage, start: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let token = self.stages.entry(stage).or_default().clone();
        let component = start(token);
        self.waiting.insert(name, stage);
        // A panic is an end like others, so that it has a name and nobody waits for it. What the component owned is gone.
        let component = AssertUnwindSafe(component).catch_unwind();
        self.tasks.spawn(async move { (name, component.await.unwrap_or_else(|panic| Err(panicked(&*panic)))) });
    }

    /// Starts a thread with a runtime of its own, for tasks that may wait for a disk without holding up others, and
    /// that need no other thread to be woken. It lives until its stage stops: those who own its tasks stop before.
    ///
    /// # Errors
    ///
    /// The system gives no runtime.
    pub fn add_runtime(&mut self, name: &'static str, stage: Stage) -> Result<Handle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.with_context(|| format!("cannot start the runtime of `{name}`"))?;
        let handle = runtime.handle().clone();
        self.add(name, stage, |token| async move {
            // When the group gives up waiting, it drops what is awaited here: then the thread ends as well.
            let stop = token.child_token();
            let guard = stop.clone().drop_guard();
            let thread = spawn_blocking(move || {
                runtime.block_on(stop.cancelled());
                runtime.shutdown_background();
            });
            thread.await.context("the thread of a runtime failed")?;
            drop(guard);
            Ok(())
        });
        Ok(handle)
    }

    /// Waits until `signal` gives one or a component ends, then stops all in the order of their stages. At a
    /// further signal nothing is waited for any more.
    ///
    /// # Errors
    ///
    /// A component failed, panicked, ended early, or did not end in time; the first cause is returned.
    pub async fn run<F: Future<Output = ()>>(mut self, mut signal: impl FnMut() -> F) -> Result<()> {
        let mut outcome = tokio::select! {
            () = signal() => Ok(()),
            Some(ended) = self.tasks.join_next() => self.early(ended),
        };
        let mut impatience = std::pin::pin!(signal());
        let stages = std::mem::take(&mut self.stages);
        for (stage, token) in stages {
            token.cancel();
            tokio::select! {
                stopped = self.wait_for(stage) => outcome = outcome.and(stopped),
                () = &mut impatience => {
                    let left: Vec<_> = self.waiting.keys().copied().collect();
                    let left = left.join(", ");
                    outcome = outcome.and(Err(anyhow!("stopped at once by a second signal, before the end of: {left}")));
                    break;
                }
            }
        }
        self.tasks.shutdown().await;
        outcome
    }

    fn early(&mut self, ended: Result<(&'static str, Result<()>), JoinError>) -> Result<()> {
        let (name, result) = ended.context("a component was aborted")?;
        self.waiting.remove(name);
        match result {
            Ok(()) => Err(anyhow!("component `{name}` ended unexpectedly")),
            Err(error) => Err(error.context(format!("component `{name}` failed"))),
        }
    }

    async fn wait_for(&mut self, stage: Stage) -> Result<()> {
        let mut outcome = Ok(());
        let stop_timeout = self.stop_timeouts.of(stage);
        let deadline = tokio::time::sleep(stop_timeout);
        tokio::pin!(deadline);
        while self.waiting.values().any(|waiting| *waiting == stage) {
            let ended = tokio::select! {
                ended = self.tasks.join_next() => ended,
                () = &mut deadline => {
                    let late: Vec<_> =
                        self.waiting.iter().filter(|(_, waiting)| **waiting == stage).map(|(name, _)| *name).collect();
                    self.waiting.retain(|_, waiting| *waiting != stage);
                    let seconds = stop_timeout.as_secs();
                    return outcome.and(Err(anyhow!("did not stop within {seconds} s: {}", late.join(", "))));
                }
            };
            let Some(ended) = ended else { break };
            match ended {
                Ok((name, result)) => {
                    self.waiting.remove(name);
                    outcome = outcome.and(result.with_context(|| format!("component `{name}` failed while stopping")));
                }
                Err(error) => outcome = outcome.and(Err(error).context("a component was aborted while stopping")),
            }
        }
        outcome
    }
}

/// What a panic said.
fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    anyhow!("panicked: {}", text.unwrap_or("without a text"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    const TIMEOUTS: StopTimeouts = StopTimeouts { requests: Duration::from_secs(300), others: Duration::from_secs(5) };

    /// One signal at once, and none after it.
    fn once() -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        let mut first = true;
        move || if std::mem::take(&mut first) { Box::pin(async {}) } else { Box::pin(std::future::pending()) }
    }

    fn component(
        name: &'static str,
        log: &Log,
    ) -> impl FnOnce(CancellationToken) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>> {
        let log = Arc::clone(log);
        move |token| {
            Box::pin(async move {
                token.cancelled().await;
                log.lock().unwrap().push(name);
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stages_stop_in_order_after_the_signal() {
        let log = Log::default();
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("storage", Stage::Storage, component("storage", &log));
        group.add("front", Stage::Ingress, component("front", &log));
        group.add("scrape", Stage::Engine, component("scrape", &log));
        group.run(once()).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["front", "scrape", "storage"]);
    }

    #[tokio::test]
    async fn runtime_of_its_own_runs_tasks_on_one_thread_until_its_stage_stops() {
        let log = Log::default();
        let mut group = RunGroup::new(TIMEOUTS);
        let handle = group.add_runtime("scrape loops", Stage::Storage).unwrap();
        let (noted, here) = (Arc::clone(&log), std::thread::current().id());
        group.add("scrape", Stage::Engine, |token| async move {
            let mut tasks = JoinSet::new();
            for _ in 0..2 {
                let token = token.clone();
                tasks.spawn_on(
                    async move {
                        token.cancelled().await;
                        std::thread::current().id()
                    },
                    &handle,
                );
            }
            let threads = tasks.join_all().await;
            assert!(threads[0] == threads[1] && threads[0] != here);
            noted.lock().unwrap().push("scrape");
            Ok(())
        });
        group.run(once()).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["scrape"]);
    }

    #[tokio::test]
    async fn runtime_that_is_not_waited_for_ends() {
        struct Noted(std::sync::mpsc::Sender<()>);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.send(()).ok();
            }
        }
        let (sender, ended) = std::sync::mpsc::channel();
        let mut group = RunGroup::new(TIMEOUTS);
        let handle = group.add_runtime("scrape loops", Stage::Storage).unwrap();
        let noted = Noted(sender);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            async move {
                let _noted = noted;
                std::future::pending::<()>().await;
            },
            &handle,
        );
        // The thread begins when its owner first runs, and ends when its owner is dropped: both need a turn of this one.
        tokio::task::yield_now().await;
        drop(group);
        spawn_blocking(move || ended.recv()).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn component_that_ends_early_stops_the_group_and_is_named() {
        let log = Log::default();
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("storage", Stage::Storage, component("storage", &log));
        group.add("rules", Stage::Engine, |_token| async { Ok(()) });
        let error = group.run(std::future::pending).await.unwrap_err();
        assert_eq!(error.to_string(), "component `rules` ended unexpectedly");
        assert_eq!(*log.lock().unwrap(), ["storage"]);
    }

    #[tokio::test(start_paused = true)]
    async fn component_that_panics_stops_the_group_at_once_and_is_named() {
        let log = Log::default();
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("storage", Stage::Storage, component("storage", &log));
        group.add("front", Stage::Ingress, |_token| async { panic!("no {}", "way") });
        let began = tokio::time::Instant::now();
        let error = group.run(std::future::pending).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "component `front` failed: panicked: no way");
        assert_eq!((began.elapsed(), &*log.lock().unwrap()), (Duration::ZERO, &vec!["storage"]));
    }

    #[tokio::test(start_paused = true)]
    async fn component_that_does_not_stop_is_named_after_the_timeout() {
        let log = Log::default();
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("storage", Stage::Storage, component("storage", &log));
        group.add("scrape", Stage::Engine, |_token| std::future::pending());
        let error = group.run(once()).await.unwrap_err();
        assert_eq!(error.to_string(), "did not stop within 5 s: scrape");
        assert_eq!(*log.lock().unwrap(), ["storage"]);
    }

    #[tokio::test(start_paused = true)]
    async fn accepted_requests_have_their_time() {
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("front", Stage::Ingress, |token| async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(299)).await;
            Ok(())
        });
        group.run(once()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn second_signal_stops_at_once() {
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("front", Stage::Ingress, |_token| std::future::pending());
        group.add("storage", Stage::Storage, component("storage", &Log::default()));
        let error = group.run(|| async {}).await.unwrap_err();
        assert_eq!(error.to_string(), "stopped at once by a second signal, before the end of: front, storage");
    }

    #[tokio::test(start_paused = true)]
    async fn first_failure_is_the_one_that_is_reported() {
        let mut group = RunGroup::new(TIMEOUTS);
        group.add("wal", Stage::Storage, |_token| async { Err(anyhow!("disk full")) });
        let error = group.run(std::future::pending).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "component `wal` failed: disk full");
    }
}
