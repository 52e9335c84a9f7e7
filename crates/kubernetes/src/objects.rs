//! The objects of a cluster for the metrics API: which there are, and which resources.
//!
//! - [`ClusterObjects`]: lists objects out of watches that begin with the first question; [`ObjectWatches`] runs them.
//! - [`discover_resources`]: the resources that the API serves, custom ones included.
//!
//! Rule: nothing is watched that nobody asked for, and of what is watched only names and labels are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamodel::selector::Selector;
use metrics_api::{BoxFuture, GroupResource, ListError, MAX_OBJECTS, ObjectLister, ObjectName};
use metrics_api::{ResourceInfo, ResourceMapper};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{ApiError, Client, Format, MetadataOnly, Reflector, ReflectorOptions, Resource, Scope, Store};
use crate::tasks::watched;

/// Resources that are watched at once. Rules name three or four.
const MAX_RESOURCES: usize = 32;

/// How long a question waits for the first list of a resource: half of what an autoscaler waits.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// API groups that are looked at. A cluster with many operators has some 100.
const MAX_GROUPS: usize = 500;

/// Lists the objects of a cluster.
pub struct ClusterObjects {
    client: Arc<Client>,
    mapper: Arc<dyn ResourceMapper>,
    /// The namespace beyond which nothing is looked at, where one is given.
    namespace: Option<String>,
    options: ReflectorOptions,
    stores: Mutex<BTreeMap<GroupResource, Arc<Store<MetadataOnly>>>>,
    orders: mpsc::Sender<Reflector<MetadataOnly>>,
}

impl fmt::Debug for ClusterObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterObjects").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Runs the watches of a [`ClusterObjects`].
#[derive(Debug)]
pub struct ObjectWatches(mpsc::Receiver<Reflector<MetadataOnly>>);

impl ClusterObjects {
    /// Lists the objects of the cluster behind a client, or those of one namespace of it. Which version of a
    /// resource is asked for, the mapper says. Nothing is answered before the second value runs.
    #[must_use]
    pub fn new(
        client: Arc<Client>,
        mapper: Arc<dyn ResourceMapper>,
        namespace: Option<String>,
        options: ReflectorOptions,
    ) -> (Self, ObjectWatches) {
        let (orders, taken) = mpsc::channel(MAX_RESOURCES);
        let options = ReflectorOptions { format: Format::Metadata, ..options };
        (Self { client, mapper, namespace, options, stores: Mutex::default(), orders }, ObjectWatches(taken))
    }

    /// The store of a resource; the first question begins its watch.
    fn store(&self, resource: &GroupResource) -> Result<Arc<Store<MetadataOnly>>, ListError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(resource) {
            return Ok(Arc::clone(store));
        }
        let unavailable = |reason: String| ListError::Unavailable(reason);
        if stores.len() >= MAX_RESOURCES {
            return Err(unavailable(format!("{MAX_RESOURCES} resources are watched already")));
        }
        let info = self.mapper.resource(&resource.group, &resource.resource);
        let info = info.ok_or_else(|| unavailable(format!("the cluster has no resource {resource}")))?;
        let asked = Resource::new(&info.group_resource.group, &info.version, &info.group_resource.resource);
        let namespace = self.namespace.clone().filter(|_| info.namespaced);
        let scope = Scope { namespace, ..Scope::default() };
        let reflector = Reflector::new(Arc::clone(&self.client), asked, scope, self.options.clone());
        let store = reflector.store();
        // There is room for all that can be watched; without it, nobody runs the watches.
        self.orders.try_send(reflector).map_err(|_gone| unavailable("objects are not watched".to_owned()))?;
        stores.insert(resource.clone(), Arc::clone(&store));
        Ok(store)
    }

    async fn listed(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Result<Vec<ObjectName>, ListError> {
        let store = self.store(resource)?;
        match timeout(FIRST_LIST, first_list(&store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_forbidden() => {
                return Err(ListError::Forbidden { resource: resource.clone(), reason: error.to_string() });
            }
            Ok(Err(error)) => return Err(ListError::Unavailable(error.to_string())),
            Err(_late) => return Err(ListError::Unavailable(format!("no list of {resource} yet"))),
        }
        let matching = |object: &Arc<MetadataOnly>| {
            let metadata = &object.metadata;
            metadata.namespace == namespace.unwrap_or_default() && selector.matches(&metadata.labels)
        };
        let found = store.all();
        let mut names: Vec<ObjectName> = found.iter().filter(|object| matching(object)).map(name).collect();
        if names.len() > MAX_OBJECTS {
            return Err(ListError::TooMany(resource.clone()));
        }
        names.sort();
        Ok(names)
    }
}

fn name(object: &Arc<MetadataOnly>) -> ObjectName {
    let metadata = &object.metadata;
    let namespace = Some(metadata.namespace.clone()).filter(|namespace| !namespace.is_empty());
    ObjectName { namespace, name: metadata.name.clone() }
}

/// Waits for the first list. What failed before it is the answer; what fails later does not undo it.
async fn first_list(store: &Store<MetadataOnly>) -> Result<(), Arc<ApiError>> {
    let mut progress = store.progress();
    while !progress.borrow_and_update().is_ready {
        if let Some(error) = store.failure() {
            return Err(error);
        }
        if progress.changed().await.is_err() {
            break;
        }
    }
    Ok(())
}

impl ObjectLister for ClusterObjects {
    fn list<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: Option<&'a str>,
        selector: &'a Selector,
    ) -> BoxFuture<'a, Result<Vec<ObjectName>, ListError>> {
        Box::pin(self.listed(resource, namespace, selector))
    }
}

