//! Watches `ServiceMonitors` and their like, and says what they become, each time that it is something else.
//!
//! - [`MonitorWatcher`]: from a [`Prometheus`] object, which selects, to [`Generated`].
//! - `watches`: the kinds that are looked at, namespaces, and the Secrets and `ConfigMaps` that objects name.
//! - `raw`: objects as they come, whose errors cost themselves only.
//!
//! ```text
//! API server ─▶ monitors, rules, namespaces ─┐
//!           └─▶ what they name, one by one ──┴▶ Generator ─▶ Generated ─▶ who applies it
//!                       ▲─────── asked for ───────┘
//! ```
//!
//! Rule: nothing is said before everything that is looked at was listed, or is known not to be there; while the API
//! cannot be asked, what was said stays.

mod raw;
#[cfg(test)]
mod tests;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::watches::{Kind, Watches};
use crate::client::{Client, ReflectorOptions};
use crate::json::value_of;
use crate::operator::objects::Prometheus;
use crate::operator::{Generated, Generator, Problem, Rejection, read};

/// The least time between two reports: objects of one release come together.
const GAP: Duration = Duration::from_millis(200);

/// What objects became; none before they are known.
pub type Found = Option<Arc<Generated>>;

/// Reads a `Prometheus` object from YAML: which monitors are selected, and what holds for them.
///
/// # Errors
///
/// It is no such object.
pub fn prometheus_object(name: &str, text: &str) -> Result<Prometheus, Rejection> {
    let wrong = |message: String| Rejection::new("object", Problem::Form(message));
    let document = yaml::parse(name, text).map_err(|errors| wrong(errors.to_string()))?;
    let object = value_of(document.root());
    if object["kind"] != "Prometheus" {
        return Err(Rejection::new("kind", Problem::Form("expected `Prometheus`".to_owned())));
    }
    read(object)
}

/// Says what the monitors of a cluster become.
#[derive(Debug)]
pub struct MonitorWatcher {
    client: Arc<Client>,
    prometheus: Prometheus,
    kinds: Vec<Kind>,
    options: ReflectorOptions,
    found: watch::Sender<Found>,
}

impl MonitorWatcher {
    /// Looks at what this object selects. One without a namespace is in that of the client.
    ///
    /// # Errors
    ///
    /// A selector is refused.
    pub fn new(client: Arc<Client>, mut prometheus: Prometheus, options: ReflectorOptions) -> Result<Self, Rejection> {
        if prometheus.metadata.namespace.is_empty() {
            client.namespace().clone_into(&mut prometheus.metadata.namespace);
        }
        let kinds = Kind::all(&prometheus)?;
        Ok(Self { client, prometheus, kinds, options, found: watch::Sender::default() })
    }

    /// What was found, and each change of it.
    #[must_use]
    pub fn found(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    /// Watches until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut watches = Watches::begin(Arc::clone(&self.client), self.options.clone(), &self.kinds);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep(&mut watches) => {}
        }
        watches.end().await;
    }

    async fn keep(&self, watches: &mut Watches) {
        loop {
            let began = Instant::now();
            watches.mark_seen();
            self.report(watches);
            tokio::time::sleep(GAP.max(began.elapsed().saturating_mul(9))).await;
            watches.changed().await;
        }
    }

    /// Says what the objects become, if all of it is known and it is not what was said last.
    fn report(&self, watches: &mut Watches) {
        let Some((monitors, unreadable)) = watches.monitors(&self.kinds) else { return };
        let assets = watches.assets();
        let mut made = Generator { prometheus: &self.prometheus, assets: &assets }.generate(&monitors);
        made.rejected.extend(unreadable);
        // What is named for the first time is looked at first.
        if !watches.follow(&assets.asked()) {
            return;
        }
        self.found.send_if_modified(|found| {
            let is_new = found.as_deref() != Some(&made);
            if is_new {
                *found = Some(Arc::new(made));
            }
            is_new
        });
    }
}
