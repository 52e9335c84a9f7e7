//! Tells Alertmanagers of alerts, by their API v2.
//!
//! - [`Notifier`], [`NotifierHandle`]: follows who there is; takes alerts as an [`AlertSink`], shows the
//!   Alertmanagers.
//! - [`NotifierConfig`], [`AlertmanagerConfig`]: whom to tell, and how; [`alerting_config`] reads it.
//! - [`Post`]: the seam to HTTP.
//! - `target`: from discovery's labels to a URL; `wire`: an alert as it is sent; `queue`, `send_loop`: the way to
//!   one Alertmanager.
//!
//! ```text
//! discovery ─▶ relabel_configs ─▶ who there is
//!                                      │        ┌▶ queue ─▶ send loop ─▶ Alertmanager
//! rules ─▶ external labels, alert_relabel_configs ─┤
//!                                               └▶ queue ─▶ send loop ─▶ Alertmanager
//! ```
//!
//! Rule: an Alertmanager that is slow or away holds up nobody: no rule, and no other Alertmanager. What its
//! bounded queue cannot hold is its oldest, and is counted.

mod config;
mod decode;
mod http;
mod metrics;
mod queue;
mod send_loop;
mod target;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamodel::registry::{RegisterError, Registry};
use datamodel::relabel::RelabelRule;
use datamodel::{Labels, LabelsBuilder};
use discovery::{Discoverer, TargetGroup, Update, Updates};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{AlertmanagerConfig, AlertmanagerSet, DEFAULT_TIMEOUT, NotifierConfig};
pub use decode::{AlertingConfig, AlertmanagersConfig, alerting_config};
pub use http::{Post, PostAnswer, PostError, PostFuture};

use crate::alert::{Alert, AlertSink};
use crate::template::table_link;
use metrics::Metrics;
use send_loop::{Receiver, Settings};
use target::{Discovered, Found};
use wire::Notification;

/// Notifications that wait for one Alertmanager: upstream's bound.
pub const DEFAULT_QUEUE_CAPACITY: usize = 10_000;

/// Notifications of one request: some 60 KiB, and upstream's for years.
pub const DEFAULT_BATCH_SIZE: usize = 64;

/// How long queues are emptied at the end.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The most Alertmanagers that are told; each costs a task and a queue. The largest clusters have nine.
pub const MAX_ALERTMANAGERS: usize = 100;

/// Configurations that may wait to be applied; one more waits in its caller.
const CONFIG_QUEUE: usize = 1;

/// Updates of discovery that may wait; then discovery does.
const UPDATE_QUEUE: usize = 16;

/// What holds for all Alertmanagers, from the start to the end.
#[derive(Clone, Debug)]
pub struct NotifierOptions {
    /// Notifications that wait for one Alertmanager.
    pub queue_capacity: usize,
    /// Notifications of one request.
    pub batch_size: usize,
    /// How long queues are emptied at the end; zero drops what waits.
    pub drain_timeout: Duration,
    /// Where people reach this server; alerts link to its page `/graph`.
    pub external_url: String,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self {
            queue_capacity: DEFAULT_QUEUE_CAPACITY,
            batch_size: DEFAULT_BATCH_SIZE,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            external_url: String::new(),
        }
    }
}

/// The Alertmanagers as the HTTP API shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alertmanagers {
    /// URLs of those that are told.
    pub active: Vec<String>,
    /// URLs of those that relabelling dropped.
    pub dropped: Vec<String>,
}

/// The notifier does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notifier has ended")]
pub struct NotifierEnded;

/// The Alertmanagers of one set, for whoever sends to them.
#[derive(Debug, Default)]
struct SetView {
    alert_relabel: Arc<[RelabelRule]>,
    receivers: Vec<Arc<Receiver>>,
    dropped: Vec<String>,
}

/// What sending needs.
#[derive(Debug, Default)]
struct View {
    external_labels: Labels,
    alert_relabel: Arc<[RelabelRule]>,
    sets: Vec<SetView>,
}

#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
    options: NotifierOptions,
    metrics: Metrics,
}

/// Takes alerts, changes whom they are told to, shows that. A clone is the same handle.
#[derive(Clone, Debug)]
pub struct NotifierHandle {
    shared: Arc<Shared>,
    configs: mpsc::Sender<NotifierConfig>,
}

impl NotifierHandle {
    /// Makes this the configuration. Alertmanagers that are in it as before keep their queues, and are told
    /// of alerts until discovery has reported anew.
    ///
    /// # Errors
    ///
    /// The notifier does not run any more.
    pub async fn apply(&self, config: NotifierConfig) -> Result<(), NotifierEnded> {
        self.configs.send(config).await.map_err(|_returned| NotifierEnded)
    }

    /// Who is told, and who is not.
    #[must_use]
    pub fn alertmanagers(&self) -> Alertmanagers {
        let view = self.shared.view.read().unwrap_or_else(PoisonError::into_inner);
        let active = view.sets.iter().flat_map(|set| &set.receivers).map(|receiver| receiver.url().to_owned());
        let dropped = view.sets.iter().flat_map(|set| &set.dropped).cloned();
        Alertmanagers { active: active.collect(), dropped: dropped.collect() }
    }
}

