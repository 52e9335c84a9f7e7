//! Workers that are no processes, and waiting for the fleet instead of for time.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use datamodel::{Timestamp, time::ManualClock};
use tokio::sync::watch;

use crate::fleet::{Fleet, WorkerSnapshot};
use crate::probe::{Probe, Readiness};
use crate::{BoxFuture, WorkerLauncher, WorkerProcess};

pub(super) const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

pub(super) fn fleet() -> (Arc<Fleet>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    (Fleet::new("smallest", clock.clone()), clock)
}

/// Waits until the workers are as asked for.
pub(super) async fn until(fleet: &Fleet, mut is_met: impl FnMut(&[WorkerSnapshot]) -> bool) -> Vec<WorkerSnapshot> {
    let mut changes = fleet.changes();
    loop {
        changes.mark_unchanged();
        let workers = fleet.snapshot();
        if is_met(&workers) {
            return workers;
        }
        changes.changed().await.unwrap();
    }
}

/// What happened to a fake process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) is_terminated: bool,
    pub(super) is_killed: bool,
    pub(super) has_ended: bool,
}

/// Starts fake processes on ports 1, 2, 3, …; they end when they are told to.
#[derive(Debug, Default)]
pub(super) struct FakeLauncher {
    pub(super) processes: Mutex<Vec<(String, watch::Sender<Fate>)>>,
    pub(super) launched: watch::Sender<usize>,
    pub(super) is_silent: bool,
    pub(super) ignores_sigterm: bool,
}

impl FakeLauncher {
    /// The n-th process that was launched.
    pub(super) fn process(&self, index: usize) -> watch::Sender<Fate> {
        self.processes.lock().unwrap()[index].1.clone()
    }

    pub(super) fn fate(&self, index: usize) -> Fate {
        *self.process(index).borrow()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.processes.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Ends a process as `kill -9` from outside does.
    pub(super) fn crash(&self, index: usize) {
        self.process(index).send_modify(|fate| fate.has_ended = true);
    }
}

pub(super) fn port(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl WorkerLauncher for FakeLauncher {
    fn launch(&self, name: &str) -> io::Result<Box<dyn WorkerProcess>> {
        let mut processes = self.processes.lock().unwrap();
        let (fate, _) = watch::channel(Fate::default());
        processes.push((name.to_owned(), fate.clone()));
        let count = processes.len();
        self.launched.send_replace(count);
        Ok(Box::new(FakeProcess {
            port: u16::try_from(count).unwrap(),
            fate,
            is_silent: self.is_silent,
            ignores_sigterm: self.ignores_sigterm,
        }))
    }
}

struct FakeProcess {
    port: u16,
    fate: watch::Sender<Fate>,
    is_silent: bool,
    ignores_sigterm: bool,
}

impl WorkerProcess for FakeProcess {
    fn announced(&mut self) -> BoxFuture<'_, io::Result<SocketAddr>> {
        Box::pin(async {
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            Ok(port(self.port))
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, String> {
        let mut fate = self.fate.subscribe();
        Box::pin(async move {
            fate.wait_for(|fate| fate.has_ended).await.unwrap();
            "ended".to_owned()
        })
    }

    fn terminate(&mut self) {
        let ends = !self.ignores_sigterm;
        self.fate.send_modify(|fate| {
            fate.is_terminated = true;
            fate.has_ended |= ends;
        });
    }

    fn kill(&mut self) {
        self.fate.send_modify(|fate| {
            fate.is_killed = true;
            fate.has_ended = true;
        });
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        self.fate.send_modify(|fate| fate.has_ended = true);
    }
}

/// Answers as it is told; ready where nothing was told.
#[derive(Debug, Default)]
pub(super) struct FakeProbe(pub(super) Mutex<HashMap<SocketAddr, Readiness>>);

impl FakeProbe {
    pub(super) fn tell(&self, address: SocketAddr, readiness: Readiness) {
        self.0.lock().unwrap().insert(address, readiness);
    }
}

impl Probe for FakeProbe {
    fn probe(&self, address: SocketAddr) -> BoxFuture<'_, Readiness> {
        let readiness = self.0.lock().unwrap().get(&address).copied().unwrap_or(Readiness::Ready);
        Box::pin(async move { readiness })
    }
}