impl ObjectWatches {
    /// Runs the watches that are asked for, until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut watches = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                never = watched(&mut watches) => match never {},
                order = self.0.recv() => match order {
                    Some(reflector) => {
                        watches.spawn(reflector.run(shutdown.clone()));
                    }
                    None => break,
                },
            }
        }
        watches.shutdown().await;
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupList {
    groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Group {
    name: String,
    preferred_version: GroupVersion,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupVersion {
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResourceList {
    resources: Vec<ApiResource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ApiResource {
    name: String,
    singular_name: String,
    kind: String,
    namespaced: bool,
}

/// The resources that the API serves: the core first, then the groups in the API's order, each in the version
/// that it prefers. A group that does not answer is left out.
///
/// # Errors
///
/// The core or the list of groups cannot be read.
pub async fn discover_resources(client: &Client) -> Result<Vec<ResourceInfo>, ApiError> {
    let core: ResourceList = client.get("/api/v1").await?;
    let mut found = infos("", "v1", core);
    let groups: GroupList = client.get("/apis").await?;
    for group in groups.groups.into_iter().take(MAX_GROUPS) {
        let version = &group.preferred_version.version;
        match client.get::<ResourceList>(&format!("/apis/{}/{version}", group.name)).await {
            Ok(list) => found.extend(infos(&group.name, version, list)),
            Err(error) => tracing::warn!(group = group.name, %error, "resources of an API group cannot be read"),
        }
    }
    Ok(found)
}

fn infos(group: &str, version: &str, list: ResourceList) -> Vec<ResourceInfo> {
    // What has a slash is a part of an object, such as its status.
    let resources = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    let info = |resource: ApiResource| ResourceInfo {
        group_resource: GroupResource::new(group, &resource.name),
        singular: match resource.singular_name.as_str() {
            "" => resource.kind.to_lowercase(),
            singular => singular.to_owned(),
        },
        kind: resource.kind,
        version: version.to_owned(),
        namespaced: resource.namespaced,
    };
    resources.map(info).collect()
}

#[cfg(test)]
mod tests {
    use metrics_api::BuiltinResources;
    use serde_json::json;

    use super::*;
    use crate::testing::{FakeCluster, Fault};

    async fn with<F: Future<Output = ()>>(cluster: &FakeCluster, test: impl FnOnce(ClusterObjects) -> F) {
        let options = ReflectorOptions { first_backoff: Duration::from_millis(1), ..ReflectorOptions::default() };
        let (objects, watches) = ClusterObjects::new(cluster.client(), Arc::new(BuiltinResources), None, options);
        let shutdown = CancellationToken::new();
        let test = async {
            test(objects).await;
            shutdown.cancel();
        };
        tokio::join!(watches.run(shutdown.clone()), test);
    }

    fn pod(namespace: &str, name: &str, app: &str) -> serde_json::Value {
        json!({"metadata": {"namespace": namespace, "name": name, "labels": {"app": app}}, "spec": {"large": "x"}})
    }

    #[tokio::test]
    async fn objects_are_listed_by_namespace_and_selector_from_one_watch() {
        let cluster = FakeCluster::start().await.unwrap();
        for (namespace, name, app) in [("a", "p2", "asr"), ("a", "p1", "asr"), ("a", "w", "web"), ("b", "p3", "asr")] {
            cluster.put("/api/v1/pods", pod(namespace, name, app));
        }
        cluster.put("/api/v1/namespaces", json!({"metadata": {"name": "a"}}));
        with(&cluster, |objects| async move {
            let asr = Selector::parse("app=asr").unwrap();
            let pods = GroupResource::pods();
            let found = objects.list(&pods, Some("a"), &asr).await.unwrap();
            assert_eq!(found.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["p1", "p2"]);
            assert_eq!(objects.list(&pods, Some("b"), &Selector::everything()).await.unwrap().len(), 1);
            assert_eq!(objects.list(&pods, Some("c"), &Selector::everything()).await.unwrap().len(), 0);
            let at_root = objects.list(&GroupResource::namespaces(), None, &Selector::everything()).await.unwrap();
            assert_eq!(at_root, [ObjectName { namespace: None, name: "a".to_owned() }]);
            let unknown = objects.list(&GroupResource::new("x", "ys"), None, &asr).await.unwrap_err();
            assert_eq!(unknown.to_string(), "objects cannot be listed: the cluster has no resource ys.x");
        })
        .await;
        let lists = cluster.requests().iter().filter(|request| request.contains("/pods?limit")).count();
        assert_eq!(lists, 1, "{:?}", cluster.requests());
    }

    #[tokio::test]
    async fn refusal_is_the_answer_until_there_is_a_list_which_then_stays() {
        let cluster = FakeCluster::start().await.unwrap();
        cluster.put("/api/v1/pods", pod("a", "p1", "asr"));
        cluster.fail_next("/pods?limit", Fault::Status(403, "Forbidden"));
        with(&cluster, |objects| {
            let cluster = &cluster;
            async move {
                let (pods, all) = (GroupResource::pods(), Selector::everything());
                let refused = objects.list(&pods, Some("a"), &all).await.unwrap_err();
                assert!(matches!(refused, ListError::Forbidden { .. }), "{refused}");
                let store = objects.store(&pods).unwrap();
                let mut progress = store.progress();
                progress.wait_for(|progress| progress.is_ready).await.unwrap();
                assert_eq!(objects.list(&pods, Some("a"), &all).await.unwrap().len(), 1);
                cluster.fail_next("/pods?watch", Fault::Status(500, "InternalError"));
                cluster.fail_next("/pods?limit", Fault::Status(500, "InternalError"));
                cluster.close_watches();
                cluster.until_faults_are_met().await;
                assert_eq!(objects.list(&pods, Some("a"), &all).await.unwrap().len(), 1, "what is known stays");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn resources_of_the_cluster_are_found_but_those_of_groups_that_do_not_answer() {
        let cluster = FakeCluster::start().await.unwrap();
        let body = |value: serde_json::Value| Fault::Body(value.to_string().into_bytes());
        cluster.fail_next(
            "/api/v1",
            body(json!({"resources": [
                {"name": "pods", "singularName": "pod", "kind": "Pod", "namespaced": true},
                {"name": "pods/status", "singularName": "", "kind": "Pod", "namespaced": true},
                {"name": "nodes", "singularName": "", "kind": "Node", "namespaced": false},
            ]})),
        );
        cluster.fail_next(
            "/apis",
            body(json!({"groups": [
                {"name": "ill", "preferredVersion": {"version": "v1"}},
                {"name": "stable.example.com", "preferredVersion": {"version": "v1beta1"}},
            ]})),
        );
        cluster.fail_next("/apis/ill", Fault::Status(503, "ServiceUnavailable"));
        cluster.fail_next(
            "/apis/stable",
            body(json!({"resources": [{"name": "crontabs", "singularName": "crontab", "kind": "CronTab", "namespaced": true}]})),
        );
        let found = discover_resources(&cluster.client()).await.unwrap();
        let shown: Vec<String> =
            found.iter().map(|info| format!("{} {} {}", info.group_resource, info.singular, info.version)).collect();
        assert_eq!(shown, ["pods pod v1", "nodes node v1", "crontabs.stable.example.com crontab v1beta1"]);
    }
}
