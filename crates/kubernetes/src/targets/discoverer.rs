//! Watches the objects of a role, and reports their groups.
//!
//! Rule: the first report comes when all that is looked at was listed; after it only groups that changed are
//! reported, and making them takes at most a tenth of the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use discovery::{Discoverer, DiscovererFuture, DiscoveryContext, DiscoveryMetrics, TargetGroup, Updates};
use futures_util::future::select_all;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::KubernetesSdConfig;
use super::endpoints::Around;
use super::meta::Meta;
use super::objects::{Endpoints, Ingress, Node, Pod, Service, Slice};
use super::role::Role;
use super::{endpoints, endpointslice, ingress, node, pod, service};
use crate::client::{
    Client, Format, Keyed, MetadataOnly, ObjectKey, Observer, Progress, Reflector, ReflectorEvent, ReflectorOptions,
    Resource, Scope, Store,
};
use crate::tasks::watched;

/// The least time between two reports: changes of one rollout come together.
const GAP: Duration = Duration::from_millis(200);

/// Finds targets in a cluster.
#[derive(Debug)]
pub struct KubernetesDiscoverer {
    config: KubernetesSdConfig,
    client: Arc<Client>,
    metrics: DiscoveryMetrics,
    seed: u64,
}

impl KubernetesDiscoverer {
    /// As the configuration says, through this client.
    #[must_use]
    pub fn new(config: KubernetesSdConfig, client: Arc<Client>, context: &DiscoveryContext) -> Self {
        Self { config, client, metrics: context.metrics.clone(), seed: context.id_seed }
    }

    async fn watch(self, updates: Updates, shutdown: CancellationToken) {
        let mut watches =
            Watches { of: &self, tasks: JoinSet::new(), progress: Vec::new(), shutdown: shutdown.clone() };
        let known = Known::begin(&mut watches);
        let (mut tasks, mut progress) = (watches.tasks, watches.progress);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = report(self.config.role, &known, &mut progress, &updates) => {}
            never = watched(&mut tasks) => match never {},
        }
        tasks.shutdown().await;
    }

    fn scopes(&self, role: Role) -> Vec<Scope> {
        let selector = self.config.selectors.iter().find(|selector| selector.role == role);
        let (label, field) = selector.map(|found| (found.label.clone(), found.field.clone())).unwrap_or_default();
        let mut namespaces: Vec<Option<String>> = self.config.namespaces.iter().cloned().map(Some).collect();
        if self.config.own_namespace {
            namespaces.push(Some(self.client.namespace().to_owned()));
        }
        namespaces.sort();
        namespaces.dedup();
        if namespaces.is_empty() || role == Role::Node {
            namespaces = vec![None];
        }
        let scope = |namespace| Scope { namespace, label_selector: label.clone(), field_selector: field.clone() };
        namespaces.into_iter().map(scope).collect()
    }
}

impl Discoverer for KubernetesDiscoverer {
    fn run(self: Box<Self>, updates: Updates, shutdown: CancellationToken) -> DiscovererFuture {
        Box::pin(self.watch(updates, shutdown))
    }
}

/// Counts what the reflectors of a role do.
struct Counted {
    metrics: DiscoveryMetrics,
    role: &'static str,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Observer for Counted {
    fn observe(&self, event: ReflectorEvent, times: usize) {
        match event {
            ReflectorEvent::Added => self.metrics.kubernetes_events(self.role, "add", times),
            ReflectorEvent::Updated => self.metrics.kubernetes_events(self.role, "update", times),
            ReflectorEvent::Deleted => self.metrics.kubernetes_events(self.role, "delete", times),
            ReflectorEvent::Failed => self.metrics.kubernetes_failure(),
        }
    }
}

/// Begins watches.
struct Watches<'a> {
    of: &'a KubernetesDiscoverer,
    tasks: JoinSet<()>,
    progress: Vec<watch::Receiver<Progress>>,
    shutdown: CancellationToken,
}

impl Watches<'_> {
    fn of_role<T: Keyed + DeserializeOwned + Send + Sync + 'static>(&mut self, role: Role) -> Stores<T> {
        self.begin(&role.resource(), role.as_str(), self.of.scopes(role), Format::Whole)
    }

    fn begin<T: Keyed + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        resource: &Resource,
        role: &'static str,
        scopes: Vec<Scope>,
        format: Format,
    ) -> Stores<T> {
        let observer: Arc<dyn Observer> = Arc::new(Counted { metrics: self.of.metrics.clone(), role });
        let mut stores = Vec::with_capacity(scopes.len());
        for (index, scope) in (0..).zip(scopes) {
            let seed = self.of.seed.wrapping_add(index);
            let observer = Some(Arc::clone(&observer));
            let options = ReflectorOptions { format, seed, observer, ..ReflectorOptions::default() };
            let reflector = Reflector::new(Arc::clone(&self.of.client), resource.clone(), scope, options);
            let store = reflector.store();
            self.progress.push(store.progress());
            stores.push(store);
            self.tasks.spawn(reflector.run(self.shutdown.clone()));
        }
        Stores(stores)
    }
}

