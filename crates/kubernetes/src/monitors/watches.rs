//! What is looked at on behalf of the monitors.
//!
//! Rule: a kind that is selected nowhere is not listed; of Secrets and `ConfigMaps` those that are named, each alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::select_all;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::raw::{RawAsset, RawObject};
use crate::client::{
    Client, Format, Keyed, MetadataOnly, ObjectKey, Progress, Reflector, ReflectorOptions, Resource, Scope, Store,
};
use crate::operator::objects::Prometheus;
use crate::operator::{AssetKind, AssetRef, Assets, Monitors, Origin, Rejected, Rejection, Selection};
use crate::tasks::watched;

/// Secrets and `ConfigMaps` that are watched at once. Each costs a connection; who names more reaches the limits of
/// the API server before ours.
const MAX_ASSETS: usize = 256;

/// The group of the monitors.
const GROUP: &str = "monitoring.coreos.com";

/// Reads an object and adds it to those of its kind.
type Take = fn(&RawObject, &mut Monitors) -> Result<(), Rejection>;

/// A kind of object, and which of them are selected.
#[derive(Debug)]
pub(super) struct Kind {
    name: &'static str,
    version: &'static str,
    plural: &'static str,
    selection: Selection,
    take: Take,
}

impl Kind {
    /// All kinds, with what this object selects of them.
    pub(super) fn all(of: &Prometheus) -> Result<Vec<Self>, Rejection> {
        let kind = |name, version, plural, selection, take: Take| Self { name, version, plural, selection, take };
        Ok(vec![
            kind("ServiceMonitor", "v1", "servicemonitors", Selection::service_monitors(of)?, |object, into| {
                object.read().map(|object| into.service_monitors.push(object))
            }),
            kind("PodMonitor", "v1", "podmonitors", Selection::pod_monitors(of)?, |object, into| {
                object.read().map(|object| into.pod_monitors.push(object))
            }),
            kind("Probe", "v1", "probes", Selection::probes(of)?, |object, into| {
                object.read().map(|object| into.probes.push(object))
            }),
            kind("ScrapeConfig", "v1alpha1", "scrapeconfigs", Selection::scrape_configs(of)?, |object, into| {
                object.read().map(|object| into.scrape_configs.push(object))
            }),
            kind("PrometheusRule", "v1", "prometheusrules", Selection::rules(of)?, |object, into| {
                object.read().map(|object| into.rules.push(object))
            }),
        ])
    }
}

/// One watch.
struct Watched<T> {
    store: Arc<Store<T>>,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
}

impl<T: Keyed> Watched<T> {
    /// Whether the server said what there is. One that has no such kind, or does not let us see it, has none for us.
    fn is_known(&self) -> bool {
        self.is_refused() || self.store.is_ready()
    }

    fn is_refused(&self) -> bool {
        self.store.failure().is_some_and(|error| error.is_not_found() || error.is_forbidden())
    }

    /// The objects: none of a kind that is gone. A right that is gone for a while takes none away.
    fn all(&self) -> Vec<Arc<T>> {
        let is_gone = self.store.failure().is_some_and(|error| error.is_not_found());
        if is_gone { Vec::new() } else { self.store.all() }
    }
}

/// Everything that is looked at.
pub(super) struct Watches {
    client: Arc<Client>,
    options: ReflectorOptions,
    tasks: JoinSet<()>,
    /// In the order of the kinds; none where nothing is selected.
    objects: Vec<Option<Watched<RawObject>>>,
    namespaces: Option<Watched<MetadataOnly>>,
    assets: BTreeMap<AssetRef, Watched<RawAsset>>,
    is_full: bool,
    /// Never changes: there is always something to wait for.
    idle: (watch::Sender<Progress>, watch::Receiver<Progress>),
}

impl Watches {
    pub(super) fn begin(client: Arc<Client>, options: ReflectorOptions, kinds: &[Kind]) -> Self {
        let mut watches = Self {
            client,
            options,
            tasks: JoinSet::new(),
            objects: Vec::new(),
            namespaces: None,
            assets: BTreeMap::new(),
            is_full: false,
            idle: watch::channel(Progress::default()),
        };
        for Kind { version, plural, selection, .. } in kinds {
            let scope = Scope {
                namespace: selection.namespace().map(str::to_owned),
                label_selector: selection.label_selector(),
                ..Scope::default()
            };
            let resource = Resource::new(GROUP, version, plural);
            let watched = (!selection.is_empty()).then(|| watches.watch(resource, scope, Format::Whole));
            watches.objects.push(watched);
        }
        if kinds.iter().any(|kind| !kind.selection.is_empty() && kind.selection.needs_namespaces()) {
            let watched = watches.watch(Resource::core("namespaces"), Scope::default(), Format::Metadata);
            watches.namespaces = Some(watched);
        }
        watches
    }

