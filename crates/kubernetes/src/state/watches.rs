//! Watches on the objects that are told of.
//!
//! - [`StateScope`]: which objects. [`StateSeries`]: the page about them; [`StateWatches`] runs the watches.
//!
//! Rule: a watch for each resource and namespace that was asked for, and no other.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datamodel::exposition::Format;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::autoscalers::Autoscaler;
use super::deployments::Deployment;
use super::nodes::Node;
use super::page::{Page, StateError, Told};
use super::pods::Pod;
use super::replica_sets::ReplicaSet;
use super::resource::StateResource;
use super::stateful_sets::StatefulSet;
use crate::client::{ApiError, Client, Format as ObjectFormat, Reflector, ReflectorOptions, Scope, Store};
use crate::tasks::watched;

/// Namespaces that are watched one by one. Each costs a connection for each resource; who has more watches all.
pub const MAX_NAMESPACES: usize = 64;

/// Which objects are told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateScope {
    /// Of these resources.
    pub resources: BTreeSet<StateResource>,
    /// In these namespaces, of which those beyond [`MAX_NAMESPACES`] are left out; none: in all. Nodes are in none.
    pub namespaces: BTreeSet<String>,
}

/// How the watches of a resource stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// The resource.
    pub resource: StateResource,
    /// Whether all of it was listed, and the server could be asked the last time.
    pub is_up: bool,
    /// Objects that are told of.
    pub objects: usize,
}

/// The stores of one kind, one for each namespace.
struct Kind<T>(Vec<Arc<Store<T>>>);

/// The stores of one kind, whatever it is.
trait AnyKind: Send + Sync {
    fn tell(&self, page: &mut Page);
    /// Why something of it is not known; nothing where all is.
    fn unknown(&self) -> Option<Option<Arc<ApiError>>>;
    fn is_up(&self) -> bool;
    fn objects(&self) -> usize;
}

/// Whether the server will not say what there is: it has no such kind, or we may not see it.
fn is_refused<T: crate::client::Keyed>(store: &Store<T>) -> bool {
    store.failure().is_some_and(|error| error.is_not_found() || error.is_forbidden())
}

impl<T: Told> AnyKind for Kind<T> {
    fn tell(&self, page: &mut Page) {
        let objects: Vec<_> = self.0.iter().flat_map(|store| store.all()).collect();
        page.tell(&objects);
    }

    fn unknown(&self) -> Option<Option<Arc<ApiError>>> {
        let waiting = self.0.iter().find(|store| !store.is_ready() && !is_refused(store))?;
        Some(waiting.failure())
    }

    fn is_up(&self) -> bool {
        self.0.iter().all(|store| store.is_ready() && store.failure().is_none())
    }

    fn objects(&self) -> usize {
        self.0.iter().map(|store| store.len()).sum()
    }
}

/// What the objects of a scope say of themselves; of none by default.
#[derive(Clone, Default)]
pub struct StateSeries(Arc<[(StateResource, Box<dyn AnyKind>)]>);

impl fmt::Debug for StateSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateSeries").field(&self.watches()).finish()
    }
}

/// Keeps a [`StateSeries`] true.
pub struct StateWatches(Pending);

/// Watches that have not begun.
type Pending = Vec<Box<dyn FnOnce(&mut JoinSet<()>, CancellationToken) + Send>>;

impl fmt::Debug for StateWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateWatches").field(&self.0.len()).finish()
    }
}

impl StateWatches {
    /// Watches until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for begin in self.0 {
            begin(&mut tasks, shutdown.clone());
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = watched(&mut tasks) => match never {},
        }
        tasks.shutdown().await;
    }
}

/// Makes the watches of a scope.
struct Watcher<'a> {
    client: &'a Arc<Client>,
    namespaces: &'a BTreeSet<String>,
    options: ReflectorOptions,
    watches: Pending,
}

impl Watcher<'_> {
    fn kind<T: Told>(&mut self, resource: StateResource) -> (StateResource, Box<dyn AnyKind>) {
        let is_everywhere = self.namespaces.is_empty() || !resource.is_namespaced();
        let scopes: Vec<Scope> = if is_everywhere {
            vec![Scope::default()]
        } else {
            self.namespaces.iter().take(MAX_NAMESPACES).map(Scope::namespace).collect()
        };
        let stores = scopes.into_iter().map(|scope| self.watch(resource, scope)).collect();
        (resource, Box::new(Kind::<T>(stores)))
    }

    fn watch<T: Told>(&mut self, resource: StateResource, scope: Scope) -> Arc<Store<T>> {
        self.options.seed = self.options.seed.wrapping_add(1);
        let options = ReflectorOptions { format: ObjectFormat::Whole, ..self.options.clone() };
        let reflector = Reflector::<T>::new(Arc::clone(self.client), resource.resource(), scope, options);
        let store = reflector.store();
        self.watches.push(Box::new(|tasks, shutdown| {
            tasks.spawn(reflector.run(shutdown));
        }));
        store
    }
}

impl StateSeries {
    /// Tells of the objects of a scope, once the second value runs.
    #[must_use]
    pub fn new(client: &Arc<Client>, scope: &StateScope, options: ReflectorOptions) -> (Self, StateWatches) {
        let mut watcher = Watcher { client, namespaces: &scope.namespaces, options, watches: Vec::new() };
        let kinds = scope.resources.iter().map(|resource| match resource {
            StateResource::Deployments => watcher.kind::<Deployment>(*resource),
            StateResource::HorizontalPodAutoscalers => watcher.kind::<Autoscaler>(*resource),
            StateResource::Nodes => watcher.kind::<Node>(*resource),
            StateResource::Pods => watcher.kind::<Pod>(*resource),
            StateResource::ReplicaSets => watcher.kind::<ReplicaSet>(*resource),
            StateResource::StatefulSets => watcher.kind::<StatefulSet>(*resource),
        });
        let kinds = kinds.collect();
        (Self(kinds), StateWatches(watcher.watches))
    }

    /// The page in this format.
    ///
    /// # Errors
    ///
    /// Something that is told of was not listed yet and is not refused either, or there is too much.
    pub fn page(&self, format: Format) -> Result<String, StateError> {
        for (resource, kind) in self.0.iter() {
            if let Some(failure) = kind.unknown() {
                let reason = failure.map(|error| error.to_string());
                return Err(StateError::Unknown { resource: resource.as_str(), reason });
            }
        }
        let mut page = Page::new(format);
        for (_, kind) in self.0.iter() {
            kind.tell(&mut page);
        }
        page.finish()
    }

    /// How the watches stand.
    #[must_use]
    pub fn watches(&self) -> Vec<WatchState> {
        let state = |(resource, kind): &(StateResource, Box<dyn AnyKind>)| WatchState {
            resource: *resource,
            is_up: kind.is_up(),
            objects: kind.objects(),
        };
        self.0.iter().map(state).collect()
    }
}
