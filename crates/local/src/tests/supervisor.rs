//! Life and death of workers, on a clock that jumps.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fakes::{FakeLauncher, FakeProbe, fleet, port, until};
use crate::fleet::{Fleet, WorkerPhase, WorkerSnapshot};
use crate::probe::Readiness;
use crate::supervisor::{MAX_WORKERS, Supervisor, SupervisorConfig};

#[tokio::test(start_paused = true)]
async fn wanted_workers_are_started_and_become_ready() {
    let house = House::new(3, FakeLauncher::default());
    let workers = until(&house.fleet, all_ready(3)).await;
    let mut names = house.launcher.names();
    names.dedup();
    assert_eq!(names.len(), 3);
    for worker in &workers {
        let suffix = worker.name.strip_prefix("lightning-asr-").unwrap();
        assert!(suffix.len() == 5 && suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert_eq!((worker.phase, worker.restarts), (WorkerPhase::Running, 0));
    }
    let groups = house.fleet.targets().borrow().clone();
    assert_eq!(groups[0].labels.to_string(), r#"{job="lightning-asr", namespace="smallest"}"#);
    let first = groups[0].targets[0].clone();
    assert_eq!(first.get("__address__"), Some("127.0.0.1:1"));
    assert_eq!(first.get("pod"), Some(&*workers[0].name));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leaving_worker_ends_its_requests_before_its_process_is_told() {
    let house = House::new(2, FakeLauncher::default());
    let workers = until(&house.fleet, all_ready(2)).await;
    let leases = [house.fleet.acquire(&[]).unwrap(), house.fleet.acquire(&[]).unwrap()];
    let second = house.fleet.acquire(&[workers[0].id]).unwrap();
    house.wanted.send_replace(1);
    // The first has fewer requests than the second, so it leaves.
    let left = until(&house.fleet, |workers| workers[0].phase == WorkerPhase::Terminating).await;
    assert_eq!((left[0].active, left[1].active), (1, 2));
    assert!(house.fleet.acquire(&[workers[1].id]).is_none());
    assert!(!house.launcher.fate(0).is_terminated);
    drop(leases);
    until(&house.fleet, |workers| workers.len() == 1).await;
    let fate = house.launcher.fate(0);
    assert!(fate.is_terminated && !fate.is_killed && fate.has_ended);
    assert!(!house.launcher.fate(1).is_terminated);
    drop(second);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn grace_period_bounds_the_requests_of_a_leaving_worker() {
    let house = House::new(1, FakeLauncher::default());
    until(&house.fleet, all_ready(1)).await;
    let lease = house.fleet.acquire(&[]).unwrap();
    let begin = Instant::now();
    house.wanted.send_replace(0);
    until(&house.fleet, <[_]>::is_empty).await;
    assert_eq!(begin.elapsed().as_secs(), SupervisorConfig::default().grace_period.as_secs());
    assert!(house.launcher.fate(0).is_terminated);
    drop(lease);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn process_that_ignores_sigterm_is_killed() {
    let house = House::new(1, FakeLauncher { ignores_sigterm: true, ..FakeLauncher::default() });
    until(&house.fleet, all_ready(1)).await;
    let begin = Instant::now();
    house.wanted.send_replace(0);
    until(&house.fleet, <[_]>::is_empty).await;
    assert_eq!(begin.elapsed().as_secs(), SupervisorConfig::default().stop_timeout.as_secs());
    assert!(house.launcher.fate(0).is_killed);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn crashed_worker_comes_back_under_its_name_with_growing_delays() {
    let house = House::new(2, FakeLauncher::default());
    let workers = until(&house.fleet, all_ready(2)).await;
    let mut delays = Vec::new();
    for crash in 0..3 {
        house.launcher.crash(if crash == 0 { 0 } else { crash + 1 });
        let begin = Instant::now();
        let down = until(&house.fleet, |workers| !workers[0].is_ready).await;
        // It keeps its place, its name and its old address, so that a scrape finds it down.
        assert_eq!(down[0].phase, WorkerPhase::Running);
        assert!(down[0].address.is_some() && down[1].is_ready);
        assert_eq!(house.fleet.targets().borrow()[0].targets.len(), 2);
        let up = until(&house.fleet, all_ready(2)).await;
        assert_eq!((&up[0].name, up[0].restarts), (&workers[0].name, crash as u32 + 1));
        delays.push(begin.elapsed().as_secs());
    }
    assert_eq!(delays, [2, 4, 8]);
    // A worker that was well for long begins anew.
    tokio::time::advance(SupervisorConfig::default().backoff_reset).await;
    house.launcher.crash(4);
    let begin = Instant::now();
    until(&house.fleet, |workers| workers[0].restarts == 4 && workers[0].is_ready).await;
    assert_eq!(begin.elapsed().as_secs(), 2);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn process_that_never_listens_is_killed_and_tried_again() {
    let house = House::new(1, FakeLauncher { is_silent: true, ..FakeLauncher::default() });
    let mut launched = house.launcher.launched.subscribe();
    launched.wait_for(|count| *count == 3).await.unwrap();
    assert!(house.launcher.fate(0).is_killed && house.launcher.fate(1).is_killed);
    let workers = house.fleet.snapshot();
    assert_eq!((workers[0].phase, workers[0].restarts), (WorkerPhase::Pending, 2));
    assert!(house.fleet.targets().borrow()[0].targets.is_empty());
    house.wanted.send_replace(0);
    until(&house.fleet, <[_]>::is_empty).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn worker_is_unready_when_it_says_so_or_is_silent_three_times() {
    let house = House::new(1, FakeLauncher::default());
    until(&house.fleet, all_ready(1)).await;
    house.probe.tell(port(1), Readiness::NotReady);
    until(&house.fleet, |workers| !workers[0].is_ready).await;
    house.probe.tell(port(1), Readiness::Ready);
    until(&house.fleet, all_ready(1)).await;
    let begin = Instant::now();
    house.probe.tell(port(1), Readiness::NoAnswer);
    until(&house.fleet, |workers| !workers[0].is_ready).await;
    assert_eq!(begin.elapsed().as_secs(), 3);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_the_requests_of_all_workers() {
    let mut house = House::new(2, FakeLauncher::default());
    until(&house.fleet, all_ready(2)).await;
    let lease = house.fleet.acquire(&[]).unwrap();
    house.shutdown.cancel();
    until(&house.fleet, |workers| workers.len() == 1).await;
    assert!(house.tasks.try_join_next().is_none());
    drop(lease);
    house.tasks.join_next().await.unwrap().unwrap();
    assert!(house.fleet.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn number_of_workers_is_bounded_whoever_asks() {
    let house = House::new(usize::MAX, FakeLauncher::default());
    until(&house.fleet, all_ready(MAX_WORKERS)).await;
    assert_eq!(house.launcher.names().len(), MAX_WORKERS);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unready_workers_leave_before_ready_ones_and_young_before_old() {
    let house = House::new(3, FakeLauncher::default());
    let workers = until(&house.fleet, all_ready(3)).await;
    house.probe.tell(port(1), Readiness::NotReady);
    until(&house.fleet, |workers| !workers[0].is_ready).await;
    house.wanted.send_replace(1);
    let left = until(&house.fleet, |workers| workers.len() == 1).await;
    assert_eq!(left[0].name, workers[1].name);
    house.stop().await;
}

fn all_ready(count: usize) -> impl FnMut(&[WorkerSnapshot]) -> bool {
    move |workers| workers.len() == count && workers.iter().all(|worker| worker.is_ready)
}

/// A supervisor at work.
struct House {
    fleet: Arc<Fleet>,
    launcher: Arc<FakeLauncher>,
    probe: Arc<FakeProbe>,
    wanted: watch::Sender<usize>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl House {
    fn new(wanted: usize, launcher: FakeLauncher) -> Self {
        let (fleet, _) = fleet();
        let (launcher, probe) = (Arc::new(launcher), Arc::new(FakeProbe::default()));
        let (wanted, receiver) = watch::channel(wanted);
        let shutdown = CancellationToken::new();
        let config = SupervisorConfig::default();
        let supervisor = Supervisor::new(Arc::clone(&fleet), launcher.clone(), probe.clone(), config, receiver, 7);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run(shutdown.clone()));
        Self { fleet, launcher, probe, wanted, shutdown, tasks }
    }

    /// Ends well, and soon.
    async fn stop(mut self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(Duration::from_mins(10), self.tasks.join_next()).await;
        stopped.unwrap().unwrap().unwrap();
        assert!(self.fleet.snapshot().is_empty());
    }
}