    fn watch<T: Keyed + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        resource: Resource,
        scope: Scope,
        format: Format,
    ) -> Watched<T> {
        self.options.seed = self.options.seed.wrapping_add(1);
        let options = ReflectorOptions { format, ..self.options.clone() };
        let reflector = Reflector::new(Arc::clone(&self.client), resource, scope, options);
        let (store, stop) = (reflector.store(), CancellationToken::new());
        let progress = store.progress();
        self.tasks.spawn(reflector.run(stop.clone()));
        Watched { store, progress, stop }
    }

    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    /// The tasks, and what tells their progress: at least one.
    fn progress(&mut self) -> (&mut JoinSet<()>, impl Iterator<Item = &mut watch::Receiver<Progress>>) {
        let objects = self.objects.iter_mut().flatten().map(|watched| &mut watched.progress);
        let namespaces = self.namespaces.iter_mut().map(|watched| &mut watched.progress);
        let assets = self.assets.values_mut().map(|watched| &mut watched.progress);
        (&mut self.tasks, objects.chain(namespaces).chain(assets).chain([&mut self.idle.1]))
    }

    /// What happened until now is not waited for.
    pub(super) fn mark_seen(&mut self) {
        self.progress().1.for_each(|receiver| {
            receiver.borrow_and_update();
        });
    }

    /// Waits until something changes.
    pub(super) async fn changed(&mut self) {
        let (tasks, progress) = self.progress();
        tokio::select! {
            // The senders live as long as the watches.
            _woken = select_all(progress.map(|receiver| Box::pin(receiver.changed()))) => {}
            never = watched(tasks) => match never {},
        }
    }

    /// The objects that are selected, and those that cannot be read; none while not all is known.
    pub(super) fn monitors(&self, kinds: &[Kind]) -> Option<(Monitors, Vec<Rejected>)> {
        let is_known = self.objects.iter().flatten().all(Watched::is_known)
            && self.namespaces.as_ref().is_none_or(Watched::is_known);
        if !is_known {
            return None;
        }
        let namespaces = self.namespaces.iter().flat_map(Watched::all);
        let namespaces = namespaces.map(|one| (one.metadata.name.clone(), one.metadata.labels.clone())).collect();
        let (mut monitors, mut rejected) = (Monitors::default(), Vec::new());
        for (kind, watched) in kinds.iter().zip(&self.objects) {
            let all = watched.iter().flat_map(Watched::all);
            for object in all.filter(|object| kind.selection.selects(&object.metadata(), &namespaces)) {
                if let Err(reason) = (kind.take)(&object, &mut monitors) {
                    rejected.push(Rejected { origin: Origin::new(kind.name, &object.metadata()), reason });
                }
            }
        }
        Some((monitors, rejected))
    }

    /// What is known of Secrets and `ConfigMaps`.
    pub(super) fn assets(&self) -> Assets {
        let mut assets = Assets::default();
        for (asset, watched) in &self.assets {
            if let Some(found) = watched.store.get(&ObjectKey::new(&asset.namespace, &asset.name)) {
                assets.insert(asset.clone(), found.keys(asset.kind));
            }
        }
        assets
    }

    /// Looks at these Secrets and `ConfigMaps` and no others. Whether all that can be is known of them.
    pub(super) fn follow(&mut self, asked: &BTreeSet<AssetRef>) -> bool {
        self.assets.retain(|asset, watched| {
            let is_kept = asked.contains(asset);
            if !is_kept {
                watched.stop.cancel();
            }
            is_kept
        });
        for asset in asked {
            if self.assets.contains_key(asset) || self.is_over(asset) {
                continue;
            }
            let plural = match asset.kind {
                AssetKind::Secret => "secrets",
                AssetKind::ConfigMap => "configmaps",
            };
            let scope = Scope {
                namespace: Some(asset.namespace.clone()),
                field_selector: format!("metadata.name={}", asset.name),
                ..Scope::default()
            };
            let watched = self.watch(Resource::core(plural), scope, Format::Whole);
            self.assets.insert(asset.clone(), watched);
        }
        self.is_full = asked.len() > MAX_ASSETS;
        self.assets.values().all(Watched::is_known)
    }

    fn is_over(&self, asset: &AssetRef) -> bool {
        let is_over = self.assets.len() >= MAX_ASSETS;
        if is_over && !self.is_full {
            tracing::warn!(%asset, limit = MAX_ASSETS, "monitors name too many Secrets and ConfigMaps; not read");
        }
        is_over
    }
}