impl AlertSink for NotifierHandle {
    fn send(&self, expression: &str, alerts: Vec<Alert>) {
        let view = self.shared.view.read().unwrap_or_else(PoisonError::into_inner);
        if view.sets.iter().all(|set| set.receivers.is_empty()) {
            return;
        }
        let url: Arc<str> = Arc::from(format!("{}{}", self.shared.options.external_url, table_link(expression)));
        let notifications: Vec<Arc<Notification>> = alerts
            .iter()
            .filter_map(|alert| {
                let mut labels = LabelsBuilder::new(&alert.labels);
                for (name, value) in &view.external_labels {
                    if labels.get(name).is_none() {
                        labels.set(name, value);
                    }
                }
                let notification = Notification::new(alert, labels.build(), Arc::clone(&url));
                Notification::relabel(&Arc::new(notification), &view.alert_relabel)
            })
            .collect();
        for set in &view.sets {
            let relabelled: Vec<Arc<Notification>>;
            let for_set = if set.alert_relabel.is_empty() {
                &notifications
            } else {
                let relabel = |notification| Notification::relabel(notification, &set.alert_relabel);
                relabelled = notifications.iter().filter_map(relabel).collect();
                &relabelled
            };
            for receiver in &set.receivers {
                receiver.push(for_set);
            }
        }
    }
}

/// An Alertmanager whose send loop runs.
#[derive(Debug)]
struct Running {
    receiver: Arc<Receiver>,
    stop: CancellationToken,
}

/// Alertmanagers that share a configuration.
#[derive(Debug)]
struct RunningSet {
    config: Arc<AlertmanagerConfig>,
    settings: Arc<Settings>,
    /// The number of its first discoverer, in all sets that there ever were.
    first_discoverer: usize,
    discoverers: usize,
    stop_discovery: CancellationToken,
    /// By place of the discoverer in the set, and source.
    groups: BTreeMap<(usize, Arc<str>), TargetGroup>,
    /// Discoverers that still stand by what those before them said.
    silent: BTreeSet<usize>,
    /// By URL.
    running: BTreeMap<String, Running>,
}

/// Follows who there is, and runs the send loops.
#[derive(Debug)]
pub struct Notifier {
    handle: NotifierHandle,
    configs: mpsc::Receiver<NotifierConfig>,
    update_sender: mpsc::Sender<Update>,
    updates: mpsc::Receiver<Update>,
    sets: Vec<RunningSet>,
    next_discoverer: usize,
    discovery_tasks: JoinSet<()>,
    send_tasks: JoinSet<()>,
}

impl Notifier {
    /// A notifier that knows no Alertmanager yet.
    ///
    /// # Errors
    ///
    /// The registry has metrics of the same names already.
    pub fn new(options: NotifierOptions, registry: &Registry) -> Result<Self, RegisterError> {
        let metrics = Metrics::register(registry)?;
        metrics.queue_capacity.set(options.queue_capacity as f64);
        let shared = Arc::new(Shared { view: RwLock::default(), options, metrics });
        let (config_sender, configs) = mpsc::channel(CONFIG_QUEUE);
        let (update_sender, updates) = mpsc::channel(UPDATE_QUEUE);
        Ok(Self {
            handle: NotifierHandle { shared, configs: config_sender },
            configs,
            update_sender,
            updates,
            sets: Vec::new(),
            next_discoverer: 0,
            discovery_tasks: JoinSet::new(),
            send_tasks: JoinSet::new(),
        })
    }

    /// A handle to the notifier.
    #[must_use]
    pub fn handle(&self) -> NotifierHandle {
        self.handle.clone()
    }