/// The stores of one kind, one for each namespace.
struct Stores<T>(Vec<Arc<Store<T>>>);

impl<T> Default for Stores<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Keyed> Stores<T> {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let key = ObjectKey::new(namespace, name);
        self.0.iter().find_map(|store| store.get(&key))
    }

    fn groups(&self, group: impl Fn(&T) -> TargetGroup) -> Vec<TargetGroup> {
        self.0.iter().flat_map(|store| store.all()).map(|object| group(&object)).collect()
    }
}

/// Everything that is looked at; what a role does not look at stays empty.
#[derive(Default)]
struct Known {
    pods: Stores<Pod>,
    services: Stores<Service>,
    endpoints: Stores<Endpoints>,
    slices: Stores<Slice>,
    nodes: Stores<Node>,
    ingresses: Stores<Ingress>,
    attached_nodes: Stores<Node>,
    attached_namespaces: Stores<MetadataOnly>,
}

impl Known {
    fn begin(watches: &mut Watches<'_>) -> Self {
        let mut known = Self::default();
        let config = &watches.of.config;
        for role in config.role.watched() {
            match role {
                Role::Pod => known.pods = watches.of_role(*role),
                Role::Service => known.services = watches.of_role(*role),
                Role::Endpoints => known.endpoints = watches.of_role(*role),
                Role::EndpointSlice => known.slices = watches.of_role(*role),
                Role::Node => known.nodes = watches.of_role(*role),
                Role::Ingress => known.ingresses = watches.of_role(*role),
            }
        }
        let all = || vec![Scope::default()];
        if config.attach_node && matches!(config.role, Role::Pod | Role::Endpoints | Role::EndpointSlice) {
            known.attached_nodes = watches.begin(&Role::Node.resource(), Role::Node.as_str(), all(), Format::Metadata);
        }
        if config.attach_namespace && config.role != Role::Node {
            let namespaces = Resource::core("namespaces");
            known.attached_namespaces = watches.begin(&namespaces, "namespace", all(), Format::Metadata);
        }
        known
    }

    fn groups(&self, role: Role) -> Vec<TargetGroup> {
        match role {
            Role::Pod => self.pods.groups(|object| {
                let node = Some(object.spec.node_name.as_str()).filter(|name| !name.is_empty());
                let node = node.map(|name| self.node(name)).unwrap_or_default();
                pod::group(object, &node.behind(&self.namespace(&object.metadata.namespace)))
            }),
            Role::Service => {
                self.services.groups(|object| service::group(object, &self.namespace(&object.metadata.namespace)))
            }
            Role::Endpoints => self.endpoints.groups(|object| endpoints::group(object, self)),
            Role::EndpointSlice => self.slices.groups(|object| endpointslice::group(object, self)),
            Role::Node => self.nodes.groups(node::group),
            Role::Ingress => {
                self.ingresses.groups(|object| ingress::group(object, &self.namespace(&object.metadata.namespace)))
            }
        }
    }
}

impl Around for Known {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(namespace, name)
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(namespace, name)
    }

    fn node(&self, name: &str) -> Meta {
        self.attached_nodes.get("", name).map(|node| node::node_meta(&node)).unwrap_or_default()
    }

    fn namespace(&self, name: &str) -> Meta {
        let mut meta = Meta::default();
        if let Some(namespace) = self.attached_namespaces.get("", name) {
            meta.marks("namespace", &namespace.metadata);
        }
        meta
    }
}

async fn report(role: Role, known: &Known, progress: &mut [watch::Receiver<Progress>], updates: &Updates) {
    for receiver in progress.iter_mut() {
        if receiver.wait_for(|progress| progress.is_ready).await.is_err() {
            return;
        }
    }
    let mut reported: BTreeMap<Arc<str>, TargetGroup> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let began = Instant::now();
        progress.iter_mut().for_each(|receiver| {
            receiver.borrow_and_update();
        });
        let changed = difference(&mut reported, known.groups(role));
        if (is_first || !changed.is_empty()) && updates.send(changed).await.is_err() {
            return;
        }
        is_first = false;
        tokio::time::sleep(GAP.max(began.elapsed().saturating_mul(9))).await;
        let woken = progress.iter_mut().map(|receiver| Box::pin(receiver.changed()));
        if select_all(woken).await.0.is_err() {
            return;
        }
    }
}

/// The groups that are new, differ, or are gone. A group without targets is none.
fn difference(reported: &mut BTreeMap<Arc<str>, TargetGroup>, groups: Vec<TargetGroup>) -> Vec<TargetGroup> {
    let present = groups.into_iter().filter(|group| !group.targets.is_empty());
    let fresh: BTreeMap<Arc<str>, TargetGroup> = present.map(|group| (Arc::clone(&group.source), group)).collect();
    let gone = reported.keys().filter(|source| !fresh.contains_key(*source));
    let mut changed: Vec<TargetGroup> = gone.map(|source| TargetGroup::gone(Arc::clone(source))).collect();
    changed.extend(fresh.values().filter(|group| reported.get(&group.source) != Some(*group)).cloned());
    *reported = fresh;
    changed
}