    /// Runs until shutdown, empties the queues within the drain time, and returns when all its tasks ended.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(config) = self.configs.recv() => self.apply(config),
                Some(update) = self.updates.recv() => self.update(update),
                Some(joined) = self.discovery_tasks.join_next() => check(joined),
                Some(joined) = self.send_tasks.join_next() => check(joined),
            }
        }
        self.configs.close();
        self.updates.close();
        *self.handle.shared.view.write().unwrap_or_else(PoisonError::into_inner) = View::default();
        for set in self.sets.drain(..) {
            set.stop();
        }
        while let Some(joined) = self.discovery_tasks.join_next().await {
            check(joined);
        }
        while let Some(joined) = self.send_tasks.join_next().await {
            check(joined);
        }
    }

    fn apply(&mut self, mut config: NotifierConfig) {
        let mut before = std::mem::take(&mut self.sets).into_iter();
        for set in std::mem::take(&mut config.sets) {
            let running = self.start(set, before.next());
            self.sets.push(running);
        }
        for gone in before {
            for url in gone.running.keys() {
                self.handle.shared.metrics.end_receiver(url);
            }
            gone.stop();
        }
        self.publish(&config);
        for at in 0..self.sets.len() {
            self.sync(at);
        }
    }

    /// Starts a set in the place of an earlier one, whose Alertmanagers stay until discovery reports.
    fn start(&mut self, set: AlertmanagerSet, earlier: Option<RunningSet>) -> RunningSet {
        let AlertmanagerSet { config, discoverers, post } = set;
        let stop_discovery = CancellationToken::new();
        let first_discoverer = self.next_discoverer;
        let count = discoverers.len();
        self.next_discoverer += count;
        for (place, discoverer) in discoverers.into_iter().enumerate() {
            self.spawn(discoverer, first_discoverer + place, &stop_discovery);
        }
        let (mut groups, running) = match earlier {
            Some(earlier) => {
                earlier.stop_discovery.cancel();
                (earlier.groups, earlier.running)
            }
            None => (BTreeMap::new(), BTreeMap::new()),
        };
        groups.retain(|(place, _), _| *place < count);
        let settings = Arc::new(Settings { post, timeout: config.timeout });
        for running in running.values() {
            running.receiver.set_settings(Arc::clone(&settings));
        }
        RunningSet {
            config: Arc::new(config),
            settings,
            first_discoverer,
            discoverers: count,
            stop_discovery,
            groups,
            silent: (0..count).collect(),
            running,
        }
    }

    fn spawn(&mut self, discoverer: Box<dyn Discoverer>, number: usize, stop: &CancellationToken) {
        let updates = Updates::new(number, self.update_sender.clone());
        self.discovery_tasks.spawn(discoverer.run(updates, stop.clone()));
    }

    fn update(&mut self, update: Update) {
        let of_update = |set: &RunningSet| {
            let place = update.discoverer.checked_sub(set.first_discoverer)?;
            (place < set.discoverers).then_some(place)
        };
        let found = self.sets.iter().enumerate().find_map(|(at, set)| of_update(set).map(|place| (at, place)));
        // Of a configuration that is no more.
        let Some((at, place)) = found else { return };
        let Some(set) = self.sets.get_mut(at) else { return };
        if set.silent.remove(&place) {
            set.groups.retain(|(of, _), _| *of != place);
        }
        for group in update.groups {
            let key = (place, Arc::clone(&group.source));
            if group.targets.is_empty() {
                set.groups.remove(&key);
            } else {
                set.groups.insert(key, group);
            }
        }
        self.sync(at);
    }

    /// Starts and ends the send loops of a set, and shows who there is.
    fn sync(&mut self, at: usize) {
        let others: usize =
            self.sets.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, set)| set.running.len()).sum();
        let Some(set) = self.sets.get_mut(at) else { return };
        let Discovered { mut active, dropped } = target::discover(&set.config, set.groups.values());
        let room = MAX_ALERTMANAGERS.saturating_sub(others);
        if active.len() > room {
            tracing::warn!(
                found = active.len(),
                limit = MAX_ALERTMANAGERS,
                "too many Alertmanagers: some are left out"
            );
            active.truncate(room);
        }
        let shared = &self.handle.shared;
        let wanted: BTreeSet<&str> = active.iter().map(|found| found.text.as_str()).collect();
        set.running.retain(|url, running| {
            let stays = wanted.contains(url.as_str());
            if !stays {
                running.stop.cancel();
                shared.metrics.end_receiver(url);
            }
            stays
        });
        for Found { text, url } in active {
            if set.running.contains_key(&text) {
                continue;
            }
            let metrics = shared.metrics.receiver(&text);
            let receiver =
                Arc::new(Receiver::new(url, text.clone(), Arc::clone(&set.settings), &shared.options, metrics));
            let stop = CancellationToken::new();
            self.send_tasks.spawn(send_loop::run(Arc::clone(&receiver), stop.clone()));
            set.running.insert(text, Running { receiver, stop });
        }
        self.show(at, dropped);
    }

    /// Shows the Alertmanagers of a set.
    fn show(&self, at: usize, dropped: Vec<String>) {
        let Some(set) = self.sets.get(at) else { return };
        let mut view = self.handle.shared.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = view.sets.get_mut(at) {
            slot.receivers = set.running.values().map(|running| Arc::clone(&running.receiver)).collect();
            slot.dropped = dropped;
        }
        let active: usize = view.sets.iter().map(|set| set.receivers.len()).sum();
        self.handle.shared.metrics.discovered.set(active as f64);
    }

    /// Shows what holds for all sets, which then show their Alertmanagers.
    fn publish(&self, config: &NotifierConfig) {
        let sets = self.sets.iter().map(|set| SetView {
            alert_relabel: Arc::clone(&set.config.alert_relabel),
            receivers: set.running.values().map(|running| Arc::clone(&running.receiver)).collect(),
            dropped: Vec::new(),
        });
        *self.handle.shared.view.write().unwrap_or_else(PoisonError::into_inner) = View {
            external_labels: config.external_labels.clone(),
            alert_relabel: Arc::clone(&config.alert_relabel),
            sets: sets.collect(),
        };
    }
}

impl RunningSet {
    fn stop(self) {
        self.stop_discovery.cancel();
        for running in self.running.values() {
            running.stop.cancel();
        }
    }
}

/// A task that panicked takes the notifier along.
fn check(joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
}
